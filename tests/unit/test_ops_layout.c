/* Samples of the rows that move elements: transpose, slice, pad, concatenate, gather, cast; all but
 * the gradient of gather, which adds, are exact. */
#include <CUnit/Basic.h>
#include <math.h>
#include <string.h>

#include "ops/ops.h"
#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"

/* Index of element e along each axis of `type`, and back. */
static void split(const dl_type *type, int64_t e, int64_t *index) {
    for (int axis = type->rank; axis-- > 0; e /= type->dim[axis])
        index[axis] = e % type->dim[axis];
}

static int64_t flat(const dl_type *type, const int64_t *index) {
    int64_t e = 0;
    for (int axis = 0; axis < type->rank; axis++)
        e = e * type->dim[axis] + index[axis];
    return e;
}

#define UNUSED(bound, kink) ((void)(bound), (void)(kink))

static void transpose_reference(const op_sample *sample, const dl_type *type,
                                const double *const *in, double *const *out, double *const *bound,
                                bool *const *kink) {
    UNUSED(bound, kink);
    const dl_transpose_attributes *a = sample->attributes;
    for (int64_t e = 0; e < dl_type_count(type); e++) {
        int64_t to[DL_MAX_RANK], from[DL_MAX_RANK];
        split(type, e, to);
        for (int axis = 0; axis < type->rank; axis++)
            from[a->permutation[axis]] = to[axis];
        out[0][e] = in[0][flat(&sample->input[0], from)];
    }
}

static void slice_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                            double *const *out, double *const *bound, bool *const *kink) {
    UNUSED(bound, kink);
    const dl_slice_attributes *a = sample->attributes;
    for (int64_t e = 0; e < dl_type_count(type); e++) {
        int64_t index[DL_MAX_RANK];
        split(type, e, index);
        for (int axis = 0; axis < type->rank; axis++)
            index[axis] += a->begin[axis];
        out[0][e] = in[0][flat(&sample->input[0], index)];
    }
}

static void pad_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                          double *const *out, double *const *bound, bool *const *kink) {
    UNUSED(bound, kink);
    const dl_pad_attributes *a = sample->attributes;
    const dl_type *x = &sample->input[0];
    for (int64_t e = 0; e < dl_type_count(type); e++) {
        int64_t index[DL_MAX_RANK];
        bool inside = true;
        split(type, e, index);
        for (int axis = 0; axis < type->rank; axis++) {
            index[axis] -= a->before[axis];
            inside = inside && index[axis] >= 0 && index[axis] < x->dim[axis];
        }
        out[0][e] = inside ? in[0][flat(x, index)] : (double)a->value;
    }
}

static void concatenate_reference(const op_sample *sample, const dl_type *type,
                                  const double *const *in, double *const *out, double *const *bound,
                                  bool *const *kink) {
    UNUSED(bound, kink);
    int axis = ((const dl_concatenate_attributes *)sample->attributes)->axis;
    int64_t begin = 0;
    for (int i = 0; i < sample->inputs; i++) {
        const dl_type *x = &sample->input[i];
        for (int64_t e = 0; e < dl_type_count(x); e++) {
            int64_t index[DL_MAX_RANK];
            split(x, e, index);
            index[axis] += begin;
            out[0][flat(type, index)] = in[i][e];
        }
        begin += x->dim[axis];
    }
}

static void gather_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                             double *const *out, double *const *bound, bool *const *kink) {
    UNUSED(bound, kink);
    int64_t width = dl_type_count(&sample->input[0]) / sample->input[0].dim[0];
    for (int64_t e = 0; e < dl_type_count(type); e++)
        out[0][e] = in[0][(int64_t)in[1][e / width] * width + e % width];
}

static void gather_gradient_reference(const op_sample *sample, const dl_type *type,
                                      const double *const *in, double *const *out,
                                      double *const *bound, bool *const *kink) {
    (void)kink;
    int64_t width = dl_type_count(type) / type->dim[0], ids = dl_type_count(&sample->input[1]);
    for (int64_t i = 0; i < ids; i++)
        for (int64_t c = 0; c < width; c++) {
            int64_t to = (int64_t)in[1][i] * width + c;
            out[0][to] += in[0][i * width + c];
            if (bound)
                bound[0][to] += (double)ids * fabs(in[0][i * width + c]);
        }
}

static void cast_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    (void)sample;
    UNUSED(bound, kink);
    for (int64_t e = 0; e < dl_type_count(type); e++)
        out[0][e] = (double)(float)in[0][e];
}

#define TRANSPOSE(text, x, ...)                                                                   \
    {                                                                                             \
        .name = text, .op = &dl_op_transpose,                                                     \
        .attributes = &(const dl_transpose_attributes){{__VA_ARGS__}}, .inputs = 1, .input = {x}, \
        .reference = transpose_reference, .differentiable = 1                                     \
    }
#define BOX(...) __VA_ARGS__
#define SLICE(text, x, begin_, size_)                                                             \
    {                                                                                             \
        .name = text, .op = &dl_op_slice,                                                         \
        .attributes = &(const dl_slice_attributes){{begin_}, {size_}}, .inputs = 1, .input = {x}, \
        .reference = slice_reference, .differentiable = 1                                         \
    }
#define PAD(text, x, before_, after_, value_)                                               \
    {                                                                                       \
        .name = text, .op = &dl_op_pad,                                                     \
        .attributes = &(const dl_pad_attributes){{before_}, {after_}, value_}, .inputs = 1, \
        .input = {x}, .reference = pad_reference, .differentiable = 1                       \
    }
#define CONCATENATE(text, axis_, count, ...)                                      \
    {                                                                             \
        .name = text, .op = &dl_op_concatenate,                                   \
        .attributes = &(const dl_concatenate_attributes){axis_}, .inputs = count, \
        .input = {__VA_ARGS__}, .reference = concatenate_reference,               \
        .differentiable = (1u << (count)) - 1                                     \
    }
#define GATHER(text, table_, ids)                                                           \
    {                                                                                       \
        .name = text, .op = &dl_op_gather, .inputs = 2, .input = {table_, ids},             \
        .fill = {FILL_SIGNED, FILL_LABELS}, .limit = {0, 7}, .reference = gather_reference, \
        .differentiable = 1                                                                 \
    }
#define SCATTER(text, dy, ids, ...)                                                          \
    {                                                                                        \
        .name = text, .op = &dl_op_gather_gradient,                                          \
        .attributes = &(const dl_gather_gradient_attributes){F32(__VA_ARGS__)}, .inputs = 2, \
        .input = {dy, ids}, .fill = {FILL_SIGNED, FILL_LABELS}, .limit = {0, 7},             \
        .reference = gather_gradient_reference                                               \
    }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_transpose,
     .attributes = &(const dl_transpose_attributes){{1, 0}},
     .inputs = 1,
     .input = {F32(2, 3)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6)},
     .expected = {GIVEN(1, 4, 2, 5, 3, 6)},
     .reference = transpose_reference,
     .differentiable = 1},
    TRANSPOSE("one axis", F32(5), 0),
    TRANSPOSE("nothing moves", F32(3, 4, 5), 0, 1, 2),
    TRANSPOSE("a cycle of three", F32(3, 4, 5), 1, 2, 0),
    TRANSPOSE("the other cycle", F32(3, 4, 5), 2, 0, 1),
    TRANSPOSE("outer axes, rows stay", F32(3, 4, 17), 1, 0, 2),
    TRANSPOSE("channels first", F32(2, 5, 4, 3), 0, 3, 1, 2),
    TRANSPOSE("six axes backwards", F32(2, 3, 1, 2, 3, 2), 5, 4, 3, 2, 1, 0),
    TRANSPOSE("large enough for two threads", F32(257, 129), 1, 0),

    {.name = "by hand",
     .op = &dl_op_slice,
     .attributes = &(const dl_slice_attributes){{1, 1}, {1, 2}},
     .inputs = 1,
     .input = {F32(2, 3)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6)},
     .expected = {GIVEN(5, 6)},
     .reference = slice_reference,
     .differentiable = 1},
    SLICE("all", F32(3, 4), BOX(0, 0), BOX(3, 4)),
    SLICE("one element", F32(3, 4, 5), BOX(2, 3, 4), BOX(1, 1, 1)),
    SLICE("a middle part", F32(3, 6, 5), BOX(0, 2, 0), BOX(3, 3, 5)),
    SLICE("the last column", F32(7, 33), BOX(0, 32), BOX(7, 1)),
    SLICE("large enough for two threads", F32(300, 200), BOX(1, 1), BOX(298, 198)),

    {.name = "by hand",
     .op = &dl_op_pad,
     .attributes = &(const dl_pad_attributes){{1, 0}, {0, 2}, 9},
     .inputs = 1,
     .input = {F32(2, 2)},
     .given = {GIVEN(1, 2, 3, 4)},
     .expected = {GIVEN(9, 9, 9, 9, 1, 2, 9, 9, 3, 4, 9, 9)},
     .reference = pad_reference,
     .differentiable = 1},
    PAD("nothing", F32(3, 4), BOX(0, 0), BOX(0, 0), 0),
    PAD("images", F32(2, 5, 4, 3), BOX(0, 1, 2, 0), BOX(0, 3, 0, 0), 0),
    PAD("with a number", F32(7), BOX(5), BOX(250), -1.5),
    PAD("large enough for two threads", F32(150, 200), BOX(3, 3), BOX(3, 3), 0),

    {.name = "by hand",
     .op = &dl_op_concatenate,
     .attributes = &(const dl_concatenate_attributes){1},
     .inputs = 2,
     .input = {F32(2, 1), F32(2, 2)},
     .given = {GIVEN(1, 2), GIVEN(3, 4, 5, 6)},
     .expected = {GIVEN(1, 3, 4, 2, 5, 6)},
     .reference = concatenate_reference,
     .differentiable = 3},
    CONCATENATE("one input", 0, 1, F32(3, 4)),
    CONCATENATE("first axis", 0, 3, F32(3, 4), F32(1, 4), F32(2, 4)),
    CONCATENATE("middle axis", 1, 2, F32(3, 2, 5), F32(3, 7, 5)),
    CONCATENATE("last axis, six inputs", 2, 6, F32(2, 3, 1), F32(2, 3, 2), F32(2, 3, 3),
                F32(2, 3, 4), F32(2, 3, 1), F32(2, 3, 16)),
    CONCATENATE("large enough for two threads", 1, 2, F32(500, 60), F32(500, 41)),

    {.name = "by hand",
     .op = &dl_op_gather,
     .inputs = 2,
     .input = {F32(3, 2), I32(4)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6), GIVEN(2, 0, 2, 1)},
     .expected = {GIVEN(5, 6, 1, 2, 5, 6, 3, 4)},
     .reference = gather_reference,
     .differentiable = 1},
    GATHER("words of sentences", F32(7, 33), I32(4, 5)),
    GATHER("a table of single numbers", F32(7), I32(20)),
    GATHER("a table of matrices", F32(7, 3, 2), I32(2, 3)),

    {.name = "by hand",
     .op = &dl_op_gather_gradient,
     .attributes = &(const dl_gather_gradient_attributes){F32(3, 2)},
     .inputs = 2,
     .input = {F32(4, 2), I32(4)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, 8), GIVEN(2, 0, 2, 2)},
     .expected = {GIVEN(3, 4, 0, 0, 13, 16)},
     .reference = gather_gradient_reference},
    SCATTER("narrow", F32(100, 1), I32(100), 7, 1),
    SCATTER("17 columns", F32(4, 25, 17), I32(4, 25), 7, 17),
    SCATTER("257 columns", F32(300, 257), I32(300), 7, 257),

    {.name = "by hand, int32",
     .op = &dl_op_cast,
     .inputs = 1,
     .input = {I32(4)},
     .given = {GIVEN(-3, 0, 5, 16777216)},
     .expected = {GIVEN(-3, 0, 5, 16777216)},
     .reference = cast_reference},
    {.name = "by hand, uint8",
     .op = &dl_op_cast,
     .inputs = 1,
     .input = {U8(2, 2)},
     .given = {GIVEN(0, 1, 128, 255)},
     .expected = {GIVEN(0, 1, 128, 255)},
     .reference = cast_reference},
};

const op_sample_table op_samples_layout = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_layout);
}

static void test_gradient(void) {
    op_samples_gradient(&op_samples_layout);
}

static dl_status infer(const dl_op *op, const void *attributes, int inputs, dl_type a, dl_type b) {
    const dl_type *input[] = {&a, &b};
    dl_type output[1];
    dl_infer request = {
        .attributes = attributes, .inputs = inputs, .input = input, .output = output};
    return op->infer(&request);
}

static void test_messages(void) {
    const dl_type x = DL_TYPE(DL_F32, 8, 5), y = DL_TYPE(DL_F32, 8, 6);
    CHECK_FAILS(infer(&dl_op_transpose, &(dl_transpose_attributes){{0, 0}}, 1, x, x), DL_BAD_JOB,
                "0..1, each once");
    CHECK_FAILS(infer(&dl_op_slice, &(dl_slice_attributes){{0, 3}, {8, 3}}, 1, x, x), DL_BAD_JOB,
                "a slice of 3 from 3 does not fit axis 1 of size 5");
    CHECK_FAILS(infer(&dl_op_pad, &(dl_pad_attributes){{0, -1}, {0, 0}, 0}, 1, x, x), DL_BAD_JOB,
                "negative");
    CHECK_FAILS(infer(&dl_op_concatenate, &(dl_concatenate_attributes){0}, 2, x, y), DL_BAD_JOB,
                "shapes (None, 5) and (None, 6) cannot be concatenated along axis 0");
    CHECK_FAILS(infer(&dl_op_concatenate, &(dl_concatenate_attributes){2}, 2, x, y), DL_BAD_JOB,
                "no axis 2");
    CHECK_FAILS(infer(&dl_op_cast, NULL, 1, x, x), DL_INTERNAL, "no cast from float32");
}

/* One call of a row's kernel on this thread. */
static dl_status call(const dl_op *op, const void *attributes, dl_type a, dl_type b, const void *x,
                      const void *y, void *out) {
    const dl_type *input[] = {&a, &b};
    dl_type output;
    const dl_type *outputs[] = {&output};
    dl_infer request = {
        .attributes = attributes, .inputs = op->min_inputs, .input = input, .output = &output};
    dl_prepare what = {.attributes = attributes,
                       .inputs = op->min_inputs,
                       .outputs = 1,
                       .input = input,
                       .output = outputs,
                       .name = "call",
                       .threads = 1,
                       .runs = 1};
    dl_prepared prepared = {0};
    DL_TRY(op->infer(&request));
    DL_TRY(op->cpu.prepare(&what, &prepared));
    const void *in[] = {x, y};
    dl_run run = {.in = in, .out = &out};
    dl_status status = op->cpu.run(prepared.state, &run);
    dl_free(prepared.state);
    return status;
}

/* A number that the table does not have is named, and nothing is read or written through it. */
static void test_numbers_outside(void) {
    const float table_of_3[3] = {1, 2, 3}, dy[2] = {1, 1};
    float out[3];
    const dl_type rows = DL_TYPE(DL_F32, 3, 1), ids = DL_TYPE(DL_I32, 2);
    const dl_gather_gradient_attributes attributes = {DL_TYPE(DL_F32, 3, 1)};
    for (int i = 0; i < 2; i++) {
        const int32_t id[2] = {0, i ? 3 : -1};
        const char *text = i ? "number 3 is outside 0..2" : "number -1 is outside 0..2";
        CHECK_FAILS(call(&dl_op_gather, NULL, rows, ids, table_of_3, id, out), DL_BAD_JOB, text);
        CHECK_FAILS(
            call(&dl_op_gather_gradient, &attributes, DL_TYPE(DL_F32, 2, 1), ids, dy, id, out),
            DL_BAD_JOB, text);
    }
}

/* Elements that are not 4 bytes wide. */
static void test_bytes(void) {
    const uint8_t x[6] = {1, 2, 3, 4, 5, 6};
    const dl_type type = DL_TYPE(DL_U8, 2, 3);
    uint8_t y[6] = {0};
    CHECK_OK(call(&dl_op_transpose, &(dl_transpose_attributes){{1, 0}}, type, type, x, NULL, y));
    CU_ASSERT_EQUAL(memcmp(y, (const uint8_t[]){1, 4, 2, 5, 3, 6}, 6), 0);
    memset(y, 0, sizeof y);
    CHECK_OK(call(&dl_op_slice, &(dl_slice_attributes){{0, 1}, {2, 2}}, type, type, x, NULL, y));
    CU_ASSERT_EQUAL(memcmp(y, (const uint8_t[]){2, 3, 5, 6, 0, 0}, 6), 0);
    const double d[4] = {1, 2, 3, 4};
    double e[4];
    const dl_type wide = DL_TYPE(DL_F64, 2, 2);
    CHECK_OK(call(&dl_op_transpose, &(dl_transpose_attributes){{1, 0}}, wide, wide, d, NULL, e));
    CU_ASSERT_EQUAL(memcmp(e, (const double[]){1, 3, 2, 4}, sizeof e), 0);
}

void suite_ops_layout(void);
void suite_ops_layout(void) {
    CU_pSuite suite = CU_add_suite("ops_layout", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "gradients against central differences", test_gradient);
    CU_add_test(suite, "shapes that do not fit", test_messages);
    CU_add_test(suite, "numbers outside a table", test_numbers_outside);
    CU_add_test(suite, "bytes and doubles", test_bytes);
}
