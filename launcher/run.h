/* A whole job: folds and repeats of trainings, their mean and spread. Re-entrant: nothing below
 * main.c knows the world, two runs in one process give the bits of two alone. */
#ifndef DL_LAUNCHER_RUN_H
#define DL_LAUNCHER_RUN_H

#include "launcher/job.h"
#include "launcher/train.h"

typedef struct dl_run_options {
    const char *folder; /* of the run */
    int threads;        /* of this rank */
    bool fresh;
} dl_run_options;

typedef struct dl_run_result {
    int trainings;
    dl_values mean, spread;    /* over trainings; spread: standard error of the mean, 0 for one */
    double samples_per_second; /* of the last one */
    uint64_t weights;          /* of the last one */
    int64_t epochs, steps;     /* of the last one */
} dl_run_result;

/* Collective: claims the folder, trains each repeat and fold, leaves the mean over them. */
dl_status dl_run_job(dl_job *job, dl_comm *comm, const dl_run_options *options,
                     dl_run_result *result);

#endif
