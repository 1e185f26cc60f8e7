/* Launching own kernels, for .cu files. tests/shim has the same words for the host: there a launch
 * runs its grid as a loop, so that arithmetic and indexing are tested without a GPU. */
#ifndef DL_DEVICE_LAUNCH_CUDA_H
#define DL_DEVICE_LAUNCH_CUDA_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

extern "C" { /* dltrain is C */
#include "runtime/device/device_cuda.h"
}

enum { DL_BLOCK = 256 }; /* threads of a block, unless a kernel says otherwise */

/* Of a grid of one dimension. */
#define DL_FIRST_THREAD ((int64_t)blockIdx.x * blockDim.x + threadIdx.x)
#define DL_ALL_THREADS  ((int64_t)gridDim.x * blockDim.x)

/* Blocks that cover `count` elements, a few waves at most: kernels loop. */
static inline unsigned dl_cuda_blocks(const dl_cuda *cuda, int64_t count) {
    int64_t blocks = (count + DL_BLOCK - 1) / DL_BLOCK, most = 16 * (int64_t)cuda->processors;
    return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

#ifndef DL_LAUNCH /* tests/shim/cuda_runtime.h has its own */
/* Enqueues kernel<<<blocks, threads, shared bytes, stream>>>(...); a dl_status. Kernels whose
 * threads meet (__syncthreads, shuffles) are launched as a team. */
#define DL_LAUNCH_TEAM DL_LAUNCH
#define DL_LAUNCH(kernel, blocks, threads, shared, stream, ...)        \
    (kernel<<<(blocks), (threads), (shared), (stream)>>>(__VA_ARGS__), \
     dl_cuda_check(cudaGetLastError(), #kernel))
/* extern __shared__ memory of a launch's size. */
#define DL_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char dl_shared[]; \
    type *name = (type *)dl_shared
#endif

#endif
