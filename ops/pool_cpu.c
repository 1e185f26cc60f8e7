/* Pooling on oneDNN. A maximum whose index nobody reads (evaluation) runs without making one. */
#include "ops/pool.h"
#include "runtime/base/memory.h"

typedef struct state {
    dl_dnnl_direction direction;
    bool average;
    dl_dnnl *pool;
    dl_dnnl *plain; /* forward maximum without an index; NULL otherwise */
} state;

static dl_status prepare(const dl_prepare *what, dl_dnnl_direction direction,
                         const dl_pool_attributes *attributes, const dl_type *x,
                         const dl_type *index, dl_prepared *out) {
    dl_status status;
    dl_window_sizes sizes;
    DL_TRY(dl_pool_sizes(attributes, x, &sizes));
    dl_dnnl_tensor in = dl_window_tensor(sizes.n, sizes.in, sizes.channels);
    dl_dnnl_tensor result = dl_window_tensor(sizes.n, sizes.out, sizes.channels);
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    made->direction = direction;
    made->average = attributes->average;
    DL_GOTO(failed, dl_dnnl_pool(&made->pool, what->threads, direction, made->average,
                                 index != NULL, &in, &result, &sizes.window));
    if (index && dl_dnnl_bytes(made->pool, DL_DNNL_POOL_INDEX) != dl_type_bytes(index)) {
        status = dl_fail(DL_INTERNAL, "oneDNN %s takes %zu bytes for the places of maxima, not %zu",
                         dl_dnnl_version(), dl_dnnl_bytes(made->pool, DL_DNNL_POOL_INDEX),
                         dl_type_bytes(index));
        goto failed;
    }
    if (index && direction == DL_DNNL_FORWARD)
        DL_GOTO(failed, dl_dnnl_pool(&made->plain, what->threads, direction, false, false, &in,
                                     &result, &sizes.window));
    out->workspace = dl_dnnl_scratch(made->pool);
    if (made->plain && dl_dnnl_scratch(made->plain) > out->workspace)
        out->workspace = dl_dnnl_scratch(made->plain);
    out->state = made;
    return DL_OK;
failed:
    dl_pool_release(made);
    return status;
}

dl_status dl_pool_prepare(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, DL_DNNL_FORWARD, what->attributes, what->input[0],
                   what->outputs == 2 ? what->output[1] : NULL, out);
}

dl_status dl_pool_gradient_prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_pool_gradient_attributes *attributes = what->attributes;
    return prepare(what, DL_DNNL_BACKWARD_DATA, &attributes->pool, &attributes->x,
                   what->inputs == 2 ? what->input[1] : NULL, out);
}

dl_status dl_pool_run(const void *state_of_run, const dl_run *run) {
    const state *made = state_of_run;
    bool forward = made->direction == DL_DNNL_FORWARD;
    void *memory[DL_DNNL_ARGUMENTS] = {NULL};
    memory[DL_DNNL_POOL_X] = forward ? dl_dnnl_input(run->in[0]) : run->out[0];
    memory[DL_DNNL_POOL_Y] = forward ? run->out[0] : dl_dnnl_input(run->in[0]);
    if (!made->average)
        memory[DL_DNNL_POOL_INDEX] = forward ? run->out[1] : dl_dnnl_input(run->in[1]);
    bool plain = made->plain && !run->out[1];
    return dl_dnnl_run(plain ? made->plain : made->pool, memory, run->workspace);
}

void dl_pool_release(void *state_to_free) {
    state *made = state_to_free;
    dl_dnnl_free(made->plain);
    dl_dnnl_free(made->pool);
    dl_free(made);
}
