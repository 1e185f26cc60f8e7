/* Statistics of batch normalisation in one pass over x, for devices: channel_sum.c takes two, the
 * second around the mean that the first one gave. From sums of x and of its squares the squares
 * around a centre c are  sum x^2 - 2 c sum x + n c^2.  The sums are float32's: each is within about
 * (terms + 2) epsilon of itself, and as much of n (mean^2 + variance) epsilon is the error of what
 * is left of them, so the variance keeps float32's digits but for those of (mean / deviation)^2.
 * With half numbers that is less than what the numbers themselves have lost where the mean is many
 * deviations away; float32 keeps its two passes. */
#include "ops/cells.h"
#include "ops/fusions.h"
#include "ops/norm.h"
#include "runtime/base/memory.h"

/* ---- channel_moments(x): [sum of x, sum of x^2] of each channel ---- */

static dl_status infer_moments(const dl_infer *infer) {
    DL_TRY(dl_check_channels(infer, 1, 1));
    *infer->output = DL_TYPE(DL_F32, 2 * infer->input[0]->dim[infer->input[0]->rank - 1]);
    return DL_OK;
}

static dl_status prepare_moments(const dl_prepare *what, dl_prepared *out) {
    return dl_channels_prepare(what->input[0], 2, out);
}

typedef struct moments_call {
    const dl_channels *state;
    const void *x;
    float *partial;
} moments_call;

static void sum_blocks(void *argument, int64_t first, int64_t last) {
    const moments_call *call = argument;
    int64_t c = call->state->channels;
    bool half = call->state->half;
    for (int64_t b = first; b < last; b++) {
        const void *x = dl_cell_at(call->x, b * call->state->block_rows * c, half);
        int64_t rows = dl_block_rows(call->state, b);
        float *partial = call->partial + 2 * b * c;
        dl_column_sum(x, half, rows, c, NULL, DL_TERM_PLAIN, partial);
        dl_column_sum(x, half, rows, c, NULL, DL_TERM_SQUARE, partial + c);
    }
}

static dl_status run_moments(const void *state, const dl_run *run) {
    moments_call call = {state, run->in[0], run->workspace};
    dl_team_range(run->team, call.state->blocks, 1, sum_blocks, &call);
    dl_join_columns(call.partial, call.state->blocks, 2 * call.state->channels, run->out[0]);
    return DL_OK;
}

const dl_op dl_op_channel_moments = {.name = "channel_moments",
                                     .min_inputs = 1,
                                     .max_inputs = 1,
                                     .outputs = 1,
                                     .infer = infer_moments,
                                     .half = 1,
                                     .mixes_samples = true,
                                     .deterministic = true,
                                     .cpu = {.prepare = prepare_moments, .run = run_moments}};

void dl_fuse_channel_moments(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    if (node->op != &dl_op_channel_sum || !dl_is_half(dl_type_of(graph, node->input[0])->dtype) ||
        !dl_fuse_reader(fuse, node->input[0], &dl_op_channel_squares))
        return;
    dl_type channels = *dl_type_of(graph, node->output);
    dl_value moments = dl_graph_add(graph, &dl_op_channel_moments, NULL, node->input, 1);
    dl_fuse_map(fuse, node->output, dl_view(graph, moments, channels, 0));
}

/* ---- moment_squares(moments, center): what channel_squares gives, from the moments of x ---- */

static dl_status infer_squares(const dl_infer *infer) {
    const dl_type *moments = infer->input[0], *center = infer->input[1];
    if (moments->rank != 1 || center->rank != 1 || moments->dim[0] != 2 * center->dim[0])
        return dl_fail(DL_INTERNAL, "moments do not fit their centre");
    *infer->output = *center;
    return DL_OK;
}

typedef struct squares_state {
    int64_t channels, rows;
} squares_state;

static dl_status prepare_squares(const dl_prepare *what, dl_prepared *out) {
    const dl_moment_squares_attributes *attributes = what->attributes;
    squares_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    *state = (squares_state){what->input[1]->dim[0], attributes->rows};
    out->state = state;
    return DL_OK;
}

static dl_status run_squares(const void *made, const dl_run *run) {
    const squares_state *state = made;
    const float *sum = run->in[0], *squares = sum + state->channels, *center = run->in[1];
    float *out = run->out[0];
    for (int64_t i = 0; i < state->channels; i++)
        out[i] = dl_moment_square((double)sum[i], (double)squares[i], (double)center[i],
                                  (double)state->rows);
    return DL_OK;
}

const dl_op dl_op_moment_squares = {.name = "moment_squares",
                                    .min_inputs = 2,
                                    .max_inputs = 2,
                                    .outputs = 1,
                                    .attribute_bytes = sizeof(dl_moment_squares_attributes),
                                    .infer = infer_squares,
                                    .deterministic = true,
                                    .cpu = {.prepare = prepare_squares, .run = run_squares}};

void dl_fuse_moment_squares(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    const dl_graph_node *moments =
        node->op == &dl_op_channel_squares
            ? dl_fuse_reader(fuse, node->input[0], &dl_op_channel_moments)
            : NULL;
    if (!moments)
        return;
    const dl_type *x = dl_type_of(graph, node->input[0]);
    dl_moment_squares_attributes attributes = {dl_type_count(x) / x->dim[x->rank - 1]};
    const dl_value inputs[] = {moments->output, node->input[1]};
    dl_fuse_map(fuse, node->output,
                dl_graph_add(graph, &dl_op_moment_squares, &attributes, inputs, 2));
}
