/* Convolutions beside batch normalisations on cuDNN, where it has an engine that does it all in one
 * kernel; else the chain of the rows that they stand for (conv_norm.h). cuDNN 9.19 finalises for
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

typedef struct state {
    dl_cuda *cuda;
    dl_cudnn *call; /* NULL: the chain does it */
    dl_chain chain;
    dl_dtype x;
    bool packed; /* weights come as x's type */
    int64_t weights, filters;
    size_t held; /* bytes of weights in x's type in the workspace */
} state;

enum { X, W, Y, SUM, SQUARES, TENSORS };

static size_t rounded(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static dl_status describe_statistics(const dl_prepare *what, const dl_window_sizes *sizes,
                                     dl_cudnn **out) {
    dl_dtype dtype = what->input[0]->dtype;
    DL_TRY(dl_cudnn_open(out, dl_cuda_of(what->device), what->name));
    int x = dl_cudnn_tensor(*out, dtype, sizes->n, sizes->in, sizes->channels);
    int w = dl_cudnn_weights(*out, dtype, sizes->filters, sizes->window.kernel, sizes->in_group);
    int y = dl_cudnn_tensor(*out, dtype, sizes->n, sizes->out, sizes->filters);
    int sum = dl_cudnn_vector(*out, DL_F32, sizes->filters);
    int squares = dl_cudnn_vector(*out, DL_F32, sizes->filters);
    dl_cudnn_conv(*out, DL_DNNL_FORWARD, &sizes->window, what->tf32, x, w, y);
    dl_cudnn_moments(*out, y, sum, squares);
    return DL_OK;
}

static void release(void *made) {
    state *s = made;
    dl_cudnn_free(s->call);
    dl_chain_release(&s->chain);
    dl_free(s);
}

/* NULL in s->call, and no error, where there is no engine. */
static dl_status choose(const dl_prepare *what, const dl_window_sizes *sizes, state *s) {
    int which;
    dl_cudnn *call = NULL;
    if (!dl_is_half(what->input[0]->dtype) || sizes->channels % 8 || sizes->filters % 8 ||
        sizes->groups != 1)
        return DL_OK;
    dl_status status = describe_statistics(what, sizes, &call);
    if (status == DL_OK)
        status = dl_cudnn_choose(&call, 1, &s->call, &which);
    else
        dl_cudnn_free(call);
    return status == DL_UNAVAILABLE ? DL_OK : status;
}

static dl_status prepare_statistics(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_norm_attributes *a = what->attributes;
    dl_window_sizes sizes;
    DL_TRY(dl_conv_sizes(&a->conv, what->input[0], what->input[1], &sizes));
    state *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    dl_status status = choose(what, &sizes, s);
    if (status == DL_OK && !s->call) {
        dl_conv_norm_chain chain;
        dl_conv_statistics_chain(what, &chain);
        status = dl_chain_prepare(&s->chain, what, chain.link, chain.links, out);
    }
    if (status != DL_OK) {
        release(s);
        return status;
    }
    out->state = s;
    if (!s->call)
        return DL_OK;
    out->text = dl_cudnn_text(s->call);
    s->cuda = dl_cuda_of(what->device);
    s->x = what->input[0]->dtype;
    s->weights = dl_type_count(what->input[1]);
    s->filters = sizes.filters;
    bool converted = what->input[1]->dtype == DL_F32;
    size_t bytes = rounded((size_t)s->weights * sizeof(uint16_t));
    s->packed = converted && what->constant[1];
    if (s->packed)
        out->packed_bytes[1] = bytes;
    s->held = converted && !s->packed ? bytes : 0;
    out->workspace = s->held + dl_cudnn_workspace(s->call);
    return DL_OK;
}

static void pack(const void *made, int input, const void *from, void *to, dl_team *team) {
    const state *s = made;
    if (!s->call)
        dl_chain_pack(&s->chain, input, from, to, team);
    else
        (void)dl_cuda_to_half(s->cuda, s->x, from, to, s->weights);
}

static dl_status run_statistics(const void *made, const dl_run *run) {
    const state *s = made;
    if (!s->call)
        return dl_chain_run(&s->chain, run);
    float *moments = run->out[1];
    void *memory[TENSORS] = {dl_dnnl_input(run->in[0]), dl_dnnl_input(run->in[1]), run->out[0],
                             moments, moments + s->filters};
    if (s->held) {
        DL_TRY(dl_cuda_to_half(s->cuda, s->x, memory[W], run->workspace, s->weights));
        memory[W] = run->workspace;
    }
    return dl_cudnn_run(s->call, memory, (char *)run->workspace + s->held);
}

const dl_kernel dl_cuda_conv_statistics = {
    .prepare = prepare_statistics, .pack = pack, .run = run_statistics, .release = release};
