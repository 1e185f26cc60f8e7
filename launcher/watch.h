/* The callbacks of a job at the end of an epoch: models/callbacks.c has their logic, progress their
 * state. */
#ifndef DL_LAUNCHER_WATCH_H
#define DL_LAUNCHER_WATCH_H

#include "launcher/session.h"
#include "launcher/state.h"
#include "launcher/train.h"

/* Every monitored value (callbacks', checkpoint.best) will be logged; else DL_BAD_JOB saying which
 * are. */
dl_status dl_watch_check(const dl_session *session);
/* Names of what an epoch logs, values NaN. */
void dl_watch_names(const dl_session *session, dl_values *values);
/* May lower progress->learning_rate or set progress->finished. */
dl_status dl_watch_epoch(const dl_node *job, const dl_values *values, dl_progress *progress);

#endif
