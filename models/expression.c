/* Texts of a job to pointwise nodes: names become inputs, parts get shapes that meet. See
 * expression.h; the functions are in expression_words.c. */
#include "models/expression.h"

#include <ctype.h>
#include <string.h>

#include "ops/ops.h"

static dl_status graph_status(const dl_graph *graph) {
    return graph->status == DL_OK ? DL_OK : dl_graph_status(graph);
}

dl_status dl_expression_input(dl_expression *e, const dl_operand *operand, const dl_expr **out) {
    DL_TRY(graph_status(e->graph));
    if (e->inputs == DL_EXPRESSION_INPUTS)
        return dl_fail(DL_BAD_JOB, "the expression has more than %d names and functions",
                       DL_EXPRESSION_INPUTS);
    *out = dl_expr_input(e->graph->exprs, e->inputs);
    e->input[e->inputs++] = *operand;
    return *out ? DL_OK : dl_fail_memory(sizeof(dl_expr));
}

/* The same name twice is one input. */
static dl_status find_name(void *argument, int index, const dl_expr **out) {
    dl_expression *e = argument;
    dl_operand operand = {.value = -1, .raw = -1, .logits = {DL_SQUASH_NONE, -1}};
    operand.name = e->names->name[index];
    DL_TRY(e->names->find(e->names->argument, index, &operand));
    DL_TRY(dl_expression_input(e, &operand, out));
    e->name[index].expr = *out;
    return DL_OK;
}

/* Behind the `count` names that are there. */
static dl_status add_constants(dl_expr_name *name, int *count, const dl_node *constants,
                               dl_exprs *set) {
    int before = *count;
    for (DL_EACH(constant, constants)) {
        for (int i = 0; i < before; i++)
            if (strcmp(name[i].name, constant->key) == 0)
                return dl_fail_at(constant, DL_BAD_JOB,
                                  "'%s' is a constant and also has another meaning in an "
                                  "expression of this job; give the constant another name",
                                  constant->key);
        name[(*count)++] =
            (dl_expr_name){constant->key, dl_expr_const(set, (float)constant->number)};
    }
    return DL_OK;
}

bool dl_expression_open(dl_expression *e, dl_graph *graph, const dl_expression_names *names) {
    *e = (dl_expression){.graph = graph, .names = names};
    int constants = names->constants ? names->constants->count : 0;
    e->name = DL_NEW_N(&graph->arena, dl_expr_name, names->count + constants + 1);
    if (!e->name || !dl_expression_functions(e))
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for an expression") >= 0;
    e->scope.names = e->name;
    for (int i = 0; i < names->count; i++)
        e->name[e->scope.count++] = (dl_expr_name){names->name[i], NULL};
    dl_status status = add_constants(e->name, &e->scope.count, names->constants, graph->exprs);
    if (status != DL_OK) {
        graph->place = NULL; /* the message has its own */
        return dl_graph_fail(graph, status, "%s", dl_message()) >= 0;
    }
    e->scope.find = find_name;
    e->scope.call = dl_expression_call;
    e->scope.argument = e;
    e->scope.kinds = names->kinds;
    e->scope.no_random = names->no_random;
    e->scope.stream_name = graph->scope;
    return graph->status == DL_OK;
}

const dl_expr *dl_expression_read(dl_expression *e, const dl_node *text, const char *owner) {
    dl_graph *graph = e->graph;
    const dl_expr *expr;
    if (graph->status != DL_OK)
        return NULL;
    graph->place = text;
    dl_status status = dl_expr_parse_in(graph->exprs, text->text, &e->scope, &expr);
    if (status != DL_OK)
        dl_graph_fail(graph, status, "expression of %s, %s", owner, dl_message());
    return status == DL_OK ? expr : NULL;
}

void dl_expression_bind(dl_expression *e, int index, const dl_expr *bound) {
    e->name[index].expr = bound;
}

/* [n] beside values of more dimensions is one number for each sample of them. Other shapes have as
 * many dimensions as each other, equal or 1. */
static dl_status align(dl_expression *e, const int *index, dl_value *value, int count) {
    dl_graph *graph = e->graph;
    int most = 0;
    for (int i = 0; i < count; i++)
        if (dl_type_of(graph, value[i])->rank > dl_type_of(graph, value[most])->rank)
            most = i;
    for (int i = 0; i < count && e->names->kind == DL_OVER_SAMPLES; i++) {
        dl_type type = *dl_type_of(graph, value[i]), like = *dl_type_of(graph, value[most]);
        bool meet = type.rank == like.rank;
        if (type.rank == 1 && like.rank > 1) {
            type.rank = like.rank;
            for (int k = 1; k < type.rank; k++)
                type.dim[k] = 1;
            value[i] = dl_reshape(graph, value[i], type);
            continue;
        }
        for (int j = 0; j < i && meet; j++) {
            const dl_type *other = dl_type_of(graph, value[j]);
            for (int k = 1; k < type.rank && other->rank == type.rank; k++)
                if (type.dim[k] != other->dim[k] && type.dim[k] != 1 && other->dim[k] != 1) {
                    meet = false;
                    most = j;
                    like = *other;
                }
        }
        char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
        if (!meet)
            return dl_fail(DL_BAD_JOB, "'%s' %s and '%s' %s do not meet; shapes must be equal",
                           e->input[index[most]].name, dl_shape_text(&like, true, a),
                           e->input[index[i]].name, dl_shape_text(&type, true, b));
    }
    return graph_status(graph);
}

/* The parts as one node. */
static dl_status make(dl_expression *e, const dl_expr *const *parts, int count, dl_value *out) {
    dl_graph *graph = e->graph;
    const dl_expr *with[DL_EXPRESSION_INPUTS], *output[DL_POINTWISE_MAX];
    dl_value value[DL_EXPR_MAX_INPUTS];
    int index[DL_EXPR_MAX_INPUTS], used = 0;
    uint64_t inputs = 0;
    DL_TRY(graph_status(graph));
    for (int i = 0; i < count; i++)
        inputs |= dl_expr_inputs(parts[i]);
    if (inputs == 0 && e->names->kind == DL_OVER_SAMPLES)
        return dl_fail(DL_BAD_JOB, "this names no layer and no field, so it has no shape");
    for (int i = 0; i < e->names->count && inputs == 0; i++) /* then all of them say the shape */
        if (!e->name[i].expr)
            DL_TRY(find_name(e, i, &e->name[i].expr));
    if (inputs == 0)
        inputs = ~(uint64_t)0;
    for (int i = 0; i < e->inputs; i++) {
        with[i] = dl_expr_input(graph->exprs, used);
        if (!(inputs >> i & 1))
            continue;
        if (used == DL_EXPR_MAX_INPUTS)
            return dl_fail(DL_BAD_JOB, "more than %d different values meet here",
                           DL_EXPR_MAX_INPUTS);
        index[used] = i;
        value[used++] = e->input[i].value;
    }
    DL_TRY(align(e, index, value, used));
    for (int i = 0; i < count; i++)
        output[i] = dl_expr_substitute(graph->exprs, parts[i], with, e->inputs);
    *out = dl_pointwise(graph, output, count, NULL, value, used);
    return graph_status(graph);
}

dl_status dl_expression_value(dl_expression *e, const dl_expr *part, dl_value *out) {
    if (part->kind != DL_EXPR_INPUT)
        return make(e, &part, 1, out);
    *out = e->input[part->input].value;
    return graph_status(e->graph);
}

dl_value dl_expression_make(dl_expression *e, const dl_expr *const *outputs, int count) {
    dl_value out = -1;
    dl_status status = make(e, outputs, count, &out);
    return status == DL_OK ? out : dl_graph_fail(e->graph, status, "%s", dl_message());
}

dl_value dl_expression_formula(dl_graph *graph, const dl_node *text, const char *owner,
                               const dl_expression_names *names) {
    dl_expression e;
    const dl_node *place = graph->place;
    const dl_expr *expr = NULL;
    if (dl_expression_open(&e, graph, names))
        expr = dl_expression_read(&e, text, owner);
    dl_value value = expr ? dl_expression_make(&e, &expr, 1) : -1;
    graph->place = place;
    return value;
}

dl_value dl_expression_samples(dl_graph *graph, const dl_node *text, const char *what,
                               const dl_expression_names *names) {
    dl_expression e;
    dl_value value = -1;
    if (!dl_expression_open(&e, graph, names))
        return -1;
    const dl_expr *expr = dl_expression_read(&e, text, what);
    if (!expr)
        return -1;
    dl_status status = dl_expression_value(&e, expr, &value);
    if (status != DL_OK)
        return dl_graph_fail(graph, status, "expression of %s: %s", what, dl_message());
    dl_type type = *dl_type_of(graph, value), one = DL_TYPE(DL_F32, type.dim[0]);
    char shape[DL_SHAPE_TEXT];
    if (dl_type_count(&type) != type.dim[0])
        return dl_graph_fail(graph, DL_BAD_JOB,
                             "%s has shape %s, but a %.*s is one number a sample; wrap it in "
                             "sum(...) or mean(...)",
                             what, dl_shape_text(&type, true, shape), (int)strcspn(what, " "),
                             what);
    return type.rank == 1 ? value : dl_reshape(graph, value, one);
}

dl_status dl_expression_number(dl_arena *arena, const dl_node *text, const char *owner,
                               const char *const *names, int count, const dl_node *constants,
                               const char *kinds, const dl_expr **out) {
    dl_exprs *set = dl_exprs_open(arena);
    dl_expr_name *name =
        DL_NEW_N(arena, dl_expr_name, count + (constants ? constants->count : 0) + 1);
    if (!set || !name)
        return dl_fail_memory(sizeof *name);
    for (int i = 0; i < count; i++)
        name[i] = (dl_expr_name){names[i], dl_expr_input(set, i)};
    DL_TRY(add_constants(name, &count, constants, set));
    dl_expr_scope scope = {.names = name,
                           .count = count,
                           .kinds = kinds,
                           .no_random = "random numbers have no place here"};
    dl_status status = dl_expr_parse_in(set, text->text, &scope, out);
    return status != DL_BAD_JOB
               ? status
               : dl_fail_at(text, status, "expression of %s, %s", owner, dl_message());
}

bool dl_expression_mentions(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *at = text; (at = strstr(at, name)); at++) {
        bool begins = at == text || !(isalnum((unsigned char)at[-1]) || strchr("_.", at[-1]));
        bool ends = !(isalnum((unsigned char)at[length]) || at[length] == '_');
        if (begins && ends)
            return true;
    }
    return false;
}
