/* Softmax over the last axis, the cross-entropy of logits with its probabilities, and the top-k
 * hit. The exponential is that of runtime/expr/math.h, so that every instruction set gives the same
 * bits. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/narrow.h"
#include "ops/ops.h"
#include "ops/sums.h"
#include "runtime/base/clones.h"
#include "runtime/expr/math.h"

typedef struct rows_state {
    int64_t rows, width;
    bool labels; /* target: int32 labels, else float32 rows */
    float smoothing;
    int k;
} rows_state;

static dl_status give_rows(const dl_type *x, rows_state **out, dl_prepared *prepared) {
    rows_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->width = x->dim[x->rank - 1];
    state->rows = dl_type_count(x) / state->width;
    prepared->state = state;
    *out = state;
    return DL_OK;
}

static float row_sum(const float *x, int64_t width) {
    if (width <= DL_SUM_BLOCK)
        return dl_block_sum(x, width, DL_TERM_PLAIN);
    double sum = 0;
    for (int64_t i = 0; i < width; i += DL_SUM_BLOCK)
        sum += (double)dl_block_sum(x + i, width - i < DL_SUM_BLOCK ? width - i : DL_SUM_BLOCK,
                                    DL_TERM_PLAIN);
    return (float)sum;
}

DL_CLONES static void exp_row(const float *restrict x, float most, float *restrict y,
                              int64_t width) {
    for (int64_t i = 0; i < width; i++)
        y[i] = dl_m_exp(x[i] - most);
}

/* y = softmax(x). The logarithm of sum(exp(x)) is *greatest_logit + what is returned: kept apart,
 * because added up a small loss beside large logits would lose its digits. */
static float softmax_row(const float *x, float *y, int64_t width, float *greatest_logit) {
    float most = *greatest_logit = dl_block_max(x, width);
    exp_row(x, most, y, width);
    float sum = row_sum(y, width);
    for (int64_t i = 0; i < width; i++)
        y[i] /= sum;
    return dl_m_log(sum);
}

/* softmax_row of the next rows: sixteen narrow ones, or one; returns how many. */
static int softmax_some(const float *x, float *y, int64_t width, int64_t left,
                        float greatest_logit[DL_NARROW_ROWS], float log_sum[DL_NARROW_ROWS]) {
    if (width > DL_NARROW_MOST || left < DL_NARROW_ROWS) {
        log_sum[0] = softmax_row(x, y, width, greatest_logit);
        return 1;
    }
    dl_narrow_softmax(x, y, width, greatest_logit, log_sum);
    return DL_NARROW_ROWS;
}

typedef struct rows_call {
    const rows_state *state;
    const dl_run *run;
} rows_call;

static int64_t grain_of(const rows_state *state) {
    return 4096 / state->width + 1;
}

/* ---- softmax ---- */

static dl_status infer_softmax(const dl_infer *infer) {
    if (infer->input[0]->rank < 1 || infer->input[0]->dtype != DL_F32)
        return dl_fail(DL_BAD_JOB, "softmax needs at least one axis");
    *infer->output = *infer->input[0];
    return DL_OK;
}

static void grad_softmax(dl_grad *grad) {
    grad->dx[0] = dl_graph_add(grad->graph, &dl_op_softmax_gradient, NULL,
                               (dl_value[]){grad->output, grad->dy[0]}, 2);
}

static dl_status prepare_softmax(const dl_prepare *what, dl_prepared *out) {
    rows_state *state = NULL;
    return give_rows(what->input[0], &state, out);
}

static void softmax_rows(void *argument, int64_t first, int64_t last) {
    const rows_call *call = argument;
    int64_t width = call->state->width;
    float most[DL_NARROW_ROWS], log_sum[DL_NARROW_ROWS];
    for (int64_t r = first; r < last;)
        r += softmax_some((const float *)call->run->in[0] + r * width,
                          (float *)call->run->out[0] + r * width, width, last - r, most, log_sum);
}

static dl_status run_softmax(const void *state, const dl_run *run) {
    rows_call call = {state, run};
    dl_team_range(run->team, call.state->rows, grain_of(call.state), softmax_rows, &call);
    return DL_OK;
}

const dl_op dl_op_softmax = {.name = "softmax",
                             .min_inputs = 1,
                             .max_inputs = 1,
                             .outputs = 1,
                             .infer = infer_softmax,
                             .grad = grad_softmax,
                             .deterministic = true,
                             .cpu = {.prepare = prepare_softmax, .run = run_softmax}};

/* dx = y * (dy - sum(dy * y)) */
static void softmax_gradient_rows(void *argument, int64_t first, int64_t last) {
    const rows_call *call = argument;
    int64_t width = call->state->width;
    for (int64_t r = first; r < last; r++) {
        const float *y = (const float *)call->run->in[0] + r * width;
        const float *dy = (const float *)call->run->in[1] + r * width;
        float *dx = (float *)call->run->out[0] + r * width;
        if (width <= DL_NARROW_MOST && last - r >= DL_NARROW_ROWS) {
            dl_narrow_softmax_gradient(y, dy, dx, width);
            r += DL_NARROW_ROWS - 1;
            continue;
        }
        for (int64_t i = 0; i < width; i++)
            dx[i] = dy[i] * y[i];
        float sum = row_sum(dx, width);
        for (int64_t i = 0; i < width; i++)
            dx[i] = y[i] * (dy[i] - sum);
    }
}

static dl_status run_softmax_gradient(const void *state, const dl_run *run) {
    rows_call call = {state, run};
    dl_team_range(run->team, call.state->rows, grain_of(call.state), softmax_gradient_rows, &call);
    return DL_OK;
}

const dl_op dl_op_softmax_gradient = {
    .name = "softmax_gradient",
    .min_inputs = 2,
    .max_inputs = 2,
    .outputs = 1,
    .infer = infer_softmax,
    .deterministic = true,
    .cpu = {.prepare = prepare_softmax, .run = run_softmax_gradient}};

dl_value dl_softmax(dl_graph *graph, dl_value x) {
    return dl_graph_add(graph, &dl_op_softmax, NULL, &x, 1);
}

/* ---- cross-entropy of logits ---- */

static dl_status check_target(const dl_type *logits, const dl_type *target) {
    int64_t rows = dl_type_count(logits) / logits->dim[logits->rank - 1];
    bool labels = target->dtype == DL_I32 && dl_type_count(target) == rows;
    if (labels || (target->dtype == DL_F32 && dl_same_shape(target, logits)))
        return DL_OK;
    char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
    return dl_fail(DL_BAD_JOB,
                   "predictions %s and targets %s (%s) do not meet: a target is a label for each "
                   "prediction, or as many numbers",
                   dl_shape_text(logits, true, a), dl_shape_text(target, true, b),
                   dl_dtype_text(target->dtype));
}

static dl_status infer_cross_entropy(const dl_infer *infer) {
    DL_TRY(check_target(infer->input[0], infer->input[1]));
    infer->output[0] = infer->output[1] = *infer->input[0];
    infer->output[0].rank--;
    return DL_OK;
}

/* dloss * (1 - smoothing) * (log(sum(exp(x))) - x): for targets that a network makes. */
static dl_value grad_target(const dl_grad *grad, float smoothing) {
    dl_graph *graph = grad->graph;
    dl_value x = grad->input[0];
    dl_type rows = *dl_type_of(graph, x);
    uint32_t last = 1u << (rows.rank - 1);
    rows.dim[rows.rank - 1] = 1;
    dl_value most = dl_reduce(graph, x, DL_REDUCE_MAX, last, true);
    dl_value power = dl_map(graph, "exp(x0 - x1)", (dl_value[]){x, most}, 2);
    dl_value sum = dl_reduce(graph, power, DL_REDUCE_SUM, last, true);
    dl_value dloss = dl_reshape(graph, grad->dy[0], rows);
    char text[80];
    snprintf(text, sizeof text, "%.9g * x3 * (log(x2) - (x0 - x1))", 1.0 - (double)smoothing);
    return dl_map(graph, text, (dl_value[]){x, most, sum, dloss}, 4);
}

static void grad_cross_entropy(dl_grad *grad) {
    dl_graph *graph = grad->graph;
    dl_value probability = grad->output + 1;
    dl_value from_loss = -1, from_probability = -1;
    if (grad->need[1] && grad->dy[0] >= 0)
        grad->dx[1] =
            grad_target(grad, ((const dl_cross_entropy_attributes *)grad->attributes)->smoothing);
    if (!grad->need[0])
        return;
    if (grad->dy[0] >= 0)
        from_loss = dl_graph_add(graph, &dl_op_softmax_cross_entropy_gradient, grad->attributes,
                                 (dl_value[]){probability, grad->input[1], grad->dy[0]}, 3);
    if (grad->dy[1] >= 0)
        from_probability = dl_graph_add(graph, &dl_op_softmax_gradient, NULL,
                                        (dl_value[]){probability, grad->dy[1]}, 2);
    grad->dx[0] = from_loss < 0 ? from_probability
                  : from_probability < 0
                      ? from_loss
                      : dl_map(graph, "x0 + x1", (dl_value[]){from_loss, from_probability}, 2);
}

static dl_status prepare_cross_entropy(const dl_prepare *what, dl_prepared *out) {
    rows_state *state = NULL;
    DL_TRY(give_rows(what->input[0], &state, out));
    state->labels = what->input[1]->dtype == DL_I32;
    state->smoothing = ((const dl_cross_entropy_attributes *)what->attributes)->smoothing;
    return DL_OK;
}

static dl_status check_labels(const rows_state *state, const int32_t *label) {
    for (int64_t r = 0; r < state->rows; r++)
        if (label[r] < 0 || label[r] >= state->width)
            return dl_fail(DL_BAD_JOB, "label %" PRId32 " is outside 0..%" PRId64, label[r],
                           state->width - 1);
    return DL_OK;
}

static float smooth(const rows_state *s, float target) {
    return s->smoothing == 0.0f ? target
                                : target * (1.0f - s->smoothing) + s->smoothing / (float)s->width;
}

static void cross_entropy_rows(void *argument, int64_t first, int64_t last) {
    const rows_call *call = argument;
    const rows_state *s = call->state;
    float *loss = call->run->out[0];
    float greatest[DL_NARROW_ROWS], log_sums[DL_NARROW_ROWS];
    int made = 0, at = 0;
    for (int64_t r = first; r < last; r++, at++) {
        const float *x = (const float *)call->run->in[0] + r * s->width;
        if (at == made) {
            made = softmax_some(x, (float *)call->run->out[1] + r * s->width, s->width, last - r,
                                greatest, log_sums);
            at = 0;
        }
        float most = greatest[at], log_sum = log_sums[at];
        if (s->labels) {
            loss[r] = log_sum + (most - x[((const int32_t *)call->run->in[1])[r]]);
            continue;
        }
        const float *target = (const float *)call->run->in[1] + r * s->width;
        double sum = 0;
        for (int64_t i = 0; i < s->width; i++)
            if (target[i] != 0.0f || s->smoothing != 0.0f)
                sum += (double)(smooth(s, target[i]) * (log_sum + (most - x[i])));
        loss[r] = (float)sum;
    }
}

static dl_status run_cross_entropy(const void *state, const dl_run *run) {
    rows_call call = {state, run};
    if (call.state->labels)
        DL_TRY(check_labels(call.state, run->in[1]));
    dl_team_range(run->team, call.state->rows, grain_of(call.state), cross_entropy_rows, &call);
    return DL_OK;
}

const dl_op dl_op_softmax_cross_entropy = {
    .name = "softmax_cross_entropy",
    .min_inputs = 2,
    .max_inputs = 2,
    .outputs = 2,
    .attribute_bytes = sizeof(dl_cross_entropy_attributes),
    .infer = infer_cross_entropy,
    .grad = grad_cross_entropy,
    .deterministic = true,
    .cpu = {.prepare = prepare_cross_entropy, .run = run_cross_entropy}};

static dl_status infer_cross_entropy_gradient(const dl_infer *infer) {
    *infer->output = *infer->input[0];
    return DL_OK;
}

/* dx = dloss * (p * sum(target) - target) */
static void cross_entropy_gradient_rows(void *argument, int64_t first, int64_t last) {
    const rows_call *call = argument;
    const rows_state *s = call->state;
    for (int64_t r = first; r < last; r++) {
        const float *p = (const float *)call->run->in[0] + r * s->width;
        float *dx = (float *)call->run->out[0] + r * s->width;
        float dloss = ((const float *)call->run->in[2])[r];
        if (s->labels) {
            int32_t label = ((const int32_t *)call->run->in[1])[r];
            for (int64_t i = 0; i < s->width; i++)
                dx[i] = dloss * (i == label ? p[i] - 1.0f : p[i]);
            continue;
        }
        const float *target = (const float *)call->run->in[1] + r * s->width;
        float total = 0;
        for (int64_t i = 0; i < s->width; i++)
            total += smooth(s, target[i]);
        for (int64_t i = 0; i < s->width; i++)
            dx[i] = dloss * (p[i] * total - smooth(s, target[i]));
    }
}

static dl_status run_cross_entropy_gradient(const void *state, const dl_run *run) {
    rows_call call = {state, run};
    dl_team_range(run->team, call.state->rows, grain_of(call.state), cross_entropy_gradient_rows,
                  &call);
    return DL_OK;
}

const dl_op dl_op_softmax_cross_entropy_gradient = {
    .name = "softmax_cross_entropy_gradient",
    .min_inputs = 3,
    .max_inputs = 3,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_cross_entropy_attributes),
    .infer = infer_cross_entropy_gradient,
    .deterministic = true,
    .cpu = {.prepare = prepare_cross_entropy, .run = run_cross_entropy_gradient}};

dl_value dl_softmax_cross_entropy(dl_graph *graph, dl_value logits, dl_value target,
                                  float label_smoothing) {
    dl_cross_entropy_attributes attributes = {label_smoothing};
    return dl_graph_add(graph, &dl_op_softmax_cross_entropy, &attributes,
                        (dl_value[]){logits, target}, 2);
}

/* ---- is the target among the k greatest? ---- */

static dl_status infer_in_top_k(const dl_infer *infer) {
    DL_TRY(check_target(infer->input[0], infer->input[1]));
    *infer->output = *infer->input[0];
    infer->output->rank--;
    return DL_OK;
}

static dl_status prepare_in_top_k(const dl_prepare *what, dl_prepared *out) {
    rows_state *state = NULL;
    DL_TRY(give_rows(what->input[0], &state, out));
    state->labels = what->input[1]->dtype == DL_I32;
    state->k = ((const dl_in_top_k_attributes *)what->attributes)->k;
    return DL_OK;
}

static int64_t greatest(const float *row, int64_t width) {
    int64_t best = 0;
    for (int64_t i = 1; i < width; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

static dl_status run_in_top_k(const void *state, const dl_run *run) {
    const rows_state *s = state;
    float *hit = run->out[0];
    if (s->labels)
        DL_TRY(check_labels(s, run->in[1]));
    for (int64_t r = 0; r < s->rows; r++) {
        const float *p = (const float *)run->in[0] + r * s->width;
        int64_t target = s->labels ? ((const int32_t *)run->in[1])[r]
                                   : greatest((const float *)run->in[1] + r * s->width, s->width);
        int64_t before = 0;
        for (int64_t i = 0; i < s->width; i++)
            before += p[i] > p[target] || (p[i] == p[target] && i < target);
        hit[r] = p[target] == p[target] && before < s->k ? 1.0f : 0.0f;
    }
    return DL_OK;
}

const dl_op dl_op_in_top_k = {.name = "in_top_k",
                              .min_inputs = 2,
                              .max_inputs = 2,
                              .outputs = 1,
                              .attribute_bytes = sizeof(dl_in_top_k_attributes),
                              .infer = infer_in_top_k,
                              .deterministic = true,
                              .cpu = {.prepare = prepare_in_top_k, .run = run_in_top_k}};

dl_value dl_in_top_k(dl_graph *graph, dl_value prediction, dl_value target, int k) {
    dl_in_top_k_attributes attributes = {k};
    return dl_graph_add(graph, &dl_op_in_top_k, &attributes, (dl_value[]){prediction, target}, 2);
}
