/* Samples of layer normalisation. */
#include <CUnit/Basic.h>
#include <math.h>

#include "ops/ops.h"
#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"

static int64_t width_of(const dl_type *type) {
    return type->dim[type->rank - 1];
}

/* Rows of a block are added one after another, blocks in double. */
static double terms(int64_t rows) {
    return rows < 256 ? (double)rows + 4 : 260;
}

/* One row: xhat, and the factor; returns the allowed error of xhat in units of epsilon. */
static double normalise(const double *x, int64_t width, double epsilon, double *xhat,
                        double *inverse) {
    double mean = 0, variance = 0, size = 0, most = 0;
    for (int64_t i = 0; i < width; i++) {
        mean += x[i] / (double)width;
        size += fabs(x[i]) / (double)width;
    }
    for (int64_t i = 0; i < width; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)width;
    *inverse = 1 / sqrt(variance + epsilon);
    for (int64_t i = 0; i < width; i++) {
        xhat[i] = (x[i] - mean) * *inverse;
        most = fmax(most, fabs(xhat[i]));
    }
    double along = fmin((double)width / 16, 256) + 6; /* additions of a lane and of the tree */
    return along * (size * *inverse + most) + 8 * most;
}

enum { WIDEST = 4097 };

static void layer_norm_reference(const op_sample *sample, const dl_type *type,
                                 const double *const *in, double *const *out, double *const *bound,
                                 bool *const *kink) {
    (void)kink;
    const dl_layer_norm_attributes *a = sample->attributes;
    int64_t width = width_of(type);
    double xhat[WIDEST], inverse;
    for (int64_t at = 0; at < dl_type_count(type); at += width) {
        double error = normalise(in[0] + at, width, (double)a->epsilon, xhat, &inverse);
        for (int64_t c = 0; c < width; c++) {
            double gamma = a->has_gamma ? in[1][c] : 1;
            out[0][at + c] = xhat[c] * gamma + (a->has_beta ? in[1 + a->has_gamma][c] : 0);
            if (bound)
                bound[0][at + c] = error * fabs(gamma) + fabs(out[0][at + c]);
        }
    }
}

static void layer_norm_gradient_reference(const op_sample *sample, const dl_type *type,
                                          const double *const *in, double *const *out,
                                          double *const *bound, bool *const *kink) {
    (void)kink;
    const dl_layer_norm_attributes *a = sample->attributes;
    int64_t width = width_of(type), rows = dl_type_count(type) / width;
    double xhat[WIDEST], inverse;
    for (int64_t r = 0; r < rows; r++) {
        const double *dy = in[0] + r * width;
        double error = normalise(in[1] + r * width, width, (double)a->epsilon, xhat, &inverse);
        double mean = 0, slope = 0, size = 0, most = 0;
        for (int64_t c = 0; c < width; c++) {
            double g = dy[c] * (a->has_gamma ? in[2][c] : 1);
            mean += g / (double)width;
            slope += g * xhat[c] / (double)width;
            size += fabs(g) / (double)width;
            most = fmax(most, fabs(xhat[c]));
            out[1][c] += dy[c];
            out[1][width + c] += dy[c] * xhat[c];
            if (bound) {
                bound[1][c] += terms(rows) * fabs(dy[c]);
                bound[1][width + c] += fabs(dy[c]) * (terms(rows) * fabs(xhat[c]) + error);
            }
        }
        for (int64_t c = 0; c < width; c++) {
            double g = dy[c] * (a->has_gamma ? in[2][c] : 1);
            out[0][r * width + c] = inverse * (g - mean - xhat[c] * slope);
            if (bound)
                bound[0][r * width + c] =
                    inverse * (8 * fabs(g) + (1 + most) * size * (2 * error + 30));
        }
    }
}

#define LAYER(epsilon_, gamma_, beta_)  \
    &(const dl_layer_norm_attributes) { \
        epsilon_, gamma_, beta_         \
    }
#define LAYER_NORM(text, gamma_, beta_, x, c)                                             \
    {                                                                                     \
        .name = text, .op = &dl_op_layer_norm, .attributes = LAYER(1e-3f, gamma_, beta_), \
        .inputs = 1 + (gamma_) + (beta_), .input = {x, F32(c), F32(c)},                   \
        .reference = layer_norm_reference,                                                \
        .differentiable = (gamma_) && (beta_)   ? 7                                       \
                          : (gamma_) || (beta_) ? 3                                       \
                                                : 1                                       \
    }
#define LAYER_GRADIENT(text, gamma_, x, c)                                                        \
    {                                                                                             \
        .name = text, .op = &dl_op_layer_norm_gradient, .attributes = LAYER(1e-3f, gamma_, true), \
        .inputs = 2 + (gamma_), .input = {x, x, F32(c)},                                          \
        .reference = layer_norm_gradient_reference                                                \
    }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_layer_norm,
     .attributes = LAYER(3, true, true),
     .inputs = 3,
     .input = {F32(2, 2), F32(2), F32(2)},
     .given = {GIVEN(1, 3, 5, 3), GIVEN(2, 4), GIVEN(10, 20)},
     .expected = {GIVEN(9, 22, 11, 18)},
     .reference = layer_norm_reference,
     .differentiable = 7},
    LAYER_NORM("gamma and beta", true, true, F32(3, 4, 5), 5),
    LAYER_NORM("gamma alone", true, false, F32(33, 16), 16),
    LAYER_NORM("beta alone", false, true, F32(33, 17), 17),
    LAYER_NORM("neither", false, false, F32(257, 15), 15),
    LAYER_NORM("one channel", true, true, F32(20, 1), 1),
    LAYER_NORM("300 rows of 257", true, true, F32(300, 257), 257),
    LAYER_NORM("rows of 4095", true, true, F32(3, 4095), 4095),
    LAYER_NORM("rows of 4097", true, true, F32(3, 4097), 4097),

    {.name = "by hand",
     .op = &dl_op_layer_norm_gradient,
     .attributes = LAYER(3, false, true),
     .inputs = 2,
     .input = {F32(1, 2), F32(1, 2)},
     .given = {GIVEN(1, 0), GIVEN(1, 3)},
     .expected = {GIVEN(.1875f, -.1875f), GIVEN(1, 0, -.5f, 0)},
     .reference = layer_norm_gradient_reference},
    LAYER_GRADIENT("5 channels", true, F32(3, 4, 5), 5),
    LAYER_GRADIENT("without gamma", false, F32(257, 17), 17),
    LAYER_GRADIENT("600 rows of 16", true, F32(600, 16), 16),
    LAYER_GRADIENT("300 rows of 255", true, F32(300, 255), 255),
    LAYER_GRADIENT("rows of 4097", true, F32(3, 4097), 4097),
};

const op_sample_table op_samples_layer_norm = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_layer_norm);
}

static void test_gradient(void) {
    op_samples_gradient(&op_samples_layer_norm);
}

static void test_messages(void) {
    const dl_type scalar = DL_SCALAR(DL_F32), *input[] = {&scalar};
    dl_type output;
    dl_infer infer = {
        .attributes = LAYER(1, false, false), .inputs = 1, .input = input, .output = &output};
    CHECK_FAILS(dl_op_layer_norm.infer(&infer), DL_BAD_JOB, "at least one axis");
}

void suite_ops_layer_norm(void);
void suite_ops_layer_norm(void) {
    CU_pSuite suite = CU_add_suite("ops_layer_norm", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "gradients against central differences", test_gradient);
    CU_add_test(suite, "shapes that do not fit", test_messages);
}
