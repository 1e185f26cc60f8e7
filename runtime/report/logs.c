/* log.csv and metrics.jsonl: text files that grow by a line an epoch, and are cut back to where a
 * resumed run goes on. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/report/sinks.h"
#include "runtime/store/json.h"

enum { LOG_MOST = 1 << 30 };

/* The file as text; an empty one if there is none yet. */
static dl_status slurp(const char *path, char **text, size_t *count) {
    struct stat info;
    if (lstat(path, &info) != 0 && errno == ENOENT) {
        *count = 0;
        *text = dl_alloc(1);
        return *text ? DL_OK : dl_fail_memory(1);
    }
    return dl_file_read(path, LOG_MOST, text, count);
}

/* Keeps the lines that `keep` wants, as long as it wants them; a last line without an end goes. */
static dl_status cut(const char *path, bool (*keep)(const char *line, int64_t limit),
                     int64_t limit) {
    char *text;
    size_t count;
    DL_TRY(slurp(path, &text, &count));
    char *at = text;
    for (char *end; (end = strchr(at, '\n')); at = end + 1)
        if (!keep(at, limit))
            break;
    dl_status status = DL_OK;
    if ((size_t)(at - text) < count)
        status = dl_file_truncate(path, at - text);
    dl_free(text);
    return status;
}

static bool keep_row(const char *line, int64_t limit) {
    if (strncmp(line, "epoch", 5) == 0)
        return true;
    char *end;
    int64_t epoch = strtoll(line, &end, 10);
    return end != line && epoch < limit;
}

dl_status dl_log_csv_open(const char *path, int64_t first_epoch) {
    return cut(path, keep_row, first_epoch);
}

static bool keep_object(const char *line, int64_t limit) {
    const char *epoch = strstr(line, "\"epoch\": "), *end = strchr(line, '\n');
    return epoch && epoch < end && strtoll(epoch + 9, NULL, 10) < limit;
}

dl_status dl_log_jsonl_open(const char *path, int64_t first_epoch) {
    return cut(path, keep_object, first_epoch);
}

static dl_status append(const char *path, const char *text, size_t count) {
    int fd;
    DL_TRY(dl_file_append(path, 0666, &fd));
    dl_status status = dl_file_write(fd, path, text, count);
    if (status != DL_OK) {
        close(fd);
        return status;
    }
    return dl_file_close(fd, path);
}

typedef struct text {
    char bytes[DL_REPORT_LINE];
    size_t used;
} text;

static void add(text *to, const char *bytes, size_t count) {
    size_t room = sizeof to->bytes - to->used;
    count = count < room ? count : room; /* a full line is refused by `full` */
    memcpy(to->bytes + to->used, bytes, count);
    to->used += count;
}

static dl_status full(const text *line, const char *path) {
    return line->used < sizeof line->bytes
               ? DL_OK
               : dl_fail(DL_NO_WRITE, "a line of '%s' would be longer than %d bytes", path,
                         DL_REPORT_LINE);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const dl_report_value *)a)->name, ((const dl_report_value *)b)->name);
}

static bool in_header(const char *header, size_t length, const char *name) {
    size_t size = strlen(name);
    for (const char *at = header; at < header + length;) {
        size_t field = strcspn(at, ",\r\n");
        if (field == size && memcmp(at, name, size) == 0)
            return true;
        at += field + 1;
    }
    return false;
}

/* New names after the first epoch (validation every other epoch): the header grows and the old rows
 * get NA there; the file is replaced whole. */
static dl_status widen(const char *path, const char *old, const text *header, int added) {
    size_t rows = 0, size;
    for (const char *at = old; (at = strchr(at, '\n')); at++)
        rows++;
    size = strlen(old) + header->used + rows * (size_t)added * 3 + 1;
    char *fresh = dl_alloc(size), *to = fresh;
    if (!fresh)
        return dl_fail_memory(size);
    memcpy(to, header->bytes, header->used);
    to += header->used;
    const char *at = strchr(old, '\n');
    for (at = at ? at + 1 : ""; *at;) {
        size_t length = strcspn(at, "\r\n");
        memcpy(to, at, length);
        to += length;
        for (int i = 0; i < added; i++, to += 3)
            memcpy(to, ",NA", 3);
        memcpy(to, "\r\n", 2);
        to += 2;
        at += length;
        at += strspn(at, "\r\n");
    }
    dl_status status = dl_file_replace(path, 0666, fresh, (size_t)(to - fresh));
    dl_free(fresh);
    return status;
}

dl_status dl_log_csv_write(const char *path, int64_t epoch, const dl_report_value *values,
                           int count) {
    dl_report_value sorted[DL_REPORT_VALUES];
    char *old;
    size_t size;
    text header = {.used = 0}, row = {.used = 0};
    char number[64];
    memcpy(sorted, values, sizeof *values * (size_t)count);
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    DL_TRY(slurp(path, &old, &size));
    size_t length = strcspn(old, "\r\n");
    add(&header, length ? old : "epoch", length ? length : 5);
    int added = 0;
    for (int i = 0; i < count; i++)
        if (!in_header(header.bytes, header.used, sorted[i].name)) {
            add(&header, ",", 1);
            add(&header, sorted[i].name, strlen(sorted[i].name));
            added++;
        }
    size_t end = header.used;
    add(&header, "\r\n", 2);
    dl_status status;
    DL_GOTO(out, full(&header, path));
    if (added > 0)
        DL_GOTO(out, widen(path, old, &header, added));

    add(&row, number, (size_t)snprintf(number, sizeof number, "%" PRId64, epoch));
    for (size_t at = 6; at < end;) { /* after "epoch," */
        size_t field = 0;
        while (at + field < end && header.bytes[at + field] != ',')
            field++;
        const dl_report_value *found = NULL;
        for (int i = 0; i < count; i++)
            if (strlen(sorted[i].name) == field &&
                memcmp(sorted[i].name, header.bytes + at, field) == 0)
                found = &sorted[i];
        int digits = found ? dl_repr(number, sizeof number, found->value)
                           : snprintf(number, sizeof number, "NA");
        add(&row, ",", 1);
        add(&row, number, (size_t)digits);
        at += field + 1;
    }
    add(&row, "\r\n", 2);
    DL_GOTO(out, full(&row, path));
    status = append(path, row.bytes, row.used);
out:
    dl_free(old);
    return status;
}

dl_status dl_log_jsonl_write(const char *path, int64_t epoch, int64_t step, double seconds,
                             const dl_report_value *values, int count) {
    text line = {.used = 0};
    char piece[600];
    add(&line, piece,
        (size_t)snprintf(piece, sizeof piece,
                         "{\"epoch\": %" PRId64 ", \"step\": %" PRId64
                         ", \"time\": %.3f, \"seconds\": %.3f",
                         epoch, step, dl_wall_seconds(), seconds));
    for (int i = 0; i < count; i++) {
        double value = values[i].value;
        add(&line, ", ", 2);
        add(&line, piece, dl_json_quote(piece, sizeof piece, values[i].name));
        add(&line, ": ", 2);
        if (isfinite(value))
            add(&line, piece, (size_t)dl_repr(piece, sizeof piece, value));
        else
            add(&line, piece,
                (size_t)snprintf(piece, sizeof piece, "\"%s\"",
                                 isnan(value) ? "NaN"
                                 : value < 0  ? "-Infinity"
                                              : "Infinity"));
    }
    add(&line, "}\n", 2);
    DL_TRY(full(&line, path));
    return append(path, line.bytes, line.used);
}
