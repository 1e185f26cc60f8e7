/* Layer normalisation of layer_norm.c: a warp a row. The gradient keeps each row's mean and factor
 * in the workspace for the sums over rows that gamma and beta need. */
#include "ops/columns_cuda.h"

namespace {

struct state {
    const dl_cuda *cuda;
    dl_columns columns;
    dl_layer_norm_attributes a;
};

dl_status prepare(const dl_prepare *what, const dl_type *x, dl_prepared *out, state **made) {
    DL_TRY(dl_make_state(out, made));
    state *s = *made;
    s->cuda = dl_cuda_of(what->device);
    s->a = *(const dl_layer_norm_attributes *)what->attributes;
    s->columns = dl_columns_of(x);
    return DL_OK;
}

dl_status prepare_norm(const dl_prepare *what, dl_prepared *out) {
    state *s;
    return prepare(what, what->input[0], out, &s);
}

size_t statistics_bytes(const state *s) {
    return dl_whole_lines(2 * sizeof(float) * (size_t)s->columns.rows);
}

dl_status prepare_gradient(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(prepare(what, what->input[1], out, &s));
    out->workspace = statistics_bytes(s) + dl_columns_workspace(s->columns, 2);
    return DL_OK;
}

/* Mean, and 1 / sqrt(variance + epsilon), of the row at x. */
__device__ float statistics(const float *x, int64_t columns, float epsilon, float *mean) {
    float sum = 0, squares = 0;
    for (int64_t i = threadIdx.x; i < columns; i += DL_WARP)
        sum = sum + x[i];
    *mean = dl_warp_sum(sum) / (float)columns;
    for (int64_t i = threadIdx.x; i < columns; i += DL_WARP)
        squares = squares + (x[i] - *mean) * (x[i] - *mean);
    return 1.0f / sqrtf(dl_warp_sum(squares) / (float)columns + epsilon);
}

__global__ void layer_norm(state s, const float *x, const float *gamma, const float *beta,
                           float *y) {
    bool writes;
    int64_t columns = s.columns.columns, row = dl_warp_row(s.columns.rows, &writes);
    float mean, inverse = statistics(x + row * columns, columns, s.a.epsilon, &mean);
    for (int64_t i = threadIdx.x; i < columns && writes; i += DL_WARP) {
        float z = (x[row * columns + i] - mean) * inverse;
        z = gamma ? z * gamma[i] : z;
        y[row * columns + i] = beta ? z + beta[i] : z;
    }
}

/* With g = dy * gamma: dx = inverse * (g - mean(g) - xhat * mean(g * xhat)). */
__global__ void gradient(state s, const float *dy, const float *x, const float *gamma, float *dx,
                         float *kept) {
    bool writes;
    int64_t columns = s.columns.columns, row = dl_warp_row(s.columns.rows, &writes);
    dy += row * columns;
    x += row * columns;
    float mean, inverse = statistics(x, columns, s.a.epsilon, &mean), sum = 0, along = 0;
    for (int64_t i = threadIdx.x; i < columns; i += DL_WARP) {
        float g = gamma ? dy[i] * gamma[i] : dy[i];
        sum = sum + g;
        along = along + g * ((x[i] - mean) * inverse);
    }
    sum = dl_warp_sum(sum) / (float)columns;
    along = dl_warp_sum(along) / (float)columns;
    for (int64_t i = threadIdx.x; i < columns && writes; i += DL_WARP) {
        float g = gamma ? dy[i] * gamma[i] : dy[i];
        dx[row * columns + i] = inverse * (g - sum - (x[i] - mean) * inverse * along);
    }
    if (writes && threadIdx.x == 0) {
        kept[2 * row] = mean;
        kept[2 * row + 1] = inverse;
    }
}

/* [sum dy, sum dy * xhat] */
struct weight_sums {
    enum { SUMS = 2 };
    const float *dy, *x, *kept;
    int64_t columns;
    __device__ void add(int64_t row, int64_t column, float *sum) const {
        int64_t at = row * columns + column;
        sum[0] = sum[0] + dy[at];
        sum[1] = sum[1] + dy[at] * ((x[at] - kept[2 * row]) * kept[2 * row + 1]);
    }
    __device__ float finish(float sum, int, int64_t) const {
        return sum;
    }
};

dl_status run_norm(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    const float *const *in = (const float *const *)run->in;
    if (s->columns.rows == 0)
        return DL_OK;
    return DL_LAUNCH_TEAM(
        layer_norm, dl_warp_row_blocks(s->columns.rows), dim3(DL_WARP, DL_WARP_ROWS), 0,
        s->cuda->stream, *s, in[0], s->a.has_gamma ? in[1] : (const float *)NULL,
        s->a.has_beta ? in[1 + s->a.has_gamma] : (const float *)NULL, (float *)run->out[0]);
}

dl_status run_gradient(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    const float *const *in = (const float *const *)run->in;
    float *kept = (float *)run->workspace;
    if (s->columns.rows > 0)
        DL_TRY(DL_LAUNCH_TEAM(gradient, dl_warp_row_blocks(s->columns.rows),
                              dim3(DL_WARP, DL_WARP_ROWS), 0, s->cuda->stream, *s, in[0], in[1],
                              s->a.has_gamma ? in[2] : (const float *)NULL, (float *)run->out[0],
                              kept));
    weight_sums term = {in[0], in[1], kept, s->columns.columns};
    return dl_sum_columns(s->cuda, term, s->columns, (char *)kept + statistics_bytes(s),
                          (float *)run->out[1]);
}

} // namespace

const dl_kernel dl_cuda_layer_norm = {.prepare = prepare_norm, .run = run_norm};
const dl_kernel dl_cuda_layer_norm_gradient = {.prepare = prepare_gradient, .run = run_gradient};
