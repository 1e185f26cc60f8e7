/* See parts.h. The CPU's kernel, which only tests run, is that of the pointwise row, part by part.
 */
#include "runtime/graph/parts.h"

#include <string.h>

#include "runtime/graph/rewrite.h"

/* ---- the row ---- */

/* All of a part have the shape of its inputs that run along. */
static dl_status infer(const dl_infer *infer) {
    const dl_parts_attributes *attributes = infer->attributes;
    const dl_pointwise_attributes *each = &attributes->each;
    if (infer->inputs != attributes->parts * each->inputs ||
        attributes->outputs != attributes->parts * each->outputs)
        return dl_fail(DL_INTERNAL, "parts with %d inputs and %d outputs", infer->inputs,
                       attributes->outputs);
    for (int p = 0; p < attributes->parts; p++)
        for (int o = 0; o < each->outputs; o++) {
            dl_type *type = &infer->output[p * each->outputs + o];
            for (int i = 0; i < each->inputs; i++)
                if (!(attributes->single >> i & 1))
                    *type = *infer->input[p * each->inputs + i];
            type->dtype = each->dtype[o];
        }
    return DL_OK;
}

typedef struct state {
    int parts, inputs, outputs;
    dl_prepared part[];
} state;

static void release(void *prepared) {
    state *s = prepared;
    for (int p = 0; p < s->parts; p++)
        if (s->part[p].state)
            dl_op_pointwise.cpu.release(s->part[p].state);
    dl_free(s);
}

static dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_parts_attributes *attributes = what->attributes;
    size_t bytes = sizeof(state) + sizeof(dl_prepared) * (size_t)attributes->parts;
    state *s = dl_alloc(bytes);
    if (!s)
        return dl_fail_memory(bytes);
    s->parts = attributes->parts;
    s->inputs = attributes->each.inputs;
    s->outputs = attributes->each.outputs;
    dl_status status = DL_OK;
    for (int p = 0; p < s->parts && status == DL_OK; p++) {
        dl_pointwise_attributes each = attributes->each;
        dl_prepare part = *what;
        part.attributes = &each;
        part.inputs = s->inputs;
        part.outputs = s->outputs;
        part.input += p * s->inputs;
        part.output += p * s->outputs;
        int64_t count = dl_type_count(part.output[0]);
        for (int i = 0; i < s->inputs; i++)
            each.access[i] = (dl_expr_access){1, attributes->single >> i & 1 ? 1 : count};
        status = dl_op_pointwise.cpu.prepare(&part, &s->part[p]);
    }
    if (status != DL_OK) {
        release(s);
        return status;
    }
    out->state = s;
    return DL_OK;
}

static dl_status run(const void *prepared, const dl_run *run) {
    const state *s = prepared;
    for (int p = 0; p < s->parts; p++) {
        dl_run part = *run;
        part.in += p * s->inputs;
        part.out += p * s->outputs;
        DL_TRY(dl_op_pointwise.cpu.run(s->part[p].state, &part));
    }
    return DL_OK;
}

const dl_op dl_op_pointwise_parts = {.name = "pointwise_parts",
                                     .min_inputs = 1,
                                     .max_inputs = -1,
                                     .outputs = -1,
                                     .attribute_bytes = sizeof(dl_parts_attributes),
                                     .infer = infer,
                                     .half = DL_HALF_EACH,
                                     .deterministic = true,
                                     .cpu = {.prepare = prepare, .run = run, .release = release}};

bool dl_runs_along(const dl_graph_node *node, int input, int output, int64_t count) {
    if (node->op == &dl_op_pointwise) {
        const dl_pointwise_attributes *attributes = node->attributes;
        return attributes->access[input].div == 1 && attributes->access[input].mod == count;
    }
    const dl_parts_attributes *attributes = node->attributes;
    return node->op == &dl_op_pointwise_parts &&
           input / attributes->each.inputs == output / attributes->each.outputs &&
           !(attributes->single >> input % attributes->each.inputs & 1);
}

/* ---- joining: one group at a time, so that the search sees what waits for the last one ---- */

typedef struct pass {
    dl_graph *graph;
    int nodes, values; /* before the pass */
    bool *alone;       /* [values] made by a node for which there is no group, now or later */
    int *level;        /* [values] sums that must be there before it */
    bool *read;        /* [values] by a node */
    int *instead;      /* [nodes] that takes its place, or itself */
    bool *depends;     /* [values] on the group */
    dl_value *map;
    bool *done;
    dl_graph_node *order;
    int ordered;
} pass;

static int level_of(const pass *p, const dl_graph_node *node) {
    int level = 0;
    for (int i = 0; i < node->inputs; i++)
        level = p->level[node->input[i]] > level ? p->level[node->input[i]] : level;
    return level;
}

static void find_levels(pass *p) {
    for (int n = 0; n < p->nodes; n++) {
        const dl_graph_node *node = &p->graph->node[n];
        for (int o = 0; o < node->outputs; o++)
            p->level[node->output + o] = level_of(p, node) + (node->op == &dl_op_sum_leaves);
        for (int i = 0; i < node->inputs; i++)
            p->read[node->input[i]] = true;
    }
}

/* What no node waits for, new values of variables, can wait itself: for the last of its group. */
static bool can_wait(const pass *p, const dl_graph_node *node) {
    for (int o = 0; o < node->outputs; o++)
        if (p->read[node->output + o])
            return false;
    return true;
}

static bool together(const pass *p, const dl_graph_node *a, const dl_graph_node *b) {
    return level_of(p, a) == level_of(p, b) || (can_wait(p, a) && can_wait(p, b));
}

/* Can be a part; says which of its inputs are single. Outputs without elements that run along
 * would have no shape. */
static bool joins(const dl_graph *graph, const dl_graph_node *node, uint32_t *single) {
    const dl_pointwise_attributes *attributes = node->attributes;
    if (node->op != &dl_op_pointwise || !node->shared)
        return false;
    int64_t count = dl_type_count(dl_type_of(graph, node->output));
    bool along = false;
    *single = 0;
    for (int o = 0; o < attributes->outputs; o++)
        if (dl_expr_is_random(attributes->output[o]))
            return false;
    for (int i = 0; i < node->inputs; i++) {
        bool runs =
            dl_runs_along(node, i, 0, count) &&
            dl_same_shape(dl_type_of(graph, node->input[i]), dl_type_of(graph, node->output));
        if (!runs && attributes->access[i].mod != 1)
            return false;
        *single |= (uint32_t)!runs << i;
        along = along || runs;
    }
    return along;
}

static bool alike(const dl_graph *graph, const dl_graph_node *a, const dl_graph_node *b) {
    const dl_pointwise_attributes *first = a->attributes, *second = b->attributes;
    if (a->inputs != b->inputs || a->outputs != b->outputs)
        return false;
    for (int i = 0; i < a->inputs; i++)
        if (dl_type_of(graph, a->input[i])->dtype != dl_type_of(graph, b->input[i])->dtype)
            return false;
    for (int o = 0; o < a->outputs; o++)
        if (first->output[o] != second->output[o] || first->dtype[o] != second->dtype[o])
            return false;
    return true;
}

/* Marks what depends on a member as the sweep goes on, so that none depends on another. */
static int gather(pass *p, int first, int *member) {
    dl_graph *graph = p->graph;
    uint32_t single, other;
    int count = 0;
    if (p->alone[graph->node[first].output] || !joins(graph, &graph->node[first], &single))
        return 0;
    memset(p->depends, 0, sizeof *p->depends * (size_t)p->values);
    for (int n = first; n < p->nodes; n++) {
        const dl_graph_node *node = &graph->node[n];
        bool depends = false;
        for (int i = 0; i < node->inputs; i++)
            depends = depends || p->depends[node->input[i]];
        bool member_too = !depends && joins(graph, node, &other) && other == single &&
                          alike(graph, &graph->node[first], node) &&
                          together(p, &graph->node[first], node);
        if (member_too)
            member[count++] = n;
        for (int o = 0; o < node->outputs; o++)
            p->depends[node->output + o] = depends || member_too;
    }
    return count;
}

static dl_status join(pass *p, const int *member, int count) {
    dl_graph *graph = p->graph;
    dl_graph_node first = graph->node[member[0]];
    dl_parts_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.each = *(const dl_pointwise_attributes *)first.attributes;
    attributes.each.derivative = NULL;
    attributes.parts = count;
    attributes.outputs = count * first.outputs;
    joins(graph, &first, &attributes.single);
    memset(attributes.each.access, 0, sizeof attributes.each.access);
    dl_value *input = DL_NEW_N(&graph->arena, dl_value, count * first.inputs);
    if (!input)
        return dl_fail_memory(sizeof *input * (size_t)(count * first.inputs));
    for (int m = 0; m < count; m++)
        memcpy(input + m * first.inputs, graph->node[member[m]].input,
               sizeof *input * (size_t)first.inputs);
    graph->scope = first.name;
    graph->place = first.place;
    dl_value made =
        dl_graph_add(graph, &dl_op_pointwise_parts, &attributes, input, count * first.inputs);
    DL_TRY(dl_graph_status(graph));
    for (int m = 0; m < count; m++) {
        p->instead[member[m]] = graph->nodes - 1;
        for (int o = 0; o < first.outputs; o++)
            p->map[graph->node[member[m]].output + o] = made + m * first.outputs + o;
    }
    return DL_OK;
}

/* After all that it reads. */
static void put(pass *p, int n) {
    const dl_graph *graph = p->graph;
    const dl_graph_node *node = &graph->node[n];
    if (p->done[n])
        return;
    p->done[n] = true;
    for (int i = 0; i < node->inputs; i++)
        if (graph->value[node->input[i]].node >= 0)
            put(p, graph->value[node->input[i]].node);
    p->order[p->ordered++] = *node;
}

static dl_status join_some(pass *p, dl_arena *memory, bool *found) {
    dl_graph *graph = p->graph;
    int most = 2 * p->values; /* no more will there be */
    int *member = DL_NEW_N(memory, int, p->nodes + 1);
    p->level = DL_NEW_N(memory, int, p->values + 1);
    p->read = DL_NEW_N(memory, bool, p->values + 1);
    p->instead = DL_NEW_N(memory, int, p->nodes + 1);
    p->depends = DL_NEW_N(memory, bool, p->values + 1);
    p->map = DL_NEW_N(memory, dl_value, most + 1);
    p->done = DL_NEW_N(memory, bool, 2 * p->nodes + 1);
    p->order = DL_NEW_N(memory, dl_graph_node, 2 * p->nodes + 1);
    if (!member || !p->level || !p->read || !p->instead || !p->depends || !p->map || !p->done ||
        !p->order)
        return dl_fail_memory(sizeof *p->order * 2 * (size_t)p->nodes);
    for (int v = 0; v < most; v++)
        p->map[v] = v;
    for (int n = 0; n < p->nodes; n++)
        p->instead[n] = n;
    find_levels(p);
    *found = false;
    for (int n = 0; n < p->nodes && !*found; n++) {
        int count = gather(p, n, member);
        *found = count > 1;
        p->alone[graph->node[n].output] = !*found;
        if (*found)
            DL_TRY(join(p, member, count));
    }
    if (!*found)
        return DL_OK;
    dl_rewrite_resolve(graph, p->map);
    for (int n = 0; n < p->nodes; n++)
        put(p, p->instead[n]);
    dl_rewrite_keep(graph, p->order, p->ordered);
    return DL_OK;
}

dl_status dl_graph_join_parts(dl_graph *graph) {
    const char *scope = graph->scope;
    const dl_node *place = graph->place;
    dl_status status = DL_OK;
    dl_arena longer = {0};
    /* Joining adds dependencies, and so no group for a node that had none. */
    bool *alone = DL_NEW_N(&longer, bool, 2 * graph->values + 1);
    if (!alone)
        status = dl_fail_memory(2 * (size_t)graph->values);
    for (bool found = true; found && status == DL_OK;) {
        dl_arena memory = {0};
        pass p = {.graph = graph, .nodes = graph->nodes, .values = graph->values, .alone = alone};
        status = join_some(&p, &memory, &found);
        dl_arena_free(&memory);
    }
    dl_arena_free(&longer);
    graph->scope = scope;
    graph->place = place;
    return status;
}
