/* Rows that move elements without changing them: transpose, concatenate, slice, pad, cast.
 * Gradients are the inverse moves. gather.c looks rows up. */
#include <string.h>

#include "ops/ops.h"
#include "runtime/expr/math.h"

/* ---- strided copies: what transpose, slice and pad are made of ---- */

/* Copies a box: for each index over dim[0..rank), y[sum index * to] = x[sum index * from]; the last
 * axis is copied as bytes when both steps are 1. Elements have `bytes` bytes. */
typedef struct box {
    int rank;
    int64_t dim[DL_MAX_RANK], from[DL_MAX_RANK], to[DL_MAX_RANK];
    int64_t from_start, to_start;
    size_t bytes;
} box;

typedef struct box_call {
    const box *box;
    const char *x;
    char *y;
} box_call;

static void copy_rows(void *argument, int64_t first, int64_t last) {
    const box_call *call = argument;
    const box *b = call->box;
    int inner = b->rank - 1;
    int64_t row = b->rank ? b->dim[inner] : 1;
    for (int64_t r = first; r < last; r++) {
        int64_t from = b->from_start, to = b->to_start, rest = r;
        for (int axis = inner; axis-- > 0;) {
            int64_t index = rest % b->dim[axis];
            rest /= b->dim[axis];
            from += index * b->from[axis];
            to += index * b->to[axis];
        }
        const char *x = call->x + (size_t)from * b->bytes;
        char *y = call->y + (size_t)to * b->bytes;
        if (!b->rank || (b->from[inner] == 1 && b->to[inner] == 1)) {
            memcpy(y, x, (size_t)row * b->bytes);
        } else if (b->bytes == sizeof(float)) {
            const float *source = (const float *)x;
            float *target = (float *)y;
            for (int64_t c = 0; c < row; c++)
                target[c * b->to[inner]] = source[c * b->from[inner]];
        } else {
            for (int64_t c = 0; c < row; c++)
                memcpy(y + (size_t)(c * b->to[inner]) * b->bytes,
                       x + (size_t)(c * b->from[inner]) * b->bytes, b->bytes);
        }
    }
}

static void copy_box(const box *b, const void *x, void *y, dl_team *team) {
    box_call call = {b, x, y};
    int64_t rows = 1, row = b->rank ? b->dim[b->rank - 1] : 1;
    for (int axis = 0; axis + 1 < b->rank; axis++)
        rows *= b->dim[axis];
    dl_team_range(team, rows, 16384 / (row + 1) + 1, copy_rows, &call);
}

static void steps_of(const dl_type *type, int64_t *step) {
    int64_t next = 1;
    for (int axis = type->rank; axis-- > 0;) {
        step[axis] = next;
        next *= type->dim[axis];
    }
}

static dl_status give_box(const box *b, dl_prepared *out) {
    box *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    *state = *b;
    out->state = state;
    return DL_OK;
}

static dl_status run_box(const void *state, const dl_run *run) {
    copy_box(state, run->in[0], run->out[0], run->team);
    return DL_OK;
}

/* ---- transpose ---- */

static dl_status infer_transpose(const dl_infer *infer) {
    const dl_transpose_attributes *attributes = infer->attributes;
    const dl_type *x = infer->input[0];
    uint32_t seen = 0;
    *infer->output = *x;
    for (int axis = 0; axis < x->rank; axis++) {
        int from = attributes->permutation[axis];
        if (from < 0 || from >= x->rank || seen >> from & 1)
            return dl_fail(DL_BAD_JOB, "the axes of a transposition must be 0..%d, each once",
                           x->rank - 1);
        seen |= 1u << from;
        infer->output->dim[axis] = x->dim[from];
    }
    return DL_OK;
}

static void grad_transpose(dl_grad *grad) {
    const dl_transpose_attributes *attributes = grad->attributes;
    int inverse[DL_MAX_RANK] = {0};
    for (int axis = 0; axis < dl_type_of(grad->graph, grad->input[0])->rank; axis++)
        inverse[attributes->permutation[axis]] = axis;
    grad->dx[0] = dl_transpose(grad->graph, grad->dy[0], inverse);
}

static dl_status prepare_transpose(const dl_prepare *what, dl_prepared *out) {
    const dl_transpose_attributes *attributes = what->attributes;
    box b = {.rank = what->output[0]->rank, .bytes = dl_dtype_bytes(what->output[0]->dtype)};
    int64_t step[DL_MAX_RANK];
    steps_of(what->input[0], step);
    steps_of(what->output[0], b.to);
    for (int axis = 0; axis < b.rank; axis++) {
        b.dim[axis] = what->output[0]->dim[axis];
        b.from[axis] = step[attributes->permutation[axis]];
    }
    return give_box(&b, out);
}

const dl_op dl_op_transpose = {.name = "transpose",
                               .min_inputs = 1,
                               .max_inputs = 1,
                               .outputs = 1,
                               .attribute_bytes = sizeof(dl_transpose_attributes),
                               .infer = infer_transpose,
                               .grad = grad_transpose,
                               .half = 1,
                               .mixes_samples = true,
                               .deterministic = true,
                               .cpu = {.prepare = prepare_transpose, .run = run_box}};

dl_value dl_transpose(dl_graph *graph, dl_value x, const int *permutation) {
    if (graph->status != DL_OK || x < 0)
        return -1;
    dl_transpose_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(attributes.permutation, permutation,
           sizeof *permutation * (size_t)dl_type_of(graph, x)->rank);
    return dl_graph_add(graph, &dl_op_transpose, &attributes, &x, 1);
}

/* ---- slice and pad: each other's gradient ---- */

static dl_status infer_slice(const dl_infer *infer) {
    const dl_slice_attributes *attributes = infer->attributes;
    *infer->output = *infer->input[0];
    for (int axis = 0; axis < infer->output->rank; axis++) {
        int64_t begin = attributes->begin[axis], size = attributes->size[axis];
        if (begin < 0 || size < 1 || begin + size > infer->input[0]->dim[axis])
            return dl_fail(
                DL_BAD_JOB, "a slice of %lld from %lld does not fit axis %d of size %lld",
                (long long)size, (long long)begin, axis, (long long)infer->input[0]->dim[axis]);
        infer->output->dim[axis] = size;
    }
    return DL_OK;
}

static void grad_slice(dl_grad *grad) {
    const dl_slice_attributes *attributes = grad->attributes;
    dl_type x = *dl_type_of(grad->graph, grad->input[0]);
    int64_t after[DL_MAX_RANK];
    for (int axis = 0; axis < x.rank; axis++)
        after[axis] = x.dim[axis] - attributes->begin[axis] - attributes->size[axis];
    grad->dx[0] = dl_pad(grad->graph, grad->dy[0], attributes->begin, after, 0.0f);
}

static dl_status prepare_slice(const dl_prepare *what, dl_prepared *out) {
    const dl_slice_attributes *attributes = what->attributes;
    box b = {.rank = what->output[0]->rank, .bytes = dl_dtype_bytes(what->output[0]->dtype)};
    steps_of(what->input[0], b.from);
    steps_of(what->output[0], b.to);
    for (int axis = 0; axis < b.rank; axis++) {
        b.dim[axis] = what->output[0]->dim[axis];
        b.from_start += attributes->begin[axis] * b.from[axis];
    }
    return give_box(&b, out);
}

const dl_op dl_op_slice = {.name = "slice",
                           .min_inputs = 1,
                           .max_inputs = 1,
                           .outputs = 1,
                           .attribute_bytes = sizeof(dl_slice_attributes),
                           .infer = infer_slice,
                           .grad = grad_slice,
                           .half = 1,
                           .deterministic = true,
                           .cpu = {.prepare = prepare_slice, .run = run_box}};

dl_value dl_slice(dl_graph *graph, dl_value x, const int64_t *begin, const int64_t *size) {
    if (graph->status != DL_OK || x < 0)
        return -1;
    dl_slice_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    size_t bytes = sizeof *begin * (size_t)dl_type_of(graph, x)->rank;
    memcpy(attributes.begin, begin, bytes);
    memcpy(attributes.size, size, bytes);
    return dl_graph_add(graph, &dl_op_slice, &attributes, &x, 1);
}

static dl_status infer_pad(const dl_infer *infer) {
    const dl_pad_attributes *attributes = infer->attributes;
    *infer->output = *infer->input[0];
    if (!dl_is_float(infer->input[0]->dtype))
        return dl_fail(DL_INTERNAL, "padding takes float32");
    for (int axis = 0; axis < infer->output->rank; axis++) {
        if (attributes->before[axis] < 0 || attributes->after[axis] < 0)
            return dl_fail(DL_BAD_JOB, "padding must not be negative");
        infer->output->dim[axis] += attributes->before[axis] + attributes->after[axis];
    }
    return DL_OK;
}

static void grad_pad(dl_grad *grad) {
    const dl_pad_attributes *attributes = grad->attributes;
    dl_type x = *dl_type_of(grad->graph, grad->input[0]);
    grad->dx[0] = dl_slice(grad->graph, grad->dy[0], attributes->before, x.dim);
}

typedef struct pad_state {
    box b;
    float value;
    int64_t count;
} pad_state;

static dl_status prepare_pad(const dl_prepare *what, dl_prepared *out) {
    const dl_pad_attributes *attributes = what->attributes;
    pad_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    box *b = &state->b;
    b->rank = what->input[0]->rank;
    b->bytes = dl_dtype_bytes(what->output[0]->dtype);
    steps_of(what->input[0], b->from);
    steps_of(what->output[0], b->to);
    for (int axis = 0; axis < b->rank; axis++) {
        b->dim[axis] = what->input[0]->dim[axis];
        b->to_start += attributes->before[axis] * b->to[axis];
    }
    state->value = attributes->value;
    state->count = dl_type_count(what->output[0]);
    out->state = state;
    return DL_OK;
}

static dl_status run_pad(const void *state_pointer, const dl_run *run) {
    const pad_state *state = state_pointer;
    float *y = run->out[0];
    uint16_t *half = run->out[0], value = dl_m_to_bf16(state->value);
    if (state->b.bytes == sizeof *half)
        for (int64_t i = 0; i < state->count; i++)
            half[i] = value;
    else
        for (int64_t i = 0; i < state->count; i++)
            y[i] = state->value;
    copy_box(&state->b, run->in[0], run->out[0], run->team);
    return DL_OK;
}

const dl_op dl_op_pad = {.name = "pad",
                         .min_inputs = 1,
                         .max_inputs = 1,
                         .outputs = 1,
                         .attribute_bytes = sizeof(dl_pad_attributes),
                         .infer = infer_pad,
                         .grad = grad_pad,
                         .half = 1,
                         .deterministic = true,
                         .cpu = {.prepare = prepare_pad, .run = run_pad}};

dl_value dl_pad(dl_graph *graph, dl_value x, const int64_t *before, const int64_t *after,
                float value) {
    if (graph->status != DL_OK || x < 0)
        return -1;
    dl_pad_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    size_t bytes = sizeof *before * (size_t)dl_type_of(graph, x)->rank;
    memcpy(attributes.before, before, bytes);
    memcpy(attributes.after, after, bytes);
    attributes.value = value;
    return dl_graph_add(graph, &dl_op_pad, &attributes, &x, 1);
}

/* ---- concatenate ---- */

static dl_status infer_concatenate(const dl_infer *infer) {
    int axis = ((const dl_concatenate_attributes *)infer->attributes)->axis;
    *infer->output = *infer->input[0];
    if (axis < 0 || axis >= infer->output->rank)
        return dl_fail(DL_BAD_JOB, "no axis %d to concatenate along", axis);
    for (int i = 1; i < infer->inputs; i++) {
        dl_type other = *infer->input[i];
        int64_t size = other.rank == infer->output->rank ? other.dim[axis] : 0;
        other.dim[axis] = infer->output->dim[axis];
        if (size == 0 || !dl_same_type(&other, infer->output)) {
            char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
            return dl_fail(DL_BAD_JOB, "shapes %s and %s cannot be concatenated along axis %d",
                           dl_shape_text(infer->input[0], true, a),
                           dl_shape_text(infer->input[i], true, b), axis);
        }
        infer->output->dim[axis] += size;
    }
    return DL_OK;
}

static void grad_concatenate(dl_grad *grad) {
    int axis = ((const dl_concatenate_attributes *)grad->attributes)->axis;
    int64_t begin[DL_MAX_RANK] = {0};
    for (int i = 0; i < grad->inputs; i++) {
        dl_type x = *dl_type_of(grad->graph, grad->input[i]);
        if (grad->need[i])
            grad->dx[i] = dl_slice(grad->graph, grad->dy[0], begin, x.dim);
        begin[axis] += x.dim[axis];
    }
}

typedef struct concatenate_state {
    int inputs;
    size_t outer, row; /* bytes of a row of y */
    size_t part[];     /* [inputs] bytes of x's row */
} concatenate_state;

static dl_status prepare_concatenate(const dl_prepare *what, dl_prepared *out) {
    int axis = ((const dl_concatenate_attributes *)what->attributes)->axis;
    size_t bytes = sizeof(concatenate_state) + sizeof(size_t) * (size_t)what->inputs;
    concatenate_state *state = dl_alloc(bytes);
    if (!state)
        return dl_fail_memory(bytes);
    state->inputs = what->inputs;
    state->outer = 1;
    for (int i = 0; i < axis; i++)
        state->outer *= (size_t)what->output[0]->dim[i];
    for (int i = 0; i < what->inputs; i++) {
        state->part[i] = dl_type_bytes(what->input[i]) / state->outer;
        state->row += state->part[i];
    }
    out->state = state;
    return DL_OK;
}

typedef struct concatenate_call {
    const concatenate_state *state;
    const dl_run *run;
} concatenate_call;

static void concatenate_rows(void *argument, int64_t first, int64_t last) {
    const concatenate_call *call = argument;
    const concatenate_state *s = call->state;
    for (int64_t r = first; r < last; r++) {
        char *y = (char *)call->run->out[0] + (size_t)r * s->row;
        for (int i = 0; i < s->inputs; i++) {
            memcpy(y, (const char *)call->run->in[i] + (size_t)r * s->part[i], s->part[i]);
            y += s->part[i];
        }
    }
}

static dl_status run_concatenate(const void *state, const dl_run *run) {
    concatenate_call call = {state, run};
    dl_team_range(run->team, (int64_t)call.state->outer,
                  (int64_t)(65536 / (call.state->row + 1) + 1), concatenate_rows, &call);
    return DL_OK;
}

const dl_op dl_op_concatenate = {.name = "concatenate",
                                 .min_inputs = 1,
                                 .max_inputs = -1,
                                 .outputs = 1,
                                 .attribute_bytes = sizeof(dl_concatenate_attributes),
                                 .infer = infer_concatenate,
                                 .grad = grad_concatenate,
                                 .half = DL_HALF_ALL,
                                 .deterministic = true,
                                 .cpu = {.prepare = prepare_concatenate, .run = run_concatenate}};

dl_value dl_concatenate(dl_graph *graph, const dl_value *x, int count, int axis) {
    dl_concatenate_attributes attributes = {axis};
    return dl_graph_add(graph, &dl_op_concatenate, &attributes, x, count);
}

/* ---- cast ---- */

static dl_status infer_cast(const dl_infer *infer) {
    *infer->output = *infer->input[0];
    if (infer->input[0]->dtype != DL_I32 && infer->input[0]->dtype != DL_U8)
        return dl_fail(DL_INTERNAL, "no cast from %s", dl_dtype_text(infer->input[0]->dtype));
    infer->output->dtype = DL_F32;
    return DL_OK;
}

typedef struct cast_state {
    int64_t count;
    dl_dtype from;
} cast_state;

static dl_status prepare_cast(const dl_prepare *what, dl_prepared *out) {
    cast_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    *state = (cast_state){dl_type_count(what->input[0]), what->input[0]->dtype};
    out->state = state;
    return DL_OK;
}

static dl_status run_cast(const void *prepared, const dl_run *run) {
    const cast_state *state = prepared;
    float *y = run->out[0];
    if (state->from == DL_I32)
        for (int64_t i = 0; i < state->count; i++)
            y[i] = (float)((const int32_t *)run->in[0])[i];
    else
        for (int64_t i = 0; i < state->count; i++)
            y[i] = (float)((const uint8_t *)run->in[0])[i];
    return DL_OK;
}

const dl_op dl_op_cast = {.name = "cast",
                          .min_inputs = 1,
                          .max_inputs = 1,
                          .outputs = 1,
                          .infer = infer_cast,
                          .deterministic = true,
                          .cpu = {.prepare = prepare_cast, .run = run_cast}};

dl_value dl_cast(dl_graph *graph, dl_value x, dl_dtype dtype) {
    if (graph->status != DL_OK || x < 0 || dl_type_of(graph, x)->dtype == dtype)
        return graph->status == DL_OK ? x : -1;
    if (dtype != DL_F32)
        return dl_graph_fail(graph, DL_INTERNAL, "casts go to float32");
    return dl_graph_add(graph, &dl_op_cast, NULL, &x, 1);
}
