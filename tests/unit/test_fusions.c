/* What fusions (ops/fusions.h) make of programs: how many nodes of which rows a device gets, that
 * the CPU gets the program as it was, and that both compute the same. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"
#include "runtime/graph/fuse.h"
#include "tests/unit/graph_run.h"
#include "tests/unit/model.h"

static const char mlp[] = "model:\n"
                          "  - dense: {units: 12, activation: relu}\n"
                          "  - dense: {units: 140, activation: relu}\n"
                          "  - dense: {units: 3, activation: softmax}\n"
                          "loss: sparse_categorical_crossentropy\n"
                          "optimizer: sgd\n";

static const char convnet[] = "model:\n"
                              "  - conv2d: {filters: 3, kernel_size: 3, activation: relu}\n"
                              "  - conv2d: {filters: 5, kernel_size: 3, activation: relu}\n"
                              "  - max_pooling2d: 2\n"
                              "  - conv2d: {filters: 4, kernel_size: 2, activation: relu}\n"
                              "  - flatten\n"
                              "  - dense: {units: 3, activation: softmax}\n"
                              "loss: sparse_categorical_crossentropy\n"
                              "optimizer: sgd\n";

/* A block whose shortcut is normalised, too, and two whose is not. */
#define NORMAL(name, from)                                                            \
    "  - {conv2d: {filters: 8, kernel_size: 3, padding: same}, inputs: [" from "]}\n" \
    "  - {batch_normalization, name: " name "}\n"
#define BLOCK(name, shortcut, from)                                     \
    NORMAL("n_" name, from)                                             \
    "  - {add, inputs: [" shortcut ", n_" name "], name: a_" name "}\n" \
    "  - {activation: relu, name: " name "}\n"

static const char blocks[] =
    "model:\n"
    "  - {conv2d: {filters: 8, kernel_size: 3, padding: same}}\n"
    "  - batch_normalization\n"
    "  - {activation: relu}\n"
    "  - {max_pooling2d: {pool_size: 3, strides: 2}, name: stem}\n" NORMAL("s", "stem")
        BLOCK("one", "s", "stem") BLOCK("two", "one", "one")
            BLOCK("three", "two", "two") "  - global_average_pooling2d\n"
                                         "  - dense: {units: 3, activation: softmax}\n"
                                         "loss: sparse_categorical_crossentropy\n"
                                         "optimizer: sgd\n";

enum { SAMPLES = 5 };

static const dl_field flat[] = {FLOATS("x", 6), {.name = "y", .type = {.dtype = DL_I32}}};
static const dl_field images[] = {FLOATS("x", 9, 8, 2), {.name = "y", .type = {.dtype = DL_I32}}};

static int count_of(const dl_graph *g, const char *op) {
    int count = 0;
    for (int n = 0; n < g->nodes; n++)
        count += strcmp(g->node[n].op->name, op) == 0;
    return count;
}

typedef struct expected {
    const char *op;
    int plain, fused;
} expected;

static bool build(dl_graph *g, model *m, bool fused) {
    dl_graph_init(g, dl_ops(), dl_network_variables(m->network), SAMPLES, true);
    return CHECK_OK(dl_network_step(m->network, g)) && CHECK_OK(dl_graph_simplify(g)) &&
           (!fused || CHECK_OK(dl_graph_fuse(g, NULL)));
}

/* Gradients leave through collectives: those of both graphs, in the same order. */
static void compare_sums(const dl_graph *g, const graph_run *run) {
    int at[2] = {0, 0}, compared = 0;
    for (;; at[0]++, at[1]++) {
        for (int s = 0; s < 2; s++)
            while (at[s] < g[s].nodes && g[s].node[at[s]].op != &dl_op_sum_leaves)
                at[s]++;
        if (at[0] == g[0].nodes || at[1] == g[1].nodes)
            break;
        const dl_graph_node *a = &g[0].node[at[0]], *b = &g[1].node[at[1]];
        CU_ASSERT_EQUAL_FATAL(a->inputs, b->inputs);
        for (int i = 0; i < a->inputs; i++) {
            int64_t count = dl_type_count(dl_type_of(&g[0], a->input[i]));
            CHECK_CLOSE(run[1].value[b->input[i]], run[0].value[a->input[i]], count, 1e-5, 1e-5);
            compared++;
        }
    }
    CU_ASSERT(compared >= 7 && at[0] == g[0].nodes && at[1] == g[1].nodes);
}

/* Both graphs of the job's step have so many nodes, and compute the same. */
static void compare(const char *job, const dl_field *fields, const expected *rows, int count) {
    model m;
    dl_graph g[2];
    graph_run run[2];
    if (!model_open(&m, job, fields, 2))
        return;
    for (int s = 0; s < 2; s++) {
        CU_ASSERT_FATAL(build(&g[s], &m, s));
        for (int i = 0; i < count; i++)
            CU_ASSERT_EQUAL(count_of(&g[s], rows[i].op), s ? rows[i].fused : rows[i].plain);
        CU_ASSERT_FATAL(graph_run_init(&run[s], &g[s]) && graph_run_all(&run[s]));
    }
    CU_ASSERT(g[1].nodes < g[0].nodes);
    compare_sums(g, run);
    for (int s = 0; s < 2; s++) {
        graph_run_fini(&run[s]);
        dl_graph_fini(&g[s]);
    }
    model_close(&m);
}

static void test_mlp(void) {
    static const expected rows[] = {{"matmul", 8, 3},
                                    {"matmul_relu", 0, 2},
                                    {"matmul_relu_gradient", 0, 2},
                                    {"matmul_sums", 0, 1},
                                    {"reduce", 4, 1}};
    compare(mlp, flat, rows, DL_COUNT(rows));
}

static void test_convnet(void) {
    static const expected rows[] = {{"conv", 3, 3},
                                    {"conv_weight_gradient", 3, 3},
                                    {"conv_input_gradient", 2, 0},
                                    {"conv_relu_gradient", 0, 2},
                                    {"relu_gradient", 0, 1},
                                    {"matmul_sums", 0, 1},
                                    {"reduce", 5, 1}};
    compare(convnet, images, rows, DL_COUNT(rows));
}

/* What comes back to the third block is no sum of two, so that stays. */
static void test_blocks(void) {
    static const expected rows[] = {{"max_pool", 1, 0},
                                    {"max_pool_gradient", 1, 0},
                                    {"norm_pool", 0, 1},
                                    {"norm_pool_sums", 0, 1},
                                    {"norm_pool_input_gradient", 0, 1},
                                    {"batch_norm", 2, 0},
                                    {"batch_norm_add", 3, 1},
                                    {"batch_norm_sums", 5, 1},
                                    {"batch_norm_input_gradient", 5, 4},
                                    {"residual", 0, 2},
                                    {"residual_sums", 0, 2}};
    compare(blocks, images, rows, DL_COUNT(rows));
}

/* An evaluation has no gradient, and a plan of the CPU no fused row. */
static void test_unchanged(void) {
    char *text = NULL;
    size_t length = 0;
    model m;
    dl_graph g;
    if (!model_open(&m, mlp, flat, 2))
        return;
    dl_graph_init(&g, dl_ops(), dl_network_variables(m.network), SAMPLES, false);
    CHECK_OK(dl_network_evaluation(m.network, &g));
    CHECK_OK(dl_graph_simplify(&g));
    int nodes = g.nodes;
    uint64_t hash = dl_graph_hash(&g);
    CHECK_OK(dl_graph_fuse(&g, NULL));
    CU_ASSERT(g.nodes == nodes && dl_graph_hash(&g) == hash);
    dl_graph_fini(&g);
    dl_exec *exec = model_exec(&m, MODEL_STEP, SAMPLES);
    FILE *file = open_memstream(&text, &length);
    CU_ASSERT_FATAL(exec != NULL && file != NULL);
    dl_exec_print(exec, file);
    fclose(file);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "where(0 < x0, x1, 0)"));
    CU_ASSERT_PTR_NULL(strstr(text, "matmul_"));
    free(text);
    dl_exec_close(exec);
    model_close(&m);
}

void suite_fusions(void);
void suite_fusions(void) {
    CU_pSuite suite = CU_add_suite("fusions", NULL, NULL);
    CU_add_test(suite, "the step of a multilayer perceptron", test_mlp);
    CU_add_test(suite, "the step of a convnet", test_convnet);
    CU_add_test(suite, "the step of blocks with shortcuts", test_blocks);
    CU_add_test(suite, "what has no gradient, and plans of the CPU, stay", test_unchanged);
}
