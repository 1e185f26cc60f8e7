/* Layers of several inputs: add, subtract, multiply, average, maximum, concatenate; and lambda, an
 * expression over its inputs. See layer.h. */
#include <stdio.h>
#include <string.h>

#include "models/expression.h"
#include "models/layer.h"
#include "ops/ops.h"

enum { LAMBDA_NAMES = DL_EXPR_MAX_INPUTS + 1 };

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

/* The inputs by name; a lone one is also x. */
static dl_status find_input(void *argument, int index, dl_operand *out) {
    const dl_layer_build *build = argument;
    out->value = build->input[index < build->inputs ? index : 0];
    return DL_OK;
}

dl_value dl_build_lambda(dl_layer_build *build) {
    const char *name[LAMBDA_NAMES];
    char owner[160];
    if (build->inputs > DL_EXPR_MAX_INPUTS)
        return dl_layer_fail(build, "lambda takes at most %d inputs", DL_EXPR_MAX_INPUTS);
    memcpy(name, build->input_name, sizeof *name * (size_t)build->inputs);
    name[build->inputs] = "x";
    dl_expression_names names = {.kind = DL_ELEMENTWISE,
                                 .name = name,
                                 .count = build->inputs + (build->inputs == 1),
                                 .find = find_input,
                                 .argument = build,
                                 .constants = build->constants};
    snprintf(owner, sizeof owner, "layer '%.100s'", build->layer->name);
    return dl_expression_formula(build->graph, dl_get(build->node, "expr"), owner, &names);
}
