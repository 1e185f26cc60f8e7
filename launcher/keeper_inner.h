/* What the files of the keeper share. */
#ifndef DL_LAUNCHER_KEEPER_INNER_H
#define DL_LAUNCHER_KEEPER_INNER_H

#include "launcher/keeper.h"
#include "runtime/report/report.h"
#include "runtime/store/checkpoint.h"
#include "runtime/store/run_folder.h"

struct dl_keeper {
    dl_session *session;
    dl_progress *progress;
    char folder[DL_PATH_MAX], checkpoints[DL_PATH_MAX];
    int keep;
    bool best_is_high, timed;
    bool save_noticed, stop_noticed; /* some rank said so with a step that was counted */
    int64_t saved_step, saved_epoch;
    double saved_at;
    const char *label;     /* of one of several trainings; NULL: the only one */
    dl_report *report;     /* rank 0; NULL elsewhere */
    double *sums, *values; /* of one step, for the progress line */
    dl_report_value shown[DL_MAX_VALUES];
};

/* keeper_logs.c: rank 0 writes, others return at once. */
dl_status dl_keeper_open_logs(dl_keeper *k, const dl_train_options *options, bool resumed);
void dl_keeper_close_logs(dl_keeper *k);
/* The first failure of writing is kept and returned at the end of the epoch, where ranks agree. */
void dl_keeper_show_step(dl_keeper *k, const float *metrics, int64_t batch);

#endif
