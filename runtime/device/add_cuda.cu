/* out = left + right over floats: what trees of leaves on devices are made of (comm/sum_cuda.c). */
#include "runtime/device/launch_cuda.h"

__global__ static void add_floats(float *out, const float *left, const float *right,
                                  int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        out[i] = left[i] + right[i];
}

dl_status dl_cuda_add(const dl_cuda *cuda, float *out, const float *left, const float *right,
                      int64_t count) {
    return DL_LAUNCH(add_floats, dl_cuda_blocks(cuda, count), DL_BLOCK, 0, cuda->turned, out, left,
                     right, count);
}
