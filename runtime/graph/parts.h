/* For graphs that a device runs: elementwise nodes of one expression over many pieces of memory,
 * as the update of many weights, become one node, and so one launch. */
#ifndef DL_GRAPH_PARTS_H
#define DL_GRAPH_PARTS_H

#include "runtime/graph/graph.h"

/* The row: parts of `each`, whose inputs follow one another in the node, part by part, as do the
 * outputs. An input is one number for all elements of its part or runs along them; which, is the
 * same for each part, and so are element types. Nothing is random. */
typedef struct dl_parts_attributes {
    int outputs; /* of all parts */
    int parts;
    uint32_t single;              /* bit i: input i of a part is one number */
    dl_pointwise_attributes each; /* its access is not used */
} dl_parts_attributes;
extern const dl_op dl_op_pointwise_parts;

/* Joins the shared ones that do not depend on one another. After the graph's last change. */
dl_status dl_graph_join_parts(dl_graph *graph);

/* Whether output `output` of the node is made of input `input` element by element, so that it may
 * take its place. */
bool dl_runs_along(const dl_graph_node *node, int input, int output, int64_t count);

#endif
