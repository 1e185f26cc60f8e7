/* The CUDA kernel of every row: dl_cuda_softmax for dl_op_softmax, in ops/<family>_cuda.cu (own
 * kernels) or .c (calls of cuDNN and cuBLASLt), beside the row and its CPU kernel. They are part of
 * libdl_cuda.so; the program finds them by the row's name. */
#ifndef DL_OPS_KERNELS_CUDA_H
#define DL_OPS_KERNELS_CUDA_H

#include "ops/ops.h"
#include "runtime/device/device_cuda.h"
#include "runtime/graph/op.h"

extern const dl_kernel dl_cuda_pointwise, dl_cuda_pointwise_parts;
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

/* relu_cuda.cu. relu_mask: the mask of y [rows, columns], as ops.h has it (matmul_relu). relu_stop:
 * z is x, 0 where y is not above 0; all of one type, z may be x. row_sum: the same, and out [c] the
 * sum of z [..., c] over all but its last axis; y NULL: the sum of x, and z is not written. */
dl_status dl_cuda_relu_mask(const dl_cuda *cuda, const void *y, const dl_type *type, void *mask);
dl_status dl_cuda_relu_stop(const dl_cuda *cuda, const void *x, const void *y, const dl_type *type,
                            void *z);
size_t dl_cuda_row_sum_workspace(const dl_type *type);
dl_status dl_cuda_row_sum(const dl_cuda *cuda, const void *x, const void *y, const dl_type *type,
                          void *z, void *workspace, float *out);

/* norm_cuda.cu: of a normalisation over channels, for others that apply it: gamma, beta may be
 * NULL. to_scale: y = x * scale + bias, out [scale, bias] as `half`; to_parts: out [1 /
 * sqrt(variance + epsilon), gamma, beta] in float32. */
typedef struct dl_cuda_norm {
    const float *mean, *variance, *gamma, *beta;
    float epsilon;
    int64_t channels;
} dl_cuda_norm;
dl_status dl_cuda_norm_to_scale(const dl_cuda *cuda, const dl_cuda_norm *norm, dl_dtype half,
                                void *out);
dl_status dl_cuda_norm_to_parts(const dl_cuda *cuda, const dl_cuda_norm *norm, float *out);
/* d [..., channels] becomes 0 where relu(norm(x)) is, in place. */
dl_status dl_cuda_norm_gate(const dl_cuda *cuda, const dl_cuda_norm *norm, dl_dtype dtype,
                            const void *x, void *d, int64_t count);

#endif
