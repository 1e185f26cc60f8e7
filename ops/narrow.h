/* Rows of few columns, sixteen at a time: a vector holds a column of sixteen rows, so that no
 * vector is left half empty. The bits are those of the same work row by row (sums.h). */
#ifndef DL_OPS_NARROW_H
#define DL_OPS_NARROW_H

#include <stdint.h>

enum { DL_NARROW_ROWS = 16, DL_NARROW_MOST = 64 /* columns */ };

/* y = softmax of each row of x [16][columns]; the greatest of each row, and the logarithm of
 * sum(exp(x - greatest)). */
void dl_narrow_softmax(const float *x, float *y, int64_t columns, float greatest[DL_NARROW_ROWS],
                       float log_sum[DL_NARROW_ROWS]);

/* dx = y * (dy - sum(dy * y)) of each row [16][columns]. */
void dl_narrow_softmax_gradient(const float *y, const float *dy, float *dx, int64_t columns);

/* y = (x - mean) / sqrt(variance + epsilon) of each row of x [16][columns]. */
void dl_narrow_normalise(const float *x, float *y, int64_t columns, float epsilon);

/* The gradient of it times gamma (NULL: of it): dx; to sum [columns] is added dy of row after row,
 * to product dy * y. */
void dl_narrow_normalise_gradient(const float *dy, const float *x, const float *gamma, float *dx,
                                  int64_t columns, float epsilon, float *sum, float *product);

#endif
