/* What a run keeps: its folder, logs, checkpoints, model file. Rank 0 writes; every call is
 * collective and agrees, so that a full disk on one host ends all ranks with one message.
 *
 *   runs/NAME/  job.yaml log.csv metrics.jsonl tensorboard/ checkpoints/ model.h5 status.json
 *
 * See runtime/store (formats) and runtime/report (logs); launcher/state.c says what a checkpoint
 * holds. */
#ifndef DL_LAUNCHER_KEEPER_H
#define DL_LAUNCHER_KEEPER_H

#include "launcher/run.h"
#include "launcher/session.h"
#include "launcher/state.h"
#include "launcher/train.h"
#include "runtime/store/file.h"

/* The run's folder: locked while held, the resolved job inside, an earlier run moved aside with
 * fresh. DL_BAD_JOB if it was begun with another job. */
typedef struct dl_folder dl_folder;
dl_status dl_folder_claim(dl_folder **out, dl_job *job, dl_comm *comm,
                          const dl_run_options *options);
/* Writes status.json (local to rank 0) and unlocks. */
void dl_folder_release(dl_folder *folder, dl_status status, const dl_run_result *result);

typedef struct dl_keeper dl_keeper;
/* Opens logs and restores the newest checkpoint of this training, if there is one: variables and
 * progress. */
dl_status dl_keeper_open(dl_keeper **out, dl_session *session, dl_progress *progress,
                         const dl_train_options *options);
void dl_keeper_close(dl_keeper *keeper); /* NULL is allowed */

/* The newest checkpoint's weights alone, for eval and predict. DL_NO_INPUT: the run has none. */
dl_status dl_keeper_restore_weights(dl_session *session, const char *folder);

/* What this rank has to say with the next step (dl_exec_notice): a signal has come, a checkpoint is
 * due. */
float dl_keeper_notice(const dl_keeper *keeper);
/* A step has been counted; its metric sums and what all ranks said: the progress line. */
void dl_keeper_count(dl_keeper *keeper, const float *metrics, int64_t batch, float noticed);
/* Whether something is to be done behind this step, or as soon as can be. */
bool dl_keeper_is_due(const dl_keeper *keeper, int64_t step);
/* Between steps: the checkpoint, if one is due, and the stop: DL_STOPPED. */
dl_status dl_keeper_step(dl_keeper *keeper);
/* The stop between steps: a checkpoint unless this step has one, and DL_STOPPED. */
dl_status dl_keeper_stop(dl_keeper *keeper);
/* At the end of an epoch, before progress moves on: logs. */
dl_status dl_keeper_epoch(dl_keeper *keeper, const dl_values *values);
/* Once progress has moved on: the checkpoint of the epoch if one is due, and the best one. */
dl_status dl_keeper_checkpoint(dl_keeper *keeper, const dl_values *values);
/* At the end: the last checkpoint; with checkpoint.best, the best weights in its place. */
dl_status dl_keeper_last(dl_keeper *keeper);
/* Whether the job asks for the best epoch's weights at the end. */
bool dl_keeper_wants_best(const dl_node *job);
/* A line between those of the progress. */
void dl_keeper_say(dl_keeper *keeper, const char *text);
/* model.h5, and of one of several trainings its result. */
dl_status dl_keeper_finish(dl_keeper *keeper, const dl_train_result *result);

#endif
