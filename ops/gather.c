/* Looking rows up by number, and its gradient, which adds in the order of positions, each thread a
 * range of the table's columns: the same bits for any threads. */
#include <inttypes.h>
#include <string.h>

#include "ops/ops.h"

typedef struct gather_state {
    int64_t rows, width, ids;
} gather_state;

static dl_status prepare(const dl_prepare *what, const dl_type *table, dl_prepared *out) {
    gather_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->rows = table->dim[0];
    state->width = dl_type_count(table) / state->rows;
    state->ids = dl_type_count(what->input[1]);
    out->state = state;
    return DL_OK;
}

static dl_status infer_gather(const dl_infer *infer) {
    const dl_type *table = infer->input[0], *ids = infer->input[1];
    if (table->dtype != DL_F32 || ids->dtype != DL_I32 || table->rank < 1)
        return dl_fail(DL_INTERNAL, "gather takes a float32 table and int32 numbers");
    dl_type y = {.dtype = DL_F32, .rank = ids->rank + table->rank - 1};
    if (y.rank > DL_MAX_RANK)
        return dl_fail(DL_BAD_JOB, "more than %d dimensions", DL_MAX_RANK);
    memcpy(y.dim, ids->dim, sizeof *y.dim * (size_t)ids->rank);
    memcpy(y.dim + ids->rank, table->dim + 1, sizeof *y.dim * (size_t)(table->rank - 1));
    *infer->output = y;
    return DL_OK;
}

static void grad_gather(dl_grad *grad) {
    dl_gather_gradient_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.table = *dl_type_of(grad->graph, grad->input[0]);
    if (grad->need[0])
        grad->dx[0] = dl_graph_add(grad->graph, &dl_op_gather_gradient, &attributes,
                                   (dl_value[]){grad->dy[0], grad->input[1]}, 2);
}

static dl_status prepare_gather(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, what->input[0], out);
}

static dl_status check_ids(const gather_state *state, const int32_t *id) {
    for (int64_t i = 0; i < state->ids; i++)
        if (id[i] < 0 || id[i] >= state->rows)
            return dl_fail(DL_BAD_JOB, "number %" PRId32 " is outside 0..%" PRId64, id[i],
                           state->rows - 1);
    return DL_OK;
}

static dl_status run_gather(const void *state_pointer, const dl_run *run) {
    const gather_state *state = state_pointer;
    const float *table = run->in[0];
    const int32_t *id = run->in[1];
    float *y = run->out[0];
    DL_TRY(check_ids(state, id));
    for (int64_t i = 0; i < state->ids; i++)
        memcpy(y + i * state->width, table + id[i] * state->width,
               sizeof *y * (size_t)state->width);
    return DL_OK;
}

const dl_op dl_op_gather = {.name = "gather",
                            .min_inputs = 2,
                            .max_inputs = 2,
                            .outputs = 1,
                            .infer = infer_gather,
                            .grad = grad_gather,
                            .deterministic = true,
                            .cpu = {.prepare = prepare_gather, .run = run_gather}};

static dl_status infer_gather_gradient(const dl_infer *infer) {
    *infer->output = ((const dl_gather_gradient_attributes *)infer->attributes)->table;
    return DL_OK;
}

static dl_status prepare_gather_gradient(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, what->output[0], out);
}

typedef struct scatter_call {
    const gather_state *state;
    const float *dy;
    const int32_t *id;
    float *table;
} scatter_call;

static void scatter_columns(void *argument, int64_t first, int64_t last) {
    const scatter_call *call = argument;
    int64_t width = call->state->width;
    for (int64_t row = 0; row < call->state->rows; row++)
        memset(call->table + row * width + first, 0, sizeof(float) * (size_t)(last - first));
    for (int64_t i = 0; i < call->state->ids; i++) {
        float *to = call->table + call->id[i] * width;
        const float *from = call->dy + i * width;
        for (int64_t c = first; c < last; c++)
            to[c] += from[c];
    }
}

static dl_status run_gather_gradient(const void *state, const dl_run *run) {
    scatter_call call = {state, run->in[0], run->in[1], run->out[0]};
    DL_TRY(check_ids(state, call.id));
    dl_team_range(run->team, call.state->width, 16, scatter_columns, &call);
    return DL_OK;
}

const dl_op dl_op_gather_gradient = {
    .name = "gather_gradient",
    .min_inputs = 2,
    .max_inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_gather_gradient_attributes),
    .infer = infer_gather_gradient,
    .mixes_samples = true,
    .deterministic = true,
    .cpu = {.prepare = prepare_gather_gradient, .run = run_gather_gradient}};

dl_value dl_gather(dl_graph *graph, dl_value table, dl_value ids) {
    return dl_graph_add(graph, &dl_op_gather, NULL, (dl_value[]){table, ids}, 2);
}
