/* Sums of floats in a fixed order, whatever the threads and the instruction set: 16 lanes over a
 * block, the lanes along a tree, blocks in double. Sums of columns take float32 or bfloat16
 * (`half`), added in float32. Shared by the rows that reduce. */
#ifndef DL_OPS_SUMS_H
#define DL_OPS_SUMS_H

#include <stdbool.h>
#include <stdint.h>

enum { DL_SUM_LANES = 16, DL_SUM_BLOCK = 4096 };

typedef enum dl_term { DL_TERM_PLAIN, DL_TERM_SQUARE, DL_TERM_ABS } dl_term;

/* Of at most DL_SUM_BLOCK floats. */
float dl_block_sum(const float *x, int64_t count, dl_term term);
float dl_block_max(const float *x, int64_t count); /* NaN if there is one */

/* Rows of few columns are taken several at a time, as one wide row that fills the lanes:
 * dl_fold(columns) of them, a power of two with dl_fold(columns) * columns <= DL_SUM_WIDE, 1 from
 * 64 columns on. */
enum { DL_SUM_WIDE = 1024 };
int64_t dl_fold(int64_t columns);
void dl_repeat(const float *x, int64_t columns, int64_t times, float *y); /* y [times][columns] */

/* sum[c] over the rows of x [rows, columns]: row r goes to slot r % fold, a slot row after row, the
 * slots along a tree; without slots where there are fewer than 4 * fold rows. center [columns] is
 * subtracted and the difference squared; NULL: `term` of x. */
void dl_column_sum(const void *x, bool half, int64_t rows, int64_t columns, const float *center,
                   dl_term term, float *sum);
/* sum[c] of dy, and product[c] of dy * (x - center), in the same order. With a gate dy counts only
 * where (x - center) * scale + shift > 0. */
typedef struct dl_gate {
    const float *scale, *shift; /* [columns] */
} dl_gate;
void dl_column_product(const void *dy, const void *x, bool half, int64_t rows, int64_t columns,
                       const float *center, const dl_gate *gate, float *sum, float *product);
void dl_column_max(const float *x, int64_t rows, int64_t columns, float *most);

#endif
