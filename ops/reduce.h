/* Axes of a reduction as both kernels take them: a run of neighbouring axes is [outer, reduced,
 * inner]; several runs are taken one after another, from the last axis on. */
#ifndef DL_OPS_REDUCE_H
#define DL_OPS_REDUCE_H

#include "runtime/base/type.h"

typedef struct dl_axes_run {
    int64_t outer, reduced, inner;
} dl_axes_run;

/* Returns how many there are. */
int dl_axes_runs(const dl_type *x, uint32_t axes, dl_axes_run run[DL_MAX_RANK]);

#endif
