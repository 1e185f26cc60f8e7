/* What a card can do at most, measured with cuBLASLt's products and CUDA's copies of growing size,
 * on random numbers (trial_cuda.h): what the profile's shares refer to. */
#include "ops/cublaslt_cuda.h"
#include "runtime/base/clock.h"
#include "runtime/device/trial_cuda.h"

enum { LEAST_SIZE = 256, MOST_SIZE = 8192 };
static const size_t least_copy = (size_t)1 << 22, most_copy = (size_t)1 << 29;
/* Seconds: of one, behind which larger ones are no faster; of a trial, by the host's clock. */
static const double enough = 1e-3, most_patience = 0.3;

typedef struct copying {
    dl_device *device;
    size_t bytes;
} copying;

static dl_status copy(const void *argument, void *const *memory, void *workspace, void *spare) {
    const copying *c = argument;
    (void)workspace;
    (void)spare;
    return c->device->table->copy(c->device, memory[1], memory[0], c->bytes);
}

static dl_status multiply(const void *argument, void *const *memory, void *workspace, void *spare) {
    const dl_lt_memory what = {
        .a = memory[0], .b = memory[1], .y = memory[2], .workspace = workspace};
    (void)spare;
    return dl_lt_run((dl_lt *)(uintptr_t)argument, &what);
}

/* Seconds of the median; 0: it does not run here. */
static dl_status time(dl_cuda *cuda, const size_t *bytes, int count, size_t workspace,
                      dl_trial_fn run, const void *argument, double *seconds, bool *over) {
    dl_trial *trial;
    double begun = dl_seconds();
    *seconds = 0;
    DL_TRY(dl_trial_open(&trial, cuda, bytes, count, workspace));
    dl_trial_better(trial, run, argument, seconds);
    dl_trial_close(trial);
    *over = *seconds > enough || dl_seconds() - begun > most_patience;
    return DL_OK;
}

/* A trial takes three times its tensors and more. */
static bool has_room(dl_device *device, size_t bytes) {
    size_t left = 0;
    return device->table->room(device, &left) == DL_OK && left / 4 > bytes;
}

static dl_status time_product(dl_cuda *cuda, int64_t n, dl_dtype dtype, bool tf32, double *seconds,
                              bool *over) {
    const dl_lt_product product = {
        .m = n, .n = n, .k = n, .batch = 1, .tf32 = tf32, .a = dtype, .y = dtype};
    size_t bytes = (size_t)(n * n) * dl_dtype_bytes(dtype), workspace;
    dl_lt *lt;
    int which;
    DL_TRY(dl_lt_open(&lt, cuda, &product, 1, &which, &workspace));
    dl_status status = time(cuda, (const size_t[]){bytes, bytes, bytes}, 3, workspace, multiply, lt,
                            seconds, over);
    dl_lt_close(lt);
    return status;
}

dl_status dl_cuda_peaks(dl_device *device, dl_dtype dtype, bool tf32, double *flop, double *bytes) {
    double seconds;
    bool over = false;
    *flop = *bytes = 0;
    for (int64_t n = LEAST_SIZE; n <= MOST_SIZE && !over; n *= 2) {
        if (!has_room(device, 3 * (size_t)(n * n) * dl_dtype_bytes(dtype)))
            break;
        DL_TRY(time_product(dl_cuda_of(device), n, dtype, tf32, &seconds, &over));
        double reached = seconds > 0 ? 2.0 * (double)(n * n * n) / seconds : 0;
        *flop = reached > *flop ? reached : *flop;
    }
    over = false;
    for (size_t size = least_copy; size <= most_copy && !over; size *= 2) {
        const copying what = {device, size};
        if (!has_room(device, 2 * size))
            break;
        DL_TRY(time(dl_cuda_of(device), (const size_t[]){size, size}, 2, 0, copy, &what, &seconds,
                    &over));
        double reached = seconds > 0 ? 2.0 * (double)size / seconds : 0;
        *bytes = reached > *bytes ? reached : *bytes;
    }
    return DL_OK;
}
