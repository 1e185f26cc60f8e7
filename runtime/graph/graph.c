/* Building a graph: values, nodes, inputs, assignments, outputs. See graph.h. */
#include "runtime/graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void dl_graph_init(dl_graph *graph, const dl_op_table *ops, dl_variables *variables,
                   int64_t samples, bool training) {
    memset(graph, 0, sizeof *graph);
    graph->ops = ops;
    graph->variables = variables;
    graph->samples = samples;
    graph->training = training;
    graph->scope = "";
    graph->exprs = dl_exprs_open(&graph->arena);
    if (!graph->exprs)
        dl_graph_fail(graph, DL_NO_MEMORY, "no memory for a graph");
}

void dl_graph_fini(dl_graph *graph) {
    dl_free(graph->value);
    dl_free(graph->node);
    dl_free(graph->assignment);
    dl_free(graph->output);
    dl_arena_free(&graph->arena);
    memset(graph, 0, sizeof *graph);
}

dl_status dl_graph_status(const dl_graph *graph) {
    if (graph->status == DL_OK)
        return DL_OK;
    return dl_fail(graph->status, "%s", graph->message ? graph->message : "no memory for a graph");
}

dl_value dl_graph_fail(dl_graph *graph, dl_status status, const char *format, ...) {
    if (graph->status != DL_OK)
        return -1;
    char text[DL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (graph->place)
        dl_fail_at(graph->place, status, "%s", text);
    else
        dl_fail(status, "%s", text);
    graph->status = status;
    graph->message = dl_arena_text(&graph->arena, dl_message());
    return -1;
}

/* Makes room for `more` entries of `bytes` each behind `used`. */
static bool reserve(dl_graph *graph, void **array, int *capacity, int used, int more,
                    size_t bytes) {
    if (used + more <= *capacity)
        return true;
    int wanted = *capacity ? 2 * *capacity : 64;
    while (wanted < used + more)
        wanted *= 2;
    void *grown = dl_realloc(*array, (size_t)wanted * bytes);
    if (!grown) {
        dl_graph_fail(graph, DL_NO_MEMORY, "no memory for a graph of %d entries", wanted);
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}

static dl_value add_value(dl_graph *graph, const dl_value_info *info) {
    if (!reserve(graph, (void **)&graph->value, &graph->value_capacity, graph->values, 1,
                 sizeof *graph->value))
        return -1;
    graph->value[graph->values] = *info;
    return graph->values++;
}

dl_value dl_graph_input(dl_graph *graph, const char *name, dl_type type, bool shared) {
    if (graph->status != DL_OK)
        return -1;
    for (int i = 0; i < graph->values; i++)
        if (graph->value[i].role == DL_ROLE_INPUT && strcmp(graph->value[i].name, name) == 0)
            return dl_same_type(&graph->value[i].type, &type) && graph->value[i].shared == shared
                       ? i
                       : dl_graph_fail(graph, DL_INTERNAL, "input '%s' is given two types", name);
    dl_value_info info = {.type = type, .role = DL_ROLE_INPUT, .shared = shared, .node = -1};
    info.sampled = !shared && type.rank > 0;
    info.name = dl_arena_text(&graph->arena, name);
    return add_value(graph, &info);
}

dl_value dl_graph_window(dl_graph *graph, dl_slab slab, int64_t offset, dl_type type) {
    if (graph->status != DL_OK)
        return -1;
    for (int i = 0; i < graph->values; i++) {
        const dl_value_info *have = &graph->value[i];
        if (have->role == DL_ROLE_VARIABLE && have->slab == slab && have->offset == offset &&
            dl_same_type(&have->type, &type))
            return i;
    }
    dl_value_info info = {.type = type,
                          .role = DL_ROLE_VARIABLE,
                          .shared = true,
                          .node = -1,
                          .slab = slab,
                          .offset = offset};
    return add_value(graph, &info);
}

/* Before the layout all offsets are 0: variables are kept apart by their order. */
static int64_t offset_of(const dl_graph *graph, const dl_variable *variable) {
    return graph->variables && graph->variables->laid_out ? variable->offset
                                                          : (int64_t)(variable->order + 1) << 40;
}

dl_value dl_graph_variable(dl_graph *graph, const dl_variable *variable) {
    return dl_graph_window(graph, variable->slab, offset_of(graph, variable), variable->type);
}

const char *dl_value_name(const dl_graph *graph, dl_value value) {
    const dl_value_info *info = &graph->value[value];
    if (info->role == DL_ROLE_INPUT)
        return info->name;
    if (info->role == DL_ROLE_TEMP)
        return graph->node[info->node].name;
    for (int i = 0; graph->variables && i < graph->variables->count; i++) {
        const dl_variable *variable = graph->variables->list[i];
        if (variable->slab == info->slab && offset_of(graph, variable) == info->offset)
            return variable->name;
    }
    return "a window on the parameters";
}

const dl_op *dl_op_find(const dl_op_table *table, const char *name) {
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->op[i]->name, name) == 0)
            return table->op[i];
    return NULL;
}

static bool check_inputs(dl_graph *graph, const dl_op *op, const dl_value *inputs, int count) {
    if (graph->status != DL_OK)
        return false;
    for (int i = 0; i < count; i++) {
        if (inputs[i] < 0 || inputs[i] >= graph->values) {
            dl_graph_fail(graph, DL_INTERNAL, "input %d of %s is no value", i, op->name);
            return false;
        }
    }
    if (count < op->min_inputs || (op->max_inputs >= 0 && count > op->max_inputs)) {
        dl_graph_fail(graph, DL_INTERNAL, "%s is given %d inputs", op->name, count);
        return false;
    }
    return true;
}

/* Whether a node's results can have the samples along axis 0: with one sample a size of 1 does not
 * say. */
static bool keeps_samples(const dl_graph *graph, const dl_graph_node *node) {
    bool any = false;
    for (int i = 0; i < node->inputs; i++)
        any = any || graph->value[node->input[i]].sampled;
    if (!any || node->shared || !node->op->mixes_samples)
        return any && !node->shared;
    return strcmp(node->op->name, "reduce") == 0 &&
           !(((const dl_reduce_attributes *)node->attributes)->axes & 1);
}

static bool marked(uint32_t bits, int input) {
    return bits >> (input < 30 ? input : 30) & 1;
}

/* The one among the inputs, else the graph's. */
static dl_dtype half_of(const dl_graph *graph, const dl_value *inputs, int count) {
    for (int i = 0; i < count; i++)
        if (dl_is_half(graph->value[inputs[i]].type.dtype))
            return graph->value[inputs[i]].type.dtype;
    return graph->precision;
}

/* The rule of dl_op.half. Integers stay what they are. */
static void cast_inputs(dl_graph *graph, const dl_op *op, dl_value *inputs, int count) {
    if (op->half == DL_HALF_EACH)
        return;
    bool half = false;
    for (int i = 0; i < count && op->half; i++)
        half = half || (marked(op->half, i) && dl_is_half(graph->value[inputs[i]].type.dtype)) ||
               (op->seeks_half && dl_is_half(graph->precision) && !graph->value[inputs[i]].shared);
    for (int i = 0; i < count; i++) {
        const dl_value_info *info = &graph->value[inputs[i]];
        bool wanted = half && marked(op->half, i);
        if (dl_is_float(info->type.dtype) && !(wanted && info->shared && marked(op->packs_half, i)))
            inputs[i] =
                dl_convert(graph, inputs[i], wanted ? half_of(graph, inputs, count) : DL_F32);
    }
}

dl_value dl_graph_add(dl_graph *graph, const dl_op *op, const void *attributes,
                      const dl_value *given, int count) {
    if (!check_inputs(graph, op, given, count))
        return -1;
    dl_value *inputs = DL_NEW_N(&graph->arena, dl_value, count + 1);
    if (!inputs)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for a node");
    memcpy(inputs, given, sizeof *inputs * (size_t)count);
    cast_inputs(graph, op, inputs, count);
    if (!check_inputs(graph, op, inputs, count))
        return -1;
    int outputs = op->outputs < 0 ? *(const int *)attributes : op->outputs;
    void *copy = dl_arena_alloc(&graph->arena, op->attribute_bytes + 1);
    const dl_type **types = DL_NEW_N(&graph->arena, const dl_type *, count + 1);
    dl_type *output = DL_NEW_N(&graph->arena, dl_type, outputs);
    const char *name = dl_arena_text(&graph->arena, graph->scope);
    if (!copy || !types || !output || !name)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for a node");
    if (op->attribute_bytes)
        memcpy(copy, attributes, op->attribute_bytes);
    bool shared = true;
    for (int i = 0; i < count; i++) {
        types[i] = &graph->value[inputs[i]].type;
        shared = shared && graph->value[inputs[i]].shared;
    }
    dl_infer infer = {.attributes = copy, .inputs = count, .input = types, .output = output};
    dl_status status = op->infer(&infer);
    if (status != DL_OK)
        return dl_graph_fail(graph, status, "%s", dl_message());
    if (!reserve(graph, (void **)&graph->node, &graph->node_capacity, graph->nodes, 1,
                 sizeof *graph->node) ||
        !reserve(graph, (void **)&graph->value, &graph->value_capacity, graph->values, outputs,
                 sizeof *graph->value))
        return -1;
    bool collective = op == &dl_op_sum_leaves;
    graph->node[graph->nodes] = (dl_graph_node){.op = op,
                                                .attributes = copy,
                                                .inputs = count,
                                                .outputs = outputs,
                                                .input = inputs,
                                                .output = graph->values,
                                                .shared = shared || collective,
                                                .name = name,
                                                .place = graph->place};
    bool samples = keeps_samples(graph, &graph->node[graph->nodes]);
    for (int i = 0; i < outputs; i++)
        graph->value[graph->values++] = (dl_value_info){
            .type = output[i],
            .role = DL_ROLE_TEMP,
            .shared = shared || collective,
            .sampled = samples && output[i].rank > 0 && output[i].dim[0] == graph->samples,
            .node = graph->nodes,
            .slot = i};
    return graph->node[graph->nodes++].output;
}

dl_value dl_graph_add_named(dl_graph *graph, const char *op, const void *attributes,
                            const dl_value *inputs, int count) {
    if (graph->status != DL_OK)
        return -1;
    const dl_op *row = dl_op_find(graph->ops, op);
    if (!row)
        return dl_graph_fail(graph, DL_INTERNAL, "no op '%s'", op);
    return dl_graph_add(graph, row, attributes, inputs, count);
}

void dl_graph_assign(dl_graph *graph, dl_value variable, dl_value value) {
    if (graph->status != DL_OK)
        return;
    if (variable < 0 || value < 0 || graph->value[variable].role != DL_ROLE_VARIABLE ||
        !graph->value[value].shared ||
        dl_type_count(&graph->value[variable].type) != dl_type_count(&graph->value[value].type)) {
        dl_graph_fail(graph, DL_INTERNAL,
                      "an assignment needs a variable and a shared value of its size");
        return;
    }
    if (!reserve(graph, (void **)&graph->assignment, &graph->assignment_capacity,
                 graph->assignments, 1, sizeof *graph->assignment))
        return;
    graph->assignment[graph->assignments++] = (dl_assignment){variable, value};
}

void dl_graph_output_add(dl_graph *graph, const char *name, dl_value value) {
    if (graph->status != DL_OK)
        return;
    if (value < 0) {
        dl_graph_fail(graph, DL_INTERNAL, "output '%s' is no value", name);
        return;
    }
    if (!reserve(graph, (void **)&graph->output, &graph->output_capacity, graph->outputs, 1,
                 sizeof *graph->output))
        return;
    graph->output[graph->outputs++] = (dl_graph_output){dl_arena_text(&graph->arena, name), value};
}

const dl_type *dl_type_of(const dl_graph *graph, dl_value value) {
    return &graph->value[value].type;
}

const dl_graph_node *dl_producer(const dl_graph *graph, dl_value value) {
    int node = value < 0 ? -1 : graph->value[value].node;
    return node < 0 ? NULL : &graph->node[node];
}
