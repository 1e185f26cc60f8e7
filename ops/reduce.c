/* Reductions and broadcasts. A reduction over neighbouring axes is [outer, reduced, inner]; any
 * other set of axes is taken one run of neighbours after another through the workspace. Kernels:
 * sums.c. */
#include <string.h>

#include "ops/cells.h"
#include "ops/ops.h"
#include "ops/reduce.h"

static dl_status infer_reduce(const dl_infer *infer) {
    const dl_reduce_attributes *attributes = infer->attributes;
    const dl_type *x = infer->input[0];
    dl_type *y = infer->output;
    if (!dl_is_float(x->dtype))
        return dl_fail(DL_INTERNAL, "a reduction takes float32");
    *y = (dl_type){.dtype = DL_F32};
    for (int axis = 0; axis < x->rank; axis++) {
        bool reduced = attributes->axes >> axis & 1;
        if (!reduced || attributes->keep)
            y->dim[y->rank++] = reduced ? 1 : x->dim[axis];
    }
    return DL_OK;
}

/* Over samples it is a node even where there is but one: programs for different numbers of samples
 * have the same nodes. It is a shard's, as x is, even where dy is shared: that of a scaled loss. */
static dl_value spread(dl_graph *graph, dl_value dy, dl_value x, uint32_t axes) {
    if (graph->status != DL_OK || dy < 0)
        return -1;
    dl_type type = *dl_type_of(graph, x);
    if (!(axes & 1))
        return dl_broadcast(graph, dy, type);
    if (graph->value[dy].shared && !graph->value[x].shared)
        return dl_map(graph, "x1", (dl_value[]){x, dy}, 2);
    dl_broadcast_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.type = type;
    return dl_graph_add(graph, &dl_op_broadcast, &attributes, &dy, 1);
}

/* Elements that are averaged; over samples counted by nodes, whose attributes are the same for any
 * number of samples. */
static dl_value mean_share(dl_graph *graph, dl_value dy, dl_value x, uint32_t axes, dl_type kept) {
    if (axes & 1) {
        dl_value one = dl_map(graph, "1", &x, 1);
        dl_value count = dl_reshape(graph, dl_reduce(graph, one, DL_REDUCE_SUM, axes, true), kept);
        return dl_map(graph, "x0 / x1", (dl_value[]){dy, count}, 2);
    }
    dl_type type = *dl_type_of(graph, x);
    double count = (double)dl_type_count(&type) / (double)dl_type_count(&kept);
    const dl_expr *share = dl_expr_make(graph->exprs, DL_EXPR_MUL, dl_expr_input(graph->exprs, 0),
                                        dl_expr_const(graph->exprs, (float)(1.0 / count)), NULL);
    return dl_pointwise(graph, &share, 1, NULL, &dy, 1);
}

static void grad_reduce(dl_grad *grad) {
    const dl_reduce_attributes *attributes = grad->attributes;
    dl_graph *graph = grad->graph;
    uint32_t axes = attributes->axes;
    dl_type x = *dl_type_of(graph, grad->input[0]), kept = x;
    for (int axis = 0; axis < x.rank; axis++)
        if (axes >> axis & 1)
            kept.dim[axis] = 1;
    dl_value dy = dl_reshape(graph, grad->dy[0], kept), value = grad->input[0];
    if (attributes->kind == DL_REDUCE_SUM) {
        grad->dx[0] = spread(graph, dy, value, axes);
    } else if (attributes->kind == DL_REDUCE_MEAN) {
        grad->dx[0] = spread(graph, mean_share(graph, dy, value, axes, kept), value, axes);
    } else if (attributes->kind == DL_REDUCE_SUM_SQUARES) {
        grad->dx[0] = dl_map(graph, "2 * x0 * x1", (dl_value[]){value, dy}, 2);
    } else if (attributes->kind == DL_REDUCE_SUM_ABS) {
        grad->dx[0] = dl_map(graph, "sign(x0) * x1", (dl_value[]){value, dy}, 2);
    } else { /* max: those that are the greatest share the gradient */
        dl_value y = dl_reshape(graph, grad->output, kept);
        dl_value is = dl_map(graph, "x0 == x1", (dl_value[]){value, y}, 2);
        dl_value ties = dl_reduce(graph, is, DL_REDUCE_SUM, axes, true);
        grad->dx[0] = dl_map(graph, "x0 * x1 / x2", (dl_value[]){is, dy, ties}, 3);
    }
}

typedef struct reduce_state {
    dl_axes_run run[DL_MAX_RANK];
    int runs;
    dl_reduction kind;
    float scale;
    size_t between; /* bytes of one intermediate result */
    size_t partial; /* bytes of partial sums */
    bool half;      /* x is bfloat16; results are float32 */
} reduce_state;

int dl_axes_runs(const dl_type *x, uint32_t axes, dl_axes_run run[DL_MAX_RANK]) {
    dl_type left = *x;
    int runs = 0;
    for (int axis = x->rank; axis-- > 0;) { /* from the last axis: inner sizes stay valid */
        if (!(axes >> axis & 1))
            continue;
        dl_axes_run *next = &run[runs++];
        *next = (dl_axes_run){1, 1, 1};
        for (int i = axis + 1; i < x->rank; i++)
            next->inner *= left.dim[i];
        while (axis >= 0 && axes >> axis & 1) {
            next->reduced *= left.dim[axis];
            left.dim[axis--] = 1;
        }
        for (int i = 0; i <= axis; i++)
            next->outer *= left.dim[i];
        axis++;
    }
    return runs;
}

/* Of a run, `reduced` in pieces: how long they are, and how many. */
static int64_t block_of(const dl_axes_run *run) {
    return run->inner == 1 ? DL_SUM_BLOCK : DL_SUM_BLOCK / (run->inner < 16 ? run->inner : 16);
}

static int64_t blocks_of(const dl_axes_run *run) {
    int64_t block = block_of(run);
    return (run->reduced + block - 1) / block;
}

static dl_status prepare_reduce(const dl_prepare *what, dl_prepared *out) {
    const dl_reduce_attributes *attributes = what->attributes;
    reduce_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->kind = attributes->kind;
    state->half = what->input[0]->dtype == DL_BF16;
    state->runs = dl_axes_runs(what->input[0], attributes->axes, state->run);
    int64_t reduced = dl_type_count(what->input[0]) / dl_type_count(what->output[0]);
    state->scale = attributes->kind == DL_REDUCE_MEAN ? (float)(1.0 / (double)reduced) : 1.0f;
    for (int i = 0; i < state->runs; i++) {
        const dl_axes_run *run = &state->run[i];
        size_t result = sizeof(float) * (size_t)(run->outer * run->inner);
        size_t partial = result * (size_t)blocks_of(run);
        if (i + 1 < state->runs && result > state->between)
            state->between = dl_whole_lines(result);
        if (partial > state->partial)
            state->partial = dl_whole_lines(partial);
    }
    out->state = state;
    out->workspace = 2 * state->between + state->partial;
    return DL_OK;
}

typedef struct reduce_call {
    const dl_axes_run *run;
    const void *x;
    bool half;
    float *partial;
    bool most;
    dl_term term;
} reduce_call;

/* Blocks [first, last) of all (outer, block) pairs. */
static void reduce_blocks(void *argument, int64_t first, int64_t last) {
    const reduce_call *call = argument;
    const dl_axes_run *run = call->run;
    int64_t block = block_of(run), blocks = blocks_of(run);
    for (int64_t i = first; i < last; i++) {
        int64_t from = i % blocks * block;
        int64_t rows = run->reduced - from < block ? run->reduced - from : block;
        const void *x =
            dl_cell_at(call->x, (i / blocks * run->reduced + from) * run->inner, call->half);
        float *partial = call->partial + i * run->inner;
        if (run->inner == 1)
            *partial = call->most ? dl_cells_max(x, call->half, rows)
                                  : dl_cells_sum(x, call->half, rows, call->term);
        else if (call->most)
            dl_cells_column_max(x, call->half, rows, run->inner, partial);
        else
            dl_column_sum(x, call->half, rows, run->inner, NULL, call->term, partial);
    }
}

static void join_blocks(const dl_axes_run *run, const float *partial, bool most, float *y) {
    int64_t blocks = blocks_of(run);
    for (int64_t o = 0; o < run->outer; o++)
        for (int64_t c = 0; c < run->inner; c++) {
            const float *p = partial + o * blocks * run->inner + c;
            if (most) {
                float value = p[0];
                for (int64_t b = 1; b < blocks; b++) {
                    float next = p[b * run->inner];
                    value = value != value || value > next ? value : next;
                }
                y[o * run->inner + c] = value;
            } else {
                double sum = 0;
                for (int64_t b = 0; b < blocks; b++)
                    sum += (double)p[b * run->inner];
                y[o * run->inner + c] = (float)sum;
            }
        }
}

static dl_status run_reduce(const void *state_pointer, const dl_run *call) {
    const reduce_state *state = state_pointer;
    const void *x = call->in[0];
    float *y = call->out[0];
    int64_t count =
        state->runs ? state->run[state->runs - 1].outer * state->run[state->runs - 1].inner : 0;
    for (int i = 0; i < state->runs; i++) {
        const dl_axes_run *run = &state->run[i];
        int64_t blocks = blocks_of(run);
        bool last = i + 1 == state->runs;
        float *to =
            last ? y : (float *)((char *)call->workspace + state->between * (size_t)(i % 2));
        float *partial = (float *)((char *)call->workspace + 2 * state->between);
        dl_term term = state->kind == DL_REDUCE_SUM_SQUARES && i == 0 ? DL_TERM_SQUARE
                       : state->kind == DL_REDUCE_SUM_ABS && i == 0   ? DL_TERM_ABS
                                                                      : DL_TERM_PLAIN;
        bool most = state->kind == DL_REDUCE_MAX;
        reduce_call of_run = {run,  x,   state->half && i == 0, blocks == 1 ? to : partial,
                              most, term};
        int64_t work = (blocks == 1 ? run->reduced : block_of(run)) * run->inner;
        dl_team_range(call->team, run->outer * blocks, 16384 / (work + 1) + 1, reduce_blocks,
                      &of_run);
        if (blocks > 1)
            join_blocks(run, partial, most, to);
        x = to;
    }
    if (state->kind == DL_REDUCE_MEAN)
        for (int64_t i = 0; i < count; i++)
            y[i] *= state->scale;
    return DL_OK;
}

const dl_op dl_op_reduce = {.name = "reduce",
                            .min_inputs = 1,
                            .max_inputs = 1,
                            .outputs = 1,
                            .attribute_bytes = sizeof(dl_reduce_attributes),
                            .infer = infer_reduce,
                            .grad = grad_reduce,
                            .half = 1,
                            .mixes_samples = true,
                            .deterministic = true,
                            .cpu = {.prepare = prepare_reduce, .run = run_reduce}};

dl_value dl_reduce(dl_graph *graph, dl_value x, dl_reduction kind, uint32_t axes, bool keep) {
    if (graph->status != DL_OK || x < 0)
        return -1;
    dl_type type = *dl_type_of(graph, x);
    axes &= (1u << type.rank) - 1;
    if (axes == 0) { /* nothing to add up: squares and absolute values are elementwise then */
        if (kind == DL_REDUCE_SUM_SQUARES)
            return dl_map(graph, "square(x)", &x, 1);
        return kind == DL_REDUCE_SUM_ABS ? dl_map(graph, "abs(x)", &x, 1) : x;
    }
    dl_reduce_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.kind = kind;
    attributes.axes = axes;
    attributes.keep = keep;
    return dl_graph_add(graph, &dl_op_reduce, &attributes, &x, 1);
}

/* ---- broadcast ---- */

static dl_status infer_broadcast(const dl_infer *infer) {
    const dl_broadcast_attributes *attributes = infer->attributes;
    const dl_type *x = infer->input[0], *y = &attributes->type;
    int shift = y->rank - x->rank;
    bool meets = shift >= 0 && x->dtype == DL_F32;
    for (int axis = 0; meets && axis < x->rank; axis++)
        meets = x->dim[axis] == 1 || x->dim[axis] == y->dim[axis + shift];
    if (!meets) {
        char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
        return dl_fail(DL_BAD_JOB, "shape %s cannot be spread to %s", dl_shape_text(x, true, a),
                       dl_shape_text(y, true, b));
    }
    *infer->output = *y;
    infer->output->dtype = DL_F32;
    return DL_OK;
}

static void grad_broadcast(dl_grad *grad) {
    grad->dx[0] = dl_reduce_to(grad->graph, grad->dy[0], grad->input[0]);
}

typedef struct broadcast_state {
    int64_t dim[DL_MAX_RANK], step[DL_MAX_RANK]; /* of the output; step 0 where x is repeated */
    int64_t rows, row;                           /* the last axis is a row */
    int rank;
} broadcast_state;

static dl_status prepare_broadcast(const dl_prepare *what, dl_prepared *out) {
    broadcast_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    const dl_type *x = what->input[0], *y = what->output[0];
    int shift = y->rank - x->rank;
    int64_t step = 1;
    state->rank = y->rank;
    for (int axis = y->rank; axis-- > 0;) {
        int64_t size = axis < shift ? 1 : x->dim[axis - shift];
        state->dim[axis] = y->dim[axis];
        state->step[axis] = size == 1 ? 0 : step;
        step *= size;
    }
    state->row = y->rank ? y->dim[y->rank - 1] : 1;
    state->rows = dl_type_count(y) / state->row;
    out->state = state;
    return DL_OK;
}

typedef struct broadcast_call {
    const broadcast_state *state;
    const float *x;
    float *y;
} broadcast_call;

static void broadcast_rows(void *argument, int64_t first, int64_t last) {
    const broadcast_call *call = argument;
    const broadcast_state *s = call->state;
    for (int64_t r = first; r < last; r++) {
        int64_t from = 0, rest = r;
        for (int axis = s->rank - 1; axis-- > 0;) {
            from += rest % s->dim[axis] * s->step[axis];
            rest /= s->dim[axis];
        }
        float *row = call->y + r * s->row;
        if (s->rank && s->step[s->rank - 1])
            memcpy(row, call->x + from, sizeof *row * (size_t)s->row);
        else
            for (int64_t c = 0; c < s->row; c++)
                row[c] = call->x[from];
    }
}

static dl_status run_broadcast(const void *state, const dl_run *run) {
    broadcast_call call = {state, run->in[0], run->out[0]};
    dl_team_range(run->team, call.state->rows, 16384 / call.state->row + 1, broadcast_rows, &call);
    return DL_OK;
}

const dl_op dl_op_broadcast = {.name = "broadcast",
                               .min_inputs = 1,
                               .max_inputs = 1,
                               .outputs = 1,
                               .attribute_bytes = sizeof(dl_broadcast_attributes),
                               .infer = infer_broadcast,
                               .grad = grad_broadcast,
                               .deterministic = true,
                               .cpu = {.prepare = prepare_broadcast, .run = run_broadcast}};

dl_value dl_broadcast(dl_graph *graph, dl_value x, dl_type type) {
    if (graph->status != DL_OK || x < 0)
        return -1;
    if (dl_same_shape(dl_type_of(graph, x), &type))
        return x;
    dl_broadcast_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.type = type;
    return dl_graph_add(graph, &dl_op_broadcast, &attributes, &x, 1);
}
