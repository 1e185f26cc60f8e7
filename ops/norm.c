/* Batch normalisation over the last axis. The forward pass is statistics (channel_sum.c, which the
 * layer sums over shards) and one pass over x; the backward pass is two column sums, summed over
 * shards where the statistics were, and one pass. Ioffe and Szegedy, "Batch normalization", 2015.
 * Layer normalisation is in layer_norm.c. */
#include <math.h>
#include <string.h>

#include "ops/cells.h"
#include "ops/epilogue.h"
#include "ops/norm.h"
#include "runtime/base/clones.h"

enum { NORM_INPUTS = 7 };

/* ---- batch_norm: x, mean, variance, then gamma, beta, count as far as there are any;
 * ---- batch_norm_add: relu(batch_norm + residual), the residual behind x ---- */

/* Where mean stands. */
static int vectors_of(const dl_batch_norm_attributes *a) {
    return 1 + a->has_residual;
}

static dl_status infer_batch_norm(const dl_infer *infer) {
    const dl_batch_norm_attributes *a = infer->attributes;
    int first = vectors_of(a);
    DL_TRY(dl_check_channels(infer, first, first + 2 + a->has_gamma + a->has_beta));
    if (a->has_residual && !dl_same_type(infer->input[0], infer->input[1]))
        return dl_fail(DL_INTERNAL, "what is added to a normalised value has another type");
    *infer->output = *infer->input[0];
    return DL_OK;
}

static void grad_batch_norm(dl_grad *grad) {
    const dl_batch_norm_attributes *a = grad->attributes;
    dl_graph *graph = grad->graph;
    const dl_value *in = grad->input;
    int64_t channels = dl_type_of(graph, in[1])->dim[0];
    dl_value dy = grad->dy[0];
    bool needs_weights =
        (a->has_gamma && grad->need[3]) || (a->has_beta && grad->need[3 + a->has_gamma]);
    dl_value sums = -1;
    if (needs_weights || (a->statistics_of_x && grad->need[0])) {
        dl_value from[6] = {dy, in[0], in[1], in[2]};
        int count = 4;
        for (int i = 0; i < a->has_gamma + a->has_beta && a->epilogue; i++)
            from[count++] = in[3 + i];
        sums = dl_graph_add(graph, &dl_op_batch_norm_sums, a, from, count);
    }
    if (a->has_gamma)
        grad->dx[3] = dl_view(graph, sums, DL_TYPE(DL_F32, channels), channels);
    if (a->has_beta)
        grad->dx[3 + a->has_gamma] = dl_view(graph, sums, DL_TYPE(DL_F32, channels), 0);
    if (!grad->need[0])
        return;
    dl_value from[8] = {dy, in[0], in[1], in[2]};
    int count = 4;
    if (a->has_gamma)
        from[count++] = in[3];
    if (a->has_beta && a->epilogue)
        from[count++] = in[3 + a->has_gamma];
    if (a->statistics_of_x) {
        dl_value all = sums;
        if (a->global)
            all = dl_sum_part(graph, dl_sum_leaves(graph, &sums, 1, graph->scope), 0);
        from[count++] = all;
        from[count++] = in[3 + a->has_gamma + a->has_beta];
    }
    grad->dx[0] = dl_graph_add(graph, &dl_op_batch_norm_input_gradient, a, from, count);
}

/* The residual needs what passed the relu: so the other gradients take that, as those of a
 * normalisation that ends in nothing. */
static void grad_batch_norm_add(dl_grad *grad) {
    dl_batch_norm_attributes plain;
    memcpy(&plain, grad->attributes, sizeof plain);
    dl_value dy = dl_epilogue_gradient(grad->graph, plain.epilogue, grad->output, grad->dy[0]);
    plain.has_residual = false;
    plain.epilogue = DL_EPILOGUE_NONE;
    int others = grad->inputs - 1, input[NORM_INPUTS], dx[NORM_INPUTS];
    bool need[NORM_INPUTS];
    for (int i = 0; i < others; i++) {
        int from = i + (i > 0);
        input[i] = grad->input[from];
        need[i] = grad->need[from];
        dx[i] = -1;
    }
    dl_grad rest = {.graph = grad->graph,
                    .attributes = &plain,
                    .inputs = others,
                    .input = input,
                    .output = grad->output,
                    .dy = &dy,
                    .need = need,
                    .dx = dx};
    grad_batch_norm(&rest);
    for (int i = 0; i < others; i++)
        grad->dx[i + (i > 0)] = dx[i];
    grad->dx[1] = dy;
}

typedef struct norm_state {
    dl_channels channels;
    int64_t fold, wide; /* rows in a wide row, floats in it */
    dl_batch_norm_attributes attributes;
} norm_state;

/* Vectors of the channels, each over a wide row: in the workspace. */
enum { MEAN, SCALE, BETA, SLOPE, SHIFT, NORM_VECTORS };

static dl_status prepare_norm(const dl_prepare *what, dl_prepared *out) {
    norm_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->attributes = *(const dl_batch_norm_attributes *)what->attributes;
    dl_channels_of(what->input[0], &state->channels);
    state->fold = dl_fold(state->channels.channels);
    state->wide = state->fold * state->channels.channels;
    out->state = state;
    out->workspace = NORM_VECTORS * (size_t)state->wide * sizeof(float);
    return DL_OK;
}

typedef struct norm_call {
    const norm_state *state;
    const void *x, *dy, *residual;
    const float *vector[NORM_VECTORS];
    void *y;
} norm_call;

/* Fills what the vectors lack behind their first channels, and lists them. */
static void widen(const norm_state *state, float *vectors, norm_call *call) {
    for (int i = 0; i < NORM_VECTORS; i++) {
        float *vector = vectors + i * state->wide;
        int64_t channels = state->channels.channels;
        dl_repeat(vector, channels, state->fold - 1, vector + channels);
        call->vector[i] = vector;
    }
}

/* Floats [*begin, *end) of wide rows [first, last); the last wide row may be cut short. */
static void span_of(const norm_state *state, int64_t first, int64_t last, int64_t *begin,
                    int64_t *end) {
    int64_t all = state->channels.rows * state->channels.channels;
    *begin = first * state->wide;
    *end = last * state->wide < all ? last * state->wide : all;
}

static void run_wide(const norm_state *state, dl_team *team, dl_range_fn range, norm_call *call) {
    dl_team_range(team, (state->channels.rows + state->fold - 1) / state->fold,
                  16384 / state->wide + 1, range, call);
}

typedef void (*rows_fn)(const norm_call *call, int64_t begin, int64_t rows, int64_t wide);

/* The rows of a kernel with and without relu, of float32 and bfloat16. */
#define APPLY(name, half, value)                                                                   \
    DL_CLONES static void name(const norm_call *call, int64_t begin, int64_t rows, int64_t wide) { \
        const float *restrict mean = call->vector[MEAN], *restrict scale = call->vector[SCALE];    \
        const float *restrict beta = call->vector[BETA];                                           \
        for (int64_t r = 0, at = begin; r < rows; r++, at += wide)                                 \
            _Pragma("GCC ivdep") for (int64_t c = 0; c < wide; c++) {                              \
                float z = (dl_cell(call->x, at + c, half) - mean[c]) * scale[c] + beta[c];         \
                dl_put_cell(call->y, at + c, half, value);                                         \
            }                                                                                      \
    }
APPLY(apply_plain, false, z)
APPLY(apply_relu, false, !(z <= 0.0f) ? z : 0.0f)
APPLY(apply_plain_half, true, z)
APPLY(apply_relu_half, true, !(z <= 0.0f) ? z : 0.0f)
#define SUM(half) (z + dl_cell(call->residual, at + c, half))
APPLY(apply_add, false, !(SUM(false) <= 0.0f) ? SUM(false) : 0.0f)
APPLY(apply_add_half, true, !(SUM(true) <= 0.0f) ? SUM(true) : 0.0f)
#undef SUM

/* What a kernel ends in. */
enum { END_PLAIN, END_RELU, END_ADD, ENDS };

static void each_row(const norm_call *call, int64_t first, int64_t last,
                     const rows_fn kernel[2][ENDS]) {
    int64_t wide = call->state->wide, begin, end;
    span_of(call->state, first, last, &begin, &end);
    int64_t rows = (end - begin) / wide, cut = begin + rows * wide;
    const dl_batch_norm_attributes *a = &call->state->attributes;
    int ending = a->has_residual ? END_ADD : a->epilogue ? END_RELU : END_PLAIN;
    rows_fn apply = kernel[call->state->channels.half][ending];
    apply(call, begin, rows, wide);
    apply(call, cut, 1, end - cut);
}

static void apply_range(void *argument, int64_t first, int64_t last) {
    static const rows_fn kernel[2][ENDS] = {{apply_plain, apply_relu, apply_add},
                                            {apply_plain_half, apply_relu_half, apply_add_half}};
    each_row(argument, first, last, kernel);
}

/* scale = gamma / sqrt(variance + epsilon), and beta, of each channel. */
static void scale_of(const norm_state *state, const float *variance, const float *gamma,
                     const float *beta, float *scale, float *shift) {
    for (int64_t c = 0; c < state->channels.channels; c++) {
        scale[c] = (gamma ? gamma[c] : 1.0f) / sqrtf(variance[c] + state->attributes.epsilon);
        shift[c] = beta ? beta[c] : 0.0f;
    }
}

static dl_status run_batch_norm(const void *state_pointer, const dl_run *run) {
    const norm_state *state = state_pointer;
    const dl_batch_norm_attributes *a = &state->attributes;
    const void *const *in = run->in + vectors_of(a);
    float *vector = run->workspace;
    memset(vector, 0, NORM_VECTORS * (size_t)state->wide * sizeof(float));
    memcpy(vector + MEAN * state->wide, in[0], (size_t)state->channels.channels * sizeof(float));
    scale_of(state, in[1], a->has_gamma ? in[2] : NULL, a->has_beta ? in[2 + a->has_gamma] : NULL,
             vector + SCALE * state->wide, vector + BETA * state->wide);
    norm_call call = {.state = state,
                      .x = run->in[0],
                      .residual = a->has_residual ? run->in[1] : NULL,
                      .y = run->out[0]};
    widen(state, vector, &call);
    run_wide(state, run->team, apply_range, &call);
    return DL_OK;
}

const dl_op dl_op_batch_norm = {.name = "batch_norm",
                                .min_inputs = 3,
                                .max_inputs = NORM_INPUTS - 1,
                                .outputs = 1,
                                .attribute_bytes = sizeof(dl_batch_norm_attributes),
                                .infer = infer_batch_norm,
                                .grad = grad_batch_norm,
                                .half = 1,
                                .in_place = 1,
                                .deterministic = true,
                                .cpu = {.prepare = prepare_norm, .run = run_batch_norm}};

const dl_op dl_op_batch_norm_add = {.name = "batch_norm_add",
                                    .min_inputs = 4,
                                    .max_inputs = NORM_INPUTS,
                                    .outputs = 1,
                                    .attribute_bytes = sizeof(dl_batch_norm_attributes),
                                    .infer = infer_batch_norm,
                                    .grad = grad_batch_norm_add,
                                    .half = 3,
                                    .in_place = 3,
                                    .deterministic = true,
                                    .cpu = {.prepare = prepare_norm, .run = run_batch_norm}};

/* ---- batch_norm_sums(dy, x, mean, variance): [sum dy, sum dy * (x - mean) / sqrt(variance +
 * eps)]; with relu gamma and beta follow, as far as there are any, and dy counts where the output
 * was above 0 ---- */

static dl_status infer_sums(const dl_infer *infer) {
    *infer->output = DL_TYPE(DL_F32, 2 * infer->input[2]->dim[0]);
    return DL_OK;
}

static dl_status prepare_sums(const dl_prepare *what, dl_prepared *out) {
    DL_TRY(prepare_norm(what, out));
    const norm_state *state = out->state;
    out->workspace =
        2 * (size_t)(state->channels.blocks + 1) * (size_t)state->channels.channels * sizeof(float);
    return DL_OK;
}

typedef struct sums_call {
    const norm_state *state;
    const void *dy, *x;
    const float *mean;
    const dl_gate *gate;
    float *partial;
} sums_call;

static void sum_blocks(void *argument, int64_t first, int64_t last) {
    const sums_call *call = argument;
    int64_t c = call->state->channels.channels;
    for (int64_t b = first; b < last; b++) {
        float *partial = call->partial + b * 2 * c;
        int64_t from = b * call->state->channels.block_rows * c;
        bool half = call->state->channels.half;
        dl_column_product(dl_cell_at(call->dy, from, half), dl_cell_at(call->x, from, half), half,
                          dl_block_rows(&call->state->channels, b), c, call->mean, call->gate,
                          partial, partial + c);
    }
}

static dl_status run_sums(const void *state_pointer, const dl_run *run) {
    const norm_state *state = state_pointer;
    int64_t c = state->channels.channels;
    const dl_batch_norm_attributes *a = &state->attributes;
    const float *variance = run->in[3];
    float *out = run->out[0], *vectors = run->workspace;
    const dl_gate gate = {vectors, vectors + c};
    if (a->epilogue)
        scale_of(state, variance, a->has_gamma ? run->in[4] : NULL,
                 a->has_beta ? run->in[4 + a->has_gamma] : NULL, vectors, vectors + c);
    sums_call call = {
        state, run->in[0], run->in[1], run->in[2], a->epilogue ? &gate : NULL, vectors + 2 * c};
    dl_team_range(run->team, state->channels.blocks, 1, sum_blocks, &call);
    dl_join_columns(call.partial, state->channels.blocks, 2 * c, out);
    for (int64_t i = 0; i < c; i++)
        out[c + i] /= sqrtf(variance[i] + state->attributes.epsilon);
    return DL_OK;
}

const dl_op dl_op_batch_norm_sums = {.name = "batch_norm_sums",
                                     .min_inputs = 4,
                                     .max_inputs = 6,
                                     .outputs = 1,
                                     .attribute_bytes = sizeof(dl_batch_norm_attributes),
                                     .infer = infer_sums,
                                     .half = 3,
                                     .mixes_samples = true,
                                     .deterministic = true,
                                     .cpu = {.prepare = prepare_sums, .run = run_sums}};

/* ---- batch_norm_input_gradient(dy, x, mean, variance[, gamma][, beta][, sums, count]), beta with
 * relu alone ---- */

static dl_status infer_input_gradient(const dl_infer *infer) {
    *infer->output = *infer->input[0];
    return DL_OK;
}

/* dx = scale * dy - slope * (x - mean) - shift */
#define GRADIENT(name, half, value)                                                                \
    DL_CLONES static void name(const norm_call *call, int64_t begin, int64_t rows, int64_t wide) { \
        const float *restrict mean = call->vector[MEAN], *restrict scale = call->vector[SCALE];    \
        const float *restrict slope = call->vector[SLOPE], *restrict shift = call->vector[SHIFT];  \
        const float *restrict beta = call->vector[BETA];                                           \
        (void)beta;                                                                                \
        for (int64_t r = 0, at = begin; r < rows; r++, at += wide)                                 \
            _Pragma("GCC ivdep") for (int64_t c = 0; c < wide; c++) {                              \
                float dy = dl_cell(call->dy, at + c, half);                                        \
                float around = dl_cell(call->x, at + c, half) - mean[c], d = (value);              \
                dl_put_cell(call->y, at + c, half, scale[c] * d - slope[c] * around - shift[c]);   \
            }                                                                                      \
    }
GRADIENT(gradient_plain, false, dy)
GRADIENT(gradient_relu, false, around *scale[c] + beta[c] > 0.0f ? dy : 0.0f)
GRADIENT(gradient_plain_half, true, dy)
GRADIENT(gradient_relu_half, true, around *scale[c] + beta[c] > 0.0f ? dy : 0.0f)

static void gradient_range(void *argument, int64_t first, int64_t last) {
    static const rows_fn kernel[2][ENDS] = {{gradient_plain, gradient_relu},
                                            {gradient_plain_half, gradient_relu_half}};
    each_row(argument, first, last, kernel);
}

static dl_status run_input_gradient(const void *state_pointer, const dl_run *run) {
    const norm_state *state = state_pointer;
    const dl_batch_norm_attributes *a = &state->attributes;
    int64_t channels = state->channels.channels;
    const float *mean = run->in[2], *variance = run->in[3];
    bool has_beta = a->has_beta && a->epilogue;
    const float *gamma = a->has_gamma ? run->in[4] : NULL;
    const float *beta = has_beta ? run->in[4 + a->has_gamma] : NULL;
    int next = 4 + a->has_gamma + has_beta;
    const float *sums = a->statistics_of_x ? run->in[next] : NULL;
    float share = sums ? 1.0f / *(const float *)run->in[next + 1] : 0.0f;
    float *vector = run->workspace;
    scale_of(state, variance, gamma, beta, vector + SCALE * state->wide,
             vector + BETA * state->wide);
    for (int64_t c = 0; c < channels; c++) {
        float inverse = 1.0f / sqrtf(variance[c] + a->epsilon);
        float scale = vector[SCALE * state->wide + c];
        vector[MEAN * state->wide + c] = mean[c];
        vector[SLOPE * state->wide + c] =
            sums ? scale * inverse * (sums[channels + c] * share) : 0.0f;
        vector[SHIFT * state->wide + c] = sums ? scale * (sums[c] * share) : 0.0f;
    }
    norm_call call = {.state = state, .x = run->in[1], .dy = run->in[0], .y = run->out[0]};
    widen(state, vector, &call);
    run_wide(state, run->team, gradient_range, &call);
    return DL_OK;
}

const dl_op dl_op_batch_norm_input_gradient = {
    .name = "batch_norm_input_gradient",
    .min_inputs = 4,
    .max_inputs = 8,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_batch_norm_attributes),
    .infer = infer_input_gradient,
    .half = 3,
    .in_place = 1,
    .deterministic = true,
    .cpu = {.prepare = prepare_norm, .run = run_input_gradient}};

dl_value dl_batch_norm(dl_graph *graph, dl_value x, dl_value mean, dl_value variance,
                       dl_value gamma, dl_value beta, dl_value count,
                       const dl_batch_norm_attributes *attributes) {
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

/* The producer if it is a batch normalisation that ends in nothing yet. */
static const dl_graph_node *normalisation_of(const dl_graph *graph, dl_value y) {
    const dl_graph_node *node = dl_producer(graph, y);
    bool found = node && node->op == &dl_op_batch_norm &&
                 !((const dl_batch_norm_attributes *)node->attributes)->epilogue;
    return found ? node : NULL;
}

/* Whether the node is x0 + x1 of two values of one shape. */
static bool is_sum_of_two(const dl_graph *graph, const dl_graph_node *node) {
    if (node->op != &dl_op_pointwise || node->inputs != 2 || node->outputs != 1 ||
        !dl_same_type(dl_type_of(graph, node->input[0]), dl_type_of(graph, node->input[1])))
        return false;
    const dl_pointwise_attributes *pointwise = node->attributes;
    const dl_expr *sum = pointwise->output[0];
    return sum->kind == DL_EXPR_ADD && sum->operand[0]->kind == DL_EXPR_INPUT &&
           sum->operand[1]->kind == DL_EXPR_INPUT && sum->operand[0] != sum->operand[1];
}

/* The normalisation that a value is the sum of, and what is added to it. */
static const dl_graph_node *sum_with_normalisation(const dl_graph *graph, dl_value y,
                                                   dl_value *residual) {
    const dl_graph_node *sum = dl_producer(graph, y), *node = NULL;
    for (int i = 2; !node && sum && is_sum_of_two(graph, sum) && i-- > 0;) {
        node = normalisation_of(graph, sum->input[i]);
        *residual = sum->input[1 - i];
    }
    return node;
}

dl_value dl_batch_norm_relu(dl_graph *graph, dl_value y) {
    if (graph->status != DL_OK || y < 0)
        return -1;
    const dl_graph_node *node = normalisation_of(graph, y);
    dl_value in[NORM_INPUTS], residual = -1;
    if (!node)
        node = sum_with_normalisation(graph, y, &residual);
    if (!node)
        return -1;
    dl_batch_norm_attributes a;
    memcpy(&a, node->attributes, sizeof a);
    a.epilogue = DL_EPILOGUE_RELU;
    a.has_residual = residual >= 0;
    int first = vectors_of(&a), vectors = node->inputs - 1;
    in[0] = node->input[0];
    in[1] = residual;
    memcpy(in + first, node->input + 1, sizeof *in * (size_t)vectors);
    return dl_graph_add(graph, a.has_residual ? &dl_op_batch_norm_add : &dl_op_batch_norm, &a, in,
                        first + vectors);
}
