/* float16 as CUDA names it, by the compiler's own conversions. */
#ifndef DL_SHIM_CUDA_FP16_H
#define DL_SHIM_CUDA_FP16_H

#include "tests/shim/cuda_runtime.h"

struct __half {
    _Float16 value;
};
inline float __half2float(__half half) {
    return (float)half.value;
}
inline __half __float2half_rn(float value) {
    return {(_Float16)value};
}
inline __half __float2half(float value) {
    return __float2half_rn(value);
}

#endif
