/* Where the rows of residual.c take the place of others (runtime/graph/fuse.h). */
#include <string.h>

#include "ops/fusions.h"
#include "ops/ops.h"

enum { INPUTS = 10 };

static void take_norm(const dl_graph_node *node, int first, dl_residual_attributes *attributes,
                      int which, dl_value *inputs, int *count) {
    const dl_batch_norm_attributes *norm = node->attributes;
    attributes->norm[which].epsilon = norm->epsilon;
    attributes->norm[which].has_gamma = norm->has_gamma;
    attributes->norm[which].has_beta = norm->has_beta;
    int vectors = 2 + norm->has_gamma + norm->has_beta;
    memcpy(inputs + *count, node->input + first, sizeof *inputs * (size_t)vectors);
    *count += vectors;
}

static bool in_eights(const dl_type *type) {
    return type->rank >= 2 && type->dim[type->rank - 1] % 8 == 0;
}

/* Whether the node is where(y > 0, x + x', 0), all of one type. */
static bool is_gated_sum(const dl_fuse *fuse, const dl_graph_node *node, dl_value *y,
                         dl_value dy[2]) {
    dl_exprs *exprs = fuse->graph->exprs;
    const dl_pointwise_attributes *attributes = node->attributes;
    if (node->op != &dl_op_pointwise || node->inputs != 3 || attributes->outputs != 1)
        return false;
    const dl_type *type = dl_type_of(fuse->graph, node->output);
    for (int i = 0; i < 3; i++)
        if (!dl_same_type(type, dl_type_of(fuse->graph, node->input[i])))
            return false;
    const dl_expr *zero = dl_expr_const(exprs, 0);
    for (int i = 0; i < 6; i++) {
        int gate = i / 2, a = (gate + 1 + i % 2) % 3, b = (gate + 2 - i % 2) % 3;
        const dl_expr *above =
            dl_expr_make(exprs, DL_EXPR_LESS, zero, dl_expr_input(exprs, gate), NULL);
        const dl_expr *sum = dl_expr_make(exprs, DL_EXPR_ADD, dl_expr_input(exprs, a),
                                          dl_expr_input(exprs, b), NULL);
        *y = node->input[gate];
        dy[0] = node->input[a];
        dy[1] = node->input[b];
        if (attributes->output[0] == dl_expr_make(exprs, DL_EXPR_WHERE, above, sum, zero))
            return true;
    }
    return false;
}

/* The sums of normalisations that end in nothing, of this gradient. */
static int find_sums(const dl_fuse *fuse, dl_value d, const dl_graph_node *found[2]) {
    const dl_graph *graph = fuse->graph;
    int count = 0;
    for (int n = 0; n < graph->nodes && count < 2; n++) {
        const dl_graph_node *node = &graph->node[n];
        const dl_batch_norm_attributes *norm = node->attributes;
        if (node->op == &dl_op_batch_norm_sums && node->input[0] == d && node->input[1] != d &&
            !norm->epilogue)
            found[count++] = node;
    }
    return count;
}

void dl_fuse_residual_sums(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    dl_value y, dy[2];
    if (!is_gated_sum(fuse, node, &y, dy))
        return;
    const dl_graph_node *block = dl_producer(graph, y), *sums[2];
    int count = find_sums(fuse, node->output, sums);
    if (!block || block->op != &dl_op_batch_norm_add || !in_eights(dl_type_of(graph, y)) ||
        count == 0)
        return;
    dl_residual_attributes forward;
    dl_residual_sums_attributes backward;
    memset(&forward, 0, sizeof forward);
    memset(&backward, 0, sizeof backward);
    dl_value inputs[INPUTS] = {block->input[0], block->input[1]};
    dl_value gradient[INPUTS] = {-1, sums[0]->input[1], dy[0], dy[1]}, from[2];
    int taken = 2, channels = (int)dl_type_of(graph, sums[0]->input[2])->dim[0];
    forward.outputs = 2;
    take_norm(block, 2, &forward, 0, inputs, &taken);
    backward.normalised = count == 2;
    for (int i = 0; i < count; i++) {
        backward.epsilon[i] = ((const dl_batch_norm_attributes *)sums[i]->attributes)->epsilon;
        gradient[6] = sums[i]->input[1]; /* of the second */
        memcpy(gradient + (i ? 7 : 4), sums[i]->input + 2, 2 * sizeof *gradient);
        from[i] = sums[i]->output;
    }
    dl_value made = dl_graph_add(graph, &dl_op_residual, &forward, inputs, taken);
    gradient[0] = made + 1;
    dl_fuse_map(fuse, y, made);
    made = dl_graph_add(graph, &dl_op_residual_sums, &backward, gradient, count == 2 ? 9 : 6);
    dl_fuse_map(fuse, node->output, made);
    for (int i = 0; i < count; i++) {
        dl_type type = *dl_type_of(graph, from[i]);
        dl_fuse_map(fuse, from[i],
                    count == 1 ? made + 1 : dl_view(graph, made + 1, type, 2 * i * channels));
    }
}

/* The shortcut is normalised by a node that nobody else reads. */
void dl_fuse_residual(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    bool bits = node->op == &dl_op_residual;
    dl_residual_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    dl_value inputs[INPUTS] = {node->input[0]};
    int count = 2;
    if (bits) {
        memcpy(&attributes, node->attributes, sizeof attributes);
        memcpy(inputs, node->input, sizeof *inputs * (size_t)node->inputs);
        count = node->inputs;
    } else if (node->op == &dl_op_batch_norm_add && in_eights(dl_type_of(graph, node->output))) {
        attributes.outputs = 1;
        take_norm(node, 2, &attributes, 0, inputs, &count);
    } else {
        return;
    }
    const dl_graph_node *norm = dl_producer(graph, node->input[1]);
    if (attributes.normalised || !norm || norm->op != &dl_op_batch_norm ||
        ((const dl_batch_norm_attributes *)norm->attributes)->epilogue ||
        fuse->readers[node->input[1]] != 1)
        return;
    attributes.normalised = true;
    inputs[1] = norm->input[0];
    take_norm(norm, 1, &attributes, 1, inputs, &count);
    dl_value made = dl_graph_add(graph, &dl_op_residual, &attributes, inputs, count);
    dl_fuse_map(fuse, node->output, made);
    if (bits)
        dl_fuse_map(fuse, node->output + 1, made + 1);
}
