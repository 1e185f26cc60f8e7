/* Maximum pooling of relu(batch_norm(x)), as behind the first convolution of a residual network,
 * and its way back, without the image between them (devices alone: the fusions below put these rows
 * in the place of norm.c's and pool.c's). Windows of less than 256 cells, channels in eights.
 * Kernels: links of the rows that they stand for (links.h), and norm_pool_cuda.cu. */
#include <string.h>

#include "ops/fusions.h"
#include "ops/links.h"
#include "ops/pool.h"

static int vectors(const dl_batch_norm_attributes *a) {
    return 2 + a->has_gamma + a->has_beta;
}

/* Of x, and so many inputs. */
static dl_status check(const dl_infer *infer, int x, int inputs) {
    const dl_type *type = infer->input[x];
    return infer->inputs == inputs && type->dim[type->rank - 1] % 8 == 0
               ? DL_OK
               : dl_fail(DL_INTERNAL, "a pooling of what is normalised gets %d inputs",
                         infer->inputs);
}

/* ---- norm_pool(x, mean, variance[, gamma][, beta]): as max_pool ---- */

static dl_status infer_pool(const dl_infer *infer) {
    const dl_norm_pool_attributes *a = infer->attributes;
    dl_infer pool = {
        .attributes = &a->pool.pool, .inputs = 1, .input = infer->input, .output = infer->output};
    DL_TRY(dl_op_max_pool.infer(&pool));
    return check(infer, 0, 1 + vectors(&a->norm));
}

static dl_status prepare_pool(const dl_prepare *what, dl_prepared *out) {
    const dl_norm_pool_attributes *a = what->attributes;
    int between = what->inputs + 2;
    dl_link links[] = {{&dl_op_batch_norm, &a->norm, what->inputs, {0}, between},
                       {&dl_op_max_pool, &a->pool.pool, 1, {between}, what->inputs}};
    for (int i = 0; i < what->inputs; i++)
        links[0].in[i] = i;
    return dl_links_prepare(what, links, 2, sizeof(dl_links), out);
}

const dl_op dl_op_norm_pool = {
    .name = "norm_pool",
    .min_inputs = 3,
    .max_inputs = 5,
    .outputs = 2,
    .attribute_bytes = sizeof(dl_norm_pool_attributes),
    .infer = infer_pool,
    .half = 1,
    .deterministic = true,
    .cpu = {.prepare = prepare_pool, .run = dl_links_run, .release = dl_links_release}};

/* ---- dy and place to norm_pool's outputs: norm_pool_sums(dy, place, x, mean, variance[, gamma][,
 * ---- beta]) as batch_norm_sums, norm_pool_input_gradient(..., [sums, count]) as the row of norm.c
 * ---- ---- */

static dl_status infer_back(const dl_infer *infer, int inputs) {
    const dl_norm_pool_attributes *a = infer->attributes;
    dl_infer pool = {
        .attributes = &a->pool, .inputs = 2, .input = infer->input, .output = infer->output};
    DL_TRY(dl_op_max_pool_gradient.infer(&pool));
    DL_TRY(check(infer, 2, inputs));
    return dl_same_type(infer->output, infer->input[2]) && infer->input[1]->dtype == DL_U8
               ? DL_OK
               : dl_fail(DL_INTERNAL, "the gradient of a pooling is not of its shape");
}

static dl_status infer_sums(const dl_infer *infer) {
    const dl_norm_pool_attributes *a = infer->attributes;
    DL_TRY(infer_back(infer, 3 + vectors(&a->norm)));
    infer->output[0] = DL_TYPE(DL_F32, 2 * infer->input[3]->dim[0]);
    return DL_OK;
}

static dl_status infer_gradient(const dl_infer *infer) {
    const dl_norm_pool_attributes *a = infer->attributes;
    return infer_back(infer, 3 + vectors(&a->norm) + (a->norm.statistics_of_x ? 2 : 0));
}

/* The pooling's gradient, then `op`, which reads it and what stands behind the places. */
static dl_status prepare_back(const dl_prepare *what, const dl_op *op, dl_prepared *out) {
    const dl_norm_pool_attributes *a = what->attributes;
    int between = what->inputs + 1;
    dl_link links[] = {{&dl_op_max_pool_gradient, &a->pool, 2, {0, 1}, between},
                       {op, &a->norm, what->inputs - 1, {between}, what->inputs}};
    for (int i = 1; i < what->inputs - 1; i++)
        links[1].in[i] = i + 1;
    return dl_links_prepare(what, links, 2, sizeof(dl_links), out);
}

static dl_status prepare_sums(const dl_prepare *what, dl_prepared *out) {
    return prepare_back(what, &dl_op_batch_norm_sums, out);
}

static dl_status prepare_gradient(const dl_prepare *what, dl_prepared *out) {
    return prepare_back(what, &dl_op_batch_norm_input_gradient, out);
}

const dl_op dl_op_norm_pool_sums = {
    .name = "norm_pool_sums",
    .min_inputs = 5,
    .max_inputs = 7,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_norm_pool_attributes),
    .infer = infer_sums,
    .half = 5,
    .mixes_samples = true,
    .deterministic = true,
    .cpu = {.prepare = prepare_sums, .run = dl_links_run, .release = dl_links_release}};

const dl_op dl_op_norm_pool_input_gradient = {
    .name = "norm_pool_input_gradient",
    .min_inputs = 5,
    .max_inputs = 9,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_norm_pool_attributes),
    .infer = infer_gradient,
    .half = 5,
    .deterministic = true,
    .cpu = {.prepare = prepare_gradient, .run = dl_links_run, .release = dl_links_release}};

/* ---- fusions ---- */

static bool fits(const dl_type *x, const dl_type *place) {
    return place->dtype == DL_U8 && x->dim[x->rank - 1] % 8 == 0;
}

void dl_fuse_norm_pool(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    const dl_graph_node *norm =
        node->op == &dl_op_max_pool ? dl_producer(graph, node->input[0]) : NULL;
    if (!norm || norm->op != &dl_op_batch_norm || fuse->readers[norm->output] != 1 ||
        !fits(dl_type_of(graph, norm->output), dl_type_of(graph, node->output + 1)))
        return;
    dl_norm_pool_attributes a;
    memset(&a, 0, sizeof a);
    memcpy(&a.norm, norm->attributes, sizeof a.norm);
    memcpy(&a.pool.pool, node->attributes, sizeof a.pool.pool);
    if (a.norm.epilogue != DL_EPILOGUE_RELU)
        return;
    dl_value made = dl_graph_add(graph, &dl_op_norm_pool, &a, norm->input, 1 + vectors(&a.norm));
    dl_fuse_map(fuse, node->output, made);
    dl_fuse_map(fuse, node->output + 1, made + 1);
}

/* Whether the node is of the gradient of a normalisation that ends in relu, and of x's type. */
static bool is_of_norm(const dl_graph *graph, const dl_graph_node *node) {
    const dl_batch_norm_attributes *a = node->attributes;
    return (node->op == &dl_op_batch_norm_sums || node->op == &dl_op_batch_norm_input_gradient) &&
           a->epilogue == DL_EPILOGUE_RELU && node->input[0] != node->input[1] &&
           dl_same_type(dl_type_of(graph, node->input[0]), dl_type_of(graph, node->input[1]));
}

/* What a pooling hands back goes to the two rows of one alone, so that nobody has to write it. */
static void fuse_back(dl_fuse *fuse, const dl_graph_node *node, const dl_op *made_of,
                      const dl_op *made) {
    enum { INPUTS = 9 };
    dl_graph *graph = fuse->graph;
    if (node->op != made_of || !is_of_norm(graph, node))
        return;
    dl_value d = node->input[0];
    const dl_graph_node *pool = dl_producer(graph, d);
    int readers = 0;
    for (int n = 0; n < graph->nodes; n++)
        readers += graph->node[n].inputs > 1 && graph->node[n].input[0] == d &&
                   is_of_norm(graph, &graph->node[n]);
    if (!pool || pool->op != &dl_op_max_pool_gradient || readers != fuse->readers[d] ||
        !fits(dl_type_of(graph, d), dl_type_of(graph, pool->input[1])))
        return;
    dl_norm_pool_attributes a;
    memset(&a, 0, sizeof a);
    memcpy(&a.norm, node->attributes, sizeof a.norm);
    memcpy(&a.pool, pool->attributes, sizeof a.pool);
    dl_value inputs[INPUTS] = {pool->input[0], pool->input[1]};
    memcpy(inputs + 2, node->input + 1, sizeof *inputs * (size_t)(node->inputs - 1));
    dl_fuse_map(fuse, node->output, dl_graph_add(graph, made, &a, inputs, node->inputs + 1));
}

void dl_fuse_norm_pool_sums(dl_fuse *fuse, const dl_graph_node *node) {
    fuse_back(fuse, node, &dl_op_batch_norm_sums, &dl_op_norm_pool_sums);
}

void dl_fuse_norm_pool_input_gradient(dl_fuse *fuse, const dl_graph_node *node) {
    fuse_back(fuse, node, &dl_op_batch_norm_input_gradient, &dl_op_norm_pool_input_gradient);
}
