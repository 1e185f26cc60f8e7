/* See graph_sample.h. */
#include "tests/unit/graph_sample.h"

#include "ops/ops.h"

dl_variables graph_sample_variables;
dl_variable *graph_sample_weight[4];

static dl_variable *want(const char *name, dl_type type, dl_slab slab) {
    dl_variable like = {.name = name, .layer = "dense", .type = type, .slab = slab};
    dl_variable *made = NULL;
    return dl_variables_want(&graph_sample_variables, &like, &made) == DL_OK ? made : NULL;
}

int graph_sample_begin(void) {
    dl_variables_init(&graph_sample_variables);
    graph_sample_weight[0] = want("dense/kernel", DL_TYPE(DL_F32, 4, 3), DL_SLAB_PARAMETER);
    graph_sample_weight[1] = want("dense/bias", DL_TYPE(DL_F32, 4), DL_SLAB_PARAMETER);
    graph_sample_weight[2] = want("positions/table", DL_TYPE(DL_F32, 1, 4), DL_SLAB_PARAMETER);
    graph_sample_weight[3] = want("scale/scale", DL_TYPE(DL_F32, 1, 1, 4), DL_SLAB_PARAMETER);
    dl_variables_layout(&graph_sample_variables, 0, 0);
    return !(graph_sample_weight[0] && graph_sample_weight[1] && graph_sample_weight[2] &&
             graph_sample_weight[3]);
}

int graph_sample_end(void) {
    dl_variables_fini(&graph_sample_variables);
    return 0;
}

void graph_sample_open(dl_graph *g, int64_t samples) {
    dl_graph_init(g, dl_ops(), &graph_sample_variables, samples, true);
}

void graph_sample_build(dl_graph *g, graph_sample *net) {
    dl_matmul_attributes transposed = {.transpose_b = true};
    g->scope = "dense";
    net->x = dl_graph_input(g, "x", DL_TYPE(DL_F32, g->samples, 3), false);
    for (int i = 0; i < 4; i++)
        net->wrt[i] = dl_graph_variable(g, graph_sample_weight[i]);
    net->wrt[4] = net->x;
    net->h = dl_matmul(g, net->x, net->wrt[0], net->wrt[1], &transposed);
    net->wrt[5] = net->h;
    g->scope = "positions";
    dl_value z = dl_map(g, "tanh(x0 + x1)", (dl_value[]){net->h, net->wrt[2]}, 2);
    g->scope = "scale";
    z = dl_broadcast(g, dl_reshape(g, z, DL_TYPE(DL_F32, g->samples, 1, 4)),
                     DL_TYPE(DL_F32, g->samples, 5, 4));
    net->z = dl_map(g, "x0 * x1", (dl_value[]){z, net->wrt[3]}, 2);
    g->scope = "mean";
    dl_value mean = dl_reduce(g, net->z, DL_REDUCE_MEAN, 1, true);
    mean = dl_map(g, "tanh(x)", &mean, 1); /* of the shape of one sample, yet none */
    dl_value centred = dl_map(g, "x0 - 0.5 * x1", (dl_value[]){net->z, mean}, 2);
    g->scope = "loss";
    dl_value loss = dl_reduce(g, centred, DL_REDUCE_SUM_SQUARES, 6, false);
    net->loss = dl_reduce(g, loss, DL_REDUCE_SUM, 1, false);
}
