/* bfloat16 in memory: conversion of every kind of number on every instruction set, programs that
 * read and write it (CPU and emitted text), and the graph's rule for casts and their gradients. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/dnnl.h"
#include "tests/unit/emitted.h"
#include "tests/unit/model.h"
#include "tests/unit/op_samples.h"

enum { MANY = 3 * 256 + 11, INPUTS = 5 };

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t next_word(void) {
    static uint32_t state = 99;
    state = state * 1664525u + 1013904223u;
    return state ^ (state >> 15);
}

/* The nearer of the two neighbours, found by comparing distances; past the greatest number the next
 * would be 2^128. */
static uint16_t nearest(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return 0x7fc0;
    uint16_t toward = (uint16_t)(bits >> 16), away = (uint16_t)(toward + 1);
    if (isinf(x))
        return toward;
    double low = fabs((double)from_bits((uint32_t)toward << 16));
    double high =
        (away & 0x7fff) == 0x7f80 ? 0x1p128 : fabs((double)from_bits((uint32_t)away << 16));
    double below = fabs((double)x) - low, above = high - fabs((double)x);
    if (below == above)
        return toward & 1 ? away : toward;
    return below < above ? toward : away;
}

static dl_arena arena;
static dl_exprs *set;

static int open_set(void) {
    set = dl_exprs_open(&arena);
    return set == NULL;
}

static int close_set(void) {
    dl_expr_limit(DL_ISA_AVX512);
    dl_arena_free(&arena);
    return 0;
}

static dl_expr_program *compile(const dl_expr *e, int inputs, const dl_dtype *in, dl_dtype out) {
    dl_expr_program *program = NULL;
    if (CHECK_OK(dl_expr_compile(&e, 1, inputs, &program)))
        CHECK_OK(dl_expr_store(program, in, &out));
    return program;
}

static void convert(dl_isa isa, dl_dtype from, const void *x, dl_dtype to, void *y, int count) {
    dl_expr_limit(isa);
    dl_expr_program *program = compile(dl_expr_input(set, 0), 1, &from, to);
    const float *in[1] = {x};
    float *out[1] = {y};
    dl_expr_access access = {1, count};
    dl_expr_run(program, in, &access, out, count, 0, count, NULL, 1);
    dl_expr_program_free(program);
}

/* Ties, the last number before a tie and the first after it, denormals, the greatest, infinities,
 * NaNs of any payload, and any bits. */
static void test_narrow(void) {
    enum { COUNT = 1 << 16 };
    static const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    static float x[COUNT];
    static uint16_t y[COUNT];
    for (int turn = 0; turn < 7; turn++) {
        for (uint32_t i = 0; i < COUNT; i++)
            x[i] = from_bits(turn < 6 ? i << 16 | low[turn] : next_word() << 16 | next_word() >> 9);
        for (dl_isa isa = DL_ISA_PORTABLE; isa <= dl_isa_here(); isa++) {
            int wrong = 0;
            convert(isa, DL_F32, x, DL_BF16, y, COUNT);
            for (int i = 0; i < COUNT; i++)
                wrong += y[i] != nearest(x[i]);
            CU_ASSERT_EQUAL(wrong, 0);
        }
    }
    CU_ASSERT_EQUAL(nearest(0x1.01p0f), 0x3f80); /* by hand: a tie, down to even */
    CU_ASSERT_EQUAL(nearest(0x1.03p0f), 0x3f82); /* and up to even */
    CU_ASSERT_EQUAL(nearest(-0x1.ffp127f), 0xff80);
}

static void test_widen(void) {
    enum { COUNT = 1 << 16 };
    static uint16_t x[COUNT];
    static float y[COUNT], want[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        x[i] = (uint16_t)i;
        want[i] = from_bits(i << 16);
        want[i] = want[i] != want[i] ? from_bits(0x7fc00000) : want[i];
    }
    for (dl_isa isa = DL_ISA_PORTABLE; isa <= dl_isa_here(); isa++) {
        convert(isa, DL_BF16, x, DL_F32, y, COUNT);
        CHECK_BITS(y, want, COUNT);
    }
}

/* Programs over bfloat16 are programs over the widened numbers, rounded at the end: every access,
 * cut in two, over themselves. */
static void test_programs(void) {
    static uint16_t half[INPUTS][MANY], got[MANY], parts[MANY];
    static float wide[INPUTS][MANY], want[MANY];
    static const dl_expr_access access[INPUTS] = {{1, MANY}, {1, 37}, {19, 41}, {1, 1}, {1, MANY}};
    static const char *const texts[] = {
        "x0 * x1 + x2 / x3 - x4",    "max(x0, 0)", "where(x0 > x4, x1, x2 * x3)",
        "exp(x4) * uniform(3) + x0", "x2",         "x3",
        "tanh(x0) + x1 * 0.3333"};
    dl_random random = {42, 3, 7};
    for (int i = 0; i < INPUTS; i++)
        for (int e = 0; e < MANY; e++) {
            half[i][e] = nearest((float)(int32_t)next_word() * 0x1p-29f);
            wide[i][e] = from_bits((uint32_t)half[i][e] << 16);
        }
    dl_expr_name names[INPUTS];
    static const char *const word[INPUTS] = {"x0", "x1", "x2", "x3", "x4"};
    for (int i = 0; i < INPUTS; i++)
        names[i] = (dl_expr_name){word[i], dl_expr_input(set, i)};
    for (size_t t = 0; t < DL_COUNT(texts); t++)
        for (dl_isa isa = DL_ISA_PORTABLE; isa <= dl_isa_here(); isa++)
            for (int mixed = 0; mixed < 3; mixed++) {
                const dl_expr *e;
                if (!CHECK_OK(dl_expr_parse(set, texts[t], names, INPUTS, "test", &e)))
                    return;
                dl_dtype dtype[INPUTS] = {DL_BF16, DL_BF16, DL_BF16, DL_BF16, DL_BF16};
                const dl_dtype plain[INPUTS] = {DL_F32, DL_F32, DL_F32, DL_F32, DL_F32};
                const float *in[INPUTS], *all[INPUTS];
                for (int i = 0; i < INPUTS; i++) {
                    dtype[i] = (i + mixed) % 3 == 2 ? DL_F32 : DL_BF16;
                    in[i] = dtype[i] == DL_F32 ? wide[i] : (const float *)(const void *)half[i];
                    all[i] = wide[i];
                }
                float *to = want, *halves = (float *)(void *)got, *cut = (float *)(void *)parts;
                dl_expr_limit(isa);
                dl_expr_program *p = compile(e, INPUTS, plain, DL_F32);
                dl_expr_run(p, all, access, &to, MANY, 0, MANY, &random, 10);
                dl_expr_program_free(p);
                p = compile(e, INPUTS, dtype, DL_BF16);
                dl_expr_run(p, in, access, &halves, MANY, 0, MANY, &random, 10);
                dl_expr_run(p, in, access, &cut, MANY, 0, 288, &random, 10);
                dl_expr_run(p, in, access, &cut, MANY, 288, MANY, &random, 10);
                int wrong = 0;
                for (int i = 0; i < MANY; i++)
                    wrong += got[i] != nearest(want[i]) || parts[i] != got[i];
                CU_ASSERT_EQUAL(wrong, 0);
                if (dtype[0] == DL_BF16) {
                    memcpy(parts, half[0], sizeof parts);
                    in[0] = cut;
                    dl_expr_run(p, in, access, &cut, MANY, 0, MANY, &random, 10);
                    CU_ASSERT_EQUAL(memcmp(parts, got, sizeof got), 0);
                }
                dl_expr_program_free(p);
            }
}

static void test_emitted(void) {
    static const char *const texts[] = {"x0 * 3 + x1", "max(x0, x1) / 7", "x1"};
    dl_expr_name names[2] = {{"x0", dl_expr_input(set, 0)}, {"x1", dl_expr_input(set, 1)}};
    const dl_expr_access access[2] = {{1, 100000}, {1, 64}};
    if (!emitted_watch())
        return;
    emitted_unwatch();
    for (size_t t = 0; t < DL_COUNT(texts); t++)
        for (int kind = 0; kind < 4; kind++) {
            const dl_expr *e;
            dl_dtype in[2] = {kind & 1 ? DL_BF16 : DL_F32, kind & 2 ? DL_BF16 : DL_F32};
            if (CHECK_OK(dl_expr_parse(set, texts[t], names, 2, "test", &e)))
                emitted_take(compile(e, 2, in, DL_BF16), access, 100000, 1);
        }
    CU_ASSERT(emitted_check());
    emitted_close();
}

static void test_store_refused(void) {
    dl_expr_program *program;
    const dl_expr *e = dl_expr_input(set, 0);
    dl_dtype in = DL_I32, out = DL_F32;
    if (!CHECK_OK(dl_expr_compile(&e, 1, 1, &program)))
        return;
    CHECK_FAILS(dl_expr_store(program, &in, &out), DL_INTERNAL, "int32");
    dl_expr_program_free(program);
}

/* ---- the graph's rule ---- */

static dl_dtype type_of(const dl_graph *graph, dl_value value) {
    return value < 0 ? DL_I8 : dl_type_of(graph, value)->dtype;
}

static void test_rule(void) {
    dl_graph graph;
    dl_graph_init(&graph, dl_ops(), NULL, 3, true);
    dl_value x = dl_graph_input(&graph, "x", DL_TYPE(DL_F32, 3, 4), false);
    dl_value scale = dl_graph_input(&graph, "scale", DL_TYPE(DL_F32, 4), true);
    CU_ASSERT_EQUAL(type_of(&graph, dl_map(&graph, "x * 2", &x, 1)), DL_F32);
    graph.precision = DL_BF16;
    dl_value half = dl_convert(&graph, x, DL_BF16);
    CU_ASSERT_EQUAL(type_of(&graph, half), DL_BF16);
    CU_ASSERT_EQUAL(dl_convert(&graph, half, DL_BF16), half);
    /* Back and forth is the value itself. */
    CU_ASSERT_EQUAL(dl_convert(&graph, dl_convert(&graph, half, DL_F32), DL_BF16), half);
    /* What runs over samples decides; a shared operand does not. */
    dl_value scaled = dl_map(&graph, "x0 * x1", (dl_value[]){half, scale}, 2);
    CU_ASSERT_EQUAL(type_of(&graph, scaled), DL_BF16);
    CU_ASSERT_EQUAL(type_of(&graph, dl_map(&graph, "x0 * x1", (dl_value[]){half, x}, 2)), DL_F32);
    CU_ASSERT_EQUAL(type_of(&graph, dl_map(&graph, "x + 1", &scale, 1)), DL_F32);
    /* A row that knows float32 alone gets it. */
    dl_value soft = dl_softmax(&graph, scaled);
    CU_ASSERT_EQUAL(type_of(&graph, soft), DL_F32);
    CU_ASSERT_EQUAL(type_of(&graph, dl_producer(&graph, soft)->input[0]), DL_F32);
    /* Gradients have the type of their value. */
    graph.precision = DL_F32;
    dl_value loss = dl_reduce(&graph, soft, DL_REDUCE_MAX, 3, false), out[4];
    dl_value wrt[4] = {x, half, scaled, scale};
    CHECK_OK(dl_gradients(&graph, loss, -1, wrt, 4, out));
    CU_ASSERT_EQUAL(type_of(&graph, out[0]), DL_F32);
    CU_ASSERT_EQUAL(type_of(&graph, out[1]), DL_BF16);
    CU_ASSERT_EQUAL(type_of(&graph, out[2]), DL_BF16);
    CU_ASSERT_EQUAL(type_of(&graph, out[3]), DL_F32);
    CHECK_OK(dl_graph_status(&graph));
    dl_graph_fini(&graph);
}

/* Casts are no nodes of their own where a neighbour is elementwise. */
static void test_fusion(void) {
    dl_graph graph;
    dl_graph_init(&graph, dl_ops(), NULL, 3, true);
    dl_value x = dl_graph_input(&graph, "x", DL_TYPE(DL_F32, 3, 4), false);
    dl_value half = dl_convert(&graph, dl_map(&graph, "x * 2", &x, 1), DL_BF16);
    dl_value y = dl_map(&graph, "max(x, 0)", &half, 1);
    CU_ASSERT_EQUAL(type_of(&graph, y), DL_F32); /* built where the precision is float32 */
    dl_graph_output_add(&graph, "y", dl_convert(&graph, y, DL_BF16));
    CHECK_OK(dl_graph_simplify(&graph));
    CU_ASSERT_EQUAL(graph.nodes, 1);
    CU_ASSERT_EQUAL(type_of(&graph, graph.output[0].value), DL_BF16);
    uint64_t hash = dl_graph_hash(&graph);
    graph.value[graph.output[0].value].type.dtype = DL_F32;
    CU_ASSERT_NOT_EQUAL(dl_graph_hash(&graph), hash);
    dl_graph_fini(&graph);
}

/* ---- rows ---- */

static void test_rows(void) {
    static const op_sample_table *const own[] = {&op_samples_reduce, &op_samples_layout,
                                                 &op_samples_softmax, &op_samples_norm,
                                                 &op_samples_layer_norm};
    int done = 0;
    for (size_t t = 0; t < DL_COUNT(own); t++)
        done += op_samples_half(own[t]);
    CU_ASSERT(done > 100);
    if (dl_dnnl_bf16() == DL_BF16_NONE)
        check_skip("rows of bfloat16 on oneDNN", "this processor does not multiply bfloat16");
    else
        CU_ASSERT(op_samples_half(&op_samples_dnnl) > 50 &&
                  op_samples_half(&op_samples_conv_norm) > 5);
}

/* What weights are multiplied with is bfloat16 where the precision is, a sum over samples is not.
 */
static void test_network(void) {
    dl_graph graph;
    dl_variables none = {.count = 0};
    dl_graph_init(&graph, dl_ops(), &none, 3, true);
    dl_value x = dl_graph_input(&graph, "x", DL_TYPE(DL_F32, 3, 8, 8, 2), false);
    dl_value w = dl_graph_input(&graph, "w", DL_TYPE(DL_F32, 4, 3, 3, 2), true);
    dl_value b = dl_graph_input(&graph, "b", DL_TYPE(DL_F32, 4), true);
    dl_value v = dl_graph_input(&graph, "v", DL_TYPE(DL_F32, 5, 4), true);
    dl_conv_attributes conv = {
        .spatial = 2, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1, .epilogue = 1};
    dl_matmul_attributes product = {.transpose_b = true};
    graph.precision = DL_BF16;
    dl_value y = dl_conv(&graph, x, w, b, &conv);
    CU_ASSERT_EQUAL(type_of(&graph, y), DL_BF16);
    CU_ASSERT_EQUAL(dl_producer(&graph, y)->input[1], w); /* the kernel converts it */
    dl_value means = dl_reduce(&graph, y, DL_REDUCE_MEAN, 6, false);
    CU_ASSERT_EQUAL(type_of(&graph, means), DL_F32);
    dl_value z = dl_matmul(&graph, means, v, -1, &product);
    CU_ASSERT_EQUAL(type_of(&graph, z), DL_BF16);
    dl_value loss =
        dl_reduce(&graph, dl_convert(&graph, z, DL_F32), DL_REDUCE_SUM_SQUARES, 3, false);
    dl_value out[4];
    CHECK_OK(dl_gradients(&graph, loss, -1, (dl_value[]){x, w, b, v}, 4, out));
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(type_of(&graph, out[i]), DL_F32);
    for (int i = 1; i < 4; i++)
        dl_graph_output_add(&graph, i == 1 ? "dw" : i == 2 ? "db" : "dv", out[i]);
    CHECK_OK(dl_graph_simplify(&graph));
    int casts = 0;
    for (int n = 0; n < graph.nodes; n++) {
        const dl_graph_node *node = &graph.node[n];
        const dl_pointwise_attributes *a = node->attributes;
        casts +=
            node->op == &dl_op_pointwise && a->outputs == 1 && a->output[0]->kind == DL_EXPR_INPUT;
        if (strcmp(node->op->name, "conv_weight_gradient") == 0)
            for (int i = 0; i < 2; i++)
                CU_ASSERT_EQUAL(type_of(&graph, node->input[i]), DL_BF16);
    }

    CU_ASSERT_EQUAL(casts, 2);                   /* x and means: none of y's size */
    CU_ASSERT_EQUAL(type_of(&graph, z), DL_F32); /* as it is read */
    dl_graph_fini(&graph);
}

/* ---- networks ---- */

enum { BATCH = 32, CELLS = 8 * 8 * 4 };

/* The weights after one step of plain gradient descent: the gradients. */
static void step_once(const char *precision, const char *const *names, float **weights) {
    static const char yaml[] = "model:\n"
                               "  - conv2d: {filters: 16, kernel_size: 3, use_bias: false}\n"
                               "  - batch_normalization\n"
                               "  - {name: a, activation: relu}\n"
                               "  - conv2d: {filters: 16, kernel_size: 1, activation: relu}\n"
                               "  - add:\n    inputs: [a, conv2d_1]\n"
                               "  - zero_padding2d: 1\n"
                               "  - max_pooling2d: {pool_size: 3, strides: 2}\n"
                               "  - depthwise_conv2d: {kernel_size: 2}\n"
                               "  - average_pooling2d: {pool_size: 2, strides: 1}\n"
                               "  - flatten\n"
                               "  - dense: {units: 10, activation: softmax}\n"
                               "loss: sparse_categorical_crossentropy\n"
                               "optimizer: {sgd: {learning_rate: 1}}\n";
    const dl_field fields[] = {{.name = "x", .type = {DL_F32, 3, {8, 8, 4}}},
                               {.name = "y", .type = {DL_I32, 0, {0}}, .classes = 10}};
    static float x[BATCH * CELLS];
    static int32_t y[BATCH];
    for (uint32_t i = 0; i < BATCH * CELLS; i++)
        x[i] = 2 * dl_unit_float(dl_random_word(5, 1, 0, 0, i)) - 1;
    for (int i = 0; i < BATCH; i++)
        y[i] = i % 10;
    model m;
    char change[32];
    snprintf(change, sizeof change, "precision=%s", precision);
    if (!CHECK_OK(model_try(&m, yaml, fields, 2, change)) ||
        !CHECK_OK(dl_network_allocate(m.network)) || !CHECK_OK(dl_network_initialize(m.network, 3)))
        return;
    dl_exec *exec = model_exec(&m, MODEL_STEP, BATCH);
    CU_ASSERT_PTR_NOT_NULL_FATAL(exec);
    model_bind(exec, "x", x);
    model_bind(exec, "y", y);
    float *before[8];
    for (int i = 0; names[i]; i++) {
        size_t bytes = (size_t)model_weight_count(&m, names[i]) * sizeof(float);
        before[i] = dl_alloc(bytes);
        memcpy(before[i], model_weight(&m, names[i]), bytes);
    }
    CU_ASSERT(model_step(&m, exec, BATCH, 1, 1.0f, NULL));
    for (int i = 0; names[i]; i++) {
        int64_t count = model_weight_count(&m, names[i]);
        weights[i] = dl_alloc((size_t)(count + 1) * sizeof(float));
        weights[i][0] = (float)count;
        for (int64_t e = 0; e < count; e++)
            weights[i][e + 1] = before[i][e] - model_weight(&m, names[i])[e];
        dl_free(before[i]);
    }
    dl_exec_close(exec);
    model_close(&m);
}

/* A gradient passes through some twenty values of 8 bits, with independent errors: about half a
 * percent. But where two numbers of a window, or a number and 0, lie closer than 2^-8, it may take
 * another way: about one in a hundred does, and the norm is off by the root of that. */
static void test_gradients(void) {
    static const char *const names[] = {"conv2d/kernel",
                                        "batch_normalization/gamma",
                                        "batch_normalization/beta",
                                        "conv2d_1/kernel",
                                        "conv2d_1/bias",
                                        "depthwise_conv2d/depthwise_kernel",
                                        "dense/kernel",
                                        NULL};
    float *wide[8], *half[8];
    if (dl_dnnl_bf16() == DL_BF16_NONE) {
        check_skip("gradients in bfloat16", "this processor does not multiply bfloat16");
        return;
    }
    step_once("fp32", names, wide);
    step_once("bf16", names, half);
    for (int i = 0; names[i]; i++) {
        double size = 0, error = 0;
        for (int e = 1; e <= (int)wide[i][0]; e++) {
            size += (double)wide[i][e] * (double)wide[i][e];
            error += pow((double)wide[i][e] - (double)half[i][e], 2);
        }
        double relative = sqrt(error / size);
        if (!(relative < 0.1 && relative > 0))
            printf("\n    gradient of %s: off by %.3g", names[i], relative);
        CU_ASSERT(relative < 0.1 && relative > 0);
        dl_free(wide[i]);
        dl_free(half[i]);
    }
}

void suite_bf16(void) {
    CU_pSuite suite = CU_add_suite("bf16", open_set, close_set);
    CU_add_test(suite, "rounding", test_narrow);
    CU_add_test(suite, "widening", test_widen);
    CU_add_test(suite, "programs", test_programs);
    CU_add_test(suite, "emitted text", test_emitted);
    CU_add_test(suite, "other types are refused", test_store_refused);
    CU_add_test(suite, "the rule of casts", test_rule);
    CU_add_test(suite, "casts fuse", test_fusion);
    CU_add_test(suite, "rows against their references", test_rows);
    CU_add_test(suite, "layers and gradients", test_network);
    CU_add_test(suite, "gradients of a network", test_gradients);
}
