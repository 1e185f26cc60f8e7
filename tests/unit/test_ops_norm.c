/* Samples of batch normalisation; test_ops_layer_norm.c has the other one. Where the statistics are
 * those of x, mean and variance are computed from x here, so that central differences go through
 * them as the row's gradient does.
 */
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

static bool whole(const double *x, int64_t count) {
    bool all = true;
    for (int64_t e = 0; e < count; e++)
        all = all && x[e] == rint(x[e]) && fabs(x[e]) <= 8;
    return all;
}

static void sum_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                          double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    int64_t width = width_of(type), count = dl_type_count(&sample->input[0]);
    bool exact = whole(in[0], count) && (sample->inputs == 1 || whole(in[1], width));
    for (int64_t e = 0; e < count; e++) {
        double v = sample->inputs == 2 ? in[0][e] - in[1][e % width] : in[0][e];
        double term = sample->inputs == 2 ? v * v : v;
        out[0][e % width] += term;
        if (bound && !exact)
            bound[0][e % width] += terms(count / width) * fabs(term);
    }
}

/* Mean and variance of channel c as the row sees them. */
static void statistics(const op_sample *sample, const double *const *in, int x, int64_t c,
                       double *mean, double *variance) {
    const dl_batch_norm_attributes *a = sample->attributes;
    int64_t count = dl_type_count(&sample->input[x]), width = width_of(&sample->input[x]);
    double rows = (double)(count / width);
    *mean = in[x + 1][c];
    *variance = in[x + 2][c];
    if (!a->statistics_of_x)
        return;
    *mean = *variance = 0;
    for (int64_t e = c; e < count; e += width)
        *mean += in[x][e] / rows;
    for (int64_t e = c; e < count; e += width)
        *variance += (in[x][e] - *mean) * (in[x][e] - *mean) / rows;
}

static void batch_norm_reference(const op_sample *sample, const dl_type *type,
                                 const double *const *in, double *const *out, double *const *bound,
                                 bool *const *kink) {
    const dl_batch_norm_attributes *a = sample->attributes;
    int64_t width = width_of(type);
    for (int64_t c = 0; c < width; c++) {
        double mean, variance, gamma = a->has_gamma ? in[3][c] : 1;
        double beta = a->has_beta ? in[3 + a->has_gamma][c] : 0;
        statistics(sample, in, 0, c, &mean, &variance);
        double scale = gamma / sqrt(variance + (double)a->epsilon);
        for (int64_t e = c; e < dl_type_count(type); e += width) {
            out[0][e] = (in[0][e] - mean) * scale + beta;
            if (bound)
                bound[0][e] = 4 * fabs(scale) * (fabs(in[0][e] - mean) + fabs(mean)) + fabs(beta);
            if (a->epilogue && kink)
                kink[0][e] = fabs(out[0][e]) < 0.02;
            if (a->epilogue && out[0][e] < 0)
                out[0][e] = 0;
        }
    }
}

/* relu(y + residual), the residual behind x. */
static void batch_norm_add_reference(const op_sample *sample, const dl_type *type,
                                     const double *const *in, double *const *out,
                                     double *const *bound, bool *const *kink) {
    op_sample plain = *sample;
    dl_batch_norm_attributes a;
    memcpy(&a, sample->attributes, sizeof a);
    a.epilogue = DL_EPILOGUE_NONE;
    plain.attributes = &a;
    const double *others[SAMPLE_INPUTS] = {in[0]};
    for (int i = 2; i < sample->inputs; i++)
        others[i - 1] = in[i];
    batch_norm_reference(&plain, type, others, out, bound, kink);
    for (int64_t e = 0; e < dl_type_count(type); e++) {
        out[0][e] += in[1][e];
        if (bound)
            bound[0][e] += fabs(in[1][e]);
        if (kink)
            kink[0][e] = fabs(out[0][e]) < 0.02;
        if (out[0][e] < 0)
            out[0][e] = 0;
    }
}

/* dy, or 0 where the normalised x, times gamma, plus beta, both at in[4], is not above 0. */
static double gated(const op_sample *sample, const double *const *in, int64_t e, int64_t c) {
    const dl_batch_norm_attributes *a = sample->attributes;
    if (!a->epilogue)
        return in[0][e];
    double z = (in[1][e] - in[2][c]) / sqrt(in[3][c] + (double)a->epsilon);
    if (a->has_gamma)
        z *= in[4][c];
    if (a->has_beta)
        z += in[4 + a->has_gamma][c];
    return z <= 0 ? 0 : in[0][e];
}

static void sums_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    const dl_batch_norm_attributes *a = sample->attributes;
    int64_t width = type->dim[0] / 2, count = dl_type_count(&sample->input[0]);
    for (int64_t c = 0; c < width; c++) {
        double scale = 1 / sqrt(in[3][c] + (double)a->epsilon), size = 0, product = 0;
        for (int64_t e = c; e < count; e += width) {
            double dy = gated(sample, in, e, c);
            out[0][c] += dy;
            out[0][width + c] += dy * (in[1][e] - in[2][c]) * scale;
            size += fabs(dy);
            product += fabs(dy * (in[1][e] - in[2][c]) * scale);
        }
        if (bound) {
            bound[0][c] = whole(in[0], count) ? 0 : terms(count / width) * size;
            bound[0][width + c] = (terms(count / width) + 4) * product;
        }
    }
}

static void input_gradient_reference(const op_sample *sample, const dl_type *type,
                                     const double *const *in, double *const *out,
                                     double *const *bound, bool *const *kink) {
    (void)kink;
    const dl_batch_norm_attributes *a = sample->attributes;
    int64_t width = width_of(type);
    for (int64_t c = 0; c < width; c++) {
        double inverse = 1 / sqrt(in[3][c] + (double)a->epsilon), slope = 0, shift = 0;
        double scale = inverse * (a->has_gamma ? in[4][c] : 1);
        if (a->statistics_of_x) {
            int next = 4 + a->has_gamma + (a->epilogue && a->has_beta);
            const double *sums = in[next], count = in[next + 1][0];
            shift = sums[c] / count;
            slope = sums[width + c] / count;
        }
        for (int64_t e = c; e < dl_type_count(type); e += width) {
            double xhat = (in[1][e] - in[2][c]) * inverse;
            out[0][e] = scale * (gated(sample, in, e, c) - shift - slope * xhat);
            if (bound)
                bound[0][e] = 8 * fabs(scale) * (fabs(in[0][e]) + fabs(shift) + fabs(slope * xhat));
        }
    }
}

enum { NUMBERS = 70000, ROWS = 300, CHANNELS = 19 };
static float numbers[NUMBERS];                                               /* whole, -8 .. 8 */
static float own[ROWS * CHANNELS], mean_of[CHANNELS], variance_of[CHANNELS]; /* fill makes them */

#define NORM(epsilon_, of_x, gamma_, beta_) NORM_RELU(epsilon_, of_x, gamma_, beta_, 0)
#define NORM_RELU(epsilon_, of_x, gamma_, beta_, relu)                           \
    &(const dl_batch_norm_attributes) {                                          \
        .epsilon = (epsilon_), .statistics_of_x = (of_x), .has_gamma = (gamma_), \
        .has_beta = (beta_), .epilogue = (relu)                                  \
    }
#define NORM_ADD(of_x, gamma_, beta_)                                                            \
    &(const dl_batch_norm_attributes) {                                                          \
        .epsilon = 1e-3f, .statistics_of_x = (of_x), .has_gamma = (gamma_), .has_beta = (beta_), \
        .epilogue = DL_EPILOGUE_RELU, .has_residual = true                                       \
    }
#define SCALAR \
    { .dtype = DL_F32 }
#define SUM(text, ...)                                                                    \
    {                                                                                     \
        .name = text, .op = &dl_op_channel_sum, .inputs = 1, .input = {F32(__VA_ARGS__)}, \
        .reference = sum_reference, .differentiable = 1                                   \
    }
#define WHOLE_SUM(text, ...)                                                              \
    {                                                                                     \
        .name = text, .op = &dl_op_channel_sum, .inputs = 1, .input = {F32(__VA_ARGS__)}, \
        .given = {numbers}, .reference = sum_reference                                    \
    }
#define SQUARES(text, x, c)                                                            \
    {                                                                                  \
        .name = text, .op = &dl_op_channel_squares, .inputs = 2, .input = {x, F32(c)}, \
        .reference = sum_reference, .differentiable = 3                                \
    }
#define WHOLE_SQUARES(text, x, c)                                                      \
    {                                                                                  \
        .name = text, .op = &dl_op_channel_squares, .inputs = 2, .input = {x, F32(c)}, \
        .given = {numbers, numbers}, .reference = sum_reference                        \
    }
#define WEIGHTS(gamma_, beta_)     (1 + 8 * ((gamma_) || (beta_)) + 16 * ((gamma_) && (beta_)))
#define ADD_WEIGHTS(gamma_, beta_) (1 + 16 * ((gamma_) || (beta_)) + 32 * ((gamma_) && (beta_)))
#define FIXED(text, gamma_, beta_, x, c)                                                        \
    {                                                                                           \
        .name = text, .op = &dl_op_batch_norm, .attributes = NORM(1e-3f, false, gamma_, beta_), \
        .inputs = 3 + (gamma_) + (beta_), .input = {x, F32(c), F32(c), F32(c), F32(c)},         \
        .fill = {FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE}, .reference = batch_norm_reference,   \
        .differentiable = WEIGHTS(gamma_, beta_)                                                \
    }
#define OWN(text, relu, gamma_, beta_, x, ...)                                                     \
    {                                                                                              \
        .name = text, .op = &dl_op_batch_norm,                                                     \
        .attributes = NORM_RELU(1e-3f, true, gamma_, beta_, relu),                                 \
        .inputs = 4 + (gamma_) + (beta_), .input = {x, F32(CHANNELS), F32(CHANNELS), __VA_ARGS__}, \
        .given = {own, mean_of, variance_of, [3 + (gamma_) + (beta_)] = GIVEN(ROWS)},              \
        .reference = batch_norm_reference, .differentiable = WEIGHTS(gamma_, beta_)                \
    }
#define ADD(text, of_x, gamma_, beta_, x, ...)                                                  \
    {                                                                                           \
        .name = text, .op = &dl_op_batch_norm_add, .attributes = NORM_ADD(of_x, gamma_, beta_), \
        .inputs = 4 + (gamma_) + (beta_) + (of_x),                                              \
        .input = {x, x, F32(CHANNELS), F32(CHANNELS), __VA_ARGS__},                             \
        .given = {own, [2] = mean_of, variance_of, [4 + (gamma_) + (beta_)] = GIVEN(ROWS)},     \
        .reference = batch_norm_add_reference, .differentiable = 2 + ADD_WEIGHTS(gamma_, beta_) \
    }
#define NORM_SUMS(text, relu, gamma_, beta_, x, c)                      \
    {                                                                   \
        .name = text, .op = &dl_op_batch_norm_sums,                     \
        .attributes = NORM_RELU(1e-3f, true, gamma_, beta_, relu),      \
        .inputs = (relu) ? 4 + (gamma_) + (beta_) : 4,                  \
        .input = {x, x, F32(c), F32(c), F32(c), F32(c)},                \
        .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE}, \
        .reference = sums_reference                                     \
    }
#define INPUT_GRADIENT(text, of_x, x, c)                                                           \
    {                                                                                              \
        .name = text, .op = &dl_op_batch_norm_input_gradient,                                      \
        .attributes = NORM(1e-3f, of_x, true, true), .inputs = (of_x) ? 7 : 5,                     \
        .input = {x, x, F32(c), F32(c), F32(c), F32(2 * (c)), SCALAR},                             \
        .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE}, .given = {[6] = GIVEN(7)}, \
        .reference = input_gradient_reference                                                      \
    }
#define RELU_GRADIENT(text, x, c)                                                                  \
    {                                                                                              \
        .name = text, .op = &dl_op_batch_norm_input_gradient,                                      \
        .attributes = NORM_RELU(1e-3f, true, true, true, 1), .inputs = 8,                          \
        .input = {x, x, F32(c), F32(c), F32(c), F32(c), F32(2 * (c)), SCALAR},                     \
        .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE}, .given = {[7] = GIVEN(7)}, \
        .reference = input_gradient_reference                                                      \
    }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_channel_sum,
     .inputs = 1,
     .input = {F32(2, 2, 2)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, -8)},
     .expected = {GIVEN(16, 4)},
     .reference = sum_reference,
     .differentiable = 1},
    SUM("one channel", 300, 1),
    SUM("without rows", 5),
    SUM("images", 2, 5, 4, 3),
    WHOLE_SUM("70000 x 1", NUMBERS, 1),
    WHOLE_SUM("23333 x 3", 23333, 3),
    WHOLE_SUM("255 x 15", 255, 15),
    WHOLE_SUM("256 x 16", 256, 16),
    WHOLE_SUM("257 x 17", 257, 17),
    WHOLE_SUM("513 x 130", 513, 130),
    WHOLE_SUM("17 x 4097", 17, 4097),
    WHOLE_SUM("4095 x 7", 4095, 7),
    WHOLE_SUM("4097 x 12", 4097, 12),

    {.name = "by hand",
     .op = &dl_op_channel_squares,
     .inputs = 2,
     .input = {F32(3, 2), F32(2)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6), GIVEN(3, 0)},
     .expected = {GIVEN(8, 56)},
     .reference = sum_reference,
     .differentiable = 3},
    SQUARES("one channel", F32(300, 1), 1),
    SQUARES("images", F32(2, 5, 4, 3), 3),
    SQUARES("17 channels", F32(257, 17), 17),
    WHOLE_SQUARES("70000 x 1, whole", F32(NUMBERS, 1), 1),
    WHOLE_SQUARES("255 x 15, whole", F32(255, 15), 15),
    WHOLE_SQUARES("257 x 16, whole", F32(257, 16), 16),
    WHOLE_SQUARES("1023 x 68, whole", F32(1023, 68), 68),

    {.name = "by hand",
     .op = &dl_op_batch_norm,
     .attributes = NORM(.25f, false, true, true),
     .inputs = 5,
     .input = {F32(2, 2), F32(2), F32(2), F32(2), F32(2)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(1, 4), GIVEN(3.75f, .75f), GIVEN(2, 3), GIVEN(10, 20)},
     .expected = {GIVEN(10, 14, 12, 20)},
     .reference = batch_norm_reference,
     .differentiable = 25},
    FIXED("gamma and beta", true, true, F32(2, 3, 4, 5), 5),
    FIXED("gamma alone", true, false, F32(33, 16), 16),
    FIXED("beta alone", false, true, F32(33, 17), 17),
    FIXED("neither", false, false, F32(33, 15), 15),
    FIXED("one channel", true, true, F32(300, 1), 1),
    FIXED("3 channels, 2 threads", true, true, F32(23333, 3), 3),
    FIXED("67 channels, 2 threads", true, true, F32(1000, 67), 67),
    FIXED("4097 channels", true, true, F32(17, 4097), 4097),
    OWN("statistics of x, gamma and beta", 0, true, true, F32(ROWS, CHANNELS), F32(CHANNELS),
        F32(CHANNELS), SCALAR),
    OWN("statistics of x, images", 0, true, true, F32(3, 4, 25, CHANNELS), F32(CHANNELS),
        F32(CHANNELS), SCALAR),
    OWN("statistics of x, gamma alone", 0, true, false, F32(ROWS, CHANNELS), F32(CHANNELS), SCALAR),
    OWN("statistics of x, beta alone", 0, false, true, F32(ROWS, CHANNELS), F32(CHANNELS), SCALAR),
    OWN("statistics of x, neither", 0, false, false, F32(ROWS, CHANNELS), SCALAR),
    OWN("relu, gamma and beta", 1, true, true, F32(ROWS, CHANNELS), F32(CHANNELS), F32(CHANNELS),
        SCALAR),
    OWN("relu, gamma alone", 1, true, false, F32(ROWS, CHANNELS), F32(CHANNELS), SCALAR),
    OWN("relu, beta alone", 1, false, true, F32(ROWS, CHANNELS), F32(CHANNELS), SCALAR),
    {.name = "relu, by hand",
     .op = &dl_op_batch_norm,
     .attributes = NORM_RELU(.25f, false, true, true, 1),
     .inputs = 5,
     .input = {F32(2, 2), F32(2), F32(2), F32(2), F32(2)},
     .given = {GIVEN(1, 2, -11, 4), GIVEN(1, 4), GIVEN(3.75f, .75f), GIVEN(2, 3), GIVEN(10, 2)},
     .expected = {GIVEN(10, 0, 0, 2)},
     .reference = batch_norm_reference},

    {.name = "by hand",
     .op = &dl_op_batch_norm_add,
     .attributes = &(const dl_batch_norm_attributes){.epsilon = .25f,
                                                     .has_gamma = true,
                                                     .has_beta = true,
                                                     .epilogue = DL_EPILOGUE_RELU,
                                                     .has_residual = true},
     .inputs = 6,
     .input = {F32(2, 2), F32(2, 2), F32(2), F32(2), F32(2), F32(2)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(5, -15, -12.5f, -19), GIVEN(1, 4), GIVEN(3.75f, .75f),
               GIVEN(2, 3), GIVEN(10, 20)},
     .expected = {GIVEN(15, 0, 0, 1)},
     .reference = batch_norm_add_reference},
    ADD("gamma and beta", true, true, true, F32(3, 4, 25, CHANNELS), F32(CHANNELS), F32(CHANNELS),
        SCALAR),
    ADD("gamma alone", true, true, false, F32(ROWS, CHANNELS), F32(CHANNELS), SCALAR),
    ADD("neither", true, false, false, F32(ROWS, CHANNELS), SCALAR),
    ADD("statistics given", false, true, true, F32(ROWS, CHANNELS), F32(CHANNELS), F32(CHANNELS)),

    {.name = "by hand",
     .op = &dl_op_batch_norm_sums,
     .attributes = NORM(.25f, true, true, true),
     .inputs = 4,
     .input = {F32(2, 2), F32(2, 2), F32(2), F32(2)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(5, 6, 7, 8), GIVEN(3, 7), GIVEN(3.75f, .75f)},
     .expected = {GIVEN(4, 6, 7, 2)},
     .reference = sums_reference},
    NORM_SUMS("one channel", 0, true, true, F32(300, 1), 1),
    NORM_SUMS("images", 0, true, true, F32(2, 5, 4, 3), 3),
    NORM_SUMS("255 x 16", 0, true, true, F32(255, 16), 16),
    NORM_SUMS("257 x 17", 0, true, true, F32(257, 17), 17),
    NORM_SUMS("1100 x 67", 0, true, true, F32(1100, 67), 67),
    NORM_SUMS("relu, images", 1, true, true, F32(2, 5, 4, 3), 3),
    NORM_SUMS("relu, gamma alone", 1, true, false, F32(257, 17), 17),
    NORM_SUMS("relu, beta alone", 1, false, true, F32(1100, 67), 67),

    {.name = "by hand, statistics of x",
     .op = &dl_op_batch_norm_input_gradient,
     .attributes = NORM(.25f, true, true, true),
     .inputs = 7,
     .input = {F32(2, 1), F32(2, 1), F32(1), F32(1), F32(1), F32(2), SCALAR},
     .given = {GIVEN(1, 2), GIVEN(3, 5), GIVEN(4), GIVEN(3.75f), GIVEN(8), GIVEN(3, 16), GIVEN(4)},
     .expected = {GIVEN(9, -3)},
     .reference = input_gradient_reference},
    {.name = "by hand, statistics given, no gamma",
     .op = &dl_op_batch_norm_input_gradient,
     .attributes = NORM(.25f, false, false, true),
     .inputs = 4,
     .input = {F32(2, 1), F32(2, 1), F32(1), F32(1)},
     .given = {GIVEN(1, 2), GIVEN(3, 5), GIVEN(4), GIVEN(3.75f)},
     .expected = {GIVEN(.5f, 1)},
     .reference = input_gradient_reference},
    INPUT_GRADIENT("images", true, F32(2, 5, 4, 3), 3),
    INPUT_GRADIENT("one channel", true, F32(70000, 1), 1),
    INPUT_GRADIENT("257 x 17", true, F32(257, 17), 17),
    INPUT_GRADIENT("1000 x 67", true, F32(1000, 67), 67),
    INPUT_GRADIENT("statistics given", false, F32(255, 16), 16),
    RELU_GRADIENT("relu, images", F32(2, 5, 4, 3), 3),
    RELU_GRADIENT("relu, 1000 x 67", F32(1000, 67), 67),
};

static int fill(void) {
    for (int i = 0; i < NUMBERS; i++)
        numbers[i] = (float)((i * 37 + i / 11) % 17 - 8);
    for (int i = 0; i < ROWS * CHANNELS; i++)
        own[i] = (float)sin(i * 1.7) + (float)(i % CHANNELS) / 8;
    for (int c = 0; c < CHANNELS; c++) {
        double mean = 0, variance = 0;
        for (int r = 0; r < ROWS; r++)
            mean += (double)own[r * CHANNELS + c] / ROWS;
        for (int r = 0; r < ROWS; r++)
            variance += pow((double)own[r * CHANNELS + c] - mean, 2) / ROWS;
        mean_of[c] = (float)mean;
        variance_of[c] = (float)variance;
    }
    return 0;
}

const op_sample_table op_samples_norm = {samples, DL_COUNT(samples), fill};

static void test_forward(void) {
    op_samples_forward(&op_samples_norm);
}

static void test_gradient(void) {
    op_samples_gradient(&op_samples_norm);
}

static void test_messages(void) {
    const dl_type x = DL_TYPE(DL_F32, 8, 5), c = DL_TYPE(DL_F32, 6), s = DL_SCALAR(DL_F32);
    const dl_type *input[] = {&x, &c, &c}, *scalar[] = {&s};
    dl_type output;
    dl_infer infer = {
        .attributes = NORM(1, false, false, false), .inputs = 3, .input = input, .output = &output};
    CHECK_FAILS(dl_op_batch_norm.infer(&infer), DL_INTERNAL, "5 channels");
    infer.input = scalar;
    infer.inputs = 1;
    CHECK_FAILS(dl_op_channel_sum.infer(&infer), DL_BAD_JOB, "at least one axis");
}

void suite_ops_norm(void);
void suite_ops_norm(void) {
    CU_pSuite suite = CU_add_suite("ops_norm", fill, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "gradients against central differences", test_gradient);
    CU_add_test(suite, "shapes that do not fit", test_messages);
}
