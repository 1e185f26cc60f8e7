/* What a program computes, counted before anything is made for it: graphs have no memory, so this
 * takes as long as building one. compile.c makes it ready to run. */
#include "runtime/exec/internal.h"

dl_status dl_count_node(const dl_graph *graph, const dl_graph_node *node, dl_exec_work *work) {
    if (!node->op->flop)
        return DL_OK;
    size_t types = (size_t)(node->inputs + node->outputs);
    const dl_type **type = dl_alloc(sizeof *type * types);
    if (!type)
        return dl_fail_memory(sizeof *type * types);
    for (int i = 0; i < node->inputs; i++)
        type[i] = &graph->value[node->input[i]].type;
    for (int o = 0; o < node->outputs; o++)
        type[node->inputs + o] = &graph->value[node->output + o].type;
    const dl_prepare what = {.attributes = node->attributes,
                             .inputs = node->inputs,
                             .outputs = node->outputs,
                             .input = type,
                             .output = type + node->inputs,
                             .name = node->name,
                             .threads = 1};
    work->flop += node->op->flop(&what);
    work->products++;
    dl_free(type);
    return DL_OK;
}

dl_status dl_exec_count(const dl_exec_options *options, int64_t samples, dl_exec_work *work) {
    *work = (dl_exec_work){0};
    dl_graph graph;
    dl_graph_init(&graph, options->ops, options->variables, samples, options->training);
    dl_status status = options->build(options->argument, &graph);
    if (status == DL_OK)
        status = dl_graph_simplify(&graph);
    for (int i = 0; i < graph.nodes && status == DL_OK; i++)
        status = dl_count_node(&graph, &graph.node[i], work);
    dl_graph_fini(&graph);
    return status;
}
