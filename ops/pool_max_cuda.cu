/* Maximum pooling of pool.c: a thread a group of channels of an output cell, and backward of an
 * input cell; a channel each where they are no whole groups. */
#include "ops/pool_cuda.h"

namespace {

struct state {
    const dl_cuda *cuda;
    dl_pool_cells cells;
    int half; /* how values lie */
};

dl_status prepare(const dl_prepare *what, const dl_pool_attributes *attributes, const dl_type *x,
                  const dl_type *place, dl_dtype dtype, dl_prepared *out) {
    dl_pool_cells cells;
    DL_TRY(dl_pool_cells_of(attributes, x, place->dtype, &cells));
    state *s;
    DL_TRY(dl_make_state(out, &s));
    s->cuda = dl_cuda_of(what->device);
    s->cells = cells;
    s->half = dl_half_of(dtype);
    return DL_OK;
}

dl_status prepare_pool(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, (const dl_pool_attributes *)what->attributes, what->input[0],
                   what->output[1], what->input[0]->dtype, out);
}

dl_status prepare_gradient(const dl_prepare *what, dl_prepared *out) {
    const dl_pool_gradient_attributes *a = (const dl_pool_gradient_attributes *)what->attributes;
    return prepare(what, &a->pool, &a->x, what->input[1], what->input[0]->dtype, out);
}

struct as_it_is {
    __device__ float operator()(int, float x) const {
        return x;
    }
};

template <int half, int WIDE>
__global__ void pool(dl_pool_cells s, const void *x, void *y, void *place, int64_t groups) {
    for (int64_t i = DL_FIRST_THREAD; i < groups; i += DL_ALL_THREADS) {
        float best[WIDE];
        int where[WIDE], group;
        int64_t cell = dl_divide(i, s.channels / WIDE, &group);
        dl_pool_best<half, WIDE>(s, x, cell, (int64_t)group * WIDE, as_it_is{}, best, where);
        dl_store_group<half, WIDE>(y, i * WIDE, best);
        for (int k = 0; k < WIDE; k++)
            if (s.wide)
                ((int32_t *)place)[i * WIDE + k] = where[k];
            else
                ((uint8_t *)place)[i * WIDE + k] = (uint8_t)where[k];
    }
}

template <int half, int WIDE>
__global__ void pool_gradient(dl_pool_cells s, const void *dy, const void *place, void *dx,
                              int64_t groups) {
    for (int64_t i = DL_FIRST_THREAD; i < groups; i += DL_ALL_THREADS) {
        float sum[WIDE];
        int group;
        int64_t cell = dl_divide(i, s.channels / WIDE, &group);
        dl_pool_back<half, WIDE>(s, dy, place, cell, (int64_t)group * WIDE, sum);
        dl_store_group<half, WIDE>(dx, i * WIDE, sum);
    }
}

template <int half, int WIDE> dl_status launch_pool(const state *s, const dl_run *run) {
    const dl_pool_cells &c = s->cells;
    int64_t groups = c.n * c.y.out * c.x.out * (c.channels / WIDE);
    return DL_LAUNCH((pool<half, WIDE>), dl_cuda_blocks(s->cuda, groups), DL_BLOCK, 0,
                     s->cuda->stream, c, run->in[0], run->out[0], run->out[1], groups);
}

template <int half, int WIDE> dl_status launch_gradient(const state *s, const dl_run *run) {
    const dl_pool_cells &c = s->cells;
    int64_t groups = c.n * c.y.in * c.x.in * (c.channels / WIDE);
    return DL_LAUNCH((pool_gradient<half, WIDE>), dl_cuda_blocks(s->cuda, groups), DL_BLOCK, 0,
                     s->cuda->stream, c, run->in[0], run->in[1], run->out[0], groups);
}

dl_status run_pool(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
#define POOL(half)                                                           \
    (s->cells.channels % DL_GROUP == 0 ? launch_pool<half, DL_GROUP>(s, run) \
                                       : launch_pool<half, 1>(s, run))
    return DL_BY_HALF(s->half, POOL);
#undef POOL
}

dl_status run_gradient(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
#define POOL(half)                                                               \
    (s->cells.channels % DL_GROUP == 0 ? launch_gradient<half, DL_GROUP>(s, run) \
                                       : launch_gradient<half, 1>(s, run))
    return DL_BY_HALF(s->half, POOL);
#undef POOL
}

} // namespace

const dl_kernel dl_cuda_max_pool = {.prepare = prepare_pool, .run = run_pool};
const dl_kernel dl_cuda_max_pool_gradient = {.prepare = prepare_gradient, .run = run_gradient};
