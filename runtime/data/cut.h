/* Cutting parts. parts.c says what is cut from what; cut.c how. */
#ifndef DL_DATA_CUT_H
#define DL_DATA_CUT_H

#include "runtime/data/inner.h"

/* Samples still to be had; `set` -1: there is no such pool. */
typedef struct dl_pool {
    int set;
    uint32_t *sample;
    int64_t count;
} dl_pool;

/* The samples of `from` that `node` (a cut, or a source by what stands beside it) means go to a new
 * pool *to, whose memory is the caller's; they leave `from` unless `keep`. `name`: the part, for
 * messages and for the draw. DL_BAD_JOB: more is wanted than there is, or nothing. */
dl_status dl_cut(dl_data *data, const dl_node *node, const char *name, dl_pool *from, dl_pool *to);

#endif
