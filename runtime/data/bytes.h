/* The bytes of an input file: mapped read-only, so that the ranks of a host share them; gzip files
 * are unpacked. A mapped file must not shrink while it is used. Users: set.c, source_*.c. */
#ifndef DL_DATA_BYTES_H
#define DL_DATA_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

typedef struct dl_bytes {
    const uint8_t *at;
    size_t count;
    bool mapped; /* else dl_alloc'ed */
} dl_bytes;

/* DL_NO_INPUT with the path and the reason. Errors say `name` for the file. */
dl_status dl_bytes_open(dl_bytes *bytes, const char *path, const char *name);
void dl_bytes_close(dl_bytes *bytes); /* a zeroed one is allowed */
/* They will hardly be read again: those of a mapped file need no memory until they are. */
void dl_bytes_rest(const dl_bytes *bytes);

bool dl_is_gzip(const uint8_t *at, size_t count);

/* Unpacks gzip members into out[capacity] until the end or until it is full. *produced: bytes
 * written; *more: whether there is more than fits. DL_NO_INPUT when damaged or cut off: checksums
 * are compared. */
dl_status dl_gunzip(const uint8_t *at, size_t count, uint8_t *out, size_t capacity,
                    size_t *produced, bool *more, const char *name);
/* The same into memory that grows as needed (dl_free it). */
dl_status dl_gunzip_all(const uint8_t *at, size_t count, uint8_t **out, size_t *produced,
                        const char *name);
/* Raw deflate (zip) of exactly `size` bytes. */
dl_status dl_inflate(const uint8_t *at, size_t count, uint8_t *out, size_t size, const char *name);

/* Big-endian elements to native ones and back. */
void dl_swap_bytes(void *values, size_t count, size_t element);

#endif
