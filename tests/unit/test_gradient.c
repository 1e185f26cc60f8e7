/* Gradients with respect to any value, checked by central differences of the graph itself, and the
 * rules of broadcasting that they undo. */
#include <CUnit/Basic.h>
#include <math.h>
#include <string.h>

#include "ops/ops.h"
#include "tests/unit/check.h"
#include "tests/unit/graph_run.h"
#include "tests/unit/graph_sample.h"

/* Gradients of sum(y) against central differences of the graph itself in float32. */
static void check_gradients(const dl_graph *g, dl_value y, const dl_value *wrt, const dl_value *out,
                            int count) {
    graph_run run;
    const float step = 0x1p-7f;
    CHECK_OK(dl_graph_status(g));
    CU_ASSERT_FATAL(graph_run_init(&run, g));
    for (int i = 0; i < count && graph_run_all(&run); i++) {
        CU_ASSERT_FATAL(out[i] >= 0);
        int64_t elements = dl_type_count(dl_type_of(g, wrt[i]));
        CU_ASSERT_TRUE(dl_same_shape(dl_type_of(g, wrt[i]), dl_type_of(g, out[i])));
        for (int64_t e = 0; e < elements && g->value[wrt[i]].role != DL_ROLE_TEMP; e++) {
            float *at = &run.value[wrt[i]][e], here = *at, got = 0, difference;
            double side[2] = {0, 0};
            graph_run_all(&run);
            got = run.value[out[i]][e];
            for (int s = 0; s < 2; s++) {
                *at = here + (s ? -step : step);
                graph_run_all(&run);
                for (int64_t k = 0; k < dl_type_count(dl_type_of(g, y)); k++)
                    side[s] += (double)run.value[y][k];
            }
            *at = here;
            difference = (float)((side[0] - side[1]) / (2 * (double)step));
            CHECK_CLOSE(&got, &difference, 1, 2e-3, 2e-3);
        }
    }
    graph_run_fini(&run);
}

static void test_gradients(void) {
    dl_graph g;
    graph_sample net;
    for (int64_t samples = 1; samples <= 4; samples += 3) {
        graph_sample_open(&g, samples);
        graph_sample_build(&g, &net);
        CHECK_OK(dl_gradients(&g, net.loss, -1, net.wrt, 6, net.out));
        check_gradients(&g, net.loss, net.wrt, net.out, 5);
        CU_ASSERT_TRUE(net.out[5] >= 0);
        dl_graph_fini(&g);
    }
}

/* The gradient at an inner value is the one that its own layer receives: db = sum over samples of
 * dh. */
static void test_inner(void) {
    dl_graph g;
    graph_sample net;
    graph_run run;
    graph_sample_open(&g, 3);
    graph_sample_build(&g, &net);
    CHECK_OK(dl_gradients(&g, net.loss, -1, net.wrt, 6, net.out));
    CU_ASSERT_FATAL(graph_run_init(&run, &g) && graph_run_all(&run));
    const float *dh = run.value[net.out[5]], *db = run.value[net.out[1]];
    for (int c = 0; c < 4; c++) {
        float sum = dh[c] + dh[4 + c] + dh[8 + c];
        CHECK_CLOSE(&db[c], &sum, 1, 1e-6, 1e-6);
    }
    graph_run_fini(&run);
    dl_graph_fini(&g);
}

/* A seed weighs the elements; what y does not depend on has no gradient; y itself has its seed. */
static void test_seed(void) {
    dl_graph g;
    graph_sample_open(&g, 2);
    dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2, 3), false);
    dl_value other = dl_graph_input(&g, "other", DL_TYPE(DL_F32, 2, 3), false);
    dl_value seed = dl_graph_input(&g, "seed", DL_TYPE(DL_F32, 2, 3), false);
    dl_value y = dl_map(&g, "3 * x", &x, 1);
    dl_value wrt[] = {x, other, y, x}, out[4];
    CHECK_OK(dl_gradients(&g, y, seed, wrt, 4, out));
    CU_ASSERT_EQUAL(out[1], -1);
    CU_ASSERT_EQUAL(out[2], seed);
    CU_ASSERT_EQUAL(out[0], out[3]);
    graph_run run;
    CU_ASSERT_FATAL(graph_run_init(&run, &g) && graph_run_all(&run));
    for (int e = 0; e < 6; e++)
        CU_ASSERT_EQUAL(run.value[out[0]][e], 3 * run.value[seed][e]);
    graph_run_fini(&run);
    dl_graph_fini(&g);
}

/* What reaches a value from many consumers is added up: more than one expression has inputs for. */
static void test_fan_out(void) {
    static const int counts[] = {1, 2, 23, 24, 25, 47, 48, 60};
    for (int k = 0; k < DL_COUNT(counts); k++) {
        dl_graph g;
        graph_run run;
        char text[32];
        graph_sample_open(&g, 2);
        dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2), false), sum = -1, dx, want = 0;
        for (int i = 1; i <= counts[k]; i++) {
            snprintf(text, sizeof text, "%d * x", i);
            dl_value term = dl_reduce(&g, dl_map(&g, text, &x, 1), DL_REDUCE_SUM, 1, false);
            sum = i == 1 ? term : dl_map(&g, "x0 + x1", (dl_value[]){sum, term}, 2);
            want += i;
        }
        CHECK_OK(dl_gradients(&g, sum, -1, &x, 1, &dx));
        CU_ASSERT_FATAL(graph_run_init(&run, &g) && graph_run_all(&run));
        CU_ASSERT_EQUAL(run.value[dx][0], (float)want);
        CU_ASSERT_EQUAL(run.value[dx][1], (float)want);
        graph_run_fini(&run);
        dl_graph_fini(&g);
    }
}

/* An expression with as many inputs as there can be has a gradient, which reads what it needs
 * alone. */
static void test_many_inputs(void) {
    dl_graph g;
    dl_value x[DL_EXPR_MAX_INPUTS], out[DL_EXPR_MAX_INPUTS];
    const dl_expr *sum = NULL;
    char name[8];
    graph_sample_open(&g, 2);
    for (int i = 0; i < DL_EXPR_MAX_INPUTS; i++) {
        snprintf(name, sizeof name, "x%d", i);
        x[i] = dl_graph_input(&g, name, DL_TYPE(DL_F32, 2, 3), false);
        const dl_expr *input = dl_expr_input(g.exprs, i);
        sum = sum ? dl_expr_make(g.exprs, DL_EXPR_ADD, sum, input, NULL) : input;
    }
    dl_value y = dl_pointwise(&g, &sum, 1, NULL, x, DL_EXPR_MAX_INPUTS);
    int before = g.nodes;
    CHECK_OK(dl_gradients(&g, y, -1, x, DL_EXPR_MAX_INPUTS, out));
    for (int n = before + 1; n < g.nodes; n++)
        CU_ASSERT_EQUAL(g.node[n].inputs, 1);
    check_gradients(&g, y, x, out, 3);
    dl_graph_fini(&g);
}

/* Through a view of a part, and through a sum over shards (here of one shard). */
static void test_parts(void) {
    dl_graph g;
    graph_sample_open(&g, 2);
    dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2, 5), false);
    dl_value a = dl_view(&g, x, DL_TYPE(DL_F32, 3), 2),
             b = dl_reduce(&g, x, DL_REDUCE_SUM, 1, false);
    dl_value both[] = {a, b};
    dl_value sum = dl_sum_leaves(&g, both, 2, "sums");
    dl_value first = dl_sum_part(&g, sum, 0), second = dl_sum_part(&g, sum, 1);
    CU_ASSERT_TRUE(g.value[second].shared);
    CU_ASSERT_EQUAL(dl_type_of(&g, sum)->dim[0], 2 * DL_SLAB_ALIGN);
    dl_value scale = dl_reduce(&g, dl_map(&g, "x * x", &first, 1), DL_REDUCE_SUM, 1, false);
    dl_value y = dl_map(&g, "x0 * x1 * x2", (dl_value[]){x, second, scale}, 3), dx;
    CHECK_OK(dl_gradients(&g, y, -1, &x, 1, &dx));
    check_gradients(&g, y, &x, &dx, 1);
    dl_graph_fini(&g);
}

/* The greatest that are equal share the gradient. */
static void test_ties(void) {
    dl_graph g;
    graph_run run;
    graph_sample_open(&g, 2);
    dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2, 3), false), dx;
    dl_value y = dl_reduce(&g, x, DL_REDUCE_MAX, 2, false);
    CHECK_OK(dl_gradients(&g, y, -1, &x, 1, &dx));
    CU_ASSERT_FATAL(graph_run_init(&run, &g));
    memcpy(run.value[x], (const float[]){5, 5, 5, 1, 7, 7}, 6 * sizeof(float));
    graph_run_all(&run);
    CHECK_BITS(run.value[dx], ((const float[]){1.0f / 3, 1.0f / 3, 1.0f / 3, 0, .5f, .5f}), 6);
    graph_run_fini(&run);
    dl_graph_fini(&g);
}

static void test_missing_gradient(void) {
    dl_graph g;
    dl_value out[2];
    graph_sample_open(&g, 2);
    dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2, 3), false);
    dl_value y = dl_graph_input(&g, "y", DL_TYPE(DL_I32, 2), false);
    dl_matmul_attributes transposed = {.transpose_b = true};
    dl_value w = dl_graph_variable(&g, graph_sample_weight[0]);
    g.scope = "accuracy";
    dl_value hit = dl_in_top_k(&g, dl_matmul(&g, x, w, -1, &transposed), y, 1);
    CHECK_OK(dl_gradients(&g, hit, -1, &y, 1, out)); /* labels: nothing to differentiate */
    CU_ASSERT_EQUAL(out[0], -1);
    CHECK_FAILS(
        dl_gradients(&g, hit, -1, (dl_value[]){y, w}, 2, out), DL_BAD_JOB,
        "no gradient goes through in_top_k of 'accuracy', but 'dense/kernel' lies before it");
    CU_ASSERT_EQUAL(out[1], -1);
    dl_graph_fini(&g);
}

static void test_broadcast(void) {
    static const struct {
        dl_type a, b, y;
        int nodes; /* 2: a broadcast of its own */
    } cases[] = {
        {{DL_F32, 2, {2, 3}}, {DL_F32, 1, {3}}, {DL_F32, 2, {2, 3}}, 1},
        {{DL_F32, 2, {2, 3}}, {DL_F32, 2, {2, 1}}, {DL_F32, 2, {2, 3}}, 1},
        {{DL_F32, 2, {2, 1}}, {DL_F32, 2, {1, 3}}, {DL_F32, 2, {2, 3}}, 1},
        {{DL_F32, 3, {2, 3, 4}}, {DL_F32, 0, {0}}, {DL_F32, 3, {2, 3, 4}}, 1},
        {{DL_F32, 3, {2, 3, 4}}, {DL_F32, 2, {3, 1}}, {DL_F32, 3, {2, 3, 4}}, 1},
        {{DL_F32, 3, {2, 3, 4}}, {DL_F32, 3, {2, 1, 4}}, {DL_F32, 3, {2, 3, 4}}, 2},
    };
    for (int i = 0; i < DL_COUNT(cases); i++) {
        dl_graph g;
        graph_sample_open(&g, 2);
        dl_value in[] = {dl_graph_input(&g, "a", cases[i].a, false),
                         dl_graph_input(&g, "b", cases[i].b, true)};
        dl_value y = dl_map(&g, "x0 - 2 * x1", in, 2), out[2];
        CU_ASSERT_FATAL(y >= 0);
        CU_ASSERT_TRUE(dl_same_type(dl_type_of(&g, y), &cases[i].y));
        CU_ASSERT_EQUAL(g.nodes, cases[i].nodes);
        CHECK_OK(dl_gradients(&g, y, -1, in, 2, out));
        check_gradients(&g, y, in, out, 2);
        dl_graph_fini(&g);
    }
}

/* A relu that is pooled stops gradients at the maxima, not at the cells: the same bits as where
 * two views hide the relu from the pooling. With places where windows overlap and ties at 0. */
static void test_pooled_relu(void) {
    for (int overlap = 0; overlap < 2; overlap++) {
        dl_graph g;
        graph_sample_open(&g, 3);
        const dl_conv_attributes conv = {.spatial = 2,
                                         .stride = {1, 1},
                                         .dilation = {1, 1},
                                         .groups = 1,
                                         .epilogue = DL_EPILOGUE_RELU};
        const dl_pool_attributes pool = {
            .spatial = 2, .kernel = {2 + overlap, 2 + overlap}, .stride = {2, 2}};
        dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 3, 9, 9, 2), false);
        dl_value w = dl_graph_input(&g, "w", DL_TYPE(DL_F32, 5, 3, 3, 2), true);
        dl_value bias = dl_graph_input(&g, "bias", DL_TYPE(DL_F32, 5), true), wrt[] = {x, w, bias};
        dl_value seed = dl_graph_input(&g, "seed", DL_TYPE(DL_F32, 3, 3, 3, 5), false);
        dl_value y = dl_conv(&g, x, w, bias, &conv), out[2][3];
        for (int hidden = 0; hidden < 2; hidden++) {
            dl_type flat = DL_TYPE(DL_F32, 3, 7 * 7 * 5), shape = *dl_type_of(&g, y);
            dl_value seen = hidden ? dl_reshape(&g, dl_reshape(&g, y, flat), shape) : y;
            CHECK_OK(dl_gradients(&g, dl_pool(&g, seen, &pool), seed, wrt, 3, out[hidden]));
        }
        int handed_out = 0;
        for (int n = 0; n < g.nodes; n++)
            handed_out += g.node[n].op == &dl_op_max_pool_gradient;
        CU_ASSERT_EQUAL(handed_out, 3); /* one of them is read by nobody */
        graph_run run;
        CU_ASSERT_FATAL(graph_run_init(&run, &g) && graph_run_all(&run));
        for (int k = 0; k < 2; k++)
            CHECK_BITS(run.value[out[0][k]], run.value[out[1][k]],
                       dl_type_count(dl_type_of(&g, wrt[k])));
        CHECK_CLOSE(run.value[out[0][2]], run.value[out[1][2]], 5, 1e-6, 1e-6);
        graph_run_fini(&run);
        dl_graph_fini(&g);
    }
}

void suite_gradient(void);
void suite_gradient(void) {
    CU_pSuite suite = CU_add_suite("gradient", graph_sample_begin, graph_sample_end);
    CU_add_test(suite, "gradients of weights and inputs", test_gradients);
    CU_add_test(suite, "gradients of inner values", test_inner);
    CU_add_test(suite, "seeds", test_seed);
    CU_add_test(suite, "many consumers", test_fan_out);
    CU_add_test(suite, "many inputs", test_many_inputs);
    CU_add_test(suite, "parts and sums over shards", test_parts);
    CU_add_test(suite, "ties of max", test_ties);
    CU_add_test(suite, "a pooled relu", test_pooled_relu);
    CU_add_test(suite, "a missing gradient", test_missing_gradient);
    CU_add_test(suite, "broadcast rules", test_broadcast);
}
