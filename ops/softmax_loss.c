/* A loss with all that a step wants of it: the cross-entropy of logits, its gradient, and whether
 * the target is among the k greatest, as one row. A device computes it in one pass over the logits
 * (softmax_cuda.cu), and plans for one have it in place of the three rows of softmax.c
 * (fusions.c); here it is those three, one after another. */
#include <string.h>

#include "ops/fusions.h"
#include "ops/ops.h"

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

enum { LOSS, HIT, GRADIENT, STEPS };

typedef struct state {
    const dl_kernel *kernel[STEPS];
    dl_prepared made[STEPS];
    int64_t rows;
    bool alike; /* one gradient for all rows: they get it through the workspace */
} state;

static void release(void *prepared) {
    state *s = prepared;
    for (int i = 0; i < STEPS; i++)
        dl_free(s->made[i].state);
    dl_free(s);
}

static dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_softmax_loss_attributes *attributes = what->attributes;
    state *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    out->state = s;
    dl_prepare step = *what;
    s->kernel[LOSS] = &dl_op_softmax_cross_entropy.cpu;
    s->kernel[HIT] = &dl_op_in_top_k.cpu;
    s->kernel[GRADIENT] = &dl_op_softmax_cross_entropy_gradient.cpu;
    s->rows = dl_type_count(what->output[0]);
    s->alike = dl_type_count(what->input[2]) != s->rows;
    if (s->alike)
        out->workspace = sizeof(float) * (size_t)s->rows;
    dl_status status = DL_OK;
    for (int i = 0; i < STEPS && status == DL_OK; i++) {
        step.attributes = i == HIT ? (const void *)&attributes->top : &attributes->cross_entropy;
        status = s->kernel[i]->prepare(&step, &s->made[i]);
    }
    if (status != DL_OK) {
        release(s);
        out->state = NULL;
    }
    return status;
}

static dl_status run_step(const state *s, int step, const dl_run *run, const void *const *in,
                          void *const *out) {
    dl_run part = *run;
    part.in = in;
    part.out = out;
    return s->kernel[step]->run(s->made[step].state, &part);
}

/* The probabilities lie where the gradient will: it is made from them one by one. */
static dl_status run(const void *prepared, const dl_run *run) {
    const state *s = prepared;
    const void *target = run->in[1];
    const float *dloss = run->in[2];
    float *spread = run->workspace;
    for (int64_t r = 0; s->alike && r < s->rows; r++)
        spread[r] = *dloss;
    void *loss = run->out[0], *slope = run->out[1], *hit = run->out[2];
    DL_TRY(run_step(s, LOSS, run, run->in, (void *[]){loss, slope}));
    DL_TRY(run_step(s, HIT, run, (const void *[]){slope, target}, &hit));
    return run_step(s, GRADIENT, run, (const void *[]){slope, target, s->alike ? spread : dloss},
                    &slope);
}

const dl_op dl_op_softmax_loss = {.name = "softmax_loss",
                                  .min_inputs = 3,
                                  .max_inputs = 3,
                                  .outputs = 3,
                                  .attribute_bytes = sizeof(dl_softmax_loss_attributes),
                                  .infer = infer,
                                  .deterministic = true,
                                  .cpu = {.prepare = prepare, .run = run, .release = release}};

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
    dl_fuse_map(fuse, node->output, made < 0 ? -1 : made + 1);
    if (hits >= 0)
        dl_fuse_map(fuse, hits, made < 0 ? -1 : made + 2);
}
