/* Random orders: exactly uniform permutations (Fisher and Yates), keyed by Philox. */
#ifndef DL_DATA_ORDER_H
#define DL_DATA_ORDER_H

#include <stdint.h>

/* out = a permutation of 0 .. count-1 that depends on (seed, stream, pass) alone. */
void dl_permute(uint32_t *out, int64_t count, uint64_t seed, uint32_t stream, uint32_t pass);

#endif
