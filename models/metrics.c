/* Metrics by Keras's names: sums over samples of one number each, so that an epoch's mean is exact
 * whatever the batches and ranks. See compare.h. */
#include "models/formula.h"
#include "models/compare.h"
#include "models/keys.h"
#include "ops/ops.h"

static int k_of(const dl_compare *compare) {
    return dl_get(compare->node, "k") ? (int)dl_int(compare->node, "k") : 1;
}

/* A softmax that the crossentropy has made already is not made again. */
static dl_value prediction_of(const dl_compare *compare) {
    return compare->probabilities >= 0 ? compare->probabilities : compare->prediction;
}

/* The class of a one-hot target is that of its greatest number. */
static dl_value categorical(dl_compare *compare) {
    dl_value target = dl_target_like_prediction(compare);
    return dl_in_top_k(compare->graph, prediction_of(compare), target, k_of(compare));
}

static dl_value sparse(dl_compare *compare) {
    dl_value target = dl_target_labels(compare);
    return dl_in_top_k(compare->graph, prediction_of(compare), target, k_of(compare));
}

#define SIBLINGS_OF_METRIC                                                          \
    {"name", "name", "", "under which it is logged"}, {                             \
        "output", "name", "", "layer measured; the outputs of the losses otherwise" \
    }
static const dl_key k_keys[] = {{"k", "int 1..1000000000", "5", "right if among so many best"}};

static const dl_key expr_keys[] = {
    {"expr", "expr", NULL,
     "one number a sample, as in the loss expr; for example \"mean(abs(y_true - y_pred))\""}};

/* word, main, keys, text, function, root of the mean, the greater the better, help */
#define METRIC_LIST(X)                                                                         \
    X(accuracy, NULL, DL_NO_KEYS, NULL, NULL, false, true,                                     \
      "share of right answers: binary for one output, else of the class")                      \
    X(binary_accuracy, NULL, DL_NO_KEYS, "where(p > 0.5, 1, 0) == t", NULL, false, true,       \
      "share of outputs on the right side of 0.5")                                             \
    X(categorical_accuracy, NULL, DL_NO_KEYS, NULL, categorical, false, true,                  \
      "share of samples whose greatest output is the target's")                                \
    X(sparse_categorical_accuracy, NULL, DL_NO_KEYS, NULL, sparse, false, true,                \
      "the same with labels as numbers")                                                       \
    X(top_k_categorical_accuracy, "k", DL_KEYS(k_keys), NULL, categorical, false, true,        \
      "share of samples whose target is among the k greatest outputs")                         \
    X(sparse_top_k_categorical_accuracy, "k", DL_KEYS(k_keys), NULL, sparse, false, true,      \
      "the same with labels as numbers")                                                       \
    X(mae, NULL, DL_NO_KEYS, "abs(p - t)", NULL, false, false, "mean absolute error")          \
    X(mse, NULL, DL_NO_KEYS, "square(p - t)", NULL, false, false, "mean squared error")        \
    X(mape, NULL, DL_NO_KEYS, "100 * abs((t - p) / max(abs(t), epsilon))", NULL, false, false, \
      "mean absolute error in percent of the target")                                          \
    X(root_mean_squared_error, NULL, DL_NO_KEYS, "square(p - t)", NULL, true, false,           \
      "square root of the mean squared error")                                                 \
    X(expr, "expr", DL_KEYS(expr_keys), NULL, dl_compare_expression, false, false,             \
      "the mean of an expression of your own")

#define X(word, main, keys, text, function, root, high, help) \
    static const dl_compare_row word##_row = {text, false, function, root, high};
METRIC_LIST(X)
#undef X

static const dl_word words[] = {
#define X(word, main, keys, text, function, root, high, help) \
    {#word, main, keys, help, &word##_row},
    METRIC_LIST(X)
#undef X
};
static const dl_key siblings[] = {SIBLINGS_OF_METRIC};

const dl_family dl_metric_family = {"metric", "metrics", words, DL_COUNT(words), DL_KEYS(siblings)};

/* Keras 2.4 chooses by shapes: one output is binary; fewer dimensions in the target, or one value
 * where the prediction has several, are labels. */
const dl_compare_row *dl_metric_row(const dl_compare *compare) {
    const dl_compare_row *row = compare->node->word->impl;
    if (row != &accuracy_row)
        return row;
    const dl_type *p = dl_type_of(compare->graph, compare->prediction);
    if (p->dim[p->rank - 1] == 1 || compare->target < 0)
        return &binary_accuracy_row;
    const dl_type *t = dl_type_of(compare->graph, compare->target);
    bool labels = t->rank < p->rank || t->dim[t->rank - 1] == 1;
    return labels ? &sparse_categorical_accuracy_row : &categorical_accuracy_row;
}
