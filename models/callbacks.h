/* Logic of the callbacks that change the course of training: pure functions over a small state, so
 * that a checkpoint holds it whole. The words and their arguments are dl_callback_family. */
#ifndef DL_MODELS_CALLBACKS_H
#define DL_MODELS_CALLBACKS_H

#include "runtime/base/schema.h"

/* Plain numbers: a checkpoint stores them as they are. */
typedef struct dl_callback_state {
    double best;
    double best_epoch;
    double wait;     /* epochs without improvement */
    double cooldown; /* epochs left */
    double begun;    /* 0: nothing seen yet */
} dl_callback_state;

/* Which way is better: mode min, max, or auto (max for accuracy-like names). */
bool dl_callback_high(const dl_node *item);
/* Whether `value` is the monitored value's best so far, with min_delta. */
bool dl_callback_improves(const dl_node *item, const dl_callback_state *state, double value);

/* After an epoch (from 0). Returns true when training is to stop; *best is set when the weights of
 * this epoch are the best so far. */
bool dl_early_stopping(const dl_node *item, dl_callback_state *state, int64_t epoch, double value,
                       bool *best);
/* Returns the base learning rate for the next epoch, `rate` or less. */
double dl_reduce_on_plateau(const dl_node *item, dl_callback_state *state, int64_t epoch,
                            double value, double rate);

/* Whether a condition over so many named values holds. stop NULL: only whether it can be read; else
 * DL_BAD_JOB with its place. */
dl_status dl_stop_when(const dl_node *item, const dl_node *constants, const char *const *names,
                       const double *values, int count, bool *stop);

/* impl of their words */
extern const char dl_early_stopping_row[], dl_reduce_on_plateau_row[], dl_stop_when_row[];

#endif
