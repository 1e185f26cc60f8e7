/* One training of one network: epochs, validation, callbacks, checkpoints, the final evaluation. */
#ifndef DL_LAUNCHER_TRAIN_H
#define DL_LAUNCHER_TRAIN_H

#include "launcher/session.h"

enum { DL_MAX_VALUES = 64 };

/* Logged values by name: "loss", "val_accuracy", "test_accuracy". Names live as long as the
 * network. */
typedef struct dl_values {
    int count;
    char name[DL_MAX_VALUES][48];
    double value[DL_MAX_VALUES];
} dl_values;

void dl_values_set(dl_values *values, const char *prefix, const char *name, double value);
/* NaN if there is none of this name. */
double dl_values_get(const dl_values *values, const char *name);

/* For a line of text: "test accuracy 0.9871, test loss 0.0412" (of an evaluation) or, where nothing
 * was evaluated, those of the last epoch; with " +- ERROR" after each unless `spread` is NULL. */
const char *dl_values_text(const dl_values *values, const dl_values *spread, char *text,
                           size_t size);

typedef struct dl_train_options {
    const char *folder; /* of this run; files are written by rank 0 alone */
    const char
        *label; /* "repeat-3-fold-1" before lines of one of several trainings; NULL: the only one */
    bool first; /* of the run's trainings: says what there is to say about job and data */
} dl_train_options;

typedef struct dl_train_result {
    dl_values final; /* of the last epoch and of the evaluation */
    double samples_per_second;
    int64_t epochs, steps; /* that were trained */
    uint64_t weights;      /* hash of all weights */
} dl_train_result;

/* Collective. DL_STOPPED after a signal, with a checkpoint saved. */
dl_status dl_train(dl_session *session, const dl_train_options *options, dl_train_result *result);

#endif
