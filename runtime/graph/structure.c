/* Structural rows without arithmetic of their own: the view (another shape, no copy) and the
 * collective (the sum over all shards). The executor knows both: a view is an alias, a collective
 * is a dl_sum; so neither has a kernel. */
#include <string.h>

#include "runtime/graph/graph.h"

static dl_status infer_view(const dl_infer *infer) {
    const dl_view_attributes *view = infer->attributes;
    int64_t count = dl_type_count(&view->type), have = dl_type_count(infer->input[0]);
    if (view->type.dtype != infer->input[0]->dtype)
        return dl_fail(DL_INTERNAL, "a view cannot change the element type");
    if (view->offset < 0 || view->offset + count > have)
        return dl_fail(DL_INTERNAL, "a view of %lld elements at %lld into %lld", (long long)count,
                       (long long)view->offset, (long long)have);
    infer->output[0] = view->type;
    return DL_OK;
}

/* Zeros around the gradient where the view was a part. */
static void grad_view(dl_grad *grad) {
    const dl_view_attributes *view = grad->attributes;
    dl_type from = *dl_type_of(grad->graph, grad->input[0]);
    int64_t count = dl_type_count(&view->type), all = dl_type_count(&from);
    if (count == all) {
        grad->dx[0] = dl_view(grad->graph, grad->dy[0], from, 0);
        return;
    }
    dl_pad_attributes pad;
    memset(&pad, 0, sizeof pad);
    pad.before[0] = view->offset;
    pad.after[0] = all - view->offset - count;
    dl_value flat = dl_view(grad->graph, grad->dy[0],
                            DL_TYPE(dl_type_of(grad->graph, grad->dy[0])->dtype, count), 0);
    flat = dl_graph_add_named(grad->graph, "pad", &pad, &flat, 1);
    grad->dx[0] = dl_view(grad->graph, flat, from, 0);
}

const dl_op dl_op_view = {.name = "view",
                          .min_inputs = 1,
                          .max_inputs = 1,
                          .outputs = 1,
                          .attribute_bytes = sizeof(dl_view_attributes),
                          .infer = infer_view,
                          .grad = grad_view,
                          .half = 1,
                          .deterministic = true};

dl_value dl_view(dl_graph *graph, dl_value value, dl_type type, int64_t offset) {
    if (graph->status != DL_OK || value < 0)
        return -1;
    if (offset == 0 && dl_same_type(&graph->value[value].type, &type))
        return value;
    dl_view_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.type = type;
    attributes.offset = offset;
    return dl_graph_add(graph, &dl_op_view, &attributes, &value, 1);
}

dl_value dl_reshape(dl_graph *graph, dl_value value, dl_type type) {
    if (graph->status != DL_OK || value < 0)
        return -1;
    const dl_type *from = dl_type_of(graph, value);
    if (dl_type_count(from) != dl_type_count(&type)) {
        char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
        return dl_graph_fail(graph, DL_BAD_JOB, "cannot reshape %s to %s: the sizes differ",
                             dl_shape_text(from, true, a), dl_shape_text(&type, true, b));
    }
    type.dtype = from->dtype;
    return dl_view(graph, value, type, 0);
}

static int64_t padded(const dl_type *type) {
    return (dl_type_count(type) + DL_SLAB_ALIGN - 1) / DL_SLAB_ALIGN * DL_SLAB_ALIGN;
}

static dl_status infer_sum(const dl_infer *infer) {
    int64_t total = 0;
    for (int i = 0; i < infer->inputs; i++) {
        if (infer->input[i]->dtype != DL_F32)
            return dl_fail(DL_INTERNAL, "a sum over shards takes float32");
        total += padded(infer->input[i]);
    }
    infer->output[0] = DL_TYPE(DL_F32, total);
    return DL_OK;
}

/* Each shard used the sum: what reaches it is summed over the shards again. A gradient that is
 * shared already came from shared nodes alone and is whole. */
static void grad_sum(dl_grad *grad) {
    dl_graph *graph = grad->graph;
    dl_value dy = grad->dy[0];
    if (dy >= 0 && !graph->value[dy].shared)
        dy = dl_sum_leaves(graph, &dy, 1, graph->scope);
    int64_t offset = 0;
    for (int i = 0; i < grad->inputs; i++) {
        dl_type type = *dl_type_of(graph, grad->input[i]);
        if (grad->need[i])
            grad->dx[i] = dl_view(graph, dy, type, offset);
        offset += padded(&type);
    }
}

const dl_op dl_op_sum_leaves = {.name = "sum_leaves",
                                .min_inputs = 1,
                                .max_inputs = -1,
                                .outputs = 1,
                                .infer = infer_sum,
                                .grad = grad_sum,
                                .mixes_samples = true,
                                .deterministic = true};

dl_value dl_sum_leaves(dl_graph *graph, const dl_value *values, int count, const char *name) {
    if (graph->status != DL_OK)
        return -1;
    for (int i = 0; i < count; i++)
        if (values[i] >= 0 && graph->value[values[i]].shared)
            return dl_graph_fail(graph, DL_INTERNAL, "input %d of the sum '%s' is shared already",
                                 i, name);
    const char *scope = graph->scope;
    graph->scope = name;
    dl_value sum = dl_graph_add(graph, &dl_op_sum_leaves, NULL, values, count);
    graph->scope = scope;
    return sum;
}

dl_value dl_sum_part(dl_graph *graph, dl_value sum, int index) {
    const dl_graph_node *node = dl_producer(graph, sum);
    if (graph->status != DL_OK || !node)
        return -1;
    int64_t offset = 0;
    for (int i = 0; i < index; i++)
        offset += padded(dl_type_of(graph, node->input[i]));
    return dl_view(graph, sum, *dl_type_of(graph, node->input[index]), offset);
}
