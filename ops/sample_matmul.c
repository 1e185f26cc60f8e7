/* A product of two matrices for each sample: y[s] = op(a[s]) . op(b[s]). Each row of y is one
 * thread's, its sums run over k in order: the same bits for any threads. Its gradients are products
 * again, as in matmul.c. */
#include <string.h>

#include "ops/ops.h"

typedef struct product {
    int64_t samples, m, k, n;
    bool transpose_a, transpose_b;
} product;

static product product_of(const dl_sample_matmul_attributes *attributes, const dl_type *a,
                          const dl_type *b) {
    bool ta = attributes->transpose_a, tb = attributes->transpose_b;
    return (product){a->dim[0], a->dim[ta ? 2 : 1], a->dim[ta ? 1 : 2], b->dim[tb ? 1 : 2], ta, tb};
}

static dl_status infer(const dl_infer *infer) {
    const dl_sample_matmul_attributes *attributes = infer->attributes;
    const dl_type *a = infer->input[0], *b = infer->input[1];
    char one[DL_SHAPE_TEXT], other[DL_SHAPE_TEXT];
    if (a->dtype != DL_F32 || b->dtype != DL_F32 || a->rank != 3 || b->rank != 3 ||
        a->dim[0] != b->dim[0] ||
        a->dim[attributes->transpose_a ? 1 : 2] != b->dim[attributes->transpose_b ? 2 : 1])
        return dl_fail(DL_BAD_JOB, "a product of matrices, sample by sample, cannot join %s and %s",
                       dl_shape_text(a, true, one), dl_shape_text(b, true, other));
    product p = product_of(attributes, a, b);
    infer->output[0] = DL_TYPE(DL_F32, p.samples, p.m, p.n);
    return DL_OK;
}

static void grad(dl_grad *grad) {
    const dl_sample_matmul_attributes *attributes = grad->attributes;
    dl_graph *graph = grad->graph;
    bool ta = attributes->transpose_a, tb = attributes->transpose_b;
    dl_value a = grad->input[0], b = grad->input[1], dy = grad->dy[0];
    if (grad->need[0])
        grad->dx[0] = ta ? dl_sample_matmul(graph, b, tb, dy, true)
                         : dl_sample_matmul(graph, dy, false, b, !tb);
    if (grad->need[1])
        grad->dx[1] = tb ? dl_sample_matmul(graph, dy, true, a, ta)
                         : dl_sample_matmul(graph, a, !ta, dy, false);
}

static double flop(const dl_prepare *what) {
    product p = product_of(what->attributes, what->input[0], what->input[1]);
    return 2 * (double)p.samples * (double)p.m * (double)p.k * (double)p.n;
}

static dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    product *p = dl_alloc(sizeof *p);
    if (!p)
        return dl_fail_memory(sizeof *p);
    *p = product_of(what->attributes, what->input[0], what->input[1]);
    out->state = p;
    return DL_OK;
}

typedef struct product_call {
    const product *p;
    const float *a, *b;
    float *y;
} product_call;

/* Rows of y, counted over all samples. */
static void run_rows(void *argument, int64_t first, int64_t last) {
    const product_call *call = argument;
    const product *p = call->p;
    for (int64_t row = first; row < last; row++) {
        int64_t sample = row / p->m, i = row % p->m;
        const float *a = call->a + sample * p->m * p->k, *b = call->b + sample * p->k * p->n;
        float *restrict y = call->y + row * p->n;
        int64_t start = p->transpose_a ? i : i * p->k, step = p->transpose_a ? p->m : 1;
        memset(y, 0, sizeof *y * (size_t)p->n);
        if (p->transpose_b) {
            for (int64_t j = 0; j < p->n; j++)
                for (int64_t k = 0; k < p->k; k++)
                    y[j] += a[start + k * step] * b[j * p->k + k];
            continue;
        }
        for (int64_t k = 0; k < p->k; k++) {
            float factor = a[start + k * step];
            const float *from = b + k * p->n;
            for (int64_t j = 0; j < p->n; j++)
                y[j] += factor * from[j];
        }
    }
}

static dl_status run(const void *state, const dl_run *run) {
    product_call call = {state, run->in[0], run->in[1], run->out[0]};
    dl_team_range(run->team, call.p->samples * call.p->m, 1, run_rows, &call);
    return DL_OK;
}

const dl_op dl_op_sample_matmul = {.name = "sample_matmul",
                                   .min_inputs = 2,
                                   .max_inputs = 2,
                                   .outputs = 1,
                                   .attribute_bytes = sizeof(dl_sample_matmul_attributes),
                                   .infer = infer,
                                   .grad = grad,
                                   .deterministic = true,
                                   .flop = flop,
                                   .cpu = {.prepare = prepare, .run = run}};

dl_value dl_sample_matmul(dl_graph *graph, dl_value a, bool transpose_a, dl_value b,
                          bool transpose_b) {
    if (a < 0 || b < 0)
        return -1;
    dl_sample_matmul_attributes clean;
    memset(&clean, 0, sizeof clean);
    clean.transpose_a = transpose_a;
    clean.transpose_b = transpose_b;
    return dl_graph_add(graph, &dl_op_sample_matmul, &clean, (dl_value[]){a, b}, 2);
}
