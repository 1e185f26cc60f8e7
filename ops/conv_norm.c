/* Convolutions that take part in the batch normalisations beside them, so that their tensors pass
 * memory less often (devices alone: conv_norm_fuse.c puts these rows in the place of conv.c's and
 * norm.c's). Kernels: links of the rows that they stand for (links.h), and conv_norm_cuda.c. */
#include "ops/conv_norm.h"

#include <math.h>
#include <string.h>

#include "ops/cells.h"

/* Of relu(batch_norm(x)). */
static int vectors(const dl_conv_norm_attributes *a) {
    return a->normalised ? 2 + a->has_gamma + a->has_beta : 0;
}

static dl_batch_norm_attributes norm_of(const dl_conv_norm_attributes *a) {
    dl_batch_norm_attributes norm;
    memset(&norm, 0, sizeof norm);
    norm.epsilon = a->epsilon;
    norm.has_gamma = a->has_gamma;
    norm.has_beta = a->has_beta;
    norm.epilogue = DL_EPILOGUE_RELU;
    return norm;
}

/* A link that reads `own` values and then the row's vectors, which are its inputs from `first`. */
static dl_link link_of(const dl_op *op, const void *attributes, const dl_conv_norm_attributes *a,
                       int own, const int *values, int first, int out) {
    dl_link link = {op, attributes, own + vectors(a), {0}, out};
    for (int i = 0; i < link.inputs; i++)
        link.in[i] = i < own ? values[i] : first + i - own;
    return link;
}

static dl_link normalisation(dl_conv_norm_links *links, const dl_conv_norm_attributes *a, int out) {
    links->norm = norm_of(a);
    return link_of(&dl_op_batch_norm, &links->norm, a, 1, (const int[]){0}, 2, out);
}

static dl_status check_inputs(const dl_infer *infer, const dl_conv_norm_attributes *a, int own) {
    return infer->inputs == own + vectors(a)
               ? DL_OK
               : dl_fail(DL_INTERNAL, "a convolution beside a normalisation gets %d inputs",
                         infer->inputs);
}

static dl_status prepare(const dl_prepare *what, const dl_conv_norm_links *of, dl_prepared *out) {
    return dl_links_prepare(what, of->link, of->count, sizeof(dl_links), out);
}

/* ---- conv_statistics(x, w[, mean, variance[, gamma][, beta]]): y and channel_moments(y) ---- */

static dl_status infer_statistics(const dl_infer *infer) {
    const dl_conv_norm_attributes *a = infer->attributes;
    dl_infer conv = {
        .attributes = &a->conv, .inputs = 2, .input = infer->input, .output = infer->output};
    DL_TRY(check_inputs(infer, a, 2));
    DL_TRY(dl_op_conv.infer(&conv));
    infer->output[1] = DL_TYPE(DL_F32, 2 * infer->input[1]->dim[0]);
    return DL_OK;
}

static double flop_statistics(const dl_prepare *what) {
    return dl_op_conv.flop(what);
}

void dl_conv_statistics_links(const dl_prepare *what, dl_conv_norm_links *out) {
    const dl_conv_norm_attributes *a = what->attributes;
    int y = what->inputs, between = y + 2;
    *out = (dl_conv_norm_links){.count = 0};
    if (a->normalised)
        out->link[out->count++] = normalisation(out, a, between);
    out->link[out->count++] =
        (dl_link){&dl_op_conv, &a->conv, 2, {a->normalised ? between : 0, 1}, y};
    out->link[out->count++] = (dl_link){&dl_op_channel_moments, NULL, 1, {y}, y + 1};
}

static dl_status prepare_statistics(const dl_prepare *what, dl_prepared *out) {
    dl_conv_norm_links links;
    dl_conv_statistics_links(what, &links);
    return prepare(what, &links, out);
}

const dl_op dl_op_conv_statistics = {.name = "conv_statistics",
                                     .min_inputs = 2,
                                     .max_inputs = 6,
                                     .outputs = 2,
                                     .attribute_bytes = sizeof(dl_conv_norm_attributes),
                                     .infer = infer_statistics,
                                     .half = 3,
                                     .packs_half = 2,
                                     .mixes_samples = true,
                                     .deterministic = true,
                                     .flop = flop_statistics,
                                     .cpu = {.prepare = prepare_statistics,
                                             .pack = dl_links_pack,
                                             .run = dl_links_run,
                                             .release = dl_links_release}};

/* ---- conv_norm_weight_gradient(x, dy, mean, variance[, gamma][, beta]): conv_weight_gradient of
 * ---- relu(batch_norm(x)) ---- */

static dl_conv_weight_attributes weight_of(const dl_conv_norm_gradient_attributes *a) {
    return (dl_conv_weight_attributes){a->norm.conv, a->made};
}

static dl_status infer_weight(const dl_infer *infer) {
    const dl_conv_norm_gradient_attributes *a = infer->attributes;
    dl_conv_weight_attributes weight = weight_of(a);
    dl_infer conv = {
        .attributes = &weight, .inputs = 2, .input = infer->input, .output = infer->output};
    DL_TRY(check_inputs(infer, &a->norm, 2));
    return dl_op_conv_weight_gradient.infer(&conv);
}

static double flop_weight(const dl_prepare *what) {
    return dl_op_conv_weight_gradient.flop(what);
}

void dl_conv_norm_weight_links(const dl_prepare *what, dl_conv_norm_links *out) {
    const dl_conv_norm_gradient_attributes *a = what->attributes;
    int dw = what->inputs, between = dw + 1;
    *out = (dl_conv_norm_links){.count = 2};
    out->conv.weight = weight_of(a);
    out->link[0] = normalisation(out, &a->norm, between);
    out->link[1] = (dl_link){&dl_op_conv_weight_gradient, &out->conv.weight, 2, {between, 1}, dw};
}

static dl_status prepare_weight(const dl_prepare *what, dl_prepared *out) {
    dl_conv_norm_links links;
    dl_conv_norm_weight_links(what, &links);
    return prepare(what, &links, out);
}

const dl_op dl_op_conv_norm_weight_gradient = {
    .name = "conv_norm_weight_gradient",
    .min_inputs = 4,
    .max_inputs = 6,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_conv_norm_gradient_attributes),
    .infer = infer_weight,
    .half = 3,
    .mixes_samples = true,
    .deterministic = true,
    .flop = flop_weight,
    .cpu = {.prepare = prepare_weight, .run = dl_links_run, .release = dl_links_release}};

/* ---- conv_norm_input_gradient(dy, w, x, mean, variance[, gamma][, beta]): where the convolution
 * ---- took relu(batch_norm(x)), conv_input_gradient behind that relu, and its batch_norm_sums ----
 */

static dl_conv_input_attributes input_of(const dl_conv_norm_gradient_attributes *a) {
    return (dl_conv_input_attributes){a->norm.conv, a->made};
}

static dl_status infer_input(const dl_infer *infer) {
    const dl_conv_norm_gradient_attributes *a = infer->attributes;
    dl_conv_input_attributes input = input_of(a);
    dl_infer conv = {
        .attributes = &input, .inputs = 2, .input = infer->input, .output = infer->output};
    DL_TRY(check_inputs(infer, &a->norm, 3));
    DL_TRY(dl_op_conv_input_gradient.infer(&conv));
    if (!dl_same_type(infer->input[2], infer->output))
        return dl_fail(DL_INTERNAL, "a gradient behind a normalisation has another type than it");
    infer->output[1] = DL_TYPE(DL_F32, 2 * a->made.dim[a->made.rank - 1]);
    return DL_OK;
}

static double flop_input(const dl_prepare *what) {
    return dl_op_conv_input_gradient.flop(what);
}

void dl_conv_norm_input_links(const dl_prepare *what, dl_conv_norm_links *out) {
    const dl_conv_norm_gradient_attributes *a = what->attributes;
    int d = what->inputs;
    *out = (dl_conv_norm_links){.count = 2, .norm = norm_of(&a->norm)};
    out->conv.input = input_of(a);
    out->link[0] = (dl_link){&dl_op_conv_input_gradient, &out->conv.input, 2, {0, 1}, d};
    out->link[1] =
        link_of(&dl_op_batch_norm_sums, &out->norm, &a->norm, 2, (const int[]){d, 2}, 3, d + 1);
}

typedef struct input_state {
    dl_links links; /* first */
    dl_conv_norm_attributes norm;
    int64_t count, channels;
    bool half;
} input_state;

static dl_status prepare_input(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_norm_gradient_attributes *a = what->attributes;
    dl_conv_norm_links links;
    dl_conv_norm_input_links(what, &links);
    DL_TRY(dl_links_prepare(what, links.link, links.count, sizeof(input_state), out));
    input_state *state = out->state;
    state->norm = a->norm;
    state->count = dl_type_count(what->output[0]);
    state->channels = a->made.dim[a->made.rank - 1];
    state->half = what->output[0]->dtype == DL_BF16;
    return DL_OK;
}

static dl_status run_input(const void *made, const dl_run *run) {
    const input_state *state = made;
    const dl_conv_norm_attributes *a = &state->norm;
    const float *mean = run->in[3], *variance = run->in[4];
    const float *gamma = a->has_gamma ? run->in[5] : NULL;
    const float *beta = a->has_beta ? run->in[5 + a->has_gamma] : NULL;
    DL_TRY(dl_links_run(&state->links, run));
    for (int64_t e = 0; e < state->count; e++) {
        int64_t c = e % state->channels;
        float scale = (gamma ? gamma[c] : 1.0f) / sqrtf(variance[c] + a->epsilon);
        float around = dl_cell(run->in[2], e, state->half) - mean[c];
        if (!(around * scale + (beta ? beta[c] : 0.0f) > 0.0f))
            dl_put_cell(run->out[0], e, state->half, 0.0f);
    }
    return DL_OK;
}

const dl_op dl_op_conv_norm_input_gradient = {.name = "conv_norm_input_gradient",
                                              .min_inputs = 5,
                                              .max_inputs = 7,
                                              .outputs = 2,
                                              .attribute_bytes =
                                                  sizeof(dl_conv_norm_gradient_attributes),
                                              .infer = infer_input,
                                              .half = 7,
                                              .packs_half = 2,
                                              .mixes_samples = true,
                                              .deterministic = true,
                                              .flop = flop_input,
                                              .cpu = {.prepare = prepare_input,
                                                      .pack = dl_links_pack,
                                                      .run = run_input,
                                                      .release = dl_links_release}};
