/* See sums.h. */
#include "ops/sums.h"

#include <math.h>
#include <string.h>

#include "ops/cells.h"
#include "runtime/base/clones.h"

#define LANES(name, value)                                                   \
    DL_CLONES static void name(const float *x, int64_t count, float *lane) { \
        for (int64_t i = 0; i + DL_SUM_LANES <= count; i += DL_SUM_LANES)    \
            for (int l = 0; l < DL_SUM_LANES; l++) {                         \
                float v = x[i + l];                                          \
                lane[l] += (value);                                          \
            }                                                                \
    }
LANES(lanes_plain, v)
LANES(lanes_square, v *v)
LANES(lanes_abs, fabsf(v))

static float term_of(float v, dl_term term) {
    return term == DL_TERM_PLAIN ? v : term == DL_TERM_SQUARE ? v * v : fabsf(v);
}

float dl_block_sum(const float *x, int64_t count, dl_term term) {
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
static inline float greater(float a, float b) {
    return a != a || a > b ? a : b;
}

DL_CLONES static void lanes_max(const float *x, int64_t count, float *lane) {
    for (int64_t i = 0; i + DL_SUM_LANES <= count; i += DL_SUM_LANES)
        for (int l = 0; l < DL_SUM_LANES; l++)
            lane[l] = greater(lane[l], x[i + l]);
}

float dl_block_max(const float *x, int64_t count) {
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

int64_t dl_fold(int64_t columns) {
    enum { ENOUGH = 64 };
    if (columns >= ENOUGH)
        return 1;
    int64_t even = columns & -columns; /* the greatest power of two that divides it */
    int64_t fold = even >= DL_SUM_LANES ? 1 : DL_SUM_LANES / even;
    while (fold * columns < ENOUGH)
        fold *= 2;
    return fold;
}

void dl_repeat(const float *x, int64_t columns, int64_t times, float *y) {
    for (int64_t i = 0; i < times; i++)
        memcpy(y + i * columns, x, sizeof *x * (size_t)columns);
}

/* The slots of a wide row along a tree. */
static void join_slots(float *slot, int64_t fold, int64_t columns, float *sum) {
    for (int64_t half = fold / 2 * columns; half >= columns; half /= 2)
        for (int64_t i = 0; i < half; i++)
            slot[i] += slot[i + half];
    memcpy(sum, slot, sizeof *sum * (size_t)columns);
}

/* Columns take four rows at a time, which are added one after another all the same: so each sum is
 * read and written once for four. */
#define ADD(k, half, value)                              \
    v = dl_cell(x, at + (int64_t)(k)*columns + c, half); \
    sum_c += (value);
#define COLUMNS(name, half, value)                                                    \
    DL_CLONES static void name(const void *restrict x, int64_t rows, int64_t columns, \
                               const float *restrict center, float *restrict sum) {   \
        (void)center;                                                                 \
        int64_t at = 0, all = rows * columns;                                         \
        for (; at + 3 * columns < all; at += 4 * columns)                             \
            for (int64_t c = 0; c < columns; c++) {                                   \
                float v, sum_c = sum[c];                                              \
                ADD(0, half, value)                                                   \
                ADD(1, half, value)                                                   \
                ADD(2, half, value)                                                   \
                ADD(3, half, value)                                                   \
                sum[c] = sum_c;                                                       \
            }                                                                         \
        for (; at < all; at += columns)                                               \
            for (int64_t c = 0; c < columns; c++) {                                   \
                float v, sum_c = sum[c];                                              \
                ADD(0, half, value)                                                   \
                sum[c] = sum_c;                                                       \
            }                                                                         \
    }
#define EITHER(name, value)     \
    COLUMNS(name, false, value) \
    COLUMNS(name##_half, true, value)
EITHER(columns_plain, v)
EITHER(columns_square, v *v)
EITHER(columns_abs, fabsf(v))
EITHER(columns_around, (v - center[c]) * (v - center[c]))

/* Few rows are added one after another: slots would cost more than they bring. */
static int64_t fold_of(int64_t rows, int64_t columns) {
    int64_t fold = dl_fold(columns);
    return rows < 4 * fold ? 1 : fold;
}

void dl_column_sum(const void *x, bool half, int64_t rows, int64_t columns, const float *center,
                   dl_term term, float *sum) {
    typedef void (*kernel)(const void *, int64_t, int64_t, const float *, float *);
    static const kernel kernels[2][4] = {
        {columns_plain, columns_square, columns_abs, columns_around},
        {columns_plain_half, columns_square_half, columns_abs_half, columns_around_half}};
    int64_t fold = fold_of(rows, columns), wide = fold * columns, whole = rows / fold;
    float slot[DL_SUM_WIDE], around[DL_SUM_WIDE];
    float *to = fold == 1 ? sum : slot;
    memset(to, 0, sizeof *to * (size_t)wide);
    if (center && fold > 1) {
        dl_repeat(center, columns, fold, around);
        center = around;
    }
    kernel add = kernels[half][center ? 3 : (int)term];
    add(x, whole, wide, center, to);
    if (fold > 1) {
        add(dl_cell_at(x, whole * wide, half), 1, (rows - whole * fold) * columns, center, to);
        join_slots(slot, fold, columns, sum);
    }
}

#define ADD_PRODUCT(k, half, value)                                       \
    around = dl_cell(x, at + (int64_t)(k)*columns + c, half) - center[c]; \
    d = dl_cell(dy, at + (int64_t)(k)*columns + c, half);                 \
    d = (value);                                                          \
    sum_c += d;                                                           \
    product_c += d * around;
#define PRODUCT(name, half, value)                                                            \
    DL_CLONES static void name(const void *restrict dy, const void *restrict x, int64_t rows, \
                               int64_t columns, const float *restrict center,                 \
                               const float *restrict scale, const float *restrict shift,      \
                               float *restrict sum, float *restrict product) {                \
        (void)scale;                                                                          \
        (void)shift;                                                                          \
        int64_t at = 0, all = rows * columns;                                                 \
        for (; at + 3 * columns < all; at += 4 * columns)                                     \
            for (int64_t c = 0; c < columns; c++) {                                           \
                float around, d, sum_c = sum[c], product_c = product[c];                      \
                ADD_PRODUCT(0, half, value)                                                   \
                ADD_PRODUCT(1, half, value)                                                   \
                ADD_PRODUCT(2, half, value)                                                   \
                ADD_PRODUCT(3, half, value)                                                   \
                sum[c] = sum_c;                                                               \
                product[c] = product_c;                                                       \
            }                                                                                 \
        for (; at < all; at += columns)                                                       \
            for (int64_t c = 0; c < columns; c++) {                                           \
                float around, d, sum_c = sum[c], product_c = product[c];                      \
                ADD_PRODUCT(0, half, value)                                                   \
                sum[c] = sum_c;                                                               \
                product[c] = product_c;                                                       \
            }                                                                                 \
    }
#define GATED (around * scale[c] + shift[c] > 0.0f ? d : 0.0f)
PRODUCT(product_plain, false, d)
PRODUCT(product_gated, false, GATED)
PRODUCT(product_plain_half, true, d)
PRODUCT(product_gated_half, true, GATED)

void dl_column_product(const void *dy, const void *x, bool half, int64_t rows, int64_t columns,
                       const float *center, const dl_gate *gate, float *sum, float *product) {
    typedef void (*kernel)(const void *, const void *, int64_t, int64_t, const float *,
                           const float *, const float *, float *, float *);
    static const kernel kernels[2][2] = {{product_plain, product_gated},
                                         {product_plain_half, product_gated_half}};
    int64_t fold = fold_of(rows, columns), wide = fold * columns, whole = rows / fold;
    const float *vector[3] = {center, gate ? gate->scale : NULL, gate ? gate->shift : NULL};
    float slot[2][DL_SUM_WIDE], repeated[3][DL_SUM_WIDE];
    float *to = fold == 1 ? sum : slot[0], *products = fold == 1 ? product : slot[1];
    memset(to, 0, sizeof *to * (size_t)wide);
    memset(products, 0, sizeof *products * (size_t)wide);
    for (int i = 0; fold > 1 && i < 3; i++)
        if (vector[i]) {
            dl_repeat(vector[i], columns, fold, repeated[i]);
            vector[i] = repeated[i];
        }
    kernel add = kernels[half][gate != NULL];
    add(dy, x, whole, wide, vector[0], vector[1], vector[2], to, products);
    if (fold > 1) {
        int64_t done = whole * wide;
        add(dl_cell_at(dy, done, half), dl_cell_at(x, done, half), 1, rows * columns - done,
            vector[0], vector[1], vector[2], to, products);
        join_slots(slot[0], fold, columns, sum);
        join_slots(slot[1], fold, columns, product);
    }
}

void dl_column_max(const float *x, int64_t rows, int64_t columns, float *most) {
    for (int64_t c = 0; c < columns; c++)
        most[c] = x[c];
    for (int64_t r = 1; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            most[c] = greater(most[c], x[r * columns + c]);
}
