/* See model.h. */
#include "tests/unit/model.h"

#include <string.h>

#include "comm/single.h"
#include "models/keys.h"
#include "models/loss_scale.h"
#include "models/optimizers.h"
#include "models/zoo.h"
#include "ops/ops.h"

/* The part of the language that models read. */
static const dl_key root_keys[] = {
    {"name", "label", "", "of the run"},
    {"models", "map of items layer", "{}", "parts"},
    {"model", "items layer", NULL, "layers"},
    {"freeze", "list of pattern", "[]", "patterns"},
    {"loss", "item loss or map of item loss", "", "loss"},
    {"loss_weights", "map of number", "", "weights"},
    {"metrics", "items metric", "[]", "metrics"},
    {"optimizer", "item optimizer", "", "optimizer"},
    {"constants", "map of number", "{}", "named numbers"},
    {"class_weight", "word none|balanced or map of number", "none", "weights of classes"},
    {"batch_statistics", "word global|shard|rank", "global", "statistics"},
    {"callbacks", "items callback", "[]", "callbacks"},
    {"precision", "word fp32|bf16|fp16", "fp32", "number format"},
    {"comm", "keys comm", "{}", "sums over ranks"},
};
static const dl_key comm_keys[] = {
    {"bucket", "quantity MiB|KiB", "25 MiB", "gradients"},
    {"first_bucket", "quantity MiB|KiB", "1 MiB", "of them, the first"},
};
static const dl_table comm = {"comm", DL_KEYS(comm_keys), NULL};
static const dl_table *const tables[] = {&comm};
static const dl_table root = {"job", DL_KEYS(root_keys), NULL};
static const dl_family *const families[] = {
    &dl_layer_family,       &dl_loss_family,       &dl_metric_family,
    &dl_optimizer_family,   &dl_schedule_family,   &dl_initializer_family,
    &dl_regularizer_family, &dl_activation_family, &dl_callback_family};
static const dl_vocabulary vocabulary = {
    &root, tables, 1, families, (int)(sizeof families / sizeof families[0]), dl_zoo_write};

dl_status model_try(model *m, const char *yaml, const dl_field *fields, int count,
                    const char *set) {
    memset(m, 0, sizeof *m);
    m->leaves = 1;
    DL_TRY(dl_vocabulary_check(&vocabulary));
    DL_TRY(
        dl_job_read_text(&m->job, "job.yaml", yaml, strlen(yaml), &vocabulary, &set, set != NULL));
    DL_TRY(dl_single_open(&m->comm));
    DL_TRY(dl_team_open(&m->team, DL_TEAM_LONE, 1));
    return dl_network_open(&m->network, dl_job_root(m->job), fields, count, dl_ops());
}

bool model_open(model *m, const char *yaml, const dl_field *fields, int count) {
    return CHECK_OK(model_try(m, yaml, fields, count, NULL)) &&
           CHECK_OK(dl_network_allocate(m->network)) &&
           CHECK_OK(dl_network_initialize(m->network, 1));
}

void model_close(model *m) {
    dl_network_close(m->network);
    dl_team_close(m->team);
    if (m->comm)
        dl_comm_close(m->comm);
    dl_job_close(m->job);
    memset(m, 0, sizeof *m);
}

dl_exec_options model_step_options(const model *m, dl_resident *resident, int leaves) {
    return (dl_exec_options){.name = "step",
                             .ops = dl_ops(),
                             .variables = dl_network_variables(m->network),
                             .comm = m->comm,
                             .team = m->team,
                             .resident = resident,
                             .leaves = leaves,
                             .training = true,
                             .build = dl_network_step,
                             .argument = m->network};
}

dl_exec *model_open_exec(const dl_exec_options *options, int64_t batch) {
    dl_exec *exec = NULL;
    if (CHECK_OK(dl_exec_open(&exec, options)) && CHECK_OK(dl_exec_prepare(exec, batch)) &&
        CHECK_OK(dl_exec_connect(exec)))
        return exec;
    dl_exec_close(exec);
    return NULL;
}

dl_exec *model_exec(model *m, model_program program, int64_t batch) {
    static const dl_build_fn build[] = {dl_network_step, dl_network_evaluation,
                                        dl_network_prediction};
    static const char *const name[] = {"step", "evaluation", "prediction"};
    dl_exec_options options = model_step_options(m, NULL, m->leaves);
    options.name = name[program];
    options.training = program == MODEL_STEP;
    options.build = build[program];
    return model_open_exec(&options, batch);
}

dl_exec *model_build(model *m, dl_build_fn build) {
    dl_exec_options options = model_step_options(m, NULL, m->leaves);
    options.name = "test";
    options.build = build;
    options.argument = m;
    return model_open_exec(&options, 1);
}

static dl_status build_update(void *argument, dl_graph *graph) {
    model *m = argument;
    const dl_node *optimizer = dl_get(dl_job_root(m->job), "optimizer");
    int64_t length = dl_network_variables(m->network)->length[DL_SLAB_PARAMETER];
    bool scaled = dl_is(dl_job_root(m->job), "precision", "fp16");
    dl_gradient_range range = {0, length,
                               dl_graph_input(graph, "gradient", DL_TYPE(DL_F32, length), true)};
    dl_loss_scale scale = {-1, -1, -1};
    if (scaled)
        scale = dl_loss_scale_open(graph, optimizer);
    dl_update_append(
        graph, optimizer, NULL, dl_graph_input(graph, "learning_rate", DL_SCALAR(DL_F32), true),
        dl_graph_input(graph, "step", DL_SCALAR(DL_F32), true), &range, 1, scaled ? &scale : NULL);
    return dl_graph_status(graph);
}

dl_exec *model_updates(model *m) {
    return model_build(m, build_update);
}

bool model_update(model *m, dl_exec *exec, const float *gradient, int step, float rate) {
    model_bind(exec, "gradient", gradient);
    return model_step(m, exec, 1, step, rate, NULL);
}

void model_bind(dl_exec *exec, const char *name, const void *memory) {
    int input = dl_exec_input(exec, name);
    if (input >= 0)
        dl_exec_bind_input(exec, input, memory);
}

void model_bind_output(dl_exec *exec, const char *name, float *memory) {
    int output = dl_exec_output(exec, name);
    CU_ASSERT(output >= 0);
    if (output >= 0)
        dl_exec_bind_output(exec, output, memory);
}

bool model_run(dl_exec *exec, int64_t batch, uint32_t step) {
    float samples = (float)batch;
    dl_random random = {.seed = 1, .step = step};
    model_bind(exec, "samples", &samples);
    return CHECK_OK(dl_exec_run(exec, batch, &random));
}

static void read_metrics(model *m, dl_exec *exec, int64_t batch, double *metrics) {
    const float *sums = dl_exec_result(exec, dl_exec_output(exec, "metrics"));
    double wide[64];
    int count = dl_network_sum_count(m->network);
    for (int i = 0; i < count && i < 64; i++)
        wide[i] = (double)sums[i];
    dl_network_metric_values(m->network, wide, (double)batch, metrics);
}

bool model_step(model *m, dl_exec *exec, int64_t batch, int step, float rate, double *metrics) {
    float number = (float)step;
    model_bind(exec, "learning_rate", &rate);
    model_bind(exec, "step", &number);
    if (!model_run(exec, batch, (uint32_t)step))
        return false;
    if (metrics)
        read_metrics(m, exec, batch, metrics);
    return true;
}

bool model_evaluate(model *m, dl_exec *exec, int64_t batch, double *metrics) {
    if (!model_run(exec, batch, 0))
        return false;
    read_metrics(m, exec, batch, metrics);
    return true;
}

float *model_weight(const model *m, const char *name) {
    const dl_variables *variables = dl_network_variables(m->network);
    const dl_variable *variable = dl_variables_find(variables, name);
    static float none[4096];
    CU_ASSERT_FATAL(variable != NULL);
    return variable ? dl_variable_data(variables, variable) : none;
}

int64_t model_weight_count(const model *m, const char *name) {
    const dl_variable *variable = dl_variables_find(dl_network_variables(m->network), name);
    return variable ? dl_type_count(&variable->type) : 0;
}
