/* Batch normalisation of norm.c: one small kernel makes the channels' factors, one pass over x
 * applies them, 16 bytes of a row at a time where they fit. */
#include "ops/columns_cuda.h"
extern "C" {
#include "ops/norm.h"
}

namespace {

struct state {
    const dl_cuda *cuda;
    dl_columns columns;
    dl_batch_norm_attributes a;
    int half;
};

/* Vectors of the channels in the workspace. */
enum { MEAN, SCALE, BETA, SLOPE, SHIFT, VECTORS };

dl_status prepare_norm(const dl_prepare *what, dl_prepared *out) {
    state *s;
    const dl_type *x = what->input[0];
    DL_TRY(dl_make_state(out, &s));
    s->cuda = dl_cuda_of(what->device);
    s->a = *(const dl_batch_norm_attributes *)what->attributes;
    s->columns = dl_columns_of(x);
    s->half = dl_half_of(x->dtype);
    out->workspace = VECTORS * (size_t)s->columns.columns * sizeof(float);
    return DL_OK;
}

__device__ float inverse_of(const dl_cuda_norm &n, int64_t c) {
    return 1.0f / sqrtf(n.variance[c] + n.epsilon);
}

__device__ float scale_of(const dl_cuda_norm &n, int64_t c) {
    return (n.gamma ? n.gamma[c] : 1.0f) / sqrtf(n.variance[c] + n.epsilon);
}

__device__ float beta_of(const dl_cuda_norm &n, int64_t c) {
    return n.beta ? n.beta[c] : 0.0f;
}

/* Of the row's vectors, which are its inputs from in: mean, variance[, gamma][, beta]. */
dl_cuda_norm norm_of(const state *s, const void *const *in, bool has_gamma, bool has_beta) {
    const float *const *vector = (const float *const *)in;
    return {vector[0],
            vector[1],
            has_gamma ? vector[2] : NULL,
            has_beta ? vector[2 + has_gamma] : NULL,
            s->a.epsilon,
            s->columns.columns};
}

/* sums, count: of the gradient through the statistics, or NULL. */
__global__ void make_vectors(dl_cuda_norm norm, const float *sums, const float *count,
                             float *vector) {
    int64_t columns = norm.channels;
    float share = sums ? 1.0f / *count : 0.0f;
    for (int64_t c = DL_FIRST_THREAD; c < columns; c += DL_ALL_THREADS) {
        float scale = scale_of(norm, c);
        vector[MEAN * columns + c] = norm.mean[c];
        vector[SCALE * columns + c] = scale;
        vector[BETA * columns + c] = beta_of(norm, c);
        vector[SLOPE * columns + c] =
            sums ? scale * inverse_of(norm, c) * (sums[columns + c] * share) : 0.0f;
        vector[SHIFT * columns + c] = sums ? scale * (sums[c] * share) : 0.0f;
    }
}

/* What a pass over x does to one element. */
enum ending { PLAIN, RELU, ADD };

struct pass {
    const void *x, *other; /* other: dy of the gradient, or the residual of ADD */
    void *y;
    const float *vector;
    int64_t columns;
};

/* What a pass needs of a channel; that of a line's stay in registers. */
struct channel {
    float mean, scale, beta, slope, shift;
};

__device__ channel channel_of(const pass &p, int64_t c) {
    const float *v = p.vector + c;
    return {v[MEAN * p.columns], v[SCALE * p.columns], v[BETA * p.columns], v[SLOPE * p.columns],
            v[SHIFT * p.columns]};
}

template <ending end> __device__ float apply(const channel &c, float x, float other) {
    float z = (x - c.mean) * c.scale + c.beta;
    z = end == ADD ? z + other : z;
    return end == PLAIN || !(z <= 0.0f) ? z : 0.0f;
}

/* dx = scale * dy - slope * (x - mean) - shift */
template <ending end> __device__ float gradient(const channel &c, float x, float dy) {
    float around = x - c.mean;
    float d = end == PLAIN || around * c.scale + c.beta > 0.0f ? dy : 0.0f;
    return c.scale * d - c.slope * around - c.shift;
}

template <ending end, bool backward>
__device__ float pass_one(const channel &c, float x, float other) {
    return backward ? gradient<end>(c, x, other) : apply<end>(c, x, other);
}

template <int half, ending end, bool backward>
__global__ void pass_elements(pass p, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS) {
        float x = dl_load<half>(p.x, i);
        float other = backward || end == ADD ? dl_load<half>(p.other, i) : 0.0f;
        dl_store<half>(p.y, i, pass_one<end, backward>(channel_of(p, i % p.columns), x, other));
    }
}

/* The same for rows of whole lines. A thread steps by whole rows, so that its channels stay. */
template <int half, ending end, bool backward>
__global__ void pass_lines(pass p, int64_t lines, int64_t step) {
    enum { WIDE = dl_line<half>::WIDE };
    int64_t first = DL_FIRST_THREAD;
    channel of[WIDE];
    if (first >= step)
        return;
    for (int k = 0; k < WIDE; k++)
        of[k] = channel_of(p, first * WIDE % p.columns + k);
    for (int64_t l = first; l < lines; l += step) {
        dl_line<half> x = ((const dl_line<half> *)p.x)[l], other = x;
        if (backward || end == ADD)
            other = ((const dl_line<half> *)p.other)[l];
        for (int k = 0; k < WIDE; k++)
            x.put(k, pass_one<end, backward>(of[k], x.get(k), other.get(k)));
        ((dl_line<half> *)p.y)[l] = x;
    }
}

template <int half, ending end, bool backward>
dl_status launch_pass(const state *s, const pass &p) {
    enum { WIDE = dl_line<half>::WIDE };
    int64_t count = s->columns.rows * s->columns.columns;
    if (count == 0)
        return DL_OK;
    unsigned blocks = dl_cuda_blocks(s->cuda, count / WIDE);
    int64_t row = p.columns / WIDE, step = row ? (int64_t)blocks * DL_BLOCK / row * row : 0;
    if (p.columns % WIDE != 0 || step == 0)
        return DL_LAUNCH((pass_elements<half, end, backward>), dl_cuda_blocks(s->cuda, count),
                         DL_BLOCK, 0, s->cuda->stream, p, count);
    return DL_LAUNCH((pass_lines<half, end, backward>), blocks, DL_BLOCK, 0, s->cuda->stream, p,
                     count / WIDE, step);
}

template <bool backward> dl_status launch_ending(const state *s, const pass &p, ending end) {
#define PASS(half)                                           \
    (end == ADD    ? launch_pass<half, ADD, backward>(s, p)  \
     : end == RELU ? launch_pass<half, RELU, backward>(s, p) \
                   : launch_pass<half, PLAIN, backward>(s, p))
    return DL_BY_HALF(s->half, PASS);
#undef PASS
}

dl_status launch_vectors(const state *s, const dl_cuda_norm &norm, const void *sums,
                         const void *count, void *workspace) {
    return DL_LAUNCH(make_vectors, dl_cuda_blocks(s->cuda, norm.channels), DL_BLOCK, 0,
                     s->cuda->stream, norm, (const float *)sums, (const float *)count,
                     (float *)workspace);
}

dl_status run_norm(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    const dl_batch_norm_attributes &a = s->a;
    dl_cuda_norm norm = norm_of(s, run->in + 1 + a.has_residual, a.has_gamma, a.has_beta);
    DL_TRY(launch_vectors(s, norm, NULL, NULL, run->workspace));
    pass p = {run->in[0], a.has_residual ? run->in[1] : NULL, run->out[0],
              (const float *)run->workspace, norm.channels};
    return launch_ending<false>(s, p, a.has_residual ? ADD : a.epilogue ? RELU : PLAIN);
}

dl_status run_input_gradient(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    const dl_batch_norm_attributes &a = s->a;
    bool has_beta = a.has_beta && a.epilogue;
    dl_cuda_norm norm = norm_of(s, run->in + 2, a.has_gamma, has_beta);
    const void *const *sums = run->in + 4 + a.has_gamma + has_beta;
    DL_TRY(launch_vectors(s, norm, a.statistics_of_x ? sums[0] : NULL,
                          a.statistics_of_x ? sums[1] : NULL, run->workspace));
    pass p = {run->in[1], run->in[0], run->out[0], (const float *)run->workspace, norm.channels};
    return launch_ending<true>(s, p, a.epilogue ? RELU : PLAIN);
}

/* [sum dy, sum dy * (x - mean) / sqrt(variance + epsilon)]; with relu dy counts where the output
 * was above 0. */
template <int half, bool gated> struct norm_sums {
    enum { SUMS = 2, HALF = half, WIDE = dl_line<half>::WIDE };
    const void *dy, *x;
    dl_cuda_norm norm;
    struct held {
        float mean[WIDE], scale[WIDE], beta[WIDE];
    };
    __device__ void hold(int64_t column, held *h) const {
        for (int k = 0; k < WIDE; k++) {
            h->mean[k] = norm.mean[column + k];
            h->scale[k] = gated ? scale_of(norm, column + k) : 0.0f;
            h->beta[k] = gated ? beta_of(norm, column + k) : 0.0f;
        }
    }
    __device__ void add_line(const held &h, int64_t element, float *sum) const {
        dl_line<half> d = ((const dl_line<half> *)dy)[element / WIDE];
        dl_line<half> v = ((const dl_line<half> *)x)[element / WIDE];
        for (int k = 0; k < WIDE; k++) {
            float around = v.get(k) - h.mean[k], one = d.get(k);
            if (gated && !(around * h.scale[k] + h.beta[k] > 0.0f))
                one = 0.0f;
            sum[k] = sum[k] + one;
            sum[WIDE + k] = sum[WIDE + k] + one * around;
        }
    }
    __device__ void add(int64_t row, int64_t c, float *sum) const {
        float d = dl_load<half>(dy, row * norm.channels + c);
        float around = dl_load<half>(x, row * norm.channels + c) - norm.mean[c];
        if (gated && !(around * scale_of(norm, c) + beta_of(norm, c) > 0.0f))
            d = 0.0f;
        sum[0] = sum[0] + d;
        sum[1] = sum[1] + d * around;
    }
    __device__ float finish(float sum, int s, int64_t c) const {
        return s == 0 ? sum : sum / sqrtf(norm.variance[c] + norm.epsilon);
    }
};

dl_status prepare_sums(const dl_prepare *what, dl_prepared *out) {
    DL_TRY(prepare_norm(what, out));
    out->workspace = dl_columns_workspace(((const state *)out->state)->columns, 2);
    return DL_OK;
}

template <int half, bool gated>
dl_status launch_sums(const state *s, const dl_run *run, const dl_cuda_norm &norm) {
    norm_sums<half, gated> term = {run->in[0], run->in[1], norm};
    return dl_sum_column_lines(s->cuda, term, s->columns, run->workspace, (float *)run->out[0]);
}

dl_status run_sums(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    bool gated = s->a.epilogue != DL_EPILOGUE_NONE;
    dl_cuda_norm norm = norm_of(s, run->in + 2, gated && s->a.has_gamma, gated && s->a.has_beta);
#define SUM(half) \
    (gated ? launch_sums<half, true>(s, run, norm) : launch_sums<half, false>(s, run, norm))
    return DL_BY_HALF(s->half, SUM);
#undef SUM
}

template <int half> __global__ void make_scale(dl_cuda_norm norm, void *out) {
    for (int64_t c = DL_FIRST_THREAD; c < norm.channels; c += DL_ALL_THREADS) {
        float scale = scale_of(norm, c);
        dl_store<half>(out, c, scale);
        dl_store<half>(out, norm.channels + c, beta_of(norm, c) - norm.mean[c] * scale);
    }
}

__global__ void make_parts(dl_cuda_norm norm, float *out) {
    for (int64_t c = DL_FIRST_THREAD; c < norm.channels; c += DL_ALL_THREADS) {
        out[c] = inverse_of(norm, c);
        out[norm.channels + c] = norm.gamma ? norm.gamma[c] : 1.0f;
        out[2 * norm.channels + c] = beta_of(norm, c);
    }
}

template <int half> __global__ void gate(dl_cuda_norm norm, const void *x, void *d, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS) {
        int64_t c = i % norm.channels;
        float around = dl_load<half>(x, i) - norm.mean[c];
        if (!(around * scale_of(norm, c) + beta_of(norm, c) > 0.0f))
            dl_store<half>(d, i, 0.0f);
    }
}

} // namespace

dl_status dl_cuda_norm_to_scale(const dl_cuda *cuda, const dl_cuda_norm *norm, dl_dtype half,
                                void *out) {
    unsigned blocks = dl_cuda_blocks(cuda, norm->channels);
#define MADE(half) DL_LAUNCH(make_scale<half>, blocks, DL_BLOCK, 0, cuda->stream, *norm, out)
    return DL_BY_HALF(dl_half_of(half), MADE);
#undef MADE
}

dl_status dl_cuda_norm_to_parts(const dl_cuda *cuda, const dl_cuda_norm *norm, float *out) {
    return DL_LAUNCH(make_parts, dl_cuda_blocks(cuda, norm->channels), DL_BLOCK, 0, cuda->stream,
                     *norm, out);
}

dl_status dl_cuda_norm_gate(const dl_cuda *cuda, const dl_cuda_norm *norm, dl_dtype dtype,
                            const void *x, void *d, int64_t count) {
    unsigned blocks = dl_cuda_blocks(cuda, count);
#define GATE(half) DL_LAUNCH(gate<half>, blocks, DL_BLOCK, 0, cuda->stream, *norm, x, d, count)
    return DL_BY_HALF(dl_half_of(dtype), GATE);
#undef GATE
}

const dl_kernel dl_cuda_batch_norm = {.prepare = prepare_norm, .run = run_norm};
const dl_kernel dl_cuda_batch_norm_add = {.prepare = prepare_norm, .run = run_norm};
const dl_kernel dl_cuda_batch_norm_sums = {.prepare = prepare_sums, .run = run_sums};
const dl_kernel dl_cuda_batch_norm_input_gradient = {.prepare = prepare_norm,
                                                     .run = run_input_gradient};
