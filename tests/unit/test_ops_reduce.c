/* Samples of reductions and broadcasts: every kind, every pattern of axes, sizes around the blocks
 * of ops/sums.h. Large inputs are whole numbers, whose sums are exact in float32: nothing may be
 * missing. */
#include <CUnit/Basic.h>
#include <math.h>

#include "ops/ops.h"
#include "ops/sums.h"
#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"

/* Where element e of x goes when the axes in `axes` are dropped: its index in the output. */
static int64_t reduced_index(const dl_type *x, uint32_t axes, int64_t e) {
    int64_t index = 0, step = 1;
    for (int axis = x->rank; axis-- > 0; e /= x->dim[axis])
        if (!(axes >> axis & 1)) {
            index += e % x->dim[axis] * step;
            step *= x->dim[axis];
        }
    return index;
}

static bool whole(const double *x, int64_t count) {
    bool all = true;
    for (int64_t e = 0; e < count; e++)
        all = all && x[e] == rint(x[e]) && fabs(x[e]) <= 8;
    return all;
}

static void max_reference(const dl_type *x, uint32_t axes, const dl_type *y, const double *in,
                          double *out, bool *kink) {
    const double near = 1e-3;
    for (int64_t o = 0; o < dl_type_count(y); o++)
        out[o] = -INFINITY;
    for (int64_t e = 0; e < dl_type_count(x); e++)
        out[reduced_index(x, axes, e)] = fmax(out[reduced_index(x, axes, e)], in[e]);
    for (int64_t o = 0; kink && o < dl_type_count(y); o++) {
        int close = 0;
        for (int64_t e = 0; e < dl_type_count(x); e++)
            close += reduced_index(x, axes, e) == o && out[o] - in[e] < near;
        kink[o] = close > 1;
    }
}

/* A sum in ops/sums.h's order adds at most DL_SUM_BLOCK / inner numbers in float32 one after
 * another. */
static void reduce_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                             double *const *out, double *const *bound, bool *const *kink) {
    const dl_reduce_attributes *a = sample->attributes;
    const dl_type *x = &sample->input[0];
    int64_t count = dl_type_count(x), each = count / dl_type_count(type);
    bool exact = whole(in[0], count);
    double terms = each < 2100 ? (double)each + 4 : 2104;
    if (a->kind == DL_REDUCE_MAX) {
        max_reference(x, a->axes, type, in[0], out[0], kink ? kink[0] : NULL);
        return;
    }
    for (int64_t e = 0; e < count; e++) {
        int64_t o = reduced_index(x, a->axes, e);
        double v = in[0][e], share = a->kind == DL_REDUCE_MEAN ? 1.0 / (double)each : 1.0;
        double term = a->kind == DL_REDUCE_SUM_SQUARES ? v * v
                      : a->kind == DL_REDUCE_SUM_ABS   ? fabs(v)
                                                       : v;
        out[0][o] += term * share;
        if (bound && !(exact && a->kind != DL_REDUCE_MEAN))
            bound[0][o] += (exact ? 2 : terms) * fabs(term * share);
        if (kink && a->kind == DL_REDUCE_SUM_ABS && fabs(v) < 1e-3)
            kink[0][o] = true;
    }
}

static void broadcast_reference(const op_sample *sample, const dl_type *type,
                                const double *const *in, double *const *out, double *const *bound,
                                bool *const *kink) {
    (void)bound;
    (void)kink;
    const dl_type *x = &sample->input[0];
    for (int64_t e = 0; e < dl_type_count(type); e++) {
        int64_t rest = e, from = 0, step = 1;
        for (int axis = type->rank; axis-- > 0; rest /= type->dim[axis]) {
            int own = axis - (type->rank - x->rank);
            int64_t size = own < 0 ? 1 : x->dim[own];
            from += size == 1 ? 0 : rest % type->dim[axis] * step;
            step *= size;
        }
        out[0][e] = in[0][from];
    }
}

enum { LARGE = 70000 };
static float numbers[LARGE]; /* -8 .. 8 */

#define ATTRIBUTES(kind_, axes_, keep_)                             \
    &(const dl_reduce_attributes) {                                 \
        .kind = DL_REDUCE_##kind_, .axes = (axes_), .keep = (keep_) \
    }
#define REDUCE(text, kind_, axes_, ...)                                                   \
    {                                                                                     \
        .name = text, .op = &dl_op_reduce, .attributes = ATTRIBUTES(kind_, axes_, false), \
        .inputs = 1, .input = {F32(__VA_ARGS__)}, .reference = reduce_reference,          \
        .differentiable = 1                                                               \
    }
#define KEEP(text, kind_, axes_, ...)                                                    \
    {                                                                                    \
        .name = text, .op = &dl_op_reduce, .attributes = ATTRIBUTES(kind_, axes_, true), \
        .inputs = 1, .input = {F32(__VA_ARGS__)}, .reference = reduce_reference,         \
        .differentiable = 1                                                              \
    }
#define WHOLE(text, kind_, axes_, ...)                                                    \
    {                                                                                     \
        .name = text, .op = &dl_op_reduce, .attributes = ATTRIBUTES(kind_, axes_, false), \
        .inputs = 1, .input = {F32(__VA_ARGS__)}, .given = {numbers},                     \
        .reference = reduce_reference                                                     \
    }
#define HAND(text, kind_, axes_, x, ...)                                                     \
    {                                                                                        \
        .name = text, .op = &dl_op_reduce, .attributes = ATTRIBUTES(kind_, axes_, false),    \
        .inputs = 1, .input = {x}, .given = {GIVEN(1, -2, 3, 4, 5, -6)},                     \
        .expected = {GIVEN(__VA_ARGS__)}, .reference = reduce_reference, .differentiable = 1 \
    }
/* Every kind over one pattern of axes. */
#define KINDS(text, axes_, ...)                                    \
    REDUCE("sum, " text, SUM, axes_, __VA_ARGS__),                 \
        REDUCE("mean, " text, MEAN, axes_, __VA_ARGS__),           \
        KEEP("max, " text, MAX, axes_, __VA_ARGS__),               \
        REDUCE("squares, " text, SUM_SQUARES, axes_, __VA_ARGS__), \
        KEEP("absolute values, " text, SUM_ABS, axes_, __VA_ARGS__)
#define SIZES(text, axes_, ...)                                                                 \
    WHOLE("sum, " text, SUM, axes_, __VA_ARGS__), WHOLE("max, " text, MAX, axes_, __VA_ARGS__), \
        WHOLE("mean, " text, MEAN, axes_, __VA_ARGS__),                                         \
        WHOLE("squares, " text, SUM_SQUARES, axes_, __VA_ARGS__),                               \
        WHOLE("absolute values, " text, SUM_ABS, axes_, __VA_ARGS__)

#define SPREAD(text, x, ...)                                                           \
    {                                                                                  \
        .name = text, .op = &dl_op_broadcast,                                          \
        .attributes = &(const dl_broadcast_attributes){F32(__VA_ARGS__)}, .inputs = 1, \
        .input = {x}, .reference = broadcast_reference, .differentiable = 1            \
    }
#define SCALAR \
    { .dtype = DL_F32 }

static const op_sample samples[] = {
    HAND("sum by hand, all", SUM, 3, F32(2, 3), 5),
    HAND("sum by hand, rows", SUM, 2, F32(2, 3), 2, 3),
    HAND("sum by hand, columns", SUM, 1, F32(2, 3), 5, 3, -3),
    HAND("mean by hand, columns", MEAN, 1, F32(2, 3), 2.5, 1.5, -1.5),
    HAND("max by hand, rows", MAX, 2, F32(2, 3), 3, 5),
    HAND("max by hand, columns", MAX, 1, F32(2, 3), 4, 5, 3),
    HAND("squares by hand, rows", SUM_SQUARES, 2, F32(2, 3), 14, 77),
    HAND("absolute values by hand, columns", SUM_ABS, 1, F32(2, 3), 5, 7, 9),
    HAND("outer and inner by hand: two runs of axes", SUM, 5, F32(1, 2, 3), 2, 3),
    KINDS("all of 3 axes", 7, 3, 4, 5),
    KINDS("first axis", 1, 7, 3, 2),
    KINDS("last axis", 4, 3, 4, 7),
    KINDS("middle axis", 2, 3, 5, 4),
    KINDS("first and last: two runs", 5, 4, 3, 6),
    KINDS("axes 0, 2, 4: three runs", 21, 3, 2, 3, 2, 2),
    KINDS("axes 1, 2 of 4: one run inside", 6, 2, 3, 4, 5),
    KINDS("an axis of one element", 2, 4, 1, 3),
    SIZES("1", 1, 1),
    SIZES("15", 1, 15),
    SIZES("16", 1, 16),
    SIZES("17", 1, 17),
    SIZES("4095", 1, 4095),
    SIZES("4096", 1, 4096),
    SIZES("4097", 1, 4097),
    SIZES("70000", 1, LARGE),
    SIZES("70000 as 7 rows", 2, 7, 10000),
    SIZES("columns: 255 x 16", 1, 255, 16),
    SIZES("columns: 256 x 17", 1, 256, 17),
    SIZES("columns: 257 x 15", 1, 257, 15),
    SIZES("columns: 23333 x 3", 1, 23333, 3),
    SIZES("columns: 4097 x 2", 1, 4097, 2),
    SIZES("columns: 3 x 4097", 1, 3, 4097),
    SIZES("columns: 513 x 130", 1, 513, 130),
    SIZES("middle: 3 x 4097 x 5", 2, 3, 4097, 5),
    SIZES("two runs: 5 x 7 x 1999", 5, 5, 7, 1999),
    SIZES("two runs: 4099 x 3 x 5", 5, 4099, 3, 5),
    {.name = "sum, gradient of 70000",
     .op = &dl_op_reduce,
     .attributes = ATTRIBUTES(SUM, 1, false),
     .inputs = 1,
     .input = {F32(LARGE)},
     .fill = {FILL_SIGNED}, /* differences of a greater sum are lost in double */
     .reference = reduce_reference,
     .differentiable = 1},

    {.name = "by hand",
     .op = &dl_op_broadcast,
     .attributes = &(const dl_broadcast_attributes){F32(2, 2, 3)},
     .inputs = 1,
     .input = {F32(2, 1)},
     .given = {GIVEN(1, 2)},
     .expected = {GIVEN(1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2)},
     .reference = broadcast_reference,
     .differentiable = 1},
    SPREAD("a scalar", SCALAR, 3, 5),
    SPREAD("last axis", F32(7), 5, 7),
    SPREAD("columns of one", F32(5, 1), 5, 257),
    SPREAD("middle axis", F32(3, 1, 4), 3, 6, 4),
    SPREAD("outer and middle", F32(1, 3, 1, 2), 4, 3, 5, 2),
    SPREAD("all but the middle", F32(3, 1), 2, 3, 4),
    SPREAD("70000 from 7", F32(7, 1), 7, 10000),
    SPREAD("nothing repeats", F32(3, 5), 3, 5),
};

static int fill(void) {
    for (int i = 0; i < LARGE; i++)
        numbers[i] = (float)((i * 37 + i / 11) % 17 - 8);
    return 0;
}

const op_sample_table op_samples_reduce = {samples, DL_COUNT(samples), fill};

static void test_forward(void) {
    op_samples_forward(&op_samples_reduce);
}

static void test_gradient(void) {
    op_samples_gradient(&op_samples_reduce);
}

static void test_messages(void) {
    dl_type x = DL_TYPE(DL_F32, 8, 5), y;
    const dl_type *input = &x;
    dl_broadcast_attributes attributes = {DL_TYPE(DL_F32, 8, 6)};
    dl_infer infer = {.attributes = &attributes, .inputs = 1, .input = &input, .output = &y};
    CHECK_FAILS(dl_op_broadcast.infer(&infer), DL_BAD_JOB,
                "shape (None, 5) cannot be spread to (None, 6)");
}

/* One NaN anywhere is the maximum and the sum, an infinity passes. */
static void test_nan(void) {
    float x[100];
    for (int at = 0; at < 100; at++) {
        for (int i = 0; i < 100; i++)
            x[i] = (float)i;
        x[at] = NAN;
        CU_ASSERT_TRUE(isnan(dl_block_max(x, 100)));
        CU_ASSERT_TRUE(isnan(dl_block_sum(x, 100, DL_TERM_SQUARE)));
        float most[4];
        dl_column_max(x, 25, 4, most);
        for (int c = 0; c < 4; c++)
            CU_ASSERT_EQUAL(isnan(most[c]), c == at % 4);
        x[at] = INFINITY;
        CU_ASSERT_EQUAL(dl_block_max(x, 100), INFINITY);
        x[at] = -INFINITY;
        CU_ASSERT_EQUAL(dl_block_max(x, 100), at == 99 ? 98.0f : 99.0f);
    }
}

void suite_ops_reduce(void);
void suite_ops_reduce(void) {
    CU_pSuite suite = CU_add_suite("ops_reduce", fill, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "gradients against central differences", test_gradient);
    CU_add_test(suite, "shapes that do not fit", test_messages);
    CU_add_test(suite, "NaN and infinity", test_nan);
}
