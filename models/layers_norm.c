/* batch_normalization and layer_normalization. See layer.h.
 *
 * Moving variance: for inputs of four dimensions Keras 2.4 takes its fused kernel, which keeps the
 * unbiased variance, n / (n - 1) of that of the batch; for all others it keeps that of the batch.
 * So do we. */
#include <string.h>

#include "models/formula.h"
#include "models/layer.h"
#include "ops/ops.h"

/* Scalar: values averaged per channel in this shard, from the data, so that programs for
 * different shard sizes have the same nodes. */
static dl_value count_shard(dl_graph *graph, dl_value x, double cells) {
    dl_type type = *dl_type_of(graph, x);
    int64_t begin[DL_MAX_RANK] = {0}, size[DL_MAX_RANK];
    for (int i = 0; i < type.rank; i++)
        size[i] = i == 0 ? type.dim[0] : 1;
    dl_value column = dl_slice(graph, x, begin, size);
    column = dl_constant_like(graph, column, cells);
    return dl_reduce(graph, column, DL_REDUCE_SUM, (1u << type.rank) - 1, false);
}

/* In the order of use, in which a layer used twice moves its averages twice. */
static void add_moving(dl_layer_build *build, dl_variable *variable, dl_value mean, bool shared) {
    dl_moving *moving = DL_NEW(&build->graph->arena, dl_moving), **end = build->moving;
    if (!moving) {
        dl_graph_fail(build->graph, DL_NO_MEMORY, "no memory for a moving average");
        return;
    }
    *moving = (dl_moving){variable, mean, shared, dl_number(build->node, "momentum"), NULL};
    while (*end)
        end = &(*end)->next;
    *end = moving;
}

static dl_variable *weight_named(const dl_layer_build *build, const char *suffix) {
    for (int i = 0; i < build->layer->variables; i++) {
        const char *name = strrchr(build->layer->variable[i]->name, '/');
        if (name && strcmp(name, suffix) == 0)
            return build->layer->variable[i];
    }
    return NULL;
}

dl_value dl_build_batch_normalization(dl_layer_build *build) {
    dl_graph *graph = build->graph;
    const dl_node *node = build->node;
    if (!dl_layer_rank(build, 2, DL_MAX_RANK))
        return -1;
    dl_value x = build->input[0];
    dl_type type = dl_layer_type(build, 0);
    int64_t channels = type.dim[type.rank - 1];
    dl_type vector = DL_TYPE(DL_F32, channels);
    double cells = (double)(dl_type_count(&type) / channels / type.dim[0]);
    dl_batch_norm_attributes attributes = {.epsilon = (float)dl_number(node, "epsilon"),
                                           .has_gamma = dl_bool(node, "scale"),
                                           .has_beta = dl_bool(node, "center")};
    dl_value gamma = -1, beta = -1;
    if (attributes.has_gamma)
        gamma = dl_layer_weight(build, "gamma", vector, NULL, "gamma_initializer",
                                "gamma_regularizer", true);
    if (attributes.has_beta)
        beta = dl_layer_weight(build, "beta", vector, NULL, "beta_initializer", "beta_regularizer",
                               true);
    dl_value moving_mean =
        dl_layer_weight(build, "moving_mean", vector, NULL, "moving_mean_initializer", NULL, false);
    dl_value moving_variance = dl_layer_weight(build, "moving_variance", vector, NULL,
                                               "moving_variance_initializer", NULL, false);
    if (graph->status != DL_OK)
        return -1;
    if (!build->training || build->layer->frozen)
        return dl_batch_norm(graph, x, moving_mean, moving_variance, gamma, beta, -1, &attributes);

    attributes.statistics_of_x = true;
    attributes.global = build->statistics == DL_STATISTICS_GLOBAL;
    dl_value count, sum = dl_channel_sum(graph, x, -1);
    if (attributes.global) {
        dl_symbol whole[] = {dl_symbol_value("samples", build->samples),
                             dl_symbol_number("cells", cells)};
        count = dl_formula(graph, "samples * cells", NULL, whole, 2);
        sum = dl_sum_part(graph, dl_sum_leaves(graph, &sum, 1, graph->scope), 0);
    } else {
        count = count_shard(graph, x, cells);
    }
    dl_symbol first[] = {dl_symbol_value("sum", sum), dl_symbol_value("count", count)};
    dl_value mean = dl_formula(graph, "sum / count", NULL, first, 2);
    dl_value squares = dl_channel_sum(graph, x, mean);
    if (attributes.global)
        squares = dl_sum_part(graph, dl_sum_leaves(graph, &squares, 1, graph->scope), 0);
    dl_symbol second[] = {dl_symbol_value("sum", squares), dl_symbol_value("count", count)};
    dl_value variance = dl_formula(graph, "sum / count", NULL, second, 2);

    if (build->updates && graph->status == DL_OK) {
        dl_symbol symbols[] = {dl_symbol_value("mean", mean), dl_symbol_value("sum", squares),
                               dl_symbol_value("count", count), dl_symbol_number("cells", cells)};
        const char *divisor = type.rank == 4 ? "divisor = max(count - 1, 1)" : "divisor = count";
        const char *weight = attributes.global ? "weight = 1" : "weight = count / cells";
        const char *lines[] = {divisor, weight, "variance = weight * sum / divisor",
                               "mean = weight * mean"};
        const char *results[] = {"mean", "variance"};
        dl_value means = dl_formula_lines(graph, lines, 4, symbols, 4, results, 2);
        if (means >= 0) {
            add_moving(build, weight_named(build, "/moving_mean"), means, attributes.global);
            add_moving(build, weight_named(build, "/moving_variance"), means + 1,
                       attributes.global);
        }
    }
    return dl_batch_norm(graph, x, mean, variance, gamma, beta, count, &attributes);
}

dl_value dl_build_layer_normalization(dl_layer_build *build) {
    dl_type type = dl_layer_type(build, 0);
    dl_type vector = DL_TYPE(DL_F32, type.dim[type.rank - 1]);
    dl_value gamma = -1, beta = -1;
    if (!dl_layer_rank(build, 2, DL_MAX_RANK))
        return -1;
    if (dl_bool(build->node, "scale"))
        gamma = dl_layer_weight(build, "gamma", vector, NULL, "gamma_initializer",
                                "gamma_regularizer", true);
    if (dl_bool(build->node, "center"))
        beta = dl_layer_weight(build, "beta", vector, NULL, "beta_initializer", "beta_regularizer",
                               true);
    if (build->graph->status != DL_OK)
        return -1;
    return dl_layer_norm(build->graph, build->input[0], gamma, beta,
                         (float)dl_number(build->node, "epsilon"));
}
