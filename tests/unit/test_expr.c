/* Texts to expressions and back: precedence, messages with their characters, folding that keeps
 * bits, round trips, substitution. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/expr/expr.h"
#include "tests/unit/check.h"

static dl_arena arena;
static dl_exprs *set;
static dl_expr_name names[5];

static int open_set(void) {
    set = dl_exprs_open(&arena);
    static const char *const word[5] = {"x0", "x1", "x2", "z_log_var", "vgg.block5_conv3"};
    for (int i = 0; i < 5 && set; i++)
        names[i] = (dl_expr_name){word[i], dl_expr_input(set, i)};
    return set == NULL;
}

static int close_set(void) {
    dl_arena_free(&arena);
    return 0;
}

static const dl_expr *parsed(const char *text) {
    const dl_expr *e = NULL;
    CHECK_OK(dl_expr_parse(set, text, names, 5, "layer", &e));
    return e;
}

static void test_precedence(void) {
    static const double at[5] = {2.0, 3.0, 5.0, 7.0, 11.0};
    static const struct {
        const char *text;
        double want;
    } rows[] = {{"1 + 2 * 3", 7},
                {"x0 - x1 - x2", -6},
                {"x0 / x1 / x2", 2.0 / 15},
                {"x0 - (x1 - x2)", 4},
                {"-x0 ** 2", -4},
                {"(-x0) ** 2", 4},
                {"x0 ** x1 ** x0", 512},
                {"x0 ** -1 * 4", 2},
                {"2 * -x0", -4},
                {"--x0", 2},
                {"x0 + x1 < x2 + 1", 1},
                {"x0 * x1 >= x2", 1},
                {"x0 != x1", 1},
                {"x0 == 2 and not x1 == 2", 1},
                {"not x0 > x1 and x0 > x1", 0},
                {"not x0 < x1 or x0 < x1", 1},
                {"x0 > x1 or x1 < x2 and x0 > x1", 0},
                {"1 + not(x0)", 1},
                {"min(x2, x1, x0)", 2},
                {"max(x0, x1, x2, 4)", 5},
                {"clip(x2, 0, 4) + square(x1)", 13},
                {"where(x0 < x1, 10, 20)", 10},
                {"fma(x0, x1, x2)", 11},
                {"z_log_var - vgg.block5_conv3", -4},
                {".5e1 + 1.e0 + 2E-0", 8},
                {"round(pi) + 1/4", 3.25},
                {" x0\t+\n x1 ", 5},
                {"abs(-3) * sign(-x0)", -3}};
    for (int i = 0; i < DL_COUNT(rows); i++) {
        const dl_expr *e = parsed(rows[i].text);
        double got = e ? dl_expr_value(e, at) : (double)NAN;
        if (!(fabs(got - rows[i].want) <= 1e-7)) {
            printf("\n    %s = %g, not %g", rows[i].text, got, rows[i].want);
            CU_FAIL("value");
        }
    }
}

static void test_errors(void) {
    static const char *const rows[][2] = {
        {"1 + z_logvar",
         "character 5: 'z_logvar' is not a name known here; did you mean 'z_log_var'?"},
        {"x0 + sigmod(x1)", "character 6: 'sigmod' is not a function; did you mean 'sigmoid'?"},
        {"", "character 1: the expression ends where a number, a name or '(' should follow"},
        {"x0 +", "character 5: the expression ends where a number"},
        {"(x0 + 1", "character 8: the expression ends where ')' should follow"},
        {"x0 + 1)", "character 7: ')' without its '('"},
        {"x0 ^ 2", "character 4: '^' is not an operator; a power is a ** b"},
        {"x0 && x1", "character 4: '&' is not an operator; write and"},
        {"x0 = 1", "character 4: '=' does not compare; write =="},
        {"!x0", "character 1: '!' where a number"},
        {"x0 < x1 < x2", "character 9: comparisons do not chain"},
        {"2x0", "character 2: a name right after a number; to multiply, write *"},
        {"1.2.3", "character 4: a second point in a number"},
        {"1e", "character 3: an exponent needs digits"},
        {"1e39", "character 1: the number is too large"},
        {"where(x0, 1)", "character 1: where takes 3 arguments, not 2"},
        {"x0 * exp()", "character 6: exp takes 1 argument, not 0"},
        {"max(x0)", "character 1: max takes 2 arguments or more, not 1"},
        {"uniform(x0)", "character 9: 'x' where ')' should stand"},
        {"exp", "character 1: exp is a function; its arguments go in parentheses: exp(...)"},
        {"x0(3)", "character 1: 'x0' is not a function"},
        {"x0 x1", "character 4: 'x' where an operator or the end should stand"},
        {"x0, x1", "character 3: ',' outside the arguments of a function"},
        {"1 + \xc3\xa9", "character 5: byte 0xc3 where"},
        {"x0 + banana_split_with_cherries", "; known are x0, x1, x2, z_log_var"}};
    for (int i = 0; i < DL_COUNT(rows); i++) {
        const dl_expr *e = NULL;
        CHECK_FAILS(dl_expr_parse(set, rows[i][0], names, 5, "layer", &e), DL_BAD_JOB, rows[i][1]);
        CU_ASSERT_PTR_NULL(e);
    }
    enum { DEEP = 5000, LONG = (1 << 20) + 1 };
    char *text = dl_alloc(LONG + 1);
    const dl_expr *e = NULL;
    static const char *const openers[] = {"(", "-", "not ", "exp(", "x0 ** "};
    for (int k = 0; k < DL_COUNT(openers); k++) {
        text[0] = '\0';
        char *end = text;
        for (int i = 0; i < DEEP; i++)
            end = stpcpy(end, openers[k]);
        CHECK_FAILS(dl_expr_parse(set, text, names, 5, "layer", &e), DL_BAD_JOB,
                    "nested more than");
    }
    memset(text, ' ', LONG);
    CHECK_FAILS(dl_expr_parse(set, text, names, 5, "layer", &e), DL_BAD_JOB, "longer than");
    dl_free(text);
}

static void test_sharing(void) {
    CU_ASSERT_PTR_EQUAL(parsed("exp(x0 + x1) * 2"), parsed("exp( x0+x1 )*2.0"));
    CU_ASSERT_PTR_NOT_EQUAL(parsed("x0 + x1"), parsed("x1 + x0"));
    CU_ASSERT_PTR_EQUAL(parsed("x0 > x1"), parsed("x1 < x0"));
    CU_ASSERT(dl_expr_inputs(parsed("x0 * exp(x2)")) == 5);
    CU_ASSERT(!dl_expr_is_random(parsed("x0")) && dl_expr_is_random(parsed("x0 * (1 - normal())")));
    /* the n-th random word of a text has its own stream, named after the place */
    const dl_expr *two = parsed("uniform() + normal()");
    CU_ASSERT(two->operand[0]->stream == dl_stream("layer/0"));
    CU_ASSERT(two->operand[1]->stream == dl_stream("layer/1"));
}

/* Folded where no bit changes, left alone where one would. */
static void test_folding(void) {
    static const char *const rows[][2] = {{"x0 * 1", "x0"},
                                          {"1 * x0", "x0"},
                                          {"x0 / 1", "x0"},
                                          {"x0 - 0", "x0"},
                                          {"x0 + -0", "x0"},
                                          {"--x0", "x0"},
                                          {"x0 * -1", "-x0"},
                                          {"where(x1, x0, x0)", "x0"},
                                          {"where(1, x0, x1)", "x0"},
                                          {"where(x0 < x1, 1, 0)", "x0 < x1"},
                                          {"where(not x2, x0, x1)", "where(x2, x1, x0)"},
                                          {"2 * 3 + 1 / 4", "6.25"},
                                          {"x0 / 4", "x0 * 0.25"},
                                          {"x0 ** 1", "x0"},
                                          {"x0 ** 2", "x0 * x0"},
                                          {"x0 ** 0", "1"},
                                          {"x0 ** 0.5", "sqrt(x0)"},
                                          {"x0 ** 2.5", "x0 ** 2.5"},
                                          {"x0 ** 17", "x0 ** 17"},
                                          {"not not (x0 < x1)", "x0 < x1"},
                                          {"x0 + 0", "x0 + 0"}, /* -0 */
                                          {"x0 * 0", "x0 * 0"}, /* NaN, inf, sign */
                                          {"x0 - x0", "x0 - x0"},
                                          {"x0 / x0", "x0 / x0"},
                                          {"x0 / 3", "x0 / 3"},
                                          {"x0 == x0", "x0 == x0"},
                                          {"not not x0", "not not x0"},
                                          {"0 / 0", "nan"},
                                          {"-1 / 0", "-inf"}};
    for (int i = 0; i < DL_COUNT(rows); i++) {
        const dl_expr *e = parsed(rows[i][0]);
        const char *text = e ? dl_expr_text(&arena, e) : "";
        if (strcmp(text, rows[i][1]) != 0) {
            printf("\n    %s folds to %s, not %s", rows[i][0], text, rows[i][1]);
            CU_FAIL("folding");
        }
    }
}

static void check_round_trip(const dl_expr *e) {
    const char *text = dl_expr_text(&arena, e);
    dl_expr_name inputs[3] = {{"x0", dl_expr_input(set, 0)},
                              {"x1", dl_expr_input(set, 1)},
                              {"x2", dl_expr_input(set, 2)}};
    const dl_expr *again = NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CHECK_OK(dl_expr_parse(set, text, inputs, 3, "", &again));
    if (again != e) {
        printf("\n    %.300s", text);
        CU_FAIL("another expression comes back");
    }
}

/* Random graphs of every operation, a few of which share much and are deep. */
static void test_round_trip(void) {
    static const float constants[] = {0.1f,  -3.0f, 1e-45f,   -0.0f,     3.4028235e38f,
                                      1e20f, 0.5f,  INFINITY, -INFINITY, NAN};
    uint32_t state = 7;
    for (int round = 0; round < 200; round++) {
        const dl_expr *pool[600];
        int size = 0, steps = round < 150 ? 12 : 500;
        for (int i = 0; i < 3; i++)
            pool[size++] = dl_expr_input(set, i);
        for (int i = 0; i < DL_COUNT(constants); i++)
            pool[size++] = dl_expr_const(set, constants[i]);
        pool[size++] = dl_expr_random(set, DL_EXPR_UNIFORM, 4294967295u);
        pool[size++] = dl_expr_random(set, DL_EXPR_NORMAL, 0);
        for (int i = 0; i < steps; i++) {
            const dl_expr *operand[3];
            for (int k = 0; k < 3; k++) {
                state = state * 1664525u + 1013904223u;
                uint32_t back = (state >> 16) % (uint32_t)(k == 0 && i > 5 ? 5 : size);
                operand[k] = pool[size - 1 - (int)back];
            }
            state = state * 1664525u + 1013904223u;
            int kind = DL_EXPR_ADD + (int)((state >> 16) % (DL_EXPR_KINDS - DL_EXPR_ADD));
            pool[size++] =
                dl_expr_make(set, (dl_expr_kind)kind, operand[0], operand[1], operand[2]);
        }
        check_round_trip(pool[size - 1]);
    }
    const dl_expr *chain = dl_expr_input(set, 0);
    for (int i = 0; i < 3000; i++)
        chain = dl_expr_make(set, i % 2 ? DL_EXPR_SIN : DL_EXPR_TANH, chain, NULL, NULL);
    check_round_trip(chain);
}

static void test_substitute(void) {
    const dl_expr *y = parsed("x0 * exp(x1) + normal(9)");
    const dl_expr *with[2] = {parsed("x1 + 1"), parsed("x0")};
    CU_ASSERT_PTR_EQUAL(dl_expr_substitute(set, y, with, 2),
                        parsed("(x1 + 1) * exp(x0) + normal(9)"));
    CU_ASSERT_PTR_EQUAL(dl_expr_substitute(set, y, with, 1),
                        parsed("(x1 + 1) * exp(x1) + normal(9)"));
    dl_exprs *other = dl_exprs_open(&arena);
    const dl_expr *moved = dl_expr_substitute(other, y, NULL, 0);
    CU_ASSERT_STRING_EQUAL(dl_expr_text(&arena, moved), "x0 * exp(x1) + normal(9)");
    CU_ASSERT_PTR_EQUAL(dl_expr_substitute(set, moved, NULL, 0), y);
    const dl_expr *two[2] = {dl_expr_const(set, 2.0f), dl_expr_const(set, 0.0f)};
    CU_ASSERT_PTR_EQUAL(dl_expr_substitute(set, parsed("x0 * exp(x1)"), two, 2),
                        dl_expr_const(set, 2.0f));
    CU_ASSERT_PTR_NULL(dl_expr_make(set, DL_EXPR_ADD, y, NULL, NULL));
}

static void test_no_memory(void) {
    bool passed = false;
    for (uint64_t n = 1; n < 200 && !passed; n++) {
        dl_arena own = {0};
        dl_alloc_fail_after(n);
        dl_exprs *small = dl_exprs_open(&own);
        const dl_expr *e = NULL;
        dl_status status = DL_NO_MEMORY;
        if (small)
            status = dl_expr_parse(small, "t0 = exp(3 + uniform()); t0 * t0 + sin(t0)", NULL, 0,
                                   "s", &e);
        const char *text = e ? dl_expr_text(&own, e) : NULL;
        dl_alloc_fail_after(0);
        CU_ASSERT(e ? status == DL_OK : status == DL_NO_MEMORY);
        passed = text != NULL;
        dl_arena_free(&own);
    }
    CU_ASSERT(passed);
}

void suite_expr(void) {
    CU_pSuite suite = CU_add_suite("expr", open_set, close_set);
    CU_add_test(suite, "precedence", test_precedence);
    CU_add_test(suite, "messages", test_errors);
    CU_add_test(suite, "sharing", test_sharing);
    CU_add_test(suite, "folding", test_folding);
    CU_add_test(suite, "text round trip", test_round_trip);
    CU_add_test(suite, "substitution", test_substitute);
    CU_add_test(suite, "no memory", test_no_memory);
}
