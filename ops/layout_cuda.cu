/* Rows that move elements, as copies of boxes (box_cuda.h), and the cast of whole numbers to
 * float32. The rows are those of layout.c. */
#include <cstring>

#include "ops/box_cuda.h"

namespace {

dl_status prepare_transpose(const dl_prepare *what, dl_prepared *out) {
    const dl_transpose_attributes *a = (const dl_transpose_attributes *)what->attributes;
    dl_box *box;
    int64_t step[DL_MAX_RANK];
    DL_TRY(dl_box_prepare(what, out, &box));
    dl_box_steps(what->input[0], step);
    for (int axis = 0; axis < box->rank; axis++)
        box->from[axis] = step[a->permutation[axis]];
    dl_box_simplify(box);
    return DL_OK;
}

dl_status prepare_slice(const dl_prepare *what, dl_prepared *out) {
    const dl_slice_attributes *a = (const dl_slice_attributes *)what->attributes;
    dl_box *box;
    DL_TRY(dl_box_prepare(what, out, &box));
    dl_box_steps(what->input[0], box->from);
    for (int axis = 0; axis < box->rank; axis++)
        box->from_start += a->begin[axis] * box->from[axis];
    dl_box_simplify(box);
    return DL_OK;
}

/* Bits of `value` as an element. */
uint64_t bits_of(float value, dl_dtype dtype) {
    uint64_t bits = 0;
    __nv_bfloat16 brain = __float2bfloat16_rn(value);
    __half half = __float2half_rn(value);
    if (dtype == DL_BF16)
        std::memcpy(&bits, &brain, sizeof brain);
    else if (dtype == DL_F16)
        std::memcpy(&bits, &half, sizeof half);
    else
        std::memcpy(&bits, &value, sizeof value);
    return bits;
}

dl_status prepare_pad(const dl_prepare *what, dl_prepared *out) {
    const dl_pad_attributes *a = (const dl_pad_attributes *)what->attributes;
    dl_box *box;
    DL_TRY(dl_box_prepare(what, out, &box));
    dl_box_steps(what->input[0], box->from);
    box->padded = true;
    box->value = bits_of(a->value, what->output[0]->dtype);
    for (int axis = 0; axis < box->rank; axis++) {
        box->low[axis] = a->before[axis];
        box->high[axis] = a->before[axis] + what->input[0]->dim[axis];
        box->from_start -= a->before[axis] * box->from[axis];
    }
    dl_box_simplify(box);
    return DL_OK;
}

/* A box for each input. */
struct concatenate_state {
    const dl_cuda *cuda;
    int inputs;
    dl_box box[1]; /* [inputs] */
};

dl_status prepare_concatenate(const dl_prepare *what, dl_prepared *out) {
    int axis = ((const dl_concatenate_attributes *)what->attributes)->axis;
    size_t bytes = sizeof(concatenate_state) + sizeof(dl_box) * (size_t)(what->inputs - 1);
    concatenate_state *state = (concatenate_state *)dl_alloc(bytes);
    if (!state)
        return dl_fail_memory(bytes);
    int64_t to[DL_MAX_RANK], place = 0;
    dl_box_steps(what->output[0], to);
    state->cuda = dl_cuda_of(what->device);
    state->inputs = what->inputs;
    for (int i = 0; i < what->inputs; i++) {
        const dl_type *x = what->input[i];
        dl_box *box = &state->box[i];
        box->rank = x->rank;
        box->bytes = (int64_t)dl_dtype_bytes(x->dtype);
        std::memcpy(box->dim, x->dim, sizeof box->dim);
        std::memcpy(box->to, to, sizeof to);
        dl_box_steps(x, box->from);
        box->to_start = place * to[axis];
        place += x->dim[axis];
        dl_box_simplify(box);
    }
    out->state = state;
    return DL_OK;
}

dl_status run_concatenate(const void *state, const dl_run *run) {
    const concatenate_state *s = (const concatenate_state *)state;
    for (int i = 0; i < s->inputs; i++)
        DL_TRY(
            dl_box_copy(&s->box[i], s->cuda, (cudaStream_t)run->stream, run->in[i], run->out[0]));
    return DL_OK;
}

struct cast_state {
    const dl_cuda *cuda;
    int64_t count;
    bool bytes; /* from uint8 */
};

dl_status prepare_cast(const dl_prepare *what, dl_prepared *out) {
    cast_state *state;
    DL_TRY(dl_make_state(out, &state));
    state->cuda = dl_cuda_of(what->device);
    state->count = dl_type_count(what->input[0]);
    state->bytes = what->input[0]->dtype == DL_U8;
    return DL_OK;
}

/* Four at a time, where both sides lie on a line of four. */
template <class Whole, class Four>
__global__ void cast(int64_t count, bool fours, const Whole *x, float *y) {
    int64_t done = fours ? count / 4 : 0;
    for (int64_t i = DL_FIRST_THREAD; i < done; i += DL_ALL_THREADS) {
        Four whole = ((const Four *)x)[i];
        float4 four = {(float)whole.x, (float)whole.y, (float)whole.z, (float)whole.w};
        ((float4 *)y)[i] = four;
    }
    for (int64_t i = 4 * done + DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        y[i] = (float)x[i];
}

dl_status run_cast(const void *state, const dl_run *run) {
    const cast_state *s = (const cast_state *)state;
    const void *x = run->in[0];
    float *y = (float *)run->out[0];
    bool fours = ((uintptr_t)x & (s->bytes ? 3 : 15)) == 0 && ((uintptr_t)y & 15) == 0;
    unsigned blocks = dl_cuda_blocks(s->cuda, fours ? (s->count + 3) / 4 : s->count);
    if (s->bytes)
        return DL_LAUNCH((cast<uint8_t, uchar4>), blocks, DL_BLOCK, 0, (cudaStream_t)run->stream,
                         s->count, fours, (const uint8_t *)x, y);
    return DL_LAUNCH((cast<int32_t, int4>), blocks, DL_BLOCK, 0, (cudaStream_t)run->stream,
                     s->count, fours, (const int32_t *)x, y);
}

} // namespace

const dl_kernel dl_cuda_transpose = {.prepare = prepare_transpose, .run = dl_box_run};
const dl_kernel dl_cuda_slice = {.prepare = prepare_slice, .run = dl_box_run};
const dl_kernel dl_cuda_pad = {.prepare = prepare_pad, .run = dl_box_run};
const dl_kernel dl_cuda_concatenate = {.prepare = prepare_concatenate, .run = run_concatenate};
const dl_kernel dl_cuda_cast = {.prepare = prepare_cast, .run = run_cast};
