/* See fault_program.h. */
#include "tests/unit/fault_program.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "ops/ops.h"
#include "runtime/base/memory.h"
#include "runtime/device/choices.h"
#include "runtime/exec/exec.h"

enum { FEATURES = 5, CHANNELS = 4, BATCH = 8, LEAVES = 2 };
enum { FIRST, SECOND, OUTPUT, WEIGHTS };

typedef struct model {
    dl_variables variables;
    const dl_variable *w[WEIGHTS];
} model;

static dl_value convolve(dl_graph *g, dl_value x, dl_value w, dl_epilogue epilogue) {
    dl_conv_attributes conv = {.spatial = 1,
                               .stride = {1},
                               .dilation = {1},
                               .before = {1},
                               .after = {1},
                               .groups = 1,
                               .epilogue = epilogue};
    return dl_conv(g, x, w, -1, &conv);
}

static dl_status build_step(void *argument, dl_graph *g) {
    const model *m = argument;
    dl_value x = dl_graph_input(g, "x", DL_TYPE(DL_F32, g->samples, FEATURES), false);
    dl_value y = dl_graph_input(g, "y", DL_TYPE(DL_I32, g->samples), false);
    dl_value rate = dl_graph_input(g, "rate", DL_SCALAR(DL_F32), true), w[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++)
        w[i] = dl_graph_variable(g, m->w[i]);
    dl_matmul_attributes plain = {.transpose_b = true};
    g->scope = "output";
    dl_value mean = dl_channel_sum(g, x, -1);
    mean = dl_sum_part(g, dl_sum_leaves(g, &mean, 1, "mean"), 0);
    dl_value centred = dl_map(g, "x0 - 0.125 * x1", (dl_value[]){x, mean}, 2);
    dl_value row = dl_reshape(g, centred, DL_TYPE(DL_F32, g->samples, FEATURES, 1));
    dl_value seen = convolve(g, row, w[FIRST], DL_EPILOGUE_RELU);
    seen = convolve(g, seen, w[SECOND], DL_EPILOGUE_NONE);
    seen = dl_reshape(g, seen, DL_TYPE(DL_F32, g->samples, FEATURES * CHANNELS));
    dl_value logits = dl_matmul(g, seen, w[OUTPUT], -1, &plain);
    dl_value loss = dl_softmax_cross_entropy(g, logits, y, 0.0f), gradient[WEIGHTS + 1];
    DL_TRY(dl_gradients(g, loss, -1, w, WEIGHTS, gradient));
    gradient[WEIGHTS] = dl_channel_sum(g, logits, -1);
    dl_value sum = dl_sum_leaves(g, gradient, WEIGHTS + 1, "gradients");
    for (int i = 0; i < WEIGHTS; i++)
        dl_graph_assign(
            g, w[i],
            dl_map(g, "x0 - x1 * x2", (dl_value[]){w[i], rate, dl_sum_part(g, sum, i)}, 3));
    dl_graph_output_add(g, "sums", dl_sum_part(g, sum, WEIGHTS));
    return dl_graph_status(g);
}

static dl_status open_model(model *m) {
    const dl_variable like[] = {
        {.name = "first", .type = DL_TYPE(DL_F32, CHANNELS, 3, 1)},
        {.name = "second", .type = DL_TYPE(DL_F32, CHANNELS, 3, CHANNELS)},
        {.name = "output", .type = DL_TYPE(DL_F32, FAULT_CLASSES, FEATURES * CHANNELS)}};
    memset(m, 0, sizeof *m);
    dl_variables_init(&m->variables);
    for (int i = 0; i < WEIGHTS; i++) {
        dl_variable *made = NULL;
        DL_TRY(dl_variables_want(&m->variables, &like[i], &made));
        m->w[i] = made;
    }
    dl_variables_layout(&m->variables, 0, 0);
    DL_TRY(dl_variables_allocate(&m->variables));
    for (uint32_t i = 0; i < (uint32_t)m->variables.length[DL_SLAB_PARAMETER]; i++)
        m->variables.slab[DL_SLAB_PARAMETER][i] =
            dl_unit_float(dl_random_word(3, 1, 0, 0, i)) - 0.5f;
    return DL_OK;
}

static float x[BATCH * FEATURES];

/* The samples of x lie on the device. */
static dl_status lend_x(dl_device *device, dl_exec *exec, void **table) {
    for (uint32_t i = 0; i < BATCH * FEATURES; i++)
        x[i] = dl_unit_float(dl_random_word(5, 0, 0, 0, i)) - 0.5f;
    if (!device)
        return DL_OK;
    DL_TRY(device->table->allocate(device, sizeof x, table));
    DL_TRY(device->table->copy(device, *table, x, sizeof x));
    dl_exec_lend_rows(exec, dl_exec_input(exec, "x"), *table);
    return DL_OK;
}

static dl_status run_all(const fault_setting *with, dl_exec *exec, const dl_comm *comm,
                         fault_outcome *out) {
    uint32_t row[BATCH];
    static int32_t y[BATCH];
    float rate;
    int64_t batch, share = BATCH / comm->size, first = share * comm->rank;
    for (int i = 0; i < BATCH; i++) {
        y[i] = i % FAULT_CLASSES;
        row[i] = (uint32_t)(first + i);
    }
    dl_exec_bind_rows(exec, row);
    dl_exec_bind_input(exec, dl_exec_input(exec, "x"), x + first * FEATURES);
    dl_exec_bind_input(exec, dl_exec_input(exec, "y"), y + first);
    dl_exec_bind_input(exec, dl_exec_input(exec, "rate"), &rate);
    int begun = 0, output = dl_exec_output(exec, "sums");
    if (with->measured)
        DL_TRY(dl_exec_measure(exec, DL_MEASURE_NODES, 0));
    do {
        rate = 0.1f * (float)(begun + 1); /* another one in every run: each reads its own */
        if (begun < FAULT_RUNS)
            DL_TRY(dl_exec_begin(exec, BATCH, &(dl_random){.step = (uint32_t)begun}));
        DL_TRY(dl_exec_collect(exec, ++begun >= FAULT_RUNS, &batch));
        if (batch > 0)
            memcpy(out->sums[out->collected++], dl_exec_result(exec, output), sizeof *out->sums);
    } while (out->collected < FAULT_RUNS);
    return DL_OK;
}

static dl_status take_weights(const dl_variables *v, fault_outcome *out) {
    int64_t count = v->length[DL_SLAB_PARAMETER];
    if (count > FAULT_WEIGHTS)
        return dl_fail(DL_INTERNAL, "the test has no room for %lld weights", (long long)count);
    memcpy(out->weights, v->slab[DL_SLAB_PARAMETER], sizeof *out->weights * (size_t)count);
    return DL_OK;
}

static dl_status with_device(const fault_setting *with, dl_comm *comm, dl_device *device,
                             dl_team *team, fault_outcome *out) {
    model m;
    dl_resident *resident = NULL;
    dl_exec *exec = NULL;
    void *table = NULL;
    dl_status status = open_model(&m);
    if (status == DL_OK && device)
        status = dl_comm_agree(comm, dl_resident_open(&resident, device, &m.variables));
    dl_exec_options options = {.name = "step",
                               .ops = dl_ops(),
                               .variables = &m.variables,
                               .comm = comm,
                               .team = team,
                               .resident = resident,
                               .leaves = LEAVES,
                               .steps_per_execution = 2, /* 1, 2 and 3 together, 4 and 5, 6 */
                               .any_ranks = with->along_tree,
                               .training = true,
                               .build = build_step,
                               .argument = &m};
    if (status == DL_OK)
        status = dl_exec_open(&exec, &options);
    if (status == DL_OK)
        status = dl_comm_agree(comm, dl_exec_prepare(exec, BATCH));
    if (status == DL_OK)
        status = dl_comm_agree(comm, lend_x(device, exec, &table));
    if (status == DL_OK)
        status = dl_exec_connect(exec);
    if (status == DL_OK)
        status = run_all(with, exec, comm, out);
    if (status == DL_OK)
        status = dl_comm_agree(comm, dl_resident_fetch(resident));
    if (status == DL_OK)
        status = take_weights(&m.variables, out);
    out->calls = with->calls();
    dl_exec_close(exec);
    if (device)
        device->table->release(device, table);
    dl_resident_close(resident);
    dl_variables_fini(&m.variables);
    return status;
}

dl_status fault_program_run(const fault_setting *with, dl_comm *comm, bool cuda,
                            fault_outcome *out) {
    dl_device *device = NULL;
    dl_team *team = NULL;
    memset(out, 0, sizeof *out);
    DL_TRY(dl_team_open(&team, DL_TEAM_LONE, 1));
    dl_status status = cuda ? dl_device_open_cuda(0, &device) : DL_OK;
    if (cuda)
        status = dl_comm_agree(comm, status);
    if (status == DL_OK && cuda)
        device->choices->timed = with->timed;
    if (status == DL_OK && cuda && with->joins)
        status = device->table->join(device, comm);
    if (status == DL_OK)
        status = with_device(with, comm, device, team, out);
    else
        out->calls = with->calls();
    dl_device_close(device);
    dl_team_close(team);
    return status;
}

/* Numbers of about one, sums of a few tens of terms in another order. */
static bool close_to(const float *a, const float *b, int count) {
    for (int i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= 64 * FLT_EPSILON))
            return false;
    return true;
}

bool fault_outcomes_close(const fault_outcome *a, const fault_outcome *b) {
    return close_to(a->sums[0], b->sums[0], FAULT_RUNS * FAULT_CLASSES) &&
           close_to(a->weights, b->weights, FAULT_WEIGHTS);
}
