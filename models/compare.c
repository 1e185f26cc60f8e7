/* Shapes of predictions and targets, and from elements to one number a sample. See compare.h. */
#include "models/compare.h"

#include <string.h>

#include "models/formula.h"
#include "ops/ops.h"

dl_value dl_mean_but_samples(dl_graph *graph, dl_value x) {
    if (x < 0)
        return -1;
    int rank = dl_type_of(graph, x)->rank;
    return rank < 2 ? x : dl_reduce(graph, x, DL_REDUCE_MEAN, (1u << rank) - 2, false);
}

bool dl_same_but_ones(const dl_type *a, const dl_type *b) {
    int i = 0, j = 0;
    for (;;) {
        while (i < a->rank && a->dim[i] == 1)
            i++;
        while (j < b->rank && b->dim[j] == 1)
            j++;
        if (i == a->rank || j == b->rank)
            return i == a->rank && j == b->rank;
        if (a->dim[i++] != b->dim[j++])
            return false;
    }
}

static dl_value do_not_meet(dl_compare *compare, const char *advice) {
    char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
    dl_graph *graph = compare->graph;
    return dl_graph_fail(
        graph, DL_BAD_JOB, "%s cannot compare '%s' %s and target '%s' %s; %s", compare->word,
        compare->output_name, dl_shape_text(dl_type_of(graph, compare->prediction), true, a),
        compare->target_name, dl_shape_text(dl_type_of(graph, compare->target), true, b), advice);
}

dl_value dl_target_like_prediction(dl_compare *compare) {
    dl_graph *graph = compare->graph;
    if (graph->status != DL_OK)
        return -1;
    if (compare->target < 0)
        return dl_constant_like(graph, compare->prediction, compare->target_number);
    dl_type wanted = *dl_type_of(graph, compare->prediction);
    dl_type have = *dl_type_of(graph, compare->target);
    dl_value target = compare->target;
    if (have.dtype != DL_F32)
        target = dl_cast(graph, target, DL_F32);
    have.dtype = wanted.dtype = DL_F32;
    if (dl_same_shape(&have, &wanted))
        return target;
    /* The sample dimension itself may be 1. */
    if (have.rank > 0 && have.dim[0] == wanted.dim[0] && dl_same_but_ones(&have, &wanted))
        return dl_reshape(graph, target, wanted);
    if (compare->classes > 0 && wanted.dim[wanted.rank - 1] > 1)
        return do_not_meet(compare, "turn the labels into rows with the step one_hot, or use a "
                                    "sparse_categorical loss");
    return do_not_meet(compare, "shapes must be equal");
}

dl_value dl_target_labels(dl_compare *compare) {
    dl_graph *graph = compare->graph;
    if (graph->status != DL_OK)
        return -1;
    dl_type wanted = *dl_type_of(graph, compare->prediction);
    int64_t values = wanted.dim[wanted.rank - 1];
    wanted.rank--;
    wanted.dtype = DL_I32;
    if (compare->target < 0)
        return dl_graph_fail(graph, DL_BAD_JOB, "%s needs labels; name a field: target: FIELD",
                             compare->word);
    dl_type have = *dl_type_of(graph, compare->target);
    if (have.dtype != DL_I32)
        return dl_graph_fail(graph, DL_BAD_JOB,
                             "%s needs labels, whole numbers from 0, but '%s' holds other numbers; "
                             "correct them, or for rows of probabilities use the form without "
                             "'sparse'",
                             compare->word, compare->target_name);
    if (compare->classes > values) {
        if (compare->output_node)
            graph->place = compare->output_node;
        return dl_graph_fail(graph, DL_BAD_JOB,
                             "'%s' gives %lld values, but the labels of train run to %d (%d "
                             "classes); set units: %d, or choose with data.classes",
                             compare->output_name, (long long)values, compare->classes - 1,
                             compare->classes, compare->classes);
    }
    if (dl_same_shape(&have, &wanted))
        return compare->target;
    if (have.rank > 0 && have.dim[0] == wanted.dim[0] && dl_same_but_ones(&have, &wanted))
        return dl_reshape(graph, compare->target, wanted);
    return do_not_meet(compare, "labels need the same shape without the last dimension");
}

dl_value dl_compare_expression(dl_compare *compare) {
    return dl_expression_samples(compare->graph, dl_get(compare->node, "expr"), compare->title,
                                 compare->names);
}

dl_value dl_compare_samples(dl_compare *compare, const dl_compare_row *row) {
    dl_graph *graph = compare->graph;
    if (row->function)
        return dl_mean_but_samples(graph, row->function(compare));
    dl_symbol symbols[4] = {
        dl_symbol_value("t", dl_target_like_prediction(compare)),
        dl_symbol_value("p", compare->prediction),
        dl_symbol_number("epsilon", DL_KERAS_EPSILON),
    };
    int count = 3;
    if (dl_get(compare->node, "delta"))
        symbols[count++] = dl_symbol_number("delta", dl_number(compare->node, "delta"));
    dl_value each = dl_formula(graph, row->text, NULL, symbols, count);
    if (each < 0)
        return -1;
    int last = dl_type_of(graph, each)->rank - 1;
    if (row->sum)
        each = dl_reduce(graph, each, DL_REDUCE_SUM, 1u << last, false);
    return dl_mean_but_samples(graph, each);
}
