/* What passes over a finished graph share: who is read by whom, values that take the place of
 * others, nodes that stay. */
#ifndef DL_GRAPH_REWRITE_H
#define DL_GRAPH_REWRITE_H

#include "runtime/graph/graph.h"

/* Every reader of v reads map[v] from now on: nodes, assignments, outputs. */
void dl_rewrite_resolve(dl_graph *graph, const dl_value *map);
/* readers[v]: how many inputs of living nodes (NULL: all) are v; an output or assignment, which
 * stays, counts as two. */
void dl_rewrite_count_readers(const dl_graph *graph, const bool *alive, int *readers);
/* The nodes list[0 .. count) become all there are, in that order. */
void dl_rewrite_keep(dl_graph *graph, const dl_graph_node *list, int count);

#endif
