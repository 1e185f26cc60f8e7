/* See sums.h. */
#include "ops/sums.h"

#include <math.h>
#include <string.h>

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

#define COLUMNS(name, value)                                                           \
    DL_CLONES static void name(const float *restrict x, int64_t rows, int64_t columns, \
                               const float *restrict center, float *restrict sum) {    \
        (void)center;                                                                  \
        for (int64_t r = 0; r < rows; r++, x += columns)                               \
            for (int64_t c = 0; c < columns; c++) {                                    \
                float v = x[c];                                                        \
                sum[c] += (value);                                                     \
            }                                                                          \
    }
COLUMNS(columns_plain, v)
COLUMNS(columns_square, v *v)
COLUMNS(columns_abs, fabsf(v))
COLUMNS(columns_around, (v - center[c]) * (v - center[c]))

/* Few rows are added one after another: slots would cost more than they bring. */
static int64_t fold_of(int64_t rows, int64_t columns) {
    int64_t fold = dl_fold(columns);
    return rows < 4 * fold ? 1 : fold;
}

void dl_column_sum(const float *x, int64_t rows, int64_t columns, const float *center, dl_term term,
                   float *sum) {
    static void (*const kernels[])(const float *, int64_t, int64_t, const float *,
                                   float *) = {columns_plain, columns_square, columns_abs};
    int64_t fold = fold_of(rows, columns), wide = fold * columns, whole = rows / fold;
    float slot[DL_SUM_WIDE], around[DL_SUM_WIDE];
    float *to = fold == 1 ? sum : slot;
    memset(to, 0, sizeof *to * (size_t)wide);
    if (center && fold > 1) {
        dl_repeat(center, columns, fold, around);
        center = around;
    }
    void (*add)(const float *, int64_t, int64_t, const float *, float *) =
        center ? columns_around : kernels[term];
    add(x, whole, wide, center, to);
    if (fold > 1) {
        add(x + whole * wide, 1, (rows - whole * fold) * columns, center, to);
        join_slots(slot, fold, columns, sum);
    }
}

#define PRODUCT(name, value)                                                                    \
    DL_CLONES static void name(const float *restrict dy, const float *restrict x, int64_t rows, \
                               int64_t columns, const float *restrict center,                   \
                               const float *restrict scale, const float *restrict shift,        \
                               float *restrict sum, float *restrict product) {                  \
        (void)scale;                                                                            \
        (void)shift;                                                                            \
        for (int64_t r = 0; r < rows; r++, x += columns, dy += columns)                         \
            for (int64_t c = 0; c < columns; c++) {                                             \
                float around = x[c] - center[c], d = (value);                                   \
                sum[c] += d;                                                                    \
                product[c] += d * around;                                                       \
            }                                                                                   \
    }
PRODUCT(product_plain, dy[c])
PRODUCT(product_gated, around *scale[c] + shift[c] > 0.0f ? dy[c] : 0.0f)

void dl_column_product(const float *dy, const float *x, int64_t rows, int64_t columns,
                       const float *center, const dl_gate *gate, float *sum, float *product) {
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
    void (*add)(const float *, const float *, int64_t, int64_t, const float *, const float *,
                const float *, float *, float *) = gate ? product_gated : product_plain;
    add(dy, x, whole, wide, vector[0], vector[1], vector[2], to, products);
    if (fold > 1) {
        int64_t done = whole * wide;
        add(dy + done, x + done, 1, rows * columns - done, vector[0], vector[1], vector[2], to,
            products);
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
