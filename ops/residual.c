/* Where a block of convolutions and its shortcut meet, for devices (residual_fuse.c puts these rows
 * in the place of norm.c's): the normalisations of both, their sum and its relu in one pass, which
 * also leaves a bit an element for the way back; and back the sum of the gradients that arrive,
 * stopped where the bit is 0, with the column sums of the normalisations, in one pass. On the CPU:
 * loops, which nobody runs but tests. */
#include "ops/residual.h"

#include <math.h>

#include "ops/cells.h"
#include "ops/norm.h"
#include "runtime/base/memory.h"

enum { BITS = 8 };

static dl_type bits_of(const dl_type *y) {
    dl_type bits = *y;
    bits.dtype = DL_U8;
    bits.dim[bits.rank - 1] /= BITS;
    return bits;
}

static dl_status check(const dl_infer *infer, int x, int other, int inputs) {
    const dl_type *type = infer->input[x];
    if (infer->inputs != inputs || type->rank < 2 || type->dim[type->rank - 1] % BITS ||
        !dl_same_type(type, infer->input[other]))
        return dl_fail(DL_INTERNAL, "a block and its shortcut do not meet");
    return DL_OK;
}

static dl_status infer_residual(const dl_infer *infer) {
    const dl_residual_attributes *a = infer->attributes;
    int inputs = 2;
    for (int i = 0; i < 1 + a->normalised; i++)
        inputs += 2 + a->norm[i].has_gamma + a->norm[i].has_beta;
    DL_TRY(check(infer, 0, 1, inputs));
    DL_TRY(dl_check_channels(infer, 2, inputs));
    infer->output[0] = *infer->input[0];
    if (a->outputs == 2)
        infer->output[1] = bits_of(infer->input[0]);
    return DL_OK;
}

static dl_status infer_sums(const dl_infer *infer) {
    const dl_residual_sums_attributes *a = infer->attributes;
    DL_TRY(check(infer, 1, 2, a->normalised ? 9 : 6));
    DL_TRY(check(infer, 1, a->normalised ? 6 : 3, infer->inputs));
    const dl_type *d = infer->input[2], bits = bits_of(d);
    if (!dl_same_type(d, infer->input[3]) || !dl_same_type(&bits, infer->input[0]))
        return dl_fail(DL_INTERNAL, "the gradients of a block and its shortcut do not meet");
    infer->output[0] = *d;
    infer->output[1] = DL_TYPE(DL_F32, (a->normalised ? 4 : 2) * d->dim[d->rank - 1]);
    return DL_OK;
}

typedef struct state {
    int64_t count, channels;
    bool half;
    dl_residual_attributes residual;
    dl_residual_sums_attributes sums;
} state;

static dl_status make(const dl_type *type, dl_prepared *out, state **made) {
    state *s = *made = out->state = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    s->count = dl_type_count(type);
    s->channels = type->dim[type->rank - 1];
    s->half = type->dtype == DL_BF16;
    return DL_OK;
}

static dl_status prepare_residual(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(make(what->output[0], out, &s));
    s->residual = *(const dl_residual_attributes *)what->attributes;
    return DL_OK;
}

static dl_status prepare_sums(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(make(what->output[0], out, &s));
    s->sums = *(const dl_residual_sums_attributes *)what->attributes;
    return DL_OK;
}

static float normalise(const dl_residual_norm *norm, int64_t c, float x) {
    float scale = (norm->gamma ? norm->gamma[c] : 1.0f) / sqrtf(norm->variance[c] + norm->epsilon);
    return (x - norm->mean[c]) * scale + (norm->beta ? norm->beta[c] : 0.0f);
}

static dl_status run_residual(const void *made, const dl_run *run) {
    const state *s = made;
    const dl_residual_attributes *a = &s->residual;
    dl_residual_norm norm[2];
    dl_residual_norms(a, run->in, norm);
    for (int64_t e = 0; e < s->count; e++) {
        int64_t c = e % s->channels;
        float other = dl_cell(run->in[1], e, s->half);
        float z = normalise(&norm[0], c, dl_cell(run->in[0], e, s->half)) +
                  (a->normalised ? normalise(&norm[1], c, other) : other);
        dl_put_cell(run->out[0], e, s->half, !(z <= 0.0f) ? z : 0.0f);
        if (a->outputs < 2)
            continue;
        uint8_t *bits = (uint8_t *)run->out[1] + e / BITS;
        unsigned before = e % BITS ? *bits : 0;
        *bits = (uint8_t)(before | (unsigned)(dl_cell(run->out[0], e, s->half) > 0) << e % BITS);
    }
    return DL_OK;
}

static void stop(const state *s, const dl_run *run) {
    const uint8_t *bits = run->in[0];
    for (int64_t e = 0; e < s->count; e++) {
        float sum = dl_cell(run->in[2], e, s->half) + dl_cell(run->in[3], e, s->half);
        dl_put_cell(run->out[0], e, s->half, bits[e / BITS] >> e % BITS & 1 ? sum : 0);
    }
}

static dl_status run_sums(const void *made, const dl_run *run) {
    const state *s = made;
    dl_residual_norm norm[2];
    dl_residual_sums_norms(&s->sums, run->in, norm);
    stop(s, run);
    for (int i = 0; i < 1 + s->sums.normalised; i++)
        for (int64_t c = 0; c < s->channels; c++) {
            float *out = (float *)run->out[1] + 2 * i * s->channels + c;
            double sum = 0, product = 0;
            for (int64_t e = c; e < s->count; e += s->channels) {
                float around = dl_cell(run->in[i ? 6 : 1], e, s->half) - norm[i].mean[c];
                sum += (double)dl_cell(run->out[0], e, s->half);
                product += (double)(dl_cell(run->out[0], e, s->half) * around);
            }
            out[0] = (float)sum;
            out[s->channels] = (float)product / sqrtf(norm[i].variance[c] + norm[i].epsilon);
        }
    return DL_OK;
}

const dl_op dl_op_residual = {.name = "residual",
                              .min_inputs = 4,
                              .max_inputs = 10,
                              .outputs = -1,
                              .attribute_bytes = sizeof(dl_residual_attributes),
                              .infer = infer_residual,
                              .in_place = 3,
                              .half = 3,
                              .deterministic = true,
                              .cpu = {.prepare = prepare_residual, .run = run_residual}};

const dl_op dl_op_residual_sums = {.name = "residual_sums",
                                   .min_inputs = 6,
                                   .max_inputs = 9,
                                   .outputs = 2,
                                   .attribute_bytes = sizeof(dl_residual_sums_attributes),
                                   .infer = infer_sums,
                                   .in_place = 1u << 2 | 1u << 3,
                                   .half = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 6,
                                   .mixes_samples = true,
                                   .deterministic = true,
                                   .cpu = {.prepare = prepare_sums, .run = run_sums}};
