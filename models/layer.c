/* What builders of layers share: weights, biases, activations, errors. See layer.h. */
#include "models/layer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

dl_value dl_layer_fail(dl_layer_build *build, const char *format, ...) {
    char text[DL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return dl_graph_fail(build->graph, DL_BAD_JOB, "%s", text);
}

dl_type dl_layer_type(const dl_layer_build *build, int input) {
    return *dl_type_of(build->graph, build->input[input]);
}

bool dl_layer_rank(dl_layer_build *build, int least, int most) {
    dl_type type = dl_layer_type(build, 0);
    if (type.rank >= least && type.rank <= most)
        return true;
    char text[DL_SHAPE_TEXT], wanted[32];
    if (least == most)
        snprintf(wanted, sizeof wanted, "%d", least);
    else
        snprintf(wanted, sizeof wanted, "%d or more", least);
    dl_layer_fail(build,
                  "%s needs an input of %s dimensions with the samples, '%s' gives %s; put a "
                  "reshape before it",
                  build->node->word->name, wanted, build->input_name[0],
                  dl_shape_text(&type, true, text));
    return false;
}

dl_value dl_layer_weight(dl_layer_build *build, const char *name, dl_type type,
                         const int *keras_order, const char *initializer, const char *regularizer,
                         bool trained) {
    dl_layer *layer = build->layer;
    dl_graph *graph = build->graph;
    if (graph->status != DL_OK)
        return -1;
    double count = 1; /* 2^62 bytes would pass for little after an overflow */
    for (int i = 0; i < type.rank; i++)
        count *= (double)type.dim[i];
    if (count > 1e12)
        return dl_layer_fail(build, "'%s' of layer '%s' would have %.3g numbers", name, layer->name,
                             count);
    dl_variable like = {.type = type, .no_decay = type.rank == 1};
    char full[512];
    snprintf(full, sizeof full, "%s/%s", layer->weights, name);
    like.name = full;
    like.layer = layer->weights;
    like.slab = trained && !layer->frozen ? DL_SLAB_PARAMETER : DL_SLAB_STATE;
    for (int i = 0; i < type.rank; i++)
        like.keras_order[i] = keras_order ? keras_order[i] : i;
    like.initializer = dl_get(build->node, initializer);
    like.regularizer = regularizer ? dl_given(build->node, regularizer) : NULL;
    dl_variable *variable;
    dl_status status = dl_variables_want(build->variables, &like, &variable);
    if (status != DL_OK)
        return dl_graph_fail(graph, status, "%s", dl_message());
    for (int i = 0; i < layer->variables; i++)
        if (layer->variable[i] == variable)
            return dl_graph_variable(graph, variable);
    if (layer->variables == DL_LAYER_WEIGHTS)
        return dl_graph_fail(graph, DL_INTERNAL, "layer '%s' has too many weights", layer->name);
    layer->variable[layer->variables++] = variable;
    return dl_graph_variable(graph, variable);
}

dl_value dl_layer_bias(dl_layer_build *build, int64_t units, bool *error) {
    *error = false;
    if (!dl_bool(build->node, "use_bias"))
        return -1;
    dl_value bias = dl_layer_weight(build, "bias", DL_TYPE(DL_F32, units), NULL, "bias_initializer",
                                    "bias_regularizer", true);
    *error = bias < 0;
    return bias;
}

dl_value dl_layer_activate(dl_layer_build *build, dl_value x, bool applied) {
    if (applied || x < 0)
        return x;
    return dl_activate(build->graph, dl_get(build->node, "activation"), x, &build->logits);
}
