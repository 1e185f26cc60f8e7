/* The one list of rows in ops/. Each line makes the row known to graphs, tests and documentation.
 */
#ifndef DL_OPS_OP_LIST_H
#define DL_OPS_OP_LIST_H

#define DL_OP_LIST(X)                 \
    X(matmul)                         \
    X(matmul_relu)                    \
    X(matmul_relu_gradient)           \
    X(matmul_sums)                    \
    X(sample_matmul)                  \
    X(conv)                           \
    X(conv_input_gradient)            \
    X(conv_weight_gradient)           \
    X(conv_relu_gradient)             \
    X(relu_gradient)                  \
    X(max_pool)                       \
    X(average_pool)                   \
    X(max_pool_gradient)              \
    X(average_pool_gradient)          \
    X(reduce)                         \
    X(broadcast)                      \
    X(transpose)                      \
    X(slice)                          \
    X(pad)                            \
    X(concatenate)                    \
    X(gather)                         \
    X(gather_gradient)                \
    X(cast)                           \
    X(softmax)                        \
    X(softmax_gradient)               \
    X(softmax_cross_entropy)          \
    X(softmax_cross_entropy_gradient) \
    X(in_top_k)                       \
    X(softmax_loss)                   \
    X(channel_sum)                    \
    X(channel_squares)                \
    X(channel_moments)                \
    X(moment_squares)                 \
    X(conv_statistics)                \
    X(conv_norm_weight_gradient)      \
    X(conv_norm_input_gradient)       \
    X(batch_norm)                     \
    X(batch_norm_add)                 \
    X(residual)                       \
    X(residual_sums)                  \
    X(norm_pool)                      \
    X(norm_pool_sums)                 \
    X(norm_pool_input_gradient)       \
    X(batch_norm_sums)                \
    X(batch_norm_input_gradient)      \
    X(layer_norm)                     \
    X(layer_norm_gradient)

#endif
