/* Checkpoints of a training: saving, restoring, when one is due. See keeper.h; keeper_folder.c has
 * the run's folder and its status, keeper_logs.c what is written at the end of an epoch. */
#include "launcher/keeper.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "launcher/keeper_inner.h"
#include "launcher/kernels.h"
#include "launcher/signals.h"
#include "runtime/base/clock.h"

/* ---- what a checkpoint holds ---- */

/* Visits every tensor of a checkpoint by the name it has there, rank by rank the same: variables,
 * their optimizer slots, loose scalars. */
typedef dl_status (*tensor_fn)(void *argument, const char *name, const dl_type *type, float *data);

static dl_status each_tensor(dl_network *network, bool weights_alone, tensor_fn fn,
                             void *argument) {
    const dl_variables *v = dl_network_variables(network);
    char name[512];
    for (int i = 0; i < v->count; i++) {
        const dl_variable *variable = v->list[i];
        DL_TRY(fn(argument, variable->name, &variable->type, dl_variable_data(v, variable)));
        if (variable->slab != DL_SLAB_PARAMETER || weights_alone)
            continue;
        const char *slot;
        for (int s = 0; (slot = dl_network_slot_name(network, s)); s++) {
            snprintf(name, sizeof name, "optimizer/%s/%s", slot, variable->name);
            DL_TRY(
                fn(argument, name, &variable->type, v->slab[DL_SLAB_SLOT0 + s] + variable->offset));
        }
    }
    int64_t scalars = v->length[DL_SLAB_SCALAR];
    if (weights_alone || scalars == 0)
        return DL_OK;
    dl_type type = DL_TYPE(DL_F32, scalars);
    return fn(argument, "optimizer/scalars", &type, v->slab[DL_SLAB_SCALAR]);
}

static dl_status save_tensor(void *writer, const char *name, const dl_type *type, float *data) {
    return dl_checkpoint_tensor(writer, name, type, data);
}

static dl_status load_tensor(void *checkpoint, const char *name, const dl_type *type, float *data) {
    return dl_checkpoint_read(checkpoint, name, type, data);
}

/* Every number of progress, by name, so that saving and restoring cannot differ. */
typedef dl_status (*number_fn)(void *argument, const char *name, double *value);

static dl_status each_number(dl_progress *p, number_fn fn, void *argument) {
    char name[64];
    double finished = p->finished, restores = p->restores, best_epoch = (double)p->best_epoch,
           last = p->last_count;
    DL_TRY(fn(argument, "samples", &p->samples));
    DL_TRY(fn(argument, "learning_rate", &p->learning_rate));
    DL_TRY(fn(argument, "finished", &finished));
    DL_TRY(fn(argument, "restores", &restores));
    DL_TRY(fn(argument, "best", &p->best));
    DL_TRY(fn(argument, "best_epoch", &best_epoch));
    p->finished = finished != 0;
    p->restores = restores != 0;
    p->best_epoch = (int64_t)best_epoch;
    DL_TRY(fn(argument, "last_count", &last));
    p->last_count = last >= 0 && last <= DL_MAX_LAST ? (int)last : 0;
    for (int i = 0; i < p->last_count; i++) {
        snprintf(name, sizeof name, "last/%d", i);
        DL_TRY(fn(argument, name, &p->last[i]));
    }
    for (int i = 0; i < p->sum_count; i++) {
        snprintf(name, sizeof name, "sums/%d", i);
        DL_TRY(fn(argument, name, &p->sums[i]));
    }
    for (int i = 0; i < DL_MAX_CALLBACKS; i++) {
        dl_callback_state *c = &p->callback[i];
        double *const values[] = {&c->best, &c->best_epoch, &c->wait, &c->cooldown, &c->begun};
        for (int k = 0; k < DL_COUNT(values); k++) {
            snprintf(name, sizeof name, "callback/%d/%d", i, k);
            DL_TRY(fn(argument, name, values[k]));
        }
    }
    return DL_OK;
}

static dl_status save_number(void *writer, const char *name, double *value) {
    return dl_checkpoint_number(writer, name, *value);
}

static dl_status load_number(void *checkpoint, const char *name, double *value) {
    return dl_checkpoint_get_number(checkpoint, name, value);
}

static dl_status save_kernels(const dl_session *session, dl_checkpoint_writer *writer) {
    char *text;
    DL_TRY(dl_kernels_text(session, &text));
    dl_status status = text ? dl_checkpoint_text(writer, "kernels", text) : DL_OK;
    dl_free(text);
    return status;
}

static dl_status load_kernels(dl_session *session, const dl_checkpoint *c) {
    const char *text;
    if (!dl_checkpoint_has(c, "kernels")) /* a CPU has saved it */
        return DL_OK;
    DL_TRY(dl_checkpoint_get_text(c, "kernels", &text));
    return dl_kernels_restore(session, text, c->path);
}

static dl_status write_checkpoint(dl_keeper *k, bool best) {
    dl_progress *p = k->progress;
    dl_checkpoint_writer *writer;
    DL_TRY(dl_checkpoint_begin(&writer, k->checkpoints, p->step));
    dl_status status = each_tensor(k->session->network, false, save_tensor, writer);
    if (status == DL_OK)
        status = dl_checkpoint_int(writer, "step", p->step);
    if (status == DL_OK)
        status = dl_checkpoint_int(writer, "epoch", p->epoch);
    if (status == DL_OK)
        status = dl_checkpoint_int(writer, "step_in_epoch", p->step_in_epoch);
    if (status == DL_OK)
        status = each_number(p, save_number, writer);
    if (status == DL_OK)
        status = save_kernels(k->session, writer);
    if (status != DL_OK) {
        dl_checkpoint_abandon(writer);
        return status;
    }
    return dl_checkpoint_commit(writer, k->keep, best);
}

/* A NaN can pass a relu as 0 and stay out of the loss, but not out of the weights: such are not
 * saved. */
static dl_status weights_are_finite(const dl_keeper *k) {
    const dl_variables *v = dl_network_variables(k->session->network);
    for (int i = 0; i < v->count; i++) {
        const float *data = dl_variable_data(v, v->list[i]);
        int64_t count = dl_type_count(&v->list[i]->type);
        for (int64_t e = 0; e < count; e++)
            if (!isfinite(data[e]))
                return dl_fail(
                    DL_FAILED,
                    "'%s' holds %s after step %" PRId64
                    "; lower the learning rate, clip gradients (clipnorm: 1), or look for "
                    "such values in the data",
                    v->list[i]->name, isnan(data[e]) ? "NaN" : "an infinite value",
                    k->progress->step);
    }
    return DL_OK;
}

/* Rank 0 writes while the others wait: weights must not move meanwhile. */
static dl_status save(dl_keeper *k, bool best) {
    DL_TRY(dl_session_fetch(k->session));
    dl_status status = weights_are_finite(k); /* the same on all ranks */
    if (status == DL_OK && k->session->comm->rank == 0)
        status = write_checkpoint(k, best);
    k->saved_step = k->progress->step;
    k->saved_epoch = k->progress->epoch;
    k->saved_at = dl_seconds();
    return dl_comm_agree(k->session->comm, status);
}

/* ---- restoring: rank 0 reads, all get the same bytes ---- */

static dl_status read_checkpoint(dl_checkpoint *c, dl_session *session, dl_progress *p) {
    DL_TRY(each_tensor(session->network, p == NULL, load_tensor, c));
    DL_TRY(load_kernels(session, c));
    if (!p)
        return DL_OK;
    DL_TRY(dl_checkpoint_get_int(c, "step", &p->step));
    DL_TRY(dl_checkpoint_get_int(c, "epoch", &p->epoch));
    DL_TRY(dl_checkpoint_get_int(c, "step_in_epoch", &p->step_in_epoch));
    return each_number(p, load_number, c);
}

static dl_status spread(dl_session *session, dl_progress *p) {
    dl_comm *comm = session->comm;
    dl_variables *v = dl_network_variables(session->network);
    for (int s = 0; s < DL_SLAB_COUNT; s++)
        if (v->length[s] > 0 && !dl_slab_common(v, (dl_slab)s))
            DL_TRY(dl_comm_broadcast(comm, v->slab[s], sizeof(float) * (size_t)v->length[s], 0));
    v->version++;
    if (!p)
        return DL_OK;
    double *sums = p->sums;
    DL_TRY(dl_comm_broadcast(comm, sums, sizeof *sums * (size_t)(p->sum_count + 1), 0));
    DL_TRY(dl_comm_broadcast(comm, p, sizeof *p, 0));
    p->sums = sums;
    return DL_OK;
}

/* The checkpoint that `find` names, into variables and (unless NULL) progress. *found on all ranks.
 */
typedef dl_status (*find_fn)(const char *folder, dl_checkpoint **out, dl_warn_fn warn, void *arg);

static void warn(void *argument, const char *text) {
    (void)argument;
    fprintf(stderr, "warning: %s\n", text);
}

static dl_status restore(dl_session *session, const char *folder, find_fn find, dl_progress *p,
                         bool *found) {
    dl_checkpoint *c = NULL;
    dl_status status = DL_OK;
    int32_t there = 0;
    DL_TRY(dl_comm_barrier(session->comm)); /* nobody reads common weights any more */
    DL_TRY(dl_session_fetch(session));      /* what is not read stays as it is */
    if (session->comm->rank == 0) {
        status = find(folder, &c, warn, NULL);
        there = c != NULL;
        if (status == DL_OK && c)
            status = read_checkpoint(c, session, p);
        dl_checkpoint_close(c);
    }
    DL_TRY(dl_comm_agree(session->comm, status));
    DL_TRY(dl_comm_broadcast(session->comm, &there, sizeof there, 0));
    *found = there != 0;
    return there ? spread(session, p) : DL_OK;
}

/* checkpoint.best: a logged value whose best epoch is the result. */
static bool names_best(const dl_node *job) {
    const char *best = dl_text(dl_get(job, "checkpoint"), "best");
    return best && strcmp(best, "none") != 0;
}

/* Whether early stopping ended the run and its best weights are the result. */
static dl_status latest_restores(dl_session *session, const char *folder, bool *restores) {
    dl_checkpoint *c = NULL;
    dl_status status = DL_OK;
    double number = 0;
    if (session->comm->rank == 0) {
        status = dl_checkpoint_latest(folder, &c, warn, NULL);
        if (status == DL_OK && c)
            status = dl_checkpoint_get_number(c, "restores", &number);
        dl_checkpoint_close(c);
    }
    DL_TRY(dl_comm_agree(session->comm, status));
    DL_TRY(dl_comm_broadcast(session->comm, &number, sizeof number, 0));
    *restores = number != 0;
    return DL_OK;
}

dl_status dl_keeper_restore_weights(dl_session *session, const char *folder) {
    char path[DL_PATH_MAX];
    bool found = false;
    DL_TRY(dl_path_join(path, folder, "checkpoints"));
    bool best = names_best(session->job);
    if (!best)
        DL_TRY(latest_restores(session, path, &best));
    if (best)
        DL_TRY(restore(session, path, dl_checkpoint_best, NULL, &found));
    if (!found)
        DL_TRY(restore(session, path, dl_checkpoint_latest, NULL, &found));
    DL_TRY(dl_kernels_open(session, folder, false));
    return found ? DL_OK
                 : dl_fail(DL_NO_INPUT, "%s has no checkpoint; train the job first", folder);
}

/* ---- when ---- */

bool dl_keeper_wants_best(const dl_node *job) {
    if (names_best(job))
        return true;
    for (DL_EACH(item, dl_get(job, "callbacks")))
        if (item->word->impl == dl_early_stopping_row && dl_bool(item, "restore_best_weights"))
            return true;
    return false;
}

static bool in_unit(const dl_node *every, const char *unit) {
    return strcmp(every->unit, unit) == 0 ||
           (strncmp(every->unit, unit, strlen(every->unit)) == 0 &&
            strlen(every->unit) + 1 == strlen(unit)); /* "1 step", "1 epoch" */
}

static bool is_time(const dl_node *every) {
    return strcmp(every->unit, "s") == 0 || strcmp(every->unit, "min") == 0;
}

/* Is one of the job's intervals of this unit, steps or epochs, over? */
static bool due(const dl_keeper *k, const char *unit, int64_t count) {
    const dl_node *every = dl_get(dl_get(k->session->job, "checkpoint"), "every");
    const dl_node *one = every->kind == DL_NODE_LIST ? every->first : every;
    for (; one; one = every->kind == DL_NODE_LIST ? one->next : NULL)
        if (in_unit(one, unit) && count % (one->number < 1 ? 1 : (int64_t)one->number) == 0)
            return true;
    return false;
}

static bool time_is_over(const dl_keeper *k) {
    const dl_node *every = dl_get(dl_get(k->session->job, "checkpoint"), "every");
    const dl_node *one = every->kind == DL_NODE_LIST ? every->first : every;
    for (; one; one = every->kind == DL_NODE_LIST ? one->next : NULL) {
        if (!is_time(one))
            continue;
        double seconds = strcmp(one->unit, "min") == 0 ? 60 * one->number : one->number;
        if (dl_seconds() - k->saved_at >= seconds)
            return true;
    }
    return false;
}

/* Above any number of ranks that stop. Every rank looks at its clock, as some may have no samples
 * and so no say; the sum is exact in float32 up to this many ranks. */
enum { NOTICE_TIME = 1 << 12 };

float dl_keeper_notice(const dl_keeper *k) {
    float notice = dl_signals_stop() ? 1.0f : 0.0f;
    if (k->timed && time_is_over(k))
        notice += NOTICE_TIME;
    return notice;
}

dl_status dl_keeper_stop(dl_keeper *k) {
    if (k->saved_step != k->progress->step)
        DL_TRY(save(k, false));
    return dl_fail(DL_STOPPED,
                   "stopped by %s after step %" PRId64 ", a checkpoint is saved; start the same "
                   "command again to go on",
                   dl_signals_stop() ? dl_signals_name() : "a signal on another rank",
                   k->progress->step);
}

void dl_keeper_count(dl_keeper *k, const float *metrics, int64_t batch, float noticed) {
    dl_keeper_show_step(k, metrics, batch);
    k->save_noticed = k->save_noticed || noticed >= NOTICE_TIME;
    k->stop_noticed = k->stop_noticed || fmodf(noticed, NOTICE_TIME) != 0.0f;
}

bool dl_keeper_is_due(const dl_keeper *k, int64_t step) {
    return k->save_noticed || k->stop_noticed || due(k, "steps", step);
}

dl_status dl_keeper_step(dl_keeper *k) {
    if (k->save_noticed || due(k, "steps", k->progress->step))
        DL_TRY(save(k, false));
    k->save_noticed = false;
    return k->stop_noticed ? dl_keeper_stop(k) : DL_OK;
}

/* Is this epoch's monitored value the best so far? Epoch counters have moved on. */
static bool is_best(dl_keeper *k, const dl_values *values) {
    dl_progress *p = k->progress;
    bool best = p->best_now;
    const char *name = dl_text(dl_get(k->session->job, "checkpoint"), "best");
    if (!name || strcmp(name, "none") == 0)
        return best;
    double value = dl_values_get(values, name);
    if (isnan(value) || (!isnan(p->best) && !(k->best_is_high ? value > p->best : value < p->best)))
        return best;
    p->best = value;
    p->best_epoch = p->epoch;
    return true;
}

dl_status dl_keeper_checkpoint(dl_keeper *k, const dl_values *values) {
    bool best = is_best(k, values);
    if (best || due(k, "epochs", k->progress->epoch))
        return save(k, best);
    return DL_OK;
}

dl_status dl_keeper_last(dl_keeper *k) {
    bool found = false;
    /* One of the last step may be from before its epoch was closed. */
    if (k->saved_step != k->progress->step || k->saved_epoch != k->progress->epoch)
        DL_TRY(save(k, false));
    /* As Keras 2.4: the best weights come back where early stopping stopped, not at the end of the
     * last epoch. */
    if (!names_best(k->session->job) && !k->progress->restores)
        return DL_OK;
    DL_TRY(restore(k->session, k->checkpoints, dl_checkpoint_best, NULL, &found));
    if (found)
        dl_keeper_say(k, "the weights of the best epoch are evaluated and saved in model.h5");
    return DL_OK;
}

/* ---- opening ---- */

static bool higher_is_better(const dl_session *session) {
    const dl_node *checkpoint = dl_get(session->job, "checkpoint");
    const char *name = dl_text(checkpoint, "best");
    if (!dl_is(checkpoint, "mode", "auto"))
        return dl_is(checkpoint, "mode", "max");
    name = strncmp(name, "val_", 4) == 0 ? name + 4 : name;
    for (int i = 0; i < dl_network_metric_count(session->network); i++)
        if (strcmp(dl_network_metric_name(session->network, i), name) == 0)
            return dl_network_metric_is_better_high(session->network, i);
    return false;
}

static bool has_times(const dl_node *job) {
    const dl_node *every = dl_get(dl_get(job, "checkpoint"), "every");
    const dl_node *one = every->kind == DL_NODE_LIST ? every->first : every;
    for (; one; one = every->kind == DL_NODE_LIST ? one->next : NULL)
        if (is_time(one))
            return true;
    return false;
}

static dl_status open_folder(dl_keeper *k, const dl_train_options *options) {
    snprintf(k->folder, sizeof k->folder, "%s", options->folder);
    DL_TRY(dl_path_join(k->checkpoints, k->folder, "checkpoints"));
    if (k->session->comm->rank != 0)
        return DL_OK;
    return dl_folder_make(k->folder, 0777);
}

dl_status dl_keeper_open(dl_keeper **out, dl_session *session, dl_progress *progress,
                         const dl_train_options *options) {
    dl_keeper *k = dl_alloc(sizeof *k);
    dl_status status = k ? DL_OK : dl_fail_memory(sizeof *k);
    if (k) {
        k->session = session;
        k->progress = progress;
        k->label = options->label;
        k->keep = (int)dl_int(dl_get(session->job, "checkpoint"), "keep");
        k->best_is_high = dl_keeper_wants_best(session->job) && higher_is_better(session);
        k->timed = has_times(session->job);
        k->saved_at = dl_seconds();
        k->saved_step = -1;
        status = open_folder(k, options);
    }
    bool found = false;
    status = dl_comm_agree(session->comm, status);
    if (status == DL_OK)
        status = restore(session, k->checkpoints, dl_checkpoint_latest, progress, &found);
    if (status == DL_OK)
        status = dl_kernels_open(session, k->folder, true);
    if (status == DL_OK && found) {
        k->saved_step = progress->step;
        k->saved_epoch = progress->epoch;
    }
    if (status == DL_OK)
        status = dl_comm_agree(session->comm, dl_keeper_open_logs(k, options, found));
    if (status != DL_OK) {
        dl_keeper_close(k);
        return status;
    }
    *out = k;
    return DL_OK;
}

void dl_keeper_close(dl_keeper *k) {
    if (!k)
        return;
    k->session->folder = NULL; /* it was the keeper's */
    dl_keeper_close_logs(k);
    dl_free(k);
}
