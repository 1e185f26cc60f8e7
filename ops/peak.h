/* The rate that a share of peak refers to: oneDNN's best at large matrix products of
 * float32 or bfloat16. */
#ifndef DL_OPS_PEAK_H
#define DL_OPS_PEAK_H

#include "runtime/base/status.h"
#include "runtime/base/team.h"
#include "runtime/base/type.h"

enum { DL_PEAK_SIZE = 1024 }; /* rows and columns of the matrices */

/* FLOP/s of this rank's team: the best of several products, after one to warm up. A lone team makes
 * each on all its threads; of a side team every thread makes products of its own. */
dl_status dl_peak_measure(dl_team *team, dl_dtype dtype, double *rate);

#endif
