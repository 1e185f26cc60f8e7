/* What is told and written besides checkpoints: progress and logs through runtime/report, model.h5.
 */
#include <stdio.h>
#include <string.h>

#include "launcher/keeper_inner.h"
#include "runtime/store/keras_h5.h"

static bool writes(const dl_keeper *k) {
    return k->session->comm->rank == 0;
}

static void say_hello(const dl_keeper *k, const dl_train_options *options, bool resumed) {
    const dl_session *s = k->session;
    int64_t samples = dl_data_samples(s->data, DL_PART_TRAIN);
    char text[512];
    snprintf(
        text, sizeof text,
        "%s%s%s: %lld sample%s, %lld parameters, %lld epoch%s of %lld step%s on %d rank%s x %d "
        "thread%s%s",
        dl_text(s->job, "name"), options->label ? " " : "", options->label ? options->label : "",
        (long long)samples, samples == 1 ? "" : "s",
        (long long)dl_network_parameter_count(s->network, false), (long long)s->epochs,
        s->epochs == 1 ? "" : "s", (long long)s->steps_per_epoch,
        s->steps_per_epoch == 1 ? "" : "s", s->comm->size, s->comm->size == 1 ? "" : "s",
        s->threads, s->threads == 1 ? "" : "s", s->side && s->threads > 1 ? " side by side" : "");
    dl_report_line(k->report, text);
    for (int i = 0; options->first && i < dl_data_note_count(s->data); i++)
        dl_report_line(k->report, dl_data_note(s->data, i));
    for (int i = 0; options->first && i < dl_network_warning_count(s->network); i++)
        dl_report_line(k->report, dl_network_warning(s->network, i));
    if (!resumed)
        return;
    const dl_progress *p = k->progress;
    if (p->finished || p->step >= s->steps)
        snprintf(text, sizeof text,
                 "trained already, %lld step%s; only evaluated again (--fresh trains anew)",
                 (long long)p->step, p->step == 1 ? "" : "s");
    else
        snprintf(text, sizeof text, "resumed after step %lld (epoch %lld)", (long long)p->step,
                 (long long)p->epoch + 1);
    dl_report_line(k->report, text);
}

dl_status dl_keeper_open_logs(dl_keeper *k, const dl_train_options *options, bool resumed) {
    const dl_session *s = k->session;
    k->sums = dl_alloc(sizeof *k->sums * (size_t)(dl_network_sum_count(s->network) + 1));
    k->values = dl_alloc(sizeof *k->values * (size_t)(dl_network_metric_count(s->network) + 1));
    if (!k->sums || !k->values)
        return dl_fail_memory(sizeof *k->sums);
    if (!writes(k))
        return DL_OK;
    dl_report_options report = {.folder = k->folder,
                                .out = stdout,
                                .epochs = s->epochs,
                                .steps_per_epoch = s->steps_per_epoch,
                                .first_epoch = k->progress->epoch,
                                .first_step = k->progress->step};
    DL_TRY(dl_report_open(&k->report, &report));
    say_hello(k, options, resumed);
    return dl_report_begin(k->report, k->progress->epoch, k->progress->step_in_epoch);
}

void dl_keeper_close_logs(dl_keeper *k) {
    dl_report_close(k->report);
    dl_free(k->sums);
    dl_free(k->values);
}

void dl_keeper_say(dl_keeper *k, const char *text) {
    dl_report_line(k->report, text);
}

void dl_keeper_show_step(dl_keeper *k, const float *metrics, int64_t batch) {
    if (!k->report)
        return;
    const dl_network *network = k->session->network;
    int count = dl_network_metric_count(network);
    count = count < DL_MAX_VALUES ? count : DL_MAX_VALUES;
    for (int i = 0; i < dl_network_sum_count(network); i++)
        k->sums[i] = (double)metrics[i];
    dl_network_metric_values(network, k->sums, (double)batch, k->values);
    for (int i = 0; i < count; i++)
        k->shown[i] =
            (dl_report_value){dl_network_metric_name(network, i), k->values[i], (double)batch};
    dl_report_step(k->report, (double)batch, k->shown, count);
}

static int list_values(dl_keeper *k, const dl_values *values) {
    for (int i = 0; i < values->count; i++)
        k->shown[i] = (dl_report_value){values->name[i], values->value[i], 1};
    return values->count;
}

dl_status dl_keeper_epoch(dl_keeper *k, const dl_values *values) {
    dl_status status = DL_OK;
    if (k->report) {
        int count = list_values(k, values);
        status = dl_report_epoch(k->report, k->progress->epoch, k->progress->step, k->shown, count);
        if (status == DL_OK && k->progress->epoch + 1 < k->session->epochs &&
            !k->progress->finished)
            status = dl_report_begin(k->report, k->progress->epoch + 1, 0);
    }
    return dl_comm_agree(k->session->comm, status);
}

/* ---- model.h5 ---- */

static dl_status list_layer(const dl_network *network, int index, dl_arena *arena,
                            dl_keras_layer *out) {
    const dl_variables *variables = dl_network_variables((dl_network *)(uintptr_t)network);
    int count = dl_network_keras_weight_count(network, index);
    dl_keras_weight *weight = DL_NEW_N(arena, dl_keras_weight, count + 1);
    if (!weight)
        return dl_fail_memory(sizeof *weight * (size_t)count);
    for (int i = 0; i < count; i++) {
        const dl_variable *variable = dl_network_keras_weight(network, index, i);
        weight[i].name = dl_arena_format(arena, "%s:0", variable->name);
        if (!weight[i].name)
            return dl_fail_memory(64);
        weight[i].type = variable->type;
        memcpy(weight[i].order, variable->keras_order, sizeof weight[i].order);
        weight[i].data = dl_variable_data(variables, variable);
    }
    *out = (dl_keras_layer){dl_network_keras_layer_name(network, index), weight, count};
    return DL_OK;
}

static dl_status write_model(dl_keeper *k) {
    dl_network *network = k->session->network;
    char path[DL_PATH_MAX];
    dl_arena arena = {0};
    int count = dl_network_keras_layer_count(network);
    dl_keras_layer *layer = DL_NEW_N(&arena, dl_keras_layer, count + 1);
    dl_status status = layer ? dl_path_join(path, k->folder, "model.h5")
                             : dl_fail_memory(sizeof *layer * (size_t)count);
    for (int i = 0; i < count && status == DL_OK; i++)
        status = list_layer(network, i, &arena, &layer[i]);
    if (status == DL_OK) {
        dl_keras_model model = {
            .model_config = dl_network_keras_config(network), .layer = layer, .layer_count = count};
        status = dl_keras_h5_write(path, &model);
    }
    dl_arena_free(&arena);
    return status;
}

dl_status dl_keeper_finish(dl_keeper *k, const dl_train_result *result) {
    dl_status status = DL_OK;
    if (writes(k)) {
        status = write_model(k);
        if (status == DL_OK && k->label) {
            char text[1024], line[1100];
            snprintf(line, sizeof line, "%s: %s", k->label,
                     dl_values_text(&result->final, NULL, text, sizeof text));
            dl_report_line(k->report, line);
        }
    }
    return dl_comm_agree(k->session->comm, status);
}
