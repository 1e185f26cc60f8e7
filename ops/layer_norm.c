/* Layer normalisation of each row over the last axis (Ba, Kiros and Hinton, 2016), and its
 * gradient. Mean and variance of a row are cheap to compute again, so nothing is saved for the
 * backward pass. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "ops/narrow.h"
#include "ops/norm.h"
#include "ops/sums.h"

typedef struct layer_norm_state {
    dl_channels channels;
    dl_layer_norm_attributes attributes;
} layer_norm_state;

static dl_status infer_layer_norm(const dl_infer *infer) {
    const dl_type *x = infer->input[0];
    if (x->rank < 1)
        return dl_fail(DL_BAD_JOB, "layer normalisation needs at least one axis");
    for (int i = 1; i < infer->inputs; i++)
        if (infer->input[i]->rank != 1 || infer->input[i]->dim[0] != x->dim[x->rank - 1])
            return dl_fail(DL_INTERNAL, "layer normalisation gets another number of channels");
    *infer->output = *x;
    return DL_OK;
}

static void grad_layer_norm(dl_grad *grad) {
    const dl_layer_norm_attributes *a = grad->attributes;
    dl_graph *graph = grad->graph;
    int64_t channels =
        dl_type_of(graph, grad->input[0])->dim[dl_type_of(graph, grad->input[0])->rank - 1];
    dl_value in[3] = {grad->dy[0], grad->input[0], a->has_gamma ? grad->input[1] : -1};
    dl_value dx = dl_graph_add(graph, &dl_op_layer_norm_gradient, a, in, 2 + a->has_gamma);
    if (dx < 0)
        return;
    grad->dx[0] = dx;
    if (a->has_gamma)
        grad->dx[1] = dl_view(graph, dx + 1, DL_TYPE(DL_F32, channels), channels);
    if (a->has_beta)
        grad->dx[1 + a->has_gamma] = dl_view(graph, dx + 1, DL_TYPE(DL_F32, channels), 0);
}

static dl_status prepare_layer_norm(const dl_prepare *what, dl_prepared *out) {
    layer_norm_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->attributes = *(const dl_layer_norm_attributes *)what->attributes;
    dl_channels_of(what->input[0], &state->channels);
    out->state = state;
    /* of the gradient: a row of differences for each block, and two sums a channel and block */
    out->workspace =
        sizeof(float) * 3 * (size_t)(state->channels.channels * state->channels.blocks);
    return DL_OK;
}

static double sum_of(const float *x, int64_t count, dl_term term) {
    double sum = 0;
    for (int64_t i = 0; i < count; i += DL_SUM_BLOCK)
        sum +=
            (double)dl_block_sum(x + i, count - i < DL_SUM_BLOCK ? count - i : DL_SUM_BLOCK, term);
    return sum;
}

/* y = (x - mean(x)) / sqrt(variance(x) + epsilon); returns the factor. */
static float normalise_row(const float *x, float *y, int64_t count, float epsilon) {
    float mean = (float)(sum_of(x, count, DL_TERM_PLAIN) / (double)count);
    for (int64_t i = 0; i < count; i++)
        y[i] = x[i] - mean;
    float variance = (float)(sum_of(y, count, DL_TERM_SQUARE) / (double)count);
    float inverse = 1.0f / sqrtf(variance + epsilon);
    for (int64_t i = 0; i < count; i++)
        y[i] *= inverse;
    return inverse;
}

/* The next rows can be taken together (narrow.h). */
static bool narrow(int64_t channels, int64_t rows_left) {
    return channels <= DL_NARROW_MOST && rows_left >= DL_NARROW_ROWS;
}

typedef struct layer_norm_call {
    const layer_norm_state *state;
    const dl_run *run;
} layer_norm_call;

static void normalise_rows(void *argument, int64_t first, int64_t last) {
    const layer_norm_call *call = argument;
    const dl_layer_norm_attributes *a = &call->state->attributes;
    int64_t channels = call->state->channels.channels;
    const float *gamma = a->has_gamma ? call->run->in[1] : NULL;
    const float *beta = a->has_beta ? call->run->in[1 + a->has_gamma] : NULL;
    int64_t made = first;
    for (int64_t r = first; r < last; r++) {
        float *y = (float *)call->run->out[0] + r * channels;
        const float *x = (const float *)call->run->in[0] + r * channels;
        if (r == made && narrow(channels, last - r)) {
            dl_narrow_normalise(x, y, channels, a->epsilon);
            made += DL_NARROW_ROWS;
        } else if (r == made) {
            normalise_row(x, y, channels, a->epsilon);
            made++;
        }
        for (int64_t c = 0; gamma && c < channels; c++)
            y[c] *= gamma[c];
        for (int64_t c = 0; beta && c < channels; c++)
            y[c] += beta[c];
    }
}

static dl_status run_layer_norm(const void *state, const dl_run *run) {
    layer_norm_call call = {state, run};
    const dl_channels *channels = &call.state->channels;
    dl_team_range(run->team, channels->rows, 4096 / channels->channels + 1, normalise_rows, &call);
    return DL_OK;
}

const dl_op dl_op_layer_norm = {.name = "layer_norm",
                                .min_inputs = 1,
                                .max_inputs = 3,
                                .outputs = 1,
                                .attribute_bytes = sizeof(dl_layer_norm_attributes),
                                .infer = infer_layer_norm,
                                .grad = grad_layer_norm,
                                .deterministic = true,
                                .cpu = {.prepare = prepare_layer_norm, .run = run_layer_norm}};

/* ---- layer_norm_gradient(dy, x[, gamma]): dx, [sum dy, sum dy * normalised x] ---- */

static dl_status infer_gradient(const dl_infer *infer) {
    const dl_type *x = infer->input[1];
    infer->output[0] = *x;
    infer->output[1] = DL_TYPE(DL_F32, 2 * x->dim[x->rank - 1]);
    return DL_OK;
}

/* With g = dy * gamma: dx = inverse * (g - mean(g) - xhat * mean(g * xhat)). */
static void gradient_row(const float *dy, const float *gamma, const float *xhat, float inverse,
                         float *dx, int64_t count) {
    float product[DL_SUM_BLOCK];
    double along = 0, sum = 0;
    for (int64_t i = 0; i < count; i++)
        dx[i] = gamma ? dy[i] * gamma[i] : dy[i];
    for (int64_t from = 0; from < count; from += DL_SUM_BLOCK) {
        int64_t here = count - from < DL_SUM_BLOCK ? count - from : DL_SUM_BLOCK;
        for (int64_t i = 0; i < here; i++)
            product[i] = dx[from + i] * xhat[from + i];
        along += (double)dl_block_sum(product, here, DL_TERM_PLAIN);
        sum += (double)dl_block_sum(dx + from, here, DL_TERM_PLAIN);
    }
    float mean = (float)(sum / (double)count), slope = (float)(along / (double)count);
    for (int64_t i = 0; i < count; i++)
        dx[i] = inverse * (dx[i] - mean - xhat[i] * slope);
}

static void gradient_blocks(void *argument, int64_t first, int64_t last) {
    const layer_norm_call *call = argument;
    const dl_channels *state = &call->state->channels;
    int64_t channels = state->channels;
    float *partials = call->run->workspace;
    const float *gamma = call->state->attributes.has_gamma ? call->run->in[2] : NULL;
    float epsilon = call->state->attributes.epsilon;
    for (int64_t b = first; b < last; b++) {
        float *sum = partials + b * 2 * channels, *product = sum + channels;
        float *xhat = partials + state->blocks * 2 * channels + b * channels;
        memset(sum, 0, sizeof *sum * 2 * (size_t)channels);
        int64_t rows = dl_block_rows(state, b);
        for (int64_t r = 0; r < rows; r++) {
            int64_t at = (b * state->block_rows + r) * channels;
            const float *dy = (const float *)call->run->in[0] + at;
            const float *x = (const float *)call->run->in[1] + at;
            float *dx = (float *)call->run->out[0] + at;
            if (narrow(channels, rows - r)) {
                dl_narrow_normalise_gradient(dy, x, gamma, dx, channels, epsilon, sum, product);
                r += DL_NARROW_ROWS - 1;
                continue;
            }
            float inverse = normalise_row(x, xhat, channels, epsilon);
            for (int64_t c = 0; c < channels; c++) {
                sum[c] += dy[c];
                product[c] += dy[c] * xhat[c];
            }
            gradient_row(dy, gamma, xhat, inverse, dx, channels);
        }
    }
}

static dl_status run_gradient(const void *state, const dl_run *run) {
    layer_norm_call call = {state, run};
    const dl_channels *channels = &call.state->channels;
    dl_team_range(run->team, channels->blocks, 1, gradient_blocks, &call);
    dl_join_columns(run->workspace, channels->blocks, 2 * channels->channels, run->out[1]);
    return DL_OK;
}

const dl_op dl_op_layer_norm_gradient = {
    .name = "layer_norm_gradient",
    .min_inputs = 2,
    .max_inputs = 3,
    .outputs = 2,
    .attribute_bytes = sizeof(dl_layer_norm_attributes),
    .infer = infer_gradient,
    .mixes_samples = true,
    .deterministic = true,
    .cpu = {.prepare = prepare_layer_norm, .run = run_gradient}};

dl_value dl_layer_norm(dl_graph *graph, dl_value x, dl_value gamma, dl_value beta, float epsilon) {
    dl_layer_norm_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.epsilon = epsilon;
    attributes.has_gamma = gamma >= 0;
    attributes.has_beta = beta >= 0;
    dl_value in[3] = {x};
    int inputs = 1;
    if (gamma >= 0)
        in[inputs++] = gamma;
    if (beta >= 0)
        in[inputs++] = beta;
    return dl_graph_add(graph, &dl_op_layer_norm, &attributes, in, inputs);
}
