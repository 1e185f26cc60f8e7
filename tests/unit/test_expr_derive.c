/* Derivatives of every operation and of compositions against central differences in double, the
 * slopes at kinks, and that gradients stay finite where a branch not taken is not. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/expr/expr.h"
#include "tests/unit/check.h"

static dl_arena arena;
static dl_exprs *set;
static dl_expr_name names[3];

static int open_set(void) {
    set = dl_exprs_open(&arena);
    static const char *const word[3] = {"x0", "x1", "x2"};
    for (int i = 0; i < 3 && set; i++)
        names[i] = (dl_expr_name){word[i], dl_expr_input(set, i)};
    return set == NULL;
}

static int close_set(void) {
    dl_arena_free(&arena);
    return 0;
}

static const dl_expr *parsed(const char *text) {
    const dl_expr *e = NULL;
    CHECK_OK(dl_expr_parse(set, text, names, 3, "test", &e));
    return e;
}

/* Points keep off kinks by more than the step: no coordinate near 0, no two near each other. */
static const double points[][3] = {{0.7, 1.3, 0.4},   {1.9, 0.6, 2.5},   {0.3, 2.2, 1.1},
                                   {-0.8, 1.7, -1.4}, {-2.1, 0.9, 0.35}, {2.6, -0.45, -1.2}};

static void check_slopes(const char *text, bool positive) {
    const dl_expr *y = parsed(text);
    for (int input = 0; y && input < 3; input++) {
        const dl_expr *slope = dl_expr_derive(set, y, input);
        CU_ASSERT_PTR_NOT_NULL_FATAL(slope);
        for (int p = 0; p < DL_COUNT(points); p++) {
            double at[3], h = 1e-5;
            for (int i = 0; i < 3; i++)
                at[i] = positive ? fabs(points[p][i]) : points[p][i];
            double got = dl_expr_value(slope, at), x = at[input];
            at[input] = x + h;
            double high = dl_expr_value(y, at);
            at[input] = x - h;
            double want = (high - dl_expr_value(y, at)) / (2.0 * h);
            double floor = fabs(want) > 1.0 ? fabs(want) : 1.0;
            if (!(fabs(got - want) <= 2e-7 * floor)) { /* constants of slopes are float32 */
                printf("\n    d(%s)/dx%d at (%g, %g, %g): %.9g, difference %.9g", text, input,
                       at[0], at[1], at[2], got, want);
                CU_FAIL("derivative");
            }
        }
    }
}

static void test_operations(void) {
    static const char *const any[] = {
        "x0 + x1",           "x0 - x1",          "x0 * x1",
        "x0 / x1",           "fma(x0, x1, x2)",  "-x0",
        "min(x0, x1)",       "max(x0, x1)",      "x0 < x1",
        "x0 <= x1",          "x0 == x1",         "x0 and x1",
        "x0 or x1",          "not x0",           "where(x0 < x1, x2 * x0, x1 / x2)",
        "where(x0, x1, x2)", "abs(x0)",          "sign(x0)",
        "round(x0) * x1",    "flush(x0) * x1",   "flush(x0 - x1)",
        "exp(flush(x0))",    "exp(x0)",          "tanh(x0)",
        "sigmoid(x0)",       "erf(x0)",          "sin(x0)",
        "cos(x0)",           "relu(x0)",         "softplus(x0)",
        "square(x0)",        "clip(x0, -1, x1)", "x0 ** 3",
        "x0 ** -2",          "x0 ** 16",         "x1"};
    static const char *const above_zero[] = {"x0 ** x1", "x0 ** 1.7", "2 ** x0",  "sqrt(x0)",
                                             "log(x0)",  "log1p(x0)", "x0 ** 0.5"};
    for (int i = 0; i < DL_COUNT(any); i++)
        check_slopes(any[i], false);
    for (int i = 0; i < DL_COUNT(above_zero); i++)
        check_slopes(above_zero[i], true);
}

static void test_compositions(void) {
    static const char *const text[] = {"0.5 * x0 * (1 + erf(x0 / sqrt(2)))",
                                       "x0 * sigmoid(1.702 * x0) - tanh(x1 * x0) * x2",
                                       "where(x0 > 0, x0, 1.67326 * (exp(x0) - 1))",
                                       "max(x0, 0) - x0 * x1 + log1p(exp(-abs(x0)))",
                                       "square(sin(x0 * x1) + cos(x2)) / (1 + square(x0))",
                                       "exp(exp(tanh(x0))) * exp(tanh(x0)) + exp(tanh(x0))",
                                       "x0 * x1 * x2 * (x0 + x1) * (x1 + x2) / (x0 * x0 + 1)"};
    for (int i = 0; i < DL_COUNT(text); i++)
        check_slopes(text[i], false);
}

static double slope_at(const char *text, double x) {
    const dl_expr *y = parsed(text), *slope = y ? dl_expr_derive(set, y, 0) : NULL;
    return slope ? dl_expr_value(slope, (double[]){x, x, x}) : (double)NAN;
}

static void test_kinks(void) {
    CU_ASSERT(slope_at("relu(x0)", 0.0) == 0.0);
    CU_ASSERT(slope_at("max(x0, x1)", 1.0) == 0.0);
    CU_ASSERT(slope_at("max(x1, x0)", 1.0) == 1.0);
    CU_ASSERT(slope_at("min(x0, x1)", 1.0) == 0.0);
    CU_ASSERT(slope_at("abs(x0)", 0.0) == 0.0);
    CU_ASSERT(slope_at("softplus(x0)", 0.0) == 0.5);
    CU_ASSERT(slope_at("softplus(x0)", 1000.0) == 1.0);
    CU_ASSERT(slope_at("softplus(x0)", -1000.0) == 0.0);
    CU_ASSERT(slope_at("where(x0 > 0, sqrt(x0), 0)", -1.0) == 0.0 ||
              isnan(slope_at("where(x0 > 0, sqrt(x0), 0)", -1.0))); /* sqrt of a negative number */
    CU_ASSERT(slope_at("x0 * 0 + 3", 5.0) == 0.0);
    CU_ASSERT(slope_at("round(x0) + sign(x0)", 0.5) == 0.0);
}

/* Simple slopes come out simple, and what y shares its slope shares. */
static void test_form(void) {
    static const char *const rows[][2] = {{"relu(x0)", "0 < x0"},
                                          {"3 * x0 + 2", "3"},
                                          {"exp(x0)", "exp(x0)"},
                                          {"x0 * x1", "x1"},
                                          {"sigmoid(x0)", "sigmoid(x0) * (1 - sigmoid(x0))"},
                                          {"x1 + 1", "0"}};
    for (int i = 0; i < DL_COUNT(rows); i++) {
        const dl_expr *y = parsed(rows[i][0]);
        const char *text = dl_expr_text(&arena, dl_expr_derive(set, y, 0));
        CU_ASSERT_STRING_EQUAL(text, rows[i][1]);
    }
    const dl_expr *x = dl_expr_input(set, 0), *y = x; /* tanh 40 times: linear, not exponential */
    for (int i = 0; i < 40; i++)
        y = dl_expr_make(set, DL_EXPR_TANH, y, NULL, NULL);
    y = dl_expr_make(set, DL_EXPR_MUL, y, y, NULL);
    int before = dl_expr_make(set, DL_EXPR_SQRT, y, NULL, NULL)->id;
    const dl_expr *slope = dl_expr_derive(set, y, 0);
    CU_ASSERT(slope->id - before < 200);
    dl_exprs *other = dl_exprs_open(&arena); /* y of another set is taken over */
    CU_ASSERT_PTR_NOT_NULL(dl_expr_derive(other, y, 0));
}

static void test_no_memory(void) {
    const dl_expr *y = parsed("x0 * exp(x0 * 1.2345) + sin(x1)");
    int failures = 0;
    for (uint64_t n = 1; n < 100; n++) {
        dl_alloc_fail_after(n);
        const dl_expr *slope = dl_expr_derive(set, y, 0);
        dl_alloc_fail_after(0);
        if (slope)
            break;
        failures++;
    }
    CU_ASSERT(failures >= 2);
}

void suite_expr_derive(void) {
    CU_pSuite suite = CU_add_suite("expr_derive", open_set, close_set);
    CU_add_test(suite, "every operation", test_operations);
    CU_add_test(suite, "compositions", test_compositions);
    CU_add_test(suite, "kinks", test_kinks);
    CU_add_test(suite, "form", test_form);
    CU_add_test(suite, "no memory", test_no_memory);
}
