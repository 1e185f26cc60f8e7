/* The rows of residual.c. Elements of eight channels, a byte of bits, belong to a thread, which
 * makes the factors of its channels itself and steps by whole rows, so that they stay. */
#include "ops/columns_cuda.h"
#include "ops/norm_cuda.h"
extern "C" {
#include "ops/residual.h"
}

namespace {

enum { BITS = 8 };

struct state {
    const dl_cuda *cuda;
    dl_columns columns;
    dl_residual_attributes residual;
    dl_residual_sums_attributes sums;
    int half;
};

dl_status prepare(const dl_prepare *what, dl_prepared *out, state **made) {
    const dl_type *type = what->output[0];
    DL_TRY(dl_make_state(out, made));
    (*made)->cuda = dl_cuda_of(what->device);
    (*made)->columns = dl_columns_of(type);
    (*made)->half = dl_half_of(type->dtype);
    return DL_OK;
}

dl_status prepare_residual(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(prepare(what, out, &s));
    s->residual = *(const dl_residual_attributes *)what->attributes;
    return DL_OK;
}

dl_status prepare_sums(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(prepare(what, out, &s));
    s->sums = *(const dl_residual_sums_attributes *)what->attributes;
    out->workspace = dl_columns_workspace(s->columns, s->sums.normalised ? 4 : 2);
    return DL_OK;
}

struct pass {
    const void *x, *shortcut;
    dl_residual_norm norm[2];
    void *y;
    uint8_t *bits; /* or NULL */
    int64_t columns;
};

template <int half, bool normalised> __global__ void residual(pass p, int64_t bytes, int64_t step) {
    enum { WIDE = dl_line<half>::WIDE, LINES = (int)BITS / WIDE };
    int64_t first = DL_FIRST_THREAD;
    dl_norm_group f[1 + normalised];
    if (first >= step)
        return;
    for (int i = 0; i < 1 + normalised; i++)
        f[i].hold(p.norm[i], first * BITS % p.columns);
    for (int64_t b = first; b < bytes; b += step) {
        unsigned bits = 0;
        for (int l = 0; l < LINES; l++) {
            dl_line<half> x = ((const dl_line<half> *)p.x)[b * LINES + l];
            dl_line<half> other = ((const dl_line<half> *)p.shortcut)[b * LINES + l];
            for (int k = 0; k < WIDE; k++) {
                int c = l * WIDE + k;
                float z = f[0].apply(c, x.get(k)) +
                          (normalised ? f[normalised].apply(c, other.get(k)) : other.get(k));
                x.put(k, !(z <= 0.0f) ? z : 0.0f);
                bits |= (unsigned)(x.get(k) > 0) << c;
            }
            ((dl_line<half> *)p.y)[b * LINES + l] = x;
        }
        if (p.bits)
            p.bits[b] = (uint8_t)bits;
    }
}

template <int half> dl_status launch_residual(const state *s, const pass &p) {
    int64_t bytes = s->columns.rows * s->columns.columns / BITS, row = s->columns.columns / BITS,
            step;
    if (bytes == 0)
        return DL_OK;
    unsigned blocks = dl_group_blocks(s->cuda, bytes, row, &step);
    return s->residual.normalised ? DL_LAUNCH((residual<half, true>), blocks, DL_BLOCK, 0,
                                              s->cuda->stream, p, bytes, step)
                                  : DL_LAUNCH((residual<half, false>), blocks, DL_BLOCK, 0,
                                              s->cuda->stream, p, bytes, step);
}

dl_status run_residual(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    pass p = {run->in[0],
              run->in[1],
              {},
              run->out[0],
              s->residual.outputs == 2 ? (uint8_t *)run->out[1] : NULL,
              s->columns.columns};
    dl_residual_norms(&s->residual, run->in, p.norm);
#define RESIDUAL(half) launch_residual<half>(s, p)
    return DL_BY_HALF(s->half, RESIDUAL);
#undef RESIDUAL
}

/* Writes d as it adds: each element is looked at once. */
template <int half, bool normalised> struct gated_sums {
    enum { NORMS = 1 + normalised, SUMS = 2 * NORMS, HALF = half, WIDE = dl_line<half>::WIDE };
    const uint8_t *bits;
    const void *dy[2], *x[2];
    void *d;
    dl_residual_norm norm[2];
    struct held {
        float mean[NORMS][WIDE];
    };
    __device__ void hold(int64_t column, held *h) const {
        for (int i = 0; i < NORMS; i++)
            for (int k = 0; k < WIDE; k++)
                h->mean[i][k] = norm[i].mean[column + k];
    }
    __device__ void add_line(const held &h, int64_t element, float *sum) const {
        typedef const dl_line<half> *lines;
        int64_t at = element / WIDE;
        unsigned passes = (unsigned)bits[element / BITS] >> element % BITS;
        dl_line<half> one = ((lines)dy[0])[at], two = ((lines)dy[1])[at], v[NORMS];
        for (int i = 0; i < NORMS; i++)
            v[i] = ((lines)x[i])[at];
        for (int k = 0; k < WIDE; k++) {
            one.put(k, passes >> k & 1 ? one.get(k) + two.get(k) : 0.0f);
            float gradient = one.get(k);
            for (int i = 0; i < NORMS; i++) {
                float *of = sum + 2 * i * WIDE;
                of[k] = of[k] + gradient;
                of[WIDE + k] = of[WIDE + k] + gradient * (v[i].get(k) - h.mean[i][k]);
            }
        }
        ((dl_line<half> *)d)[at] = one;
    }
    __device__ float finish(float sum, int s, int64_t c) const {
        const dl_residual_norm &n = norm[s / 2];
        return s % 2 == 0 ? sum : sum / sqrtf(n.variance[c] + n.epsilon);
    }
};

template <int half, bool normalised> dl_status launch_sums(const state *s, const dl_run *run) {
    gated_sums<half, normalised> term = {(const uint8_t *)run->in[0],
                                         {run->in[2], run->in[3]},
                                         {run->in[1], normalised ? run->in[6] : NULL},
                                         run->out[0],
                                         {}};
    dl_residual_sums_norms(&s->sums, run->in, term.norm);
    return dl_sum_whole_lines(s->cuda, term, s->columns, run->workspace, (float *)run->out[1]);
}

dl_status run_sums(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
#define SUM(half) \
    (s->sums.normalised ? launch_sums<half, true>(s, run) : launch_sums<half, false>(s, run))
    return DL_BY_HALF(s->half, SUM);
#undef SUM
}

} // namespace

const dl_kernel dl_cuda_residual = {.prepare = prepare_residual, .run = run_residual};
const dl_kernel dl_cuda_residual_sums = {.prepare = prepare_sums, .run = run_sums};
