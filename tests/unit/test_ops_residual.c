/* Samples of the rows for devices where a block and its shortcut meet (residual.c). */
#include <CUnit/Basic.h>
#include <float.h>
#include <math.h>

#include "tests/unit/check.h"
#include "tests/unit/op_values.h"

/* (x - mean) / sqrt(variance + epsilon) * gamma + beta of element e, its vectors from *next on;
 * error: in epsilons. */
static double normalised(const op_sample *sample, int which, const double *const *in, int first,
                         double x, int64_t c, double *error) {
    const dl_residual_attributes *a = sample->attributes;
    double mean = in[first][c], beta = 0, z;
    double scale = 1 / sqrt(in[first + 1][c] + (double)a->norm[which].epsilon);
    if (a->norm[which].has_gamma)
        scale *= in[first + 2][c];
    if (a->norm[which].has_beta)
        beta = in[first + 2 + a->norm[which].has_gamma][c];
    z = (x - mean) * scale + beta;
    *error += 4 * fabs(scale) * (fabs(x) + fabs(mean)) + fabs(beta) + fabs(z);
    return z;
}

static void residual_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink) {
    (void)kink;
    const dl_residual_attributes *a = sample->attributes;
    int64_t width = type->dim[type->rank - 1];
    int second = 4 + a->norm[0].has_gamma + a->norm[0].has_beta;
    for (int64_t e = 0; e < dl_type_count(type); e++) {
        double error = 0, z = normalised(sample, 0, in, 2, in[0][e], e % width, &error);
        z += a->normalised ? normalised(sample, 1, in, second, in[1][e], e % width, &error)
                           : in[1][e];
        out[0][e] = fmax(0, z);
        if (bound)
            bound[0][e] = error + fabs(z);
    }
}

static void sums_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    const dl_residual_sums_attributes *a = sample->attributes;
    int64_t width = type->dim[type->rank - 1], count = dl_type_count(type), rows = count / width;
    double n = rows < 256 ? (double)rows + 4 : 260;
    double rounding = op_values_unit(type->dtype) / (double)FLT_EPSILON;
    for (int64_t e = 0; e < count; e++) {
        double size = fabs(in[2][e]) + fabs(in[3][e]);
        bool passes = (unsigned)in[0][e / 8] >> e % 8 & 1;
        out[0][e] = passes ? in[2][e] + in[3][e] : 0;
        if (bound)
            bound[0][e] = passes ? size : 0;
        for (int i = 0; i < 1 + a->normalised; i++) {
            const double *const *vector = in + (i ? 7 : 4);
            int64_t c = e % width, at = 2 * i * width + c;
            double unit =
                (in[i ? 6 : 1][e] - vector[0][c]) / sqrt(vector[1][c] + (double)a->epsilon[i]);
            out[1][at] += out[0][e];
            out[1][at + width] += out[0][e] * unit;
            if (!bound)
                continue;
            double off = bound[0][e] + rounding * fabs(out[0][e]);
            bound[1][at] += n * fabs(out[0][e]) + off;
            bound[1][at + width] += ((n + 4) * fabs(out[0][e]) + off) * fabs(unit);
        }
    }
}

#define PLAIN(outputs_, gamma_, beta_)                                           \
    &(const dl_residual_attributes) {                                            \
        .outputs = (outputs_), .norm = { {1e-3f, (gamma_), (beta_)}, {0, 0, 0} } \
    }
#define BOTH(outputs_, gamma_, beta_)                        \
    &(const dl_residual_attributes) {                        \
        .outputs = (outputs_), .normalised = true, .norm = { \
            {1e-3f, true, true},                             \
            {1e-2f, (gamma_), (beta_)}                       \
        }                                                    \
    }
#define RESIDUAL(text, attributes_, inputs_, x, c)                                           \
    {                                                                                        \
        .name = text, .op = &dl_op_residual, .attributes = attributes_, .inputs = (inputs_), \
        .input = {x, x, F32(c), F32(c), F32(c), F32(c), F32(c), F32(c), F32(c), F32(c)},     \
        .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED,   FILL_POSITIVE, FILL_SIGNED,        \
                 FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_SIGNED,   FILL_SIGNED},       \
        .reference = residual_reference                                                      \
    }
#define SUMS(text, normalised_, x, bits, c)                                                    \
    {                                                                                          \
        .name = text, .op = &dl_op_residual_sums,                                              \
        .attributes =                                                                          \
            &(const dl_residual_sums_attributes){.normalised = (normalised_), {1e-3f, 1e-2f}}, \
        .inputs = (normalised_) ? 9 : 6,                                                       \
        .input = {bits, x, x, x, F32(c), F32(c), x, F32(c), F32(c)},                           \
        .fill = {FILL_LABELS,   FILL_SIGNED, FILL_SIGNED, FILL_SIGNED,  FILL_SIGNED,           \
                 FILL_POSITIVE, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE},                      \
        .limit = {256}, .reference = sums_reference                                            \
    }
#define EIGHT(value) GIVEN(value, value, value, value, value, value, value, value)

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_residual,
     .attributes = &(const dl_residual_attributes){.outputs = 2,
                                                   .normalised = true,
                                                   .norm = {{.25f, true, false}, {0, false, true}}},
     .inputs = 8,
     .input = {F32(1, 8), F32(1, 8), F32(8), F32(8), F32(8), F32(8), F32(8), F32(8)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, 8), GIVEN(4, 4, 4, 4, -16, -16, -16, -16), EIGHT(1),
               EIGHT(3.75f), EIGHT(6), EIGHT(0), EIGHT(4), EIGHT(-1)},
     .expected = {GIVEN(1, 4, 7, 10, 3, 6, 9, 12)},
     .reference = residual_reference},
    RESIDUAL("gamma and beta", PLAIN(2, true, true), 6, F32(3, 4, 5, 24), 24),
    RESIDUAL("gamma alone, no bits", PLAIN(1, true, false), 5, F32(7, 40), 40),
    RESIDUAL("neither", PLAIN(2, false, false), 4, F32(33, 16), 16),
    RESIDUAL("more channels than a block's threads take", PLAIN(2, true, true), 6, F32(3, 2056),
             2056),
    RESIDUAL("both normalised", BOTH(2, true, true), 10, F32(3, 4, 5, 24), 24),
    RESIDUAL("both normalised, no bits", BOTH(1, true, false), 9, F32(33, 16), 16),
    {.name = "by hand",
     .op = &dl_op_residual_sums,
     .attributes = &(const dl_residual_sums_attributes){.epsilon = {.25f, 0}},
     .inputs = 6,
     .input = {U8(2, 1), F32(2, 8), F32(2, 8), F32(2, 8), F32(8), F32(8)},
     .given = {GIVEN(3, 130), GIVEN(1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 4, 5, 6, 7, 8, 9),
               GIVEN(1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1),
               GIVEN(9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1), EIGHT(1), EIGHT(3.75f)},
     .expected = {GIVEN(10, 10, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 2),
                  GIVEN(10, 18, 0, 0, 0, 0, 0, 2, 0, 13, 0, 0, 0, 0, 0, 8)},
     .reference = sums_reference},
    SUMS("images", false, F32(3, 4, 5, 24), U8(3, 4, 5, 3), 24),
    SUMS("many rows", false, F32(700, 16), U8(700, 2), 16),
    SUMS("more lines than a block has", false, F32(3, 2056), U8(3, 257), 2056),
    SUMS("both normalised", true, F32(3, 4, 5, 24), U8(3, 4, 5, 3), 24),
    SUMS("both normalised, many rows", true, F32(17000, 8), U8(17000, 1), 8),
};

const op_sample_table op_samples_residual = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_residual);
}

static void test_no_memory(void) {
    op_samples_no_memory(&op_samples_residual);
}

void suite_ops_residual(void);
void suite_ops_residual(void) {
    CU_pSuite suite = CU_add_suite("ops_residual", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "without memory", test_no_memory);
}
