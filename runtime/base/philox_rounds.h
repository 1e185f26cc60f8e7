/* The ten rounds of Philox 4x32-10 (section 4 of Salmon et al., SC'11), in the common part of C11
 * and CUDA C: philox.c, the CPU programs (lanes.inc) and emitted text (emit.c) all compile this. */
#ifndef DL_BASE_PHILOX_ROUNDS_H
#define DL_BASE_PHILOX_ROUNDS_H

#include "runtime/base/both.h"

#define DL_PHILOX_ROUNDS  10
#define DL_PHILOX_FACTOR0 0xD2511F53u
#define DL_PHILOX_FACTOR1 0xCD9E8D57u
#define DL_PHILOX_KEY0    0x9E3779B9u /* golden ratio */
#define DL_PHILOX_KEY1    0xBB67AE85u /* sqrt(3) - 1 */

typedef struct dl_philox_words {
    uint32_t word[4];
} dl_philox_words;

DL_MATH dl_philox_words dl_philox_rounds(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                         uint64_t key) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < DL_PHILOX_ROUNDS; round++) {
        uint64_t product0 = (uint64_t)DL_PHILOX_FACTOR0 * c0;
        uint64_t product1 = (uint64_t)DL_PHILOX_FACTOR1 * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += DL_PHILOX_KEY0;
        k1 += DL_PHILOX_KEY1;
    }
    dl_philox_words words = {{c0, c1, c2, c3}};
    return words;
}

#endif
