/* See narrow.h. Every loop over `r` is one vector; what is added in which order is said in sums.c.
 */
#include "ops/narrow.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "ops/sums.h"
#include "runtime/base/clones.h"
#include "runtime/expr/math.h"

enum { ROWS = DL_NARROW_ROWS };

typedef float column[ROWS];

/* Inlined into each clone of who calls it. */
#define PART static inline __attribute__((always_inline)) void

PART across(const float *restrict x, int64_t columns, column *restrict v) {
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            v[c][r] = x[r * columns + c];
}

PART back(const column *restrict v, int64_t columns, float *restrict y) {
    for (int r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < columns; c++)
            y[r * columns + c] = v[c][r];
}

PART sum_of(const column *restrict v, int64_t columns, bool squares, float *restrict sum) {
    column lane[DL_SUM_LANES];
    memset(lane, 0, sizeof lane);
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            lane[c % DL_SUM_LANES][r] += squares ? v[c][r] * v[c][r] : v[c][r];
    for (int half = DL_SUM_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            for (int r = 0; r < ROWS; r++)
                lane[l][r] += lane[l + half][r];
    memcpy(sum, lane[0], sizeof lane[0]);
}

/* Keeps a NaN once it has met one. */
PART take_greater(float *restrict most, const float *restrict v) {
    for (int r = 0; r < ROWS; r++)
        most[r] = most[r] != most[r] || most[r] > v[r] ? most[r] : v[r];
}

PART greatest_of(const column *restrict v, int64_t columns, float *restrict most) {
    for (int r = 0; r < ROWS; r++)
        most[r] = -INFINITY;
    for (int64_t c = 0; c < columns; c++)
        take_greater(most, v[c]);
}

DL_CLONES void dl_narrow_softmax(const float *x, float *y, int64_t columns, float greatest[ROWS],
                                 float log_sum[ROWS]) {
    column v[DL_NARROW_MOST], sum;
    across(x, columns, v);
    greatest_of(v, columns, greatest);
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            v[c][r] = dl_m_exp(v[c][r] - greatest[r]);
    sum_of(v, columns, false, sum);
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            v[c][r] /= sum[r];
    for (int r = 0; r < ROWS; r++)
        log_sum[r] = dl_m_log(sum[r]);
    back(v, columns, y);
}

DL_CLONES void dl_narrow_softmax_gradient(const float *y, const float *dy, float *dx,
                                          int64_t columns) {
    column p[DL_NARROW_MOST], g[DL_NARROW_MOST], along[DL_NARROW_MOST], sum;
    across(y, columns, p);
    across(dy, columns, g);
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            along[c][r] = g[c][r] * p[c][r];
    sum_of(along, columns, false, sum);
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            g[c][r] = p[c][r] * (g[c][r] - sum[r]);
    back(g, columns, dx);
}

PART normalise(column *restrict v, int64_t columns, float epsilon, float *restrict inverse) {
    column mean, variance;
    sum_of(v, columns, false, mean);
    for (int r = 0; r < ROWS; r++)
        mean[r] = (float)((double)mean[r] / (double)columns);
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            v[c][r] -= mean[r];
    sum_of(v, columns, true, variance);
    for (int r = 0; r < ROWS; r++)
        inverse[r] = 1.0f / sqrtf((float)((double)variance[r] / (double)columns) + epsilon);
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            v[c][r] *= inverse[r];
}

DL_CLONES void dl_narrow_normalise(const float *x, float *y, int64_t columns, float epsilon) {
    column v[DL_NARROW_MOST], inverse;
    across(x, columns, v);
    normalise(v, columns, epsilon, inverse);
    back(v, columns, y);
}

DL_CLONES void dl_narrow_normalise_gradient(const float *dy, const float *x, const float *gamma,
                                            float *dx, int64_t columns, float epsilon,
                                            float *restrict sum, float *restrict product) {
    column xhat[DL_NARROW_MOST], g[DL_NARROW_MOST], along[DL_NARROW_MOST], mean, slope, inverse;
    float rows[ROWS * DL_NARROW_MOST];
    across(x, columns, xhat);
    across(dy, columns, g);
    normalise(xhat, columns, epsilon, inverse);
    back(xhat, columns, rows);
    for (int r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < columns; c++) {
            sum[c] += dy[r * columns + c];
            product[c] += dy[r * columns + c] * rows[r * columns + c];
        }
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++) {
            g[c][r] = gamma ? g[c][r] * gamma[c] : g[c][r];
            along[c][r] = g[c][r] * xhat[c][r];
        }
    sum_of(g, columns, false, mean);
    sum_of(along, columns, false, slope);
    for (int r = 0; r < ROWS; r++) {
        mean[r] = (float)((double)mean[r] / (double)columns);
        slope[r] = (float)((double)slope[r] / (double)columns);
    }
    for (int64_t c = 0; c < columns; c++)
        for (int r = 0; r < ROWS; r++)
            g[c][r] = inverse[r] * (g[c][r] - mean[r] - xhat[c][r] * slope[r]);
    back(g, columns, dx);
}
