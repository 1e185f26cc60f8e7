/* Losses and metrics of a job: which output is compared with which field, and the sums that a step
 * and an evaluation leave behind. See objective.c. */
#ifndef DL_MODELS_OBJECTIVE_H
#define DL_MODELS_OBJECTIVE_H

#include <limits.h>

#include "models/compare.h"
#include "models/wiring.h"

/* An expression may do without y_pred, and without y_true. */
enum { DL_NO_OUTPUT = INT_MIN, DL_NO_TARGET = -2, DL_MADE_TARGET = -3 };

typedef struct dl_term {
    const char *name;    /* "loss" if it is the only one */
    const char *logged;  /* "NAME_loss" */
    const dl_node *node; /* item of the loss */
    int output;          /* layer; -1 - i field; DL_NO_OUTPUT */
    const char *output_name;
    int target; /* field; -1: target_number; DL_NO_TARGET; DL_MADE_TARGET: target_text */
    const dl_node *target_text;
    double target_number;
    int sample_weight; /* field; -1: none */
    double weight;     /* in the total */
    bool compares;     /* y_true with y_pred: what metrics measure too */
} dl_term;

typedef struct dl_measure {
    const char *name;
    const dl_node *node;
    int term;                  /* whose output and target it compares */
    const dl_compare_row *row; /* found by the first build */
} dl_measure;

typedef struct dl_objective {
    dl_term *term;
    int terms;
    dl_measure *measure;
    int measures;
} dl_objective;

/* Reads loss, loss_weights and metrics. No loss: no terms. */
dl_status dl_objective_open(dl_objective *objective, dl_arena *arena, const dl_node *job,
                            const dl_wiring *wiring);

#endif
