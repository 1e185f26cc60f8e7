/* What an emitted entry stands on, besides math.h, in the common part of C11 and CUDA C: its
 * argument, its loop over elements, random numbers. emit.c carries it with the text; who launches
 * an entry includes it for dl_kernel_call. */
#ifndef DL_EXPR_KERNEL_H
#define DL_EXPR_KERNEL_H

#include "runtime/base/philox_rounds.h"
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

/* The argument of an entry over several pieces of memory, its parts: all of one program, each with
 * its own elements, cut into chunks. A launch takes as many as fit in the 4096 bytes of an
 * argument.
 */
enum { DL_KERNEL_CHUNK = 4096, DL_KERNEL_WORDS = 508 };
typedef struct dl_kernel_parts {
    uint64_t chunks;                /* of all */
    uint64_t word[DL_KERNEL_WORDS]; /* of each part: chunks up to its end, elements, where its
                                       inputs are, where its outputs are */
} dl_kernel_parts;

/* DL_KERNEL_EACH(type, e, count): for all elements e that are this thread's; on a device any grid
 * of one dimension serves. */
#ifdef __CUDACC__
#define DL_KERNEL          extern "C" __global__ void
#define DL_KERNEL_IN_PLACE __grid_constant__ /* no thread makes a copy of the argument */
#define DL_KERNEL_CHUNKS(chunk, chunks) \
    for (uint64_t chunk = blockIdx.x; chunk < (chunks); chunk += gridDim.x)
#define DL_KERNEL_CHUNK_EACH(type, e, first, end) \
    for (type e = (first) + threadIdx.x; e < (end); e += blockDim.x)
#define DL_KERNEL_EACH(type, e, count)                                            \
    for (type e = (type)blockIdx.x * blockDim.x + threadIdx.x; e < (type)(count); \
         e += (type)gridDim.x * blockDim.x)
#else
#define DL_KERNEL void
#define DL_KERNEL_IN_PLACE
#define DL_KERNEL_CHUNKS(chunk, chunks)           for (uint64_t chunk = 0; chunk < (chunks); chunk++)
#define DL_KERNEL_CHUNK_EACH(type, e, first, end) for (type e = (first); e < (end); e++)
#define DL_KERNEL_EACH(type, e, count)            for (type e = 0; e < (type)(count); e++)
#endif

/* For elements 4 quad .. 4 quad + 3 of a sample. */
DL_MATH dl_philox_words dl_k_philox(const dl_kernel_random *random, uint32_t stream,
                                    uint32_t sample, uint32_t quad) {
    return dl_philox_rounds(stream, random->step, random->first_sample + sample, quad,
                            random->seed);
}

/* `place`: which of the four elements. */
DL_MATH float dl_k_uniform(const dl_kernel_random *random, uint32_t stream, uint32_t sample,
                           uint32_t quad, uint32_t place) {
    dl_philox_words w = dl_k_philox(random, stream, sample, quad);
    uint32_t low = (place & 1u) != 0 ? w.word[1] : w.word[0];
    uint32_t high = (place & 1u) != 0 ? w.word[3] : w.word[2];
    return dl_m_uniform((place & 2u) != 0 ? high : low);
}

DL_MATH float dl_k_normal(const dl_kernel_random *random, uint32_t stream, uint32_t sample,
                          uint32_t quad, uint32_t place) {
    dl_philox_words w = dl_k_philox(random, stream, sample, quad);
    return dl_m_normal((place & 2u) != 0 ? w.word[2] : w.word[0],
                       (place & 2u) != 0 ? w.word[3] : w.word[1], place & 1u);
}

#endif
