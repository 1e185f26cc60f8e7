/* See half_copy.h. The update of parameters is elementwise, so the rounded copy is one more output
 * of the node that makes the new value: it is in a register there, and costs no pass over memory
 * of its own. What is assigned from elsewhere is converted by a node for it. */
#include "runtime/graph/half_copy.h"

#include <string.h>

#include "runtime/graph/rewrite.h"

/* The node with its output `slot` once more, in half; its first output, or -1. */
static dl_value with_copy(dl_graph *graph, const dl_graph_node *node, int slot, dl_dtype half) {
    dl_pointwise_attributes attributes = *(const dl_pointwise_attributes *)node->attributes;
    int last = attributes.outputs;
    if (last == DL_POINTWISE_MAX)
        return -1;
    attributes.output[last] = attributes.output[slot];
    attributes.dtype[last] = half;
    attributes.outputs++;
    attributes.derivative = NULL;
    if (dl_expr_fits(attributes.output, attributes.outputs, attributes.inputs) != DL_OK)
        return -1;
    graph->scope = node->name;
    graph->place = node->place;
    return dl_graph_add(graph, &dl_op_pointwise, &attributes, node->input, node->inputs);
}

typedef struct pass {
    dl_graph *graph;
    int nodes;     /* before the pass */
    dl_value *map; /* old value to the new node's */
    int *instead;  /* [nodes] the node that takes its place, or itself */
} pass;

static dl_value copy_of(pass *p, dl_value value, dl_dtype half) {
    dl_graph *graph = p->graph;
    const dl_graph_node *producer = dl_producer(graph, value);
    int at = graph->value[value].node;
    if (!producer || producer->op != &dl_op_pointwise || at >= p->nodes)
        return dl_convert(graph, value, half);
    dl_graph_node node = *producer;
    int outputs = node.outputs;
    dl_value made = with_copy(graph, &node, value - node.output, half);
    if (made < 0)
        return graph->status == DL_OK ? dl_convert(graph, value, half) : -1;
    for (int o = 0; o < outputs; o++)
        p->map[node.output + o] = made + o;
    p->instead[at] = graph->nodes - 1;
    return made + outputs;
}

static dl_status copy_all(pass *p, dl_arena *memory) {
    dl_graph *graph = p->graph;
    dl_dtype half = graph->variables->half;
    int nodes = p->nodes, assignments = graph->assignments;
    int values = 2 * graph->values + 4 * assignments; /* no more will there be */
    p->map = DL_NEW_N(memory, dl_value, values);
    p->instead = DL_NEW_N(memory, int, nodes + 1);
    dl_graph_node *order = DL_NEW_N(memory, dl_graph_node, nodes + assignments + 1);
    if (!p->map || !p->instead || !order)
        return dl_fail_memory(sizeof *order * (size_t)nodes);
    for (int v = 0; v < values; v++)
        p->map[v] = v;
    for (int n = 0; n < nodes; n++)
        p->instead[n] = n;
    for (int i = 0; i < assignments; i++) {
        dl_assignment assignment = graph->assignment[i];
        const dl_value_info *variable = &graph->value[assignment.variable];
        if (variable->slab != DL_SLAB_PARAMETER)
            continue;
        dl_type type = variable->type;
        type.dtype = half;
        dl_value window = dl_graph_window(graph, DL_SLAB_HALF, variable->offset, type);
        dl_graph_assign(graph, window, copy_of(p, p->map[assignment.value], half));
    }
    DL_TRY(dl_graph_status(graph));
    dl_rewrite_resolve(graph, p->map);
    int count = 0;
    for (int n = 0; n < nodes; n++)
        order[count++] = graph->node[p->instead[n]];
    for (int n = nodes; n < graph->nodes; n++) {
        bool placed = false;
        for (int old = 0; old < nodes && !placed; old++)
            placed = p->instead[old] == n;
        if (!placed)
            order[count++] = graph->node[n];
    }
    dl_rewrite_keep(graph, order, count);
    return DL_OK;
}

dl_status dl_graph_assign_half(dl_graph *graph) {
    if (!graph->variables || !dl_is_half(graph->variables->half))
        return DL_OK;
    const char *scope = graph->scope;
    const dl_node *place = graph->place;
    dl_arena memory = {0};
    pass p = {.graph = graph, .nodes = graph->nodes};
    dl_status status = copy_all(&p, &memory);
    dl_arena_free(&memory);
    graph->scope = scope;
    graph->place = place;
    return status;
}
