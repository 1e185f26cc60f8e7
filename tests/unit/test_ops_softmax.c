/* Samples of softmax, cross-entropy of logits with labels and with rows, their gradients, and the
 * top-k hit with its ties; and all of it as one row. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"
#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"

static int64_t width_of(const dl_type *type) {
    return type->dim[type->rank - 1];
}

static double most_of(const double *x, int64_t width) {
    double most = x[0];
    for (int64_t i = 1; i < width; i++)
        most = fmax(most, x[i]);
    return most;
}

/* p = softmax(x); returns log(sum(exp(x - most))). The error of exp(x - most) is that of its
 * argument and two units of its own, of the sum at most one for each addition along a lane. */
static double softmax_row(const double *x, int64_t width, double *p) {
    double most = most_of(x, width), sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += exp(x[i] - most);
    for (int64_t i = 0; i < width; i++)
        p[i] = exp(x[i] - most) / sum;
    return log(sum);
}

static double sum_error(const double *x, int64_t width) {
    double least = x[0];
    for (int64_t i = 1; i < width; i++)
        least = fmin(least, x[i]);
    return 8 + fmin(most_of(x, width) - least, 100) + fmin((double)width / 16, 256);
}

static void softmax_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                              double *const *out, double *const *bound, bool *const *kink) {
    (void)sample;
    (void)kink;
    int64_t width = width_of(type);
    for (int64_t at = 0; at < dl_type_count(type); at += width) {
        softmax_row(in[0] + at, width, out[0] + at);
        for (int64_t i = at; bound && i < at + width; i++)
            bound[0][i] = 2 * sum_error(in[0] + at, width) * out[0][i] + 1e-30;
    }
}

static void softmax_gradient_reference(const op_sample *sample, const dl_type *type,
                                       const double *const *in, double *const *out,
                                       double *const *bound, bool *const *kink) {
    (void)sample;
    (void)kink;
    int64_t width = width_of(type);
    for (int64_t at = 0; at < dl_type_count(type); at += width) {
        double sum = 0, size = 0;
        for (int64_t i = at; i < at + width; i++) {
            sum += in[0][i] * in[1][i];
            size += fabs(in[0][i] * in[1][i]);
        }
        for (int64_t i = at; i < at + width; i++) {
            out[0][i] = in[0][i] * (in[1][i] - sum);
            if (bound)
                bound[0][i] = fabs(in[0][i]) * (3 * fabs(in[1][i]) + 270 * size);
        }
    }
}

static double target_of(const op_sample *sample, const double *const *in, int64_t row, int64_t i,
                        int64_t width) {
    if (sample->input[1].dtype == DL_I32)
        return (int64_t)in[1][row] == i;
    double smoothing = (double)((const dl_cross_entropy_attributes *)sample->attributes)->smoothing;
    return in[1][row * width + i] * (1 - smoothing) + smoothing / (double)width;
}

static void cross_entropy_reference(const op_sample *sample, const dl_type *type,
                                    const double *const *in, double *const *out,
                                    double *const *bound, bool *const *kink) {
    (void)kink;
    int64_t width = width_of(&type[1]);
    for (int64_t row = 0; row < dl_type_count(&type[0]); row++) {
        const double *x = in[0] + row * width;
        double log_sum = softmax_row(x, width, out[1] + row * width), most = most_of(x, width);
        for (int64_t i = 0; i < width; i++) {
            double target = target_of(sample, in, row, i, width), d = x[i] - most;
            if (target == 0)
                continue;
            out[0][row] += target * (log_sum - d);
            if (bound)
                bound[0][row] +=
                    fabs(target) * (sum_error(x, width) + 6 * (fabs(log_sum) + fabs(d)));
        }
        for (int64_t i = 0; bound && i < width; i++)
            bound[1][row * width + i] = 2 * sum_error(x, width) * out[1][row * width + i] + 1e-30;
    }
}

static void cross_entropy_gradient_reference(const op_sample *sample, const dl_type *type,
                                             const double *const *in, double *const *out,
                                             double *const *bound, bool *const *kink) {
    (void)kink;
    int64_t width = width_of(type);
    for (int64_t row = 0; row < dl_type_count(type) / width; row++) {
        double total = 0;
        for (int64_t i = 0; i < width; i++)
            total += target_of(sample, in, row, i, width);
        for (int64_t i = 0; i < width; i++) {
            int64_t e = row * width + i;
            double target = target_of(sample, in, row, i, width);
            out[0][e] = in[2][row] * (in[0][e] * total - target);
            if (bound)
                bound[0][e] =
                    fabs(in[2][row]) * ((double)(width + 4) * fabs(in[0][e]) * total + 4 * target);
        }
    }
}

/* Place of the target when predictions are sorted, equal ones by index. */
static void in_top_k_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink) {
    (void)bound;
    (void)kink;
    int64_t width = width_of(&sample->input[0]);
    int k = ((const dl_in_top_k_attributes *)sample->attributes)->k;
    for (int64_t row = 0; row < dl_type_count(type); row++) {
        const double *p = in[0] + row * width;
        int64_t target = 0, place = 0;
        if (sample->input[1].dtype == DL_I32)
            target = (int64_t)in[1][row];
        else
            while (in[1][row * width + target] != most_of(in[1] + row * width, width))
                target++;
        for (int64_t i = 0; i < width; i++)
            if (p[i] > p[target])
                place++;
        for (int64_t i = 0; i < target; i++)
            if (p[i] == p[target])
                place++;
        out[0][row] = place < k;
    }
}

/* The three, one after another. */
static void softmax_loss_reference(const op_sample *sample, const dl_type *type,
                                   const double *const *in, double *const *out,
                                   double *const *bound, bool *const *kink) {
    const dl_softmax_loss_attributes *attributes = sample->attributes;
    int64_t cells = dl_type_count(&type[1]), width = width_of(&type[1]);
    double *p = calloc((size_t)cells, sizeof *p), *error = calloc((size_t)cells, sizeof *error);
    op_sample step = *sample;
    step.attributes = &attributes->cross_entropy;
    cross_entropy_reference(&step, type, in, (double *[]){out[0], p},
                            bound ? (double *[]){bound[0], error} : NULL, kink);
    double *slope = calloc((size_t)(cells / width), sizeof *slope);
    for (int64_t r = 0; r < cells / width; r++)
        slope[r] = in[2][dl_type_count(&sample->input[2]) == 1 ? 0 : r];
    const double *from_p[] = {p, in[1], slope};
    cross_entropy_gradient_reference(&step, &type[1], from_p, &out[1], bound ? &bound[1] : NULL,
                                     kink);
    for (int64_t e = 0; bound && e < cells; e++)
        bound[1][e] += fabs(slope[e / width]) * error[e] * (double)(width + 1);
    step.attributes = &attributes->top;
    in_top_k_reference(&step, &type[2], from_p, &out[2], NULL, kink);
    free(p);
    free(error);
    free(slope);
}

#define SOFTMAX(text, ...)                                                            \
    {                                                                                 \
        .name = text, .op = &dl_op_softmax, .inputs = 1, .input = {F32(__VA_ARGS__)}, \
        .reference = softmax_reference, .differentiable = 1                           \
    }
#define SOFTMAX_GRADIENT(text, ...)                                                      \
    {                                                                                    \
        .name = text, .op = &dl_op_softmax_gradient, .inputs = 2,                        \
        .input = {F32(__VA_ARGS__), F32(__VA_ARGS__)}, .fill = {FILL_ROWS, FILL_SIGNED}, \
        .reference = softmax_gradient_reference                                          \
    }
#define SMOOTH(smoothing_)                 \
    &(const dl_cross_entropy_attributes) { \
        smoothing_                         \
    }
#define LABELS(text, classes, x, labels)                                                        \
    {                                                                                           \
        .name = text, .op = &dl_op_softmax_cross_entropy, .attributes = SMOOTH(0), .inputs = 2, \
        .input = {x, labels}, .fill = {FILL_SIGNED, FILL_LABELS}, .limit = {0, classes},        \
        .reference = cross_entropy_reference, .differentiable = 1, .gradient_of = 3             \
    }
#define ROWS(text, smoothing_, ...)                                                         \
    {                                                                                       \
        .name = text, .op = &dl_op_softmax_cross_entropy, .attributes = SMOOTH(smoothing_), \
        .inputs = 2, .input = {F32(__VA_ARGS__), F32(__VA_ARGS__)},                         \
        .fill = {FILL_SIGNED, FILL_ROWS}, .reference = cross_entropy_reference,             \
        .differentiable = 3, .gradient_of = 3                                               \
    }
#define LABELS_GRADIENT(text, classes, p, labels, dloss)                                         \
    {                                                                                            \
        .name = text, .op = &dl_op_softmax_cross_entropy_gradient, .attributes = SMOOTH(0),      \
        .inputs = 3, .input = {p, labels, dloss}, .fill = {FILL_ROWS, FILL_LABELS, FILL_SIGNED}, \
        .limit = {0, classes}, .reference = cross_entropy_gradient_reference                     \
    }
#define ROWS_GRADIENT(text, smoothing_, p, dloss)                                                  \
    {                                                                                              \
        .name = text, .op = &dl_op_softmax_cross_entropy_gradient,                                 \
        .attributes = SMOOTH(smoothing_), .inputs = 3, .input = {p, p, dloss},                     \
        .fill = {FILL_ROWS, FILL_ROWS, FILL_SIGNED}, .reference = cross_entropy_gradient_reference \
    }
#define TOP(k_)                       \
    &(const dl_in_top_k_attributes) { \
        k_                            \
    }
#define LOSS(smoothing_, k_)              \
    &(const dl_softmax_loss_attributes) { \
        {smoothing_}, {                   \
            k_                            \
        }                                 \
    }
#define LOSS_OF(text, smoothing_, k, x, kind, target, dloss)                                     \
    {                                                                                            \
        .name = text, .op = &dl_op_softmax_loss, .attributes = LOSS(smoothing_, k), .inputs = 3, \
        .input = {x, target, dloss}, .fill = {FILL_SIGNED, kind, FILL_SIGNED}, .limit = {0, 10}, \
        .reference = softmax_loss_reference                                                      \
    }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_softmax,
     .inputs = 1,
     .input = {F32(3, 4)},
     .given = {GIVEN(0, 0, 0, 0, 700, 700, -700, -700, 5, 200, 5, 5)},
     .expected = {GIVEN(.25f, .25f, .25f, .25f, .5f, .5f, 0, 0, 0, 1, 0, 0)},
     .reference = softmax_reference,
     .differentiable = 1},
    SOFTMAX("one class", 5, 1),
    SOFTMAX("two classes", 7, 2),
    SOFTMAX("ten classes", 33, 10),
    SOFTMAX("15 classes", 3, 15),
    SOFTMAX("17 classes in three axes", 2, 3, 17),
    SOFTMAX("257 classes", 40, 257),
    SOFTMAX("4097 classes", 3, 4097),
    SOFTMAX("without rows", 9),

    {.name = "by hand",
     .op = &dl_op_softmax_gradient,
     .inputs = 2,
     .input = {F32(1, 2), F32(1, 2)},
     .given = {GIVEN(.25f, .75f), GIVEN(1, 3)},
     .expected = {GIVEN(-.375f, .375f)},
     .reference = softmax_gradient_reference},
    SOFTMAX_GRADIENT("ten classes, many rows", 1003, 10),
    SOFTMAX_GRADIENT("64 classes", 37, 64),
    SOFTMAX_GRADIENT("16 classes", 5, 16),
    SOFTMAX_GRADIENT("255 classes", 40, 255),
    SOFTMAX_GRADIENT("4097 classes", 2, 4097),

    {.name = "by hand, labels: log 1, log 2, log 4",
     .op = &dl_op_softmax_cross_entropy,
     .attributes = SMOOTH(0),
     .inputs = 2,
     .input = {F32(3, 4), I32(3)},
     .given = {GIVEN(0, 300, 0, 0, 9, -300, 9, -300, 2, 2, 2, 2), GIVEN(1, 2, 0)},
     .expected = {GIVEN(0, 0.693147182f, 1.38629436f),
                  GIVEN(0, 1, 0, 0, .5f, 0, .5f, 0, .25f, .25f, .25f, .25f)},
     .reference = cross_entropy_reference,
     .differentiable = 1},
    {.name = "by hand, rows: the target's own entropy is part of the loss",
     .op = &dl_op_softmax_cross_entropy,
     .attributes = SMOOTH(0.5f),
     .inputs = 2,
     .input = {F32(1, 2), F32(1, 2)},
     .given = {GIVEN(5, 5), GIVEN(0, 1)},
     .expected = {GIVEN(0.693147182f), GIVEN(.5f, .5f)},
     .reference = cross_entropy_reference,
     .differentiable = 3},
    {.name = "large logits keep a small loss exact",
     .op = &dl_op_softmax_cross_entropy,
     .attributes = SMOOTH(0),
     .inputs = 2,
     .input = {F32(2, 2), I32(2)},
     .given = {GIVEN(10000, 9996, -2000, -2007), GIVEN(0, 0)},
     .reference = cross_entropy_reference,
     .differentiable = 1},
    LABELS("labels, ten classes", 10, F32(33, 10), I32(33)),
    LABELS("labels, one class", 1, F32(3, 1), I32(3)),
    LABELS("labels of a column", 5, F32(4, 5), I32(4, 1)),
    LABELS("labels of sequences", 17, F32(3, 4, 17), I32(3, 4)),
    LABELS("labels, 4097 classes", 4097, F32(3, 4097), I32(3)),
    ROWS("rows, ten classes", 0, 33, 10),
    ROWS("rows of sequences, smoothed", 0.1f, 2, 3, 16),
    ROWS("rows, 257 classes, smoothed", 0.3f, 40, 257),

    {.name = "by hand, labels",
     .op = &dl_op_softmax_cross_entropy_gradient,
     .attributes = SMOOTH(0),
     .inputs = 3,
     .input = {F32(2, 2), I32(2), F32(2)},
     .given = {GIVEN(.25f, .75f, .5f, .5f), GIVEN(1, 0), GIVEN(2, -4)},
     .expected = {GIVEN(.5f, -.5f, 2, -2)},
     .reference = cross_entropy_gradient_reference},
    {.name = "by hand, smoothed rows",
     .op = &dl_op_softmax_cross_entropy_gradient,
     .attributes = SMOOTH(0.5f),
     .inputs = 3,
     .input = {F32(1, 2), F32(1, 2), F32(1)},
     .given = {GIVEN(.25f, .75f), GIVEN(1, 0), GIVEN(2)},
     .expected = {GIVEN(-1, 1)},
     .reference = cross_entropy_gradient_reference},
    LABELS_GRADIENT("labels, 17 classes", 17, F32(3, 4, 17), I32(3, 4), F32(3, 4)),
    LABELS_GRADIENT("labels, 257 classes", 257, F32(50, 257), I32(50), F32(50)),
    ROWS_GRADIENT("rows, 16 classes", 0, F32(5, 16), F32(5)),
    ROWS_GRADIENT("rows, 255 classes, smoothed", 0.2f, F32(40, 255), F32(40)),

    {.name = "by hand, labels, the first",
     .op = &dl_op_in_top_k,
     .attributes = TOP(1),
     .inputs = 2,
     .input = {F32(4, 3), I32(4)},
     .given = {GIVEN(1, 3, 2, 3, 3, 3, 3, 3, 3, 0, -1, 0), GIVEN(1, 0, 1, 2)},
     .expected = {GIVEN(1, 1, 0, 0)},
     .reference = in_top_k_reference},
    {.name = "by hand, labels, the first two: ties by index",
     .op = &dl_op_in_top_k,
     .attributes = TOP(2),
     .inputs = 2,
     .input = {F32(5, 3), I32(5)},
     .given = {GIVEN(1, 3, 2, 1, 3, 2, 3, 3, 3, 3, 3, 3, 5, 4, 4), GIVEN(2, 0, 1, 2, 2)},
     .expected = {GIVEN(1, 0, 1, 0, 0)},
     .reference = in_top_k_reference},
    {.name = "by hand, rows",
     .op = &dl_op_in_top_k,
     .attributes = TOP(1),
     .inputs = 2,
     .input = {F32(2, 3), F32(2, 3)},
     .given = {GIVEN(.1f, .2f, .7f, .5f, .4f, .1f), GIVEN(0, 0, 1, .2f, .4f, .4f)},
     .expected = {GIVEN(1, 0)},
     .reference = in_top_k_reference},
    {.name = "k is more than there are classes",
     .op = &dl_op_in_top_k,
     .attributes = TOP(9),
     .inputs = 2,
     .input = {F32(5, 3), I32(5)},
     .fill = {FILL_SIGNED, FILL_LABELS},
     .limit = {0, 3},
     .reference = in_top_k_reference},
    {.name = "5 of 100",
     .op = &dl_op_in_top_k,
     .attributes = TOP(5),
     .inputs = 2,
     .input = {F32(257, 100), I32(257)},
     .fill = {FILL_LABELS, FILL_LABELS},
     .limit = {20, 100},
     .reference = in_top_k_reference},
    {.name = "by hand, as sure as can be",
     .op = &dl_op_softmax_loss,
     .attributes = LOSS(0, 1),
     .inputs = 3,
     .input = {F32(2, 2), I32(2), F32(2)},
     .given = {GIVEN(0, -1000, 0, -1000), GIVEN(0, 1), GIVEN(2, -4)},
     .expected = {GIVEN(0, 1000), GIVEN(0, 0, -4, 4), GIVEN(1, 0)},
     .reference = softmax_loss_reference},
    {.name = "by hand, labels",
     .op = &dl_op_softmax_loss,
     .attributes = LOSS(0, 1),
     .inputs = 3,
     .input = {F32(3, 2), I32(3), F32(3)},
     .given = {GIVEN(5, 5, 3, 3, -1, -1), GIVEN(0, 1, 1), GIVEN(2, -4, 0)},
     .expected = {NULL, GIVEN(-1, 1, -2, 2, 0, 0), GIVEN(1, 0, 0)},
     .reference = softmax_loss_reference},
    {.name = "by hand, smoothed rows",
     .op = &dl_op_softmax_loss,
     .attributes = LOSS(0.5f, 1),
     .inputs = 3,
     .input = {F32(2, 2), F32(2, 2), F32(2)},
     .given = {GIVEN(1, 1, 2, 2), GIVEN(1, 0, 0, 1), GIVEN(4, 8)},
     .expected = {NULL, GIVEN(-1, 1, 2, -2), GIVEN(1, 0)},
     .reference = softmax_loss_reference},
    LOSS_OF("labels, ten classes", 0, 1, F32(128, 10), FILL_LABELS, I32(128), F32(128)),
    LOSS_OF("labels of sequences, five best", 0, 5, F32(3, 4, 33), FILL_LABELS, I32(3, 4),
            F32(3, 4)),
    LOSS_OF("labels, 1000 classes", 0, 5, F32(7, 1000), FILL_LABELS, I32(7), F32(7)),
    LOSS_OF("labels, 1030 classes", 0, 1, F32(5, 1030), FILL_LABELS, I32(5), F32(5)),
    LOSS_OF("labels, one gradient for all", 0, 1, F32(19, 10), FILL_LABELS, I32(19), F32(1)),
    LOSS_OF("rows, ten classes", 0, 1, F32(33, 10), FILL_ROWS, F32(33, 10), F32(33)),
    LOSS_OF("rows, 100 classes, smoothed", 0.1f, 3, F32(9, 100), FILL_ROWS, F32(9, 100), F32(9)),
    LOSS_OF("rows, 1100 classes, no hit", 0.2f, 0, F32(3, 1100), FILL_ROWS, F32(3, 1100), F32(3)),
};

const op_sample_table op_samples_softmax = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_softmax);
}

static void test_gradient(void) {
    op_samples_gradient(&op_samples_softmax);
}

/* Rows of logits [2, 3] and labels through a row's kernel. */
static dl_status call(const dl_op *op, const void *attributes, const float *x, const int32_t *label,
                      void *first, void *second) {
    const dl_type logits = DL_TYPE(DL_F32, 2, 3), labels = DL_TYPE(DL_I32, 2);
    const dl_type *input[] = {&logits, &labels};
    dl_prepare what = {
        .attributes = attributes, .inputs = 2, .input = input, .name = "call", .threads = 1};
    dl_prepared prepared = {0};
    DL_TRY(op->cpu.prepare(&what, &prepared));
    const void *in[] = {x, label};
    void *out[] = {first, second};
    dl_run run = {.in = in, .out = out};
    dl_status status = op->cpu.run(prepared.state, &run);
    dl_free(prepared.state);
    return status;
}

static void test_labels_outside(void) {
    const float x[6] = {1, 2, 3, 4, 5, 6};
    float loss[2], p[6];
    for (int i = 0; i < 2; i++) {
        const int32_t label[2] = {2, i ? 3 : -1};
        const char *text = i ? "label 3 is outside 0..2" : "label -1 is outside 0..2";
        CHECK_FAILS(call(&dl_op_softmax_cross_entropy, SMOOTH(0), x, label, loss, p), DL_BAD_JOB,
                    text);
        CHECK_FAILS(call(&dl_op_in_top_k, TOP(1), x, label, loss, NULL), DL_BAD_JOB, text);
    }
}

/* A NaN among the logits makes its row NaN and no other; it is no hit. */
static void test_nan(void) {
    const float x[6] = {1, NAN, 3, 4, 5, 6};
    const int32_t label[2] = {1, 2};
    float loss[2], p[6], hit[2];
    CHECK_OK(call(&dl_op_softmax_cross_entropy, SMOOTH(0), x, label, loss, p));
    for (int i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(isnan(p[i]), i < 3);
    CU_ASSERT_TRUE(isnan(loss[0]));
    CU_ASSERT_TRUE(loss[1] > 0.4f && loss[1] < 0.41f);
    CHECK_OK(call(&dl_op_in_top_k, TOP(1), x, label, hit, NULL));
    CU_ASSERT_EQUAL(hit[0], 0.0f);
    CU_ASSERT_EQUAL(hit[1], 1.0f);
}

static void test_messages(void) {
    const dl_type x = DL_TYPE(DL_F32, 8, 5), y = DL_TYPE(DL_F32, 8, 6), z = DL_TYPE(DL_I32, 8, 5);
    const dl_type *bad[] = {&x, &y}, *labels[] = {&x, &z};
    dl_type output[2];
    dl_infer infer = {.attributes = SMOOTH(0), .inputs = 2, .input = bad, .output = output};
    CHECK_FAILS(dl_op_softmax_cross_entropy.infer(&infer), DL_BAD_JOB,
                "predictions (None, 5) and targets (None, 6) (float32) do not meet");
    infer.input = labels;
    CHECK_FAILS(dl_op_softmax_cross_entropy.infer(&infer), DL_BAD_JOB,
                "predictions (None, 5) and targets (None, 5) (int32) do not meet");
}

void suite_ops_softmax(void);
void suite_ops_softmax(void) {
    CU_pSuite suite = CU_add_suite("ops_softmax", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "gradients against central differences", test_gradient);
    CU_add_test(suite, "labels outside the classes", test_labels_outside);
    CU_add_test(suite, "NaN", test_nan);
    CU_add_test(suite, "shapes that do not fit", test_messages);
}
