/* How fast batches come from a job's files, against a plain read of the same bytes: in turn, in one
 * run, both from the page cache.
 *
 *   bench_loader JOB TURNS FILE...      FILE: all that the job's part `train` is read from
 *
 * A turn takes one pass over the data in the order of the file and one in shuffled order (all
 * fields, as programs get them: the thread that trains helps the one that reads ahead where it
 * would wait, which is all the time here), reads the files from end to end into a buffer, and reads
 * them sample by sample in the shuffled order, a call a sample (files of less than 64 bytes a
 * sample from end to end). Prints a line of JSON with the seconds of each. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "launcher/verbs.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/base/philox.h"
#include "runtime/data/data.h"
#include "runtime/data/order.h"

enum { FILE_ORDER, SHUFFLED, PLAIN, PLAIN_SHUFFLED, WAYS, BLOCK = 1 << 20, FEW = 64 };

typedef struct loader {
    const dl_data *data;
    int64_t batch;
    char **file;
    int files;
    char *block;
    uint32_t *order; /* of samples, shuffled */
    int64_t bytes;   /* of the files */
    int64_t samples; /* of a pass */
} loader;

static dl_status read_batches(loader *l, dl_order order, double *seconds) {
    bool stored[8];
    int fields = dl_data_field_count(l->data);
    for (int i = 0; i < fields && i < DL_COUNT(stored); i++)
        stored[i] = dl_data_field_at(l->data, i)->bytes;
    dl_feed_options options = {.part = DL_PART_TRAIN,
                               .batch = l->batch,
                               .order = order,
                               .leaves = 1,
                               .rank = 0,
                               .ranks = 1,
                               .fields = fields,
                               .stored = fields <= DL_COUNT(stored) ? stored : NULL};
    dl_feed *feed;
    DL_TRY(dl_feed_open(&feed, l->data, &options));
    dl_status status = DL_OK;
    int64_t batches = dl_feed_batches(feed);
    l->samples = 0;
    double begun = dl_seconds();
    for (int64_t i = 0; i < batches && status == DL_OK; i++) {
        dl_batch batch;
        status = dl_feed_next(feed, &batch);
        if (status != DL_OK)
            break;
        l->samples += batch.count;
        dl_feed_release(feed);
    }
    *seconds = dl_seconds() - begun;
    dl_feed_close(feed);
    return status;
}

static bool read_from_end_to_end(loader *l, int file) {
    ssize_t got;
    while ((got = read(file, l->block, BLOCK)) > 0)
        l->bytes += got;
    return got == 0;
}

/* Samples lie at the end of a file. */
static bool read_by_sample(loader *l, int file) {
    enum { SMALL = 64 };
    int64_t end = lseek(file, 0, SEEK_END), sample = end / l->samples;
    int64_t begin = end - sample * l->samples;
    if (sample < SMALL)
        return lseek(file, 0, SEEK_SET) == 0 && read_from_end_to_end(l, file);
    for (int64_t i = 0; i < l->samples; i++)
        for (int64_t done = 0; done < sample;) {
            int64_t left = sample - done < BLOCK ? sample - done : BLOCK;
            ssize_t got = pread(file, l->block, (size_t)left, begin + l->order[i] * sample + done);
            if (got <= 0)
                return false;
            done += got;
            l->bytes += got;
        }
    return true;
}

static dl_status read_files(loader *l, bool shuffled, double *seconds) {
    double begun = dl_seconds();
    l->bytes = 0;
    for (int i = 0; i < l->files; i++) {
        int file = open(l->file[i], O_RDONLY | O_CLOEXEC);
        bool got =
            file >= 0 && (shuffled ? read_by_sample(l, file) : read_from_end_to_end(l, file));
        if (file >= 0)
            close(file);
        if (!got)
            return dl_fail(DL_NO_INPUT, "could not read %s", l->file[i]);
    }
    *seconds = dl_seconds() - begun;
    return DL_OK;
}

static dl_status one(loader *l, int way, double *seconds) {
    return way >= PLAIN
               ? read_files(l, way == PLAIN_SHUFFLED, seconds)
               : read_batches(l, way == SHUFFLED ? DL_ORDER_SHUFFLED : DL_ORDER_FILE, seconds);
}

static dl_status measure(loader *l, int turns) {
    static const char *const names[] = {"file_order_s", "shuffled_s", "plain_read_s",
                                        "plain_shuffled_s"};
    double took[WAYS][FEW], warm;
    l->block = dl_alloc(BLOCK);
    if (!l->block)
        return dl_fail_memory(BLOCK);
    l->samples = dl_data_samples(l->data, DL_PART_TRAIN);
    l->order = dl_alloc(sizeof *l->order * (size_t)(l->samples + 1));
    if (!l->order)
        return dl_fail_memory(sizeof *l->order * (size_t)l->samples);
    dl_permute(l->order, l->samples, 0, dl_stream("data shuffle"), 0);
    for (int way = 0; way < WAYS; way++)
        DL_TRY(one(l, way, &warm));
    for (int turn = 0; turn < turns; turn++)
        for (int way = 0; way < WAYS; way++)
            DL_TRY(one(l, way, &took[way][turn]));
    printf("{\"samples\": %lld, \"bytes\": %lld, \"batch\": %lld", (long long)l->samples,
           (long long)l->bytes, (long long)l->batch);
    for (int way = 0; way < WAYS; way++) {
        printf(", \"%s\": [", names[way]);
        for (int turn = 0; turn < turns; turn++)
            printf("%s%.9f", turn ? ", " : "", took[way][turn]);
        putchar(']');
    }
    puts("}");
    return DL_OK;
}

static dl_status run(dl_job *job, loader *l, int turns) {
    dl_data *data;
    dl_data_options options = {.fold = 0};
    DL_TRY(dl_data_open(&data, dl_get(dl_job_root(job), "data"), &options));
    l->data = data;
    l->batch = dl_int(dl_job_root(job), "batch_size");
    dl_status status = measure(l, turns);
    dl_data_close(data);
    dl_free(l->order);
    dl_free(l->block);
    return status;
}

int main(int argc, char **argv) {
    int turns = argc > 3 ? atoi(argv[2]) : 0;
    if (turns < 1 || turns > FEW) {
        fputs("bench_loader JOB TURNS FILE...\n", stderr);
        return DL_BAD_JOB;
    }
    dl_options none = {.set_count = 0};
    dl_job *job;
    loader l = {.file = argv + 3, .files = argc - 3};
    dl_status status = dl_open_job(&job, argv[1], &none, NULL);
    if (status == DL_OK) {
        status = run(job, &l, turns);
        dl_job_close(job);
    }
    if (status != DL_OK && *dl_message())
        fprintf(stderr, "bench_loader: %s\n", dl_message());
    return (int)status;
}
