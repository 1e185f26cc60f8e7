/* A network's life: opened from the job, built once to find its variables, allocated, initialised;
 * and what it says of itself: layers, metrics, learning rate. See network.h; programs.c builds
 * graphs. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/initializers.h"
#include "models/loss_scale.h"
#include "models/network_inner.h"
#include "models/regularizers.h"

void dl_network_warn(dl_network *network, const dl_node *at, const char *format, ...) {
    char text[DL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (network->warnings == DL_MAX_WARNINGS)
        return;
    const char *warning = at->file ? dl_arena_format(&network->arena, "%s:%d:%d: warning: %s",
                                                     at->file, at->line, at->column, text)
                                   : dl_arena_format(&network->arena, "warning: %s", text);
    for (int i = 0; warning && i < network->warnings; i++)
        if (strcmp(network->warning[i], warning) == 0)
            return; /* a program is built for several batch sizes */
    if (warning)
        network->warning[network->warnings++] = warning;
}

/* Classes are numbered from 0; `balanced` is n / (classes * count of the class), as scikit-learn
 * has it. */
static dl_status read_class_weight(dl_network *network) {
    const dl_node *node = dl_given(network->job, "class_weight");
    if (!node || (node->kind == DL_NODE_SCALAR && strcmp(node->text, "none") == 0))
        return DL_OK;
    const dl_objective *objective = &network->objective;
    if (objective->terms != 1 || objective->term[0].target < 0)
        return dl_fail_at(node, DL_BAD_JOB,
                          "class_weight needs one loss with a field as its target");
    const dl_field *field = &network->wiring.field[objective->term[0].target];
    int classes = field->classes;
    if (classes == 0 && field->type.rank == 1 && field->type.dim[0] > 1)
        classes = (int)field->type.dim[0]; /* one-hot rows */
    for (DL_EACH(weight, node->kind == DL_NODE_MAP ? node : NULL)) {
        char *end;
        long class = strtol(weight->key, &end, 10);
        if (*end || class < 0 || class > 1000000)
            return dl_fail_at(weight, DL_BAD_JOB,
                              "class_weight: '%s' is no class; classes are 0, 1, ...", weight->key);
        if (classes == 0 && class > 1)
            return dl_fail_at(
                weight, DL_BAD_JOB,
                "class_weight: the target '%s' is no label, so its classes are 0 and 1",
                field->name);
        if (classes > 0 && class >= classes)
            return dl_fail_at(weight, DL_BAD_JOB, "class_weight: there are %d classes, from 0",
                              classes);
    }
    network->classes = classes ? classes : 2;
    network->class_weights = DL_NEW_N(&network->arena, float, network->classes);
    if (!network->class_weights)
        return dl_fail_memory(sizeof(float) * (size_t)network->classes);
    for (int i = 0; i < network->classes; i++)
        network->class_weights[i] = 1;
    if (node->kind == DL_NODE_MAP) {
        for (DL_EACH(weight, node))
            network->class_weights[strtol(weight->key, NULL, 10)] = (float)weight->number;
    } else {
        if (!field->class_count || field->classes == 0)
            return dl_fail_at(node, DL_BAD_JOB,
                              "class_weight: balanced needs labels; '%s' has no classes to count",
                              field->name);
        double total = 0;
        for (int i = 0; i < classes; i++)
            total += (double)field->class_count[i];
        for (int i = 0; i < classes; i++)
            if (field->class_count[i] > 0)
                network->class_weights[i] =
                    (float)(total / (classes * (double)field->class_count[i]));
    }
    /* A constant among the variables: per-class numbers that the step gathers from. */
    dl_variable like = {.name = "class_weight/table",
                        .layer = "class_weight",
                        .type = DL_TYPE(DL_F32, network->classes, 1),
                        .slab = DL_SLAB_STATE,
                        .keras_order = {0, 1}};
    return dl_variables_want(&network->variables, &like, &network->class_weight);
}

/* Whether it can be computed where the job runs is the session's to say. */
static dl_dtype read_precision(const dl_node *job) {
    const char *text = dl_get(job, "precision") ? dl_text(job, "precision") : "";
    return strcmp(text, "bf16") == 0 ? DL_BF16 : strcmp(text, "fp16") == 0 ? DL_F16 : DL_F32;
}

static dl_statistics read_statistics(const dl_node *job) {
    const char *text = dl_get(job, "batch_statistics") ? dl_text(job, "batch_statistics") : NULL;
    return text && strcmp(text, "shard") == 0  ? DL_STATISTICS_SHARD
           : text && strcmp(text, "rank") == 0 ? DL_STATISTICS_RANK
                                               : DL_STATISTICS_GLOBAL;
}

/* Two samples, so that no dimension is 1 by chance. */
static dl_status discover(dl_network *network) {
    dl_graph graph;
    dl_graph_init(&graph, network->ops, &network->variables, 2, true);
    network->discovering = true;
    dl_status status = dl_network_discover(network, &graph);
    network->discovering = false;
    dl_graph_fini(&graph);
    if (status != DL_OK)
        return status;
    for (int i = 0; i < network->variables.count; i++)
        if (network->variables.list[i]->regularizer)
            network->penalties = true;
    return DL_OK;
}

/* Lays the variables out with the optimizer's state. */
static dl_status open_optimizer(dl_network *network) {
    dl_update_form form = {.expression = NULL};
    if (network->optimizer) {
        const dl_node *constants = dl_given(network->job, "constants");
        DL_TRY(dl_update_expression_check(network->optimizer, constants, network->ops));
        DL_TRY(dl_schedule_open(&network->schedule, &network->arena,
                                dl_given(network->optimizer, "schedule"), constants));
        form = dl_optimizer_form(network->optimizer);
    }
    int states = dl_update_states(&form);
    if (network->optimizer && network->precision == DL_F16)
        states += DL_LOSS_SCALE_STATES;
    dl_variables_layout(&network->variables, dl_update_slots(&form), states);
    return DL_OK;
}

dl_status dl_network_open(dl_network **out, const dl_node *job, const dl_field *fields,
                          int field_count, const dl_op_table *ops) {
    dl_status status;
    dl_network *network = dl_alloc(sizeof *network);
    *out = NULL;
    if (!network)
        return dl_fail_memory(sizeof *network);
    dl_variables_init(&network->variables);
    for (int i = 0; i < field_count; i++)
        if (fields[i].type.rank >= DL_MAX_RANK) {
            status =
                dl_fail_at(job, DL_BAD_JOB, "field '%s' has %d dimensions; at most %d can be used",
                           fields[i].name, fields[i].type.rank, DL_MAX_RANK - 1);
            goto fail;
        }
    network->job = job;
    network->ops = ops;
    network->steps_per_epoch = 1;
    network->optimizer = dl_given(job, "optimizer");
    network->statistics = read_statistics(job);
    network->precision = network->variables.half = read_precision(job);
    DL_GOTO(fail, dl_wiring_open(&network->wiring, &network->arena, job, fields, field_count));
    DL_GOTO(fail, dl_network_list_keras_layers(network));
    DL_GOTO(fail, dl_objective_open(&network->objective, &network->arena, job, &network->wiring));
    DL_GOTO(fail, read_class_weight(network));
    DL_GOTO(fail, discover(network));
    DL_GOTO(fail, open_optimizer(network));
    *out = network;
    return DL_OK;
fail:
    dl_network_close(network);
    return status;
}

bool dl_network_trains(const dl_network *network) {
    return network->objective.terms > 0 && network->optimizer;
}

void dl_network_close(dl_network *network) {
    if (!network)
        return;
    dl_variables_fini(&network->variables);
    dl_arena_free(&network->arena);
    dl_free(network);
}

dl_variables *dl_network_variables(dl_network *network) {
    return &network->variables;
}

dl_status dl_network_allocate(dl_network *network) {
    return dl_variables_allocate(&network->variables);
}

dl_status dl_network_initialize(dl_network *network, uint64_t seed) {
    dl_variables *variables = &network->variables;
    for (int i = 0; i < variables->count; i++) {
        const dl_variable *v = variables->list[i];
        float *data = dl_variable_data(variables, v);
        if (!dl_variables_fills(variables, v))
            continue;
        if (v == network->class_weight)
            memcpy(data, network->class_weights, sizeof(float) * (size_t)network->classes);
        else
            DL_TRY(dl_initial_values(v, seed, data));
    }
    dl_network_reset_optimizer(network);
    return DL_OK;
}

void dl_network_reset_optimizer(dl_network *network) {
    if (network->optimizer)
        dl_update_begin(&network->variables, network->optimizer);
    if (network->optimizer && network->precision == DL_F16)
        dl_loss_scale_begin(&network->variables, network->optimizer);
    network->variables.version++;
}

static const dl_result *output_at(const dl_network *network, int index) {
    for (int i = 0; i < network->wiring.results; i++)
        if (!network->wiring.result[i].read && index-- == 0)
            return &network->wiring.result[i];
    return NULL;
}

int dl_network_output_count(const dl_network *network) {
    int count = 0;
    while (output_at(network, count))
        count++;
    return count;
}

const char *dl_network_output_name(const dl_network *network, int index) {
    return output_at(network, index)->name;
}

dl_type dl_network_output_type(const dl_network *network, int index) {
    return network->wiring.layer[output_at(network, index)->layer].type;
}

int dl_network_sum_count(const dl_network *network) {
    return network->objective.terms + network->objective.measures + network->penalties;
}

static int term_rows(const dl_network *network) {
    return network->objective.terms > 1 ? network->objective.terms : 0;
}

int dl_network_metric_count(const dl_network *network) {
    if (network->objective.terms == 0)
        return 0;
    return 1 + term_rows(network) + network->objective.measures;
}

const char *dl_network_metric_name(const dl_network *network, int index) {
    const dl_objective *objective = &network->objective;
    if (index == 0)
        return "loss";
    if (index <= term_rows(network))
        return objective->term[index - 1].logged;
    return objective->measure[index - 1 - term_rows(network)].name;
}

bool dl_network_metric_is_better_high(const dl_network *network, int index) {
    int measure = index - 1 - term_rows(network);
    return measure >= 0 && network->objective.measure[measure].row->high;
}

void dl_network_metric_values(const dl_network *network, const double *sums, double samples,
                              double *values) {
    const dl_objective *objective = &network->objective;
    int terms = objective->terms, at = 1;
    double total = 0;
    for (int i = 0; i < terms; i++) {
        total += objective->term[i].weight * sums[i] / samples;
        if (terms > 1)
            values[at++] = sums[i] / samples;
    }
    for (int i = 0; i < objective->measures; i++) {
        double mean = sums[terms + i] / samples;
        values[at++] = objective->measure[i].row->root ? sqrt(mean) : mean;
    }
    if (network->penalties)
        total += sums[terms + objective->measures] / samples;
    values[0] = total;
}

double dl_network_learning_rate(const dl_network *network, int64_t step, int64_t total_steps,
                                double base) {
    if (!network->optimizer)
        return base;
    return dl_schedule_rate(&network->schedule, step, total_steps, network->steps_per_epoch, base);
}

const char *dl_network_slot_name(const dl_network *network, int slot) {
    dl_update_form form = {.expression = NULL};
    if (network->optimizer)
        form = dl_optimizer_form(network->optimizer);
    return slot < dl_update_slots(&form) ? form.slots[slot] : NULL;
}

double dl_network_base_learning_rate(const dl_network *network) {
    return network->optimizer ? dl_number(network->optimizer, "learning_rate") : 0;
}

void dl_network_set_steps_per_epoch(dl_network *network, int64_t steps) {
    network->steps_per_epoch = steps;
}

int dl_network_layer_count(const dl_network *network) {
    return network->wiring.layers;
}

void dl_network_layer(const dl_network *network, int index, dl_layer_info *info) {
    const dl_layer *layer = &network->wiring.layer[index];
    *info = (dl_layer_info){.name = layer->name,
                            .word = layer->node->word->name,
                            .class_name = layer->row->keras,
                            .type = layer->type,
                            .again = !layer->first_use,
                            .sources = layer->sources};
    for (int i = 0; layer->first_use && i < layer->variables; i++) {
        int64_t count = dl_type_count(&layer->variable[i]->type);
        info->parameters += count;
        info->trainable += layer->variable[i]->slab == DL_SLAB_PARAMETER ? count : 0;
    }
}

const char *dl_network_layer_source(const dl_network *network, int index, int source) {
    return dl_wiring_source_name(&network->wiring, network->wiring.layer[index].source[source]);
}

int64_t dl_network_parameter_count(const dl_network *network, bool trainable_only) {
    int64_t count = 0;
    for (int i = 0; i < network->wiring.layers; i++) {
        dl_layer_info info;
        dl_network_layer(network, i, &info);
        count += trainable_only ? info.trainable : info.parameters;
    }
    return count;
}

int dl_network_warning_count(const dl_network *network) {
    return network->warnings;
}

const char *dl_network_warning(const dl_network *network, int index) {
    return network->warning[index];
}
