/* Rows that fusions make of products and of gradients that stop at a relu: samples, masks, what
 * does not fit. */
#include <CUnit/Basic.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "ops/dnnl.h"
#include "ops/matmul.h"
#include "tests/unit/check.h"
#include "tests/unit/op_references.h"
#include "tests/unit/op_values.h"

#define RELU(ta, tb) \
    { .transpose_a = ta, .transpose_b = tb, .epilogue = DL_EPILOGUE_RELU }
#define PLAIN(ta, tb) \
    { .transpose_a = ta, .transpose_b = tb }
static const dl_matmul_attributes relu = RELU(false, false), tb_relu = RELU(false, true);
static const dl_matmul_relu_gradient_attributes alone = {1, PLAIN(false, false)},
                                                summed = {2, PLAIN(false, false)},
                                                tb_summed = {2, PLAIN(false, true)};
static const dl_matmul_sums_attributes of_a = {PLAIN(true, false), false},
                                       of_b = {PLAIN(true, false), true},
                                       tb_of_a = {PLAIN(true, true), false};

#define CONV(outputs_, pad, ...)                                                          \
    {                                                                                     \
        outputs_, {                                                                       \
            {2, {1, 1}, {1, 1}, {pad, pad}, {pad, pad}, 1, DL_EPILOGUE_NONE}, __VA_ARGS__ \
        }                                                                                 \
    }
static const dl_conv_relu_gradient_attributes hand_conv = CONV(2, 0, F32(1, 2, 2, 1)),
                                              conv_alone = CONV(1, 1, F32(2, 5, 6, 16)),
                                              conv_summed = CONV(2, 1, F32(2, 5, 6, 16)),
                                              conv_odd = CONV(2, 0, F32(3, 4, 4, 5));

static void product_reference(const op_sample *sample, const dl_matmul_attributes *product,
                              const dl_type *type, const double *const *in, double *const *out,
                              double *const *bound) {
    op_sample plain = *sample;
    plain.attributes = product;
    plain.inputs = 2;
    op_matmul_reference(&plain, type, in, out, bound, NULL);
}

/* The sum of x [rows, columns] over its rows; elements of it are off by `off` in float32's epsilon.
 */
static void sum_reference(const double *x, int64_t rows, int64_t columns, const double *off,
                          double *out, double *bound) {
    for (int64_t c = 0; c < columns; c++)
        for (int64_t row = 0; row < rows; row++) {
            int64_t i = row * columns + c;
            out[c] += x[i];
            if (bound)
                bound[c] += ((double)rows + 2) * fabs(x[i]) + (off ? off[i] : 0);
        }
}

/* out[0] stops where y is not above 0; out[1], if there is one, is its sum. */
static void stop_reference(const dl_type *type, const double *y, bool sums, double *const *out,
                           double *const *bound) {
    int64_t columns = type->dim[type->rank - 1], rows = dl_type_count(type) / columns;
    for (int64_t e = 0; e < rows * columns; e++) {
        bool passes = y[e] > 0;
        out[0][e] = passes ? out[0][e] : 0;
        if (bound)
            bound[0][e] = passes ? bound[0][e] : 0;
    }
    if (!sums)
        return;
    sum_reference(out[0], rows, columns, bound ? bound[0] : NULL, out[1], bound ? bound[1] : NULL);
    double rounding = op_values_unit(type->dtype) / (double)FLT_EPSILON;
    for (int64_t e = 0; bound && e < rows * columns; e++)
        bound[1][e % columns] += fabs(out[0][e]) * rounding;
}

static void gradient_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink) {
    const dl_matmul_relu_gradient_attributes *attributes = sample->attributes;
    (void)kink;
    product_reference(sample, &attributes->product, type, in, out, bound);
    stop_reference(type, in[2], attributes->outputs == 2, out, bound);
}

static void relu_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    (void)sample;
    (void)kink;
    for (int64_t e = 0; e < dl_type_count(type); e++)
        out[0][e] = in[0][e];
    stop_reference(type, in[1], true, out, bound);
}

static void conv_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    const dl_conv_relu_gradient_attributes *attributes = sample->attributes;
    op_sample plain = *sample;
    plain.attributes = &attributes->conv;
    plain.inputs = 2;
    op_conv_input_reference(&plain, type, in, out, bound, kink);
    stop_reference(type, in[2], attributes->outputs == 2, out, bound);
}

static void sums_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    const dl_matmul_sums_attributes *attributes = sample->attributes;
    const dl_type *x = &sample->input[attributes->of_b];
    (void)kink;
    product_reference(sample, &attributes->product, type, in, out, bound);
    sum_reference(in[attributes->of_b], x->dim[0], x->dim[1], NULL, out[1],
                  bound ? bound[1] : NULL);
}

/* What a layer gave and where it is above 0, for the gradients. */
enum { ROWS = 9, COLUMNS = 150, BYTES = 32, FEW = 7, FEW_BYTES = 16 };
static float y[ROWS * COLUMNS], y_few[ROWS * FEW], mask[ROWS * BYTES], mask_few[ROWS * FEW_BYTES];

static void fill_one(float *of, int columns, float *bytes, int row_bytes) {
    unsigned bits[ROWS * BYTES] = {0};
    for (int i = 0; i < ROWS * columns; i++) {
        float x = dl_unit_float(dl_random_word(5, 0, 0, 0, (uint32_t)i)) - 0.4f;
        of[i] = x > 0 ? (float)(int)(64 * x) / 16 : 0; /* no rounding in bfloat16 */
        bits[i / columns * row_bytes + i % columns / 8] |= (unsigned)(of[i] > 0) << i % columns % 8;
    }
    for (int i = 0; i < ROWS * row_bytes; i++)
        bytes[i] = (float)bits[i];
}

static int fill(void) {
    fill_one(y, COLUMNS, mask, BYTES);
    fill_one(y_few, FEW, mask_few, FEW_BYTES);
    return 0;
}

#define MASKED(text, attributes_, k, columns, bytes, of, its_mask, ...)                         \
    {                                                                                           \
        .name = text, .op = &dl_op_matmul_relu_gradient, .attributes = &(attributes_),          \
        .inputs = 4, .input = {F32(ROWS, k), __VA_ARGS__, F32(ROWS, columns), U8(ROWS, bytes)}, \
        .given = {[2] = of, [3] = its_mask}, .reference = gradient_reference                    \
    }
#define SUMS(text, attributes_, ...)                                                       \
    {                                                                                      \
        .name = text, .op = &dl_op_matmul_sums, .attributes = &(attributes_), .inputs = 2, \
        .input = {__VA_ARGS__}, .reference = sums_reference                                \
    }

#define STOPPED(text, ...)                                               \
    {                                                                    \
        .name = text, .op = &dl_op_relu_gradient, .inputs = 2,           \
        .input = {__VA_ARGS__, __VA_ARGS__}, .reference = relu_reference \
    }
#define CONVOLVED(text, attributes_, ...)                                                         \
    {                                                                                             \
        .name = text, .op = &dl_op_conv_relu_gradient, .attributes = &(attributes_), .inputs = 3, \
        .input = {__VA_ARGS__}, .reference = conv_reference                                       \
    }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_matmul_relu,
     .attributes = &relu,
     .inputs = 3,
     .input = {F32(2, 2), F32(2, 2), F32(2)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(5, 6, 7, 8), GIVEN(-20, 0)},
     .expected = {GIVEN(0, 22, 23, 50)},
     .reference = op_matmul_reference},
    {.name = "150 columns",
     .op = &dl_op_matmul_relu,
     .attributes = &tb_relu,
     .inputs = 3,
     .input = {F32(ROWS, 33), F32(COLUMNS, 33), F32(COLUMNS)},
     .reference = op_matmul_reference},
    {.name = "no bias",
     .op = &dl_op_matmul_relu,
     .attributes = &relu,
     .inputs = 2,
     .input = {F32(5, 8), F32(8, 16)},
     .reference = op_matmul_reference},

    {.name = "by hand",
     .op = &dl_op_matmul_relu_gradient,
     .attributes = &summed,
     .inputs = 4,
     .input = {F32(2, 2), F32(2, 2), F32(2, 2), U8(2, 16)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(5, 6, 7, 8), GIVEN(0, 1, 2, 3),
               GIVEN(2, [16] = 3, [31] = 0)},
     .expected = {GIVEN(0, 22, 43, 50), GIVEN(43, 72)},
     .reference = gradient_reference},
    MASKED("alone", alone, 10, COLUMNS, BYTES, y, mask, F32(10, COLUMNS)),
    MASKED("with its sum", summed, 10, COLUMNS, BYTES, y, mask, F32(10, COLUMNS)),
    MASKED("with its sum, b transposed", tb_summed, 24, COLUMNS, BYTES, y, mask, F32(COLUMNS, 24)),
    MASKED("7 columns", summed, 16, FEW, FEW_BYTES, y_few, mask_few, F32(16, FEW)),

    {.name = "by hand",
     .op = &dl_op_matmul_sums,
     .attributes = &of_b,
     .inputs = 2,
     .input = {F32(2, 2), F32(2, 2)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(5, 6, 7, 8)},
     .expected = {GIVEN(26, 30, 38, 44), GIVEN(12, 14)},
     .reference = sums_reference},
    SUMS("of a", of_a, F32(40, 10), F32(40, 33)),
    SUMS("of b", of_b, F32(40, 33), F32(40, 10)),
    SUMS("of a, b transposed", tb_of_a, F32(17, 10), F32(64, 17)),
    SUMS("many rows", of_a, F32(700, 8), F32(700, 16)),

    {.name = "by hand",
     .op = &dl_op_relu_gradient,
     .inputs = 2,
     .input = {F32(2, 3), F32(2, 3)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6), GIVEN(0, 1, 2, 3, 0, -1)},
     .expected = {GIVEN(0, 2, 3, 4, 0, 0), GIVEN(4, 2, 3)},
     .reference = relu_reference},
    STOPPED("images", F32(3, 7, 5, 40)),
    STOPPED("odd channels", F32(9, 11, 7)),
    STOPPED("many rows", F32(700, 16)),

    {.name = "by hand",
     .op = &dl_op_conv_relu_gradient,
     .attributes = &hand_conv,
     .inputs = 3,
     .input = {F32(1, 2, 2, 1), F32(1, 1, 1, 1), F32(1, 2, 2, 1)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(2), GIVEN(1, 0, 1, 1)},
     .expected = {GIVEN(2, 0, 6, 8), GIVEN(16)},
     .reference = conv_reference},
    CONVOLVED("3x3", conv_alone, F32(2, 5, 6, 24), F32(24, 3, 3, 16), F32(2, 5, 6, 16)),
    CONVOLVED("3x3, summed", conv_summed, F32(2, 5, 6, 24), F32(24, 3, 3, 16), F32(2, 5, 6, 16)),
    CONVOLVED("2x2, odd channels", conv_odd, F32(3, 3, 3, 7), F32(7, 2, 2, 5), F32(3, 4, 4, 5)),
};

const op_sample_table op_samples_dense = {samples, DL_COUNT(samples), fill};

static void test_forward(void) {
    op_samples_forward(&op_samples_dense);
    if (dl_dnnl_bf16() == DL_BF16_NONE)
        check_skip("dense rows of bfloat16", "this processor does not multiply bfloat16");
    else
        CU_ASSERT(op_samples_half(&op_samples_dense) >= DL_COUNT(samples));
}

static void test_mask(void) {
    static float a[ROWS * 3], b[3 * COLUMNS], made[ROWS * COLUMNS];
    static uint8_t bits[ROWS * BYTES], want[ROWS * BYTES];
    for (int i = 0; i < DL_COUNT(a); i++)
        a[i] = (float)(i % 5) - 2;
    for (int i = 0; i < DL_COUNT(b); i++)
        b[i] = (float)(i % 7) - 3;
    const dl_type a_type = F32(ROWS, 3), b_type = F32(3, COLUMNS), y_type = F32(ROWS, COLUMNS),
                  mask_type = U8(ROWS, BYTES);
    dl_prepare what = {.attributes = &relu,
                       .inputs = 2,
                       .outputs = 2,
                       .input = (const dl_type *const[]){&a_type, &b_type},
                       .output = (const dl_type *const[]){&y_type, &mask_type},
                       .name = "mask",
                       .threads = 1,
                       .runs = 1};
    dl_prepared prepared = {0};
    dl_team *team = NULL;
    CHECK_OK(dl_team_open(&team, DL_TEAM_LONE, 1));
    CU_ASSERT_FATAL(CHECK_OK(dl_op_matmul_relu.cpu.prepare(&what, &prepared)));
    void *workspace = dl_alloc(prepared.workspace);
    dl_run run = {.in = (const void *const[]){a, b},
                  .out = (void *const[]){made, bits},
                  .workspace = workspace,
                  .team = team};
    CHECK_OK(dl_op_matmul_relu.cpu.run(prepared.state, &run));
    int above = 0;
    for (int i = 0; i < ROWS * COLUMNS; i++)
        if (made[i] > 0) {
            want[i / COLUMNS * BYTES + i % COLUMNS / 8] |= (uint8_t)(1 << i % COLUMNS % 8);
            above++;
        }
    CU_ASSERT(above > 100 && above < ROWS * COLUMNS - 100);
    CU_ASSERT(memcmp(bits, want, sizeof bits) == 0);
    dl_op_matmul_relu.cpu.release(prepared.state);
    dl_free(workspace);
    dl_team_close(team);
}

static void test_messages(void) {
    static const dl_type square = F32(4, 4), other = F32(4, 5), bits = U8(4, 16), few = U8(4, 4);
    static const dl_matmul_sums_attributes not_summed = {PLAIN(false, false), false};
    dl_type out[2];
    dl_infer infer = {.attributes = &summed,
                      .inputs = 4,
                      .input = (const dl_type *const[]){&square, &square, &other, &bits},
                      .output = out};
    CHECK_FAILS(dl_op_matmul_relu_gradient.infer(&infer), DL_INTERNAL, "not of its shape");
    infer.input = (const dl_type *const[]){&square, &square, &square, &few};
    CHECK_FAILS(dl_op_matmul_relu_gradient.infer(&infer), DL_INTERNAL, "not of its shape");
    infer.inputs = 2;
    infer.input = (const dl_type *const[]){&square, &other};
    CHECK_FAILS(dl_op_relu_gradient.infer(&infer), DL_INTERNAL, "not of its shape");
    infer.input = (const dl_type *const[]){&square, &square};
    infer.attributes = &of_a.product;
    CHECK_FAILS(dl_op_matmul_relu.infer(&infer), DL_INTERNAL, "a relu of rows");
    infer.attributes = &not_summed;
    CHECK_FAILS(dl_op_matmul_sums.infer(&infer), DL_INTERNAL, "adds up the rows");
}

static void test_no_memory(void) {
    op_samples_no_memory(&op_samples_dense);
}

void suite_ops_dense(void);
void suite_ops_dense(void) {
    CU_pSuite suite = CU_add_suite("ops_dense", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "a mask says where relu passes", test_mask);
    CU_add_test(suite, "shapes that do not fit", test_messages);
    CU_add_test(suite, "without memory", test_no_memory);
}
