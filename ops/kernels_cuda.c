/* What libdl_cuda.so gives the program: devices, with the kernels of all rows. */
#include "ops/kernels_cuda.h"

#include <string.h>

static const struct dl_kernel *kernel_of(const char *op) {
    static const struct {
        const char *op;
        const dl_kernel *kernel;
    } rows[] = {{"pointwise", &dl_cuda_pointwise},
                {"pointwise_parts", &dl_cuda_pointwise_parts},
#define X(row) {#row, &dl_cuda_##row},
                DL_OP_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].op, op) == 0)
            return rows[i].kernel;
    return NULL;
}

static dl_status to_half(dl_device *device, dl_dtype half, const float *from, void *to,
                         int64_t count) {
    return dl_cuda_to_half(dl_cuda_of(device), half, from, to, count);
}

static dl_status open_device(int index, dl_device **out) {
    DL_TRY(dl_cuda_open(index, out));
    (*out)->kernel = kernel_of;
    (*out)->to_half = to_half;
    return DL_OK;
}

static dl_status imagine_device(int architecture, dl_device **out) {
    DL_TRY(dl_cuda_imagine(architecture, out));
    (*out)->kernel = kernel_of;
    return DL_OK;
}

extern const dl_cuda_library dl_cuda_library_of_this;
__attribute__((visibility("default")))
const dl_cuda_library dl_cuda_library_of_this = {.version = DL_CUDA_LIBRARY_VERSION,
                                                 .count = dl_cuda_count,
                                                 .open = open_device,
                                                 .imagine = imagine_device};
