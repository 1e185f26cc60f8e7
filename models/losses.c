/* Losses by Keras's names, with the formulas of tf.keras 2.4. A loss over elements is one line:
 * text over t, the target, and p, the prediction. Crossentropies are computed from logits where the
 * prediction was made by softmax or sigmoid, as tf.keras does. See compare.h. */
#include "models/compare.h"
#include "models/formula.h"
#include "models/keys.h"
#include "ops/ops.h"

/* -sum t log p over the last axis, p made to sum 1 and clipped. */
static dl_value from_probabilities(dl_compare *compare, dl_value t, double smoothing) {
    dl_graph *graph = compare->graph;
    dl_value p = compare->prediction;
    if (t < 0)
        return -1;
    int last = dl_type_of(graph, p)->rank - 1;
    dl_symbol symbols[] = {
        dl_symbol_value("t", t),
        dl_symbol_value("p", p),
        dl_symbol_value("sum", dl_reduce(graph, p, DL_REDUCE_SUM, 1u << last, true)),
        dl_symbol_number("epsilon", DL_KERAS_EPSILON),
        dl_symbol_number("keep", 1 - smoothing),
        dl_symbol_number("rest", smoothing / (double)dl_type_of(graph, p)->dim[last])};
    dl_value each = dl_formula(
        graph, "-(t * keep + rest) * log(clip(p / sum, epsilon, 1 - epsilon))", NULL, symbols, 6);
    return dl_reduce(graph, each, DL_REDUCE_SUM, 1u << last, false);
}

static dl_value from_logits(dl_compare *compare, dl_value logits, dl_value target,
                            double smoothing) {
    dl_value loss = dl_softmax_cross_entropy(compare->graph, logits, target, (float)smoothing);
    compare->probabilities = loss < 0 ? -1 : loss + 1;
    return loss;
}

static dl_value categorical(dl_compare *compare) {
    double smoothing = dl_number(compare->node, "label_smoothing");
    dl_value target = dl_target_like_prediction(compare);
    if (target < 0)
        return -1;
    if (dl_bool(compare->node, "from_logits"))
        return from_logits(compare, compare->prediction, target, smoothing);
    if (compare->logits.squash == DL_SQUASH_SOFTMAX)
        return from_logits(compare, compare->logits.value, target, smoothing);
    return from_probabilities(compare, target, smoothing);
}

static dl_value sparse_categorical(dl_compare *compare) {
    dl_value target = dl_target_labels(compare);
    if (target < 0)
        return -1;
    if (dl_bool(compare->node, "from_logits"))
        return from_logits(compare, compare->prediction, target, 0);
    if (compare->logits.squash == DL_SQUASH_SOFTMAX)
        return from_logits(compare, compare->logits.value, target, 0);
    dl_symbol symbols[] = {dl_symbol_value("p", compare->prediction),
                           dl_symbol_number("epsilon", DL_KERAS_EPSILON)};
    dl_value logits =
        dl_formula(compare->graph, "log(clip(p, epsilon, 1 - epsilon))", NULL, symbols, 2);
    dl_value loss = from_logits(compare, logits, target, 0);
    compare->probabilities = -1; /* they are clipped: not what the layer gives */
    return loss;
}

/* Labels may lie outside 0..1. */
static dl_value binary(dl_compare *compare) {
    dl_graph *graph = compare->graph;
    double smoothing = dl_number(compare->node, "label_smoothing");
    dl_value target = dl_target_like_prediction(compare);
    bool given = dl_bool(compare->node, "from_logits");
    bool logits = given || compare->logits.squash == DL_SQUASH_SIGMOID;
    dl_symbol symbols[] = {
        dl_symbol_value("label", target),
        dl_symbol_value("x", given || !logits ? compare->prediction : compare->logits.value),
        dl_symbol_number("epsilon", DL_KERAS_EPSILON), dl_symbol_number("keep", 1 - smoothing),
        dl_symbol_number("rest", smoothing / 2)};
    const char *const with_logits[] = {"t = label * keep + rest", "loss = softplus(x) - x * t"};
    const char *const with_probabilities[] = {
        "t = label * keep + rest", "p = clip(x, epsilon, 1 - epsilon)",
        "loss = -(t * log(p + epsilon) + (1 - t) * log(1 - p + epsilon))"};
    const char *const result[] = {"loss"};
    return dl_formula_lines(graph, logits ? with_logits : with_probabilities, logits ? 2 : 3,
                            symbols, 5, result, 1);
}

static dl_value categorical_hinge(dl_compare *compare) {
    dl_graph *graph = compare->graph;
    dl_symbol symbols[] = {dl_symbol_value("t", dl_target_like_prediction(compare)),
                           dl_symbol_value("p", compare->prediction)};
    dl_value right = dl_formula(graph, "t * p", NULL, symbols, 2);
    dl_value wrong = dl_formula(graph, "(1 - t) * p", NULL, symbols, 2);
    if (right < 0 || wrong < 0)
        return -1;
    uint32_t last = 1u << (dl_type_of(graph, right)->rank - 1);
    dl_symbol both[] = {
        dl_symbol_value("right", dl_reduce(graph, right, DL_REDUCE_SUM, last, false)),
        dl_symbol_value("wrong", dl_reduce(graph, wrong, DL_REDUCE_MAX, last, false))};
    return dl_formula(graph, "max(wrong - right + 1, 0)", NULL, both, 2);
}

/* -1 for equal directions. */
static dl_value cosine_similarity(dl_compare *compare) {
    dl_graph *graph = compare->graph;
    dl_value t = dl_target_like_prediction(compare), p = compare->prediction;
    dl_symbol pair[] = {dl_symbol_value("t", t), dl_symbol_value("p", p)};
    dl_value product = dl_formula(graph, "t * p", NULL, pair, 2);
    if (product < 0)
        return -1;
    uint32_t last = 1u << (dl_type_of(graph, product)->rank - 1);
    dl_symbol symbols[] = {
        dl_symbol_value("dot", dl_reduce(graph, product, DL_REDUCE_SUM, last, false)),
        dl_symbol_value("tt", dl_reduce(graph, t, DL_REDUCE_SUM_SQUARES, last, false)),
        dl_symbol_value("pp", dl_reduce(graph, p, DL_REDUCE_SUM_SQUARES, last, false))};
    return dl_formula(graph, "-dot / (sqrt(max(tt, 1e-12)) * sqrt(max(pp, 1e-12)))", NULL, symbols,
                      3);
}

#define COMMON                                                                                    \
    {"target", "name or number or expr", "",                                                      \
     "field, number or expression (\"1 - x\") compared with; y, or the field named like the "     \
     "output"},                                                                                   \
        {"output", "name", "", "layer compared; that named like the term, or the only output"}, { \
        "sample_weight", "name", "", "field that weighs the samples"                              \
    }
#define FROM_LOGITS \
    { "from_logits", "bool", "false", "the output is not yet squashed" }
#define LABEL_SMOOTHING \
    { "label_smoothing", "number 0..1", "0", "share of a label spread over all classes" }

static const dl_key common_keys[] = {COMMON};
static const dl_key huber_keys[] = {
    {"delta", "number 0..", "1", "error up to which it is quadratic"}, COMMON};
static const dl_key crossentropy_keys[] = {FROM_LOGITS, LABEL_SMOOTHING, COMMON};
static const dl_key sparse_keys[] = {FROM_LOGITS, COMMON};

static const dl_key expr_keys[] = {
    {"expr", "expr", NULL,
     "one number a sample over layers, fields, constants, y_true and y_pred, with mean and sum "
     "over "
     "all but samples, channel(a, k), crop(a, border), dx, dy, gram, size, the losses as "
     "mse(target, prediction); for example \"mean(square(y_true - y_pred))\""},
    COMMON};

/* word, keys, sum over the last axis instead of the mean, text or NULL, function or NULL, help */
#define LOSS_LIST(X)                                                                               \
    X(mse, NULL, common_keys, 0, "square(p - t)", NULL, "mean squared error")                      \
    X(mae, NULL, common_keys, 0, "abs(p - t)", NULL, "mean absolute error")                        \
    X(mape, NULL, common_keys, 0, "100 * abs((t - p) / max(abs(t), epsilon))", NULL,               \
      "mean absolute error in percent of the target")                                              \
    X(msle, NULL, common_keys, 0, "square(log(max(p, epsilon) + 1) - log(max(t, epsilon) + 1))",   \
      NULL, "mean squared error of logarithms")                                                    \
    X(huber, "delta", huber_keys, 0,                                                               \
      "where(abs(p - t) <= delta, 0.5 * square(p - t), delta * abs(p - t) - 0.5 * delta * delta)", \
      NULL, "quadratic for small errors, linear for large ones")                                   \
    X(hinge, NULL, common_keys, 0, "max(1 - where(t == 0, -1, t) * p, 0)", NULL,                   \
      "max(1 - t p, 0), labels -1 and 1 (0 is taken for -1)")                                      \
    X(squared_hinge, NULL, common_keys, 0, "square(max(1 - where(t == 0, -1, t) * p, 0))", NULL,   \
      "square of hinge")                                                                           \
    X(categorical_hinge, NULL, common_keys, 0, NULL, categorical_hinge,                            \
      "max(wrong - right + 1, 0) over classes")                                                    \
    X(poisson, NULL, common_keys, 0, "p - t * log(p + epsilon)", NULL, "p - t log p")              \
    X(kl_divergence, NULL, common_keys, 1,                                                         \
      "clip(t, epsilon, 1) * log(clip(t, epsilon, 1) / clip(p, epsilon, 1))", NULL,                \
      "sum of t log(t / p)")                                                                       \
    X(cosine_similarity, NULL, common_keys, 0, NULL, cosine_similarity,                            \
      "negative cosine of the angle between p and t")                                              \
    X(log_cosh, NULL, common_keys, 0, "abs(p - t) + log1p(exp(-2 * abs(p - t))) - 0.69314718",     \
      NULL, "logarithm of the hyperbolic cosine of the error")                                     \
    X(binary_crossentropy, NULL, crossentropy_keys, 0, NULL, binary,                               \
      "for one or more yes/no outputs (sigmoid)")                                                  \
    X(categorical_crossentropy, NULL, crossentropy_keys, 0, NULL, categorical,                     \
      "for one class of many, targets as rows (softmax)")                                          \
    X(sparse_categorical_crossentropy, NULL, sparse_keys, 0, NULL, sparse_categorical,             \
      "for one class of many, targets as numbers (softmax)")                                       \
    X(expr, "expr", expr_keys, 0, NULL,                                                            \
      dl_compare_expression, /* the last: see expression_words.c */                                \
      "an expression of your own")

#define X(word, main, keys, sum, text, function, help) \
    static const dl_compare_row word##_row = {text, sum, function, false, false};
LOSS_LIST(X)
#undef X

static const dl_word words[] = {
#define X(word, main, keys, sum, text, function, help) \
    {#word, main, DL_KEYS(keys), help, &word##_row},
    LOSS_LIST(X)
#undef X
};

const dl_family dl_loss_family = {"loss", "losses", words, DL_COUNT(words), NULL, 0};
