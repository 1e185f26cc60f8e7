/* The CUDA kernel of every row: dl_cuda_softmax for dl_op_softmax, in ops/<family>_cuda.cu (own
 * kernels) or .c (calls of cuDNN and cuBLASLt), beside the row and its CPU kernel. They are part of
 * libdl_cuda.so; the program finds them by the row's name. */
#ifndef DL_OPS_KERNELS_CUDA_H
#define DL_OPS_KERNELS_CUDA_H

#include "ops/ops.h"
#include "runtime/device/device_cuda.h"
#include "runtime/graph/op.h"

extern const dl_kernel dl_cuda_pointwise;
#define X(row) extern const dl_kernel dl_cuda_##row;
DL_OP_LIST(X)
#undef X

/* convert_cuda.cu: count elements of float32 to `half` (DL_BF16 or DL_F16), and back. */
dl_status dl_cuda_to_half(const dl_cuda *cuda, dl_dtype half, const void *from, void *to,
                          int64_t count);
dl_status dl_cuda_from_half(const dl_cuda *cuda, dl_dtype half, const void *from, float *to,
                            int64_t count);
/* epilogue_cuda.cu: y [..., width] + bias [width] (NULL: none), then the epilogue, in place. */
dl_status dl_cuda_epilogue(const dl_cuda *cuda, void *y, dl_dtype dtype, int64_t count,
                           const float *bias, int64_t width, dl_epilogue epilogue);

#endif
