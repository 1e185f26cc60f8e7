/* The rows on oneDNN inside programs: weights packed once per update and shared by shards that run
 * side by side give the bits of shards one after another, follow the variables, and a run allocates
 * nothing. */
#include <CUnit/Basic.h>
#include <string.h>

#include "comm/single.h"
#include "ops/ops.h"
#include "runtime/exec/exec.h"
#include "tests/unit/check.h"

enum { BATCH = 7, SIDE = 6, CHANNELS = 2, CLASSES = 5 };
static const int64_t out_count = BATCH * CLASSES;

typedef struct program {
    dl_variables variables;
    bool as_inputs; /* weights come as inputs: never packed */
} program;

static const dl_variable weights[] = {
    {.name = "conv/kernel", .type = {DL_F32, 4, {20, 3, 3, CHANNELS}}},
    {.name = "conv/bias", .type = {DL_F32, 1, {20}}},
    {.name = "dense/kernel", .type = {DL_F32, 2, {CLASSES, 3 * 3 * 20}}},
};

static dl_value weight(const program *made, dl_graph *graph, int i) {
    if (made->as_inputs)
        return dl_graph_input(graph, weights[i].name, weights[i].type, true);
    return dl_graph_variable(graph, dl_variables_find(&made->variables, weights[i].name));
}

/* conv2d 3x3 same relu, max_pooling2d, dense. */
static dl_status build(void *argument, dl_graph *graph) {
    const program *made = argument;
    dl_type input = DL_TYPE(DL_F32, graph->samples, SIDE, SIDE, CHANNELS);
    dl_conv_attributes conv = {2, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1, DL_EPILOGUE_RELU};
    dl_pool_attributes pool = {2, false, {2, 2}, {2, 2}, {0, 0}, {0, 0}};
    dl_matmul_attributes dense = {.transpose_b = true};
    graph->scope = "net";
    dl_value x = dl_graph_input(graph, "x", input, false);
    x = dl_conv(graph, x, weight(made, graph, 0), weight(made, graph, 1), &conv);
    x = dl_pool(graph, x, &pool);
    x = dl_reshape(graph, x, DL_TYPE(DL_F32, graph->samples, 3 * 3 * 20));
    x = dl_matmul(graph, x, weight(made, graph, 2), -1, &dense);
    dl_graph_output_add(graph, "y", x);
    return dl_graph_status(graph);
}

static void fill(float *data, int64_t count, uint32_t stream) {
    for (int64_t e = 0; e < count; e++)
        data[e] = 2 * dl_unit_float(dl_random_word(5, stream, 0, 0, (uint32_t)e)) - 1;
}

static bool make_variables(program *made) {
    dl_variables_init(&made->variables);
    for (int i = 0; i < DL_COUNT(weights); i++) {
        dl_variable like = weights[i], *variable;
        like.layer = "net";
        like.slab = DL_SLAB_PARAMETER;
        for (int a = 0; a < DL_MAX_RANK; a++)
            like.keras_order[a] = a;
        if (!CHECK_OK(dl_variables_want(&made->variables, &like, &variable)))
            return false;
    }
    dl_variables_layout(&made->variables, 0, 0);
    return CHECK_OK(dl_variables_allocate(&made->variables));
}

static void set_weights(program *made, uint32_t stream) {
    for (int i = 0; i < DL_COUNT(weights); i++)
        fill(dl_variable_data(&made->variables,
                              dl_variables_find(&made->variables, weights[i].name)),
             dl_type_count(&weights[i].type), stream + (uint32_t)i);
    made->variables.version++;
}

/* Outputs for two sets of weights, one after the other. */
static void run(bool as_inputs, dl_team_form form, int threads, int leaves, float *first,
                float *second) {
    static float x[BATCH * SIDE * SIDE * CHANNELS];
    program made = {.as_inputs = as_inputs};
    const dl_random random = {.seed = 1};
    dl_team *team = NULL;
    dl_comm *comm = NULL;
    dl_exec *exec = NULL;
    fill(x, DL_COUNT(x), 9);
    bool ready = make_variables(&made) && CHECK_OK(dl_team_open(&team, form, threads)) &&
                 CHECK_OK(dl_single_open(&comm));
    dl_exec_options options = {.name = "net",
                               .ops = dl_ops(),
                               .variables = &made.variables,
                               .comm = comm,
                               .team = team,
                               .leaves = leaves,
                               .memory = DL_MEMORY_POISONED,
                               .build = build,
                               .argument = &made};
    ready = ready && CHECK_OK(dl_exec_open(&exec, &options)) &&
            CHECK_OK(dl_exec_prepare(exec, BATCH)) && CHECK_OK(dl_exec_connect(exec));
    if (ready) {
        dl_exec_bind_input(exec, dl_exec_input(exec, "x"), x);
        for (int i = 0; as_inputs && i < DL_COUNT(weights); i++)
            dl_exec_bind_input(
                exec, dl_exec_input(exec, weights[i].name),
                dl_variable_data(&made.variables,
                                 dl_variables_find(&made.variables, weights[i].name)));
        set_weights(&made, 100);
        dl_exec_bind_output(exec, dl_exec_output(exec, "y"), first);
        CHECK_OK(dl_exec_run(exec, BATCH, &random));
        set_weights(&made, 200);
        dl_exec_bind_output(exec, dl_exec_output(exec, "y"), second);
        uint64_t allocations = dl_alloc_count();
        CHECK_OK(dl_exec_run(exec, BATCH, &random));
        CU_ASSERT_EQUAL(dl_alloc_count(), allocations);
        dl_exec_report report;
        dl_exec_describe(exec, &report);
        CU_ASSERT_EQUAL(report.packed > 0, !as_inputs);
    }
    dl_exec_close(exec);
    if (comm)
        dl_comm_close(comm);
    dl_team_close(team);
    dl_variables_fini(&made.variables);
}

static void test_packed(void) {
    float plain[2][BATCH * CLASSES], packed[2][BATCH * CLASSES];
    run(true, DL_TEAM_LONE, 1, 1, plain[0], plain[1]);
    CU_ASSERT_NOT_EQUAL(memcmp(plain[0], plain[1], sizeof plain[0]), 0);
    for (int leaves = 1; leaves <= 4; leaves += 3)
        for (int threads = 1; threads <= 2; threads++) {
            run(false, DL_TEAM_LONE, threads, leaves, packed[0], packed[1]);
            CHECK_CLOSE(packed[0], plain[0], out_count, 1e-4, 1e-5);
            CHECK_CLOSE(packed[1], plain[1], out_count, 1e-4, 1e-5);
        }
}

static void test_side_by_side(void) {
    float alone[2][BATCH * CLASSES], side[2][BATCH * CLASSES];
    run(false, DL_TEAM_LONE, 1, 4, alone[0], alone[1]);
    for (int threads = 1; threads <= 3; threads++) {
        run(false, DL_TEAM_SIDE, threads, 4, side[0], side[1]);
        CHECK_BITS(side[0], alone[0], out_count);
        CHECK_BITS(side[1], alone[1], out_count);
    }
}

void suite_ops_exec(void);
void suite_ops_exec(void) {
    CU_pSuite suite = CU_add_suite("ops_exec", NULL, NULL);
    CU_add_test(suite, "packed weights follow the variables", test_packed);
    CU_add_test(suite, "shards side by side give the same bits", test_side_by_side);
}
