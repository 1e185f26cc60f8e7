/* Timing what computes the same, on the device and on memory of its own: the candidates that a
 * library has for one shape. The caches of the card are cold before each run, as they are in a step
 * whose tensors are larger; of a few runs the median counts. */
#ifndef DL_DEVICE_TRIAL_CUDA_H
#define DL_DEVICE_TRIAL_CUDA_H

#include "runtime/device/device_cuda.h"

typedef struct dl_trial dl_trial;

/* Memory for `count` tensors, filled with numbers that every floating-point type reads as ordinary
 * ones, for the workspace, and for `spare` (of twice the largest tensor's size at least). */
dl_status dl_trial_open(dl_trial **out, dl_cuda *cuda, const size_t *bytes, int count,
                        size_t workspace);
void dl_trial_close(dl_trial *trial); /* NULL is allowed */

/* Enqueues the candidate on the device's stream. */
typedef dl_status (*dl_trial_fn)(const void *argument, void *const *memory, void *workspace,
                                 void *spare);
/* Whether it is faster than *seconds (0: than none), which it then becomes; by so little that it
 * may be chance does not count. One that fails is not. */
bool dl_trial_better(dl_trial *trial, dl_trial_fn run, const void *argument, double *seconds);

#endif
