/* The common part of C11 and CUDA C: integer types, and DL_MATH, which begins a function of both.
 * Emitted text carries this file, philox_rounds.h, and runtime/expr's math.h and kernel.h. */
#ifndef DL_BASE_BOTH_H
#define DL_BASE_BOTH_H

#ifdef __CUDACC__
#ifdef __CUDACC_RTC__ /* comes without headers */
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif
#define DL_MATH __device__ __forceinline__ /* not static: unused ones are no warning */
#else
#include <stdint.h>
#define DL_MATH static inline __attribute__((always_inline))
#endif

#endif
