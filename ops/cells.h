/* Numbers in memory, float32 or bfloat16 (`half`), for kernels that take either. Where `half` is a
 * constant after inlining, a loop has no branch in it. */
#ifndef DL_OPS_CELLS_H
#define DL_OPS_CELLS_H

#include <stddef.h>

#include "ops/sums.h"
#include "runtime/base/type.h"
#include "runtime/expr/math.h"

#define DL_INLINE static inline __attribute__((always_inline))

DL_INLINE float dl_cell(const void *x, int64_t i, bool half) {
    return half ? dl_m_from_bf16(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

DL_INLINE void dl_put_cell(void *y, int64_t i, bool half, float value) {
    if (half)
        ((uint16_t *)y)[i] = dl_m_to_bf16(value);
    else
        ((float *)y)[i] = value;
}

/* The address of element i. */
DL_INLINE const void *dl_cell_at(const void *x, int64_t i, bool half) {
    return (const char *)x + i * (half ? 2 : 4);
}

/* Functions of sums.h for either type: bfloat16 is widened a piece at a time. */
float dl_cells_sum(const void *x, bool half, int64_t count, dl_term term);
float dl_cells_max(const void *x, bool half, int64_t count);
void dl_cells_column_max(const void *x, bool half, int64_t rows, int64_t columns, float *most);
/* sum [columns] of the rows, one after another in double: plain, for rows that only tests run. */
void dl_cells_row_sum(const void *x, bool half, int64_t rows, int64_t columns, float *sum);

#endif
