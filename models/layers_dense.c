/* input, dense, activation, leaky_relu, softmax. See layer.h; keys in layers.c. */
#include <string.h>

#include "models/formula.h"
#include "models/layer.h"
#include "ops/ops.h"

dl_value dl_build_input(dl_layer_build *build) {
    const dl_node *shape = dl_given(build->node, "shape");
    dl_type type = dl_layer_type(build, 0);
    if (!shape)
        return build->input[0];
    bool equal = shape->count == type.rank - 1;
    for (int i = 0; equal && i < shape->count; i++)
        equal = dl_at(shape, i)->integer == type.dim[i + 1];
    char text[DL_SHAPE_TEXT];
    return equal ? build->input[0]
                 : dl_layer_fail(build, "'%s' gives %s, which is not this shape",
                                 build->input_name[0], dl_shape_text(&type, true, text));
}

/* Works on the last axis whatever the rank. */
dl_value dl_build_dense(dl_layer_build *build) {
    dl_graph *graph = build->graph;
    if (!dl_layer_rank(build, 2, DL_MAX_RANK))
        return -1;
    dl_type type = dl_layer_type(build, 0);
    int64_t units = dl_int(build->node, "units"), width = type.dim[type.rank - 1];
    dl_value kernel =
        dl_layer_weight(build, "kernel", DL_TYPE(DL_F32, units, width), (const int[]){1, 0},
                        "kernel_initializer", "kernel_regularizer", true);
    bool error;
    dl_value bias = dl_layer_bias(build, units, &error);
    if (kernel < 0 || error)
        return -1;
    bool relu = dl_activation_is(dl_get(build->node, "activation"), "relu");
    dl_matmul_attributes attributes = {.transpose_b = true,
                                       .epilogue = relu ? DL_EPILOGUE_RELU : DL_EPILOGUE_NONE};
    dl_value x = build->input[0];
    if (type.rank > 2)
        x = dl_reshape(graph, x, DL_TYPE(DL_F32, dl_type_count(&type) / width, width));
    dl_value y = dl_matmul(graph, x, kernel, bias, &attributes);
    if (type.rank > 2) {
        type.dim[type.rank - 1] = units;
        y = dl_reshape(graph, y, type);
    }
    return dl_layer_activate(build, y, relu);
}

dl_value dl_build_activation(dl_layer_build *build) {
    return dl_layer_activate(build, build->input[0], false);
}

dl_value dl_build_leaky_relu(dl_layer_build *build) {
    dl_symbol symbols[] = {dl_symbol_value("x", build->input[0]),
                           dl_symbol_number("alpha", dl_number(build->node, "alpha"))};
    return dl_formula(build->graph, "where(x > 0, x, alpha * x)", NULL, symbols, 2);
}

dl_value dl_build_softmax(dl_layer_build *build) {
    dl_type type = dl_layer_type(build, 0);
    int64_t axis = dl_int(build->node, "axis");
    axis += axis < 0 ? type.rank : 0;
    if (axis < 1 || axis >= type.rank)
        return dl_layer_fail(build, "softmax: axis %lld does not exist in '%s'",
                             (long long)dl_int(build->node, "axis"), build->input_name[0]);
    if (axis == type.rank - 1) {
        build->logits = (dl_logits){DL_SQUASH_SOFTMAX, build->input[0]};
        return dl_softmax(build->graph, build->input[0]);
    }
    int swap[DL_MAX_RANK];
    for (int i = 0; i < type.rank; i++)
        swap[i] = i == axis ? type.rank - 1 : i == type.rank - 1 ? (int)axis : i;
    dl_value y = dl_softmax(build->graph, dl_transpose(build->graph, build->input[0], swap));
    return dl_transpose(build->graph, y, swap);
}
