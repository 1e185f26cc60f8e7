/* Between thin.c and thin_avx512.c. a, b and sums are float32 with `samples` rows. */
#ifndef DL_OPS_THIN_KERNELS_H
#define DL_OPS_THIN_KERNELS_H

#include "ops/thin.h"

enum { DL_THIN_COLUMNS = 64, DL_THIN_ROWS = 16 }; /* what threads share is cut at multiples */

/* sum[m, n] over all k, for the columns [first, last). */
void dl_thin_plain(const dl_thin *thin, const float *a, const float *b, int64_t first, int64_t last,
                   float *sum);
void dl_thin_turned(const dl_thin *thin, const float *a, const float *b, int64_t first,
                    int64_t last, float *sum);
/* The rows [first, last) of y. */
void dl_thin_outer(const dl_thin *thin, const float *a, const float *b, int64_t first, int64_t last,
                   float *y);

#endif
