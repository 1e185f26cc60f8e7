/* sum += more over floats: what trees of leaves on one device are made of. */
#include "runtime/device/launch_cuda.h"

__global__ static void add_floats(float *sum, const float *more, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        sum[i] = sum[i] + more[i];
}

dl_status dl_cuda_add(dl_device *device, float *sum, const float *more, int64_t count) {
    const dl_cuda *cuda = dl_cuda_of(device);
    return DL_LAUNCH(add_floats, dl_cuda_blocks(cuda, count), DL_BLOCK, 0, cuda->turned, sum, more,
                     count);
}
