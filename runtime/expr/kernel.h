/* What an emitted entry stands on, besides math.h, in the common part of C11 and CUDA C: its
 * argument, its loop over elements, random numbers. emit.c carries both files with the text; who
 * launches an entry includes this one for dl_kernel_call. */
#ifndef DL_EXPR_KERNEL_H
#define DL_EXPR_KERNEL_H

#include "runtime/expr/math.h"

enum { DL_KERNEL_INPUTS = 24, DL_KERNEL_OUTPUTS = 24 };

typedef struct dl_kernel_random { /* laid out as dl_random */
    uint64_t seed;
    uint32_t step, first_sample;
} dl_kernel_random;

/* The one argument of an entry, by value. What it points to is read when the entry runs: a recorded
 * launch that is played again draws with the step of then. */
typedef struct dl_kernel_call {
    const void *in[DL_KERNEL_INPUTS];
    void *out[DL_KERNEL_OUTPUTS]; /* out[j] may be in[i] where that runs along the elements */
    int64_t count;                /* elements */
    const dl_kernel_random *random;
} dl_kernel_call;

/* DL_KERNEL_EACH(type, e, count): for all elements e that are this thread's; on a device any grid
 * of one dimension serves. */
#ifdef __CUDACC__
#define DL_KERNEL extern "C" __global__ void
#define DL_KERNEL_EACH(type, e, count)                                            \
    for (type e = (type)blockIdx.x * blockDim.x + threadIdx.x; e < (type)(count); \
         e += (type)gridDim.x * blockDim.x)
#else
#define DL_KERNEL                      void
#define DL_KERNEL_EACH(type, e, count) for (type e = 0; e < (type)(count); e++)
#endif

typedef struct dl_kernel_words {
    uint32_t word[4];
} dl_kernel_words;

/* dl_philox (runtime/base/philox.h) for elements 4 quad .. 4 quad + 3 of a sample. */
DL_MATH dl_kernel_words dl_k_philox(const dl_kernel_random *random, uint32_t stream,
                                    uint32_t sample, uint32_t quad) {
    uint32_t c0 = stream, c1 = random->step, c2 = random->first_sample + sample, c3 = quad;
    uint32_t k0 = (uint32_t)random->seed, k1 = (uint32_t)(random->seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c0;
        uint64_t product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    dl_kernel_words words = {{c0, c1, c2, c3}};
    return words;
}

/* `place`: which of the four elements. */
DL_MATH float dl_k_uniform(const dl_kernel_random *random, uint32_t stream, uint32_t sample,
                           uint32_t quad, uint32_t place) {
    dl_kernel_words w = dl_k_philox(random, stream, sample, quad);
    uint32_t low = (place & 1u) != 0 ? w.word[1] : w.word[0];
    uint32_t high = (place & 1u) != 0 ? w.word[3] : w.word[2];
    return dl_m_uniform((place & 2u) != 0 ? high : low);
}

DL_MATH float dl_k_normal(const dl_kernel_random *random, uint32_t stream, uint32_t sample,
                          uint32_t quad, uint32_t place) {
    dl_kernel_words w = dl_k_philox(random, stream, sample, quad);
    return dl_m_normal((place & 2u) != 0 ? w.word[2] : w.word[0],
                       (place & 2u) != 0 ? w.word[3] : w.word[1], place & 1u);
}

#endif
