/* The report: receives named values at steps and epochs, and tells the world.
 *
 *   log.csv        Keras's CSVLogger: epoch (from 0), then the metric names, sorted; CRLF
 *   metrics.jsonl  one JSON object a line: epoch, step, time, values; NaN and Inf as strings
 *   tensorboard/train, tensorboard/validation   scalar events with Keras's tags (epoch_loss, ...)
 *   a progress line on a terminal; in a log one line an epoch and at most one every 30 s within
 *
 * Rank 0 has one; on the other ranks the report is NULL, and every function takes NULL and does
 * nothing. Owned by one thread. A step allocates nothing and formats only what is due to be shown.
 * Everything is flushed to the files at the end of an epoch; a failed write is DL_NO_WRITE. */
#ifndef DL_REPORT_REPORT_H
#define DL_REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/base/status.h"

typedef struct dl_report_value {
    const char *name; /* "loss", "val_accuracy", "learning_rate"; must outlive the report */
    double value;
    double count; /* samples that a step's value is the mean of: its weight in the epoch's mean */
} dl_report_value;

typedef struct dl_report_options {
    const char *folder;      /* the run folder, which is there; NULL: no files */
    FILE *out;               /* progress; NULL: none */
    int64_t epochs;          /* 0: unknown */
    int64_t steps_per_epoch; /* 0: unknown */
    /* Where a resumed run goes on: epochs that are complete, steps that are done. Later lines of
     * the files, which a run that died wrote, are cut off. 0 and 0: a new run. */
    int64_t first_epoch, first_step;
} dl_report_options;

typedef struct dl_report dl_report;

dl_status dl_report_open(dl_report **out, const dl_report_options *options);
void dl_report_close(dl_report *report); /* NULL is allowed */

/* Epoch `epoch` (from 0) begins, with `done` of its steps behind it (after a resume). */
dl_status dl_report_begin(dl_report *report, int64_t epoch, int64_t done);
/* A step of `samples` samples is done; values of this step alone (count 0: nothing to show). */
dl_status dl_report_step(dl_report *report, double samples, const dl_report_value *values,
                         int count);
/* The epoch is done; `values` are those of the whole epoch (train, then val_..., learning_rate);
 * `step` counts from the start of the run. */
dl_status dl_report_epoch(dl_report *report, int64_t epoch, int64_t step,
                          const dl_report_value *values, int count);
/* A line of text between the others (warnings, a checkpoint saved). */
dl_status dl_report_line(dl_report *report, const char *text);

#endif
