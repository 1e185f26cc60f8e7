/* 64-bit content hash (XXH64) for digests in manifests, job hashes and cache keys: not a
 * defence against a forger, a check against damage and mistakes. */
#ifndef DL_BASE_HASH_H
#define DL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t dl_hash(const void *bytes, size_t count, uint64_t seed);
uint64_t dl_hash_text(const char *text, uint64_t seed);

#endif
