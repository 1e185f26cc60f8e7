/* Sums of floats in a fixed order, whatever the threads and the instruction set: 16 lanes over a block,
 * the lanes along a tree, blocks in double. Shared by the rows that reduce. */
#ifndef DL_OPS_SUMS_H
#define DL_OPS_SUMS_H

#include <stdint.h>

enum { DL_SUM_LANES = 16, DL_SUM_BLOCK = 4096 };

typedef enum dl_term { DL_TERM_PLAIN, DL_TERM_SQUARE, DL_TERM_ABS } dl_term;

/* Of at most DL_SUM_BLOCK floats. */
float dl_block_sum(const float *x, int64_t count, dl_term term);
float dl_block_max(const float *x, int64_t count); /* NaN if there is one */

/* Adds rows [0, rows) of x, `columns` wide with `stride` floats from row to row, into sum[columns] (set,
 * not added to), row after row. center [columns] is subtracted first; NULL: none. */
void dl_column_sum(const float *x, int64_t rows, int64_t columns, int64_t stride,
                   const float *center, dl_term term, float *sum);
void dl_column_max(const float *x, int64_t rows, int64_t columns, int64_t stride, float *most);

#endif
