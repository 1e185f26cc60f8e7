/* The CUDA device from inside libdl_cuda.so: what kernels (ops/<family>_cuda.cu) find behind a
 * dl_device. Files named *_cuda.c and *_cuda.cu make up that library; nothing else includes CUDA.
 */
#ifndef DL_DEVICE_DEVICE_CUDA_H
#define DL_DEVICE_DEVICE_CUDA_H

#include <cuda_runtime_api.h>

#include "runtime/device/device.h"
#include "runtime/expr/emit.h"

/* State that a library keeps for a device: its handle, made when first asked for. */
typedef enum dl_cuda_guest {
    DL_GUEST_CUDNN,
    DL_GUEST_CUBLASLT,
    DL_GUEST_NCCL,
    DL_GUESTS
} dl_cuda_guest;

typedef struct dl_cuda_module dl_cuda_module;

typedef struct dl_cuda {
    dl_device device; /* first: a dl_device is one of these */
    int index;
    cudaStream_t stream; /* the compute stream, which kernels use */
    cudaStream_t turned; /* the one that copies, sums and marks use now */
    cudaStream_t all[DL_STREAMS];
    dl_cuda_module *module; /* emitted entries: module_cuda.c */
    struct {
        void *state;
        void (*close)(void *state);
    } guest[DL_GUESTS];
    int processors; /* multiprocessors: sizes grids */
    size_t cache;   /* bytes of its last level */
} dl_cuda;

static inline dl_cuda *dl_cuda_of(struct dl_device *device) {
    return (dl_cuda *)device;
}

/* DL_OK, or the status and message of a CUDA error: "cudaMalloc failed: out of memory". */
dl_status dl_cuda_check(cudaError_t error, const char *call);
#define DL_CUDA_TRY(function, ...) DL_TRY(dl_cuda_check(function(__VA_ARGS__), #function))

/* module_cuda.c: emitted text is collected while kernels are prepared; build compiles what is new
 * in one piece. An entry can be launched after that. */
typedef struct dl_cuda_entry dl_cuda_entry; /* lives as long as the device */
/* Takes the program, on failure too. */
dl_status dl_cuda_entry_want(dl_cuda *cuda, const dl_expr_entry *what, dl_cuda_entry **out);
dl_status dl_cuda_entry_launch(const dl_cuda *cuda, const dl_cuda_entry *entry,
                               const dl_kernel_call *call);
dl_status dl_cuda_entry_launch_parts(const dl_cuda *cuda, const dl_cuda_entry *entry,
                                     const dl_kernel_parts *parts);
dl_status dl_cuda_module_open(dl_cuda *cuda);
dl_status dl_cuda_module_build(dl_cuda *cuda);
void dl_cuda_module_close(dl_cuda_module *module);

/* device_cuda.c, for the table that libdl_cuda.so exports (ops/kernels_cuda.c). */
dl_status dl_cuda_count(int *out);
dl_status dl_cuda_open(int index, dl_device **out);
dl_status dl_cuda_imagine(int architecture, dl_device **out);
/* comm/nccl_cuda.c, comm/sum_cuda.c */
dl_status dl_nccl_join(dl_device *device, dl_comm *comm);
dl_status dl_nccl_await(dl_cuda *cuda, cudaEvent_t event);
void dl_nccl_give_up(dl_device *device);
dl_status dl_nccl_allocate(dl_device *device, size_t bytes, void **out);
void dl_nccl_release(dl_device *device, void *memory);
size_t dl_cuda_sum_room(const dl_device *device, int64_t count, int leaves);
dl_status dl_cuda_sum(dl_device *device, const dl_device_sum *sum);
/* add_cuda.cu: in the stream turned to; `out` may be one of the others. */
dl_status dl_cuda_add(const dl_cuda *cuda, float *out, const float *left, const float *right,
                      int64_t count);
/* ops/peak_cuda.c */
dl_status dl_cuda_peaks(dl_device *device, dl_dtype dtype, bool tf32, double *flop, double *bytes);
/* rows_cuda.cu */
dl_status dl_cuda_take(dl_device *device, void *to, const void *table, const uint32_t *number,
                       int64_t count, size_t bytes);

#endif
