/* Average pooling: a thread an element of the result, channels side by side. The gradient of a cell
 * adds up the windows it lies in, in their order. cuDNN has engines for both, which it compiles
 * when they are prepared, half a second each; they have nothing over these. */
#include "ops/own_cuda.h"
extern "C" {
#include "ops/pool.h"
}

namespace {

struct pool_state {
    const dl_cuda *cuda;
    int half; /* how values lie */
    int64_t n, in[2], out[2], channels;
    int64_t kernel[2], stride[2], before[2];
};

dl_status prepare(const dl_prepare *what, const dl_pool_attributes *attributes, const dl_type *x,
                  dl_prepared *out) {
    dl_window_sizes sizes;
    pool_state *state;
    DL_TRY(dl_pool_sizes(attributes, x, &sizes));
    DL_TRY(dl_make_state(out, &state));
    state->cuda = dl_cuda_of(what->device);
    state->half = dl_half_of(what->input[0]->dtype);
    state->n = sizes.n;
    state->channels = sizes.channels;
    for (int i = 0; i < 2; i++) {
        state->in[i] = sizes.in[i];
        state->out[i] = sizes.out[i];
        state->kernel[i] = sizes.window.kernel[i];
        state->stride[i] = sizes.window.stride[i];
        state->before[i] = sizes.window.before[i];
    }
    return DL_OK;
}

dl_status prepare_average(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, (const dl_pool_attributes *)what->attributes, what->input[0], out);
}

dl_status prepare_gradient(const dl_prepare *what, dl_prepared *out) {
    const dl_pool_gradient_attributes *attributes =
        (const dl_pool_gradient_attributes *)what->attributes;
    return prepare(what, &attributes->pool, &attributes->x, out);
}

/* The cells of window `at` along dimension d that are no padding: [*first, returned). */
__device__ int64_t cells_of(const pool_state &s, int d, int64_t at, int64_t *first) {
    int64_t begin = at * s.stride[d] - s.before[d], end = begin + s.kernel[d];
    *first = begin < 0 ? 0 : begin;
    return end < s.in[d] ? end : s.in[d];
}

/* The windows along dimension d that hold cell `at`: [*first, returned). */
__device__ int64_t windows_of(const pool_state &s, int d, int64_t at, int64_t *first) {
    int64_t place = at + s.before[d], behind = place - s.kernel[d] + s.stride[d];
    int64_t end = place / s.stride[d] + 1;
    *first = behind < 0 ? 0 : behind / s.stride[d];
    return end < s.out[d] ? end : s.out[d];
}

/* Element i of [n, space..., channels]. */
struct position {
    int64_t n, y, x, c;
};
__device__ position position_of(const pool_state &s, const int64_t *space, int64_t i) {
    position at;
    at.c = i % s.channels;
    i /= s.channels;
    at.x = i % space[1];
    i /= space[1];
    at.y = i % space[0];
    at.n = i / space[0];
    return at;
}

template <int half> __global__ void average(pool_state s, const void *x, void *y) {
    int64_t count = s.n * s.out[0] * s.out[1] * s.channels;
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS) {
        position at = position_of(s, s.out, i);
        int64_t top, left, bottom = cells_of(s, 0, at.y, &top), right = cells_of(s, 1, at.x, &left);
        float sum = 0;
        for (int64_t row = top; row < bottom; row++)
            for (int64_t column = left; column < right; column++)
                sum = sum + dl_load<half>(
                                x, ((at.n * s.in[0] + row) * s.in[1] + column) * s.channels + at.c);
        int64_t cells = (bottom - top) * (right - left);
        dl_store<half>(y, i, cells > 0 ? sum / (float)cells : 0.0f);
    }
}

template <int half> __global__ void average_gradient(pool_state s, const void *dy, void *dx) {
    int64_t count = s.n * s.in[0] * s.in[1] * s.channels;
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS) {
        position at = position_of(s, s.in, i);
        int64_t top, left, bottom = windows_of(s, 0, at.y, &top),
                           right = windows_of(s, 1, at.x, &left);
        float sum = 0;
        for (int64_t row = top; row < bottom; row++)
            for (int64_t column = left; column < right; column++) {
                int64_t first[2], high = cells_of(s, 0, row, &first[0]) - first[0];
                int64_t cells = high * (cells_of(s, 1, column, &first[1]) - first[1]);
                int64_t from = ((at.n * s.out[0] + row) * s.out[1] + column) * s.channels + at.c;
                sum = sum + dl_load<half>(dy, from) / (float)cells;
            }
        dl_store<half>(dx, i, sum);
    }
}

template <int half> dl_status run(const pool_state *s, const dl_run *run, bool forward) {
    const int64_t *space = forward ? s->out : s->in;
    unsigned blocks = dl_cuda_blocks(s->cuda, s->n * space[0] * space[1] * s->channels);
    return forward ? DL_LAUNCH(average<half>, blocks, DL_BLOCK, 0, s->cuda->stream, *s, run->in[0],
                               run->out[0])
                   : DL_LAUNCH(average_gradient<half>, blocks, DL_BLOCK, 0, s->cuda->stream, *s,
                               run->in[0], run->out[0]);
}

dl_status run_average(const void *state, const dl_run *r) {
    const pool_state *s = (const pool_state *)state;
#define RUN(half) run<half>(s, r, true)
    return DL_BY_HALF(s->half, RUN);
#undef RUN
}

dl_status run_gradient(const void *state, const dl_run *r) {
    const pool_state *s = (const pool_state *)state;
#define RUN(half) run<half>(s, r, false)
    return DL_BY_HALF(s->half, RUN);
#undef RUN
}

} // namespace

const dl_kernel dl_cuda_average_pool = {.prepare = prepare_average, .run = run_average};
const dl_kernel dl_cuda_average_pool_gradient = {.prepare = prepare_gradient, .run = run_gradient};
