/* float32 to bfloat16, to nearest: the kernels' copies of weights; and back: their gradients. */
#include "ops/own_cuda.h"

namespace {

__global__ void to_bf16(const float *from, uint16_t *to, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        to[i] = dl_m_to_bf16(from[i]);
}

__global__ void from_bf16(const uint16_t *from, float *to, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        to[i] = dl_m_from_bf16(from[i]);
}

} // namespace

dl_status dl_cuda_to_bf16(const dl_cuda *cuda, const void *from, void *to, int64_t count) {
    return DL_LAUNCH(to_bf16, dl_cuda_blocks(cuda, count), DL_BLOCK, 0, cuda->stream,
                     (const float *)from, (uint16_t *)to, count);
}

dl_status dl_cuda_from_bf16(const dl_cuda *cuda, const void *from, float *to, int64_t count) {
    return DL_LAUNCH(from_bf16, dl_cuda_blocks(cuda, count), DL_BLOCK, 0, cuda->stream,
                     (const uint16_t *)from, to, count);
}
