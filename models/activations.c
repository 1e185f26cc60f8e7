/* Activations: name, expression over x, and where it is cheaper the derivative over y, the output.
 * A new one is one line of the list. Formulas and constants are those of tf.keras 2.4; leaky_relu's
 * alpha is that of Keras's layer. See activations.h. */
#include "models/activations.h"

#include <string.h>

#include "models/expression.h"
#include "models/formula.h"
#include "models/keys.h"
#include "ops/ops.h"

typedef struct activation {
    const char *text;       /* NULL: softmax, or the job's own expression */
    const char *derivative; /* over y */
} activation;

static const dl_key alpha_elu[] = {{"alpha", "number", "1", "slope far below zero"}};
static const dl_key alpha_leaky[] = {{"alpha", "number", "0.3", "slope below zero"}};
static const dl_key expr_keys[] = {
    {"expr", "expr", NULL, "expression over x; for example \"max(x, 0.1 * x)\""}};

/*        name  main  keys  expression  derivative  help */
#define ACTIVATION_LIST(X)                                                                     \
    X(linear, NULL, NO, "x", NULL, "x as it is")                                               \
    X(relu, NULL, NO, "max(x, 0)", "where(y > 0, 1, 0)", "the greater of x and 0")             \
    X(sigmoid, NULL, NO, "sigmoid(x)", "y * (1 - y)", "1 / (1 + exp(-x))")                     \
    X(hard_sigmoid, NULL, NO, "clip(0.2 * x + 0.5, 0, 1)", NULL, "0.2 x + 0.5 held to 0..1")   \
    X(tanh, NULL, NO, "tanh(x)", "1 - y * y", "hyperbolic tangent")                            \
    X(softmax, NULL, NO, NULL, NULL, "exp(x) over its sum along the last axis")                \
    X(elu, "alpha", alpha_elu, "where(x > 0, x, alpha * (exp(min(x, 0)) - 1))", NULL,          \
      "x above 0, alpha (exp(x) - 1) below")                                                   \
    X(selu, NULL, NO, "1.05070098 * where(x > 0, x, 1.67326324 * (exp(min(x, 0)) - 1))", NULL, \
      "scaled elu that keeps mean 0 and variance 1 (Klambauer et al. 2017)")                   \
    X(softplus, NULL, NO, "softplus(x)", NULL, "log(1 + exp(x))")                              \
    X(softsign, NULL, NO, "x / (1 + abs(x))", NULL, "x / (1 + |x|)")                           \
    X(swish, NULL, NO, "x * sigmoid(x)", NULL, "x sigmoid(x)")                                 \
    X(gelu, NULL, NO, "0.5 * x * (1 + erf(x * 0.70710678))", NULL,                             \
      "x times the normal distribution function of x")                                         \
    X(exponential, NULL, NO, "exp(x)", "y", "exp(x)")                                          \
    X(step, NULL, NO, "where(x >= 0, 1, 0)", NULL, "1 from 0 on, else 0; no gradient")         \
    X(leaky_relu, "alpha", alpha_leaky, "where(x > 0, x, alpha * x)", NULL,                    \
      "x above 0, alpha x below")

#define X(name, main, keys, text, derivative, help) \
    static const activation name##_row = {text, derivative};
ACTIVATION_LIST(X)
#undef X
static const activation expr_row = {NULL, NULL};

#define KEYS_NO          DL_NO_KEYS
#define KEYS_alpha_elu   DL_KEYS(alpha_elu)
#define KEYS_alpha_leaky DL_KEYS(alpha_leaky)
static const dl_word words[] = {
#define X(name, main, keys, text, derivative, help) {#name, main, KEYS_##keys, help, &name##_row},
    ACTIVATION_LIST(X)
#undef X
        {"expr", "expr", DL_KEYS(expr_keys), "an expression of your own over x", &expr_row},
};

const dl_family dl_activation_family = {"activation",    "activations", words,
                                        DL_COUNT(words), NULL,          0};

bool dl_activation_is(const dl_node *item, const char *word) {
    return item && item->word && strcmp(item->word->name, word) == 0;
}

static dl_status find_x(void *argument, int index, dl_operand *out) {
    (void)index;
    out->value = *(dl_value *)argument;
    return DL_OK;
}

static dl_value express(dl_graph *graph, const dl_node *item, dl_value x) {
    static const char *const name[] = {"x"};
    dl_expression_names names = {.kind = DL_ELEMENTWISE,
                                 .name = name,
                                 .count = 1,
                                 .find = find_x,
                                 .argument = &x,
                                 .no_random = "random numbers have no place in an activation; a "
                                              "lambda layer can draw them"};
    return x < 0 ? -1
                 : dl_expression_formula(graph, dl_get(item, "expr"), "the activation", &names);
}

dl_value dl_activate(dl_graph *graph, const dl_node *item, dl_value x, dl_logits *logits) {
    const activation *row = item->word->impl;
    dl_logits none;
    logits = logits ? logits : &none;
    *logits = (dl_logits){DL_SQUASH_NONE, x};
    if (row == &linear_row)
        return x;
    if (row == &softmax_row) {
        logits->squash = DL_SQUASH_SOFTMAX;
        return dl_softmax(graph, x);
    }
    dl_value fused = row == &relu_row ? dl_batch_norm_relu(graph, x) : -1;
    if (fused >= 0)
        return fused;
    if (row == &sigmoid_row)
        logits->squash = DL_SQUASH_SIGMOID;
    dl_symbol symbols[2] = {dl_symbol_value("x", x)};
    int count = 1;
    if (dl_get(item, "alpha"))
        symbols[count++] = dl_symbol_number("alpha", dl_number(item, "alpha"));
    if (row == &expr_row)
        return express(graph, item, x);
    return dl_formula(graph, row->text, row->derivative, symbols, count);
}
