/* Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11): the only
 * source of randomness. A number is a pure function of (seed, stream, step, sample, element), so
 * that ranks, shards, resume, fusion and recomputation all draw the same.
 *
 *   key     = seed (low word, high word)
 *   counter = (stream, step, sample, element / 4); the word is element % 4
 *
 * stream = dl_stream("name of the node, layer or purpose"). */
#ifndef DL_BASE_PHILOX_H
#define DL_BASE_PHILOX_H

#include <stdint.h>

typedef struct dl_random {
    uint64_t seed;
    uint32_t step;
    uint32_t first_sample; /* position in the global batch of this tensor's sample 0 */
} dl_random;

void dl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

uint32_t dl_stream(const char *name);

/* One word of (seed, stream, step, sample, element). */
uint32_t dl_random_word(uint64_t seed, uint32_t stream, uint32_t step, uint32_t sample,
                        uint32_t element);

/* 24 bits to [0, 1): (word >> 8) * 2^-24. */
static inline float dl_unit_float(uint32_t word) {
    return (float)(word >> 8) * 0x1p-24f;
}

/* Uniform in 0 .. bound-1 without bias worth naming: (word * bound) >> 32. */
static inline uint32_t dl_bounded(uint32_t word, uint32_t bound) {
    return (uint32_t)(((uint64_t)word * bound) >> 32);
}

#endif
