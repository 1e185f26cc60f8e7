/* Batch normalisation over the last axis. The forward pass is statistics (channel_sum, which the layer
 * sums over shards) and one pass over x; the backward pass is two column sums, summed over shards where the
 * statistics were, and one pass. Ioffe and Szegedy, "Batch normalization", 2015. Layer normalisation is
 * in layer_norm.c. */
#include <math.h>
#include <string.h>

#include "ops/norm.h"
#include "ops/sums.h"
#include "runtime/base/clones.h"

dl_status dl_channels_of(const dl_type *x, size_t vectors, dl_prepared *out)
{
    dl_channels *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->channels = x->dim[x->rank - 1];
    state->rows = dl_type_count(x) / state->channels;
    state->blocks = (state->rows + DL_CHANNEL_ROWS - 1) / DL_CHANNEL_ROWS;
    out->state = state;
    out->workspace = vectors * (size_t)state->blocks * (size_t)state->channels * sizeof(float);
    return DL_OK;
}

void dl_join_columns(const float *partial, int64_t blocks, int64_t columns, float *sum)
{
    for (int64_t c = 0; c < columns; c++) {
        double total = 0;
        for (int64_t b = 0; b < blocks; b++)
            total += (double)partial[b * columns + c];
        sum[c] = (float)total;
    }
}

int64_t dl_block_rows(const dl_channels *state, int64_t block)
{
    int64_t left = state->rows - block * DL_CHANNEL_ROWS;
    return left < DL_CHANNEL_ROWS ? left : DL_CHANNEL_ROWS;
}

static dl_status check_vectors(const dl_infer *infer, int first, int last)
{
    const dl_type *x = infer->input[0];
    if (x->rank < 1 || x->dtype != DL_F32)
        return dl_fail(DL_BAD_JOB, "normalisation needs at least one axis");
    for (int i = first; i < last; i++)
        if (infer->input[i]->rank != 1 || infer->input[i]->dim[0] != x->dim[x->rank - 1])
            return dl_fail(DL_INTERNAL, "normalisation over %lld channels gets another number",
                           (long long)x->dim[x->rank - 1]);
    return DL_OK;
}

typedef struct block_call {
    const dl_channels *state;
    const dl_run *run;
    float *partial;
} block_call;

/* ---- channel_sum ---- */

static dl_status infer_channel_sum(const dl_infer *infer)
{
    DL_TRY(check_vectors(infer, 1, infer->inputs));
    *infer->output = DL_TYPE(DL_F32, infer->input[0]->dim[infer->input[0]->rank - 1]);
    return DL_OK;
}

static void grad_channel_sum(dl_grad *grad)
{
    dl_graph *graph = grad->graph;
    if (grad->inputs == 1) {
        grad->dx[0] = dl_broadcast(graph, grad->dy[0], *dl_type_of(graph, grad->input[0]));
        return;
    }
    dl_value twice = dl_map(graph, "2 * (x0 - x1) * x2",
                            (dl_value[]){grad->input[0], grad->input[1], grad->dy[0]}, 3);
    grad->dx[0] = twice;
    if (grad->need[1]) {
        dl_value back = dl_channel_sum(graph, twice, -1);
        grad->dx[1] = dl_map(graph, "-x", &back, 1);
    }
}

static dl_status prepare_channel_sum(const dl_prepare *what, dl_prepared *out)
{
    return dl_channels_of(what->input[0], 1, out);
}

static void channel_sum_blocks(void *argument, int64_t first, int64_t last)
{
    const block_call *call = argument;
    int64_t c = call->state->channels;
    bool centred = call->run->in[1] != NULL;
    for (int64_t b = first; b < last; b++)
        dl_column_sum((const float *)call->run->in[0] + b * DL_CHANNEL_ROWS * c,
                      dl_block_rows(call->state, b), c, c, centred ? call->run->in[1] : NULL,
                      DL_TERM_PLAIN, call->partial + b * c);
}

static dl_status run_channel_sum(const void *state, const dl_run *run)
{
    block_call call = {state, run, run->workspace};
    dl_team_range(run->team, call.state->blocks, 1 + 64 / call.state->channels, channel_sum_blocks,
                  &call);
    dl_join_columns(call.partial, call.state->blocks, call.state->channels, run->out[0]);
    return DL_OK;
}

static dl_status run_plain_channel_sum(const void *state, const dl_run *run)
{
    dl_run plain = *run;
    const void *in[2] = {run->in[0], NULL};
    plain.in = in;
    return run_channel_sum(state, &plain);
}

const dl_op dl_op_channel_sum = {.name = "channel_sum",
                                 .min_inputs = 1,
                                 .max_inputs = 1,
                                 .outputs = 1,
                                 .infer = infer_channel_sum,
                                 .grad = grad_channel_sum,
                                 .mixes_samples = true,
                                 .deterministic = true,
                                 .cpu = {.prepare = prepare_channel_sum,
                                         .run = run_plain_channel_sum}};

const dl_op dl_op_channel_squares = {.name = "channel_squares",
                                     .min_inputs = 2,
                                     .max_inputs = 2,
                                     .outputs = 1,
                                     .infer = infer_channel_sum,
                                     .grad = grad_channel_sum,
                                     .mixes_samples = true,
                                     .deterministic = true,
                                     .cpu = {.prepare = prepare_channel_sum,
                                             .run = run_channel_sum}};

dl_value dl_channel_sum(dl_graph *graph, dl_value x, dl_value center)
{
    if (center < 0)
        return dl_graph_add(graph, &dl_op_channel_sum, NULL, &x, 1);
    return dl_graph_add(graph, &dl_op_channel_squares, NULL, (dl_value[]){x, center}, 2);
}

/* ---- batch_norm: x, mean, variance, then gamma, beta, count as far as there are any ---- */

static dl_status infer_batch_norm(const dl_infer *infer)
{
    const dl_batch_norm_attributes *a = infer->attributes;
    DL_TRY(check_vectors(infer, 1, 3 + a->has_gamma + a->has_beta));
    *infer->output = *infer->input[0];
    return DL_OK;
}

static void grad_batch_norm(dl_grad *grad)
{
    const dl_batch_norm_attributes *a = grad->attributes;
    dl_graph *graph = grad->graph;
    const dl_value *in = grad->input;
    int64_t channels = dl_type_of(graph, in[1])->dim[0];
    bool needs_weights = (a->has_gamma && grad->need[3]) ||
                         (a->has_beta && grad->need[3 + a->has_gamma]);
    dl_value sums = -1;
    if (needs_weights || (a->statistics_of_x && grad->need[0])) {
        dl_value from[4] = {grad->dy[0], in[0], in[1], in[2]};
        sums = dl_graph_add(graph, &dl_op_batch_norm_sums, a, from, 4);
    }
    if (a->has_gamma)
        grad->dx[3] = dl_view(graph, sums, DL_TYPE(DL_F32, channels), channels);
    if (a->has_beta)
        grad->dx[3 + a->has_gamma] = dl_view(graph, sums, DL_TYPE(DL_F32, channels), 0);
    if (!grad->need[0])
        return;
    dl_value from[7] = {grad->dy[0], in[0], in[1], in[2]};
    int count = 4;
    if (a->has_gamma)
        from[count++] = in[3];
    if (a->statistics_of_x) {
        dl_value all = sums;
        if (a->global)
            all = dl_sum_part(graph, dl_sum_leaves(graph, &sums, 1, graph->scope), 0);
        from[count++] = all;
        from[count++] = in[3 + a->has_gamma + a->has_beta];
    }
    grad->dx[0] = dl_graph_add(graph, &dl_op_batch_norm_input_gradient, a, from, count);
}

typedef struct norm_state {
    dl_channels channels;
    dl_batch_norm_attributes attributes;
} norm_state;

static dl_status prepare_norm(const dl_prepare *what, dl_prepared *out)
{
    norm_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    const dl_type *x = what->input[0];
    state->attributes = *(const dl_batch_norm_attributes *)what->attributes;
    state->channels.channels = x->dim[x->rank - 1];
    state->channels.rows = dl_type_count(x) / state->channels.channels;
    state->channels.blocks =
        (state->channels.rows + DL_CHANNEL_ROWS - 1) / DL_CHANNEL_ROWS;
    out->state = state;
    out->workspace = 4 * (size_t)state->channels.channels * sizeof(float);
    return DL_OK;
}

typedef struct norm_call {
    const norm_state *state;
    const float *x, *dy, *mean, *scale, *shift, *slope;
    float *y;
} norm_call;

DL_CLONES static void apply_rows(const float *x, const float *restrict mean,
                                 const float *restrict scale, const float *restrict shift, float *y,
                                 int64_t rows, int64_t channels)
{
    for (int64_t r = 0; r < rows; r++, x += channels, y += channels)
        for (int64_t c = 0; c < channels; c++)
            y[c] = (x[c] - mean[c]) * scale[c] + shift[c];
}

static void apply_range(void *argument, int64_t first, int64_t last)
{
    const norm_call *call = argument;
    int64_t c = call->state->channels.channels;
    apply_rows(call->x + first * c, call->mean, call->scale, call->shift, call->y + first * c,
               last - first, c);
}

static dl_status run_batch_norm(const void *state_pointer, const dl_run *run)
{
    const norm_state *state = state_pointer;
    const dl_batch_norm_attributes *a = &state->attributes;
    int64_t channels = state->channels.channels;
    const float *variance = run->in[2], *gamma = a->has_gamma ? run->in[3] : NULL;
    const float *beta = a->has_beta ? run->in[3 + a->has_gamma] : NULL;
    float *scale = run->workspace, *shift = scale + channels;
    for (int64_t c = 0; c < channels; c++) {
        scale[c] = (gamma ? gamma[c] : 1.0f) / sqrtf(variance[c] + a->epsilon);
        shift[c] = beta ? beta[c] : 0.0f;
    }
    norm_call call = {state, run->in[0], NULL, run->in[1], scale, shift, NULL, run->out[0]};
    dl_team_range(run->team, state->channels.rows, 16384 / channels + 1, apply_range, &call);
    return DL_OK;
}

const dl_op dl_op_batch_norm = {.name = "batch_norm",
                                .min_inputs = 3,
                                .max_inputs = 6,
                                .outputs = 1,
                                .attribute_bytes = sizeof(dl_batch_norm_attributes),
                                .infer = infer_batch_norm,
                                .grad = grad_batch_norm,
                                .in_place = 1,
                                .deterministic = true,
                                .cpu = {.prepare = prepare_norm, .run = run_batch_norm}};

/* ---- batch_norm_sums(dy, x, mean, variance): [sum dy, sum dy * (x - mean) / sqrt(variance + eps)] ---- */

static dl_status infer_sums(const dl_infer *infer)
{
    *infer->output = DL_TYPE(DL_F32, 2 * infer->input[2]->dim[0]);
    return DL_OK;
}

static dl_status prepare_sums(const dl_prepare *what, dl_prepared *out)
{
    DL_TRY(prepare_norm(what, out));
    const norm_state *state = out->state;
    out->workspace +=
        2 * (size_t)state->channels.blocks * (size_t)state->channels.channels * sizeof(float);
    return DL_OK;
}

DL_CLONES static void sum_rows(const float *restrict dy, const float *restrict x,
                               const float *restrict mean, float *restrict sum,
                               float *restrict product, int64_t rows, int64_t channels)
{
    for (int64_t r = 0; r < rows; r++, x += channels, dy += channels)
        for (int64_t c = 0; c < channels; c++) {
            sum[c] += dy[c];
            product[c] += dy[c] * (x[c] - mean[c]);
        }
}

typedef struct sums_call {
    const norm_state *state;
    const float *dy, *x, *mean;
    float *partial;
} sums_call;

static void sum_blocks(void *argument, int64_t first, int64_t last)
{
    const sums_call *call = argument;
    int64_t c = call->state->channels.channels;
    for (int64_t b = first; b < last; b++) {
        float *partial = call->partial + b * 2 * c;
        memset(partial, 0, sizeof(float) * 2 * (size_t)c);
        sum_rows(call->dy + b * DL_CHANNEL_ROWS * c, call->x + b * DL_CHANNEL_ROWS * c, call->mean,
                 partial, partial + c, dl_block_rows(&call->state->channels, b), c);
    }
}

static dl_status run_sums(const void *state_pointer, const dl_run *run)
{
    const norm_state *state = state_pointer;
    int64_t c = state->channels.channels;
    const float *variance = run->in[3];
    float *out = run->out[0];
    sums_call call = {state, run->in[0], run->in[1], run->in[2], run->workspace};
    dl_team_range(run->team, state->channels.blocks, 1 + 64 / c, sum_blocks, &call);
    dl_join_columns(call.partial, state->channels.blocks, 2 * c, out);
    for (int64_t i = 0; i < c; i++)
        out[c + i] /= sqrtf(variance[i] + state->attributes.epsilon);
    return DL_OK;
}

const dl_op dl_op_batch_norm_sums = {.name = "batch_norm_sums",
                                     .min_inputs = 4,
                                     .max_inputs = 4,
                                     .outputs = 1,
                                     .attribute_bytes = sizeof(dl_batch_norm_attributes),
                                     .infer = infer_sums,
                                     .mixes_samples = true,
                                     .deterministic = true,
                                     .cpu = {.prepare = prepare_sums, .run = run_sums}};

/* ---- batch_norm_input_gradient(dy, x, mean, variance[, gamma][, sums, count]) ---- */

static dl_status infer_input_gradient(const dl_infer *infer)
{
    *infer->output = *infer->input[0];
    return DL_OK;
}

/* dx = scale * dy - slope * (x - mean) - shift */
DL_CLONES static void gradient_rows(const float *dy, const float *x, const norm_call *call, float *dx,
                                    int64_t rows, int64_t channels)
{
    const float *restrict mean = call->mean, *restrict scale = call->scale;
    const float *restrict slope = call->slope, *restrict shift = call->shift;
    for (int64_t r = 0; r < rows; r++, x += channels, dy += channels, dx += channels)
        for (int64_t c = 0; c < channels; c++)
            dx[c] = scale[c] * dy[c] - slope[c] * (x[c] - mean[c]) - shift[c];
}

static void gradient_range(void *argument, int64_t first, int64_t last)
{
    const norm_call *call = argument;
    int64_t c = call->state->channels.channels;
    gradient_rows(call->dy + first * c, call->x + first * c, call, call->y + first * c, last - first,
                  c);
}

static dl_status run_input_gradient(const void *state_pointer, const dl_run *run)
{
    const norm_state *state = state_pointer;
    const dl_batch_norm_attributes *a = &state->attributes;
    int64_t channels = state->channels.channels;
    const float *variance = run->in[3], *gamma = a->has_gamma ? run->in[4] : NULL;
    const float *sums = a->statistics_of_x ? run->in[4 + a->has_gamma] : NULL;
    float share = sums ? 1.0f / *(const float *)run->in[5 + a->has_gamma] : 0.0f;
    float *scale = run->workspace, *slope = scale + channels, *shift = slope + channels;
    for (int64_t c = 0; c < channels; c++) {
        float inverse = 1.0f / sqrtf(variance[c] + a->epsilon);
        scale[c] = (gamma ? gamma[c] : 1.0f) * inverse;
        slope[c] = sums ? scale[c] * inverse * (sums[channels + c] * share) : 0.0f;
        shift[c] = sums ? scale[c] * (sums[c] * share) : 0.0f;
    }
    norm_call call = {state, run->in[1], run->in[0], run->in[2], scale, shift, slope, run->out[0]};
    dl_team_range(run->team, state->channels.rows, 16384 / channels + 1, gradient_range, &call);
    return DL_OK;
}

const dl_op dl_op_batch_norm_input_gradient = {
    .name = "batch_norm_input_gradient",
    .min_inputs = 4,
    .max_inputs = 7,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_batch_norm_attributes),
    .infer = infer_input_gradient,
    .in_place = 1,
    .deterministic = true,
    .cpu = {.prepare = prepare_norm, .run = run_input_gradient}};

dl_value dl_batch_norm(dl_graph *graph, dl_value x, dl_value mean, dl_value variance, dl_value gamma,
                       dl_value beta, dl_value count, const dl_batch_norm_attributes *attributes)
{
    dl_batch_norm_attributes a;
    memset(&a, 0, sizeof a);
    a.epsilon = attributes->epsilon;
    a.statistics_of_x = attributes->statistics_of_x;
    a.global = attributes->global;
    a.has_gamma = gamma >= 0;
    a.has_beta = beta >= 0;
    dl_value in[6] = {x, mean, variance};
    int inputs = 3;
    if (a.has_gamma)
        in[inputs++] = gamma;
    if (a.has_beta)
        in[inputs++] = beta;
    if (a.statistics_of_x)
        in[inputs++] = count;
    return dl_graph_add(graph, &dl_op_batch_norm, &a, in, inputs);
}
