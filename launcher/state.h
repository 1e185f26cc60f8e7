/* Progress of a training: all that changes from step to step besides the variables. Saved with
 * them, it makes a resumed run go on with the bits of the uninterrupted one, on any number of
 * ranks. */
#ifndef DL_LAUNCHER_STATE_H
#define DL_LAUNCHER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "models/callbacks.h"
#include "runtime/base/status.h"

enum { DL_MAX_CALLBACKS = 16, DL_MAX_LAST = 64 };

typedef struct dl_progress {
    int64_t step;          /* updates made */
    int64_t epoch;         /* epochs finished */
    int64_t step_in_epoch; /* updates made in the current one */
    double samples;        /* seen in the current epoch */
    double *sums;          /* [sum_count] of the current epoch's metrics */
    int sum_count;
    double last[DL_MAX_LAST]; /* what the last epoch logged, in its order; a finished run tells it
                                 again */
    int last_count;
    double learning_rate; /* before the schedule; a plateau may have lowered it */
    bool finished;        /* a callback has ended the training */
    bool restores;        /* ... and was early stopping with restore_best_weights */
    dl_callback_state callback[DL_MAX_CALLBACKS]; /* of the job's callbacks, in order */
    double best;                                  /* of checkpoint.best; NaN: none yet */
    int64_t best_epoch;
    bool best_now; /* the epoch just closed is early stopping's best; not saved */
} dl_progress;

dl_status dl_progress_init(dl_progress *progress, int sum_count);
void dl_progress_fini(dl_progress *progress);

#endif
