/* For kernels with AVX-512: a mask (__mmask16) of the first `count` of 16 lanes, all from 16 on,
 * none below 1. */
#ifndef DL_OPS_FIRST_LANES_H
#define DL_OPS_FIRST_LANES_H

#include <stdint.h>

static inline uint16_t dl_first_lanes(int64_t count) {
    int64_t lanes = count > 16 ? 16 : count < 0 ? 0 : count;
    return (uint16_t)((1u << lanes) - 1u);
}

#endif
