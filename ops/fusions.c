/* What several fusions look for. See fusions.h. */
#include "ops/fusions.h"

#include "ops/ops.h"

bool dl_fuse_is_relu_gradient(const dl_fuse *fuse, const dl_graph_node *node, dl_value *y,
                              dl_value *dx) {
    dl_exprs *exprs = fuse->graph->exprs;
    const dl_pointwise_attributes *attributes = node->attributes;
    if (node->op != &dl_op_pointwise || node->inputs != 2 || attributes->outputs != 1)
        return false;
    for (int i = 0; i < 2; i++) {
        const dl_expr *zero = dl_expr_const(exprs, 0), *of_y = dl_expr_input(exprs, i);
        const dl_expr *above = dl_expr_make(exprs, DL_EXPR_LESS, zero, of_y, NULL);
        *y = node->input[i];
        *dx = node->input[1 - i];
        if (attributes->output[0] ==
            dl_expr_make(exprs, DL_EXPR_WHERE, above, dl_expr_input(exprs, 1 - i), zero))
            return dl_same_type(dl_type_of(fuse->graph, *y), dl_type_of(fuse->graph, *dx)) &&
                   dl_same_type(dl_type_of(fuse->graph, *y), dl_type_of(fuse->graph, node->output));
    }
    return false;
}

dl_value dl_fuse_row_sum(const dl_fuse *fuse, dl_value x) {
    const dl_graph *graph = fuse->graph;
    int rank = dl_type_of(graph, x)->rank;
    for (int n = 0; n < graph->nodes && rank >= 2; n++) {
        const dl_graph_node *node = &graph->node[n];
        const dl_reduce_attributes *attributes = node->attributes;
        if (node->op == &dl_op_reduce && node->input[0] == x &&
            attributes->axes == (1u << (rank - 1)) - 1 && attributes->kind == DL_REDUCE_SUM &&
            !attributes->keep)
            return node->output;
    }
    return -1;
}
