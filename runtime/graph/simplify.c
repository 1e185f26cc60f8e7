/* Passes that leave every bit as it was, bfloat16 between two fused nodes apart (it stays float32,
 * as it is not stored): equal nodes become one, a view of a view one view, a pointwise node whose
 * only reader is pointwise is composed into it, and what nobody reads goes.
 *
 * The graph is rewritten into fresh arrays; `map` says where an old value went. */
#include <string.h>

#include "runtime/graph/rewrite.h"

static dl_value *identity(dl_graph *graph) {
    dl_value *map = DL_NEW_N(&graph->arena, dl_value, graph->values);
    for (int i = 0; map && i < graph->values; i++)
        map[i] = i;
    return map;
}

static bool same_node(const dl_graph_node *a, const dl_graph_node *b) {
    return a->op == b->op && a->inputs == b->inputs && a->outputs == b->outputs &&
           memcmp(a->input, b->input, sizeof *a->input * (size_t)a->inputs) == 0 &&
           (a->op->attribute_bytes == 0 ||
            memcmp(a->attributes, b->attributes, a->op->attribute_bytes) == 0);
}

/* Merges equal nodes and collapses views of views, in one forward sweep. Collectives stay: their
 * sequence is a contract between ranks. */
static dl_status merge(dl_graph *graph) {
    dl_value *map = identity(graph);
    if (!map)
        return dl_fail(DL_NO_MEMORY, "no memory to simplify a graph");
    enum { BUCKETS = 1024 };
    int head[BUCKETS];
    int *next = DL_NEW_N(&graph->arena, int, graph->nodes + 1);
    if (!next)
        return dl_fail(DL_NO_MEMORY, "no memory to simplify a graph");
    for (int i = 0; i < BUCKETS; i++)
        head[i] = -1;
    for (int n = 0; n < graph->nodes; n++) {
        dl_graph_node *node = &graph->node[n];
        dl_value *input = (dl_value *)node->input;
        uint64_t key = (uint64_t)(uintptr_t)node->op;
        for (int i = 0; i < node->inputs; i++) {
            input[i] = map[input[i]];
            key = key * 1000003u + (uint64_t)input[i];
        }
        if (node->op == &dl_op_view) {
            const dl_graph_node *inner = dl_producer(graph, input[0]);
            dl_view_attributes *view = (dl_view_attributes *)node->attributes;
            if (inner && inner->op == &dl_op_view) {
                view->offset += ((const dl_view_attributes *)inner->attributes)->offset;
                input[0] = inner->input[0];
                key = (uint64_t)(uintptr_t)node->op * 1000003u + (uint64_t)input[0];
            }
            if (view->offset == 0 && dl_same_type(&view->type, dl_type_of(graph, input[0]))) {
                map[node->output] = input[0];
                continue;
            }
        }
        if (node->op == &dl_op_sum_leaves)
            continue;
        int *bucket = &head[(key ^ (key >> 20)) % BUCKETS];
        int same = *bucket;
        while (same >= 0 && !same_node(&graph->node[same], node))
            same = next[same];
        if (same >= 0) {
            for (int o = 0; o < node->outputs; o++)
                map[node->output + o] = graph->node[same].output + o;
            continue;
        }
        next[n] = *bucket;
        *bucket = n;
    }
    dl_rewrite_resolve(graph, map);
    return DL_OK;
}

/* alive[n]: an output or assignment needs node n. */
static void mark_alive(const dl_graph *graph, bool *alive) {
    memset(alive, 0, sizeof *alive * (size_t)graph->nodes);
    for (int i = 0; i < graph->assignments; i++)
        if (graph->value[graph->assignment[i].value].node >= 0)
            alive[graph->value[graph->assignment[i].value].node] = true;
    for (int i = 0; i < graph->outputs; i++)
        if (graph->value[graph->output[i].value].node >= 0)
            alive[graph->value[graph->output[i].value].node] = true;
    for (int n = graph->nodes; n-- > 0;)
        for (int i = 0; i < graph->node[n].inputs && alive[n]; i++)
            if (graph->value[graph->node[n].input[i]].node >= 0)
                alive[graph->value[graph->node[n].input[i]].node] = true;
}

/* Leaves out the inputs that no output reads any more, where one that is read still says the shape
 * for any number of samples. Else a gradient would wait for the loss that it is of. */
static void drop_unread(dl_graph *graph, dl_value output, dl_pointwise_attributes *attributes,
                        dl_value *input) {
    const dl_expr *with[DL_EXPR_MAX_INPUTS];
    uint64_t read = 0;
    bool shaped = false;
    int kept = 0;
    for (int o = 0; o < attributes->outputs; o++)
        read |= dl_expr_inputs(attributes->output[o]);
    for (int i = 0; i < attributes->inputs; i++)
        shaped = shaped || ((read >> i & 1) &&
                            dl_same_shape(dl_type_of(graph, input[i]), dl_type_of(graph, output)) &&
                            graph->value[input[i]].sampled == graph->value[output].sampled);
    for (int i = 0; i < attributes->inputs; i++) {
        with[i] = dl_expr_input(graph->exprs, kept);
        if (!shaped || (read >> i & 1)) {
            input[kept] = input[i];
            attributes->access[kept++] = attributes->access[i];
        }
    }
    for (int o = 0; kept < attributes->inputs && o < attributes->outputs; o++)
        attributes->output[o] =
            dl_expr_substitute(graph->exprs, attributes->output[o], with, attributes->inputs);
    for (int i = kept; i < attributes->inputs; i++)
        attributes->access[i] = (dl_expr_access){0};
    attributes->inputs = kept;
}

/* Composes `node` with the producers of its inputs where they are pointwise, of the same shape and
 * side, and read by nobody else. Returns whether anything changed. */
static bool compose(dl_graph *graph, int index, const int *readers) {
    dl_graph_node *node = &graph->node[index];
    const dl_pointwise_attributes *outer = node->attributes;
    for (int i = 0; i < node->inputs; i++) {
        dl_value value = node->input[i];
        const dl_value_info *info = &graph->value[value];
        if (info->node < 0 || readers[value] != 1)
            continue;
        const dl_graph_node *producer = &graph->node[info->node];
        if (producer->op != &dl_op_pointwise || producer->outputs != 1 ||
            producer->shared != node->shared ||
            info->sampled != graph->value[node->output].sampled ||
            !dl_same_shape(&info->type, dl_type_of(graph, node->output)))
            continue;
        const dl_pointwise_attributes *inner = producer->attributes;
        dl_value inputs[2 * DL_EXPR_MAX_INPUTS];
        dl_expr_access access[2 * DL_EXPR_MAX_INPUTS];
        const dl_expr *inside[DL_EXPR_MAX_INPUTS], *with[DL_EXPR_MAX_INPUTS];
        int count = 0;
        for (int pass = 0; pass < 2; pass++) {
            const dl_graph_node *from = pass ? node : producer;
            const dl_pointwise_attributes *attributes = pass ? outer : inner;
            for (int k = 0; k < from->inputs; k++) {
                const dl_expr **slot = pass ? &with[k] : &inside[k];
                if (pass && k == i) {
                    *slot = dl_expr_substitute(graph->exprs, inner->output[0], inside,
                                               producer->inputs);
                    continue;
                }
                int at = 0;
                while (at < count && (inputs[at] != from->input[k] ||
                                      access[at].div != attributes->access[k].div ||
                                      access[at].mod != attributes->access[k].mod))
                    at++;
                if (at == count) {
                    inputs[count] = from->input[k];
                    access[count++] = attributes->access[k];
                }
                *slot = dl_expr_input(graph->exprs, at);
            }
        }
        if (count > DL_EXPR_MAX_INPUTS)
            continue;
        dl_pointwise_attributes *made = dl_arena_alloc(&graph->arena, sizeof *made);
        dl_value *list = DL_NEW_N(&graph->arena, dl_value, count + 1);
        if (!made || !list)
            return false;
        made->outputs = node->outputs;
        made->inputs = count;
        memcpy(made->dtype, outer->dtype, sizeof made->dtype);
        for (int o = 0; o < node->outputs; o++) {
            made->output[o] =
                dl_expr_substitute(graph->exprs, outer->output[o], with, node->inputs);
            if (!made->output[o])
                return false;
        }
        if (dl_expr_fits(made->output, made->outputs, made->inputs) != DL_OK)
            continue; /* two programs then */
        memcpy(made->access, access, sizeof *access * (size_t)count);
        memcpy(list, inputs, sizeof *inputs * (size_t)count);
        drop_unread(graph, node->output, made, list);
        for (int o = 0; o < made->outputs; o++)
            if (!made->output[o])
                return false;
        node->attributes = made;
        node->input = list;
        node->inputs = made->inputs;
        return true;
    }
    return false;
}

/* A value that is rounded to half only to be widened again is written as float32. */
static dl_status write_wide(dl_graph *graph, const bool *alive, const int *readers) {
    dl_value *map = identity(graph);
    if (!map)
        return dl_fail(DL_NO_MEMORY, "no memory to simplify a graph");
    for (int n = 0; n < graph->nodes; n++) {
        const dl_graph_node *node = &graph->node[n];
        const dl_pointwise_attributes *cast = node->attributes;
        if (!alive[n] || node->op != &dl_op_pointwise || cast->outputs != 1 ||
            cast->dtype[0] != DL_F32 || cast->output[0]->kind != DL_EXPR_INPUT)
            continue;
        dl_value from = node->input[0];
        const dl_graph_node *producer = dl_producer(graph, from);
        if (!producer || !producer->op->writes_f32 || readers[from] != 1 ||
            !dl_is_half(dl_type_of(graph, from)->dtype) ||
            !dl_same_shape(dl_type_of(graph, from), dl_type_of(graph, node->output)))
            continue;
        graph->value[from].type.dtype = DL_F32;
        map[node->output] = from;
    }
    dl_rewrite_resolve(graph, map);
    return DL_OK;
}

dl_status dl_graph_simplify(dl_graph *graph) {
    DL_TRY(dl_graph_status(graph));
    DL_TRY(merge(graph));
    bool *alive = DL_NEW_N(&graph->arena, bool, graph->nodes + 1);
    int *readers = DL_NEW_N(&graph->arena, int, graph->values + 1);
    if (!alive || !readers)
        return dl_fail(DL_NO_MEMORY, "no memory to simplify a graph");
    mark_alive(graph, alive);
    dl_rewrite_count_readers(graph, alive, readers);
    DL_TRY(write_wide(graph, alive, readers));
    mark_alive(graph, alive);
    dl_rewrite_count_readers(graph, alive, readers);
    for (int n = 0; n < graph->nodes; n++) {
        if (!alive[n] || graph->node[n].op != &dl_op_pointwise)
            continue;
        while (compose(graph, n, readers)) {
        }
    }
    mark_alive(graph, alive);
    int kept = 0; /* never ahead of what is read: in place */
    for (int n = 0; n < graph->nodes; n++)
        if (alive[n])
            graph->node[kept++] = graph->node[n];
    dl_rewrite_keep(graph, graph->node, kept);
    return dl_graph_status(graph);
}
