/* How many runs of a program go to a device in one launch. A launch costs the host some 10 us,
 * which the steps of a tiny network do not last; several steps recorded as one keep the device
 * busy. What comes back of each run is the same, so the number changes no bit; but a stop waits for
 * what has been launched, and what a run reads is kept so often. Pure functions, on numbers. */
#ifndef DL_EXEC_TOGETHER_H
#define DL_EXEC_TOGETHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_TOGETHER = 16 };

/* What a run does on this rank's device; counted, not measured. */
typedef struct dl_run_work {
    int kernels;
    double flop, bytes;
} dl_run_work;
/* Seconds that it takes a fast device; no promise. */
double dl_run_seconds(const dl_run_work *work);
/* 1, 4, 8 or 16: as many as last no longer than 2 ms, `block` bytes being what a run reads. */
int dl_runs_together(double seconds, size_t block);
/* Whether what a launch reads is so much that it goes to the device ahead, while the launch before
 * computes, into memory of its own there: two events and a copy on the device cost less than the
 * way from the host, 20 us and more. */
bool dl_goes_ahead(size_t bytes);

#endif
