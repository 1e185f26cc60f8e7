/* See trial_cuda.h. */
#include "runtime/device/trial_cuda.h"

#include <string.h>

#include "runtime/base/memory.h"

enum { MOST = 24, REPEATS = 7, PATTERN = 1 << 20 };
static const double chance = 0.98; /* what is not faster than this share of a time may be luck */

struct dl_trial {
    dl_cuda *cuda;
    void *memory[MOST];
    void *workspace, *spare;
    size_t spare_bytes;
    cudaEvent_t begin, end;
};

/* 16 bits each, which make 1..2 or less as float16, bfloat16 and, in pairs, float32: sign and
 * fraction are drawn, as a card takes more time and power for numbers that are not all the same. */
static void draw(uint16_t *pattern, size_t count) {
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        pattern[i] = (uint16_t)(0x3c00u | (state >> 16 & 0x83ffu));
    }
}

/* The pattern, again and again. */
static dl_status fill(dl_cuda *cuda, char *to, size_t bytes, const void *pattern) {
    dl_device *device = &cuda->device;
    size_t done = bytes < PATTERN ? bytes : PATTERN;
    DL_TRY(device->table->copy(device, to, pattern, done));
    for (; done < bytes; done *= 2)
        DL_TRY(
            device->table->copy(device, to + done, to, done < bytes - done ? done : bytes - done));
    return DL_OK;
}

static dl_status make_memory(dl_trial *t, const size_t *bytes, int count, size_t workspace,
                             const void *pattern) {
    dl_device *device = &t->cuda->device;
    size_t largest = 0;
    for (int i = 0; i < count; i++) {
        if (bytes[i] == 0)
            continue;
        DL_TRY(device->table->allocate(device, bytes[i], &t->memory[i]));
        DL_TRY(fill(t->cuda, t->memory[i], bytes[i], pattern));
        largest = bytes[i] > largest ? bytes[i] : largest;
    }
    t->spare_bytes = 2 * (largest > t->cuda->cache ? largest : t->cuda->cache);
    DL_TRY(device->table->allocate(device, t->spare_bytes, &t->spare));
    DL_TRY(device->table->allocate(device, workspace, &t->workspace));
    return device->table->wait(device); /* the pattern is read */
}

static dl_status open(dl_trial *t, const size_t *bytes, int count, size_t workspace) {
    DL_CUDA_TRY(cudaEventCreateWithFlags, &t->begin, cudaEventDefault);
    DL_CUDA_TRY(cudaEventCreateWithFlags, &t->end, cudaEventDefault);
    uint16_t *pattern = dl_alloc(PATTERN);
    if (!pattern)
        return dl_fail_memory(PATTERN);
    draw(pattern, PATTERN / sizeof *pattern);
    dl_status status = make_memory(t, bytes, count, workspace, pattern);
    dl_free(pattern);
    return status;
}

dl_status dl_trial_open(dl_trial **out, dl_cuda *cuda, const size_t *bytes, int count,
                        size_t workspace) {
    *out = NULL;
    if (count > MOST)
        return dl_fail(DL_INTERNAL, "a trial of %d tensors", count);
    dl_trial *t = dl_alloc(sizeof *t);
    if (!t)
        return dl_fail_memory(sizeof *t);
    t->cuda = cuda;
    dl_status status = open(t, bytes, count, workspace);
    if (status != DL_OK) {
        cudaGetLastError(); /* who does without a trial must not find it after a launch */
        dl_trial_close(t);
        return status;
    }
    *out = t;
    return DL_OK;
}

void dl_trial_close(dl_trial *t) {
    if (!t)
        return;
    dl_device *device = &t->cuda->device;
    for (int i = 0; i < MOST; i++)
        device->table->release(device, t->memory[i]);
    device->table->release(device, t->workspace);
    device->table->release(device, t->spare);
    if (t->begin)
        cudaEventDestroy(t->begin);
    if (t->end)
        cudaEventDestroy(t->end);
    dl_free(t);
}

/* Between two marks of the queue. Writing `spare` before them leaves nothing else in the caches,
 * and is work enough for the host to be ahead. */
static dl_status run_once(dl_trial *t, dl_trial_fn run, const void *argument, double *seconds) {
    dl_device *device = &t->cuda->device;
    float milliseconds = 0;
    DL_TRY(device->table->fill(device, t->spare, 0, t->spare_bytes));
    DL_CUDA_TRY(cudaEventRecord, t->begin, t->cuda->stream);
    DL_TRY(run(argument, t->memory, t->workspace, t->spare));
    DL_CUDA_TRY(cudaEventRecord, t->end, t->cuda->stream);
    DL_TRY(device->table->wait(device));
    DL_CUDA_TRY(cudaEventElapsedTime, &milliseconds, t->begin, t->end);
    *seconds = (double)milliseconds / 1e3;
    return DL_OK;
}

/* Into the ordered times. */
static void insert(double *sorted, int count, double value) {
    for (; count > 0 && sorted[count - 1] > value; count--)
        sorted[count] = sorted[count - 1];
    sorted[count] = value;
}

/* Once more than counts: the first run loads what is loaded lazily. */
static dl_status run_some(dl_trial *t, dl_trial_fn run, const void *argument, double *sorted) {
    double once;
    for (int i = -1; i < REPEATS; i++) {
        DL_TRY(run_once(t, run, argument, &once));
        if (i >= 0)
            insert(sorted, i, once);
    }
    return DL_OK;
}

bool dl_trial_better(dl_trial *t, dl_trial_fn run, const void *argument, double *seconds) {
    double sorted[REPEATS];
    if (run_some(t, run, argument, sorted) != DL_OK) {
        cudaGetLastError(); /* it ends here */
        return false;
    }
    double median = sorted[REPEATS / 2];
    if (!(median > 0) || (*seconds > 0 && !(median < chance * *seconds)))
        return false;
    *seconds = median;
    return true;
}
