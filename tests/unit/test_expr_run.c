/* CPU programs: the same bits on every instruction set, against a plain interpreter built on
 * constant folding; access patterns, cuts, outputs in place, random numbers against the base word
 * function. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/expr/expr.h"
#include "runtime/expr/internal.h"
#include "tests/unit/check.h"

enum { INPUTS = 6, MANY = 2048 + 13, OUTPUTS = 4 };

static dl_arena arena;
static dl_exprs *set;
static const dl_expr *x[INPUTS];
static float in[INPUTS][MANY], out[DL_ISA_COUNT][OUTPUTS][MANY];

static uint32_t next_word(void) {
    static uint32_t state = 12345;
    state = state * 1664525u + 1013904223u;
    return state ^ (state >> 15);
}

/* All kinds of floats: any bits, special values, denormals, equal neighbours, ordinary numbers. */
static void fill_inputs(void) {
    static const uint32_t special[] = {0u,          0x80000000u, 0x7f800000u, 0xff800000u,
                                       0x7fc00000u, 0xffc12345u, 0x7f812345u, 1u,
                                       0x80000001u, 0x007fffffu, 0x00800000u, 0x3f800000u,
                                       0xbf800000u, 0x7f7fffffu, 0x4b000001u, 0x42b17218u};
    for (int i = 0; i < MANY; i++)
        for (int k = 0; k < INPUTS; k++) {
            uint32_t word = next_word(), choice = next_word() >> 8;
            if (choice % 4 == 0)
                word = special[word % DL_COUNT(special)];
            else if (choice % 4 == 1)
                word &= 0x807fffffu; /* denormals */
            memcpy(&in[k][i], &word, sizeof word);
            if (choice % 4 == 2)
                in[k][i] = (float)(int32_t)word * 0x1p-28f;
            if (k > 0 && choice % 32 == 5)
                in[k][i] = in[k - 1][i];
        }
}

static int open_set(void) {
    set = dl_exprs_open(&arena);
    for (int i = 0; i < INPUTS && set; i++)
        x[i] = dl_expr_input(set, i);
    fill_inputs();
    return set == NULL;
}

static int close_set(void) {
    dl_expr_limit(DL_ISA_AVX512);
    dl_arena_free(&arena);
    return 0;
}

static const dl_expr *parsed(const char *text) {
    static const char *const word[INPUTS] = {"x0", "x1", "x2", "x3", "x4", "x5"};
    dl_expr_name names[INPUTS];
    for (int i = 0; i < INPUTS; i++)
        names[i] = (dl_expr_name){word[i], x[i]};
    const dl_expr *e = NULL;
    CHECK_OK(dl_expr_parse(set, text, names, INPUTS, "test", &e));
    return e;
}

static const dl_random random_key = {0x123456789abcdef0u, 17, 1000};

/* Element e by constant folding, node by node. */
static float folded(const dl_expr *e, const dl_expr_access *access, int64_t element,
                    int64_t sample_elements) {
    if (e->kind == DL_EXPR_CONST)
        return e->value;
    if (e->kind == DL_EXPR_INPUT) {
        float value = in[e->input][element / access[e->input].div % access[e->input].mod];
        return value != value ? NAN : value;
    }
    if (e->kind == DL_EXPR_UNIFORM) {
        uint32_t word =
            dl_random_word(random_key.seed, e->stream, random_key.step,
                           random_key.first_sample + (uint32_t)(element / sample_elements),
                           (uint32_t)(element % sample_elements));
        return dl_unit_float(word);
    }
    float value[3] = {0.0f, 0.0f, 0.0f};
    for (int i = 0; i < 3 && e->operand[i]; i++)
        value[i] = folded(e->operand[i], access, element, sample_elements);
    return dl_expr_apply(e->kind, value[0], value[1], value[2]);
}

static const dl_expr_access all_full[INPUTS] = {{1, MANY}, {1, MANY}, {1, MANY},
                                                {1, MANY}, {1, MANY}, {1, MANY}};

/* Runs on every instruction set this CPU has, compares all bits, and, if `reference`, with folding.
 */
static void check_program(const char *what, const dl_expr *const *outputs, int count,
                          const dl_expr_access *access, int64_t elements, int64_t sample_elements,
                          bool reference) {
    const float *inputs[INPUTS];
    for (int i = 0; i < INPUTS; i++)
        inputs[i] = in[i];
    for (dl_isa isa = DL_ISA_PORTABLE; isa <= dl_isa_here(); isa++) {
        dl_expr_program *program = NULL;
        dl_expr_limit(isa);
        if (!CHECK_OK(dl_expr_compile(outputs, count, INPUTS, &program)))
            return;
        float *to[OUTPUTS];
        for (int o = 0; o < count; o++) {
            to[o] = out[isa][o];
            memset(to[o], 0x55, sizeof out[isa][o]);
        }
        uint64_t allocations = dl_alloc_count();
        dl_expr_run(program, inputs, access, to, elements, 0, elements, &random_key,
                    sample_elements);
        CU_ASSERT_EQUAL(dl_alloc_count(), allocations);
        dl_expr_program_free(program);
        for (int o = 0; o < count; o++) {
            uint32_t guard = 0;
            if (elements < MANY)
                memcpy(&guard, &to[o][elements], sizeof guard);
            CU_ASSERT(elements == MANY || guard == 0x55555555u); /* nothing written behind */
            char text[CHECK_TEXT];
            if (isa > 0 && !check_bits(to[o], out[0][o], elements, text)) {
                printf("\n    %s, output %d, %s: %s", what, o, dl_isa_name(isa), text);
                CU_FAIL("bits of instruction sets");
            }
        }
    }
    for (int o = 0; o < count && reference; o++) {
        static float want[MANY];
        for (int64_t e = 0; e < elements; e++)
            want[e] = folded(outputs[o], access, e, sample_elements);
        char text[CHECK_TEXT];
        if (!check_bits(out[0][o], want, elements, text)) {
            printf("\n    %s, output %d against folding: %s", what, o, text);
            CU_FAIL("bits of folding");
        }
    }
}

static void test_operations(void) {
    static const char *const word[] = {
#define X(name, arity, text) #name,
        DL_EXPR_LIST(X)
#undef X
    };
    for (int kind = DL_EXPR_INPUT; kind < DL_EXPR_KINDS; kind++) {
        const dl_expr *e = kind == DL_EXPR_INPUT ? x[0]
                           : kind == DL_EXPR_UNIFORM || kind == DL_EXPR_NORMAL
                               ? dl_expr_random(set, (dl_expr_kind)kind, 99)
                               : dl_expr_make(set, (dl_expr_kind)kind, x[0], x[1], x[2]);
        check_program(word[kind], &e, 1, all_full, MANY, 100, kind != DL_EXPR_NORMAL);
    }
}

static void test_compositions(void) {
    static const char *const text[] = {
        "0.5 * x0 * (1 + erf(x0 * 0.70710678))",
        "x0 - x1 * x2 / (sqrt(x3) + 1e-7)",
        "where(uniform() < 0.5, x0 * 2, 0)",
        "softplus(x0) + clip(x1, -1, 1) * sigmoid(x2) - tanh(x3 ** 3)",
        "x0 * normal() + normal() * where(x1 > x2 or not x3, exp(x4), log(x5))",
        "min(x0, x1, x2) == max(x0, x1, x2) and x3 != x4",
        "3",
        "x0",
        "uniform()"};
    const dl_expr *e[DL_COUNT(text)];
    for (int i = 0; i < DL_COUNT(text); i++) {
        e[i] = parsed(text[i]);
        check_program(text[i], &e[i], 1, all_full, MANY, 700, i != 4);
    }
    const dl_expr *adam[3] = {parsed("0.9 * x1 + 0.1 * x3"), parsed("0.99 * x2 + 0.01 * x3 * x3"),
                              parsed("x0 - x4 * (0.9 * x1 + 0.1 * x3) / "
                                     "(sqrt(0.99 * x2 + 0.01 * x3 * x3) + x5)")};
    dl_expr_access access[INPUTS];
    memcpy(access, all_full, sizeof access);
    access[4].mod = access[5].mod = 1;
    check_program("adam", adam, 3, access, MANY, 1, true);
    const dl_expr *same[4] = {adam[0], adam[0], x[3], dl_expr_const(set, -2.5f)};
    check_program("outputs that are one value, an input, a constant", same, 4, access, MANY, 1,
                  true);
    /* Values that only scalars make, in every place: read, written out, shared slots. */
    const dl_expr *scalar[3] = {parsed("exp(x4) + x5"), parsed("(exp(x4) + x5) * x0"),
                                parsed("sqrt(x5 * 2 + x4) * x1 + log(x4) * (x5 + 1)")};
    check_program("scalars", scalar, 3, access, MANY, 1, true);
    /* Many values alive at once: blocks shrink. */
    const dl_expr *wide = x[0], *term[300];
    for (int i = 0; i < 300; i++) {
        const dl_expr *c = dl_expr_const(set, (float)i * 0.37f);
        term[i] = dl_expr_make(set, DL_EXPR_MUL, x[i % INPUTS], c, NULL);
    }
    for (int i = 299; i >= 0; i--)
        wide = dl_expr_make(set, DL_EXPR_FMA, term[i], wide, term[(i * 7) % 300]);
    check_program("wide", &wide, 1, all_full, MANY, 1, false);
    dl_expr_program *program;
    wide = x[0];
    for (int i = 0; i < 5000; i++)
        wide = dl_expr_make(set, i % 2 ? DL_EXPR_SIN : DL_EXPR_EXP, wide, NULL, NULL);
    CHECK_FAILS(dl_expr_compile(&wide, 1, INPUTS, &program), DL_BAD_JOB, "too large");
    CHECK_FAILS(dl_expr_compile(&x[5], 1, 3, &program), DL_INTERNAL, "input 5 of 3");
}

/* Random graphs, where results are read several times and slots change hands, some inputs scalars;
 * against folding node by node. */
static void test_random_graphs(void) {
    enum { STEPS = 40, NODES = 400, COUNT = 700, ROUNDS = 60 };
    float(*value)[COUNT] = dl_alloc(sizeof *value * NODES);
    static const dl_expr_kind kinds[] = {DL_EXPR_ADD, DL_EXPR_MUL,  DL_EXPR_SUB,   DL_EXPR_MAX,
                                         DL_EXPR_FMA, DL_EXPR_TANH, DL_EXPR_WHERE, DL_EXPR_LESS,
                                         DL_EXPR_SIN, DL_EXPR_NEG};
    for (int round = 0; round < ROUNDS; round++) {
        dl_arena own = {0};
        dl_exprs *graph = dl_exprs_open(&own);
        const dl_expr *pool[INPUTS + STEPS], *outputs[OUTPUTS];
        dl_expr_access access[INPUTS];
        for (int i = 0; i < INPUTS; i++) {
            pool[i] = dl_expr_input(graph, i);
            access[i] = (dl_expr_access){1, i % 3 == round % 3 ? 1 : i == 4 ? 10 : COUNT};
        }
        for (int i = INPUTS; i < INPUTS + STEPS; i++) {
            const dl_expr *operand[3];
            for (int k = 0; k < 3; k++)
                operand[k] = pool[(next_word() >> 8) % (uint32_t)i];
            operand[0] = pool[i - 1 - (int)((next_word() >> 8) % 4)];
            pool[i] = dl_expr_make(graph, kinds[(next_word() >> 8) % DL_COUNT(kinds)], operand[0],
                                   operand[1], operand[2]);
        }
        for (int o = 0; o < OUTPUTS; o++)
            outputs[o] = pool[INPUTS + STEPS - 1 - o * 3];
        check_program("random graph", outputs, OUTPUTS, access, COUNT, 1, false);
        unsigned char mark[NODES] = {0};
        int last = 0;
        for (int o = 0; o < OUTPUTS; o++) {
            dl_expr_mark(outputs[o], mark);
            last = outputs[o]->id > last ? outputs[o]->id : last;
        }
        CU_ASSERT_FATAL(last < NODES);
        for (int id = 0; id <= last; id++) {
            const dl_expr *e = &graph->node[id]->expr;
            for (int i = 0; mark[id] && i < COUNT; i++) {
                float operand[3] = {0.0f, 0.0f, 0.0f};
                for (int k = 0; k < 3 && e->operand[k]; k++)
                    operand[k] = value[e->operand[k]->id][i];
                value[id][i] = dl_expr_arity[e->kind]
                                   ? dl_expr_apply(e->kind, operand[0], operand[1], operand[2])
                                   : folded(e, access, i, 1);
            }
        }
        for (int o = 0; o < OUTPUTS; o++)
            CHECK_BITS(out[0][o], value[outputs[o]->id], COUNT);
        dl_arena_free(&own);
    }
    dl_free(value);
}

static void test_access(void) {
    static const int64_t periods[] = {1, 2, 3, 7, 10, 16, 64, 100, 255, 256, 257, 512, 1000, 1500};
    static const int64_t elements[] = {1, 2, 10, 15, 16, 17, 31, 255, 256, 257, 272, 1000, MANY};
    const dl_expr *e[2] = {parsed("x0 + x1 * x2 - x3"), parsed("x1 - x3 + uniform() * x2")};
    for (int p = 0; p < DL_COUNT(periods); p++)
        for (int n = 0; n < DL_COUNT(elements); n++) {
            int64_t count = elements[n], period = periods[p];
            dl_expr_access access[INPUTS] = {{1, count}, {1, period}, {period, MANY}, {period, 3}};
            char what[64];
            snprintf(what, sizeof what, "period %d of %d elements", (int)period, (int)count);
            check_program(what, e, 2, access, count, period, true);
        }
}

/* Any cut of [0, count) gives the bits of the whole. */
static void test_cuts(void) {
    const dl_expr *e[2] = {parsed("x0 * uniform() + x1 * normal() + x2 * x3"),
                           parsed("exp(x3) * x2 + x1 + normal()")};
    static const int64_t samples[] = {3, 37, 90, 1000};
    const float *inputs[INPUTS] = {in[0], in[1], in[2], in[3]};
    dl_expr_limit(DL_ISA_AVX512);
    for (int s = 0; s < DL_COUNT(samples); s++) {
        dl_expr_access access[INPUTS] = {{1, MANY}, {1, 37}, {samples[s], MANY}, {1, 1}};
        dl_expr_program *program;
        CHECK_OK(dl_expr_compile(e, 2, INPUTS, &program));
        float *whole[2] = {out[0][0], out[0][1]}, *parts[2] = {out[1][0], out[1][1]};
        dl_expr_run(program, inputs, access, whole, MANY, 0, MANY, &random_key, samples[s]);
        for (int round = 0; round < 20; round++) {
            for (int64_t first = 0; first < MANY;) {
                int64_t last = first + 1 + next_word() % (round < 10 ? 40 : 900);
                last = last < MANY ? last : MANY;
                dl_expr_run(program, inputs, access, parts, MANY, first, last, &random_key,
                            samples[s]);
                first = last;
            }
            CHECK_BITS(parts[0], whole[0], MANY);
            CHECK_BITS(parts[1], whole[1], MANY);
        }
        /* a shard: samples from the third on, keyed by their place in the global batch */
        dl_random shard = random_key;
        shard.first_sample += 2;
        const dl_expr *r = parsed("normal() + uniform()");
        dl_expr_program *draws;
        CHECK_OK(dl_expr_compile(&r, 1, 0, &draws));
        dl_expr_run(draws, NULL, NULL, whole, MANY, 0, MANY, &random_key, samples[s]);
        int64_t rest = MANY - 2 * samples[s];
        dl_expr_run(draws, NULL, NULL, parts, rest, 0, rest, &shard, samples[s]);
        CHECK_BITS(parts[0], whole[0] + 2 * samples[s], rest);
        dl_expr_program_free(draws);
        dl_expr_program_free(program);
    }
}

/* Outputs on inputs: also swapped ones, and one read after the output of another is made. */
static void test_in_place(void) {
    const dl_expr *e[3] = {parsed("x1 + 1"), parsed("x0 * 2"), parsed("x0 - x1 * x2")};
    static float here[3][MANY];
    static const int64_t sizes[] = {5, 16, 300, MANY};
    for (dl_isa isa = DL_ISA_PORTABLE; isa <= dl_isa_here(); isa++) {
        dl_expr_limit(isa);
        dl_expr_program *program;
        CHECK_OK(dl_expr_compile(e, 3, 3, &program));
        for (int s = 0; s < DL_COUNT(sizes); s++) {
            int64_t n = sizes[s];
            const float *apart[3] = {in[0], in[1], in[2]}, *inputs[3] = {here[0], here[1], here[2]};
            float *to[3] = {out[0][0], out[0][1], out[0][2]};
            dl_expr_access access[3] = {{1, n}, {1, n}, {1, n}};
            dl_expr_run(program, apart, access, to, n, 0, n, NULL, 1);
            static const int order[][3] = {{0, 1, 2}, {1, 0, 2}, {2, 1, 0}, {1, 2, 0}};
            for (int k = 0; k < DL_COUNT(order); k++) {
                memcpy(here, in, sizeof here);
                float *onto[3] = {here[order[k][0]], here[order[k][1]], here[order[k][2]]};
                dl_expr_run(program, inputs, access, onto, n, 0, n, NULL, 1);
                for (int o = 0; o < 3; o++)
                    CHECK_BITS(onto[o], to[o], n);
            }
        }
        dl_expr_program_free(program);
    }
}

static void test_moments(void) {
    enum { LOTS = 1 << 20 };
    float *draws = dl_alloc(sizeof(float) * LOTS);
    const dl_expr *e[2] = {parsed("normal()"), parsed("uniform()")};
    static const double mean[2] = {0.0, 0.5}, variance[2] = {1.0, 1.0 / 12.0},
                        fourth[2] = {3.0, 1.0 / 80.0};
    dl_expr_limit(DL_ISA_AVX512);
    for (int k = 0; k < 2; k++) {
        dl_expr_program *program;
        CHECK_OK(dl_expr_compile(&e[k], 1, 0, &program));
        dl_expr_run(program, NULL, NULL, &draws, LOTS, 0, LOTS, &random_key, 1024);
        double sum = 0.0, square = 0.0, power = 0.0, pairs = 0.0;
        for (int i = 0; i < LOTS; i++) {
            double d = (double)draws[i] - mean[k];
            sum += d;
            square += d * d;
            power += d * d * d * d;
            pairs += d * ((double)draws[i ^ 1] - mean[k]);
        }
        CU_ASSERT(fabs(sum / LOTS) < 5e-3);
        CU_ASSERT(fabs(square / LOTS / variance[k] - 1.0) < 1e-2);
        CU_ASSERT(fabs(power / LOTS / fourth[k] - 1.0) < 3e-2);
        CU_ASSERT(fabs(pairs / LOTS / variance[k]) < 1e-2);
        dl_expr_program_free(program);
    }
    dl_free(draws);
}

static void test_no_memory(void) {
    const dl_expr *e = parsed("exp(x0) * 3 + x1");
    dl_expr_program *program = NULL;
    int failures = 0;
    for (uint64_t n = 1; n < 50 && !program; n++) {
        dl_alloc_fail_after(n);
        dl_status status = dl_expr_compile(&e, 1, INPUTS, &program);
        dl_alloc_fail_after(0);
        CU_ASSERT(program ? status == DL_OK : status == DL_NO_MEMORY);
        failures += !program;
    }
    CU_ASSERT(program && failures >= 5);
    dl_expr_program_free(program);
}

void suite_expr_run(void) {
    CU_pSuite suite = CU_add_suite("expr_run", open_set, close_set);
    CU_add_test(suite, "every operation", test_operations);
    CU_add_test(suite, "compositions", test_compositions);
    CU_add_test(suite, "random graphs", test_random_graphs);
    CU_add_test(suite, "access patterns", test_access);
    CU_add_test(suite, "cuts", test_cuts);
    CU_add_test(suite, "in place", test_in_place);
    CU_add_test(suite, "moments", test_moments);
    CU_add_test(suite, "no memory", test_no_memory);
}
