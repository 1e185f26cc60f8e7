/* float16: conversions against their definition in double precision, on every instruction set; the
 * graph's choice of it; dynamic loss scaling, which must leave no trace in what is trained. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/loss_scale.h"
#include "ops/ops.h"
#include "tests/unit/model.h"

/* ---- conversions ---- */

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static double value_of(uint16_t half) {
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double size = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                  : exponent == 0 ? ldexp(fraction, -24)
                                  : ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -size : size;
}

/* To nearest, ties to even; 65520 is the tie between the greatest and what would follow it. */
static double nearest(float x) {
    int exponent = x != 0 && isfinite(x) ? ilogb((double)x) : -14;
    int place = (exponent < -14 ? -14 : exponent) - 10;
    double rounded = isfinite(x) ? ldexp(rint(ldexp((double)x, -place)), place) : (double)x;
    return fabs(rounded) > 65504 ? copysign((double)INFINITY, (double)x) : rounded;
}

static void convert(dl_isa isa, dl_dtype from, const void *x, dl_dtype to, void *y, int count) {
    dl_arena arena = {0};
    dl_exprs *set = dl_exprs_open(&arena);
    dl_expr_program *program = NULL;
    const dl_expr *same = set ? dl_expr_input(set, 0) : NULL;
    const float *in[1] = {x};
    float *out[1] = {y};
    dl_expr_access access = {1, count};
    dl_expr_limit(isa);
    if (CHECK_OK(dl_expr_compile(&same, 1, 1, &program)) &&
        CHECK_OK(dl_expr_store(program, &from, &to)))
        dl_expr_run(program, in, &access, out, count, 0, count, NULL, 1);
    dl_expr_program_free(program);
    dl_arena_free(&arena);
}

static void test_widen(void) {
    enum { COUNT = 1 << 16 };
    static uint16_t x[COUNT];
    static float y[COUNT], want[COUNT];
    for (int i = 0; i < COUNT; i++) {
        x[i] = (uint16_t)i;
        want[i] = (float)value_of(x[i]);
        want[i] = want[i] != want[i] ? from_bits(0x7fc00000) : want[i];
    }
    for (dl_isa isa = DL_ISA_PORTABLE; isa <= dl_isa_here(); isa++) {
        convert(isa, DL_F16, x, DL_F32, y, COUNT);
        CHECK_BITS(y, want, COUNT);
    }
}

/* All upper halves of a float32 with lower halves on, before and after ties; float16's ties need
 * bits of the upper half alone, or with bit 12. */
static void test_narrow(void) {
    enum { COUNT = 1 << 16 };
    static const uint32_t low[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x2000, 0x3000, 0xf000, 0xffff};
    static float x[COUNT];
    static uint16_t y[COUNT];
    for (int turn = 0; turn < DL_COUNT(low); turn++) {
        for (uint32_t i = 0; i < COUNT; i++)
            x[i] = from_bits(i << 16 | low[turn]);
        for (dl_isa isa = DL_ISA_PORTABLE; isa <= dl_isa_here(); isa++) {
            int wrong = 0;
            convert(isa, DL_F32, x, DL_F16, y, COUNT);
            for (int i = 0; i < COUNT; i++) {
                double got = value_of(y[i]), want = nearest(x[i]);
                if (x[i] != x[i])
                    wrong += y[i] != 0x7e00;
                else
                    wrong += !(got == want) || !signbit(got) != !signbit(want);
            }
            CU_ASSERT_EQUAL(wrong, 0);
        }
    }
    CU_ASSERT(nearest(65519.996f) == 65504 && isinf(nearest(65520.0f)));
    CU_ASSERT(nearest(0x1p-25f) == 0 && nearest(0x1.000002p-25f) == 0x1p-24);
}

/* ---- the graph ---- */

/* Rows that seek half get what the graph's precision is; what is float16 stays it. */
static void test_graph(void) {
    dl_graph graph;
    dl_graph_init(&graph, dl_ops(), NULL, 4, true);
    graph.precision = DL_F16;
    dl_value x = dl_graph_input(&graph, "x", DL_TYPE(DL_F32, 4, 3), false);
    dl_value w = dl_graph_input(&graph, "w", DL_TYPE(DL_F32, 2, 3), true);
    dl_matmul_attributes transposed = {.transpose_b = true};
    dl_value y = dl_matmul(&graph, x, w, -1, &transposed);
    dl_value z = dl_map(&graph, "max(x, 0)", &y, 1);
    graph.precision = DL_F32;
    dl_value sum = dl_reduce(&graph, z, DL_REDUCE_SUM, 3, false);
    if (CHECK_OK(dl_graph_status(&graph))) {
        CU_ASSERT_EQUAL(dl_type_of(&graph, y)->dtype, DL_F16);
        CU_ASSERT_EQUAL(dl_type_of(&graph, z)->dtype, DL_F16);
        CU_ASSERT_EQUAL(dl_type_of(&graph, sum)->dtype, DL_F32);
        const dl_graph_node *product = dl_producer(&graph, y);
        CU_ASSERT_EQUAL(dl_type_of(&graph, product->input[0])->dtype, DL_F16);
        CU_ASSERT_EQUAL(product->input[1], w); /* packed by the kernel */
        dl_value dx = -1, wanted[] = {x};
        CHECK_OK(dl_gradients(&graph, sum, -1, wanted, 1, &dx));
        CU_ASSERT_EQUAL(dl_type_of(&graph, dx)->dtype, DL_F32);
    }
    dl_graph_fini(&graph);
}

/* ---- loss scaling ---- */

enum { INPUTS = 3, STEPS = 4, PARAMETERS = 32, BAD = 3 };

static void fill_gradient(float *gradient, int step, float scale) {
    for (int e = 0; e < PARAMETERS; e++) /* gaps of the slab have none */
        gradient[e] = e % 16 < (e < 16 ? 2 : 6) ? scale * 0.37f * sinf((float)(5 * e + step)) : 0;
}

/* The steps of `precision`; under fp16 with scaled gradients, and a step between that overflows.
 * Leaves the slab and, in scalars, what stands behind the optimizer's own. */
static bool train(const char *optimizer, const char *precision, float *slab, float *scalars) {
    static const dl_field field = FLOATS("x", INPUTS);
    char yaml[512];
    model m;
    dl_exec *exec = NULL;
    snprintf(yaml, sizeof yaml, "model:\n  - dense: 2\nprecision: %s\noptimizer: %s\n", precision,
             optimizer);
    bool good = model_open(&m, yaml, &field, 1), scaled = strcmp(precision, "fp16") == 0;
    if (good) {
        dl_variables *v = dl_network_variables(m.network);
        float *scale = v->slab[DL_SLAB_SCALAR] + v->length[DL_SLAB_SCALAR] - DL_LOSS_SCALE_STATES;
        exec = model_updates(&m);
        good = exec != NULL;
        for (int step = 1, counted = 1; good && counted <= STEPS; step++) {
            float gradient[PARAMETERS];
            fill_gradient(gradient, counted, scaled ? scale[0] : 1);
            bool bad = scaled && step == BAD;
            if (bad)
                gradient[5] = counted % 2 ? INFINITY : NAN;
            if (bad)
                gradient[17] = -INFINITY;
            counted += !bad;
            good = model_update(&m, exec, gradient, step, 0.1f);
        }
        memcpy(slab, v->slab[DL_SLAB_PARAMETER], sizeof(float) * PARAMETERS);
        if (scaled)
            memcpy(scalars, scale, sizeof(float) * DL_LOSS_SCALE_STATES);
    }
    dl_exec_close(exec);
    model_close(&m);
    return good;
}

/* Powers of two leave the bits alone, and a skipped step leaves nothing. */
static void test_scaling(void) {
    static const char *const optimizers[] = {
        "sgd",
        "{adam: {amsgrad: true}}",
        "nadam",
        "{adamw: {global_clipnorm: 0.3}}",
        "{sgd: {momentum: 0.9, clipnorm: 0.5, weight_decay: 0.1}}",
        "{expr: {state: {v: '0.5 * v + g'}, update: 'w - learning_rate * (v + mean(g)) / step'}}"};
    for (int i = 0; i < DL_COUNT(optimizers); i++) {
        float plain[PARAMETERS], scaled[PARAMETERS], state[DL_LOSS_SCALE_STATES];
        if (!train(optimizers[i], "fp32", plain, NULL) ||
            !train(optimizers[i], "fp16", scaled, state))
            return;
        CHECK_BITS(scaled, plain, PARAMETERS);
        CU_ASSERT_EQUAL(state[0], 32768);           /* halved once */
        CU_ASSERT_EQUAL(state[1], STEPS + 1 - BAD); /* good steps since then */
        CU_ASSERT_EQUAL(state[2], 1);
    }
}

static dl_status build_move(void *argument, dl_graph *graph) {
    model *m = argument;
    dl_loss_scale scale = dl_loss_scale_open(graph, dl_get(dl_job_root(m->job), "optimizer"));
    dl_loss_scale_move(graph, &scale, dl_graph_input(graph, "finite", DL_SCALAR(DL_F32), true));
    return dl_graph_status(graph);
}

/* The states of one step to those of the next. */
static void test_growth(void) {
    static const dl_field field = FLOATS("x", INPUTS);
    static const struct {
        float before[3], finite, after[3];
    } moves[] = {{{65536, 1998, 7}, 1, {65536, 1999, 7}},
                 {{65536, 1999, 7}, 1, {131072, 0, 7}},
                 {{65536, 1999, 7}, 0, {32768, 0, 8}},
                 {{1, 5, 0}, 0, {1, 0, 1}},
                 {{0x1p31f, 1999, 0}, 1, {0x1p31f, 0, 0}}};
    model m;
    dl_exec *exec = NULL;
    if (model_open(&m, "model:\n  - dense: 2\nprecision: fp16\noptimizer: sgd\n", &field, 1)) {
        float *state = dl_network_variables(m.network)->slab[DL_SLAB_SCALAR];
        exec = model_build(&m, build_move);
        bool good = exec != NULL;
        for (int i = 0; good && i < DL_COUNT(moves); i++) {
            memcpy(state, moves[i].before, sizeof moves[i].before);
            model_bind(exec, "finite", &moves[i].finite);
            good = model_run(exec, 1, 1);
            CHECK_BITS(state, moves[i].after, 3);
        }
    }
    dl_exec_close(exec);
    model_close(&m);
}

void suite_fp16(void) {
    CU_pSuite suite = CU_add_suite("fp16", NULL, NULL);
    CU_add_test(suite, "to float32", test_widen);
    CU_add_test(suite, "from float32", test_narrow);
    CU_add_test(suite, "the graph chooses it", test_graph);
    CU_add_test(suite, "a scaled loss leaves no trace", test_scaling);
    CU_add_test(suite, "the scale grows and shrinks", test_growth);
}
