/* Convolutions on oneDNN. Activations stay channels last; weights, canonical [output, kernel...,
 * input], are reordered into the layout oneDNN asks for: packed once per update where they are a
 * variable, else in each run into the workspace; a weight gradient comes back the same way.
 * With bfloat16 activations the reordered weights are bfloat16, made from float32 ones; a weight
 * gradient is float32. Workspace: [reordered weights][scratch, of one call at a time]. */
#include "ops/conv.h"
#include "ops/repack.h"
#include "runtime/base/memory.h"

typedef struct state {
    dl_dnnl_direction direction;
    dl_dnnl *conv;
    dl_repack *reorder; /* of the weights to what conv wants, or of their gradient back; NULL: as
                           they lie */
    bool packed;        /* the weights come reordered */
    bool bias;
    size_t weights; /* bytes of reordered weights */
} state;

static dl_dnnl_tensor weights_tensor(const dl_window_sizes *sizes) {
    int64_t o = sizes->filters, i = sizes->in_group, g = sizes->groups;
    int64_t kh = sizes->window.kernel[0], kw = sizes->window.kernel[1];
    if (g == 1)
        return (dl_dnnl_tensor){
            .rank = 4, .dim = {o, i, kh, kw}, .stride = {kh * kw * i, 1, kw * i, i}};
    return (dl_dnnl_tensor){.rank = 5,
                            .dim = {g, o / g, i, kh, kw},
                            .stride = {o / g * kh * kw * i, kh * kw * i, 1, kw * i, i}};
}

static dl_status prepare(const dl_prepare *what, dl_dnnl_direction direction,
                         const dl_conv_attributes *attributes, const dl_type *x, const dl_type *w,
                         dl_dtype dtype, dl_dtype y, dl_prepared *out) {
    dl_status status;
    dl_window_sizes sizes;
    DL_TRY(dl_conv_sizes(attributes, x, w, &sizes));
    dl_dnnl_tensor in = dl_window_tensor(dtype, sizes.n, sizes.in, sizes.channels);
    dl_dnnl_tensor result = dl_window_tensor(y, sizes.n, sizes.out, sizes.filters);
    dl_dnnl_tensor canonical = weights_tensor(&sizes), asked = canonical;
    canonical.dtype = w->dtype; /* the reorder also converts */
    asked.dtype = direction == DL_DNNL_BACKWARD_WEIGHTS ? DL_F32 : dtype;
    dl_dnnl_tensor bias = {.rank = 1, .dim = {sizes.filters}, .stride = {1}};
    asked.any = true;
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    made->direction = direction;
    made->bias = direction == DL_DNNL_FORWARD && what->inputs == 3;
    DL_GOTO(failed, dl_dnnl_conv(&made->conv, what->threads, direction, &in, &asked, &result,
                                 made->bias ? &bias : NULL, &sizes.window,
                                 attributes->epilogue == DL_EPILOGUE_RELU));
    size_t scratch = dl_dnnl_scratch(made->conv);
    if (!dl_dnnl_lies_as(made->conv, DL_DNNL_W, &canonical)) {
        made->weights = dl_whole_lines(dl_dnnl_bytes(made->conv, DL_DNNL_W));
        if (direction == DL_DNNL_BACKWARD_WEIGHTS)
            DL_GOTO(failed, dl_repack_from(&made->reorder, made->conv, DL_DNNL_W, &canonical));
        else
            DL_GOTO(failed, dl_repack_to(&made->reorder, &canonical, made->conv, DL_DNNL_W));
        size_t reorder_scratch = dl_repack_scratch(made->reorder);
        made->packed = direction != DL_DNNL_BACKWARD_WEIGHTS && what->constant[1];
        if (made->packed)
            out->packed_bytes[1] = made->weights + reorder_scratch;
        else
            scratch = made->weights + (scratch > reorder_scratch ? scratch : reorder_scratch);
    }
    out->workspace = scratch;
    out->state = made;
    return DL_OK;
failed:
    dl_conv_release(made);
    return status;
}

dl_status dl_conv_prepare(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, DL_DNNL_FORWARD, what->attributes, what->input[0], what->input[1],
                   what->input[0]->dtype, what->output[0]->dtype, out);
}

dl_status dl_conv_direct_input_prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_input_attributes *attributes = what->attributes;
    return prepare(what, DL_DNNL_BACKWARD_DATA, &attributes->conv, &attributes->x, what->input[1],
                   what->input[0]->dtype, what->input[0]->dtype, out);
}

dl_status dl_conv_direct_weight_prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_weight_attributes *attributes = what->attributes;
    return prepare(what, DL_DNNL_BACKWARD_WEIGHTS, &attributes->conv, what->input[0],
                   what->output[0], what->input[0]->dtype, what->input[1]->dtype, out);
}

void dl_conv_pack(const void *state_of_weights, int input, const void *from, void *to,
                  dl_team *team) {
    (void)input;
    const state *made = state_of_weights;
    dl_repack_pack(made->reorder, from, to, made->weights, team);
}

dl_status dl_conv_run(const void *state_of_run, const dl_run *run) {
    /* Which of the row's inputs (and for which direction none: the output) is x, w, y. */
    static const int input[][3] = {[DL_DNNL_FORWARD] = {0, 1, -1},
                                   [DL_DNNL_BACKWARD_DATA] = {-1, 1, 0},
                                   [DL_DNNL_BACKWARD_WEIGHTS] = {0, -1, 1}};
    const state *made = state_of_run;
    void *memory[DL_DNNL_ARGUMENTS] = {NULL};
    for (int i = 0; i < 3; i++) {
        int from = input[made->direction][i];
        memory[i] = from < 0 ? run->out[0] : dl_dnnl_input(run->in[from]);
    }
    if (made->bias)
        memory[DL_DNNL_BIAS] = dl_dnnl_input(run->in[2]);
    if (!made->reorder || made->packed)
        return dl_dnnl_run(made->conv, memory, run->workspace);
    char *scratch = (char *)run->workspace + made->weights;
    void *canonical = memory[DL_DNNL_W], *reordered = run->workspace;
    memory[DL_DNNL_W] = reordered;
    if (made->direction == DL_DNNL_BACKWARD_WEIGHTS) {
        DL_TRY(dl_dnnl_run(made->conv, memory, scratch));
        return dl_repack_run(made->reorder, reordered, canonical, scratch, run->team);
    }
    DL_TRY(dl_repack_run(made->reorder, canonical, reordered, scratch, run->team));
    return dl_dnnl_run(made->conv, memory, scratch);
}

void dl_conv_release(void *state_to_free) {
    state *made = state_to_free;
    dl_repack_free(made->reorder);
    dl_dnnl_free(made->conv);
    dl_free(made);
}
