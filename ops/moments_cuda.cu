/* channel_moments and moment_squares of moments.c. */
#include "ops/columns_cuda.h"
extern "C" {
#include "ops/norm.h"
}

namespace {

struct state {
    const dl_cuda *cuda;
    dl_columns columns;
    int half;
};

template <int half> struct moments {
    enum { SUMS = 2, HALF = half, WIDE = dl_line<half>::WIDE };
    const void *x;
    int64_t columns;
    struct held {};
    __device__ void hold(int64_t, held *) const {}
    __device__ void add_line(const held &, int64_t element, float *sum) const {
        dl_line<half> line = ((const dl_line<half> *)x)[element / WIDE];
        for (int k = 0; k < WIDE; k++) {
            float value = line.get(k);
            sum[k] = sum[k] + value;
            sum[WIDE + k] = sum[WIDE + k] + value * value;
        }
    }
    __device__ void add(int64_t row, int64_t column, float *sum) const {
        float value = dl_load<half>(x, row * columns + column);
        sum[0] = sum[0] + value;
        sum[1] = sum[1] + value * value;
    }
    __device__ float finish(float sum, int, int64_t) const {
        return sum;
    }
};

dl_status prepare_moments(const dl_prepare *what, dl_prepared *out) {
    state *s;
    const dl_type *x = what->input[0];
    DL_TRY(dl_make_state(out, &s));
    int64_t columns = x->dim[x->rank - 1];
    s->cuda = dl_cuda_of(what->device);
    s->columns = dl_columns_of(columns ? dl_type_count(x) / columns : 0, columns);
    s->half = dl_half_of(x->dtype);
    out->workspace = dl_columns_workspace(s->columns, 2);
    return DL_OK;
}

dl_status run_moments(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    int64_t c = s->columns.columns;
    float *out = (float *)run->out[0];
#define SUM(half) \
    dl_sum_column_lines(s->cuda, moments<half>{run->in[0], c}, s->columns, run->workspace, out)
    return DL_BY_HALF(s->half, SUM);
#undef SUM
}

struct squares_state {
    const dl_cuda *cuda;
    int64_t channels;
    double rows;
};

dl_status prepare_squares(const dl_prepare *what, dl_prepared *out) {
    squares_state *s;
    DL_TRY(dl_make_state(out, &s));
    s->cuda = dl_cuda_of(what->device);
    s->channels = what->input[1]->dim[0];
    s->rows = (double)((const dl_moment_squares_attributes *)what->attributes)->rows;
    return DL_OK;
}

__global__ void square(const float *sum, const float *center, float *out, int64_t channels,
                       double rows) {
    for (int64_t c = DL_FIRST_THREAD; c < channels; c += DL_ALL_THREADS)
        out[c] = dl_moment_square(sum[c], sum[channels + c], center[c], rows);
}

dl_status run_squares(const void *made, const dl_run *run) {
    const squares_state *s = (const squares_state *)made;
    return DL_LAUNCH(square, dl_cuda_blocks(s->cuda, s->channels), DL_BLOCK, 0, s->cuda->stream,
                     (const float *)run->in[0], (const float *)run->in[1], (float *)run->out[0],
                     s->channels, s->rows);
}

} // namespace

const dl_kernel dl_cuda_channel_moments = {.prepare = prepare_moments, .run = run_moments};
const dl_kernel dl_cuda_moment_squares = {.prepare = prepare_squares, .run = run_squares};
