/* Convolutions that take part in the batch normalisations beside them, so that their tensors pass
 * memory less often (devices alone; fusions put these rows in the place of conv.c's and norm.c's):
 * a convolution that also gives the moments of its output. Kernels: chains of the rows they stand
 * for (chain.h), and conv_norm_cuda.c. */
#include "ops/conv_norm.h"

#include <string.h>

#include "ops/conv.h"
#include "ops/fusions.h"
#include "runtime/base/memory.h"

/* ---- conv_statistics(x, w[, mean, variance[, gamma][, beta]]): y and channel_moments(y) ---- */

static dl_status infer_statistics(const dl_infer *infer) {
    const dl_conv_norm_attributes *a = infer->attributes;
    dl_infer conv = {
        .attributes = &a->conv, .inputs = 2, .input = infer->input, .output = &infer->output[0]};
    if (infer->inputs != 2 + (a->normalised ? 2 + a->has_gamma + a->has_beta : 0))
        return dl_fail(DL_INTERNAL, "a convolution gets %d inputs", infer->inputs);
    DL_TRY(dl_op_conv.infer(&conv));
    infer->output[1] = DL_TYPE(DL_F32, 2 * infer->input[1]->dim[0]);
    return DL_OK;
}

static double flop_statistics(const dl_prepare *what) {
    return dl_op_conv.flop(what);
}

/* relu(batch_norm(x)) of the row's input x; its vectors are inputs `first` and on. */
static dl_link norm_link(const dl_conv_norm_attributes *a, int x, int first, int out,
                         dl_batch_norm_attributes *norm) {
    memset(norm, 0, sizeof *norm);
    norm->epsilon = a->epsilon;
    norm->has_gamma = a->has_gamma;
    norm->has_beta = a->has_beta;
    norm->epilogue = DL_EPILOGUE_RELU;
    dl_link link = {&dl_op_batch_norm, norm, 3 + a->has_gamma + a->has_beta, {x}, out};
    for (int i = 1; i < link.inputs; i++)
        link.in[i] = first + i - 1;
    return link;
}

void dl_conv_statistics_chain(const dl_prepare *what, dl_conv_norm_chain *out) {
    const dl_conv_norm_attributes *a = what->attributes;
    int y = what->inputs, moments = y + 1, between = y + 2;
    *out = (dl_conv_norm_chain){.links = 0};
    if (a->normalised)
        out->link[out->links++] = norm_link(a, 0, 2, between, &out->norm);
    out->link[out->links++] =
        (dl_link){&dl_op_conv, &a->conv, 2, {a->normalised ? between : 0, 1}, y};
    out->link[out->links++] = (dl_link){&dl_op_channel_moments, NULL, 1, {y}, moments};
}

static void release(void *chain) {
    dl_chain_release(chain);
    dl_free(chain);
}

static dl_status prepare(const dl_prepare *what, const dl_conv_norm_chain *of, dl_prepared *out) {
    dl_chain *chain = dl_alloc(sizeof *chain);
    if (!chain)
        return dl_fail_memory(sizeof *chain);
    dl_status status = dl_chain_prepare(chain, what, of->link, of->links, out);
    if (status == DL_OK)
        out->state = chain;
    else
        release(chain);
    return status;
}

static dl_status prepare_statistics(const dl_prepare *what, dl_prepared *out) {
    dl_conv_norm_chain chain;
    dl_conv_statistics_chain(what, &chain);
    return prepare(what, &chain, out);
}

static void pack(const void *chain, int input, const void *from, void *to, dl_team *team) {
    dl_chain_pack(chain, input, from, to, team);
}

static dl_status run(const void *chain, const dl_run *run) {
    return dl_chain_run(chain, run);
}

const dl_op dl_op_conv_statistics = {
    .name = "conv_statistics",
    .min_inputs = 2,
    .max_inputs = 6,
    .outputs = 2,
    .attribute_bytes = sizeof(dl_conv_norm_attributes),
    .infer = infer_statistics,
    .half = 3,
    .packs_half = 2,
    .mixes_samples = true,
    .deterministic = true,
    .flop = flop_statistics,
    .cpu = {.prepare = prepare_statistics, .pack = pack, .run = run, .release = release}};

void dl_fuse_conv_statistics(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    const dl_conv_attributes *conv = node->attributes;
    if (node->op != &dl_op_conv || node->inputs != 2 || conv->epilogue != DL_EPILOGUE_NONE)
        return;
    const dl_graph_node *moments = dl_fuse_reader(fuse, node->output, &dl_op_channel_moments);
    if (!moments)
        return;
    dl_value sums = moments->output;
    dl_conv_norm_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(&attributes.conv, conv, sizeof *conv);
    dl_value made =
        dl_graph_add(graph, &dl_op_conv_statistics, &attributes, node->input, node->inputs);
    dl_fuse_map(fuse, node->output, made);
    dl_fuse_map(fuse, sums, made + 1);
}
