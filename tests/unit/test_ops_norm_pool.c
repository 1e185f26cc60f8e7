/* Samples of the rows for devices that pool what a normalisation makes (norm_pool.c). */
#include <CUnit/Basic.h>
#include <float.h>
#include <math.h>

#include "ops/pool.h"
#include "tests/unit/check.h"
#include "tests/unit/op_references.h"

/* Half a unit of the 8 bits of bfloat16, or the 11 of float16, in epsilons of float32. */
static double rounding(const dl_type *type) {
    double half = type->dtype == DL_BF16 ? 0x1p-8 : type->dtype == DL_F16 ? 0x1p-11 : 0;
    return half / (double)FLT_EPSILON;
}

/* Of a channel, the vectors from in[first] on. */
typedef struct channel {
    double mean, inverse, gamma, beta;
} channel;

static channel channel_of(const op_sample *sample, const double *const *in, int first, int64_t c) {
    const dl_batch_norm_attributes *a =
        &((const dl_norm_pool_attributes *)sample->attributes)->norm;
    return (channel){in[first][c], 1 / sqrt(in[first + 1][c] + (double)a->epsilon),
                     a->has_gamma ? in[first + 2][c] : 1,
                     a->has_beta ? in[first + 2 + a->has_gamma][c] : 0};
}

static double *numbers(int64_t count) {
    double *made = dl_alloc(sizeof *made * (size_t)count);
    CU_ASSERT_PTR_NOT_NULL_FATAL(made);
    return made;
}

static void pool_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    const dl_norm_pool_attributes *a = sample->attributes;
    const dl_type *x = &sample->input[0];
    int64_t count = dl_type_count(x), width = x->dim[x->rank - 1];
    double *z = numbers(count), most = 0;
    for (int64_t e = 0; e < count; e++) {
        channel c = channel_of(sample, in, 1, e % width);
        double scale = c.inverse * c.gamma;
        z[e] = fmax(0, (in[0][e] - c.mean) * scale + c.beta);
        double error =
            4 * fabs(scale) * (fabs(in[0][e]) + fabs(c.mean)) + fabs(c.beta) + rounding(x) * z[e];
        most = fmax(most, error);
    }
    op_sample pool = *sample;
    pool.inputs = 1;
    pool.attributes = &a->pool.pool;
    op_max_pool_reference(&pool, type, (const double *const[]){z}, out, bound, kink);
    for (int64_t e = 0; e < dl_type_count(type) && bound; e++)
        bound[0][e] += most;
    dl_free(z);
}

/* What passes the relu of what the pooling hands back, and how far off it may be, in epsilons. */
static void passed(const op_sample *sample, const double *const *in, double *d, double *off) {
    const dl_norm_pool_attributes *a = sample->attributes;
    const dl_type *x = &sample->input[2];
    int64_t width = x->dim[x->rank - 1];
    op_sample pool = *sample;
    pool.attributes = &a->pool;
    op_max_gradient_reference(&pool, x, in, (double *const[]){d}, (double *const[]){off}, NULL);
    for (int64_t e = 0; e < dl_type_count(x); e++) {
        channel c = channel_of(sample, in, 3, e % width);
        bool passes = (in[2][e] - c.mean) * c.inverse * c.gamma + c.beta > 0;
        d[e] = passes ? d[e] : 0;
        off[e] = passes ? off[e] * (1 + rounding(x)) : 0;
    }
}

static void sums_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    int64_t width = type->dim[0] / 2, count = dl_type_count(&sample->input[2]);
    double *d = numbers(count), *off = numbers(count);
    double n = count / width < 256 ? (double)(count / width) + 4 : 260;
    passed(sample, in, d, off);
    for (int64_t e = 0; e < count; e++) {
        channel c = channel_of(sample, in, 3, e % width);
        double unit = (in[2][e] - c.mean) * c.inverse;
        out[0][e % width] += d[e];
        out[0][width + e % width] += d[e] * unit;
        if (!bound)
            continue;
        bound[0][e % width] += n * fabs(d[e]) + off[e];
        bound[0][width + e % width] += ((n + 4) * fabs(d[e]) + off[e]) * fabs(unit);
    }
    dl_free(d);
    dl_free(off);
}

static void gradient_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink) {
    (void)kink;
    const dl_batch_norm_attributes *a =
        &((const dl_norm_pool_attributes *)sample->attributes)->norm;
    int64_t width = type->dim[type->rank - 1], count = dl_type_count(type);
    double *d = numbers(count), *off = numbers(count);
    const double *const *next = in + 5 + a->has_gamma + a->has_beta;
    passed(sample, in, d, off);
    for (int64_t e = 0; e < count; e++) {
        channel c = channel_of(sample, in, 3, e % width);
        double scale = c.inverse * c.gamma, unit = (in[2][e] - c.mean) * c.inverse;
        double shift = a->statistics_of_x ? next[0][e % width] / next[1][0] : 0;
        double slope = a->statistics_of_x ? next[0][width + e % width] / next[1][0] : 0;
        out[0][e] = scale * (d[e] - shift - slope * unit);
        if (bound)
            bound[0][e] =
                fabs(scale) * (8 * (fabs(d[e]) + fabs(shift) + fabs(slope * unit)) + off[e]);
    }
    dl_free(d);
    dl_free(off);
}

#define NORM(of_x, gamma_, beta_)                                                               \
    {                                                                                           \
        .epsilon = .25f, .statistics_of_x = (of_x), .has_gamma = (gamma_), .has_beta = (beta_), \
        .epilogue = DL_EPILOGUE_RELU                                                            \
    }
#define POOL_2(...) \
    { {2, false, {2, 2}, {2, 2}, {0, 0}, {0, 0}}, F32(__VA_ARGS__) }
#define POOL_3(...) \
    { {2, false, {3, 3}, {2, 2}, {1, 1}, {1, 1}}, F32(__VA_ARGS__) }
#define EIGHT(value)      value, value, value, value, value, value, value, value
#define SECOND(value, at) value, at, value, value, value, value, value, value

static const dl_norm_pool_attributes by_hand = {NORM(false, true, false), POOL_2(1, 2, 2, 8)};
static const dl_norm_pool_attributes both = {NORM(true, true, true), POOL_3(2, 7, 6, 16)};
static const dl_norm_pool_attributes gamma_alone = {NORM(false, true, false), POOL_3(2, 7, 6, 16)};
static const dl_norm_pool_attributes beta_alone = {NORM(true, false, true), POOL_2(3, 9, 8, 24)};
static const dl_norm_pool_attributes wide = {NORM(true, true, true), POOL_3(1, 3, 4, 2056)};

#define POOL(text, attributes_, inputs_, x, c)                                                   \
    {                                                                                            \
        .name = text, .op = &dl_op_norm_pool, .attributes = &(attributes_), .inputs = (inputs_), \
        .input = {x, F32(c), F32(c), F32(c), F32(c)},                                            \
        .fill = {FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE, FILL_SIGNED, FILL_SIGNED},             \
        .reference = pool_reference                                                              \
    }
#define BACK(text, row, attributes_, inputs_, dy, place, x, c, places, function, ...) \
    {                                                                                 \
        .name = text, .op = &dl_op_norm_pool_##row, .attributes = &(attributes_),     \
        .inputs = (inputs_), .input = {dy, place, x, F32(c), F32(c), __VA_ARGS__},    \
        .fill = {FILL_SIGNED, FILL_LABELS, FILL_SIGNED, FILL_SIGNED,  FILL_POSITIVE,  \
                 FILL_SIGNED, FILL_SIGNED, FILL_SIGNED, FILL_POSITIVE},               \
        .limit = {0, places}, .reference = function                                   \
    }
#define COUNT \
    { .dtype = DL_F32 }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_norm_pool,
     .attributes = &by_hand,
     .inputs = 4,
     .input = {F32(1, 2, 2, 8), F32(8), F32(8), F32(8)},
     .given = {GIVEN(EIGHT(1), SECOND(5, -5), SECOND(3, 0), EIGHT(1)), GIVEN(EIGHT(1)),
               GIVEN(EIGHT(3.75f)), GIVEN(EIGHT(2))},
     .expected = {GIVEN(SECOND(4, 0))},
     .reference = pool_reference},
    POOL("3x3, stride 2, padding", both, 5, F32(2, 7, 6, 16), 16),
    POOL("2x2, a row left over", beta_alone, 4, F32(3, 9, 8, 24), 24),
    POOL("more groups than a block has threads", wide, 5, F32(1, 3, 4, 2056), 2056),
    {.name = "by hand",
     .op = &dl_op_norm_pool_sums,
     .attributes = &by_hand,
     .inputs = 6,
     .input = {F32(1, 1, 1, 8), U8(1, 1, 1, 8), F32(1, 2, 2, 8), F32(8), F32(8), F32(8)},
     .given = {GIVEN(EIGHT(3)), GIVEN(EIGHT(1)),
               GIVEN(EIGHT(1), SECOND(5, -5), SECOND(3, 0), EIGHT(1)), GIVEN(EIGHT(1)),
               GIVEN(EIGHT(3.75f)), GIVEN(EIGHT(2))},
     .expected = {GIVEN(SECOND(3, 0), SECOND(6, 0))},
     .reference = sums_reference},
    BACK("windows that overlap", sums, both, 7, F32(2, 4, 3, 16), U8(2, 4, 3, 16), F32(2, 7, 6, 16),
         16, 9, sums_reference, F32(16), F32(16)),
    BACK("2x2, a row left over", sums, beta_alone, 6, F32(3, 4, 4, 24), U8(3, 4, 4, 24),
         F32(3, 9, 8, 24), 24, 4, sums_reference, F32(24)),
    BACK("more lines than a block has", sums, wide, 7, F32(1, 2, 2, 2056), U8(1, 2, 2, 2056),
         F32(1, 3, 4, 2056), 2056, 9, sums_reference, F32(2056), F32(2056)),
    {.name = "by hand",
     .op = &dl_op_norm_pool_input_gradient,
     .attributes = &by_hand,
     .inputs = 6,
     .input = {F32(1, 1, 1, 8), U8(1, 1, 1, 8), F32(1, 2, 2, 8), F32(8), F32(8), F32(8)},
     .given = {GIVEN(EIGHT(3)), GIVEN(EIGHT(1)),
               GIVEN(EIGHT(1), SECOND(5, -5), SECOND(3, 0), EIGHT(1)), GIVEN(EIGHT(1)),
               GIVEN(EIGHT(3.75f)), GIVEN(EIGHT(4))},
     .expected = {GIVEN(EIGHT(0), SECOND(6, 0), EIGHT(0), EIGHT(0))},
     .reference = gradient_reference},
    BACK("windows that overlap", input_gradient, both, 9, F32(2, 4, 3, 16), U8(2, 4, 3, 16),
         F32(2, 7, 6, 16), 16, 9, gradient_reference, F32(16), F32(16), F32(32), COUNT),
    BACK("statistics given, gamma alone", input_gradient, gamma_alone, 6, F32(2, 4, 3, 16),
         U8(2, 4, 3, 16), F32(2, 7, 6, 16), 16, 9, gradient_reference, F32(16)),
    BACK("more groups than a block has threads", input_gradient, wide, 9, F32(1, 2, 2, 2056),
         U8(1, 2, 2, 2056), F32(1, 3, 4, 2056), 2056, 9, gradient_reference, F32(2056), F32(2056),
         F32(4112), COUNT),
};

const op_sample_table op_samples_norm_pool = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_norm_pool);
}

static void test_no_memory(void) {
    op_samples_no_memory(&op_samples_norm_pool);
}

void suite_ops_norm_pool(void);
void suite_ops_norm_pool(void) {
    CU_pSuite suite = CU_add_suite("ops_norm_pool", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "without memory", test_no_memory);
}
