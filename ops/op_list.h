/* The one list of rows in ops/. Each line makes the row known to graphs, tests and documentation. */
#ifndef DL_OPS_OP_LIST_H
#define DL_OPS_OP_LIST_H

#define DL_OP_LIST(X)                                                                              \
    X(matmul)                                                                                      \
    X(conv)                                                                                        \
    X(conv_input_gradient)                                                                         \
    X(conv_weight_gradient)                                                                        \
    X(max_pool)                                                                                    \
    X(average_pool)                                                                                \
    X(max_pool_gradient)                                                                           \
    X(average_pool_gradient)

#endif
