/* Fusions of a finished graph (runtime/graph/fuse.h), with a row and fusions of the test's own:
 * what is replaced, where the new node stands, and what is passed over or refused. */
#include <CUnit/Basic.h>
#include <string.h>

#include "ops/ops.h"
#include "runtime/graph/fuse.h"
#include "tests/unit/check.h"
#include "tests/unit/graph_run.h"
#include "tests/unit/graph_sample.h"

enum { SIDE = 3 };

/* Two products with one right side [SIDE, SIDE]: a · c and b · c. */
static dl_status infer_two(const dl_infer *infer) {
    infer->output[0] = *infer->input[0];
    infer->output[1] = *infer->input[1];
    return DL_OK;
}

static dl_status run_two(const void *state, const dl_run *run) {
    (void)state;
    for (int o = 0; o < 2; o++)
        for (int row = 0; row < 2; row++)
            for (int column = 0; column < SIDE; column++) {
                float sum = 0;
                for (int k = 0; k < SIDE; k++)
                    sum += ((const float *)run->in[o])[row * SIDE + k] *
                           ((const float *)run->in[2])[k * SIDE + column];
                ((float *)run->out[o])[row * SIDE + column] = sum;
            }
    return DL_OK;
}

static const dl_op two_products = {.name = "two_products",
                                   .min_inputs = 3,
                                   .max_inputs = 3,
                                   .outputs = 2,
                                   .infer = infer_two,
                                   .cpu = {.run = run_two}};

static void fuse_two(dl_fuse *fuse, const dl_graph_node *node) {
    const dl_graph_node *first =
        node->op == &dl_op_matmul ? dl_fuse_reader(fuse, node->input[1], &dl_op_matmul) : NULL;
    if (!first || first->output == node->output)
        return;
    dl_value one = first->output, inputs[] = {first->input[0], node->input[0], node->input[1]};
    dl_value made = dl_graph_add(fuse->graph, &two_products, NULL, inputs, 3);
    dl_fuse_map(fuse, one, made);
    dl_fuse_map(fuse, node->output, made + 1);
}

static void fuse_wrongly(dl_fuse *fuse, const dl_graph_node *node) {
    if (node->op == &dl_op_matmul)
        dl_fuse_map(fuse, node->output,
                    dl_reduce(fuse->graph, node->input[0], DL_REDUCE_SUM, 3, false));
}

static void fuse_forever(dl_fuse *fuse, const dl_graph_node *node) {
    if (node->op == &dl_op_matmul)
        dl_fuse_map(fuse, node->output,
                    dl_graph_add(fuse->graph, node->op, node->attributes, node->input, 2));
}

static const dl_fusion fusions[] = {
    {"two", fuse_two}, {"wrongly", fuse_wrongly}, {"forever", fuse_forever}};

static dl_value times(dl_graph *g, dl_value a, dl_value b) {
    return dl_matmul(g, a, b, -1, &(dl_matmul_attributes){0});
}

static dl_value matrix(dl_graph *g, const char *name, int rows) {
    return dl_graph_input(g, name, DL_TYPE(DL_F32, rows, SIDE), false);
}

static dl_status fuse(dl_graph *g, const dl_fusion *fusion) {
    dl_op_table table = *g->ops;
    table.fusion = fusion;
    table.fusions = 1;
    const dl_op_table *ops = g->ops;
    g->ops = &table;
    dl_status status = dl_graph_simplify(g);
    if (status == DL_OK)
        status = dl_graph_fuse(g, NULL);
    g->ops = ops;
    return status;
}

static bool in_order(const dl_graph *g) {
    bool good = true;
    for (int n = 0; n < g->nodes; n++)
        for (int i = 0; i < g->node[n].inputs; i++)
            good = good && g->value[g->node[n].input[i]].node < n;
    return good;
}

/* What reads the first product stands before the second product, and needs the new node there. */
static void build_pair(dl_graph *g) {
    dl_value a = matrix(g, "a", 2), b = matrix(g, "b", 2), c = matrix(g, "c", SIDE);
    g->scope = "one";
    dl_value one = times(g, a, c);
    dl_value sum = dl_reduce(g, one, DL_REDUCE_SUM, 1, false);
    g->scope = "other";
    dl_value other = times(g, dl_map(g, "exp(x)", &b, 1), c);
    g->scope = "dead";
    dl_graph_output_add(g, "sum", sum);
    dl_graph_output_add(g, "one", one);
    dl_graph_output_add(g, "other", dl_map(g, "x + 1", &other, 1));
}

static void test_pair(void) {
    dl_graph g[2];
    graph_run run[2];
    for (int s = 0; s < 2; s++) {
        graph_sample_open(&g[s], 2);
        build_pair(&g[s]);
        CHECK_OK(s ? fuse(&g[s], &fusions[0]) : dl_graph_simplify(&g[s]));
        CU_ASSERT(in_order(&g[s]));
        CU_ASSERT_FATAL(graph_run_init(&run[s], &g[s]) && graph_run_all(&run[s]));
    }
    static const char *const order[] = {"pointwise", "two_products", "reduce", "pointwise"};
    CU_ASSERT_EQUAL_FATAL(g[1].nodes, DL_COUNT(order));
    for (int n = 0; n < DL_COUNT(order); n++)
        CU_ASSERT_STRING_EQUAL(g[1].node[n].op->name, order[n]);
    CU_ASSERT_STRING_EQUAL(g[1].node[1].name, "other");
    for (int i = 0; i < g[0].outputs; i++) {
        dl_value a = g[0].output[i].value, b = g[1].output[i].value;
        CHECK_CLOSE(run[1].value[b], run[0].value[a], dl_type_count(dl_type_of(&g[0], a)), 1e-5,
                    1e-5);
    }
    for (int s = 0; s < 2; s++) {
        graph_run_fini(&run[s]);
        dl_graph_fini(&g[s]);
    }
}

/* The second product reads the first: one node for both would wait for itself. */
static void test_circle(void) {
    dl_graph g;
    graph_sample_open(&g, 2);
    dl_value a = matrix(&g, "a", 2), c = matrix(&g, "c", SIDE), one = times(&g, a, c);
    dl_graph_output_add(&g, "y", times(&g, dl_map(&g, "tanh(x)", &one, 1), c));
    CHECK_OK(fuse(&g, &fusions[0]));
    CU_ASSERT_EQUAL(g.nodes, 3);
    CU_ASSERT_EQUAL(g.values, 5);
    CU_ASSERT_STRING_EQUAL(g.node[0].op->name, "matmul");
    dl_graph_fini(&g);
}

static void test_refused(void) {
    static const char *const says[] = {"another type in the place", "'forever' finds no end"};
    for (int i = 0; i < 2; i++) {
        dl_graph g;
        graph_sample_open(&g, 2);
        build_pair(&g);
        CHECK_FAILS(fuse(&g, &fusions[1 + i]), DL_INTERNAL, says[i]);
        dl_graph_fini(&g);
    }
}

void suite_fuse(void);
void suite_fuse(void) {
    CU_pSuite suite = CU_add_suite("fuse", graph_sample_begin, graph_sample_end);
    CU_add_test(suite, "one node for two, where others read them", test_pair);
    CU_add_test(suite, "no node waits for itself", test_circle);
    CU_add_test(suite, "a wrong fusion is refused", test_refused);
}
