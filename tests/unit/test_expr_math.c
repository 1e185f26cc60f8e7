/* Errors of the functions in runtime/expr/math.h against libm in double, over floats of every sign
 * and exponent, and the values that must be exact. Bounds are those that math.h states. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/expr/expr.h"
#include "tests/unit/check.h"

enum { MANY = 1 << 14 };

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void run(const dl_expr *e, const float *a, const float *b, float *out, int64_t count) {
    const float *in[2] = {a, b};
    dl_expr_access access[2] = {{1, count}, {1, count}};
    dl_expr_program *program;
    if (!CHECK_OK(dl_expr_compile(&e, 1, 2, &program)))
        return;
    dl_expr_run(program, in, access, &out, count, 0, count, NULL, 1);
    dl_expr_program_free(program);
}

/* |got - want| in units of want's last place as a float; huge where only one is finite or NaN. */
static double ulps(float got, double want) {
    float rounded = (float)want;
    if (isnan(got) || isnan(want))
        return isnan(got) && isnan(want) ? 0.0 : 1e30;
    if (isinf(rounded) || isinf(got))
        return got == rounded ? 0.0 : 1e30;
    if (got == 0.0f && rounded == 0.0f && !signbit(got) != !signbit(rounded))
        return 1e30;
    int exponent = want == 0.0 ? -126 : ilogb(want);
    return fabs((double)got - want) / ldexp(1.0, (exponent < -126 ? -126 : exponent) - 23);
}

static double sigmoid(double x) {
    return x < 0.0 ? exp(x) / (1.0 + exp(x)) : 1.0 / (1.0 + exp(-x));
}

static const struct {
    dl_expr_kind kind;
    const char *name;
    double (*exact)(double);
    double bound;
} functions[] = {{DL_EXPR_EXP, "exp", exp, 0.9},
                 {DL_EXPR_LOG, "log", log, 0.95},
                 {DL_EXPR_LOG1P, "log1p", log1p, 1.5},
                 {DL_EXPR_TANH, "tanh", tanh, 1.4},
                 {DL_EXPR_SIGMOID, "sigmoid", sigmoid, 2.4},
                 {DL_EXPR_ERF, "erf", erf, 1.2},
                 {DL_EXPR_SIN, "sin", sin, 1.5},
                 {DL_EXPR_COS, "cos", cos, 1.5},
                 {DL_EXPR_SQRT, "sqrt", sqrt, 0.5}};

static float in[MANY], in2[MANY], out[MANY];

static void test_ulps(void) {
    /* DL_ULP_STRIDE=1: all 2^32 floats, in about a quarter of an hour */
    const char *text = getenv("DL_ULP_STRIDE");
    uint64_t stride = text ? strtoull(text, NULL, 10) : 1021;
    for (int f = 0; f < DL_COUNT(functions); f++) {
        dl_arena arena = {0};
        dl_exprs *set = dl_exprs_open(&arena);
        const dl_expr *e = dl_expr_make(set, functions[f].kind, dl_expr_input(set, 0), NULL, NULL);
        double worst = 0.0;
        float where = 0.0f;
        for (uint64_t bits = 0; bits < (uint64_t)1 << 32;) {
            int count = 0;
            for (; count < MANY && bits < (uint64_t)1 << 32; bits += stride)
                in[count++] = from_bits((uint32_t)bits);
            run(e, in, in, out, count);
            for (int i = 0; i < count; i++) {
                double error = ulps(out[i], functions[f].exact((double)in[i]));
                if (!(error <= worst)) {
                    worst = error;
                    where = in[i];
                }
            }
        }
        if (!(worst <= functions[f].bound) || text)
            printf("\n    %s: %.4g ulp at %a", functions[f].name, worst, (double)where);
        CU_ASSERT(worst <= functions[f].bound);
        dl_arena_free(&arena);
    }
}

static void test_pow(void) {
    dl_arena arena = {0};
    dl_exprs *set = dl_exprs_open(&arena);
    const dl_expr *e =
        dl_expr_make(set, DL_EXPR_POW, dl_expr_input(set, 0), dl_expr_input(set, 1), NULL);
    uint32_t state = 1;
    double worst = 0.0;
    for (int round = 0; round < 32; round++) {
        for (int i = 0; i < MANY; i++) {
            state = state * 1664525u + 1013904223u;
            in[i] = from_bits(state >> 1); /* half of them: exponents near 1, moderate powers */
            if (i & 1)
                in[i] = 0.25f + (float)(state >> 8) * 0x1p-22f;
            state = state * 1664525u + 1013904223u;
            in2[i] = ((float)(state >> 8) * 0x1p-23f - 1.0f) * (i & 1 ? 60.0f : 2.0f);
        }
        run(e, in, in2, out, MANY);
        for (int i = 0; i < MANY; i++) {
            double error = ulps(out[i], pow((double)in[i], (double)in2[i]));
            worst = error <= worst ? worst : error;
        }
    }
    if (!(worst <= 0.51))
        printf("\n    pow: %.4g ulp", worst);
    CU_ASSERT(worst <= 0.51);

    const float special[] = {0.0f, -0.0f, 1.0f,  -1.0f,  2.0f,     -2.0f,     0.5f, -0.5f,
                             3.0f, -3.0f, 1e30f, 1e-40f, INFINITY, -INFINITY, NAN,  16777217.0f};
    int count = 0;
    for (int i = 0; i < DL_COUNT(special); i++)
        for (int j = 0; j < DL_COUNT(special); j++) {
            in[count] = special[i];
            in2[count++] = special[j];
        }
    run(e, in, in2, out, count);
    for (int i = 0; i < count; i++) {
        double want = pow((double)in[i], (double)in2[i]);
        if (!(ulps(out[i], want) <= 0.51)) {
            printf("\n    pow(%g, %g) = %g, not %g", (double)in[i], (double)in2[i], (double)out[i],
                   want);
            CU_FAIL("pow of special values");
        }
    }
    dl_arena_free(&arena);
}

static void test_exact(void) {
    static const struct {
        const char *text;
        float x, want;
    } rows[] = {{"exp(x)", 0.0f, 1.0f},
                {"exp(x)", -INFINITY, 0.0f},
                {"exp(x)", INFINITY, INFINITY},
                {"exp(x)", 88.73f, INFINITY},
                {"exp(x)", -103.5f, 0x1p-149f},
                {"log(x)", 1.0f, 0.0f},
                {"log(x)", -0.0f, -INFINITY},
                {"log(x)", -1e-40f, NAN},
                {"log(x)", INFINITY, INFINITY},
                {"log1p(x)", -1.0f, -INFINITY},
                {"log1p(x)", -0.0f, -0.0f},
                {"log1p(x)", INFINITY, INFINITY},
                {"tanh(x)", -0.0f, -0.0f},
                {"tanh(x)", 1e-40f, 1e-40f},
                {"tanh(x)", -50.0f, -1.0f},
                {"sigmoid(x)", 0.0f, 0.5f},
                {"sigmoid(x)", -INFINITY, 0.0f},
                {"sigmoid(x)", INFINITY, 1.0f},
                {"erf(x)", -0.0f, -0.0f},
                {"erf(x)", INFINITY, 1.0f},
                {"sin(x)", -0.0f, -0.0f},
                {"cos(x)", 0.0f, 1.0f},
                {"sin(x)", INFINITY, NAN},
                {"cos(x)", -INFINITY, NAN},
                {"round(x)", 2.5f, 2.0f},
                {"round(x)", -0.5f, -0.0f},
                {"round(x)", 8388609.0f, 8388609.0f},
                {"sign(x)", -1e-45f, -1.0f},
                {"flush(x)", -0x1p-126f, -0x1p-126f},
                {"flush(x)", 0x1.fffffcp-127f, 0.0f},
                {"flush(x)", -0x1p-149f, 0.0f},
                {"flush(x)", -INFINITY, -INFINITY},
                {"flush(x)", NAN, NAN},
                {"sign(x)", -0.0f, 0.0f},
                {"softplus(x)", 200.0f, 200.0f},
                {"softplus(x)", -200.0f, 0.0f},
                {"softplus(x)", INFINITY, INFINITY},
                {"softplus(x)", -INFINITY, 0.0f},
                {"sqrt(x)", -1.0f, NAN},
                {"x ** 3", -2.0f, -8.0f},
                {"x ** -2", 4.0f, 0.0625f},
                {"x ** 0", NAN, 1.0f},
                {"x ** 0.5", 9.0f, 3.0f}};
    for (int r = 0; r < DL_COUNT(rows); r++) {
        dl_arena arena = {0};
        dl_exprs *set = dl_exprs_open(&arena);
        dl_expr_name name = {"x", dl_expr_input(set, 0)};
        const dl_expr *e;
        if (CHECK_OK(dl_expr_parse(set, rows[r].text, &name, 1, "", &e))) {
            float got;
            run(e, &rows[r].x, NULL, &got, 1);
            if (memcmp(&got, &rows[r].want, sizeof got) != 0) {
                printf("\n    %s of %g is %g, not %g", rows[r].text, (double)rows[r].x, (double)got,
                       (double)rows[r].want);
                CU_FAIL("exact value");
            }
        }
        dl_arena_free(&arena);
    }
    /* A NaN of any sign stays one, in the one form, through everything. */
    for (int kind = DL_EXPR_ADD; kind < DL_EXPR_KINDS; kind++) {
        bool logical = kind >= DL_EXPR_LESS && kind <= DL_EXPR_NOT;
        if (logical || kind == DL_EXPR_WHERE)
            continue;
        dl_arena arena = {0};
        dl_exprs *set = dl_exprs_open(&arena);
        const dl_expr *x = dl_expr_input(set, 0), *y = dl_expr_input(set, 1);
        const float pair[2][2] = {{from_bits(0xffc00123u), 2.0f}, {2.0f, from_bits(0xffc00123u)}};
        for (int side = 0; side < 2; side++) {
            const dl_expr *e = dl_expr_make(set, (dl_expr_kind)kind, x, y, y);
            if (side == 1 && !((dl_expr_inputs(e) >> 1) & 1))
                continue;
            float got;
            uint32_t bits;
            run(e, &pair[side][0], &pair[side][1], &got, 1);
            memcpy(&bits, &got, sizeof bits);
            CU_ASSERT_EQUAL(bits, 0x7fc00000u);
        }
        dl_arena_free(&arena);
    }
}

void suite_expr_math(void) {
    CU_pSuite suite = CU_add_suite("expr_math", NULL, NULL);
    CU_add_test(suite, "errors of functions", test_ulps);
    CU_add_test(suite, "pow", test_pow);
    CU_add_test(suite, "exact and special values", test_exact);
}
