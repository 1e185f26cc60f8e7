/* A loss with all that a step wants of it: the cross-entropy of logits, its gradient, and whether
 * the target is among the k greatest, as one row. A device computes it in one pass over the logits
 * (softmax_cuda.cu), and plans for one have it in place of the three rows of softmax.c
 * (fusions.c); here it is those three, one after another (links.h). */
#include <string.h>

#include "ops/fusions.h"
#include "ops/links.h"
#include "ops/ops.h"
#include "runtime/base/memory.h"

static dl_status infer(const dl_infer *infer) {
    const dl_softmax_loss_attributes *attributes = infer->attributes;
    dl_type made[2]; /* loss, probabilities */
    DL_TRY(dl_op_softmax_cross_entropy.infer(&(dl_infer){.attributes = &attributes->cross_entropy,
                                                         .inputs = 2,
                                                         .input = infer->input,
                                                         .output = made}));
    if (!dl_same_shape(infer->input[2], &made[0]) && dl_type_count(infer->input[2]) != 1)
        return dl_fail(DL_INTERNAL, "the gradient of a loss has another shape than the loss");
    infer->output[0] = infer->output[2] = made[0];
    infer->output[1] = made[1];
    return DL_OK;
}

/* The probabilities lie where the gradient will: it is made from them one by one. The gradient of
 * the losses may be one number for all. */
static dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    enum { LOGITS, TARGET, DLOSS, LOSS, SLOPE, HIT, SPREAD };
    const dl_softmax_loss_attributes *attributes = what->attributes;
    const dl_broadcast_attributes losses = {*what->output[0]};
    const void *of_loss = &attributes->cross_entropy;
    const dl_link links[] = {
        {&dl_op_softmax_cross_entropy, of_loss, 2, {LOGITS, TARGET}, LOSS},
        {&dl_op_in_top_k, &attributes->top, 2, {SLOPE, TARGET}, HIT},
        {&dl_op_broadcast, &losses, 1, {DLOSS}, SPREAD},
        {&dl_op_softmax_cross_entropy_gradient, of_loss, 3, {SLOPE, TARGET, SPREAD}, SLOPE}};
    return dl_links_prepare(what, links, DL_COUNT(links), sizeof(dl_links), out);
}

const dl_op dl_op_softmax_loss = {
    .name = "softmax_loss",
    .min_inputs = 3,
    .max_inputs = 3,
    .outputs = 3,
    .attribute_bytes = sizeof(dl_softmax_loss_attributes),
    .infer = infer,
    .deterministic = true,
    .cpu = {.prepare = prepare, .run = dl_links_run, .release = dl_links_release}};

/* The one number that has been given to all samples, or the value itself. */
static dl_value before_spread(const dl_graph *graph, dl_value value) {
    const dl_graph_node *node = dl_producer(graph, value);
    dl_value from = value;
    if (node && node->op == &dl_op_broadcast)
        from = node->input[0];
    if (node && node->op == &dl_op_pointwise) {
        const dl_pointwise_attributes *pointwise = node->attributes;
        if (pointwise->outputs == 1 && pointwise->output[0]->kind == DL_EXPR_INPUT)
            from = node->input[pointwise->output[0]->input];
    }
    bool one = dl_type_count(dl_type_of(graph, from)) == 1 && !graph->value[from].sampled;
    return one ? from : value;
}

/* From the gradient back to the loss; probabilities that anybody else reads must be kept. The sum
 * over samples gives each the same gradient, which need not be spread out. */
void dl_fuse_softmax_loss(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    if (node->op != &dl_op_softmax_cross_entropy_gradient)
        return;
    dl_value probability = node->input[0], target = node->input[1], dloss = node->input[2];
    const dl_graph_node *loss = dl_producer(graph, probability);
    const dl_graph_node *hit = dl_fuse_reader(fuse, probability, &dl_op_in_top_k);
    if (hit && hit->input[1] != target)
        hit = NULL;
    if (!loss || loss->op != &dl_op_softmax_cross_entropy || loss->input[1] != target ||
        memcmp(loss->attributes, node->attributes, node->op->attribute_bytes) != 0 ||
        fuse->readers[probability] != (hit ? 2 : 1))
        return;
    dloss = before_spread(graph, dloss);
    dl_softmax_loss_attributes attributes = {
        .cross_entropy = *(const dl_cross_entropy_attributes *)node->attributes,
        .top = {hit ? ((const dl_in_top_k_attributes *)hit->attributes)->k : 0}};
    dl_value hits = hit ? hit->output : -1, losses = loss->output;
    dl_value made = dl_graph_add(graph, &dl_op_softmax_loss, &attributes,
                                 (dl_value[]){loss->input[0], target, dloss}, 3);
    dl_fuse_map(fuse, losses, made);
    dl_fuse_map(fuse, node->output, made + 1);
    if (hits >= 0)
        dl_fuse_map(fuse, hits, made + 2);
}
