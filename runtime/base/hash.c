/* XXH64, after the specification of xxHash by Yann Collet (xxhash_spec.md): four lanes of 8 bytes,
 * then the tail, then an avalanche. Words are read little-endian, as on every host we run on. */
#include "runtime/base/hash.h"

#include <string.h>

static const uint64_t prime1 = 0x9E3779B185EBCA87u, prime2 = 0xC2B2AE3D27D4EB4Fu,
                      prime3 = 0x165667B19E3779F9u, prime4 = 0x85EBCA77C2B2AE63u,
                      prime5 = 0x27D4EB2F165667C5u;

static uint64_t rotate(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

static uint64_t read64(const unsigned char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint64_t lane_round(uint64_t lane, uint64_t input) {
    return rotate(lane + input * prime2, 31) * prime1;
}

static uint64_t merge(uint64_t hash, uint64_t lane) {
    return (hash ^ lane_round(0, lane)) * prime1 + prime4;
}

uint64_t dl_hash(const void *bytes, size_t count, uint64_t seed) {
    const unsigned char *at = bytes;
    size_t left = count;
    uint64_t hash = seed + prime5;
    if (left >= 32) {
        uint64_t a = seed + prime1 + prime2, b = seed + prime2, c = seed, d = seed - prime1;
        for (; left >= 32; at += 32, left -= 32) {
            a = lane_round(a, read64(at));
            b = lane_round(b, read64(at + 8));
            c = lane_round(c, read64(at + 16));
            d = lane_round(d, read64(at + 24));
        }
        hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
        hash = merge(merge(merge(merge(hash, a), b), c), d);
    }
    hash += count;
    for (; left >= 8; at += 8, left -= 8)
        hash = rotate(hash ^ lane_round(0, read64(at)), 27) * prime1 + prime4;
    if (left >= 4) {
        uint32_t word;
        memcpy(&word, at, sizeof word);
        hash = rotate(hash ^ word * prime1, 23) * prime2 + prime3;
        at += 4;
        left -= 4;
    }
    for (; left > 0; at++, left--)
        hash = rotate(hash ^ *at * prime5, 11) * prime1;
    hash = (hash ^ hash >> 33) * prime2;
    hash = (hash ^ hash >> 29) * prime3;
    return hash ^ hash >> 32;
}

uint64_t dl_hash_text(const char *text, uint64_t seed) {
    return dl_hash(text, strlen(text), seed);
}
