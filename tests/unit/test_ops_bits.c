/* The same bits on every instruction set: the sums of ops/sums.c against their stated order written
 * out one number at a time, for the kernels that this processor runs and for those of the lesser
 * sets; the elementwise kernels of batch normalisation and softmax against plain C. */
#include <CUnit/Basic.h>
#include <math.h>
#include <string.h>

#include "ops/ops.h"
#include "ops/sums.h"
#include "runtime/base/philox.h"
#include "runtime/expr/math.h"
#include "tests/unit/check.h"

typedef struct sums {
    const char *name;
    dl_isa needs;
    float (*block_sum)(const float *, int64_t, dl_term);
    float (*block_max)(const float *, int64_t);
    void (*column_sum)(const void *, bool, int64_t, int64_t, const float *, dl_term, float *);
    void (*column_product)(const void *, const void *, bool, int64_t, int64_t, const float *,
                           const dl_gate *, float *, float *);
    void (*column_max)(const float *, int64_t, int64_t, float *);
} sums;

#define DECLARE(set)                                                                       \
    float dl_block_sum_##set(const float *, int64_t, dl_term);                             \
    float dl_block_max_##set(const float *, int64_t);                                      \
    void dl_column_sum_##set(const void *, bool, int64_t, int64_t, const float *, dl_term, \
                             float *);                                                     \
    void dl_column_product_##set(const void *, const void *, bool, int64_t, int64_t,       \
                                 const float *, const dl_gate *, float *, float *);        \
    void dl_column_max_##set(const float *, int64_t, int64_t, float *);
DECLARE(portable)
DECLARE(avx2)
DECLARE(avx512)

#define LIST(set, isa)                                                          \
    {                                                                           \
#set, isa, dl_block_sum_##set, dl_block_max_##set, dl_column_sum_##set, \
            dl_column_product_##set, dl_column_max_##set                        \
    }
static const sums sets[] = {
    {"here", DL_ISA_PORTABLE, dl_block_sum, dl_block_max, dl_column_sum, dl_column_product,
     dl_column_max},
    LIST(portable, DL_ISA_PORTABLE),
    LIST(avx2, DL_ISA_AVX2),
    LIST(avx512, DL_ISA_AVX512),
};

enum { NUMBERS = 40000, COLUMNS = 200 };
static float x[NUMBERS], dy[NUMBERS], center[COLUMNS];

static int fill(void) {
    for (int i = 0; i < NUMBERS; i++) {
        x[i] = 4 * dl_unit_float(dl_random_word(5, 1, 0, 0, (uint32_t)i)) - 2;
        dy[i] = 4 * dl_unit_float(dl_random_word(5, 2, 0, 0, (uint32_t)i)) - 2;
    }
    for (int c = 0; c < COLUMNS; c++)
        center[c] = dl_unit_float(dl_random_word(5, 3, 0, 0, (uint32_t)c));
    return 0;
}

static float term_of(float v, dl_term term) {
    return term == DL_TERM_PLAIN ? v : term == DL_TERM_SQUARE ? v * v : fabsf(v);
}

/* Adds the first 2^n numbers, `step` apart, along a tree. */
static float tree(float *v, int count, int step) {
    for (int half = count / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            v[i * step] += v[(i + half) * step];
    return v[0];
}

static float stated_block(const float *v, int64_t count, dl_term term) {
    float lane[16] = {0};
    for (int64_t i = 0; i < count; i++)
        lane[i % 16] += term_of(v[i], term);
    return tree(lane, 16, 1);
}

/* Column c of [rows, columns]; kind 0..2: a term, 3: (v - center)^2, 4: dy * (v - center). */
static float stated_column(int64_t rows, int64_t columns, int64_t c, int kind) {
    static float slot[1024];
    int64_t fold = rows < 4 * dl_fold(columns) ? 1 : dl_fold(columns);
    memset(slot, 0, sizeof slot);
    for (int64_t r = 0; r < rows; r++) {
        float v = x[r * columns + c], d = v - center[c];
        float term = kind < 3    ? term_of(v, (dl_term)kind)
                     : kind == 3 ? d * d
                                 : dy[r * columns + c] * d;
        slot[r % fold] += term;
    }
    return tree(slot, (int)fold, 1);
}

static void test_blocks(void) {
    static const int64_t counts[] = {1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 1000, 4095, 4096};
    for (int s = 0; s < DL_COUNT(sets); s++)
        for (int i = 0; i < DL_COUNT(counts) && sets[s].needs <= dl_isa_here(); i++) {
            float most = x[0];
            for (int term = DL_TERM_PLAIN; term <= DL_TERM_ABS; term++) {
                float want = stated_block(x, counts[i], (dl_term)term);
                float got = sets[s].block_sum(x, counts[i], (dl_term)term);
                CHECK_BITS(&got, &want, 1);
            }
            for (int64_t e = 0; e < counts[i]; e++)
                most = x[e] > most ? x[e] : most;
            float got = sets[s].block_max(x, counts[i]);
            CHECK_BITS(&got, &most, 1);
        }
}

static void columns_of(const sums *set, int64_t rows, int64_t columns) {
    static float got[2][COLUMNS], want[2][COLUMNS], open[NUMBERS];
    for (int kind = 0; kind < 4; kind++) {
        for (int64_t c = 0; c < columns; c++)
            want[0][c] = stated_column(rows, columns, c, kind);
        set->column_sum(x, false, rows, columns, kind == 3 ? center : NULL,
                        kind == 3 ? 0 : (dl_term)kind, got[0]);
        CHECK_BITS(got[0], want[0], columns);
    }
    for (int64_t c = 0; c < columns; c++)
        want[1][c] = stated_column(rows, columns, c, 4);
    set->column_product(dy, x, false, rows, columns, center, NULL, got[0], got[1]);
    CHECK_BITS(got[1], want[1], columns);
    set->column_sum(dy, false, rows, columns, NULL, DL_TERM_PLAIN, want[0]);
    CHECK_BITS(got[0], want[0], columns);
    const dl_gate gate = {center, dy}; /* the same sums of what the gate lets through */
    for (int64_t e = 0; e < rows * columns; e++) {
        float z = (x[e] - center[e % columns]) * center[e % columns] + dy[e % columns];
        open[e] = z > 0 ? dy[e] : 0;
    }
    set->column_product(open, x, false, rows, columns, center, NULL, want[0], want[1]);
    set->column_product(dy, x, false, rows, columns, center, &gate, got[0], got[1]);
    CHECK_BITS(got[0], want[0], columns);
    CHECK_BITS(got[1], want[1], columns);
    set->column_max(x, rows, columns, got[0]);
    for (int64_t c = 0; c < columns; c++) {
        want[0][c] = x[c];
        for (int64_t r = 1; r < rows; r++)
            want[0][c] = fmaxf(want[0][c], x[r * columns + c]);
    }
    CHECK_BITS(got[0], want[0], columns);
}

/* Those of bfloat16 are those of its numbers as float32. */
static void half_columns_of(const sums *set, int64_t rows, int64_t columns) {
    static uint16_t half[2][NUMBERS];
    static float wide[2][NUMBERS], got[2][COLUMNS], want[2][COLUMNS];
    const dl_gate gate = {center, dy};
    for (int64_t e = 0; e < rows * columns; e++)
        for (int i = 0; i < 2; i++) {
            half[i][e] = dl_m_to_bf16(i ? dy[e] : x[e]);
            wide[i][e] = dl_m_from_bf16(half[i][e]);
        }
    for (int kind = 0; kind < 4; kind++) {
        const float *around = kind == 3 ? center : NULL;
        dl_term term = kind == 3 ? DL_TERM_PLAIN : (dl_term)kind;
        set->column_sum(wide[0], false, rows, columns, around, term, want[0]);
        set->column_sum(half[0], true, rows, columns, around, term, got[0]);
        CHECK_BITS(got[0], want[0], columns);
    }
    for (int gated = 0; gated < 2; gated++) {
        set->column_product(wide[1], wide[0], false, rows, columns, center, gated ? &gate : NULL,
                            want[0], want[1]);
        set->column_product(half[1], half[0], true, rows, columns, center, gated ? &gate : NULL,
                            got[0], got[1]);
        CHECK_BITS(got[0], want[0], columns);
        CHECK_BITS(got[1], want[1], columns);
    }
}

static void test_columns(void) {
    static const int64_t columns[] = {1, 2, 3, 7, 8, 15, 16, 17, 24, 31, 48, 63, 64, 65, 130, 200};
    static const int64_t rows[] = {1, 2, 63, 64, 65, 127, 128, 199, 200};
    for (int s = 0; s < DL_COUNT(sets); s++)
        for (int c = 0; c < DL_COUNT(columns) && sets[s].needs <= dl_isa_here(); c++)
            for (int r = 0; r < DL_COUNT(rows); r++) {
                columns_of(&sets[s], rows[r], columns[c]);
                half_columns_of(&sets[s], rows[r], columns[c]);
            }
}

/* A wide row fills whole lanes and its slots fit. */
static void test_fold(void) {
    for (int64_t columns = 1; columns <= 300; columns++) {
        int64_t fold = dl_fold(columns);
        CU_ASSERT_EQUAL(fold & (fold - 1), 0);
        CU_ASSERT_TRUE(fold * columns <= DL_SUM_WIDE && fold * columns >= 64);
        CU_ASSERT_TRUE(columns >= 64 ? fold == 1 : fold * columns % DL_SUM_LANES == 0);
    }
}

static dl_status call_both(const dl_op *op, const void *attributes, int inputs,
                           const dl_type *types, const void *const *in, float *out, float *second) {
    const dl_type *input[8];
    dl_type output[2];
    const dl_type *outputs[] = {&output[0], &output[1]};
    void *made[] = {out, second};
    dl_prepared prepared = {0};
    for (int i = 0; i < inputs; i++)
        input[i] = &types[i];
    dl_infer infer = {.attributes = attributes, .inputs = inputs, .input = input, .output = output};
    dl_prepare what = {.attributes = attributes,
                       .inputs = inputs,
                       .outputs = second ? 2 : 1,
                       .input = input,
                       .output = outputs,
                       .name = "call",
                       .threads = 1};
    DL_TRY(op->infer(&infer));
    DL_TRY(op->cpu.prepare(&what, &prepared));
    void *workspace = dl_alloc(prepared.workspace + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(workspace);
    dl_run run = {.in = in, .out = made, .workspace = workspace};
    dl_status status = op->cpu.run(prepared.state, &run);
    dl_free(workspace);
    dl_free(prepared.state);
    return status;
}

static dl_status call(const dl_op *op, const void *attributes, int inputs, const dl_type *types,
                      const void *const *in, float *out) {
    return call_both(op, attributes, inputs, types, in, out, NULL);
}

static void test_batch_norm(void) {
    static float got[NUMBERS], want[NUMBERS];
    static const int64_t columns[] = {1, 3, 16, 17, 65, 200};
    const dl_batch_norm_attributes attributes = {.epsilon = 1e-3f, .has_gamma = true};
    for (int i = 0; i < DL_COUNT(columns); i++) {
        int64_t c = columns[i], rows = NUMBERS / c;
        const dl_type all = DL_TYPE(DL_F32, rows, c), one = DL_TYPE(DL_F32, c);
        const dl_type types[] = {all, all, one, one, one};
        const float *mean = center, *variance = center, *gamma = dy;
        CHECK_OK(call(&dl_op_batch_norm, &attributes, 4, types + 1,
                      (const void *[]){x, mean, variance, gamma}, got));
        for (int64_t e = 0; e < rows * c; e++)
            want[e] = (x[e] - mean[e % c]) * (gamma[e % c] / sqrtf(variance[e % c] + 1e-3f)) + 0.0f;
        CHECK_BITS(got, want, rows * c);
        CHECK_OK(call(&dl_op_batch_norm_input_gradient, &attributes, 5, types,
                      (const void *[]){dy, x, mean, variance, gamma}, got));
        for (int64_t e = 0; e < rows * c; e++)
            want[e] = gamma[e % c] / sqrtf(variance[e % c] + 1e-3f) * dy[e] -
                      0.0f * (x[e] - mean[e % c]) - 0.0f;
        CHECK_BITS(got, want, rows * c);
    }
}

static void test_softmax(void) {
    static float got[NUMBERS], want[NUMBERS];
    static const int64_t widths[] = {1, 2, 10, 16, 17, 257, 4000};
    for (int i = 0; i < DL_COUNT(widths); i++) {
        int64_t width = widths[i], rows = NUMBERS / width;
        const dl_type all = DL_TYPE(DL_F32, rows, width);
        CHECK_OK(call(&dl_op_softmax, NULL, 1, &all, (const void *[]){x}, got));
        for (int64_t r = 0; r < rows; r++) {
            const float *row = x + r * width;
            float most = dl_block_max(row, width);
            for (int64_t e = 0; e < width; e++)
                want[r * width + e] = dl_m_exp(row[e] - most);
            float sum = stated_block(want + r * width, width, DL_TERM_PLAIN);
            for (int64_t e = 0; e < width; e++)
                want[r * width + e] /= sum;
        }
        CHECK_BITS(got, want, rows * width);
    }
}

static void test_layer_norm(void) {
    static float got[NUMBERS], want[NUMBERS];
    static const int64_t widths[] = {1, 2, 10, 16, 17, 63, 64, 65, 257};
    const dl_layer_norm_attributes attributes = {.epsilon = 1e-3f};
    for (int i = 0; i < DL_COUNT(widths); i++) {
        int64_t width = widths[i], rows = NUMBERS / width;
        const dl_type all = DL_TYPE(DL_F32, rows, width);
        CHECK_OK(call(&dl_op_layer_norm, &attributes, 1, &all, (const void *[]){x}, got));
        for (int64_t r = 0; r < rows; r++) {
            float *row = want + r * width;
            float mean =
                (float)((double)stated_block(x + r * width, width, DL_TERM_PLAIN) / (double)width);
            for (int64_t e = 0; e < width; e++)
                row[e] = x[r * width + e] - mean;
            float variance =
                (float)((double)stated_block(row, width, DL_TERM_SQUARE) / (double)width);
            for (int64_t e = 0; e < width; e++)
                row[e] *= 1.0f / sqrtf(variance + 1e-3f);
        }
        CHECK_BITS(got, want, rows * width);
    }
}

/* Rows together and each alone; what is summed over rows is added one after another. */
static void test_layer_norm_gradient(void) {
    static float got[NUMBERS], alone[NUMBERS];
    const dl_layer_norm_attributes attributes = {.epsilon = 1e-3f, .has_gamma = true};
    for (int64_t width = 1; width <= 65; width += 8) {
        enum { TOGETHER = 16 };
        float gamma[65], total[2 * 65], want[2 * 65] = {0}, one[2 * 65];
        for (int64_t c = 0; c < width; c++)
            gamma[c] = 0.5f + center[c];
        const dl_type scale = DL_TYPE(DL_F32, width);
        const dl_type all[] = {DL_TYPE(DL_F32, TOGETHER, width), DL_TYPE(DL_F32, TOGETHER, width),
                               scale};
        const dl_type row[] = {DL_TYPE(DL_F32, 1, width), DL_TYPE(DL_F32, 1, width), scale};
        CHECK_OK(call_both(&dl_op_layer_norm_gradient, &attributes, 3, all,
                           (const void *[]){dy, x, gamma}, got, total));
        for (int64_t r = 0; r < TOGETHER; r++) {
            CHECK_OK(call_both(&dl_op_layer_norm_gradient, &attributes, 3, row,
                               (const void *[]){dy + r * width, x + r * width, gamma},
                               alone + r * width, one));
            for (int64_t c = 0; c < 2 * width; c++)
                want[c] += one[c];
        }
        CHECK_BITS(got, alone, TOGETHER * width);
        CHECK_BITS(total, want, 2 * width);
    }
}

void suite_ops_bits(void);
void suite_ops_bits(void) {
    CU_pSuite suite = CU_add_suite("ops_bits", fill, NULL);
    CU_add_test(suite, "total of blocks", test_blocks);
    CU_add_test(suite, "total of columns", test_columns);
    CU_add_test(suite, "narrow rows are folded", test_fold);
    CU_add_test(suite, "batch normalisation", test_batch_norm);
    CU_add_test(suite, "softmax", test_softmax);
    CU_add_test(suite, "layer normalisation", test_layer_norm);
    CU_add_test(suite, "its gradient", test_layer_norm_gradient);
}
