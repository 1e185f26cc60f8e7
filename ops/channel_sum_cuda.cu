/* Statistics of batch normalisation: channel_sum and channel_squares of channel_sum.c,
 * channel_moments of moments.c. */
#include "ops/columns_cuda.h"

namespace {

struct state {
    const dl_cuda *cuda;
    dl_columns columns;
    int half;
};

template <int half> struct plain {
    enum { SUMS = 1 };
    const void *x;
    int64_t columns;
    __device__ void add(int64_t row, int64_t column, float *sum) const {
        sum[0] = sum[0] + dl_load<half>(x, row * columns + column);
    }
    __device__ float finish(float sum, int, int64_t) const {
        return sum;
    }
};

template <int half> struct squares {
    enum { SUMS = 1 };
    const void *x;
    int64_t columns;
    const float *center;
    __device__ void add(int64_t row, int64_t column, float *sum) const {
        float d = dl_load<half>(x, row * columns + column) - center[column];
        sum[0] = sum[0] + d * d;
    }
    __device__ float finish(float sum, int, int64_t) const {
        return sum;
    }
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

dl_status prepare_sums(const dl_prepare *what, dl_prepared *out, int sums) {
    state *s;
    const dl_type *x = what->input[0];
    DL_TRY(dl_make_state(out, &s));
    s->cuda = dl_cuda_of(what->device);
    s->columns = dl_columns_of(x);
    s->half = dl_half_of(x->dtype);
    out->workspace = dl_columns_workspace(s->columns, sums);
    return DL_OK;
}

dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    return prepare_sums(what, out, 1);
}

dl_status prepare_moments(const dl_prepare *what, dl_prepared *out) {
    return prepare_sums(what, out, 2);
}

dl_status run_sum(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    int64_t c = s->columns.columns;
    float *out = (float *)run->out[0];
#define SUM(half) \
    dl_sum_columns(s->cuda, plain<half>{run->in[0], c}, s->columns, run->workspace, out)
    return DL_BY_HALF(s->half, SUM);
#undef SUM
}

dl_status run_squares(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    int64_t c = s->columns.columns;
    const float *center = (const float *)run->in[1];
    float *out = (float *)run->out[0];
#define SUM(half) \
    dl_sum_columns(s->cuda, squares<half>{run->in[0], c, center}, s->columns, run->workspace, out)
    return DL_BY_HALF(s->half, SUM);
#undef SUM
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

} // namespace

const dl_kernel dl_cuda_channel_sum = {.prepare = prepare, .run = run_sum};
const dl_kernel dl_cuda_channel_squares = {.prepare = prepare, .run = run_squares};
const dl_kernel dl_cuda_channel_moments = {.prepare = prepare_moments, .run = run_moments};
