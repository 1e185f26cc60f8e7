/* Runs a graph node by node on one shard of one rank, every value in memory of its own: what a
 * graph computes, without planner, executor or passes. For tests of the graph core. */
#ifndef DL_TESTS_GRAPH_RUN_H
#define DL_TESTS_GRAPH_RUN_H

#include "runtime/graph/graph.h"

enum { GRAPH_RUN_VALUES = 1024 };

typedef struct graph_run {
    const dl_graph *graph;
    dl_team *team; /* of one thread */
    float *
        value[GRAPH_RUN_VALUES]; /* inputs and variables: filled by init with numbers by position */
} graph_run;

/* Inputs and variables become -1 .. 1 keyed by their value index, int32 inputs 0. */
bool graph_run_init(graph_run *run, const dl_graph *graph);
bool graph_run_all(graph_run *run); /* a failure is reported */
void graph_run_fini(graph_run *run);

#endif
