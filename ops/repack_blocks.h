/* Between repack.c and repack_avx512.c: where the elements of a blocked tensor lie. */
#ifndef DL_OPS_REPACK_BLOCKS_H
#define DL_OPS_REPACK_BLOCKS_H

#include "ops/dnnl.h"
#include "runtime/base/team.h"

enum { DL_TILE = 16 }; /* elements that are moved at once: those of a vector of float32 */

/* How the plain layout's axis of neighbours (`fast`) meets the blocks' one (`across`). */
typedef enum dl_repack_form {
    DL_REPACK_COPY,  /* they are one axis */
    DL_REPACK_WEAVE, /* they are one axis, but two rows of `pair` are interleaved */
    DL_REPACK_TURN   /* a tile is transposed; with pairs, `fast` is also the axis of pairs */
} dl_repack_form;

/* Element i[] lies at sum i[a] * stride[a] in the plain layout, and at sum at[a][i[a]] in the
 * blocks, where every axis is rounded up to padded[a] with zeros. Runs of DL_TILE along `across`
 * are contiguous (in pairs: every second element). */
typedef struct dl_blocks {
    int rank, fast, across, pair; /* pair: -1 without */
    dl_repack_form form;
    bool back; /* from blocks to plain */
    bool half; /* the blocks are bfloat16 */
    bool past; /* large, and whole cache lines are written: past the caches */
    int64_t dim[DL_DNNL_RANK], padded[DL_DNNL_RANK], stride[DL_DNNL_RANK];
    int64_t *at[DL_DNNL_RANK];
    int outers; /* the axes besides, slowest first */
    int outer[DL_DNNL_RANK];
    int64_t rows; /* of the axes in outer[] together; a row of pairs counts once */
} dl_blocks;

bool dl_repack_here(void); /* whether this processor can */
void dl_repack_blocks(const dl_blocks *blocks, const void *from, void *to, dl_team *team);

#endif
