/* Gradients: ordinary nodes appended to the same graph, newest node first. What reaches a value
 * from several consumers is added in one node, in the order of the consumers. */
#include <string.h>

#include "runtime/graph/graph.h"

typedef struct arrival {
    dl_value value;
    struct arrival *next;
} arrival;

typedef struct tracer {
    dl_graph *graph;
    int nodes, values;  /* before the gradient's own nodes */
    bool *depends;      /* [values] on one of wrt */
    arrival **arrivals; /* [values] newest consumer first */
    dl_value *total;    /* [values] gradient, once summed; -1 */
    const dl_value *wrt;
    int count;
} tracer;

static bool arrive(tracer *trace, dl_value at, dl_value gradient) {
    arrival *entry = DL_NEW(&trace->graph->arena, arrival);
    if (!entry) {
        dl_graph_fail(trace->graph, DL_NO_MEMORY, "no memory for gradients");
        return false;
    }
    entry->value = gradient;
    entry->next = trace->arrivals[at];
    trace->arrivals[at] = entry;
    return true;
}

/* The sum of all that arrived at a value, of the value's type; -1 if nothing did. */
static dl_value collect(tracer *trace, dl_value at) {
    dl_graph *graph = trace->graph;
    if (trace->total[at] >= 0 || !trace->arrivals[at])
        return trace->total[at];
    dl_value terms[DL_EXPR_MAX_INPUTS];
    int count = 0;
    const dl_expr *sum = NULL;
    for (arrival *entry = trace->arrivals[at]; entry; entry = entry->next) {
        if (count == DL_EXPR_MAX_INPUTS) { /* carry the partial sum on as the first term */
            terms[0] = dl_pointwise_as(graph, DL_F32, &sum, 1, NULL, terms, count);
            sum = dl_expr_input(graph->exprs, 0);
            count = 1;
        }
        const dl_expr *term = dl_expr_input(graph->exprs, count);
        sum = sum ? dl_expr_make(graph->exprs, DL_EXPR_ADD, sum, term, NULL) : term;
        terms[count++] = entry->value;
    }
    dl_dtype dtype = dl_type_of(graph, at)->dtype;
    trace->total[at] = count == 1 ? dl_convert(graph, terms[0], dtype)
                                  : dl_pointwise_as(graph, dtype, &sum, 1, NULL, terms, count);
    return trace->total[at];
}

/* Marks what depends on the marked values, up to node `end`. */
static void mark_dependent(const dl_graph *graph, bool *depends, int end) {
    for (int n = 0; n < end; n++) {
        const dl_graph_node *node = &graph->node[n];
        bool any = false;
        for (int i = 0; i < node->inputs; i++)
            any = any || depends[node->input[i]];
        for (int o = 0; o < node->outputs && any; o++)
            depends[node->output + o] = true;
    }
}

/* The first target that the node depends on. */
static const char *target_of(const tracer *trace, const dl_graph_node *node) {
    dl_graph *graph = trace->graph;
    bool *depends = DL_NEW_N(&graph->arena, bool, graph->values);
    for (int i = 0; depends && i < trace->count; i++) {
        if (trace->wrt[i] < 0 || !dl_is_float(dl_type_of(graph, trace->wrt[i])->dtype))
            continue;
        memset(depends, 0, sizeof *depends * (size_t)trace->values);
        depends[trace->wrt[i]] = true;
        mark_dependent(graph, depends, trace->nodes);
        if (depends[node->output])
            return dl_value_name(graph, trace->wrt[i]);
    }
    return "?";
}

static void step_back(tracer *trace, int index) {
    dl_graph *graph = trace->graph;
    dl_graph_node node = graph->node[index]; /* a copy: the array may move */
    bool needed = false;
    bool *need = DL_NEW_N(&graph->arena, bool, node.inputs + 1);
    dl_value *dx = DL_NEW_N(&graph->arena, dl_value, node.inputs + 1);
    dl_value *dy = DL_NEW_N(&graph->arena, dl_value, node.outputs);
    if (!need || !dx || !dy) {
        dl_graph_fail(graph, DL_NO_MEMORY, "no memory for gradients");
        return;
    }
    for (int i = 0; i < node.inputs; i++) {
        need[i] =
            trace->depends[node.input[i]] && dl_is_float(dl_type_of(graph, node.input[i])->dtype);
        needed = needed || need[i];
        dx[i] = -1;
    }
    if (!needed)
        return;
    bool reached = false;
    for (int o = 0; o < node.outputs; o++) {
        dy[o] = collect(trace, node.output + o);
        reached = reached || dy[o] >= 0;
    }
    if (!reached)
        return;
    if (!node.op->grad) {
        dl_graph_fail(graph, DL_BAD_JOB,
                      "no gradient goes through %s of '%s', but '%s' lies before "
                      "it: freeze the layers before it, or take another layer",
                      node.op->name, node.name, target_of(trace, &node));
        return;
    }
    const char *scope = graph->scope;
    const dl_node *place = graph->place;
    graph->scope = node.name;
    graph->place = node.place;
    dl_grad grad = {.graph = graph,
                    .attributes = node.attributes,
                    .inputs = node.inputs,
                    .input = node.input,
                    .output = node.output,
                    .dy = dy,
                    .need = need,
                    .dx = dx};
    node.op->grad(&grad);
    graph->scope = scope;
    graph->place = place;
    for (int i = 0; i < node.inputs && graph->status == DL_OK; i++) {
        if (dx[i] < 0 || !need[i])
            continue;
        if (!dl_same_shape(dl_type_of(graph, dx[i]), dl_type_of(graph, node.input[i]))) {
            dl_graph_fail(graph, DL_INTERNAL, "gradient %d of %s '%s' has the wrong shape", i,
                          node.op->name, node.name);
            return;
        }
        arrive(trace, node.input[i], dx[i]);
    }
}

static dl_value ones_like(dl_graph *graph, dl_value y) {
    const dl_expr *one = dl_expr_const(graph->exprs, 1.0f);
    return dl_pointwise_as(graph, dl_type_of(graph, y)->dtype, &one, 1, NULL, &y, 1);
}

dl_status dl_gradients(dl_graph *graph, dl_value y, dl_value seed, const dl_value *wrt, int count,
                       dl_value *out) {
    if (graph->status != DL_OK)
        return dl_graph_status(graph);
    tracer trace = {
        .graph = graph, .nodes = graph->nodes, .values = graph->values, .wrt = wrt, .count = count};
    trace.depends = DL_NEW_N(&graph->arena, bool, trace.values);
    trace.arrivals = DL_NEW_N(&graph->arena, arrival *, trace.values);
    trace.total = DL_NEW_N(&graph->arena, dl_value, trace.values);
    if (!trace.depends || !trace.arrivals || !trace.total)
        return dl_fail(DL_NO_MEMORY, "no memory for gradients");
    for (int i = 0; i < trace.values; i++)
        trace.total[i] = -1;
    for (int i = 0; i < count; i++)
        if (wrt[i] >= 0)
            trace.depends[wrt[i]] = true;
    mark_dependent(graph, trace.depends, trace.nodes);
    if (y >= 0 && trace.depends[y])
        arrive(&trace, y, seed >= 0 ? seed : ones_like(graph, y));
    for (int n = trace.nodes; n-- > 0 && graph->status == DL_OK;)
        step_back(&trace, n);
    for (int i = 0; i < count; i++)
        out[i] = wrt[i] >= 0 && graph->status == DL_OK ? collect(&trace, wrt[i]) : -1;
    return dl_graph_status(graph);
}
