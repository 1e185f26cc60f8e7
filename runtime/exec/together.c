/* See together.h. */
#include "runtime/exec/together.h"

/* A kernel, however small, holds the device for about 2 us. The rates are those of a large card:
 * on a smaller one a launch lasts longer, a few times at most. */
double dl_run_seconds(const dl_run_work *work) {
    static const double of_kernel = 2e-6, flop_rate = 50e12, byte_rate = 2e12;
    return work->kernels * of_kernel + work->flop / flop_rate + work->bytes / byte_rate;
}

int dl_runs_together(double seconds, size_t block) {
    static const double longest = 2e-3;
    static const size_t most_bytes = (size_t)8 << 20;
    for (int runs = MOST_TOGETHER; runs >= 4; runs /= 2)
        if (seconds * runs <= longest && block * (size_t)runs <= most_bytes)
            return runs;
    return 1;
}

bool dl_goes_ahead(size_t bytes) {
    return bytes >= (size_t)1 << 20;
}
