/* Samples of the rows for devices between convolutions and batch normalisations (moments.c,
 * conv_norm.c), against the references of what they stand for. */
#include <CUnit/Basic.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/unit/check.h"
#include "tests/unit/op_references.h"
#include "tests/unit/op_values.h"

/* Rows of a block are added one after another, blocks in double. */
static double terms(int64_t rows) {
    return rows < 256 ? (double)rows + 4 : 260;
}

/* In epsilons of float32. */
static double rounding(const dl_type *type) {
    return op_values_unit(type->dtype) / (double)FLT_EPSILON;
}

/* Of x, off by `error` (in epsilons; NULL: exact): sums and sums of squares of the columns. */
static void moments_of(const double *x, const double *error, double rounded, int64_t count,
                       int64_t width, double *out, double *bound) {
    double n = terms(count / width);
    for (int64_t e = 0; e < count; e++) {
        double *sum = &out[e % width], *square = &out[width + e % width];
        double off = (error ? error[e] : 0) + rounded * fabs(x[e]);
        *sum += x[e];
        *square += x[e] * x[e];
        if (bound) {
            bound[e % width] += n * fabs(x[e]) + off;
            bound[width + e % width] +=
                (n + 1) * x[e] * x[e] + 2 * fabs(x[e]) * off + off * off * (double)FLT_EPSILON;
        }
    }
}

static void moments_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                              double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    moments_of(in[0], NULL, 0, dl_type_count(&sample->input[0]), type->dim[0] / 2, out[0],
               bound ? bound[0] : NULL);
}

static void squares_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                              double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    double rows = (double)((const dl_moment_squares_attributes *)sample->attributes)->rows;
    int64_t width = type->dim[0];
    for (int64_t c = 0; c < width; c++) {
        double center = in[1][c];
        out[0][c] = fmax(0, in[0][width + c] - 2 * center * in[0][c] + rows * center * center);
        if (bound)
            bound[0][c] = out[0][c];
    }
}

/* relu(batch_norm(x)), its vectors from in[first] on; error: in epsilons. Of a half x, z is
 * rounded, and cuDNN multiplies x by a rounded scale and adds a rounded beta - mean * scale. */
static void normalise(const op_sample *sample, const double *const *in, int x, int first, double *z,
                      double *error) {
    const dl_conv_norm_attributes *a = sample->attributes;
    int64_t count = dl_type_count(&sample->input[x]);
    int64_t width = sample->input[x].dim[sample->input[x].rank - 1];
    for (int64_t e = 0; e < count; e++) {
        int64_t c = e % width;
        double scale = 1 / sqrt(in[first + 1][c] + (double)a->epsilon), around = in[x][e];
        double beta = a->has_beta ? in[first + 2 + a->has_gamma][c] : 0;
        scale *= a->has_gamma ? in[first + 2][c] : 1;
        around -= in[first][c];
        z[e] = fmax(0, around * scale + beta);
        double rounded = fabs(scale * in[x][e]) + fabs(beta - in[first][c] * scale) + z[e];
        error[e] = 4 * fabs(scale) * (fabs(around) + fabs(in[first][c])) + fabs(beta) +
                   rounding(&sample->input[x]) * rounded;
    }
}

static double *numbers(const dl_type *type) {
    double *made = dl_alloc(sizeof *made * (size_t)dl_type_count(type));
    CU_ASSERT_PTR_NOT_NULL_FATAL(made);
    return made;
}

static void statistics_reference(const op_sample *sample, const dl_type *type,
                                 const double *const *in, double *const *out, double *const *bound,
                                 bool *const *kink) {
    const dl_conv_norm_attributes *a = sample->attributes;
    int64_t cells = dl_type_count(&type[0]), weights = dl_type_count(&sample->input[1]);
    double *z = numbers(&sample->input[0]), *error = numbers(&sample->input[0]);
    double *size = numbers(&sample->input[1]), *spread = numbers(&type[0]);
    op_sample conv = *sample;
    conv.inputs = 2;
    const double *from[] = {in[0], in[1]}, *errors[] = {error, size};
    for (int64_t e = 0; e < weights; e++)
        size[e] = fabs(in[1][e]);
    if (a->normalised) {
        normalise(sample, in, 0, 2, z, error);
        from[0] = z;
        op_conv_reference(&conv, type, errors, &spread, NULL, kink);
    }
    op_conv_reference(&conv, type, from, out, bound, kink);
    for (int64_t e = 0; e < cells && bound; e++)
        bound[0][e] += spread[e];
    moments_of(out[0], bound ? bound[0] : NULL, rounding(&type[0]), cells, type[1].dim[0] / 2,
               out[1], bound ? bound[1] : NULL);
    dl_free(z);
    dl_free(error);
    dl_free(size);
    dl_free(spread);
}

static void weight_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                             double *const *out, double *const *bound, bool *const *kink) {
    int64_t weights = dl_type_count(type), cells = dl_type_count(&sample->input[1]);
    double *z = numbers(&sample->input[0]), *error = numbers(&sample->input[0]);
    double *size = numbers(&sample->input[1]), *spread = numbers(type);
    const double *from[] = {z, in[1]}, *errors[] = {error, size};
    for (int64_t e = 0; e < cells; e++)
        size[e] = fabs(in[1][e]);
    normalise(sample, in, 0, 2, z, error);
    op_conv_weight_reference(sample, type, errors, &spread, NULL, kink);
    op_conv_weight_reference(sample, type, from, out, bound, kink);
    for (int64_t e = 0; e < weights && bound; e++)
        bound[0][e] += spread[e];
    dl_free(z);
    dl_free(error);
    dl_free(size);
    dl_free(spread);
}

static void input_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                            double *const *out, double *const *bound, bool *const *kink) {
    const dl_conv_norm_attributes *a = sample->attributes;
    int64_t cells = dl_type_count(&type[0]), width = type[1].dim[0] / 2;
    double *z = numbers(&type[0]), *error = numbers(&type[0]), n = terms(cells / width);
    op_conv_input_reference(sample, type, in, out, bound, kink);
    normalise(sample, in, 2, 3, z, error);
    for (int64_t e = 0; e < cells; e++) {
        int64_t c = e % width;
        double unit = (in[2][e] - in[3][c]) / sqrt(in[4][c] + (double)a->epsilon);
        if (z[e] <= 0)
            out[0][e] = 0;
        out[1][c] += out[0][e];
        out[1][width + c] += out[0][e] * unit;
        if (!bound)
            continue;
        double off = z[e] <= 0 ? 0 : bound[0][e] + rounding(&type[0]) * fabs(out[0][e]);
        bound[0][e] = z[e] <= 0 ? 0 : bound[0][e];
        bound[1][c] += n * fabs(out[0][e]) + off;
        bound[1][width + c] += ((n + 4) * fabs(out[0][e]) + off) * fabs(unit);
    }
    dl_free(z);
    dl_free(error);
}

#define ONES \
    { 1, 1 }
static const dl_conv_norm_attributes plain = {.conv = {2, ONES, ONES, {0, 0}, {0, 0}, 1, 0}};
static const dl_conv_norm_attributes strided = {.conv = {2, {2, 2}, ONES, {1, 1}, {1, 1}, 1, 0}};
static const dl_conv_norm_attributes grouped = {.conv = {2, ONES, ONES, {1, 1}, {1, 1}, 4, 0}};
static const dl_conv_norm_attributes normalised = {
    {2, ONES, ONES, {0, 0}, {0, 0}, 1, 0}, true, true, true, 1e-3f};
static const dl_conv_norm_attributes border = {
    {2, {2, 2}, ONES, {1, 1}, {1, 1}, 1, 0}, true, false, true, 1e-3f};

static const dl_conv_norm_gradient_attributes dw_normalised = {
    {{2, ONES, ONES, {0, 0}, {0, 0}, 1, 0}, true, true, true, 1e-3f}, F32(8, 1, 1, 16)};
static const dl_conv_norm_gradient_attributes dw_border = {
    {{2, {2, 2}, ONES, {1, 1}, {1, 1}, 1, 0}, true, false, true, 1e-3f}, F32(8, 3, 3, 8)};
static const dl_conv_norm_gradient_attributes dw_by_hand = {
    {{2, ONES, ONES, {0, 0}, {0, 0}, 1, 0}, true, false, false, 0}, F32(1, 1, 1, 1)};
static const dl_conv_norm_gradient_attributes dx_normalised = {
    {{2, ONES, ONES, {0, 0}, {0, 0}, 1, 0}, true, true, true, 1e-3f}, F32(3, 5, 6, 16)};
static const dl_conv_norm_gradient_attributes dx_strided = {
    {{2, {2, 2}, ONES, {1, 1}, {1, 1}, 1, 0}, true, true, false, 1e-3f}, F32(2, 9, 8, 8)};
static const dl_conv_norm_gradient_attributes dx_by_hand = {
    {{2, ONES, ONES, {0, 0}, {0, 0}, 1, 0}, true, false, false, 0}, F32(1, 2, 2, 1)};

#define MOMENTS(text, x)                                                       \
    {                                                                          \
        .name = text, .op = &dl_op_channel_moments, .inputs = 1, .input = {x}, \
        .reference = moments_reference                                         \
    }
#define STATISTICS(text, attributes_, x, w)                                                    \
    {                                                                                          \
        .name = text, .op = &dl_op_conv_statistics, .attributes = &(attributes_), .inputs = 2, \
        .input = {x, w}, .reference = statistics_reference                                     \
    }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_channel_moments,
     .inputs = 1,
     .input = {F32(3, 2)},
     .given = {GIVEN(1, -2, 3, 4, 5, -6)},
     .expected = {GIVEN(9, -4, 35, 56)},
     .reference = moments_reference},
    MOMENTS("rows of 3", F32(2, 37, 3)),
    MOMENTS("many rows", F32(5, 31, 7, 32)),
    MOMENTS("lines that fill no block", F32(700, 24)),
    MOMENTS("more lines than a block has", F32(3, 2056)),
    {.name = "by hand",
     .op = &dl_op_moment_squares,
     .attributes = &(const dl_moment_squares_attributes){3},
     .inputs = 2,
     .input = {F32(4), F32(2)},
     .given = {GIVEN(9, -4, 35, 56), GIVEN(3, 1)},
     .expected = {GIVEN(8, 67)},
     .reference = squares_reference},
    {.name = "what is left is below 0",
     .op = &dl_op_moment_squares,
     .attributes = &(const dl_moment_squares_attributes){4},
     .inputs = 2,
     .input = {F32(2), F32(1)},
     .given = {GIVEN(4, 3.9999f), GIVEN(1)},
     .expected = {GIVEN(0)},
     .reference = squares_reference},
    {.name = "by hand",
     .op = &dl_op_conv_statistics,
     .attributes = &plain,
     .inputs = 2,
     .input = {F32(1, 3, 3, 1), F32(1, 2, 2, 1)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, 8, 9), GIVEN(1, 2, 3, 4)},
     .expected = {GIVEN(37, 47, 67, 77), GIVEN(228, 13996)},
     .reference = statistics_reference},
    STATISTICS("1x1", plain, F32(3, 5, 6, 16), F32(24, 1, 1, 16)),
    STATISTICS("3x3, stride 2", strided, F32(2, 9, 8, 8), F32(16, 3, 3, 8)),
    STATISTICS("4 groups", grouped, F32(2, 5, 6, 8), F32(12, 3, 3, 2)),
    {.name = "of a normalised x",
     .op = &dl_op_conv_statistics,
     .attributes = &normalised,
     .inputs = 6,
     .input = {F32(3, 5, 6, 16), F32(8, 1, 1, 16), F32(16), F32(16), F32(16), F32(16)},
     .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_POSITIVE, FILL_SIGNED},
     .reference = statistics_reference},
    {.name = "the border is no normalised 0",
     .op = &dl_op_conv_statistics,
     .attributes = &border,
     .inputs = 5,
     .input = {F32(2, 5, 6, 8), F32(8, 3, 3, 8), F32(8), F32(8), F32(8)},
     .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_SIGNED},
     .reference = statistics_reference},
    {.name = "by hand",
     .op = &dl_op_conv_norm_weight_gradient,
     .attributes = &dw_by_hand,
     .inputs = 4,
     .input = {F32(1, 2, 2, 1), F32(1, 2, 2, 1), F32(1), F32(1)},
     .given = {GIVEN(1, 3, 5, 7), GIVEN(1, 10, 100, 1000), GIVEN(3), GIVEN(4)},
     .expected = {GIVEN(2100)},
     .reference = weight_reference},
    {.name = "of a normalised x",
     .op = &dl_op_conv_norm_weight_gradient,
     .attributes = &dw_normalised,
     .inputs = 6,
     .input = {F32(3, 5, 6, 16), F32(3, 5, 6, 8), F32(16), F32(16), F32(16), F32(16)},
     .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_POSITIVE, FILL_SIGNED},
     .reference = weight_reference},
    {.name = "the border is no normalised 0",
     .op = &dl_op_conv_norm_weight_gradient,
     .attributes = &dw_border,
     .inputs = 5,
     .input = {F32(2, 5, 6, 8), F32(2, 3, 3, 8), F32(8), F32(8), F32(8)},
     .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_SIGNED},
     .reference = weight_reference},
    {.name = "by hand",
     .op = &dl_op_conv_norm_input_gradient,
     .attributes = &dx_by_hand,
     .inputs = 5,
     .input = {F32(1, 2, 2, 1), F32(1, 1, 1, 1), F32(1, 2, 2, 1), F32(1), F32(1)},
     .given = {GIVEN(1, 10, 100, 1000), GIVEN(2), GIVEN(1, 3, 5, 7), GIVEN(3), GIVEN(4)},
     .expected = {GIVEN(0, 0, 200, 2000), GIVEN(2200, 4200)},
     .reference = input_reference},
    {.name = "of a normalised x",
     .op = &dl_op_conv_norm_input_gradient,
     .attributes = &dx_normalised,
     .inputs = 7,
     .input = {F32(3, 5, 6, 8), F32(8, 1, 1, 16), F32(3, 5, 6, 16), F32(16), F32(16), F32(16),
               F32(16)},
     .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_POSITIVE,
              FILL_SIGNED},
     .reference = input_reference},
    {.name = "3x3, stride 2, no beta",
     .op = &dl_op_conv_norm_input_gradient,
     .attributes = &dx_strided,
     .inputs = 6,
     .input = {F32(2, 5, 4, 16), F32(16, 3, 3, 8), F32(2, 9, 8, 8), F32(8), F32(8), F32(8)},
     .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_POSITIVE},
     .reference = input_reference},
};

const op_sample_table op_samples_conv_norm = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_conv_norm);
}

static void test_no_memory(void) {
    op_samples_no_memory(&op_samples_conv_norm);
}

void suite_ops_conv_norm(void);
void suite_ops_conv_norm(void) {
    CU_pSuite suite = CU_add_suite("ops_conv_norm", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "without memory", test_no_memory);
}
