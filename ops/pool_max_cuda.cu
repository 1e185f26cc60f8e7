/* Maximum pooling of pool.c: a thread an output element, and backward a thread an input element,
 * which looks through the windows it lies in, so that nothing is added atomically. */
#include "ops/own_cuda.h"
extern "C" {
#include "ops/pool.h"
}

namespace {

struct window { /* one dimension */
    int in, out, kernel, stride, before;
};

struct state {
    const dl_cuda *cuda;
    int64_t n, channels;
    window y, x;
    int half;  /* how values lie */
    bool wide; /* places are int32 */
};

window window_of(const dl_window_sizes &sizes, int i) {
    return {(int)sizes.in[i], (int)sizes.out[i], (int)sizes.window.kernel[i],
            (int)sizes.window.stride[i], (int)sizes.window.before[i]};
}

dl_status prepare(const dl_prepare *what, const dl_pool_attributes *attributes, const dl_type *x,
                  const dl_type *place, dl_dtype dtype, dl_prepared *out) {
    dl_window_sizes sizes;
    DL_TRY(dl_pool_sizes(attributes, x, &sizes));
    state *s;
    DL_TRY(dl_make_state(out, &s));
    s->cuda = dl_cuda_of(what->device);
    s->n = sizes.n;
    s->channels = sizes.channels;
    s->y = window_of(sizes, 0);
    s->x = window_of(sizes, 1);
    s->half = dl_half_of(dtype);
    s->wide = place->dtype == DL_I32;
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

/* Of equal values the first, a NaN before all. */
template <int half>
__global__ void pool(state s, const void *x, void *y, void *place, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS) {
        int64_t c = i % s.channels, cell = i / s.channels;
        int ox = (int)(cell % s.x.out), oy = (int)(cell / s.x.out % s.y.out);
        int64_t n = cell / s.x.out / s.y.out;
        int top = oy * s.y.stride - s.y.before, left = ox * s.x.stride - s.x.before;
        float best = 0;
        int where = -1;
        for (int ky = 0; ky < s.y.kernel; ky++)
            for (int kx = 0; kx < s.x.kernel; kx++) {
                int iy = top + ky, ix = left + kx;
                if (iy < 0 || iy >= s.y.in || ix < 0 || ix >= s.x.in)
                    continue;
                float v = dl_load<half>(x, ((n * s.y.in + iy) * s.x.in + ix) * s.channels + c);
                if (where < 0 || v > best || v != v) {
                    best = v;
                    where = ky * s.x.kernel + kx;
                }
            }
        dl_store<half>(y, i, best);
        if (s.wide)
            ((int32_t *)place)[i] = where;
        else
            ((uint8_t *)place)[i] = (uint8_t)where;
    }
}

/* Windows [first, last] of a dimension that hold position `at`. */
__device__ void holders(const window &w, int at, int *first, int *last) {
    int from = at + w.before - w.kernel + 1;
    *first = from <= 0 ? 0 : (from + w.stride - 1) / w.stride;
    *last = (at + w.before) / w.stride;
    if (*last >= w.out)
        *last = w.out - 1;
}

template <int half>
__global__ void pool_gradient(state s, const void *dy, const void *place, void *dx, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS) {
        int64_t c = i % s.channels, cell = i / s.channels;
        int ix = (int)(cell % s.x.in), iy = (int)(cell / s.x.in % s.y.in);
        int64_t n = cell / s.x.in / s.y.in;
        int oy0, oy1, ox0, ox1;
        holders(s.y, iy, &oy0, &oy1);
        holders(s.x, ix, &ox0, &ox1);
        float sum = 0;
        for (int oy = oy0; oy <= oy1; oy++)
            for (int ox = ox0; ox <= ox1; ox++) {
                int mine = (iy + s.y.before - oy * s.y.stride) * s.x.kernel + ix + s.x.before -
                           ox * s.x.stride;
                int64_t at = ((n * s.y.out + oy) * s.x.out + ox) * s.channels + c;
                int where = s.wide ? ((const int32_t *)place)[at] : ((const uint8_t *)place)[at];
                if (where == mine)
                    sum = sum + dl_load<half>(dy, at);
            }
        dl_store<half>(dx, i, sum);
    }
}

dl_status run_pool(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    int64_t count = s->n * s->y.out * s->x.out * s->channels;
    unsigned blocks = dl_cuda_blocks(s->cuda, count);
#define POOL(half)                                                                           \
    DL_LAUNCH(pool<half>, blocks, DL_BLOCK, 0, s->cuda->stream, *s, run->in[0], run->out[0], \
              run->out[1], count)
    return DL_BY_HALF(s->half, POOL);
#undef POOL
}

dl_status run_gradient(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    int64_t count = s->n * s->y.in * s->x.in * s->channels;
    unsigned blocks = dl_cuda_blocks(s->cuda, count);
#define POOL(half)                                                                       \
    DL_LAUNCH(pool_gradient<half>, blocks, DL_BLOCK, 0, s->cuda->stream, *s, run->in[0], \
              run->in[1], run->out[0], count)
    return DL_BY_HALF(s->half, POOL);
#undef POOL
}

} // namespace

const dl_kernel dl_cuda_max_pool = {.prepare = prepare_pool, .run = run_pool};
const dl_kernel dl_cuda_max_pool_gradient = {.prepare = prepare_gradient, .run = run_gradient};
