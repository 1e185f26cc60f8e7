/* The report: hands each value to the sinks. See report.h and sinks.h. */
#include "runtime/report/report.h"

#include <string.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/report/sinks.h"

struct dl_report {
    bool files;
    char csv[DL_PATH_MAX], jsonl[DL_PATH_MAX];
    dl_events train, validation;
    dl_progress progress;
    double begun;
};

static dl_status open_files(dl_report *report, const dl_report_options *options) {
    char folder[DL_PATH_MAX], train[DL_PATH_MAX], validation[DL_PATH_MAX];
    DL_TRY(dl_path_join(report->csv, options->folder, "log.csv"));
    DL_TRY(dl_path_join(report->jsonl, options->folder, "metrics.jsonl"));
    DL_TRY(dl_path_join(folder, options->folder, "tensorboard"));
    DL_TRY(dl_path_join(train, folder, "train"));
    DL_TRY(dl_path_join(validation, folder, "validation"));
    DL_TRY(dl_log_csv_open(report->csv, options->first_epoch));
    DL_TRY(dl_log_jsonl_open(report->jsonl, options->first_epoch));
    dl_events_init(&report->train, train, options->first_epoch);
    dl_events_init(&report->validation, validation, options->first_epoch);
    report->files = true;
    return DL_OK;
}

dl_status dl_report_open(dl_report **out, const dl_report_options *options) {
    *out = NULL;
    dl_report *report = dl_alloc(sizeof *report);
    if (!report)
        return dl_fail_memory(sizeof *report);
    report->train.fd = report->validation.fd = -1;
    report->begun = dl_seconds();
    report->progress.out = options->out;
    report->progress.screen = dl_terminal_open(options->out);
    report->progress.terminal = report->progress.screen >= 0;
    report->progress.epochs = options->epochs;
    report->progress.steps = options->steps_per_epoch;
    dl_status status = options->folder ? open_files(report, options) : DL_OK;
    if (status != DL_OK) {
        dl_report_close(report);
        return status;
    }
    *out = report;
    return DL_OK;
}

void dl_report_close(dl_report *report) {
    if (!report)
        return;
    dl_events_close(&report->train);
    dl_events_close(&report->validation);
    if (report->progress.screen >= 0)
        close(report->progress.screen);
    dl_free(report);
}

dl_status dl_report_begin(dl_report *report, int64_t epoch, int64_t done) {
    if (report)
        dl_progress_begin(&report->progress, epoch, done);
    return DL_OK;
}

dl_status dl_report_step(dl_report *report, double samples, const dl_report_value *values,
                         int count) {
    return report ? dl_progress_step(&report->progress, samples, values, count) : DL_OK;
}

static dl_status write_events(dl_report *report, int64_t epoch, const dl_report_value *values,
                              int count) {
    double wall = dl_wall_seconds();
    for (int i = 0; i < count; i++) {
        char tag[256];
        bool validation = strncmp(values[i].name, "val_", 4) == 0;
        snprintf(tag, sizeof tag, "epoch_%s", values[i].name + (validation ? 4 : 0));
        DL_TRY(dl_events_scalar(validation ? &report->validation : &report->train, wall, epoch, tag,
                                (float)values[i].value));
    }
    return DL_OK;
}

dl_status dl_report_epoch(dl_report *report, int64_t epoch, int64_t step,
                          const dl_report_value *values, int count) {
    if (!report)
        return DL_OK;
    if (count > DL_REPORT_VALUES)
        return dl_fail(DL_INTERNAL, "an epoch has %d values, at most %d are reported", count,
                       DL_REPORT_VALUES);
    if (report->files) {
        DL_TRY(dl_log_csv_write(report->csv, epoch, values, count));
        DL_TRY(dl_log_jsonl_write(report->jsonl, epoch, step, dl_seconds() - report->begun, values,
                                  count));
        DL_TRY(write_events(report, epoch, values, count));
    }
    return dl_progress_epoch(&report->progress, values, count);
}

dl_status dl_report_line(dl_report *report, const char *text) {
    return report ? dl_progress_line(&report->progress, text) : DL_OK;
}
