/* See state.h. */
#include "launcher/state.h"

#include <math.h>
#include <string.h>

#include "runtime/base/memory.h"

dl_status dl_progress_init(dl_progress *progress, int sum_count) {
    memset(progress, 0, sizeof *progress);
    progress->best = NAN;
    progress->sum_count = sum_count;
    progress->sums = dl_alloc(sizeof *progress->sums * (size_t)(sum_count + 1));
    return progress->sums ? DL_OK : dl_fail_memory(sizeof *progress->sums * (size_t)sum_count);
}

void dl_progress_fini(dl_progress *progress) {
    dl_free(progress->sums);
    memset(progress, 0, sizeof *progress);
}
