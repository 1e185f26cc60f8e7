/* float32 to half, to nearest: the kernels' copies of weights; and back: their gradients. */
#include "ops/own_cuda.h"

namespace {

template <int half> __global__ void narrow(const float *from, uint16_t *to, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        to[i] = dl_narrow<half>(from[i]);
}

template <int half> __global__ void widen(const uint16_t *from, float *to, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        to[i] = dl_widen<half>(from[i]);
}

} // namespace

dl_status dl_cuda_to_half(const dl_cuda *cuda, dl_dtype half, const void *from, void *to,
                          int64_t count) {
    unsigned blocks = dl_cuda_blocks(cuda, count);
    return half == DL_BF16 ? DL_LAUNCH(narrow<DL_LIES_BF16>, blocks, DL_BLOCK, 0, cuda->stream,
                                       (const float *)from, (uint16_t *)to, count)
                           : DL_LAUNCH(narrow<DL_LIES_F16>, blocks, DL_BLOCK, 0, cuda->stream,
                                       (const float *)from, (uint16_t *)to, count);
}

dl_status dl_cuda_from_half(const dl_cuda *cuda, dl_dtype half, const void *from, float *to,
                            int64_t count) {
    unsigned blocks = dl_cuda_blocks(cuda, count);
    return half == DL_BF16 ? DL_LAUNCH(widen<DL_LIES_BF16>, blocks, DL_BLOCK, 0, cuda->stream,
                                       (const uint16_t *)from, to, count)
                           : DL_LAUNCH(widen<DL_LIES_F16>, blocks, DL_BLOCK, 0, cuda->stream,
                                       (const uint16_t *)from, to, count);
}
