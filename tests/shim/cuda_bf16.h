/* bfloat16 as CUDA names it. */
#ifndef DL_SHIM_CUDA_BF16_H
#define DL_SHIM_CUDA_BF16_H

#include "tests/shim/cuda_runtime.h"

struct __nv_bfloat16 {
    unsigned short bits;
};
inline float __bfloat162float(__nv_bfloat16 value) {
    return __uint_as_float((unsigned)value.bits << 16);
}
inline __nv_bfloat16
__float2bfloat16_rn(float value) { /* to nearest, ties to even; NaN stays one */
    unsigned word = __float_as_uint(value);
    if (value != value)
        return {0x7fff};
    return {(unsigned short)((word + 0x7fffu + (word >> 16 & 1u)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16(float value) {
    return __float2bfloat16_rn(value);
}

#endif
