/* A small network of every kind of value, for tests of the graph core. Its variables are opened and
 * closed with a suite (CU_add_suite's two functions). */
#ifndef DL_TESTS_GRAPH_SAMPLE_H
#define DL_TESTS_GRAPH_SAMPLE_H

#include "runtime/graph/graph.h"

extern dl_variables graph_sample_variables;
extern dl_variable *graph_sample_weight[4]; /* kernel [4, 3], bias [4], positions, scale */
int graph_sample_begin(void);
int graph_sample_end(void);

/* Of shards of so many samples, over these variables. */
void graph_sample_open(dl_graph *g, int64_t samples);

typedef struct graph_sample {
    dl_value x, h, z, loss, wrt[6], out[6];
} graph_sample;

/* x [n, 3] through a dense layer, positions [1, 4], a scale [1, 1, 4] over [n, 1, 4] and tanh; loss
 * is the sum of squares less a batch mean. */
void graph_sample_build(dl_graph *g, graph_sample *net);

#endif
