/* See rewrite.h. */
#include "runtime/graph/rewrite.h"

#include <string.h>

void dl_rewrite_resolve(dl_graph *graph, const dl_value *map) {
    for (int n = 0; n < graph->nodes; n++) {
        dl_value *input = (dl_value *)graph->node[n].input; /* ours: made by dl_graph_add */
        for (int i = 0; i < graph->node[n].inputs; i++)
            input[i] = map[input[i]];
    }
    for (int i = 0; i < graph->assignments; i++)
        graph->assignment[i].value = map[graph->assignment[i].value];
    for (int i = 0; i < graph->outputs; i++)
        graph->output[i].value = map[graph->output[i].value];
}

void dl_rewrite_count_readers(const dl_graph *graph, const bool *alive, int *readers) {
    memset(readers, 0, sizeof *readers * (size_t)graph->values);
    for (int n = 0; n < graph->nodes; n++)
        for (int i = 0; i < graph->node[n].inputs && (!alive || alive[n]); i++)
            readers[graph->node[n].input[i]]++;
    for (int i = 0; i < graph->assignments; i++)
        readers[graph->assignment[i].value] += 2;
    for (int i = 0; i < graph->outputs; i++)
        readers[graph->output[i].value] += 2;
}

void dl_rewrite_keep(dl_graph *graph, const dl_graph_node *list, int count) {
    for (int v = 0; v < graph->values; v++)
        graph->value[v].node = -1;
    for (int n = 0; n < count; n++) {
        graph->node[n] = list[n];
        for (int o = 0; o < list[n].outputs; o++)
            graph->value[list[n].output + o].node = n;
    }
    graph->nodes = count;
}
