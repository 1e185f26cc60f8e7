/* Average pooling on oneDNN. */
#include "ops/pool.h"
#include "runtime/base/memory.h"

typedef struct state {
    dl_dnnl_direction direction;
    dl_dnnl *pool;
} state;

static dl_status prepare(const dl_prepare *what, dl_dnnl_direction direction,
                         const dl_pool_attributes *attributes, const dl_type *x, dl_prepared *out) {
    dl_window_sizes sizes;
    DL_TRY(dl_pool_sizes(attributes, x, &sizes));
    dl_dnnl_tensor in = dl_window_tensor(what->input[0]->dtype, sizes.n, sizes.in, sizes.channels);
    dl_dnnl_tensor result =
        dl_window_tensor(what->input[0]->dtype, sizes.n, sizes.out, sizes.channels);
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    made->direction = direction;
    dl_status status =
        dl_dnnl_average_pool(&made->pool, what->threads, direction, &in, &result, &sizes.window);
    if (status != DL_OK) {
        dl_free(made);
        return status;
    }
    out->workspace = dl_dnnl_scratch(made->pool);
    out->state = made;
    return DL_OK;
}

dl_status dl_average_pool_prepare(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, DL_DNNL_FORWARD, what->attributes, what->input[0], out);
}

dl_status dl_average_pool_gradient_prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_pool_gradient_attributes *attributes = what->attributes;
    return prepare(what, DL_DNNL_BACKWARD_DATA, &attributes->pool, &attributes->x, out);
}

dl_status dl_average_pool_run(const void *state_of_run, const dl_run *run) {
    const state *made = state_of_run;
    bool forward = made->direction == DL_DNNL_FORWARD;
    void *const memory[DL_DNNL_ARGUMENTS] = {
        [DL_DNNL_POOL_X] = forward ? dl_dnnl_input(run->in[0]) : run->out[0],
        [DL_DNNL_POOL_Y] = forward ? run->out[0] : dl_dnnl_input(run->in[0])};
    return dl_dnnl_run(made->pool, memory, run->workspace);
}

void dl_average_pool_release(void *state_to_free) {
    state *made = state_to_free;
    dl_dnnl_free(made->pool);
    dl_free(made);
}
