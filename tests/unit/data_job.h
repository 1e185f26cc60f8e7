/* A job's `data` from text, as the program reads it, and a folder for small files of the tests. */
#ifndef DL_TESTS_DATA_JOB_H
#define DL_TESTS_DATA_JOB_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/job.h"
#include "launcher/keys.h"
#include "runtime/base/memory.h"
#include "runtime/data/data.h"
#include "runtime/data/keys.h"
#include "tests/unit/check.h"

static const dl_key data_job_keys[] = {{"data", "keys data", 0, "the data"}};
static const dl_table data_job_root = {"job", DL_KEYS(data_job_keys), 0};
static const dl_table *const data_job_tables[] = {&dl_data_table, &dl_cut_table};
static const dl_family *const data_job_families[] = {&dl_source_family, &dl_step_family};
static const dl_vocabulary data_job_vocabulary = {
    &data_job_root, data_job_tables, 2, data_job_families, 2, NULL};

typedef struct data_job {
    dl_job *job;
    const dl_node *node;
    dl_data *data;
} data_job;

/* `text` is what stands under "data:". */
static inline dl_status data_job_open_with(data_job *d, const char *text,
                                           const dl_data_options *options) {
    char all[8192];
    memset(d, 0, sizeof *d);
    int length = snprintf(all, sizeof all, "data:\n%s", text);
    dl_status status =
        dl_job_read_text(&d->job, "job.yaml", all, (size_t)length, &data_job_vocabulary, NULL, 0);
    if (status != DL_OK)
        return status;
    d->node = dl_get(dl_job_root(d->job), "data");
    return dl_data_open(&d->data, d->node, options);
}

static inline dl_status data_job_open(data_job *d, const char *text) {
    return data_job_open_with(d, text, &(dl_data_options){0});
}

static inline void data_job_close(data_job *d) {
    dl_data_close(d->data);
    dl_job_close(d->job);
    memset(d, 0, sizeof *d);
}

/* Opening fails with the status, and the message contains `part`. */
static inline void data_job_fails(const char *text, dl_status want, const char *part, int line) {
    data_job d;
    dl_status status = data_job_open(&d, text);
    check_status(status, want, part, text, __FILE__, line);
    data_job_close(&d);
}
#define DATA_FAILS(text, want, part) data_job_fails((text), (want), (part), __LINE__)

/* A folder of its own for each process; data_job_file puts a file there and is the working folder's
 * business: jobs name it by absolute path. */
static inline const char *data_job_folder(void) {
    static char folder[64];
    if (!*folder) {
        snprintf(folder, sizeof folder, "/tmp/dltests-data-XXXXXX");
        if (!mkdtemp(folder))
            abort();
    }
    return folder;
}

/* What stands under "data:", behind a root that is the tests' folder. */
static inline const char *data_job_text(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
static inline const char *data_job_text(const char *format, ...) {
    static char text[4096];
    va_list arguments;
    int length = snprintf(text, sizeof text, "  root: %s\n", data_job_folder());
    va_start(arguments, format);
    vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    va_end(arguments);
    return text;
}

static inline const char *data_job_file(const char *name, const void *bytes, size_t count) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", data_job_folder(), name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, count, file) != count)
        abort();
    fclose(file);
    return path;
}

static inline int data_job_clean(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", data_job_folder());
    return system(command);
}

/* The folder of real data, or NULL with a line that says so. */
static inline const char *data_job_real(const char *test) {
    const char *folder = getenv("DLTRAIN_DATA"), *require = getenv("DLTRAIN_REQUIRE");
    if (folder && *folder)
        return folder;
    if (!require || !strstr(require, "data")) {
        check_skip(test, "DLTRAIN_DATA is not set");
        return NULL;
    }
    CU_FAIL("DLTRAIN_DATA is not set, but DLTRAIN_REQUIRE asks for data");
    return NULL;
}

#endif
