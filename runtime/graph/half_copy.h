/* For graphs that a device runs: where it keeps the parameters in half too (DL_SLAB_HALF), what
 * assigns a parameter assigns its copy as well. */
#ifndef DL_GRAPH_HALF_COPY_H
#define DL_GRAPH_HALF_COPY_H

#include "runtime/graph/graph.h"

/* After simplify, whose compositions are final then. Nothing happens where variables->half is
 * float32. */
dl_status dl_graph_assign_half(dl_graph *graph);

#endif
