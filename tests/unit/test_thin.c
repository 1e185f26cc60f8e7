/* Products of large weights with few samples (ops/thin.h), through the row, against sums in double
 * precision; and that they do not depend on the number of threads. */
#include <CUnit/Basic.h>
#include <math.h>
#include <string.h>

#include "ops/cells.h"
#include "ops/thin.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"

typedef struct thin_case {
    dl_thin_form form;
    int64_t few, p, q; /* a matrix [few, p], the weights or their gradient [p, q] */
    bool half, bias;
} thin_case;

static const thin_case cases[] = {
    {DL_THIN_PLAIN, 1, 1024, 1024, false, true},   {DL_THIN_PLAIN, 4, 1031, 1030, true, true},
    {DL_THIN_PLAIN, 5, 1024, 1100, false, false},  {DL_THIN_PLAIN, 8, 4096, 1000, true, true},
    {DL_THIN_PLAIN, 16, 1050, 1001, true, false},  {DL_THIN_TURNED, 2, 1024, 1024, false, false},
    {DL_THIN_TURNED, 3, 1031, 1030, true, false},  {DL_THIN_TURNED, 8, 1000, 4096, true, false},
    {DL_THIN_TURNED, 11, 1050, 1001, false, true}, {DL_THIN_OUTER, 1, 1031, 1024, false, false},
    {DL_THIN_OUTER, 4, 1025, 4096, true, false},   {DL_THIN_OUTER, 8, 1100, 1001, true, false},
    {DL_THIN_OUTER, 15, 1026, 1024, false, false}};

static uint32_t state = 7;

static void *new_matrix(int64_t rows, int64_t columns, bool half) {
    void *made = dl_alloc((size_t)(rows * columns) * (half ? 2 : 4));
    CU_ASSERT_FATAL(made != NULL);
    for (int64_t i = 0; i < rows * columns; i++) {
        state = state * 1664525u + 1013904223u;
        dl_put_cell(made, i, half, (float)(int32_t)state * 0x1p-31f);
    }
    return made;
}

/* One product, on as many threads; y is all NaN before. */
static void run_product(const dl_prepare *what, const void *const *in, void *y, size_t bytes,
                        int threads) {
    dl_team *team;
    dl_prepared prepared = {0};
    dl_prepare with = *what;
    with.threads = threads;
    if (!CHECK_OK(dl_team_open(&team, DL_TEAM_LONE, threads)))
        return;
    if (CHECK_OK(dl_op_matmul.cpu.prepare(&with, &prepared))) {
        CU_ASSERT_EQUAL(prepared.packed_bytes[1], 0);
        void *workspace = dl_alloc(prepared.workspace);
        memset(workspace, 0xff, prepared.workspace);
        memset(y, 0xff, bytes);
        dl_run run = {.in = in, .out = &y, .workspace = workspace, .team = team};
        CHECK_OK(dl_op_matmul.cpu.run(prepared.state, &run));
        dl_free(workspace);
        dl_op_matmul.cpu.release(prepared.state);
    }
    dl_team_close(team);
}

/* y [m, n] in double precision. */
static double expected(const thin_case *c, const void *const *in, int64_t m, int64_t n) {
    int64_t k = c->form == DL_THIN_OUTER ? c->few : c->p;
    double sum = c->bias ? (double)((const float *)in[2])[n] : 0.0;
    for (int64_t i = 0; i < k; i++) {
        int64_t a = c->form == DL_THIN_OUTER ? i * c->p + m : m * c->p + i;
        int64_t b = c->form == DL_THIN_TURNED ? n * c->p + i : i * c->q + n;
        bool half = c->half && c->form == DL_THIN_OUTER;
        sum += (double)dl_cell(in[0], a, c->half) * (double)dl_cell(in[1], b, half);
    }
    return c->bias && sum < 0 ? 0 : sum; /* relu goes with the bias */
}

static void check_case(const thin_case *c) {
    bool outer = c->form == DL_THIN_OUTER, half_y = c->half && !outer;
    int64_t m = outer ? c->p : c->few, n = c->q, k = outer ? c->few : c->p;
    dl_matmul_attributes attributes = {.transpose_a = outer,
                                       .transpose_b = c->form == DL_THIN_TURNED,
                                       .epilogue = c->bias ? DL_EPILOGUE_RELU : DL_EPILOGUE_NONE};
    dl_dtype narrow = c->half ? DL_BF16 : DL_F32;
    dl_type a = DL_TYPE(narrow, c->few, c->p);
    dl_type b = outer                       ? DL_TYPE(narrow, c->few, n)
                : c->form == DL_THIN_TURNED ? DL_TYPE(DL_F32, n, k)
                                            : DL_TYPE(DL_F32, k, n);
    dl_type bias = DL_TYPE(DL_F32, n), y = DL_TYPE(half_y ? DL_BF16 : DL_F32, m, n);
    const dl_type *input[] = {&a, &b, &bias}, *output[] = {&y};
    dl_prepare what = {.attributes = &attributes,
                       .inputs = c->bias ? 3 : 2,
                       .outputs = 1,
                       .input = input,
                       .output = output,
                       .name = "thin",
                       .runs = 1,
                       .constant = {false, true}};
    dl_thin thin;
    CU_ASSERT(dl_thin_fits(&what, &thin));
    CU_ASSERT_EQUAL(thin.form, c->form);
    const void *in[] = {new_matrix(a.dim[0], a.dim[1], c->half),
                        new_matrix(b.dim[0], b.dim[1], b.dtype == DL_BF16),
                        new_matrix(1, n, false)};
    size_t bytes = dl_type_bytes(&y);
    void *one = dl_alloc(bytes), *two = dl_alloc(bytes);
    CU_ASSERT_FATAL(one && two);
    run_product(&what, in, one, bytes, 1);
    run_product(&what, in, two, bytes, 2);
    CU_ASSERT(memcmp(one, two, bytes) == 0);
    /* Each of k sums of numbers up to 1 is rounded once; bfloat16 keeps 8 bits. */
    double tolerance = ((double)k * (double)k / 8 + 1) * 0x1p-24, relative = half_y ? 0x1p-8 : 0;
    bool close = true;
    for (int64_t i = 0; i < m * n && close; i += 1 + m * n / 20011) {
        double want = expected(c, in, i / n, i % n), got = (double)dl_cell(one, i, half_y);
        close = fabs(got - want) <= tolerance + relative * fabs(want);
    }
    CU_ASSERT(close);
    dl_free(two);
    dl_free(one);
    for (int i = 0; i < 3; i++)
        dl_free((void *)(uintptr_t)in[i]);
}

static void test_products(void) {
    if (dl_isa_used() < DL_ISA_AVX512) {
        check_skip("products with few samples", "this processor has no AVX-512");
        return;
    }
    for (int i = 0; i < DL_COUNT(cases); i++)
        check_case(&cases[i]);
}

static bool fits(int64_t m, int64_t k, int64_t n, bool transpose_a, dl_dtype b_dtype) {
    dl_matmul_attributes attributes = {.transpose_a = transpose_a};
    dl_type a = transpose_a ? DL_TYPE(DL_F32, k, m) : DL_TYPE(DL_F32, m, k);
    dl_type b = DL_TYPE(b_dtype, k, n), y = DL_TYPE(DL_F32, m, n);
    const dl_type *input[] = {&a, &b}, *output[] = {&y};
    dl_prepare what = {
        .attributes = &attributes, .inputs = 2, .outputs = 1, .input = input, .output = output};
    dl_thin thin;
    return dl_thin_fits(&what, &thin);
}

static void test_others(void) {
    CU_ASSERT_FALSE(fits(17, 2048, 2048, false, DL_F32)); /* many samples */
    CU_ASSERT_FALSE(fits(2048, 17, 2048, true, DL_F32));
    CU_ASSERT_FALSE(fits(8, 784, 512, false, DL_F32)); /* small weights */
    CU_ASSERT_FALSE(fits(8, 2048, 2048, false, DL_BF16));
    dl_expr_limit(DL_ISA_AVX2); /* agreed among ranks */
    CU_ASSERT_FALSE(fits(8, 2048, 2048, false, DL_F32));
    dl_expr_limit(dl_isa_here());
    CU_ASSERT_EQUAL(fits(8, 2048, 2048, false, DL_F32), dl_isa_here() >= DL_ISA_AVX512);
}

void suite_thin(void);
void suite_thin(void) {
    CU_pSuite suite = CU_add_suite("thin", NULL, NULL);
    CU_add_test(suite, "products with few samples", test_products);
    CU_add_test(suite, "what is left to oneDNN", test_others);
}
