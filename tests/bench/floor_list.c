/* See floor_list.h. */
#include "tests/bench/floor_list.h"

#include <stdio.h>
#include <string.h>

#include "launcher/session.h"
#include "launcher/verbs.h"
#include "ops/conv.h"
#include "ops/pool.h"

typedef struct walk {
    const dl_graph *graph;
    int *root;   /* of each value: the one whose memory a view shows */
    bool *inner; /* of each value: it depends on a weight */
    bench_list *list;
} walk;

static void put_window(bench_layer *layer, const dl_window_sizes *sizes) {
    layer->n = sizes->n;
    layer->channels = sizes->channels;
    for (int i = 0; i < 2; i++) {
        layer->in[i] = sizes->in[i];
        layer->out[i] = sizes->out[i];
        layer->kernel[i] = sizes->window.kernel[i];
        layer->stride[i] = sizes->window.stride[i];
        layer->dilation[i] = sizes->window.dilation[i] > 0 ? sizes->window.dilation[i] : 1;
        layer->before[i] = sizes->window.before[i];
        layer->after[i] = sizes->window.after[i];
    }
}

static dl_status put_conv(bench_layer *layer, const walk *w, const dl_graph_node *node) {
    const dl_conv_attributes *attributes = node->attributes;
    dl_window_sizes sizes;
    DL_TRY(dl_conv_sizes(attributes, dl_type_of(w->graph, node->input[0]),
                         dl_type_of(w->graph, node->input[1]), &sizes));
    put_window(layer, &sizes);
    layer->kind = LAYER_CONV;
    layer->filters = sizes.filters;
    layer->groups = sizes.groups;
    layer->bias = node->inputs == 3;
    layer->relu = attributes->epilogue == DL_EPILOGUE_RELU;
    return DL_OK;
}

static dl_status put_pool(bench_layer *layer, const walk *w, const dl_graph_node *node) {
    const dl_pool_attributes *attributes = node->attributes;
    dl_window_sizes sizes;
    DL_TRY(dl_pool_sizes(attributes, dl_type_of(w->graph, node->input[0]), &sizes));
    put_window(layer, &sizes);
    layer->kind = LAYER_POOL;
    layer->filters = sizes.channels;
    layer->average = attributes->average;
    return DL_OK;
}

static dl_status put_dense(bench_layer *layer, const walk *w, const dl_graph_node *node) {
    const dl_matmul_attributes *attributes = node->attributes;
    const dl_type *x = dl_type_of(w->graph, node->input[0]);
    const dl_type *y = dl_type_of(w->graph, node->output);
    layer->kind = LAYER_DENSE;
    layer->n = x->dim[0];
    layer->channels = x->dim[1];
    layer->filters = y->dim[1];
    layer->bias = node->inputs == 3;
    layer->relu = attributes->epilogue == DL_EPILOGUE_RELU;
    return DL_OK;
}

static dl_status put_norm(bench_layer *layer, const walk *w, const dl_graph_node *node) {
    const dl_batch_norm_attributes *attributes = node->attributes;
    const dl_type *x = dl_type_of(w->graph, node->input[0]);
    layer->kind = LAYER_NORM;
    layer->relu = attributes->epilogue == DL_EPILOGUE_RELU;
    layer->n = x->dim[0];
    layer->channels = layer->filters = x->dim[x->rank - 1];
    layer->in[0] = x->rank == 4 ? x->dim[1] : 1;
    layer->in[1] = x->rank > 2 ? x->dim[x->rank - 2] : 1;
    memcpy(layer->out, layer->in, sizeof layer->out);
    return DL_OK;
}

static dl_status put_node(walk *w, const dl_graph_node *node) {
    static const struct {
        const char *op;
        dl_status (*put)(bench_layer *layer, const walk *w, const dl_graph_node *node);
    } kinds[] = {{"conv", put_conv},       {"matmul", put_dense},
                 {"max_pool", put_pool},   {"average_pool", put_pool},
                 {"batch_norm", put_norm}, {"batch_norm_add", put_norm}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(node->op->name, kinds[i].op) == 0) {
            bench_layer *layer = &w->list->layer[w->list->count++];
            memset(layer, 0, sizeof *layer);
            snprintf(layer->name, sizeof layer->name, "%s", node->name ? node->name : "");
            layer->groups = 1;
            layer->x = w->root[node->input[0]];
            layer->y = node->output;
            layer->inner = w->inner[node->input[0]];
            return kinds[i].put(layer, w, node);
        }
    return DL_OK;
}

static dl_status read_graph(const dl_graph *graph, bench_list *list) {
    size_t values = (size_t)graph->values + 1;
    walk w = {.graph = graph,
              .root = dl_alloc(sizeof *w.root * values),
              .inner = dl_alloc(sizeof *w.inner * values),
              .list = list};
    list->layer = dl_alloc(sizeof *list->layer * (size_t)(graph->nodes + 1));
    dl_status status = w.root && w.inner && list->layer ? DL_OK : dl_fail_memory(values);
    for (int v = 0; v < graph->values && status == DL_OK; v++) {
        w.root[v] = v;
        w.inner[v] = graph->value[v].role == DL_ROLE_VARIABLE;
    }
    for (int i = 0; i < graph->nodes && status == DL_OK; i++) {
        const dl_graph_node *node = &graph->node[i];
        for (int k = 0; k < node->outputs; k++) {
            int out = node->output + k;
            if (node->op == &dl_op_view)
                w.root[out] = w.root[node->input[0]];
            for (int j = 0; j < node->inputs; j++)
                w.inner[out] = w.inner[out] || w.inner[node->input[j]];
        }
        status = put_node(&w, node);
    }
    list->values = graph->values;
    dl_free(w.root);
    dl_free(w.inner);
    return status;
}

static dl_status read_session(dl_session *session, int ranks, bench_list *out) {
    int64_t here = session->batch_size / ranks;
    out->batch = session->batch_size;
    if (here < 1)
        return dl_fail(DL_BAD_JOB, "a batch of %lld on %d ranks leaves some without a sample",
                       (long long)out->batch, ranks);
    dl_graph graph;
    dl_graph_init(&graph, dl_ops(), dl_network_variables(session->network), here, true);
    dl_status status = dl_network_prediction(session->network, &graph);
    if (status == DL_OK)
        status = dl_graph_simplify(&graph);
    if (status == DL_OK)
        status = read_graph(&graph, out);
    dl_graph_fini(&graph);
    return status;
}

dl_status bench_list_open(bench_list *out, const dl_options *options, int ranks) {
    memset(out, 0, sizeof *out);
    dl_job *job;
    DL_TRY(dl_open_job(&job, options->argument[0], options, NULL));
    dl_comm imagined = {.rank = 0, .size = ranks, .local_rank = 0, .local_size = ranks};
    dl_session session;
    dl_session_options opening = {.seed = 0, .threads = 1};
    dl_status status = dl_session_open_here(&session, dl_job_root(job), &imagined, &opening);
    if (status == DL_OK) {
        status = read_session(&session, ranks, out);
        dl_session_close(&session);
    }
    dl_job_close(job);
    return status;
}

void bench_list_close(bench_list *list) {
    dl_free(list->layer);
    list->layer = NULL;
}
