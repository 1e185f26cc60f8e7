/* The memory planner: lifetimes to offsets, a pure function on integers. Items whose lifetimes
 * (both ends included) meet never share a byte. */
#ifndef DL_GRAPH_PLANNER_H
#define DL_GRAPH_PLANNER_H

#include <stddef.h>

#include "runtime/base/status.h"

typedef struct dl_lifetime {
    size_t bytes;
    int first, last; /* positions in the schedule */
    size_t offset;   /* out: multiple of DL_PLAN_ALIGN */
} dl_lifetime;

enum { DL_PLAN_ALIGN = 64 };

/* Greedy by size (Pisarchyk and Lee, "Efficient memory management for deep neural net inference",
 * 2020): largest first, each at the lowest offset that is free for its whole life. Sets offsets and
 * the size of the arena. */
dl_status dl_plan_offsets(dl_lifetime *items, int count, size_t *total);

#endif
