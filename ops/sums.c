/* See sums.h. */
#include "ops/sums.h"

#include <math.h>
#include <stddef.h>

#include "runtime/base/clones.h"

#define LANES(name, value)                                                                         \
    DL_CLONES static void name(const float *x, int64_t count, float *lane)                         \
    {                                                                                              \
        for (int64_t i = 0; i + DL_SUM_LANES <= count; i += DL_SUM_LANES)                          \
            for (int l = 0; l < DL_SUM_LANES; l++) {                                               \
                float v = x[i + l];                                                                \
                lane[l] += (value);                                                                \
            }                                                                                      \
    }
LANES(lanes_plain, v)
LANES(lanes_square, v *v)
LANES(lanes_abs, fabsf(v))

static float term_of(float v, dl_term term)
{
    return term == DL_TERM_PLAIN ? v : term == DL_TERM_SQUARE ? v * v : fabsf(v);
}

float dl_block_sum(const float *x, int64_t count, dl_term term)
{
    static void (*const lanes[])(const float *, int64_t, float *) = {lanes_plain, lanes_square,
                                                                     lanes_abs};
    float lane[DL_SUM_LANES] = {0};
    lanes[term](x, count, lane);
    for (int64_t i = count / DL_SUM_LANES * DL_SUM_LANES; i < count; i++)
        lane[i % DL_SUM_LANES] += term_of(x[i], term);
    for (int width = DL_SUM_LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

/* A comparison that keeps a NaN once it has met one. */
static inline float greater(float a, float b)
{
    return a != a || a > b ? a : b;
}

DL_CLONES static void lanes_max(const float *x, int64_t count, float *lane)
{
    for (int64_t i = 0; i + DL_SUM_LANES <= count; i += DL_SUM_LANES)
        for (int l = 0; l < DL_SUM_LANES; l++)
            lane[l] = greater(lane[l], x[i + l]);
}

float dl_block_max(const float *x, int64_t count)
{
    float lane[DL_SUM_LANES];
    for (int l = 0; l < DL_SUM_LANES; l++)
        lane[l] = x[0];
    lanes_max(x, count, lane);
    float most = lane[0];
    for (int l = 1; l < DL_SUM_LANES; l++)
        most = greater(most, lane[l]);
    for (int64_t i = count / DL_SUM_LANES * DL_SUM_LANES; i < count; i++)
        most = greater(most, x[i]);
    return most;
}

#define COLUMNS(name, value)                                                                       \
    DL_CLONES static void name(const float *restrict x, int64_t rows, int64_t columns,             \
                               int64_t stride, const float *restrict center,                       \
                               float *restrict sum)                                                \
    {                                                                                              \
        (void)center;                                                                              \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            const float *row = x + r * stride;                                                     \
            for (int64_t c = 0; c < columns; c++) {                                                \
                float v = row[c];                                                                  \
                sum[c] += (value);                                                                 \
            }                                                                                      \
        }                                                                                          \
    }
COLUMNS(columns_plain, v)
COLUMNS(columns_square, v *v)
COLUMNS(columns_abs, fabsf(v))
COLUMNS(columns_around, (v - center[c]) * (v - center[c]))

void dl_column_sum(const float *x, int64_t rows, int64_t columns, int64_t stride,
                   const float *center, dl_term term, float *sum)
{
    for (int64_t c = 0; c < columns; c++)
        sum[c] = 0.0f;
    if (center)
        columns_around(x, rows, columns, stride, center, sum);
    else if (term == DL_TERM_PLAIN)
        columns_plain(x, rows, columns, stride, NULL, sum);
    else if (term == DL_TERM_SQUARE)
        columns_square(x, rows, columns, stride, NULL, sum);
    else
        columns_abs(x, rows, columns, stride, NULL, sum);
}

void dl_column_max(const float *x, int64_t rows, int64_t columns, int64_t stride, float *most)
{
    for (int64_t c = 0; c < columns; c++)
        most[c] = x[c];
    for (int64_t r = 1; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            most[c] = greater(most[c], x[r * stride + c]);
}
