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
    X(conv_relu_gradient)        \
    X(relu_gradient)             \
    X(residual_sums)             \
    X(residual)                  \
    X(norm_pool)                 \
    X(norm_pool_sums)            \
    X(norm_pool_input_gradient)  \
    X(channel_moments)           \
    X(moment_squares)            \
    X(conv_statistics)           \
    X(conv_norm_weight_gradient) \
    X(conv_norm_input_gradient)

#define X(row) void dl_fuse_##row(dl_fuse *fuse, const dl_graph_node *node);
DL_FUSION_LIST(X)
#undef X

/* fusions.c: whether the node is where(y > 0, dx, 0) as dl_epilogue_gradient writes it, all of one
 * type; the value that is the sum of x [..., c] over all but its last axis, float32 [c], -1: none.
 */
bool dl_fuse_is_relu_gradient(const dl_fuse *fuse, const dl_graph_node *node, dl_value *y,
                              dl_value *dx);
dl_value dl_fuse_row_sum(const dl_fuse *fuse, dl_value x);

#endif
