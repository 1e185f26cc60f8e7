/* The story of a training, top to bottom: programs are opened, the state begins anew or is resumed,
 * then epoch after epoch: steps, validation, callbacks, reports, checkpoints; at the end the
 * evaluation and the model file. What must survive a stop is all in `progress` (launcher/state.c
 * saves and restores it). */
#include "launcher/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "launcher/batches.h"
#include "launcher/evaluation.h"
#include "launcher/keeper.h"
#include "launcher/state.h"
#include "launcher/watch.h"
#include "runtime/base/clock.h"
#include "runtime/base/hash.h"

_Static_assert((int)DL_MAX_LAST == (int)DL_MAX_VALUES, "an epoch's values are kept whole");

typedef struct trainer {
    dl_session *session;
    const dl_train_options *options;
    dl_exec *step;
    dl_batches batches;
    dl_evaluation *validation;
    dl_progress progress;
    dl_keeper *keeper; /* checkpoints and files of the run; rank 0 writes */
    int metrics_output;
    double *metric_values;
    dl_values values; /* of the epoch */
    double started, trained_samples;
} trainer;

static dl_status open_programs(trainer *t) {
    dl_session *s = t->session;
    int64_t samples = dl_data_samples(s->data, DL_PART_TRAIN);
    int64_t batch = s->batch_size < samples ? s->batch_size : samples;
    DL_TRY(dl_session_program(s, "step", dl_network_step, true, DL_PART_TRAIN, batch,
                              samples % batch, &t->step));
    t->metrics_output = dl_exec_output(t->step, "metrics");
    dl_batches_options options = {
        .part = DL_PART_TRAIN, .batch = batch, .first_step = t->progress.step};
    DL_TRY(dl_batches_open(&t->batches, s, t->step, &options));
    if (dl_data_samples(s->data, DL_PART_VALIDATION) > 0)
        DL_TRY(dl_evaluation_open(&t->validation, s, DL_PART_VALIDATION));
    return DL_OK;
}

/* Memory, initial weights, and the checkpoint on top of them if there is one. */
static dl_status begin_or_resume(trainer *t) {
    dl_session *s = t->session;
    DL_TRY(dl_session_allocate(s));
    dl_status status = dl_progress_init(&t->progress, dl_network_sum_count(s->network));
    DL_TRY(dl_comm_agree(s->comm, status));
    t->progress.learning_rate = dl_network_base_learning_rate(s->network);
    return dl_keeper_open(&t->keeper, s, &t->progress, t->options);
}

static double learning_rate(const trainer *t, int64_t step) {
    return dl_network_learning_rate(t->session->network, step, t->session->steps,
                                    t->progress.learning_rate);
}

static dl_status loss_is_finite(const trainer *t, const float *metrics) {
    if (isfinite(metrics[0]))
        return DL_OK;
    return dl_fail(DL_FAILED,
                   "the loss is %s at step %" PRId64 " (epoch %" PRId64
                   "); lower the learning rate (it was %g), clip gradients (clipnorm: 1), or look "
                   "for such values in the data",
                   isnan(metrics[0]) ? "NaN" : "infinite", t->progress.step + 1,
                   t->progress.epoch + 1, (double)(float)learning_rate(t, t->progress.step));
}

/* One batch: forward, backward, update. A device may still work at some before it. */
static dl_status begin_step(trainer *t, int64_t step) {
    t->batches.step = (float)(step + 1);
    t->batches.learning_rate = (float)learning_rate(t, step);
    dl_exec_notice(t->step, dl_keeper_notice(t->keeper));
    return dl_batches_begin(&t->batches);
}

/* All ranks see the same metrics, so they decide alike. */
static dl_status count_step(trainer *t, int64_t batch) {
    dl_progress *p = &t->progress;
    const float *metrics = dl_exec_result(t->step, t->metrics_output);
    DL_TRY(loss_is_finite(t, metrics));
    for (int i = 0; i < p->sum_count; i++)
        p->sums[i] += (double)metrics[i];
    p->samples += (double)batch;
    t->trained_samples += (double)batch;
    p->step++;
    p->step_in_epoch++;
    dl_keeper_count(t->keeper, metrics, batch, dl_exec_noticed(t->step));
    return DL_OK;
}

/* Begins a step and counts those that are through. Where something is to be kept or the epoch ends,
 * nothing may be under way: progress and weights must be of one step. */
static dl_status train_step(trainer *t, bool last) {
    int64_t step = t->progress.step + dl_exec_under_way(t->step), batch;
    DL_TRY(begin_step(t, step));
    for (;;) {
        bool all = last || dl_keeper_is_due(t->keeper, step + 1);
        DL_TRY(dl_exec_collect(t->step, all, &batch));
        if (batch == 0)
            return all ? dl_keeper_step(t->keeper) : DL_OK;
        DL_TRY(count_step(t, batch));
    }
}

static dl_status train_epoch(trainer *t) {
    const dl_session *s = t->session;
    int64_t left = s->steps_per_epoch - t->progress.step_in_epoch;
    if (left > s->steps - t->progress.step)
        left = s->steps - t->progress.step;
    for (; left > 0; left--)
        DL_TRY(train_step(t, left == 1));
    return DL_OK;
}

/* Names of what an epoch logs, with the values of the last one, which a run that is finished has
 * from its checkpoint. */
static void recall_epoch(trainer *t) {
    dl_watch_names(t->session, &t->values);
    if (t->values.count == t->progress.last_count)
        memcpy(t->values.value, t->progress.last, sizeof t->progress.last);
    else
        t->values.count = 0; /* no epoch yet */
}

/* The epoch's values: training means, then val_ ones. */
static dl_status value_epoch(trainer *t) {
    const dl_network *network = t->session->network;
    t->values.count = 0;
    dl_network_metric_values(network, t->progress.sums, t->progress.samples, t->metric_values);
    for (int i = 0; i < dl_network_metric_count(network); i++)
        dl_values_set(&t->values, "", dl_network_metric_name(network, i), t->metric_values[i]);
    if (t->validation) {
        dl_status status = dl_evaluation_run(t->validation, "val_", &t->values);
        DL_TRY(status == DL_STOPPED ? dl_keeper_stop(t->keeper) : status);
    }
    dl_values_set(&t->values, "", "lr", learning_rate(t, t->progress.step - 1));
    t->progress.last_count = t->values.count;
    memcpy(t->progress.last, t->values.value, sizeof t->progress.last);
    return DL_OK;
}

/* Moves on to the next epoch; the checkpoint that follows begins there. */
static dl_status close_epoch(trainer *t) {
    dl_progress *p = &t->progress;
    DL_TRY(dl_watch_epoch(t->session->job, &t->values, p));
    DL_TRY(dl_keeper_epoch(t->keeper, &t->values));
    p->epoch++;
    p->step_in_epoch = 0;
    p->samples = 0;
    memset(p->sums, 0, sizeof *p->sums * (size_t)p->sum_count);
    return dl_keeper_checkpoint(t->keeper, &t->values);
}

static dl_status train_epochs(trainer *t) {
    while (t->progress.epoch < t->session->epochs && !t->progress.finished) {
        DL_TRY(train_epoch(t));
        DL_TRY(value_epoch(t));
        DL_TRY(close_epoch(t));
    }
    return DL_OK;
}

static uint64_t hash_weights(const dl_variables *variables) {
    uint64_t hash = 0;
    for (int i = DL_SLAB_PARAMETER; i <= DL_SLAB_STATE; i++)
        hash = dl_hash(variables->slab[i], sizeof(float) * (size_t)variables->length[i], hash);
    return hash;
}

static dl_status measure_initial(trainer *t) {
    dl_values values = {.count = 0};
    char text[1024], line[1100];
    DL_TRY(dl_evaluate_parts(t->session, &values));
    snprintf(line, sizeof line, "before training: %s",
             dl_values_text(&values, NULL, text, sizeof text));
    dl_keeper_say(t->keeper, line);
    return DL_OK;
}

static dl_status finish(trainer *t, dl_train_result *result) {
    dl_session *s = t->session;
    double seconds = dl_seconds() - t->started;
    DL_TRY(dl_keeper_last(t->keeper)); /* with checkpoint.best: the best weights take the place */
    DL_TRY(dl_evaluate_parts(s, &t->values));
    result->final = t->values;
    result->samples_per_second = seconds > 0 ? t->trained_samples / seconds : 0;
    DL_TRY(dl_session_fetch(s));
    result->weights = hash_weights(dl_network_variables(s->network));
    return dl_keeper_finish(t->keeper, result);
}

static void close_trainer(trainer *t) {
    dl_evaluation_close(t->validation);
    dl_batches_close(&t->batches);
    dl_exec_close(t->step);
    dl_keeper_close(t->keeper);
    dl_progress_fini(&t->progress);
    dl_free(t->metric_values);
}

static dl_status train(trainer *t, dl_train_result *result) {
    dl_session *s = t->session;
    t->metric_values = dl_alloc(sizeof(double) * (size_t)(dl_network_metric_count(s->network) + 1));
    dl_status status = t->metric_values ? DL_OK : dl_fail_memory(64);
    DL_TRY(dl_comm_agree(s->comm, status));
    DL_TRY(begin_or_resume(t));
    if (s->epochs > 0)
        DL_TRY(open_programs(t));
    if (dl_bool(dl_get(s->job, "evaluate"), "before_training") && t->progress.step == 0)
        DL_TRY(measure_initial(t));
    recall_epoch(t);
    t->started = dl_seconds();
    DL_TRY(train_epochs(t));
    return finish(t, result);
}

dl_status dl_train(dl_session *session, const dl_train_options *options, dl_train_result *result) {
    trainer t;
    memset(&t, 0, sizeof t);
    memset(result, 0, sizeof *result);
    t.session = session;
    t.options = options;
    dl_status status = train(&t, result);
    result->epochs = t.progress.epoch; /* also of a training that failed or was stopped */
    result->steps = t.progress.step;
    close_trainer(&t);
    return status;
}
