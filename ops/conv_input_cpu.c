/* The gradient of a convolution's input on the CPU: oneDNN's (conv_cpu.c). A window of one cell
 * that skips cells is one that skips none over the cells it sees; the others get 0. oneDNN 2.6
 * takes two to three times as long for the same in bfloat16. Workspace: [gradient of the cells that
 * are seen][workspace of conv_cpu.c]. */
#include <string.h>

#include "ops/conv.h"
#include "runtime/base/memory.h"

typedef struct state {
    dl_window_sizes sizes;
    size_t seen; /* bytes of the gradient of the cells that are seen; 0: none is skipped */
    dl_prepared direct;
} state;

static bool skips(const dl_window_sizes *sizes, dl_dtype dtype) {
    const dl_dnnl_window *window = &sizes->window;
    bool one = dtype == DL_BF16 && sizes->groups == 1;
    for (int i = 0; i < 2; i++)
        one = one && window->kernel[i] == 1 && window->before[i] == 0 && window->after[i] == 0;
    return one && (window->stride[0] > 1 || window->stride[1] > 1);
}

static dl_status prepare(state *made, const dl_prepare *what) {
    dl_conv_input_attributes attributes;
    memcpy(&attributes, what->attributes, sizeof attributes);
    DL_TRY(dl_conv_sizes(&attributes.conv, &attributes.x, what->input[1], &made->sizes));
    const dl_window_sizes *s = &made->sizes;
    if (!skips(s, what->input[0]->dtype))
        return dl_conv_direct_input_prepare(what, &made->direct);
    dl_prepare inner = *what;
    attributes.conv.stride[0] = attributes.conv.stride[1] = 1;
    attributes.x =
        dl_window_type(what->input[0]->dtype, attributes.conv.spatial, s->n, s->out, s->channels);
    inner.attributes = &attributes;
    made->seen = dl_whole_lines(dl_type_bytes(&attributes.x));
    return dl_conv_direct_input_prepare(&inner, &made->direct);
}

dl_status dl_conv_input_prepare(const dl_prepare *what, dl_prepared *out) {
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    dl_status status = prepare(made, what);
    if (status != DL_OK) {
        dl_conv_input_release(made);
        return status;
    }
    *out = made->direct;
    out->state = made;
    out->workspace += made->seen;
    return DL_OK;
}

void dl_conv_input_pack(const void *state_of_weights, int input, const void *from, void *to,
                        dl_team *team) {
    dl_conv_pack(((const state *)state_of_weights)->direct.state, input, from, to, team);
}

typedef struct spread_call {
    const dl_window_sizes *sizes;
    const uint16_t *seen;
    uint16_t *dx;
} spread_call;

/* Rows of images of dx. */
static void spread_rows(void *argument, int64_t first, int64_t last) {
    const spread_call *call = argument;
    const dl_window_sizes *s = call->sizes;
    int64_t down = s->window.stride[0], across = s->window.stride[1], c = s->channels;
    size_t cell = (size_t)c * sizeof *call->dx;
    for (int64_t r = first; r < last; r++) {
        int64_t image = r / s->in[0], y = r % s->in[0];
        uint16_t *to = call->dx + r * s->in[1] * c;
        const uint16_t *from = call->seen + (image * s->out[0] + y / down) * s->out[1] * c;
        if (y % down) {
            memset(to, 0, cell * (size_t)s->in[1]);
            continue;
        }
        for (int64_t x = 0; x < s->in[1]; x++, to += c)
            if (x % across)
                memset(to, 0, cell);
            else
                memcpy(to, from + x / across * c, cell);
    }
}

dl_status dl_conv_input_run(const void *state_of_run, const dl_run *run) {
    const state *made = state_of_run;
    if (!made->seen)
        return dl_conv_run(made->direct.state, run);
    dl_run inner = *run;
    inner.out = (void *const[]){run->workspace};
    inner.workspace = (char *)run->workspace + made->seen;
    DL_TRY(dl_conv_run(made->direct.state, &inner));
    spread_call call = {&made->sizes, run->workspace, run->out[0]};
    dl_team_range(run->team, made->sizes.n * made->sizes.in[0], 1, spread_rows, &call);
    return DL_OK;
}

void dl_conv_input_release(void *state_to_free) {
    state *made = state_to_free;
    if (made->direct.state)
        dl_conv_release(made->direct.state);
    dl_free(made);
}
