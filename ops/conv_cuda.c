/* Convolutions on cuDNN. All tensors lie channels last, weights [output, kernel..., input] too, so
 * nothing is reordered. Under half activations float32 weights are converted, once per update where
 * they are a variable, else in each run into the workspace; their gradient is rounded to half and
 * then converted, unless the engine writes float32 itself. Bias, relu, that conversion and the relu
 * at which a gradient stops are part of cuDNN's kernel where it has an engine for that, else passes
 * of our own behind it; so is, always, the sum of such a gradient. Workspace: [weights as
 * half][cuDNN's], or what the sum takes. */
#include "ops/conv.h"
#include "ops/cudnn_cuda.h"
#include "ops/kernels_cuda.h"
#include "runtime/base/memory.h"

typedef struct state {
    dl_cuda *cuda;
    dl_cudnn *call;
    dl_dnnl_direction direction;
    bool converted, packed; /* weights, or their gradient, are half; weights come so */
    bool fused;             /* the call does all that the row does */
    bool bias;
    dl_epilogue epilogue;
    bool stops, sums; /* the gradient of the input: where a relu does; with its sum */
    dl_type stopped;
    dl_dtype x, y;
    int64_t weights, cells, filters; /* elements of w, of y, of its last dimension */
    size_t held;                     /* bytes of half weights in the workspace */
} state;

/* What a row asks for, in one form for the three. */
typedef struct wanted {
    const dl_prepare *what;
    dl_dnnl_direction direction;
    dl_dtype x, w, y; /* w: in memory */
    const dl_conv_attributes *attributes;
    dl_window_sizes sizes;
    bool bias, stops, sums;
} wanted;

/* Tensors in the order of a call's memory. */
enum { X, W, Y, MORE, ARGUMENTS }; /* a bias, or where a gradient stops */

static int add_weights(dl_cudnn *call, const dl_window_sizes *sizes, dl_dtype dtype) {
    return dl_cudnn_weights(call, dtype, sizes->filters, sizes->window.kernel, sizes->in_group);
}

/* The convolution alone, all of it in the activations' type. */
static dl_status describe_plain(const wanted *want, dl_cudnn **out) {
    const dl_window_sizes *sizes = &want->sizes;
    DL_TRY(dl_cudnn_open(out, dl_cuda_of(want->what->device), want->what->name));
    int x = dl_cudnn_tensor(*out, want->x, sizes->n, sizes->in, sizes->channels);
    int w = add_weights(*out, sizes, want->x);
    int y = dl_cudnn_tensor(*out, want->y, sizes->n, sizes->out, sizes->filters);
    dl_cudnn_conv(*out, want->direction, &sizes->window, want->what->tf32, x, w, y);
    return DL_OK;
}

/* With what follows it. */
static dl_status describe_fused(const wanted *want, dl_cudnn **out) {
    const dl_window_sizes *sizes = &want->sizes;
    DL_TRY(dl_cudnn_open(out, dl_cuda_of(want->what->device), want->what->name));
    dl_cudnn *call = *out;
    int x = dl_cudnn_tensor(call, want->x, sizes->n, sizes->in, sizes->channels);
    int w =
        add_weights(call, sizes, want->direction == DL_DNNL_BACKWARD_WEIGHTS ? want->w : want->x);
    int y = dl_cudnn_tensor(call, want->y, sizes->n, sizes->out, sizes->filters);
    if (want->direction == DL_DNNL_BACKWARD_WEIGHTS) {
        int sum = dl_cudnn_inner(call, sizes->filters, sizes->window.kernel, sizes->in_group);
        dl_cudnn_conv(call, want->direction, &sizes->window, want->what->tf32, x, sum, y);
        dl_cudnn_copy(call, sum, w);
        return DL_OK;
    }
    if (want->direction == DL_DNNL_BACKWARD_DATA) {
        int relu = dl_cudnn_tensor(call, want->x, sizes->n, sizes->in, sizes->channels);
        int dx = dl_cudnn_inner(call, sizes->n, sizes->in, sizes->channels);
        dl_cudnn_conv(call, want->direction, &sizes->window, want->what->tf32, dx, w, y);
        dl_cudnn_relu_gradient(call, relu, dx, x);
        return DL_OK;
    }
    bool relu = want->attributes->epilogue == DL_EPILOGUE_RELU;
    int bias = want->bias ? dl_cudnn_vector(call, DL_F32, sizes->filters) : -1;
    int made = dl_cudnn_inner(call, sizes->n, sizes->out, sizes->filters);
    dl_cudnn_conv(call, want->direction, &sizes->window, want->what->tf32, x, w, made);
    int added = made;
    if (want->bias) {
        added = relu ? dl_cudnn_inner(call, sizes->n, sizes->out, sizes->filters) : y;
        dl_cudnn_add(call, made, bias, added);
    }
    if (relu)
        dl_cudnn_relu(call, added, y);
    return DL_OK;
}

/* What is left of a gradient that stops at a relu once the call, fused or plain, is through. */
static dl_status end_gradient(const state *made, bool fused, void *const *memory, void *workspace,
                              float *sums) {
    const void *y = fused ? NULL : memory[MORE];
    if (made->sums)
        return dl_cuda_row_sum(made->cuda, memory[X], y, &made->stopped, memory[X], workspace,
                               sums);
    return y ? dl_cuda_relu_stop(made->cuda, memory[X], y, &made->stopped, memory[X]) : DL_OK;
}

static dl_status follow_fused(const void *state_of_fused, void *const *memory, void *spare) {
    const state *made = state_of_fused;
    return made->stops ? end_gradient(made, true, memory, spare, spare) : DL_OK;
}

/* What run_conv does behind a plain call that a fused one could stand for. */
static dl_status follow_plain(const void *state_of_plain, void *const *memory, void *spare) {
    const state *made = state_of_plain;
    if (made->direction == DL_DNNL_BACKWARD_WEIGHTS)
        return dl_cuda_from_half(made->cuda, made->x, memory[W], spare, made->weights);
    if (made->stops)
        return end_gradient(made, false, memory, spare, spare);
    return dl_cuda_epilogue(made->cuda, memory[Y], made->y, made->cells, memory[MORE],
                            made->filters, made->epilogue);
}

/* A fused forward saves a pass over y. A gradient's conversion is a pass over the weights alone,
 * and a relu that it stops at is one more thing in the pass that adds it up; the engines that would
 * do these are compiled when they are prepared, half a second each: they come last, for those who
 * time. */
static dl_status choose(const wanted *want, state *made) {
    dl_cudnn *way[2] = {NULL};
    int ways = 1, which = 0, fused = 0;
    if (want->direction == DL_DNNL_FORWARD)
        ways += want->bias || want->attributes->epilogue != DL_EPILOGUE_NONE;
    else if (want->stops || (want->direction == DL_DNNL_BACKWARD_WEIGHTS && want->x != DL_F32))
        fused = ways++;
    dl_status status = DL_OK;
    for (int i = 0; i < ways && status == DL_OK; i++)
        status =
            ways > 1 && i == fused ? describe_fused(want, &way[i]) : describe_plain(want, &way[i]);
    if (status != DL_OK) {
        for (int i = 0; i < ways; i++)
            dl_cudnn_free(way[i]);
        return status;
    }
    if (ways > 1) {
        dl_cudnn_follow(way[1 - fused], follow_plain, made);
        dl_cudnn_follow(way[fused], follow_fused, made);
    }
    DL_TRY(dl_cudnn_choose(way, ways, &made->call, &which));
    made->fused = ways == 1 || which == fused;
    return DL_OK;
}

static void release(void *state_to_free) {
    state *made = state_to_free;
    dl_cudnn_free(made->call);
    dl_free(made);
}

static dl_status prepare(wanted *want, const dl_type *x, const dl_type *w, dl_prepared *out) {
    const dl_prepare *what = want->what;
    DL_TRY(dl_conv_sizes(want->attributes, x, w, &want->sizes));
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    made->cuda = dl_cuda_of(what->device);
    made->direction = want->direction;
    made->bias = want->bias;
    made->epilogue = want->attributes->epilogue;
    made->x = want->x;
    made->y = want->y;
    made->stops = want->stops;
    made->sums = want->sums;
    made->stopped = *what->output[0];
    made->weights = dl_type_count(w);
    made->filters = want->sizes.filters;
    made->cells = want->sizes.n * want->sizes.out[0] * want->sizes.out[1] * made->filters;
    dl_status status = choose(want, made);
    if (status != DL_OK) {
        release(made);
        return status;
    }
    bool gradient = want->direction == DL_DNNL_BACKWARD_WEIGHTS;
    made->converted = want->x != DL_F32 && want->w == DL_F32 && !(gradient && made->fused);
    made->packed = made->converted && !gradient && what->constant[1];
    size_t bytes = dl_whole_lines((size_t)made->weights * sizeof(uint16_t));
    if (made->packed)
        out->packed_bytes[1] = bytes, out->packed_half = 1u << 1;
    made->held = made->converted && !made->packed ? bytes : 0;
    size_t sums = made->sums ? dl_cuda_row_sum_workspace(&made->stopped) : 0;
    out->workspace = made->held + dl_cudnn_workspace(made->call);
    out->workspace = out->workspace > sums ? out->workspace : sums;
    out->text = dl_cudnn_text(made->call);
    out->state = made;
    return DL_OK;
}

static dl_status prepare_conv(const dl_prepare *what, dl_prepared *out) {
    wanted want = {.what = what,
                   .direction = DL_DNNL_FORWARD,
                   .x = what->input[0]->dtype,
                   .w = what->input[1]->dtype,
                   .y = what->output[0]->dtype,
                   .attributes = what->attributes,
                   .bias = what->inputs == 3};
    return prepare(&want, what->input[0], what->input[1], out);
}

static dl_status prepare_data(const dl_prepare *what, const dl_conv_input_attributes *attributes,
                              bool stops, bool sums, dl_prepared *out) {
    wanted want = {.what = what,
                   .direction = DL_DNNL_BACKWARD_DATA,
                   .x = what->input[0]->dtype,
                   .w = what->input[1]->dtype,
                   .y = what->input[0]->dtype,
                   .attributes = &attributes->conv,
                   .stops = stops,
                   .sums = sums};
    return prepare(&want, &attributes->x, what->input[1], out);
}

static dl_status prepare_input(const dl_prepare *what, dl_prepared *out) {
    return prepare_data(what, what->attributes, false, false, out);
}

static dl_status prepare_relu_gradient(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_relu_gradient_attributes *attributes = what->attributes;
    return prepare_data(what, &attributes->conv, true, attributes->outputs == 2, out);
}

static dl_status prepare_weight(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_weight_attributes *attributes = what->attributes;
    wanted want = {.what = what,
                   .direction = DL_DNNL_BACKWARD_WEIGHTS,
                   .x = what->input[0]->dtype,
                   .w = what->output[0]->dtype,
                   .y = what->input[1]->dtype,
                   .attributes = &attributes->conv};
    return prepare(&want, what->input[0], what->output[0], out);
}

static void pack(const void *state_of_weights, int input, const void *from, void *to,
                 dl_team *team) {
    const state *made = state_of_weights;
    (void)input;
    (void)team;
    (void)dl_cuda_to_half(made->cuda, made->x, from, to, made->weights);
}

static dl_status run_conv(const void *state_of_run, const dl_run *run) {
    /* Which of the row's inputs (-1: its output) is x, w, y. */
    static const int input[][3] = {[DL_DNNL_FORWARD] = {0, 1, -1},
                                   [DL_DNNL_BACKWARD_DATA] = {-1, 1, 0},
                                   [DL_DNNL_BACKWARD_WEIGHTS] = {0, -1, 1}};
    const state *made = state_of_run;
    void *memory[ARGUMENTS + 2] = {NULL}; /* inner tensors come last */
    for (int i = X; i <= Y; i++) {
        int from = input[made->direction][i];
        memory[i] = from < 0 ? run->out[0] : dl_dnnl_input(run->in[from]);
    }
    if (made->bias || made->stops)
        memory[MORE] = dl_dnnl_input(run->in[2]);
    void *weights = memory[W];
    if (made->held)
        memory[W] = run->workspace;
    if (made->held && made->direction != DL_DNNL_BACKWARD_WEIGHTS)
        DL_TRY(dl_cuda_to_half(made->cuda, made->x, weights, memory[W], made->weights));
    DL_TRY(dl_cudnn_run(made->call, memory, (char *)run->workspace + made->held));
    if (made->held && made->direction == DL_DNNL_BACKWARD_WEIGHTS)
        return dl_cuda_from_half(made->cuda, made->x, memory[W], weights, made->weights);
    if (made->stops)
        return end_gradient(made, made->fused, memory, run->workspace,
                            made->sums ? run->out[1] : NULL);
    if (made->fused)
        return DL_OK;
    return dl_cuda_epilogue(made->cuda, memory[Y], made->y, made->cells, memory[MORE],
                            made->filters, made->epilogue);
}

const dl_kernel dl_cuda_conv = {
    .prepare = prepare_conv, .pack = pack, .run = run_conv, .release = release};
const dl_kernel dl_cuda_conv_input_gradient = {
    .prepare = prepare_input, .pack = pack, .run = run_conv, .release = release};
const dl_kernel dl_cuda_conv_relu_gradient = {
    .prepare = prepare_relu_gradient, .pack = pack, .run = run_conv, .release = release};
const dl_kernel dl_cuda_conv_weight_gradient = {
    .prepare = prepare_weight, .run = run_conv, .release = release};
