/* The progress line. On a terminal one line is rewritten at most five times a second; elsewhere a
 * line appears at most every 30 s within an epoch. Between, a step costs a few additions: the clock
 * is looked at every `stride` steps, about 20 times a second. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "runtime/base/clock.h"
#include "runtime/report/sinks.h"

enum { BAR = 30, BAR_LEAST = 8, COLUMNS = 80, LINE_MOST = 2048, STRIDE_MOST = 256 };
static const double terminal_every = 0.2, log_every = 30.0, look_every = 0.05;

typedef struct line {
    char text[LINE_MOST];
    size_t used;
} line;

__attribute__((format(printf, 2, 3))) static void add(line *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(to->text + to->used, LINE_MOST - to->used, format, arguments);
    va_end(arguments);
    size_t room = LINE_MOST - 1 - to->used;
    if (length > 0)
        to->used += (size_t)length < room ? (size_t)length : room;
}

static void add_value(line *to, const char *name, double value) {
    bool small = value != 0 && fabs(value) <= 1e-3; /* as Keras: digits that say something */
    if (strcmp(name, "lr") == 0)
        add(to, " - lr: %.6g", value);
    else
        add(to, small ? " - %s: %.4e" : " - %s: %.4f", name, value);
}

static void add_time(line *to, double seconds) {
    long whole = seconds < 1e9 ? (long)(seconds + 0.5) : 999999999;
    if (whole >= 3600)
        add(to, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else if (whole >= 60)
        add(to, "%ld:%02ld", whole / 60, whole % 60);
    else
        add(to, "%lds", whole);
}

static dl_status put(dl_progress *progress, const line *what, const char *before,
                     const char *after) {
    if (fprintf(progress->out, "%s%s%s", before, what->text, after) < 0 ||
        fflush(progress->out) != 0) {
        int error = errno;
        clearerr(progress->out);
        if (error ==
            EAGAIN) /* nobody reads and it must not wait: the line is lost, not the training */
            return DL_OK;
        return dl_fail(DL_NO_WRITE, "cannot write the progress: %s", strerror(error));
    }
    return DL_OK;
}

void dl_progress_begin(dl_progress *progress, int64_t epoch, int64_t done) {
    progress->epoch = epoch;
    progress->done = progress->first = done;
    progress->samples = 0;
    progress->count = 0;
    progress->stride = progress->left = 1;
    progress->begun = progress->looked = dl_seconds();
    progress->shown = progress->begun;
}

static void gather(dl_progress *progress, const dl_report_value *values, int count) {
    for (int i = 0; i < count; i++) {
        int at = i;
        if (at >= progress->count || strcmp(progress->sum[at].name, values[i].name) != 0)
            for (at = 0; at < progress->count; at++)
                if (strcmp(progress->sum[at].name, values[i].name) == 0)
                    break;
        if (at == DL_REPORT_VALUES)
            continue;
        if (at == progress->count)
            progress->sum[progress->count++] = (dl_report_value){.name = values[i].name};
        progress->sum[at].value += values[i].value * values[i].count;
        progress->sum[at].count += values[i].count;
    }
}

static void add_epoch(line *to, const dl_progress *progress) {
    if (progress->epochs > 0)
        add(to, "Epoch %" PRId64 "/%" PRId64, progress->epoch + 1, progress->epochs);
    else
        add(to, "Epoch %" PRId64, progress->epoch + 1);
}

static void add_rate(line *to, double samples, double seconds) {
    if (samples > 0 && seconds > 0)
        add(to, samples / seconds >= 100 ? " - %.0f samples/s" : " - %.3g samples/s",
            samples / seconds);
}

/* "Epoch 1/5 - 120/469 [======>......] - ETA: 3s - 41200 samples/s - loss: 0.2565" with `bar`
 * cells between the brackets, without them for 0; only the values that fit into `most` columns. */
static void compose(line *what, const dl_progress *progress, double seconds, int bar, size_t most) {
    what->used = 0;
    add_epoch(what, progress);
    if (progress->steps > 0) {
        add(what, " - %" PRId64 "/%" PRId64, progress->done, progress->steps);
        if (bar > 0) {
            char cells[BAR + 1];
            int filled = (int)((double)bar * (double)progress->done / (double)progress->steps);
            filled = filled < 0 ? 0 : filled > bar ? bar : filled;
            memset(cells, '.', (size_t)bar);
            memset(cells, '=', (size_t)filled);
            if (filled < bar)
                cells[filled] = '>';
            cells[bar] = '\0';
            add(what, " [%s]", cells);
        }
        add(what, " - ETA: ");
        add_time(what, seconds / (double)(progress->done - progress->first) *
                           (double)(progress->steps - progress->done));
    } else {
        add(what, " - step %" PRId64, progress->done);
    }
    add_rate(what, progress->samples, seconds);
    for (int i = 0; i < progress->count; i++) {
        size_t used = what->used;
        add_value(what, progress->sum[i].name, progress->sum[i].value / progress->sum[i].count);
        if (what->used > most)
            what->text[what->used = used] = '\0';
    }
}

/* Columns of the screen; 0: not asked, as for a stream in memory. */
static size_t columns_of(const dl_progress *progress) {
    struct winsize size;
    if (ioctl(progress->screen, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col > 1 ? (size_t)size.ws_col : (size_t)COLUMNS;
}

static dl_status show(dl_progress *progress, double now) {
    line what;
    double seconds = now - progress->begun;
    if (!progress->terminal) {
        compose(&what, progress, seconds, 0, LINE_MOST);
        return put(progress, &what, "", "\n");
    }
    size_t columns = columns_of(progress);
    compose(&what, progress, seconds, BAR, LINE_MOST);
    if (columns && what.used >= columns) { /* a wrapped line could not be rewritten */
        size_t over = what.used - columns + 1;
        compose(&what, progress, seconds, over <= BAR - BAR_LEAST ? BAR - (int)over : 0,
                columns - 1);
        if (what.used >= columns)
            what.text[columns - 1] = '\0';
    }
    progress->drawn = true;
    return put(progress, &what, "\r", "\033[K");
}

dl_status dl_progress_step(dl_progress *progress, double samples, const dl_report_value *values,
                           int count) {
    gather(progress, values, count);
    progress->done++;
    progress->samples += samples;
    if (!progress->out || --progress->left > 0)
        return DL_OK;
    double now = dl_seconds(), passed = now - progress->looked;
    int64_t steps = progress->stride;
    double wanted = passed > 0 ? (double)steps * look_every / passed : 2.0 * (double)steps;
    if (wanted > 2.0 * (double)steps)
        wanted = 2.0 * (double)steps;
    progress->stride = wanted < 1 ? 1 : wanted > STRIDE_MOST ? STRIDE_MOST : (int)wanted;
    progress->left = progress->stride;
    progress->looked = now;
    if (now - progress->shown < (progress->terminal ? terminal_every : log_every))
        return DL_OK;
    progress->shown = now;
    return show(progress, now);
}

static void add_values(line *to, const dl_report_value *values, int count) {
    for (int i = 0; i < count; i++)
        add_value(to, values[i].name, values[i].value);
}

dl_status dl_progress_epoch(dl_progress *progress, const dl_report_value *values, int count) {
    if (!progress->out)
        return DL_OK;
    line what = {.used = 0};
    double seconds = dl_seconds() - progress->begun;
    add_epoch(&what, progress);
    add(&what, " - %.1fs", seconds);
    add_rate(&what, progress->samples, seconds);
    add_values(&what, values, count);
    bool drawn = progress->drawn;
    progress->drawn = false;
    return put(progress, &what, drawn ? "\r\033[K" : "", "\n");
}

dl_status dl_progress_line(dl_progress *progress, const char *text) {
    if (!progress->out)
        return DL_OK;
    line what = {.used = 0};
    add(&what, "%s", text);
    bool drawn = progress->drawn;
    progress->drawn = false;
    return put(progress, &what, drawn ? "\r\033[K" : "", "\n");
}
