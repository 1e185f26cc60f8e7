/* Matrix product with bias and relu: the row. Its gradients are products again; the kernel is in
 * matmul_cpu.c. */
#include <string.h>

#include "ops/epilogue.h"
#include "ops/matmul.h"
#include "ops/ops.h"

void dl_matmul_sizes(const dl_matmul_attributes *attributes, const dl_type *a, const dl_type *b,
                     int64_t *m, int64_t *k, int64_t *n) {
    *m = a->dim[attributes->transpose_a ? 1 : 0];
    *k = a->dim[attributes->transpose_a ? 0 : 1];
    *n = b->dim[attributes->transpose_b ? 0 : 1];
}

static dl_status infer(const dl_infer *infer) {
    const dl_matmul_attributes *attributes = infer->attributes;
    const dl_type *a = infer->input[0], *b = infer->input[1];
    char one[DL_SHAPE_TEXT], other[DL_SHAPE_TEXT];
    for (int i = 0; i < infer->inputs; i++)
        if (!dl_is_float(infer->input[i]->dtype))
            return dl_fail(DL_BAD_JOB, "a matrix product takes float32, not %s",
                           dl_dtype_text(infer->input[i]->dtype));
    if (a->rank != 2 || b->rank != 2)
        return dl_fail(DL_BAD_JOB, "a matrix product takes two matrices, not %s and %s",
                       dl_shape_text(a, false, one), dl_shape_text(b, false, other));
    int64_t m, k, n;
    dl_matmul_sizes(attributes, a, b, &m, &k, &n);
    int64_t inner = b->dim[attributes->transpose_b ? 1 : 0];
    if (k != inner)
        return dl_fail(DL_BAD_JOB,
                       "a matrix product cannot join %s%s and %s%s: %lld values meet %lld",
                       dl_shape_text(a, false, one), attributes->transpose_a ? " transposed" : "",
                       dl_shape_text(b, false, other), attributes->transpose_b ? " transposed" : "",
                       (long long)k, (long long)inner);
    if (infer->inputs == 3 && (infer->input[2]->rank != 1 || infer->input[2]->dim[0] != n))
        return dl_fail(DL_BAD_JOB, "a bias of shape %s does not fit %lld columns",
                       dl_shape_text(infer->input[2], false, one), (long long)n);
    /* A transposed a is contracted over its rows, the samples: a gradient of weights. */
    infer->output[0] = DL_TYPE(attributes->transpose_a ? DL_F32 : a->dtype, m, n);
    return DL_OK;
}

static dl_value product(dl_graph *graph, dl_value a, bool transpose_a, dl_value b,
                        bool transpose_b) {
    dl_matmul_attributes plain = {.transpose_a = transpose_a, .transpose_b = transpose_b};
    return dl_matmul(graph, a, b, -1, &plain);
}

/* With A = op(a), B = op(b): dA = dy · B', dB = A' · dy; written for a and b as they lie. */
static void grad(dl_grad *grad) {
    const dl_matmul_attributes *attributes = grad->attributes;
    dl_graph *graph = grad->graph;
    bool ta = attributes->transpose_a, tb = attributes->transpose_b;
    dl_value a = grad->input[0], b = grad->input[1];
    dl_value dy = dl_epilogue_gradient(graph, attributes->epilogue, grad->output, grad->dy[0]);
    if (grad->need[0])
        grad->dx[0] = ta ? product(graph, b, tb, dy, true) : product(graph, dy, false, b, !tb);
    if (grad->need[1])
        grad->dx[1] = tb ? product(graph, dy, true, a, ta) : product(graph, a, !ta, dy, false);
    if (grad->inputs == 3 && grad->need[2])
        grad->dx[2] = dl_bias_gradient(graph, dy, grad->input[2]);
}

static double flop(const dl_prepare *what) {
    int64_t m, k, n;
    dl_matmul_sizes(what->attributes, what->input[0], what->input[1], &m, &k, &n);
    return 2 * (double)m * (double)k * (double)n;
}

const dl_op dl_op_matmul = {.name = "matmul",
                            .min_inputs = 2,
                            .max_inputs = 3,
                            .outputs = 1,
                            .attribute_bytes = sizeof(dl_matmul_attributes),
                            .infer = infer,
                            .grad = grad,
                            .half = 3,
                            .packs_half = 2,
                            .seeks_half = true,
                            .writes_f32 = true,
                            .deterministic = true,
                            .flop = flop,
                            .cpu = {.prepare = dl_matmul_prepare,
                                    .pack = dl_matmul_pack,
                                    .run = dl_matmul_run,
                                    .release = dl_matmul_release}};

dl_value dl_matmul(dl_graph *graph, dl_value a, dl_value b, dl_value bias,
                   const dl_matmul_attributes *attributes) {
    if (a < 0 || b < 0)
        return -1;
    dl_matmul_attributes clean;
    memset(&clean, 0, sizeof clean); /* equal nodes are found by comparing bytes */
    clean.transpose_a = attributes->transpose_a;
    clean.transpose_b = attributes->transpose_b;
    clean.epilogue = attributes->epilogue;
    const dl_value inputs[] = {a, b, bias};
    return dl_graph_add(graph, &dl_op_matmul, &clean, inputs, bias < 0 ? 2 : 3);
}
