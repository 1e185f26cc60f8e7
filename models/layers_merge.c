/* Layers of several inputs: add, subtract, multiply, average, maximum, concatenate; and lambda, an
 * expression over its inputs. See layer.h. */
#include <stdio.h>
#include <string.h>

#include "models/formula.h"
#include "models/layer.h"
#include "ops/ops.h"

/* Shapes are equal, or one has a single cell where the other has several (Keras's broadcasting). */
static bool shapes_meet(dl_layer_build *build) {
    for (int i = 1; i < build->inputs; i++) {
        for (int j = 0; j < i; j++) {
            dl_type one = dl_layer_type(build, j), other = dl_layer_type(build, i);
            bool meet = one.rank == other.rank;
            for (int k = 1; k < one.rank && meet; k++)
                meet = one.dim[k] == other.dim[k] || one.dim[k] == 1 || other.dim[k] == 1;
            char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
            if (meet)
                continue;
            dl_layer_fail(build, "%s cannot join '%s' %s and '%s' %s; shapes must be equal",
                          build->node->word->name, build->input_name[j],
                          dl_shape_text(&one, true, a), build->input_name[i],
                          dl_shape_text(&other, true, b));
            return false;
        }
    }
    return true;
}

/* x0 OP x1 OP x2 ... from left to right; for `max` max(max(x0, x1), x2). */
static dl_value fold(dl_layer_build *build, dl_expr_kind kind, bool divide) {
    if (!shapes_meet(build))
        return -1;
    dl_exprs *set = build->graph->exprs;
    const dl_expr *sum = dl_expr_input(set, 0);
    if (build->inputs > DL_EXPR_MAX_INPUTS)
        return dl_layer_fail(build, "%s takes at most %d inputs", build->node->word->name,
                             DL_EXPR_MAX_INPUTS);
    for (int i = 1; i < build->inputs; i++)
        sum = dl_expr_make(set, kind, sum, dl_expr_input(set, i), NULL);
    if (divide)
        sum = dl_expr_make(set, DL_EXPR_DIV, sum, dl_expr_const(set, (float)build->inputs), NULL);
    if (!sum)
        return dl_graph_fail(build->graph, DL_NO_MEMORY, "no memory for an expression");
    return dl_pointwise(build->graph, &sum, 1, NULL, build->input, build->inputs);
}

dl_value dl_build_add(dl_layer_build *build) {
    return fold(build, DL_EXPR_ADD, false);
}
dl_value dl_build_subtract(dl_layer_build *build) {
    return fold(build, DL_EXPR_SUB, false);
}
dl_value dl_build_multiply(dl_layer_build *build) {
    return fold(build, DL_EXPR_MUL, false);
}
dl_value dl_build_average(dl_layer_build *build) {
    return fold(build, DL_EXPR_ADD, true);
}
dl_value dl_build_maximum(dl_layer_build *build) {
    return fold(build, DL_EXPR_MAX, false);
}

dl_value dl_build_concatenate(dl_layer_build *build) {
    dl_type first = dl_layer_type(build, 0);
    int64_t axis = dl_int(build->node, "axis");
    axis += axis < 0 ? first.rank : 0;
    if (axis < 1 || axis >= first.rank)
        return dl_layer_fail(build, "concatenate: axis %lld does not exist in '%s'",
                             (long long)dl_int(build->node, "axis"), build->input_name[0]);
    for (int i = 1; i < build->inputs; i++) {
        dl_type type = dl_layer_type(build, i), same = type;
        if (type.rank == first.rank)
            same.dim[axis] = first.dim[axis];
        char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
        if (!dl_same_shape(&first, &same))
            return dl_layer_fail(build,
                                 "concatenate cannot join '%s' %s and '%s' %s; shapes must be "
                                 "equal but for axis %lld",
                                 build->input_name[0], dl_shape_text(&first, true, a),
                                 build->input_name[i], dl_shape_text(&type, true, b),
                                 (long long)axis);
    }
    return dl_concatenate(build->graph, build->input, build->inputs, (int)axis);
}

enum { LAMBDA_NAMES = DL_EXPR_MAX_INPUTS + 32 };

static bool is_named(const dl_symbol *symbols, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(symbols[i].name, name) == 0)
            return true;
    return false;
}

/* What an expression of lambda sees: its inputs, x if there is one, the job's constants. -1 after
 * an error. */
static int name_symbols(dl_layer_build *build, dl_symbol symbols[LAMBDA_NAMES]) {
    int count = 0;
    if (build->inputs >= DL_EXPR_MAX_INPUTS)
        return (int)dl_layer_fail(build, "lambda takes at most %d inputs", DL_EXPR_MAX_INPUTS - 1);
    for (int i = 0; i < build->inputs; i++)
        symbols[count++] = dl_symbol_value(build->input_name[i], build->input[i]);
    if (build->inputs == 1 && strcmp(build->input_name[0], "x") != 0)
        symbols[count++] = dl_symbol_value("x", build->input[0]);
    for (DL_EACH(constant, build->constants)) {
        if (is_named(symbols, count, constant->key))
            return (int)dl_layer_fail(
                build, "'%s' is a constant and an input of lambda '%s'; give one another name",
                constant->key, build->layer->name);
        if (count == LAMBDA_NAMES)
            return (int)dl_layer_fail(build, "the job has too many constants");
        symbols[count++] = dl_symbol_number(constant->key, constant->number);
    }
    return count;
}

dl_value dl_build_lambda(dl_layer_build *build) {
    dl_symbol symbols[LAMBDA_NAMES];
    int count = name_symbols(build, symbols);
    if (count < 0)
        return -1;
    dl_graph *graph = build->graph;
    const dl_node *text = dl_get(build->node, "expr"), *place = graph->place;
    graph->place = text;
    dl_value y = -1;
    dl_arena arena = {0};
    dl_exprs *trial = dl_exprs_open(&arena); /* for a message that names the layer */
    dl_expr_name names[LAMBDA_NAMES];
    const dl_expr *parsed;
    for (int i = 0; trial && i < count; i++)
        names[i] = (dl_expr_name){
            symbols[i].name, symbols[i].is_number ? dl_expr_const(trial, (float)symbols[i].number)
                                                  : dl_expr_input(trial, i)};
    if (trial && dl_expr_parse(trial, text->text, names, count, "", &parsed) != DL_OK)
        dl_layer_fail(build, "expression of layer '%s', %s", build->layer->name, dl_message());
    else
        y = dl_formula(graph, text->text, NULL, symbols, count);
    dl_arena_free(&arena);
    graph->place = place;
    return y;
}
