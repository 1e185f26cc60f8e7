/* Convolutions beside batch normalisations on cuDNN, where it has an engine that does it all in one
 * kernel; else links of the rows that they stand for (conv_norm.h). cuDNN 9.19 finalises for
 * ResNet-50's shapes, without a GPU:
 *
 *                                            float16                     bfloat16
 *                                    sm_80    sm_90    sm_100     sm_80, 90, 100
 *   convolution, moments             ready    ready    compiled   compiled
 *   scale-bias-relu before that      ready    ready    compiled   compiled
 *   scale-bias-relu, weight gradient ready    ready    ready      none (sm_90)
 *   input gradient, drelu, sums      ready*   ready    ready*     none (sm_90)
 *
 * (ready: engines with code of their own; compiled: at the start, by NVRTC; *: with a workspace of
 * the size of the tensor, so nothing is won). It wants scale and bias in the type of x, and
 * channels in eights: an image's three have none of it. */
#include "ops/conv.h"
#include "ops/conv_norm.h"
#include "ops/cudnn_cuda.h"
#include "ops/kernels_cuda.h"
#include "runtime/base/memory.h"
#include "runtime/device/trial_cuda.h"

/* The row's inputs and outputs in one form for the three. */
typedef struct wanted {
    const dl_prepare *what;
    dl_dnnl_direction direction;
    const dl_conv_norm_attributes *norm;
    const dl_type *x, *w;
    dl_window_sizes sizes;
} wanted;

typedef struct state {
    dl_cuda *cuda;
    dl_cudnn *call;  /* NULL: the links do it */
    dl_links *links; /* or NULL */
    dl_dnnl_direction direction;
    dl_conv_norm_attributes norm;
    dl_dtype x;
    int64_t cells, channels, weights, filters; /* elements of x, its last dimension; of w */
    bool packed;                               /* weights come as x's type */
    size_t held, vectors; /* bytes in the workspace: weights in x's type, vectors; then cuDNN's */
} state;

/* ---- what cuDNN is told; tensors in the order of a call's memory, inner ones last ---- */

enum { X, W, Y };
enum { SUM = Y + 1, SQUARES, FORWARD_SCALE, FORWARD_BIAS, FORWARD_TENSORS };
enum { WEIGHT_SCALE = Y + 1, WEIGHT_BIAS, WEIGHT_TENSORS };
enum {
    D = Y + 1,
    MEAN,
    INVERSE,
    GAMMA,
    BETA,
    SUMS_SCALE,
    SUMS_BETA,
    BY_DY,
    BY_X,
    ADDED,
    INPUT_TENSORS
};
enum { MOST_TENSORS = INPUT_TENSORS + 8 };

static void describe_tensors(const wanted *want, dl_cudnn *call) {
    const dl_window_sizes *s = &want->sizes;
    dl_cudnn_tensor(call, want->x->dtype, s->n, s->in, s->channels);
    dl_cudnn_weights(call, want->x->dtype, s->filters, s->window.kernel, s->in_group);
    dl_cudnn_tensor(call, want->x->dtype, s->n, s->out, s->filters);
}

static int inner_x(const wanted *want, dl_cudnn *call) {
    return dl_cudnn_inner(call, want->sizes.n, want->sizes.in, want->sizes.channels);
}

/* relu(x * scale + bias) */
static int describe_norm(const wanted *want, dl_cudnn *call, int scale, int bias) {
    int scaled = inner_x(want, call), added = inner_x(want, call), passed = inner_x(want, call);
    dl_cudnn_multiply(call, X, scale, scaled);
    dl_cudnn_add(call, scaled, bias, added);
    dl_cudnn_relu(call, added, passed);
    return passed;
}

static void describe_statistics(const wanted *want, dl_cudnn *call) {
    const dl_window_sizes *s = &want->sizes;
    int x = X;
    dl_cudnn_vector(call, DL_F32, s->filters);
    dl_cudnn_vector(call, DL_F32, s->filters);
    if (want->norm->normalised) {
        dl_cudnn_vector(call, want->x->dtype, s->channels);
        dl_cudnn_vector(call, want->x->dtype, s->channels);
        x = describe_norm(want, call, FORWARD_SCALE, FORWARD_BIAS);
    }
    dl_cudnn_conv(call, want->direction, &s->window, want->what->tf32, x, W, Y);
    dl_cudnn_moments(call, Y, SUM, SQUARES);
}

static void describe_weight(const wanted *want, dl_cudnn *call) {
    dl_cudnn_vector(call, want->x->dtype, want->sizes.channels);
    dl_cudnn_vector(call, want->x->dtype, want->sizes.channels);
    int x = describe_norm(want, call, WEIGHT_SCALE, WEIGHT_BIAS);
    dl_cudnn_conv(call, want->direction, &want->sizes.window, want->what->tf32, x, W, Y);
}

static void describe_input(const wanted *want, dl_cudnn *call) {
    const dl_window_sizes *s = &want->sizes;
    dl_cudnn_tensor(call, want->x->dtype, s->n, s->in, s->channels);
    for (int i = MEAN; i < INPUT_TENSORS; i++)
        dl_cudnn_vector(call, DL_F32, s->channels);
    int gradient = inner_x(want, call), around = inner_x(want, call), unit = inner_x(want, call);
    int scaled = inner_x(want, call), y = inner_x(want, call);
    dl_cudnn_conv(call, want->direction, &s->window, want->what->tf32, gradient, W, Y);
    dl_cudnn_subtract(call, X, MEAN, around);
    dl_cudnn_multiply(call, around, INVERSE, unit);
    dl_cudnn_multiply(call, unit, GAMMA, scaled);
    dl_cudnn_add(call, scaled, BETA, y);
    dl_cudnn_relu_gradient(call, y, gradient, D);
    dl_cudnn_norm_sums(call, &(dl_cudnn_norm){X, D, MEAN, INVERSE, GAMMA, SUMS_SCALE, SUMS_BETA,
                                              BY_DY, BY_X, ADDED});
}

/* NULL in s->call, and no error, where there is no engine. One that is compiled at the start is
 * not asked for: it takes half a second a shape, and is not the convolution's tuned one. */
static dl_status choose(const wanted *want, state *s) {
    int which;
    dl_cudnn *call;
    if (!dl_conv_norm_has_engine(want->what->device, want->direction, &want->norm->conv, want->x,
                                 want->w))
        return DL_OK;
    DL_TRY(dl_cudnn_open(&call, dl_cuda_of(want->what->device), want->what->name));
    describe_tensors(want, call);
    if (want->direction == DL_DNNL_FORWARD)
        describe_statistics(want, call);
    else if (want->direction == DL_DNNL_BACKWARD_WEIGHTS)
        describe_weight(want, call);
    else
        describe_input(want, call);
    dl_status status = dl_cudnn_choose(&call, 1, &s->call, &which);
    return status == DL_UNAVAILABLE ? DL_OK : status;
}

/* ---- preparing ---- */

static void release(void *made) {
    state *s = made;
    dl_cudnn_free(s->call);
    if (s->links)
        dl_links_release(s->links);
    dl_free(s);
}

static dl_status prepare_links(const wanted *want, state *s, dl_prepared *out) {
    static void (*const links_of[])(const dl_prepare *, dl_conv_norm_links *) = {
        [DL_DNNL_FORWARD] = dl_conv_statistics_links,
        [DL_DNNL_BACKWARD_WEIGHTS] = dl_conv_norm_weight_links,
        [DL_DNNL_BACKWARD_DATA] = dl_conv_norm_input_links};
    dl_conv_norm_links links;
    links_of[want->direction](want->what, &links);
    DL_TRY(dl_links_prepare(want->what, links.link, links.count, sizeof(dl_links), out));
    s->links = out->state;
    return DL_OK;
}

static void prepare_call(const wanted *want, state *s, dl_prepared *out) {
    bool gradient = want->direction == DL_DNNL_BACKWARD_WEIGHTS;
    bool converted = want->w->dtype == DL_F32;
    size_t bytes = dl_whole_lines((size_t)s->weights * sizeof(uint16_t));
    s->packed = converted && !gradient && want->what->constant[1];
    if (s->packed)
        out->packed_bytes[1] = bytes, out->packed_half = 1u << 1;
    s->held = converted && !s->packed ? bytes : 0;
    if (want->direction == DL_DNNL_BACKWARD_DATA) /* what takes part of it, and is not wanted */
        s->vectors =
            dl_whole_lines((INPUT_TENSORS - INVERSE - 2) * (size_t)s->channels * sizeof(float));
    else if (want->norm->normalised)
        s->vectors = dl_whole_lines(2 * (size_t)s->channels * sizeof(uint16_t));
    out->workspace = s->held + s->vectors + dl_cudnn_workspace(s->call);
    out->text = dl_cudnn_text(s->call);
}

static dl_status run_of(const state *s, const dl_run *run);

typedef struct timed {
    const state *s;
    int inputs;
} timed;

static dl_status run_timed(const void *argument, void *const *memory, void *workspace,
                           void *spare) {
    const timed *t = argument;
    (void)spare;
    return run_of(t->s, &(dl_run){.in = (const void *const *)memory,
                                  .out = memory + t->inputs,
                                  .workspace = workspace,
                                  .stream = t->s->cuda->stream});
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Whether the links are faster. What cannot be timed is not. */
static bool links_are_faster(const wanted *want, state *s, const dl_prepared *one,
                             const state *other, const dl_prepared *links, double *seconds) {
    const dl_prepare *what = want->what;
    size_t bytes[DL_LINK_VALUES];
    dl_trial *trial;
    for (int i = 0; i < what->inputs; i++)
        bytes[i] =
            larger(dl_type_bytes(what->input[i]),
                   i < DL_MAX_PACKED ? larger(one->packed_bytes[i], links->packed_bytes[i]) : 0);
    for (int o = 0; o < what->outputs; o++)
        bytes[what->inputs + o] = dl_type_bytes(what->output[o]);
    *seconds = 0;
    if (dl_trial_open(&trial, s->cuda, bytes, what->inputs + what->outputs,
                      larger(one->workspace, links->workspace)) != DL_OK)
        return false;
    (void)dl_trial_better(trial, run_timed, &(timed){s, what->inputs}, seconds);
    bool faster = dl_trial_better(trial, run_timed, &(timed){other, what->inputs}, seconds);
    dl_trial_close(trial);
    return faster;
}

/* Where kernels are timed: a call that takes longer than the links is not used. */
static dl_status compare(const wanted *want, state *s) {
    bool settled, without;
    DL_TRY(dl_cudnn_settled(s->call, &settled, &without));
    if (!settled) {
        state other = *s;
        dl_prepared one = {0}, links = {0};
        double seconds = 0;
        other.call = NULL;
        prepare_call(want, s, &one);
        dl_status status = prepare_links(want, &other, &links);
        if (status != DL_OK && status != DL_UNAVAILABLE)
            return status;
        without = status == DL_OK && links_are_faster(want, s, &one, &other, &links, &seconds);
        if (status == DL_OK)
            dl_links_release(other.links);
        DL_TRY(dl_cudnn_settle(s->call, without, seconds));
    }
    if (without) {
        dl_cudnn_free(s->call);
        s->call = NULL;
    }
    return DL_OK;
}

static dl_status prepare(wanted *want, dl_prepared *out) {
    DL_TRY(dl_conv_sizes(&want->norm->conv, want->x, want->w, &want->sizes));
    state *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    s->cuda = dl_cuda_of(want->what->device);
    s->direction = want->direction;
    s->norm = *want->norm;
    s->x = want->x->dtype;
    s->cells = dl_type_count(want->x);
    s->channels = want->sizes.channels;
    s->filters = want->sizes.filters;
    s->weights = dl_type_count(want->w);
    dl_status status = choose(want, s);
    if (status == DL_OK && s->call)
        status = compare(want, s);
    if (status == DL_OK && s->call)
        prepare_call(want, s, out);
    else if (status == DL_OK)
        status = prepare_links(want, s, out);
    if (status == DL_OK)
        out->state = s;
    else
        release(s);
    return status;
}

static dl_status prepare_statistics(const dl_prepare *what, dl_prepared *out) {
    wanted want = {.what = what,
                   .direction = DL_DNNL_FORWARD,
                   .norm = what->attributes,
                   .x = what->input[0],
                   .w = what->input[1]};
    return prepare(&want, out);
}

static dl_status prepare_weight(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_norm_gradient_attributes *a = what->attributes;
    wanted want = {.what = what,
                   .direction = DL_DNNL_BACKWARD_WEIGHTS,
                   .norm = &a->norm,
                   .x = what->input[0],
                   .w = what->output[0]};
    return prepare(&want, out);
}

static dl_status prepare_input(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_norm_gradient_attributes *a = what->attributes;
    wanted want = {.what = what,
                   .direction = DL_DNNL_BACKWARD_DATA,
                   .norm = &a->norm,
                   .x = what->input[2],
                   .w = what->input[1]};
    return prepare(&want, out);
}

static void pack(const void *made, int input, const void *from, void *to, dl_team *team) {
    const state *s = made;
    if (!s->call)
        dl_links_pack(s->links, input, from, to, team);
    else
        (void)dl_cuda_to_half(s->cuda, s->x, from, to, s->weights);
}

/* ---- running ---- */

/* The row's vectors, which are its inputs from `first`. */
static dl_cuda_norm norm_of(const state *s, const dl_run *run, int first) {
    const void *const *in = run->in + first;
    return (dl_cuda_norm){.mean = in[0],
                          .variance = in[1],
                          .gamma = s->norm.has_gamma ? in[2] : NULL,
                          .beta = s->norm.has_beta ? in[2 + s->norm.has_gamma] : NULL,
                          .epsilon = s->norm.epsilon,
                          .channels = s->channels};
}

static void *at(const dl_run *run, size_t offset) {
    return (char *)run->workspace + offset;
}

/* Scale and bias into the workspace, two tensors of the call. */
static dl_status make_scale(const state *s, const dl_run *run, void **memory) {
    dl_cuda_norm norm = norm_of(s, run, 2);
    memory[0] = at(run, s->held);
    memory[1] = (uint16_t *)memory[0] + s->channels;
    return dl_cuda_norm_to_scale(s->cuda, &norm, s->x, memory[0]);
}

static dl_status take_weights(const state *s, const dl_run *run, void **memory) {
    memory[W] = dl_dnnl_input(run->in[1]);
    if (!s->held)
        return DL_OK;
    DL_TRY(dl_cuda_to_half(s->cuda, s->x, memory[W], run->workspace, s->weights));
    memory[W] = run->workspace;
    return DL_OK;
}

static dl_status run_call(const state *s, const dl_run *run, void *const *memory) {
    return dl_cudnn_run(s->call, memory, at(run, s->held + s->vectors));
}

static dl_status run_statistics(const void *made, const dl_run *run) {
    const state *s = made;
    if (!s->call)
        return dl_links_run(s->links, run);
    float *moments = run->out[1];
    void *memory[MOST_TENSORS] = {[X] = dl_dnnl_input(run->in[0]),
                                  [Y] = run->out[0],
                                  [SUM] = moments,
                                  [SQUARES] = moments + s->filters};
    DL_TRY(take_weights(s, run, memory));
    if (s->norm.normalised)
        DL_TRY(make_scale(s, run, memory + FORWARD_SCALE));
    return run_call(s, run, memory);
}

static dl_status run_weight(const void *made, const dl_run *run) {
    const state *s = made;
    if (!s->call)
        return dl_links_run(s->links, run);
    void *memory[MOST_TENSORS] = {[X] = dl_dnnl_input(run->in[0]),
                                  [W] = s->held ? run->workspace : run->out[0],
                                  [Y] = dl_dnnl_input(run->in[1])};
    DL_TRY(make_scale(s, run, memory + WEIGHT_SCALE));
    DL_TRY(run_call(s, run, memory));
    return s->held ? dl_cuda_from_half(s->cuda, s->x, memory[W], run->out[0], s->weights) : DL_OK;
}

static dl_status run_input(const void *made, const dl_run *run) {
    const state *s = made;
    dl_cuda_norm norm = norm_of(s, run, 3);
    if (!s->call) {
        DL_TRY(dl_links_run(s->links, run));
        return dl_cuda_norm_gate(s->cuda, &norm, s->x, run->in[2], run->out[0], s->cells);
    }
    float *sums = run->out[1], *vector = at(run, s->held);
    void *memory[MOST_TENSORS] = {[X] = dl_dnnl_input(run->in[2]),
                                  [Y] = dl_dnnl_input(run->in[0]),
                                  [D] = run->out[0],
                                  [MEAN] = dl_dnnl_input(norm.mean),
                                  [SUMS_BETA] = sums,
                                  [SUMS_SCALE] = sums + s->channels};
    static const int others[] = {INVERSE, GAMMA, BETA, BY_DY, BY_X, ADDED};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        memory[others[i]] = vector + (int64_t)i * s->channels;
    DL_TRY(dl_cuda_norm_to_parts(s->cuda, &norm, vector));
    DL_TRY(take_weights(s, run, memory));
    return run_call(s, run, memory);
}

static dl_status run_of(const state *s, const dl_run *run) {
    return s->direction == DL_DNNL_FORWARD            ? run_statistics(s, run)
           : s->direction == DL_DNNL_BACKWARD_WEIGHTS ? run_weight(s, run)
                                                      : run_input(s, run);
}

const dl_kernel dl_cuda_conv_statistics = {
    .prepare = prepare_statistics, .pack = pack, .run = run_statistics, .release = release};
const dl_kernel dl_cuda_conv_norm_weight_gradient = {
    .prepare = prepare_weight, .run = run_weight, .release = release};
const dl_kernel dl_cuda_conv_norm_input_gradient = {
    .prepare = prepare_input, .pack = pack, .run = run_input, .release = release};
