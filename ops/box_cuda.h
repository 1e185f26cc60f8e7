/* Copies of boxes on CUDA: what transpose, slice, pad, concatenate and broadcast are made of. For
 * each index over dim, y[to_start + sum index * to] = x[from_start + sum index * from]; the rows
 * (layout_cuda.cu, reduce_cuda.cu) say the steps, box_cuda.cu finds the kernel. */
#ifndef DL_OPS_BOX_CUDA_H
#define DL_OPS_BOX_CUDA_H

#include "ops/own_cuda.h"

typedef struct dl_box {
    int rank;
    int64_t dim[DL_MAX_RANK], from[DL_MAX_RANK], to[DL_MAX_RANK]; /* steps in elements */
    int64_t from_start, to_start;
    int64_t bytes; /* of an element: 1, 2, 4 or 8 */
    /* Padded: where an index is not in low .. high - 1, y gets `value` (its bits) instead. */
    bool padded;
    int64_t low[DL_MAX_RANK], high[DL_MAX_RANK];
    uint64_t value;
} dl_box;

/* Steps of a tensor that lies row by row. */
void dl_box_steps(const dl_type *type, int64_t *step);
/* Fewer axes, the same copy: once, when all is said. */
void dl_box_simplify(dl_box *box);
/* Enqueues the copy of a simplified box. */
dl_status dl_box_copy(const dl_box *box, const dl_cuda *cuda, cudaStream_t stream, const void *x,
                      void *y);

/* For rows that are one box: a state that holds it, with the output's sizes and steps; how it runs.
 */
dl_status dl_box_prepare(const dl_prepare *what, dl_prepared *out, dl_box **box);
dl_status dl_box_run(const void *state, const dl_run *run);

#endif
