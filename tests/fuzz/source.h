/* Bytes as a data file of a job, or as text inside its `data`: opened and read to the last sample
 * the way a training does it. The file is one in memory, so that nothing is left behind. */
#ifndef DL_FUZZ_SOURCE_H
#define DL_FUZZ_SOURCE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "launcher/job.h"
#include "launcher/keys.h"
#include "runtime/base/memory.h"
#include "runtime/data/data.h"
#include "runtime/data/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static inline void fuzz_read_part(const dl_data *data, dl_part_name part) {
    int64_t samples = dl_data_samples(data, part);
    for (int field = 0; field < dl_data_field_count(data); field++) {
        size_t size = dl_type_bytes(&dl_data_field_at(data, field)->type);
        uint8_t *out = dl_alloc(size);
        for (int64_t sample = 0; out && sample < samples && sample < 1000; sample++)
            dl_data_read(data, part, field, NULL, sample, 1, out);
        dl_free(out);
    }
}

/* `text` is a whole job with nothing but data. */
static inline void fuzz_job(const char *text, size_t length) {
    static const dl_key keys[] = {{"data", "keys data", 0, "the data"}};
    static const dl_table root = {"job", DL_KEYS(keys), 0};
    static const dl_table *const tables[] = {&dl_data_table, &dl_cut_table};
    static const dl_family *const families[] = {&dl_source_family, &dl_step_family};
    static const dl_vocabulary words = {&root, tables, 2, families, 2, NULL};
    dl_job *job = NULL;
    dl_data *data = NULL;
    dl_status status = dl_job_read_text(&job, "job.yaml", text, length, &words, NULL, 0);
    if (status == DL_OK)
        status = dl_data_open(&data, dl_get(dl_job_root(job), "data"), &(dl_data_options){0});
    for (int part = 0; status == DL_OK && part < DL_PARTS; part++)
        fuzz_read_part(data, (dl_part_name)part);
    if (status != DL_OK && (data || !*dl_message()))
        abort(); /* what fails gives nothing but a message */
    dl_data_close(data);
    dl_job_close(job);
}

/* `data` is what stands under "data:", with %s for the path of the file, once. */
static inline void fuzz_file(const char *data, const uint8_t *bytes, size_t count) {
    char text[512], path[64];
    int file = memfd_create("fuzz", MFD_CLOEXEC);
    if (file < 0 || write(file, bytes, count) != (ssize_t)count)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    const char *place = strstr(data, "%s");
    int length =
        snprintf(text, sizeof text, "data:\n%.*s%s%s", (int)(place - data), data, path, place + 2);
    fuzz_job(text, (size_t)length);
    close(file);
}

#endif
