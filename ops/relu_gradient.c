/* Gradients that stop at a relu, with their sum over all cells, the gradient of a bias, for devices
 * (fusions.h): relu_gradient of any, and conv_relu_gradient with the convolution that makes it. On
 * the CPU: the kernel of that and a loop, which nobody runs but tests. */
#include <string.h>

#include "ops/cells.h"
#include "ops/fusions.h"
#include "ops/links.h"
#include "ops/ops.h"

static dl_type sum_type(const dl_type *x) {
    return DL_TYPE(DL_F32, x->dim[x->rank - 1]);
}

static dl_status infer_relu(const dl_infer *infer) {
    const dl_type *dx = infer->input[0];
    if (dx->rank < 1 || !dl_is_float(dx->dtype) || !dl_same_type(dx, infer->input[1]))
        return dl_fail(DL_INTERNAL, "the gradient of a relu is not of its shape");
    infer->output[0] = *dx;
    infer->output[1] = sum_type(dx);
    return DL_OK;
}

static dl_status infer_conv(const dl_infer *infer) {
    const dl_conv_relu_gradient_attributes *attributes = infer->attributes;
    dl_infer conv = *infer;
    conv.attributes = &attributes->conv;
    conv.inputs = 2;
    DL_TRY(dl_op_conv_input_gradient.infer(&conv));
    if (!dl_same_type(&infer->output[0], infer->input[2]))
        return dl_fail(DL_INTERNAL, "the gradient of a relu is not of its shape");
    if (attributes->outputs == 2)
        infer->output[1] = sum_type(&infer->output[0]);
    return DL_OK;
}

typedef struct state {
    dl_links links; /* first: the convolution, or none */
    int64_t rows, columns;
    bool half, sums;
} state;

static dl_status prepare(const dl_prepare *what, const dl_link *link, int links, bool sums,
                         dl_prepared *out) {
    const dl_type *type = what->output[0];
    DL_TRY(dl_links_prepare(what, link, links, sizeof(state), out));
    state *made = out->state;
    made->columns = type->dim[type->rank - 1];
    made->rows = made->columns ? dl_type_count(type) / made->columns : 0;
    made->half = type->dtype == DL_BF16;
    made->sums = sums;
    return DL_OK;
}

static dl_status prepare_relu(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, NULL, 0, true, out);
}

static dl_status prepare_conv(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_relu_gradient_attributes *attributes = what->attributes;
    const dl_link conv = {&dl_op_conv_input_gradient, &attributes->conv, 2, {0, 1}, what->inputs};
    return prepare(what, &conv, 1, attributes->outputs == 2, out);
}

static void stop(const state *made, const void *dx, const void *y, const dl_run *run) {
    for (int64_t i = 0; i < made->rows * made->columns; i++) {
        bool passes = dl_cell(y, i, made->half) > 0;
        dl_put_cell(run->out[0], i, made->half, passes ? dl_cell(dx, i, made->half) : 0);
    }
    if (made->sums)
        dl_cells_row_sum(run->out[0], made->half, made->rows, made->columns, run->out[1]);
}

static dl_status run_relu(const void *prepared, const dl_run *run) {
    stop(prepared, run->in[0], run->in[1], run);
    return DL_OK;
}

static dl_status run_conv(const void *prepared, const dl_run *run) {
    DL_TRY(dl_links_run(prepared, run));
    stop(prepared, run->out[0], run->in[2], run);
    return DL_OK;
}

static double flop(const dl_prepare *what) {
    dl_prepare conv = *what;
    conv.attributes = &((const dl_conv_relu_gradient_attributes *)what->attributes)->conv;
    return dl_op_conv_input_gradient.flop(&conv);
}

const dl_op dl_op_relu_gradient = {
    .name = "relu_gradient",
    .min_inputs = 2,
    .max_inputs = 2,
    .outputs = 2,
    .infer = infer_relu,
    .in_place = 1,
    .half = 3,
    .mixes_samples = true,
    .deterministic = true,
    .cpu = {.prepare = prepare_relu, .run = run_relu, .release = dl_links_release}};

const dl_op dl_op_conv_relu_gradient = {.name = "conv_relu_gradient",
                                        .min_inputs = 3,
                                        .max_inputs = 3,
                                        .outputs = -1,
                                        .attribute_bytes = sizeof(dl_conv_relu_gradient_attributes),
                                        .infer = infer_conv,
                                        .half = 7,
                                        .packs_half = 2,
                                        .mixes_samples = true,
                                        .deterministic = true,
                                        .flop = flop,
                                        .cpu = {.prepare = prepare_conv,
                                                .pack = dl_links_pack,
                                                .run = run_conv,
                                                .release = dl_links_release}};

void dl_fuse_relu_gradient(dl_fuse *fuse, const dl_graph_node *node) {
    dl_value y, dx, sum;
    if (!dl_fuse_is_relu_gradient(fuse, node, &y, &dx) ||
        (sum = dl_fuse_row_sum(fuse, node->output)) < 0)
        return;
    dl_value made = dl_graph_add(fuse->graph, &dl_op_relu_gradient, NULL, (dl_value[]){dx, y}, 2);
    dl_fuse_map(fuse, node->output, made);
    dl_fuse_map(fuse, sum, made + 1);
}

void dl_fuse_conv_relu_gradient(dl_fuse *fuse, const dl_graph_node *node) {
    dl_value y, dx;
    if (!dl_fuse_is_relu_gradient(fuse, node, &y, &dx) || fuse->readers[dx] != 1)
        return;
    const dl_graph_node *conv = dl_producer(fuse->graph, dx);
    if (!conv || conv->op != &dl_op_conv_input_gradient ||
        dl_type_of(fuse->graph, conv->input[0])->dtype != dl_type_of(fuse->graph, y)->dtype)
        return;
    dl_value sum = dl_fuse_row_sum(fuse, node->output);
    dl_conv_relu_gradient_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(&attributes.conv, conv->attributes, sizeof attributes.conv);
    attributes.outputs = sum >= 0 ? 2 : 1;
    dl_value inputs[] = {conv->input[0], conv->input[1], y};
    dl_value made = dl_graph_add(fuse->graph, &dl_op_conv_relu_gradient, &attributes, inputs, 3);
    dl_fuse_map(fuse, node->output, made);
    if (sum >= 0)
        dl_fuse_map(fuse, sum, made + 1);
}
