/* See graph_run.h. */
#include "tests/unit/graph_run.h"

#include <string.h>

#include "tests/unit/check.h"

bool graph_run_init(graph_run *run, const dl_graph *graph) {
    memset(run, 0, sizeof *run);
    run->graph = graph;
    if (graph->values > GRAPH_RUN_VALUES || dl_team_open(&run->team, DL_TEAM_LONE, 1) != DL_OK)
        return false;
    for (int v = 0; v < graph->values; v++) {
        const dl_value_info *info = &graph->value[v];
        int64_t count = dl_type_count(&info->type);
        run->value[v] = dl_alloc(sizeof(float) * (size_t)count + 64);
        if (!run->value[v])
            return false;
        for (int64_t e = 0; e < count && info->role != DL_ROLE_TEMP; e++)
            if (info->type.dtype == DL_F32)
                run->value[v][e] =
                    2 * dl_unit_float(dl_random_word(11, (uint32_t)v, 0, 0, (uint32_t)e)) - 1;
    }
    return true;
}

void graph_run_fini(graph_run *run) {
    for (int v = 0; v < GRAPH_RUN_VALUES; v++)
        dl_free(run->value[v]);
    dl_team_close(run->team);
}

static void gather_sum(const graph_run *run, const dl_graph_node *node) {
    float *to = run->value[node->output];
    memset(to, 0, dl_type_bytes(dl_type_of(run->graph, node->output)));
    for (int i = 0; i < node->inputs; i++) {
        int64_t count = dl_type_count(dl_type_of(run->graph, node->input[i]));
        memcpy(to, run->value[node->input[i]], sizeof *to * (size_t)count);
        to += (count + DL_SLAB_ALIGN - 1) / DL_SLAB_ALIGN * DL_SLAB_ALIGN;
    }
}

static dl_status run_node(const graph_run *run, const dl_graph_node *node) {
    const dl_type *input[DL_EXPR_MAX_INPUTS], *output[DL_POINTWISE_MAX];
    const void *in[DL_EXPR_MAX_INPUTS];
    void *out[DL_POINTWISE_MAX];
    dl_random random = {.seed = 1, .step = 2};
    for (int i = 0; i < node->inputs; i++) {
        input[i] = dl_type_of(run->graph, node->input[i]);
        in[i] = run->value[node->input[i]];
    }
    for (int o = 0; o < node->outputs; o++) {
        output[o] = dl_type_of(run->graph, node->output + o);
        out[o] = run->value[node->output + o];
    }
    dl_prepare what = {.attributes = node->attributes,
                       .inputs = node->inputs,
                       .outputs = node->outputs,
                       .input = input,
                       .output = output,
                       .name = node->name,
                       .threads = 1,
                       .runs = 1};
    dl_prepared prepared = {0};
    const dl_kernel *kernel = &node->op->cpu;
    if (kernel->prepare)
        DL_TRY(kernel->prepare(&what, &prepared));
    void *workspace = dl_alloc(prepared.workspace + 1);
    dl_run call = {
        .in = in, .out = out, .workspace = workspace, .team = run->team, .random = &random};
    dl_status status =
        workspace ? kernel->run(prepared.state, &call) : dl_fail_memory(prepared.workspace);
    dl_free(workspace);
    if (prepared.state && kernel->release)
        kernel->release(prepared.state);
    else
        dl_free(prepared.state);
    return status;
}

bool graph_run_all(graph_run *run) {
    for (int n = 0; n < run->graph->nodes; n++) {
        const dl_graph_node *node = &run->graph->node[n];
        if (node->op == &dl_op_view) {
            const dl_view_attributes *view = node->attributes;
            memcpy(run->value[node->output], run->value[node->input[0]] + view->offset,
                   dl_type_bytes(&view->type));
        } else if (node->op == &dl_op_sum_leaves) {
            gather_sum(run, node);
        } else if (!CHECK_OK(run_node(run, node))) {
            return false;
        }
    }
    return true;
}
