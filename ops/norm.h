/* What the normalisation rows share: x as rows of channels, cut in blocks of rows whose sums are added in
 * order, so that the bits do not depend on the threads. */
#ifndef DL_OPS_NORM_H
#define DL_OPS_NORM_H

#include "ops/ops.h"

enum { DL_CHANNEL_ROWS = 256 };

typedef struct dl_channels {
    int64_t rows, channels, blocks;
} dl_channels;

/* A dl_channels as prepared state, with workspace for `vectors` floats a channel and block. */
dl_status dl_channels_of(const dl_type *x, size_t vectors, dl_prepared *out);
int64_t dl_block_rows(const dl_channels *state, int64_t block);
/* sum[c] = partial[0][c] + partial[1][c] + ..., in double. */
void dl_join_columns(const float *partial, int64_t blocks, int64_t columns, float *sum);

#endif
