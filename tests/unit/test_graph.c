/* The graph core: building and its messages, gradients with respect to any value, the passes that
 * keep bits, the hash that does not see the number of samples, variables. */
#include <CUnit/Basic.h>
#include <math.h>
#include <string.h>

#include "ops/ops.h"
#include "tests/unit/check.h"
#include "tests/unit/graph_run.h"

static dl_variables variables;
static dl_variable *weight[4];

static dl_variable *want(const char *name, dl_type type, dl_slab slab) {
    dl_variable like = {.name = name, .layer = "dense", .type = type, .slab = slab};
    dl_variable *made = NULL;
    return dl_variables_want(&variables, &like, &made) == DL_OK ? made : NULL;
}

static int open_variables(void) {
    dl_variables_init(&variables);
    weight[0] = want("dense/kernel", DL_TYPE(DL_F32, 4, 3), DL_SLAB_PARAMETER);
    weight[1] = want("dense/bias", DL_TYPE(DL_F32, 4), DL_SLAB_PARAMETER);
    weight[2] = want("positions/table", DL_TYPE(DL_F32, 1, 4), DL_SLAB_PARAMETER);
    weight[3] = want("scale/scale", DL_TYPE(DL_F32, 1, 1, 4), DL_SLAB_PARAMETER);
    dl_variables_layout(&variables, 0, 0);
    return !(weight[0] && weight[1] && weight[2] && weight[3]);
}

static int close_variables(void) {
    dl_variables_fini(&variables);
    return 0;
}

static void open(dl_graph *g, int64_t samples) {
    dl_graph_init(g, dl_ops(), &variables, samples, true);
}

/* ---- gradients ---- */

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

typedef struct network {
    dl_value x, h, z, loss, wrt[6], out[6];
} network;

/* x [n, 3] through a dense layer, positions [1, 4], a scale [1, 1, 4] over [n, 1, 4] and tanh; loss
 * is the sum of squares less a batch mean. */
static void build(dl_graph *g, network *net) {
    dl_matmul_attributes transposed = {.transpose_b = true};
    g->scope = "dense";
    net->x = dl_graph_input(g, "x", DL_TYPE(DL_F32, g->samples, 3), false);
    for (int i = 0; i < 4; i++)
        net->wrt[i] = dl_graph_variable(g, weight[i]);
    net->wrt[4] = net->x;
    net->h = dl_matmul(g, net->x, net->wrt[0], net->wrt[1], &transposed);
    net->wrt[5] = net->h;
    g->scope = "positions";
    dl_value z = dl_map(g, "tanh(x0 + x1)", (dl_value[]){net->h, net->wrt[2]}, 2);
    g->scope = "scale";
    z = dl_broadcast(g, dl_reshape(g, z, DL_TYPE(DL_F32, g->samples, 1, 4)),
                     DL_TYPE(DL_F32, g->samples, 5, 4));
    net->z = dl_map(g, "x0 * x1", (dl_value[]){z, net->wrt[3]}, 2);
    g->scope = "mean";
    dl_value mean = dl_reduce(g, net->z, DL_REDUCE_MEAN, 1, true);
    mean = dl_map(g, "tanh(x)", &mean, 1); /* of the shape of one sample, yet none */
    dl_value centred = dl_map(g, "x0 - 0.5 * x1", (dl_value[]){net->z, mean}, 2);
    g->scope = "loss";
    dl_value loss = dl_reduce(g, centred, DL_REDUCE_SUM_SQUARES, 6, false);
    net->loss = dl_reduce(g, loss, DL_REDUCE_SUM, 1, false);
}

static void test_gradients(void) {
    dl_graph g;
    network net;
    for (int64_t samples = 1; samples <= 4; samples += 3) {
        open(&g, samples);
        build(&g, &net);
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
    network net;
    graph_run run;
    open(&g, 3);
    build(&g, &net);
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
    open(&g, 2);
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
        open(&g, 2);
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
    open(&g, 2);
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
    open(&g, 2);
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
    open(&g, 2);
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
    open(&g, 2);
    dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2, 3), false);
    dl_value y = dl_graph_input(&g, "y", DL_TYPE(DL_I32, 2), false);
    dl_matmul_attributes transposed = {.transpose_b = true};
    dl_value w = dl_graph_variable(&g, weight[0]);
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

/* ---- building ---- */

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
        open(&g, 2);
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

static void test_messages(void) {
    dl_node place = {0};
    dl_graph g;
    open(&g, 2);
    dl_value a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false);
    dl_value b = dl_graph_input(&g, "b", DL_TYPE(DL_F32, 2, 4), false);
    CU_ASSERT_EQUAL(dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false), a);
    place.line = 7;
    place.column = 5;
    place.file = "job.yaml";
    g.place = &place;
    CU_ASSERT_EQUAL(dl_map(&g, "x0 + x1", (dl_value[]){a, b}, 2), -1);
    g.place = NULL;
    CHECK_FAILS(dl_graph_status(&g), DL_BAD_JOB, "job.yaml:7:5: ");
    CHECK_FAILS(dl_graph_status(&g), DL_BAD_JOB, "shapes (None, 3) and (None, 4) do not meet");
    CU_ASSERT_EQUAL(dl_reshape(&g, a, DL_TYPE(DL_F32, 7)), -1); /* the first error stays */
    CHECK_FAILS(dl_graph_status(&g), DL_BAD_JOB, "do not meet");
    CU_ASSERT_EQUAL(dl_map(&g, "x", &a, 1), -1);
    dl_graph_fini(&g);

    open(&g, 2);
    a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false);
    CU_ASSERT_EQUAL(dl_reshape(&g, a, DL_TYPE(DL_F32, 2, 4)), -1);
    CHECK_FAILS(dl_graph_status(&g), DL_BAD_JOB, "cannot reshape (None, 3) to (None, 4)");
    dl_graph_fini(&g);

    open(&g, 2);
    a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false);
    CU_ASSERT_EQUAL(dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), true), -1);
    CHECK_FAILS(dl_graph_status(&g), DL_INTERNAL, "input 'a' is given two types");
    dl_graph_fini(&g);

    open(&g, 2);
    a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false);
    dl_graph_assign(&g, dl_graph_variable(&g, weight[0]), a);
    CHECK_FAILS(dl_graph_status(&g), DL_INTERNAL, "an assignment needs");
    dl_graph_fini(&g);

    open(&g, 2);
    a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), true);
    CU_ASSERT_EQUAL(dl_sum_leaves(&g, &a, 1, "twice"), -1);
    CHECK_FAILS(dl_graph_status(&g), DL_INTERNAL, "'twice' is shared already");
    dl_graph_fini(&g);
}

/* ---- passes ---- */

static int count_of(const dl_graph *g, const char *op) {
    int count = 0;
    for (int n = 0; n < g->nodes; n++)
        count += strcmp(g->node[n].op->name, op) == 0;
    return count;
}

/* The network's gradients as assignments and outputs, before and after. */
static void test_simplify_keeps_bits(void) {
    dl_graph g[2];
    network net;
    graph_run run[2];
    for (int s = 0; s < 2; s++) {
        open(&g[s], 3);
        build(&g[s], &net);
        CHECK_OK(dl_gradients(&g[s], net.loss, -1, net.wrt, 5, net.out));
        dl_value sum = dl_sum_leaves(&g[s], net.out, 4, "gradients");
        for (int i = 0; i < 4; i++) {
            dl_value pair[] = {net.wrt[i], dl_sum_part(&g[s], sum, i)};
            dl_graph_assign(&g[s], net.wrt[i], dl_map(&g[s], "x0 - 0.1 * x1", pair, 2));
        }
        dl_graph_output_add(&g[s], "dx", net.out[4]);
        dl_graph_output_add(&g[s], "loss", net.loss);
        if (s)
            CHECK_OK(dl_graph_simplify(&g[s]));
        CU_ASSERT_FATAL(graph_run_init(&run[s], &g[s]) && graph_run_all(&run[s]));
    }
    CU_ASSERT_TRUE(g[1].nodes < g[0].nodes);
    CU_ASSERT_EQUAL(count_of(&g[1], "sum_leaves"), 1);
    for (int i = 0; i < g[0].assignments; i++) {
        dl_value a = g[0].assignment[i].value, b = g[1].assignment[i].value;
        CHECK_BITS(run[1].value[b], run[0].value[a], dl_type_count(dl_type_of(&g[0], a)));
    }
    for (int i = 0; i < g[0].outputs; i++) {
        dl_value a = g[0].output[i].value, b = g[1].output[i].value;
        CHECK_BITS(run[1].value[b], run[0].value[a], dl_type_count(dl_type_of(&g[0], a)));
    }
    for (int s = 0; s < 2; s++) {
        graph_run_fini(&run[s]);
        dl_graph_fini(&g[s]);
    }
}

static void test_simplify(void) {
    dl_graph g;
    open(&g, 2);
    dl_value x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2, 6), false);
    dl_value a = dl_map(&g, "exp(x)", &x, 1), b = dl_map(&g, "exp(x)", &x, 1); /* equal */
    dl_value c = dl_map(&g, "x0 * x1", (dl_value[]){a, b}, 2);
    dl_value d = dl_map(&g, "x + 1", &c, 1), e = dl_map(&g, "tanh(x)", &d, 1); /* composed */
    dl_map(&g, "x * 7", &c, 1);                                                /* dead */
    dl_value v = dl_view(&g, dl_view(&g, e, DL_TYPE(DL_F32, 2, 2, 3), 0), DL_TYPE(DL_F32, 3), 6);
    dl_value same = dl_view(&g, dl_view(&g, x, DL_TYPE(DL_F32, 12), 0), DL_TYPE(DL_F32, 2, 6), 0);
    dl_graph_output_add(&g, "v", v);
    dl_graph_output_add(&g, "x", same);
    CHECK_OK(dl_graph_simplify(&g));
    CU_ASSERT_EQUAL(count_of(&g, "view"), 1);
    CU_ASSERT_EQUAL(
        ((const dl_view_attributes *)dl_producer(&g, g.output[0].value)->attributes)->offset, 6);
    CU_ASSERT_EQUAL(g.output[1].value, x);
    CU_ASSERT_EQUAL(count_of(&g, "pointwise"), 2); /* exp; (a * a + 1) and tanh: a is read twice */
    CU_ASSERT_EQUAL(g.nodes, 3);
    dl_graph_fini(&g);

    open(&g, 2); /* collectives and random numbers of two streams stay apart */
    x = dl_graph_input(&g, "x", DL_TYPE(DL_F32, 2), false);
    dl_value sums[2], noise[2];
    for (int i = 0; i < 2; i++) {
        g.scope = i ? "second" : "first";
        sums[i] = dl_sum_leaves(&g, &x, 1, "sum");
        noise[i] = dl_map(&g, "x * uniform()", &x, 1);
        dl_graph_output_add(&g, i ? "s1" : "s0", sums[i]);
        dl_graph_output_add(&g, i ? "n1" : "n0", noise[i]);
    }
    CHECK_OK(dl_graph_simplify(&g));
    CU_ASSERT_EQUAL(g.nodes, 4);
    dl_graph_fini(&g);
}

/* ---- hash ---- */

static uint64_t hash_of(int64_t samples, bool simplified, float rate) {
    dl_graph g;
    network net;
    char text[48];
    open(&g, samples);
    build(&g, &net);
    CHECK_OK(dl_gradients(&g, net.loss, -1, net.wrt, 6, net.out));
    dl_value sum = dl_sum_leaves(&g, net.out, 4, "gradients");
    for (int i = 0; i < 4; i++) {
        dl_value pair[] = {net.wrt[i], dl_sum_part(&g, sum, i)};
        snprintf(text, sizeof text, "x0 - %.9g * x1", (double)rate);
        dl_graph_assign(&g, net.wrt[i], dl_map(&g, text, pair, 2));
    }
    dl_graph_output_add(&g, "z", net.z);
    if (simplified)
        CHECK_OK(dl_graph_simplify(&g));
    uint64_t hash = dl_graph_hash(&g);
    dl_graph_fini(&g);
    return hash;
}

static void test_hash(void) {
    for (int simplified = 0; simplified < 2; simplified++) {
        uint64_t hash = hash_of(2, simplified, 0.5f);
        for (int64_t samples = 1; samples <= 6; samples++)
            CU_ASSERT_EQUAL(hash_of(samples, simplified, 0.5f), hash);
        CU_ASSERT_NOT_EQUAL(hash_of(2, simplified, 0.25f), hash);
    }
    CU_ASSERT_NOT_EQUAL(hash_of(2, true, 0.5f), hash_of(2, false, 0.5f));
}

/* ---- variables ---- */

static void test_variables(void) {
    dl_variables v;
    dl_variable *made[4], *again;
    const dl_variable like[4] = {
        {.name = "a", .type = DL_TYPE(DL_F32, 3, 5), .slab = DL_SLAB_PARAMETER},
        {.name = "mean", .type = DL_TYPE(DL_F32, 16), .slab = DL_SLAB_STATE},
        {.name = "b", .type = DL_TYPE(DL_F32, 17), .slab = DL_SLAB_PARAMETER},
        {.name = "variance", .type = DL_TYPE(DL_F32, 1), .slab = DL_SLAB_STATE},
    };
    dl_variables_init(&v);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(dl_variables_want(&v, &like[i], &made[i]));
        CU_ASSERT_EQUAL(made[i]->order, i);
    }
    CHECK_OK(dl_variables_want(&v, &like[0], &again));
    CU_ASSERT_PTR_EQUAL(again, made[0]);
    dl_variable other = like[0];
    other.type = DL_TYPE(DL_F32, 5, 3);
    CHECK_FAILS(dl_variables_want(&v, &other, &again), DL_BAD_JOB,
                "'a' has shape (3, 5), but is used here with (5, 3)");
    dl_variables_layout(&v, 2, 3);
    CU_ASSERT_EQUAL(made[2]->offset, 0); /* parameters: the last first */
    CU_ASSERT_EQUAL(made[0]->offset, 32);
    CU_ASSERT_EQUAL(made[1]->offset, 0); /* state: in order */
    CU_ASSERT_EQUAL(made[3]->offset, 16);
    CU_ASSERT_EQUAL(v.length[DL_SLAB_PARAMETER], 48);
    CU_ASSERT_EQUAL(v.length[DL_SLAB_STATE], 32);
    other.name = "late";
    CHECK_FAILS(dl_variables_want(&v, &other, &again), DL_INTERNAL, "'late' is wanted after");
    CHECK_OK(dl_variables_want(&v, &like[2], &again));
    CHECK_OK(dl_variables_allocate(&v));
    CU_ASSERT_EQUAL(v.length[DL_SLAB_SLOT1], 48);
    CU_ASSERT_EQUAL(v.length[DL_SLAB_SLOT2], 0);
    CU_ASSERT_EQUAL(v.length[DL_SLAB_SCALAR], 3);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL((uintptr_t)dl_variable_data(&v, made[i]) % 64, 0);
        CU_ASSERT_PTR_EQUAL(dl_variables_find(&v, like[i].name), made[i]);
    }
    CU_ASSERT_PTR_NULL(dl_variables_find(&v, "nowhere"));
    for (int64_t i = 0; i < 48; i++)
        CU_ASSERT_EQUAL(v.slab[DL_SLAB_PARAMETER][i], 0.0f);
    dl_variables_fini(&v);
}

void suite_graph(void);
void suite_graph(void) {
    CU_pSuite suite = CU_add_suite("graph", open_variables, close_variables);
    CU_add_test(suite, "gradients of weights and inputs", test_gradients);
    CU_add_test(suite, "gradients of inner values", test_inner);
    CU_add_test(suite, "seeds", test_seed);
    CU_add_test(suite, "many consumers", test_fan_out);
    CU_add_test(suite, "many inputs", test_many_inputs);
    CU_add_test(suite, "parts and sums over shards", test_parts);
    CU_add_test(suite, "ties of max", test_ties);
    CU_add_test(suite, "a missing gradient", test_missing_gradient);
    CU_add_test(suite, "broadcast rules", test_broadcast);
    CU_add_test(suite, "messages", test_messages);
    CU_add_test(suite, "simplify keeps bits", test_simplify_keeps_bits);
    CU_add_test(suite, "simplify merges, composes, drops", test_simplify);
    CU_add_test(suite, "hash", test_hash);
    CU_add_test(suite, "variables", test_variables);
}
