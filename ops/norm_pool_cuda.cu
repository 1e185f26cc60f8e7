/* The rows of norm_pool.c: no cell of the normalised image is written, and no cell of its gradient.
 * A thread has a group of eight channels and steps by whole rows of them. */
#include "ops/columns_cuda.h"
#include "ops/pool_cuda.h"

namespace {

struct state {
    const dl_cuda *cuda;
    dl_norm_pool_attributes a;
    dl_pool_cells cells;
    dl_columns columns;
    int half;
};

dl_status prepare(const dl_prepare *what, int x, dl_prepared *out, state **made) {
    const dl_norm_pool_attributes *a = (const dl_norm_pool_attributes *)what->attributes;
    const dl_type *type = what->input[x];
    dl_pool_cells cells;
    DL_TRY(dl_pool_cells_of(&a->pool.pool, type, DL_U8, &cells));
    DL_TRY(dl_make_state(out, made));
    (*made)->cuda = dl_cuda_of(what->device);
    (*made)->a = *a;
    (*made)->cells = cells;
    (*made)->columns = dl_columns_of(type);
    (*made)->half = dl_half_of(type->dtype);
    return DL_OK;
}

dl_status prepare_pool(const dl_prepare *what, dl_prepared *out) {
    state *s;
    return prepare(what, 0, out, &s);
}

dl_status prepare_sums(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(prepare(what, 2, out, &s));
    out->workspace = dl_columns_workspace(s->columns, 2);
    return DL_OK;
}

dl_status prepare_gradient(const dl_prepare *what, dl_prepared *out) {
    state *s;
    return prepare(what, 2, out, &s);
}

/* Of the row's vectors, which are its inputs from in. */
dl_cuda_norm norm_of(const state *s, const void *const *in) {
    const float *const *vector = (const float *const *)in;
    const dl_batch_norm_attributes &a = s->a.norm;
    return {vector[0],
            vector[1],
            a.has_gamma ? vector[2] : NULL,
            a.has_beta ? vector[2 + a.has_gamma] : NULL,
            a.epsilon,
            s->columns.columns};
}

/* relu(norm(x)) as it would lie in memory. */
template <int half> struct passed {
    const dl_norm_group &norm;
    __device__ float operator()(int k, float x) const {
        float z = norm.apply(k, x);
        return dl_rounded<half>(!(z <= 0.0f) ? z : 0.0f);
    }
};

template <int half>
__global__ void norm_pool(dl_pool_cells s, dl_cuda_norm norm, const void *x, void *y,
                          uint8_t *place, int64_t groups, int64_t step) {
    int64_t first = DL_FIRST_THREAD, across = s.channels / DL_GROUP;
    dl_norm_group f;
    if (first >= step)
        return;
    int64_t channel = first % across * DL_GROUP;
    f.hold(norm, channel);
    for (int64_t i = first, cell = first / across; i < groups; i += step, cell += step / across) {
        float best[DL_GROUP];
        int where[DL_GROUP];
        dl_pool_best<half, DL_GROUP>(s, x, cell, channel, passed<half>{f}, best, where);
        dl_store_group<half, DL_GROUP>(y, i * DL_GROUP, best);
        for (int w = 0; w < DL_GROUP / 4; w++) {
            uint32_t four = 0;
            for (int k = 0; k < 4; k++)
                four |= (uint32_t)where[w * 4 + k] << k * 8;
            ((uint32_t *)place)[i * (DL_GROUP / 4) + w] = four;
        }
    }
}

template <int half> dl_status launch_pool(const state *s, const dl_run *run) {
    const dl_pool_cells &c = s->cells;
    int64_t across = c.channels / DL_GROUP, groups = c.n * c.y.out * c.x.out * across, step;
    if (groups == 0)
        return DL_OK;
    unsigned blocks = dl_group_blocks(s->cuda, groups, across, &step);
    return DL_LAUNCH(norm_pool<half>, blocks, DL_BLOCK, 0, s->cuda->stream, c,
                     norm_of(s, run->in + 1), run->in[0], run->out[0], (uint8_t *)run->out[1],
                     groups, step);
}

dl_status run_pool(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
#define POOL(half) launch_pool<half>(s, run)
    return DL_BY_HALF(s->half, POOL);
#undef POOL
}

/* As batch_norm_sums of the gradient that a pooling would have handed back. */
template <int half> struct pooled_sums {
    enum { SUMS = 2, HALF = half, WIDE = dl_line<half>::WIDE };
    dl_pool_cells cells;
    const void *dy, *place, *x;
    dl_cuda_norm norm;
    struct held {
        float mean[WIDE], scale[WIDE], beta[WIDE];
        int64_t column;
    };
    __device__ void hold(int64_t column, held *h) const {
        h->column = column;
        for (int k = 0; k < WIDE; k++) {
            int64_t c = column + k;
            h->mean[k] = norm.mean[c];
            h->scale[k] =
                (norm.gamma ? norm.gamma[c] : 1.0f) / sqrtf(norm.variance[c] + norm.epsilon);
            h->beta[k] = norm.beta ? norm.beta[c] : 0.0f;
        }
    }
    __device__ void add_line(const held &h, int64_t element, float *sum) const {
        float d[WIDE], v[WIDE];
        int rest;
        int64_t cell = dl_divide(element, cells.channels, &rest);
        dl_pool_back<half, WIDE>(cells, dy, place, cell, h.column, d);
        dl_load_group<half, WIDE>(x, element, v);
        for (int k = 0; k < WIDE; k++) {
            float around = v[k] - h.mean[k];
            float one = around * h.scale[k] + h.beta[k] > 0.0f ? dl_rounded<half>(d[k]) : 0.0f;
            sum[k] = sum[k] + one;
            sum[WIDE + k] = sum[WIDE + k] + one * around;
        }
    }
    __device__ float finish(float sum, int s, int64_t c) const {
        return s == 0 ? sum : sum / sqrtf(norm.variance[c] + norm.epsilon);
    }
};

dl_status run_sums(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    dl_cuda_norm norm = norm_of(s, run->in + 3);
    float *out = (float *)run->out[0];
#define SUM(half)                                                                             \
    dl_sum_whole_lines(s->cuda,                                                               \
                       pooled_sums<half>{s->cells, run->in[0], run->in[1], run->in[2], norm}, \
                       s->columns, run->workspace, out)
    return DL_BY_HALF(s->half, SUM);
#undef SUM
}

struct gradient_call {
    const void *dy, *place, *x;
    const float *sums, *count; /* NULL: the statistics are constants */
    void *dx;
};

template <int half>
__global__ void norm_pool_gradient(dl_pool_cells s, dl_cuda_norm norm, gradient_call call,
                                   int64_t groups, int64_t step) {
    int64_t first = DL_FIRST_THREAD, across = s.channels / DL_GROUP;
    dl_norm_group f;
    float slope[DL_GROUP], shift[DL_GROUP];
    if (first >= step)
        return;
    int64_t channel = first % across * DL_GROUP;
    float share = call.sums ? 1.0f / *call.count : 0.0f;
    f.hold(norm, channel);
    for (int k = 0; k < DL_GROUP; k++) {
        int64_t c = channel + k;
        float inverse = 1.0f / sqrtf(norm.variance[c] + norm.epsilon);
        slope[k] = call.sums ? f.scale[k] * inverse * (call.sums[s.channels + c] * share) : 0.0f;
        shift[k] = call.sums ? f.scale[k] * (call.sums[c] * share) : 0.0f;
    }
    for (int64_t i = first, cell = first / across; i < groups; i += step, cell += step / across) {
        float d[DL_GROUP], v[DL_GROUP];
        dl_pool_back<half, DL_GROUP>(s, call.dy, call.place, cell, channel, d);
        dl_load_group<half, DL_GROUP>(call.x, i * DL_GROUP, v);
        for (int k = 0; k < DL_GROUP; k++) {
            float around = v[k] - f.mean[k];
            float one = around * f.scale[k] + f.beta[k] > 0.0f ? dl_rounded<half>(d[k]) : 0.0f;
            v[k] = f.scale[k] * one - slope[k] * around - shift[k];
        }
        dl_store_group<half, DL_GROUP>(call.dx, i * DL_GROUP, v);
    }
}

template <int half> dl_status launch_gradient(const state *s, const dl_run *run) {
    const dl_pool_cells &c = s->cells;
    const dl_batch_norm_attributes &a = s->a.norm;
    int64_t across = c.channels / DL_GROUP, groups = c.n * c.y.in * c.x.in * across, step;
    const float *const *sums = (const float *const *)run->in + 5 + a.has_gamma + a.has_beta;
    gradient_call call = {run->in[0],
                          run->in[1],
                          run->in[2],
                          a.statistics_of_x ? sums[0] : NULL,
                          a.statistics_of_x ? sums[1] : NULL,
                          run->out[0]};
    if (groups == 0)
        return DL_OK;
    unsigned blocks = dl_group_blocks(s->cuda, groups, across, &step);
    return DL_LAUNCH(norm_pool_gradient<half>, blocks, DL_BLOCK, 0, s->cuda->stream, c,
                     norm_of(s, run->in + 3), call, groups, step);
}

dl_status run_gradient(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
#define GRADIENT(half) launch_gradient<half>(s, run)
    return DL_BY_HALF(s->half, GRADIENT);
#undef GRADIENT
}

} // namespace

const dl_kernel dl_cuda_norm_pool = {.prepare = prepare_pool, .run = run_pool};
const dl_kernel dl_cuda_norm_pool_sums = {.prepare = prepare_sums, .run = run_sums};
const dl_kernel dl_cuda_norm_pool_input_gradient = {.prepare = prepare_gradient,
                                                    .run = run_gradient};
