/* Fusions: where a device has one kernel for several nodes, one node takes their place. A fusion is
 * a function that looks at a node, appends the row that does it all with the row's own builder, and
 * says which values that makes. ops/fusions.h lists them; a graph that the CPU runs has none.
 *
 * They come after simplify, so nodes are merged, pointwise neighbours are composed, and every node
 * is needed. A fusion may look at shapes but not at the number of samples: the same nodes for each
 * (dl_graph_hash). */
#ifndef DL_GRAPH_FUSE_H
#define DL_GRAPH_FUSE_H

#include "runtime/graph/graph.h"

enum { DL_FUSE_MOST = 8 };

typedef struct dl_fuse {
    dl_graph *graph;
    const struct dl_device *device; /* that will run it; imagined in plans */
    const int *readers; /* [values] inputs that read each; an output or assignment counts as two */
    dl_value from[DL_FUSE_MOST], to[DL_FUSE_MOST]; /* by dl_fuse_map */
    int count;
} dl_fuse;

typedef struct dl_fusion {
    const char *name;
    /* `node` is a copy, valid while nodes are appended; what dl_producer and dl_fuse_reader return
     * is not. Nothing is done by appending alone. */
    void (*fuse)(dl_fuse *fuse, const dl_graph_node *node);
} dl_fusion;

/* Whoever reads `value` reads `made` from now on, an output of an appended node and of the same
 * shape and type. Where `made` is half and `value`, as simplify widened it, is not, the row that
 * makes it must have dl_op.writes_f32. */
void dl_fuse_map(dl_fuse *fuse, dl_value value, dl_value made);

/* The first node of that kind that reads the value, which was there before the fusion looked; NULL:
 * none. */
const dl_graph_node *dl_fuse_reader(const dl_fuse *fuse, dl_value value, const dl_op *op);

/* Applies the fusions of graph->ops, each as often as it finds something; one that would make a
 * node wait for itself is passed over. A node made takes the place, in the order of the program, of
 * the one looked at, or, if another needs it sooner, a sooner one. */
dl_status dl_graph_fuse(dl_graph *graph, const struct dl_device *device);

#endif
