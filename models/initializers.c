/* Initializers with the formulas, fans and defaults of tf.keras 2.4. Each fills an array in Keras's
 * order; keras_order.c brings it into the canonical one. See initializers.h. */
#include "models/initializers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/keys.h"
#include "runtime/expr/expr.h"

typedef enum draw_kind { UNIFORM, NORMAL, TRUNCATED } draw_kind;

typedef struct fill {
    const dl_variable *variable;
    const dl_node *item;
    dl_type type; /* in Keras's order */
    uint64_t seed;
    float *out;
} fill;

typedef struct initializer {
    dl_status (*fill)(const struct initializer *row, const fill *what);
    double scale; /* of the scaling kind */
    char fan;     /* i, o or a: in, out, average */
    draw_kind distribution;
} initializer;

/* The expression of a draw, and its evaluation for every element. Keras draws a truncated normal
 * number again until it lies within two deviations; five draws leave one in five million, which is
 * held there. */
static const char *const texts[] = {
    [UNIFORM] = "low + (high - low) * uniform0",
    [NORMAL] = "mean + stddev * normal0",
    [TRUNCATED] =
        "mean + stddev * where(abs(normal0) <= 2, normal0, where(abs(normal1) <= 2, normal1, "
        "where(abs(normal2) <= 2, normal2, where(abs(normal3) <= 2, normal3, "
        "clip(normal4, -2, 2)))))",
};

/* a, b: low and high of UNIFORM, else mean and standard deviation. */
static dl_status draw(const fill *what, draw_kind distribution, double a, double b) {
    dl_arena arena = {0};
    dl_exprs *set = dl_exprs_open(&arena);
    dl_expr_program *program = NULL;
    dl_status status = DL_OK;
    if (!set)
        return dl_fail_memory(sizeof arena);
    const dl_expr *first = dl_expr_const(set, (float)a), *second = dl_expr_const(set, (float)b);
    dl_expr_name names[10] = {
        {"low", first}, {"high", second}, {"mean", first}, {"stddev", second}};
    static const char *const draws[] = {"normal0", "normal1", "normal2", "normal3", "normal4"};
    for (int i = 0; i < 5; i++) {
        char stream[256];
        snprintf(stream, sizeof stream, i == 0 ? "%s" : "%s/%d", what->variable->name, i);
        names[4 + i].name = draws[i];
        names[4 + i].expr = dl_expr_random(set, DL_EXPR_NORMAL, dl_stream(stream));
    }
    names[9].name = "uniform0";
    names[9].expr = dl_expr_random(set, DL_EXPR_UNIFORM, dl_stream(what->variable->name));
    const dl_expr *expr;
    int64_t count = dl_type_count(&what->type);
    DL_GOTO(done, dl_expr_parse(set, texts[distribution], names, 10, "", &expr));
    DL_GOTO(done, dl_expr_compile(&expr, 1, 0, &program));
    dl_random random = {.seed = what->seed};
    dl_expr_run(program, NULL, NULL, &what->out, count, 0, count, &random, count);
done:
    dl_expr_program_free(program);
    dl_arena_free(&arena);
    return status;
}

static dl_status fill_constant(const initializer *row, const fill *what) {
    int64_t count = dl_type_count(&what->type);
    for (int64_t i = 0; i < count; i++)
        what->out[i] = (float)row->scale;
    return DL_OK;
}

/* Appends the numbers of nested lists; false when there are too many. */
static bool flatten(const dl_node *node, int64_t count, int64_t *used, float *out) {
    if (node->kind != DL_NODE_LIST) {
        if (*used < count)
            out[*used] = (float)node->number;
        return (*used)++ < count;
    }
    for (DL_EACH(child, node))
        if (!flatten(child, count, used, out))
            return false;
    return true;
}

static dl_status fill_value(const initializer *row, const fill *what) {
    (void)row;
    const dl_node *value = dl_get(what->item, "value");
    int64_t count = dl_type_count(&what->type), used = 0;
    if (value->kind != DL_NODE_LIST) {
        for (int64_t i = 0; i < count; i++)
            what->out[i] = (float)value->number;
        return DL_OK;
    }
    char text[DL_SHAPE_TEXT];
    if (!flatten(value, count, &used, what->out) || used != count)
        return dl_fail_at(value, DL_BAD_JOB,
                          "the list has not as many numbers as '%s' %s; write one for each weight",
                          what->variable->name, dl_shape_text(&what->type, false, text));
    return DL_OK;
}

static dl_status fill_normal(const initializer *row, const fill *what) {
    (void)row;
    return draw(what, NORMAL, dl_number(what->item, "mean"), dl_number(what->item, "stddev"));
}

static dl_status fill_uniform(const initializer *row, const fill *what) {
    (void)row;
    return draw(what, UNIFORM, dl_number(what->item, "minval"), dl_number(what->item, "maxval"));
}

/* Keras's fans of a shape (..., in, out) with the receptive field before them. */
static void find_fans(const dl_type *type, double *in, double *out) {
    *in = *out = 1;
    if (type->rank == 1)
        *in = *out = (double)type->dim[0];
    if (type->rank < 2)
        return;
    double field = 1;
    for (int i = 0; i < type->rank - 2; i++)
        field *= (double)type->dim[i];
    *in = field * (double)type->dim[type->rank - 2];
    *out = field * (double)type->dim[type->rank - 1];
}

static dl_status draw_scaled(const fill *what, double scale, char fan, draw_kind distribution) {
    double in, out;
    find_fans(&what->type, &in, &out);
    double n = fan == 'i' ? in : fan == 'o' ? out : (in + out) / 2;
    scale /= n > 1 ? n : 1;
    if (distribution == UNIFORM)
        return draw(what, UNIFORM, -sqrt(3 * scale), sqrt(3 * scale));
    /* A standard normal cut at two deviations has this standard deviation itself. */
    double stddev = distribution == TRUNCATED ? sqrt(scale) / 0.87962566103423978 : sqrt(scale);
    return draw(what, distribution, 0, stddev);
}

static dl_status fill_scaled(const initializer *row, const fill *what) {
    return draw_scaled(what, row->scale, row->fan, row->distribution);
}

static dl_status fill_variance_scaling(const initializer *row, const fill *what) {
    (void)row;
    char fan = dl_is(what->item, "mode", "fan_in")    ? 'i'
               : dl_is(what->item, "mode", "fan_out") ? 'o'
                                                      : 'a';
    draw_kind distribution = dl_is(what->item, "distribution", "uniform")            ? UNIFORM
                             : dl_is(what->item, "distribution", "truncated_normal") ? TRUNCATED
                                                                                     : NORMAL;
    return draw_scaled(what, dl_number(what->item, "scale"), fan, distribution);
}

/* Makes the rows of a [rows, length], rows <= length, orthonormal in order (Gram-Schmidt, twice,
 * which is enough for working precision: Giraud et al. 2005). The result is the Q of the QR
 * decomposition whose R has a positive diagonal, which is Keras's choice of signs. */
static bool orthonormalise(double *a, int64_t rows, int64_t length) {
    for (int64_t i = 0; i < rows; i++) {
        double *row = a + i * length;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j < i; j++) {
                double dot = 0;
                for (int64_t k = 0; k < length; k++)
                    dot += row[k] * a[j * length + k];
                for (int64_t k = 0; k < length; k++)
                    row[k] -= dot * a[j * length + k];
            }
        double norm = 0;
        for (int64_t k = 0; k < length; k++)
            norm += row[k] * row[k];
        if (!(norm > 0))
            return false;
        for (int64_t k = 0; k < length; k++)
            row[k] /= sqrt(norm);
    }
    return true;
}

static dl_status fill_orthogonal(const initializer *row, const fill *what) {
    (void)row;
    int64_t count = dl_type_count(&what->type);
    if (what->type.rank < 2)
        return dl_fail_at(what->item, DL_BAD_JOB,
                          "orthogonal needs a weight of at least two dimensions, '%s' has one",
                          what->variable->name);
    int64_t columns = what->type.dim[what->type.rank - 1], rows = count / columns;
    int64_t less = rows < columns ? rows : columns, more = rows < columns ? columns : rows;
    DL_TRY(
        draw(what, NORMAL, 0, 1)); /* as a [more, less] array, whose columns become orthonormal */
    double *a = dl_alloc((size_t)count * sizeof *a);
    if (!a)
        return dl_fail_memory((size_t)count * sizeof *a);
    for (int64_t i = 0; i < more; i++)
        for (int64_t j = 0; j < less; j++)
            a[j * more + i] = what->out[i * less + j];
    bool done = orthonormalise(a, less, more);
    double gain = dl_number(what->item, "gain");
    for (int64_t i = 0; i < more; i++)
        for (int64_t j = 0; j < less; j++)
            what->out[rows < columns ? j * columns + i : i * columns + j] =
                (float)(gain * a[j * more + i]);
    dl_free(a);
    return done ? DL_OK : dl_fail(DL_FAILED, "orthogonal: the drawn matrix is singular");
}

static dl_status fill_identity(const initializer *row, const fill *what) {
    (void)row;
    if (what->type.rank != 2)
        return dl_fail_at(what->item, DL_BAD_JOB,
                          "identity needs a weight of two dimensions, '%s' has %d",
                          what->variable->name, what->type.rank);
    memset(what->out, 0, dl_type_bytes(&what->type));
    for (int64_t i = 0; i < what->type.dim[0] && i < what->type.dim[1]; i++)
        what->out[i * what->type.dim[1] + i] = (float)dl_number(what->item, "gain");
    return DL_OK;
}

static const dl_key value_keys[] = {{"value", "number or list of number or list of list of number",
                                     "0", "the number, or one for each weight in Keras's order"}};
static const dl_key normal_keys[] = {{"mean", "number", "0", "mean"},
                                     {"stddev", "number 0..", "0.05", "standard deviation"}};
static const dl_key uniform_keys[] = {{"minval", "number", "-0.05", "least value"},
                                      {"maxval", "number", "0.05", "greatest value"}};
static const dl_key scaling_keys[] = {
    {"scale", "number 0..", "1", "variance times the fan"},
    {"mode", "word fan_in|fan_out|fan_avg", "fan_in", "what the variance is divided by"},
    {"distribution", "word truncated_normal|untruncated_normal|uniform", "truncated_normal",
     "shape of the distribution"}};
static const dl_key gain_keys[] = {{"gain", "number", "1", "factor"}};

/* name, main argument, keys, row, help */
#define INITIALIZER_LIST(X)                                                                      \
    X(zeros, NULL, DL_NO_KEYS, (fill_constant, 0, 0, 0), "all 0")                                \
    X(ones, NULL, DL_NO_KEYS, (fill_constant, 1, 0, 0), "all 1")                                 \
    X(constant, "value", DL_KEYS(value_keys), (fill_value, 0, 0, 0), "a number, or all of them") \
    X(glorot_uniform, NULL, DL_NO_KEYS, (fill_scaled, 1, 'a', UNIFORM),                          \
      "uniform, variance 2 / (fan in + fan out) (Glorot and Bengio 2010)")                       \
    X(glorot_normal, NULL, DL_NO_KEYS, (fill_scaled, 1, 'a', TRUNCATED),                         \
      "normal cut at two deviations, variance 2 / (fan in + fan out)")                           \
    X(he_normal, NULL, DL_NO_KEYS, (fill_scaled, 2, 'i', TRUNCATED),                             \
      "normal cut at two deviations, variance 2 / fan in (He et al. 2015)")                      \
    X(he_uniform, NULL, DL_NO_KEYS, (fill_scaled, 2, 'i', UNIFORM),                              \
      "uniform, variance 2 / fan in")                                                            \
    X(lecun_normal, NULL, DL_NO_KEYS, (fill_scaled, 1, 'i', TRUNCATED),                          \
      "normal cut at two deviations, variance 1 / fan in")                                       \
    X(lecun_uniform, NULL, DL_NO_KEYS, (fill_scaled, 1, 'i', UNIFORM),                           \
      "uniform, variance 1 / fan in")                                                            \
    X(random_normal, "stddev", DL_KEYS(normal_keys), (fill_normal, 0, 0, 0), "normal")           \
    X(random_uniform, NULL, DL_KEYS(uniform_keys), (fill_uniform, 0, 0, 0), "uniform")           \
    X(variance_scaling, NULL, DL_KEYS(scaling_keys), (fill_variance_scaling, 0, 0, 0),           \
      "variance scale / fan")                                                                    \
    X(orthogonal, "gain", DL_KEYS(gain_keys), (fill_orthogonal, 0, 0, 0),                        \
      "orthonormal columns or rows (Saxe et al. 2014)")                                          \
    X(identity, "gain", DL_KEYS(gain_keys), (fill_identity, 0, 0, 0), "ones on the diagonal")

#define UNWRAP(fill, scale, fan, distribution) \
    { fill, scale, fan, distribution }
#define X(name, main, keys, row, help) static const initializer name##_row = UNWRAP row;
INITIALIZER_LIST(X)
#undef X

static const dl_word words[] = {
#define X(name, main, keys, row, help) {#name, main, keys, help, &name##_row},
    INITIALIZER_LIST(X)
#undef X
};

const dl_family dl_initializer_family = {"initializer",   "initializers", words,
                                         DL_COUNT(words), NULL,           0};

dl_status dl_initial_values(const dl_variable *variable, uint64_t seed, float *out) {
    const dl_node *item = variable->initializer;
    fill what = {.variable = variable, .item = item, .seed = seed, .type = dl_keras_type(variable)};
    const initializer *row = item->word->impl;
    what.out = dl_alloc(dl_type_bytes(&variable->type));
    if (!what.out)
        return dl_fail_memory(dl_type_bytes(&variable->type));
    dl_status status = row->fill(row, &what);
    if (status == DL_OK)
        dl_from_keras(variable, what.out, out);
    dl_free(what.out);
    return status;
}
