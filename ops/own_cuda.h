/* For own kernels in .cu files: what they share. A kernel is C++ in both of its lives, nvcc's and
 * the host's (tests/shim), so it keeps to what both know. No float atomics: sums have a fixed
 * order. */
#ifndef DL_OPS_OWN_CUDA_H
#define DL_OPS_OWN_CUDA_H

#include "runtime/device/launch_cuda.h"
extern "C" {
#include "ops/kernels_cuda.h"
#include "ops/ops.h"
#include "runtime/base/memory.h"
#include "runtime/expr/kernel.h"
}

enum { DL_WARP = 32 };

/* How a kernel's numbers lie in memory; arithmetic is float32. Kernels are templates over it, and
 * DL_BY_HALF(half, CALL) picks the instance: CALL(0), CALL(1) or CALL(2). */
enum { DL_LIES_F32, DL_LIES_BF16, DL_LIES_F16 };
static inline int dl_half_of(dl_dtype dtype) {
    return dtype == DL_BF16 ? DL_LIES_BF16 : dtype == DL_F16 ? DL_LIES_F16 : DL_LIES_F32;
}
#define DL_BY_HALF(half, CALL) ((half) == 0 ? CALL(0) : (half) == 1 ? CALL(1) : CALL(2))

template <int half> static __device__ __forceinline__ float dl_widen(uint16_t word) {
    return half == DL_LIES_BF16 ? dl_m_from_bf16(word) : dl_m_from_f16(word);
}
template <int half> static __device__ __forceinline__ uint16_t dl_narrow(float value) {
    return half == DL_LIES_BF16 ? dl_m_to_bf16(value) : dl_m_to_f16(value);
}
template <int half> static __device__ __forceinline__ float dl_load(const void *x, int64_t i) {
    return half ? dl_widen<half>(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}
template <int half>
static __device__ __forceinline__ void dl_store(void *y, int64_t i, float value) {
    if (half)
        ((uint16_t *)y)[i] = dl_narrow<half>(value);
    else
        ((float *)y)[i] = value;
}

/* 16 bytes of elements, which move together. */
template <int half> struct alignas(16) dl_line {
    enum { WIDE = half ? 8 : 4 };
    uint32_t word[4];
    __device__ __forceinline__ float get(int i) const {
        return half ? dl_widen<half>((uint16_t)(word[i / 2] >> i % 2 * 16)) : DL_FLOAT(word[i % 4]);
    }
    __device__ __forceinline__ void put(int i, float value) {
        uint32_t low = 0xffffu << i % 2 * 16;
        if (half)
            word[i / 2] = (word[i / 2] & ~low) | (uint32_t)dl_narrow<half>(value) << i % 2 * 16;
        else
            word[i % 4] = DL_BITS(value);
    }
};

/* Over the lanes of a warp: every lane gets the result, by one tree. */
static __device__ __forceinline__ float dl_warp_sum(float x) {
    for (int mask = DL_WARP / 2; mask > 0; mask /= 2)
        x = x + __shfl_xor_sync(0xffffffffu, x, mask);
    return x;
}

static __device__ __forceinline__ float dl_warp_max(float x) {
    for (int mask = DL_WARP / 2; mask > 0; mask /= 2)
        x = dl_m_max(x, __shfl_xor_sync(0xffffffffu, x, mask));
    return x;
}

/* A warp a row, in blocks of (DL_WARP, DL_WARP_ROWS) threads: the row of this warp. Warps behind
 * the last row work on it again, so that all meet. */
enum { DL_WARP_ROWS = 4 };
static __device__ __forceinline__ int64_t dl_warp_row(int64_t rows, bool *writes) {
    int64_t row = (int64_t)blockIdx.x * DL_WARP_ROWS + threadIdx.y;
    *writes = row < rows;
    return *writes ? row : rows - 1;
}
static inline unsigned dl_warp_row_blocks(int64_t rows) {
    return (unsigned)((rows + DL_WARP_ROWS - 1) / DL_WARP_ROWS);
}

/* The first to find one is told of; which is first is no promise. */
static __device__ __forceinline__ void dl_tell_fault(dl_fault *fault, int position, int kind,
                                                     int64_t value, int64_t bound) {
    if (atomicCAS(&fault->node, 0, position + 1) == 0) {
        fault->kind = kind;
        fault->value = value;
        fault->bound = bound;
    }
}

/* For prepare: a zeroed state; NULL, with the message said, without memory. */
template <class State> static dl_status dl_make_state(dl_prepared *out, State **state) {
    *state = (State *)dl_alloc(sizeof(State));
    out->state = *state;
    return *state ? DL_OK : dl_fail_memory(sizeof(State));
}

#endif
