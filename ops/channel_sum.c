/* Channels: x as rows of them, and the statistics of batch normalisation, sums over all rows of x
 * or of its squares around a centre. norm.c reads them. */
#include "ops/cells.h"
#include "ops/norm.h"
#include "runtime/base/clones.h"
#include "runtime/base/memory.h"

void dl_channels_of(const dl_type *x, dl_channels *out) {
    enum { ROWS = 256, NARROW = 32 };
    out->channels = x->dim[x->rank - 1];
    out->rows = dl_type_count(x) / out->channels;
    out->block_rows = out->channels < NARROW ? ROWS * NARROW / out->channels : ROWS;
    out->blocks = (out->rows + out->block_rows - 1) / out->block_rows;
    out->half = x->dtype == DL_BF16;
}

dl_status dl_channels_prepare(const dl_type *x, int sums, dl_prepared *out) {
    dl_channels *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    dl_channels_of(x, state);
    out->state = state;
    out->workspace = (size_t)(sums * state->blocks * state->channels) * sizeof(float);
    return DL_OK;
}

DL_CLONES void dl_join_columns(const float *partial, int64_t blocks, int64_t columns, float *sum) {
    enum { TOGETHER = 256 };
    double total[TOGETHER];
    for (int64_t first = 0; first < columns; first += TOGETHER) {
        int64_t count = columns - first < TOGETHER ? columns - first : TOGETHER;
        for (int64_t c = 0; c < count; c++)
            total[c] = 0;
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t c = 0; c < count; c++)
                total[c] += (double)partial[b * columns + first + c];
        for (int64_t c = 0; c < count; c++)
            sum[first + c] = (float)total[c];
    }
}

int64_t dl_block_rows(const dl_channels *state, int64_t block) {
    int64_t left = state->rows - block * state->block_rows;
    return left < state->block_rows ? left : state->block_rows;
}

dl_status dl_check_channels(const dl_infer *infer, int first, int last) {
    const dl_type *x = infer->input[0];
    if (x->rank < 1 || !dl_is_float(x->dtype))
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

static dl_status infer_channel_sum(const dl_infer *infer) {
    DL_TRY(dl_check_channels(infer, 1, infer->inputs));
    *infer->output = DL_TYPE(DL_F32, infer->input[0]->dim[infer->input[0]->rank - 1]);
    return DL_OK;
}

static void grad_channel_sum(dl_grad *grad) {
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

static dl_status prepare_channel_sum(const dl_prepare *what, dl_prepared *out) {
    return dl_channels_prepare(what->input[0], 1, out);
}

static void channel_sum_blocks(void *argument, int64_t first, int64_t last) {
    const block_call *call = argument;
    int64_t c = call->state->channels;
    bool centred = call->run->in[1] != NULL;
    for (int64_t b = first; b < last; b++)
        dl_column_sum(
            dl_cell_at(call->run->in[0], b * call->state->block_rows * c, call->state->half),
            call->state->half, dl_block_rows(call->state, b), c, centred ? call->run->in[1] : NULL,
            DL_TERM_PLAIN, call->partial + b * c);
}

static dl_status run_channel_sum(const void *state, const dl_run *run) {
    block_call call = {state, run, run->workspace};
    dl_team_range(run->team, call.state->blocks, 1, channel_sum_blocks, &call);
    dl_join_columns(call.partial, call.state->blocks, call.state->channels, run->out[0]);
    return DL_OK;
}

static dl_status run_plain_channel_sum(const void *state, const dl_run *run) {
    dl_run plain = *run;
    const void *in[2] = {run->in[0], NULL};
    plain.in = in;
    return run_channel_sum(state, &plain);
}

const dl_op dl_op_channel_sum = {
    .name = "channel_sum",
    .min_inputs = 1,
    .max_inputs = 1,
    .outputs = 1,
    .infer = infer_channel_sum,
    .grad = grad_channel_sum,
    .half = 1,
    .mixes_samples = true,
    .deterministic = true,
    .cpu = {.prepare = prepare_channel_sum, .run = run_plain_channel_sum}};

const dl_op dl_op_channel_squares = {
    .name = "channel_squares",
    .min_inputs = 2,
    .max_inputs = 2,
    .outputs = 1,
    .infer = infer_channel_sum,
    .grad = grad_channel_sum,
    .half = 1,
    .mixes_samples = true,
    .deterministic = true,
    .cpu = {.prepare = prepare_channel_sum, .run = run_channel_sum}};

dl_value dl_channel_sum(dl_graph *graph, dl_value x, dl_value center) {
    if (center < 0)
        return dl_graph_add(graph, &dl_op_channel_sum, NULL, &x, 1);
    return dl_graph_add(graph, &dl_op_channel_squares, NULL, (dl_value[]){x, center}, 2);
}
