/* Predictions against targets: what a row of losses.c and metrics.c is, and what it works with. */
#ifndef DL_MODELS_COMPARE_H
#define DL_MODELS_COMPARE_H

#include "models/activations.h"
#include "models/expression.h"
#include "runtime/graph/graph.h"

#define DL_KERAS_EPSILON 1e-7 /* Keras's fuzz factor */

typedef struct dl_compare {
    dl_graph *graph;
    const dl_node *node;        /* item of the loss or metric: its arguments */
    const dl_node *output_node; /* layer that gave the prediction, or NULL */
    const char *word, *output_name, *target_name;
    dl_value prediction;    /* [n, ..., c] */
    dl_logits logits;       /* what it was squashed from */
    dl_value probabilities; /* of a softmax, where a crossentropy has them already; else -1 */
    dl_value target;        /* as the data has it: int32 or float32; -1: target_number */
    double target_number;
    int classes;                      /* of the target field; 0: not labels */
    const char *title;                /* "loss 'kl'": of an expression, in messages */
    const dl_expression_names *names; /* what an expression sees; NULL where none can stand */
} dl_compare;

typedef dl_value (*dl_compare_fn)(dl_compare *compare);

/* One number for each sample, [n]: elementwise text over t (target) and p (prediction) and the
 * item's numbers, then the sum or mean over the last axis; or a function of its own. Then the mean
 * over all other axes. */
typedef struct dl_compare_row {
    const char *text;
    bool sum;
    dl_compare_fn function;
    bool root, high; /* metrics: square root of the mean; the greater the better */
} dl_compare_row;

dl_value dl_compare_samples(dl_compare *compare, const dl_compare_row *row);

/* The loss or metric `expr`. */
dl_value dl_compare_expression(dl_compare *compare);

/* Shapes that are equal but for dimensions of 1. */
bool dl_same_but_ones(const dl_type *a, const dl_type *b);
/* The target as float32 in the prediction's shape; as int32 labels in that shape without the last
 * axis. */
dl_value dl_target_like_prediction(dl_compare *compare);
dl_value dl_target_labels(dl_compare *compare);
dl_value dl_mean_but_samples(dl_graph *graph, dl_value x);

/* Row of a metric for this prediction and target. */
const dl_compare_row *dl_metric_row(const dl_compare *compare);

#endif
