/* See watch.h. */
#include "launcher/watch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static dl_status check_monitor(const dl_session *session, const dl_node *monitor) {
    const dl_network *network = session->network;
    bool validates = dl_data_samples(session->data, DL_PART_VALIDATION) > 0;
    const char *names[DL_MAX_VALUES];
    int count = 0;
    const char *wanted = monitor->text,
               *bare = strncmp(wanted, "val_", 4) == 0 ? wanted + 4 : wanted;
    for (int i = 0; i < dl_network_metric_count(network) && count < DL_MAX_VALUES; i++) {
        const char *name = dl_network_metric_name(network, i);
        names[count++] = name;
        if (strcmp(name, bare) == 0 && (bare == wanted || validates))
            return DL_OK;
        if (strcmp(name, bare) == 0)
            return dl_fail_at(monitor, DL_BAD_JOB,
                              "'%s' is never logged: data has no validation part; add one, for "
                              "example validation: {random: 0.1}, or use %s",
                              wanted, bare);
    }
    if (strcmp(wanted, "lr") == 0)
        return DL_OK;
    char list[512] = "";
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    const char *near = dl_nearest(bare, names, count);
    return dl_fail_at(monitor, DL_BAD_JOB, "'%s' is never logged%s%s%s%s job logs %s%s", wanted,
                      near ? "; did you mean '" : "", near && bare != wanted ? "val_" : "",
                      near ? near : "", near ? "'? This" : "; this", list,
                      validates ? " and the same with val_" : "");
}

void dl_watch_names(const dl_session *session, dl_values *values) {
    const char *const prefix[] = {"", "val_"};
    int prefixes = dl_data_samples(session->data, DL_PART_VALIDATION) > 0 ? 2 : 1;
    values->count = 0;
    for (int p = 0; p < prefixes; p++)
        for (int i = 0; i < dl_network_metric_count(session->network); i++)
            dl_values_set(values, prefix[p], dl_network_metric_name(session->network, i), NAN);
    dl_values_set(values, "", "lr", NAN);
}

/* What stop_when sees: the values, then epochs finished and steps made. NULL: is it readable? */
static dl_status stops(const dl_node *job, const dl_node *item, const dl_values *values,
                       const dl_progress *progress, bool *stop) {
    const char *names[DL_MAX_VALUES + 2];
    double numbers[DL_MAX_VALUES + 2];
    int count = values->count;
    for (int i = 0; i < count; i++) {
        names[i] = values->name[i];
        numbers[i] = values->value[i];
    }
    names[count] = "epoch";
    names[count + 1] = "step";
    numbers[count] = progress ? (double)progress->epoch + 1 : 0;
    numbers[count + 1] = progress ? (double)progress->step : 0;
    return dl_stop_when(item, dl_given(job, "constants"), names, numbers, count + 2, stop);
}

static dl_status check_condition(const dl_session *session, const dl_node *item) {
    dl_values values;
    dl_watch_names(session, &values);
    return stops(session->job, item, &values, NULL, NULL);
}

dl_status dl_watch_check(const dl_session *session) {
    int count = 0;
    for (DL_EACH(item, dl_get(session->job, "callbacks"))) {
        if (++count > DL_MAX_CALLBACKS)
            return dl_fail_at(item, DL_BAD_JOB, "more than %d callbacks", DL_MAX_CALLBACKS);
        const dl_node *monitor = dl_given(item, "monitor");
        if (monitor)
            DL_TRY(check_monitor(session, monitor));
        if (item->word->impl == dl_stop_when_row)
            DL_TRY(check_condition(session, item));
    }
    const dl_node *best = dl_given(dl_get(session->job, "checkpoint"), "best");
    return best && strcmp(best->text, "none") != 0 ? check_monitor(session, best) : DL_OK;
}

dl_status dl_watch_epoch(const dl_node *job, const dl_values *values, dl_progress *progress) {
    int index = 0;
    progress->best_now = false;
    for (DL_EACH(item, dl_get(job, "callbacks"))) {
        dl_callback_state *state = &progress->callback[index++];
        bool best = false, stop = false;
        if (item->word->impl == dl_stop_when_row) {
            DL_TRY(stops(job, item, values, progress, &stop));
            progress->finished |= stop;
            continue;
        }
        double value = dl_values_get(values, dl_text(item, "monitor"));
        if (item->word->impl == dl_early_stopping_row) {
            bool restores = dl_bool(item, "restore_best_weights");
            stop = dl_early_stopping(item, state, progress->epoch, value, &best);
            progress->finished |= stop;
            progress->restores |= stop && restores;
            progress->best_now |= best && restores;
        } else if (item->word->impl == dl_reduce_on_plateau_row)
            progress->learning_rate =
                dl_reduce_on_plateau(item, state, progress->epoch, value, progress->learning_rate);
    }
    return DL_OK;
}
