/* Futex calls of Linux. See wait.h. */
#include "runtime/base/wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPINS = 1500 };

int dl_spin_count(void) {
    static _Atomic int known = -1;
    int count = atomic_load_explicit(&known, memory_order_relaxed);
    if (count < 0) {
        const char *policy = getenv("OMP_WAIT_POLICY");
        count = policy && strcasecmp(policy, "passive") == 0 ? 0 : SPINS;
        atomic_store_explicit(&known, count, memory_order_relaxed);
    }
    return count;
}

void dl_sleep_on(_Atomic uint32_t *word, uint32_t seen, double seconds) {
    struct timespec span = {.tv_sec = (time_t)seconds};
    span.tv_nsec = (long)((seconds - (double)span.tv_sec) * 1e9);
    syscall(SYS_futex, word, FUTEX_WAIT, seen, &span, NULL, 0);
}

void dl_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
