/* The graph core: building and its messages, the passes that keep bits, the hash that does not see
 * the number of samples, variables. Gradients are in test_gradient.c. */
#include <CUnit/Basic.h>
#include <math.h>
#include <string.h>

#include "ops/ops.h"
#include "tests/unit/check.h"
#include "tests/unit/graph_run.h"
#include "tests/unit/graph_sample.h"

static void test_messages(void) {
    dl_node place = {0};
    dl_graph g;
    graph_sample_open(&g, 2);
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

    graph_sample_open(&g, 2);
    a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false);
    CU_ASSERT_EQUAL(dl_reshape(&g, a, DL_TYPE(DL_F32, 2, 4)), -1);
    CHECK_FAILS(dl_graph_status(&g), DL_BAD_JOB, "cannot reshape (None, 3) to (None, 4)");
    dl_graph_fini(&g);

    graph_sample_open(&g, 2);
    a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false);
    CU_ASSERT_EQUAL(dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), true), -1);
    CHECK_FAILS(dl_graph_status(&g), DL_INTERNAL, "input 'a' is given two types");
    dl_graph_fini(&g);

    graph_sample_open(&g, 2);
    a = dl_graph_input(&g, "a", DL_TYPE(DL_F32, 2, 3), false);
    dl_graph_assign(&g, dl_graph_variable(&g, graph_sample_weight[0]), a);
    CHECK_FAILS(dl_graph_status(&g), DL_INTERNAL, "an assignment needs");
    dl_graph_fini(&g);

    graph_sample_open(&g, 2);
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
    graph_sample net;
    graph_run run[2];
    for (int s = 0; s < 2; s++) {
        graph_sample_open(&g[s], 3);
        graph_sample_build(&g[s], &net);
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
    graph_sample_open(&g, 2);
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

    graph_sample_open(&g, 2); /* collectives and random numbers of two streams stay apart */
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
    graph_sample net;
    char text[48];
    graph_sample_open(&g, samples);
    graph_sample_build(&g, &net);
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
    CU_pSuite suite = CU_add_suite("graph", graph_sample_begin, graph_sample_end);
    CU_add_test(suite, "messages", test_messages);
    CU_add_test(suite, "simplify keeps bits", test_simplify_keeps_bits);
    CU_add_test(suite, "simplify merges, composes, drops", test_simplify);
    CU_add_test(suite, "hash", test_hash);
    CU_add_test(suite, "variables", test_variables);
}
