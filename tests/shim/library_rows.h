/* Rows whose CUDA kernel calls cuDNN or cuBLASLt (a .c file of ops/). On the host they are their
 * CPU kernels; own kernels, in .cu files, run as they are. */
#ifndef DL_SHIM_LIBRARY_ROWS_H
#define DL_SHIM_LIBRARY_ROWS_H

#define SHIM_LIBRARY_ROWS(X)     \
    X(matmul)                    \
    X(matmul_relu)               \
    X(matmul_relu_gradient)      \
    X(matmul_sums)               \
    X(sample_matmul)             \
    X(conv)                      \
    X(conv_input_gradient)       \
    X(conv_relu_gradient)        \
    X(conv_weight_gradient)      \
    X(conv_statistics)           \
    X(conv_norm_weight_gradient) \
    X(conv_norm_input_gradient)

#endif
