/* The one list of fusions (runtime/graph/fuse.h), in the order in which they are tried. X(row) is a
 * function dl_fuse_<row> in the row's own file: it finds where one dl_op_<row> may take the place
 * of other nodes on a device. */
#ifndef DL_OPS_FUSIONS_H
#define DL_OPS_FUSIONS_H

#include "runtime/graph/fuse.h"

#define DL_FUSION_LIST(X)        \
    X(softmax_loss)              \
    X(matmul_relu_gradient)      \
    X(matmul_sums)               \
    X(channel_moments)           \
    X(moment_squares)            \
    X(conv_statistics)           \
    X(conv_norm_weight_gradient) \
    X(conv_norm_input_gradient)

#define X(row) void dl_fuse_##row(dl_fuse *fuse, const dl_graph_node *node);
DL_FUSION_LIST(X)
#undef X

/* matmul_sums.c: the value that is the sum of x [rows, columns] over its rows, float32 [columns];
 * -1: none. */
dl_value dl_fuse_column_sum(const dl_fuse *fuse, dl_value x);

#endif
