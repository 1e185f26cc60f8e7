/* The files and the screen that a report writes to; each sink in its own .c file. See report.h. */
#ifndef DL_REPORT_SINKS_H
#define DL_REPORT_SINKS_H

#include "runtime/report/report.h"
#include "runtime/store/file.h"

enum { DL_REPORT_VALUES = 96, DL_REPORT_LINE = 16384 };

/* log.csv: path; columns as in the header line (without "epoch"), NUL-separated. */
dl_status dl_log_csv_open(const char *path, int64_t first_epoch);
dl_status dl_log_csv_write(const char *path, int64_t epoch, const dl_report_value *values,
                           int count);

dl_status dl_log_jsonl_open(const char *path, int64_t first_epoch);
dl_status dl_log_jsonl_write(const char *path, int64_t epoch, int64_t step, double seconds,
                             const dl_report_value *values, int count);

/* An event file of TensorBoard: opened on the first value. */
typedef struct dl_events {
    char folder[DL_PATH_MAX], path[DL_PATH_MAX];
    int fd; /* -1: not open */
    int64_t first_step;
} dl_events;
void dl_events_init(dl_events *events, const char *folder, int64_t first_step);
dl_status dl_events_scalar(dl_events *events, double wall, int64_t step, const char *tag,
                           float value);
void dl_events_close(dl_events *events);
/* The bytes of one framed record; return their number. */
size_t dl_event_version(unsigned char *out, double wall);
size_t dl_event_scalar(unsigned char *out, double wall, int64_t step, const char *tag, float value);
uint32_t dl_crc32c(const void *bytes, size_t count);

/* A descriptor of the terminal on which a person sees `out`, to be closed; -1 if there is none. */
int dl_terminal_open(FILE *out);

typedef struct dl_progress {
    FILE *out;
    bool terminal, drawn; /* a line without an end stands on the screen */
    int screen;           /* dl_terminal_open; its width is asked for each line */
    int64_t epochs, steps, epoch;
    int64_t first, done;          /* steps of the epoch: before this process, so far */
    double samples, begun, shown; /* seconds of the clock */
    int stride, left;             /* steps from one look at the clock to the next */
    double looked;
    int count;
    dl_report_value sum[DL_REPORT_VALUES]; /* weighted sums and weights */
} dl_progress;
void dl_progress_begin(dl_progress *progress, int64_t epoch, int64_t done);
dl_status dl_progress_step(dl_progress *progress, double samples, const dl_report_value *values,
                           int count);
dl_status dl_progress_epoch(dl_progress *progress, const dl_report_value *values, int count);
dl_status dl_progress_line(dl_progress *progress, const char *text);

#endif
