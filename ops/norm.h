/* What the normalisation rows share: x as rows of channels, cut in blocks of rows whose sums are
 * added in order, so that the bits do not depend on the threads. */
#ifndef DL_OPS_NORM_H
#define DL_OPS_NORM_H

#include "ops/ops.h"
#include "runtime/expr/math.h"

typedef struct dl_channels {
    int64_t rows, channels;
    int64_t block_rows, blocks;
    bool half; /* x is bfloat16 */
} dl_channels;

/* x has channels, and inputs first .. last - 1 are vectors of them. */
dl_status dl_check_channels(const dl_infer *infer, int first, int last);
/* Blocks of 256 rows, or of more where they are narrow. */
void dl_channels_of(const dl_type *x, dl_channels *out);
/* A dl_channels as a state, and a workspace for `sums` sums of each channel in each block. */
dl_status dl_channels_prepare(const dl_type *x, int sums, dl_prepared *out);
int64_t dl_block_rows(const dl_channels *state, int64_t block);
/* sum[c] = partial[0][c] + partial[1][c] + ..., in double. */
void dl_join_columns(const float *partial, int64_t blocks, int64_t columns, float *sum);

/* Sum of (x - center)^2 from the sums of x and of x^2 over so many rows; a NaN stays one. */
DL_MATH float dl_moment_square(double sum, double squares, double center, double rows) {
    double around = squares - center * (2 * sum - rows * center);
    return around < 0 ? 0.0f : (float)around;
}

#endif
