/* The gradient of a convolution's weights on the CPU: oneDNN's own kernel (conv_cpu.c), or, where
 * that is the slower one, a product: cells of y, each with its window of x laid out as one row of
 * `patches`, so that dw [filters, kernel * channels] = dy^T · patches lies as weights do.
 * Workspace: [patches][scratch of the product]. */
#include <string.h>

#include "ops/conv.h"
#include "runtime/base/memory.h"

typedef struct state {
    dl_window_sizes sizes;
    dl_dnnl *product;
    dl_prepared direct; /* where there is no product */
} state;

/* Numbers in a row of patches. */
static int64_t row_of(const dl_window_sizes *sizes) {
    return sizes->window.kernel[0] * sizes->window.kernel[1] * sizes->channels;
}

static int64_t cells_of(const dl_window_sizes *sizes) {
    return sizes->n * sizes->out[0] * sizes->out[1];
}

/* Measured with oneDNN 2.6 on AMX: in bfloat16 its kernel takes 1 to 5 times as long with strides
 * and up to twice as long on small images; on large ones patches are what takes long. A cell must
 * have channels enough for the copies not to count. */
static bool product_pays(const dl_window_sizes *sizes, dl_dtype dtype) {
    enum { CHANNELS = 32, FEW_CELLS = 16 * 16 };
    const dl_dnnl_window *window = &sizes->window;
    bool strided = window->stride[0] > 1 || window->stride[1] > 1;
    bool small = sizes->out[0] * sizes->out[1] <= FEW_CELLS;
    return dtype == DL_BF16 && sizes->groups == 1 && sizes->channels >= CHANNELS &&
           (strided || small);
}

static dl_status prepare_product(state *made, const dl_prepare *what, dl_prepared *out) {
    int64_t cells = cells_of(&made->sizes), row = row_of(&made->sizes);
    int64_t filters = made->sizes.filters;
    dl_dnnl_tensor dy = {
        .rank = 2, .dim = {filters, cells}, .stride = {1, filters}, .dtype = DL_BF16};
    dl_dnnl_tensor patches = {.rank = 2, .dim = {cells, row}, .stride = {row, 1}, .dtype = DL_BF16};
    dl_dnnl_tensor dw = {.rank = 2, .dim = {filters, row}, .stride = {row, 1}, .dtype = DL_F32};
    DL_TRY(dl_dnnl_matmul(&made->product, what->threads, &dy, &patches, NULL, &dw, false));
    out->workspace =
        dl_whole_lines((size_t)(cells * row) * sizeof(uint16_t)) + dl_dnnl_scratch(made->product);
    return DL_OK;
}

dl_status dl_conv_weight_prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_conv_weight_attributes *attributes = what->attributes;
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    dl_status status =
        dl_conv_sizes(&attributes->conv, what->input[0], what->output[0], &made->sizes);
    if (status == DL_OK && product_pays(&made->sizes, what->input[0]->dtype)) {
        status = prepare_product(made, what, out);
    } else if (status == DL_OK) {
        status = dl_conv_direct_weight_prepare(what, &made->direct);
        out->workspace = made->direct.workspace;
    }
    if (status == DL_OK)
        out->state = made;
    else
        dl_conv_weight_release(made);
    return status;
}

typedef struct patch_call {
    const dl_window_sizes *sizes;
    const uint16_t *x;
    uint16_t *patches;
} patch_call;

/* One row of a window, `columns` cells beside each other from column `at` of an image's row: zeros
 * outside it. row NULL: outside altogether. */
static void copy_row(const patch_call *call, const uint16_t *row, int64_t at, uint16_t *to) {
    const dl_window_sizes *s = call->sizes;
    int64_t c = s->channels, columns = s->window.kernel[1], step = s->window.dilation[1];
    size_t cell = (size_t)c * sizeof *to;
    if (row && step == 1 && at >= 0 && at + columns <= s->in[1]) {
        memcpy(to, row + at * c, cell * (size_t)columns);
        return;
    }
    for (int64_t k = 0; k < columns; k++, at += step, to += c)
        if (row && at >= 0 && at < s->in[1])
            memcpy(to, row + at * c, cell);
        else
            memset(to, 0, cell);
}

/* The patches of rows of y. */
static void copy_patches(void *argument, int64_t first, int64_t last) {
    const patch_call *call = argument;
    const dl_window_sizes *s = call->sizes;
    const dl_dnnl_window *w = &s->window;
    int64_t line = s->in[1] * s->channels, columns = w->kernel[1] * s->channels;
    uint16_t *to = call->patches + first * s->out[1] * row_of(s);
    for (int64_t r = first; r < last; r++) {
        const uint16_t *image = call->x + r / s->out[0] * s->in[0] * line;
        int64_t top = r % s->out[0] * w->stride[0] - w->before[0];
        for (int64_t column = 0; column < s->out[1]; column++)
            for (int64_t k = 0; k < w->kernel[0]; k++, to += columns) {
                int64_t y = top + k * w->dilation[0];
                copy_row(call, y >= 0 && y < s->in[0] ? image + y * line : NULL,
                         column * w->stride[1] - w->before[1], to);
            }
    }
}

dl_status dl_conv_weight_run(const void *state_of_run, const dl_run *run) {
    const state *made = state_of_run;
    if (!made->product)
        return dl_conv_run(made->direct.state, run);
    const dl_window_sizes *s = &made->sizes;
    patch_call call = {s, run->in[0], run->workspace};
    dl_team_range(run->team, s->n * s->out[0], 1, copy_patches, &call);
    void *const memory[DL_DNNL_ARGUMENTS] = {[DL_DNNL_A] = dl_dnnl_input(run->in[1]),
                                             [DL_DNNL_B] = run->workspace,
                                             [DL_DNNL_PRODUCT] = run->out[0]};
    size_t patches = dl_whole_lines((size_t)(cells_of(s) * row_of(s)) * sizeof(uint16_t));
    return dl_dnnl_run(made->product, memory, (char *)run->workspace + patches);
}

void dl_conv_weight_release(void *state_to_free) {
    state *made = state_to_free;
    dl_dnnl_free(made->product);
    if (made->direct.state)
        dl_conv_release(made->direct.state);
    dl_free(made);
}
