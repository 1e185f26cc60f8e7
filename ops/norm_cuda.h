/* The normalisation of a thread's eight channels, for own kernels that apply one on their way: what
 * it needs of them stays in registers while the thread steps by whole rows. */
#ifndef DL_OPS_NORM_CUDA_H
#define DL_OPS_NORM_CUDA_H

#include "ops/own_cuda.h"

enum { DL_GROUP = 8 /* channels */ };

struct dl_norm_group {
    float mean[DL_GROUP], scale[DL_GROUP], beta[DL_GROUP];
    /* Norm: mean, variance, gamma, beta (each may be NULL of the last two), epsilon. */
    template <class Norm> __device__ void hold(const Norm &norm, int64_t column) {
        for (int k = 0; k < DL_GROUP; k++) {
            int64_t c = column + k;
            mean[k] = norm.mean[c];
            scale[k] = (norm.gamma ? norm.gamma[c] : 1.0f) / sqrtf(norm.variance[c] + norm.epsilon);
            beta[k] = norm.beta ? norm.beta[c] : 0.0f;
        }
    }
    __device__ float apply(int k, float x) const {
        return (x - mean[k]) * scale[k] + beta[k];
    }
};

/* Threads for so many groups, of which a row has `across`: how many blocks, and how many of their
 * threads take part, so that each steps by whole rows. */
static inline unsigned dl_group_blocks(const dl_cuda *cuda, int64_t groups, int64_t across,
                                       int64_t *step) {
    unsigned blocks = dl_cuda_blocks(cuda, groups);
    unsigned least = (unsigned)((across + DL_BLOCK - 1) / DL_BLOCK);
    blocks = blocks > least ? blocks : least;
    *step = (int64_t)blocks * DL_BLOCK / across * across;
    return blocks;
}

/* WIDE elements from `element` on, which is a multiple of them. */
template <int half, int WIDE>
static __device__ __forceinline__ void dl_load_group(const void *x, int64_t element, float *v) {
    enum { LINE = dl_line<half>::WIDE, LINES = WIDE / LINE };
    if (LINES == 0)
        for (int k = 0; k < WIDE; k++)
            v[k] = dl_load<half>(x, element + k);
    for (int l = 0; l < LINES; l++) {
        dl_line<half> line = ((const dl_line<half> *)x)[element / LINE + l];
        for (int k = 0; k < LINE; k++)
            v[l * LINE + k] = line.get(k);
    }
}

template <int half, int WIDE>
static __device__ __forceinline__ void dl_store_group(void *y, int64_t element, const float *v) {
    enum { LINE = dl_line<half>::WIDE, LINES = WIDE / LINE };
    if (LINES == 0)
        for (int k = 0; k < WIDE; k++)
            dl_store<half>(y, element + k, v[k]);
    for (int l = 0; l < LINES; l++) {
        dl_line<half> line = {};
        for (int k = 0; k < LINE; k++)
            line.put(k, v[l * LINE + k]);
        ((dl_line<half> *)y)[element / LINE + l] = line;
    }
}

/* As it would be read from memory. */
template <int half> static __device__ __forceinline__ float dl_rounded(float value) {
    return half ? dl_widen<half>(dl_narrow<half>(value)) : value;
}

#endif
