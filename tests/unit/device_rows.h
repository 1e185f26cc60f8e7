/* A row's kernel of a device against its CPU kernel and the sample's reference: exactly for what
 * moves data, within the sample's bound for sums. Inputs on a line and from a sample of a batch on,
 * with and without packing, run, and recorded and played: the same bits. Outputs and workspace
 * begin as NaN, and nothing behind them may change. */
#ifndef DL_TESTS_DEVICE_ROWS_H
#define DL_TESTS_DEVICE_ROWS_H

#include "runtime/device/device.h"
#include "tests/unit/op_samples.h"

/* For samples whose results are exact, or compared with the CPU kernel alone: every element is to
 * have its bits. */
void device_row_exact(const op_sample *sample, const dl_type *type, const double *const *in,
                      double *const *out, double *const *bound, bool *const *kink);

/* The sample as it is, and with float16 and bfloat16 where its row takes them. Failures are
 * CUnit's.
 */
void device_row_check(dl_device *device, const op_sample *sample);
/* The sample holds bad data: the kernel tells of it. `position` is what it was prepared with. */
void device_row_fault(dl_device *device, const op_sample *sample, int position, dl_fault *out);

#endif
