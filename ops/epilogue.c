/* See epilogue.h. A window's maximum is the cell that its gradient goes to, so what holds for the
 * maxima holds for those cells, and there are fewer maxima than cells. */
#include "ops/epilogue.h"

static dl_value passed(dl_graph *graph, dl_value y, dl_value dy) {
    const dl_value both[] = {y, dy};
    return dl_map(graph, "where(x0 > 0, x1, 0)", both, 2);
}

/* The node that made dy, if it is the gradient of a maximum pooling. */
static const dl_graph_node *handed_out(const dl_graph *graph, dl_value dy) {
    const dl_graph_node *node = dy < 0 ? NULL : dl_producer(graph, dy);
    return node && node->op == &dl_op_max_pool_gradient ? node : NULL;
}

/* Where y went into a pooling alone, the gradient stops at maxima that are not above 0, which has
 * the same bits; the node that made dy is read by nobody then, and goes. */
dl_value dl_epilogue_gradient(dl_graph *graph, dl_epilogue epilogue, dl_value y, dl_value dy) {
    if (epilogue != DL_EPILOGUE_RELU)
        return dy;
    const dl_graph_node *node = handed_out(graph, dy);
    const dl_graph_node *pool = node ? dl_producer(graph, node->input[1]) : NULL;
    if (!pool || pool->op != &dl_op_max_pool || pool->input[0] != y)
        return passed(graph, y, dy);
    const void *attributes = node->attributes;
    dl_value inputs[] = {node->input[0], node->input[1]};
    inputs[0] = passed(graph, pool->output, inputs[0]);
    return dl_graph_add(graph, &dl_op_max_pool_gradient, attributes, inputs, 2);
}

/* Each element that a pooling hands out lands in one cell: adding them up needs no cells. */
dl_value dl_bias_gradient(dl_graph *graph, dl_value dy, dl_value bias) {
    const dl_graph_node *node = handed_out(graph, dy);
    return dl_reduce_to(graph, node ? node->input[0] : dy, bias);
}
