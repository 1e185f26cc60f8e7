/* Naive references of the rows on oneDNN and of pooling: loops over the definitions, in double. See
 * op_samples.h. */
#include <math.h>

#include "ops/pool.h"
#include "tests/unit/op_references.h"

static const double near = 1e-3; /* of a kink */

/* Sums of products: element `to` of output 0 grows by a * b, its allowed error by |a b|. A sum of n
 * products in any order is within n epsilon sum |a b| (Higham, "Accuracy and Stability of Numerical
 * Algorithms", section 3.1); `terms` is such an n. */
static void add(double *const *out, double *const *bound, int64_t to, double a, double b,
                double terms) {
    out[0][to] += a * b;
    if (bound)
        bound[0][to] += (terms + 2) * fabs(a * b);
}

static void finish_epilogue(const dl_type *type, dl_epilogue epilogue, double *const *out,
                            bool *const *kink) {
    if (epilogue != DL_EPILOGUE_RELU)
        return;
    for (int64_t e = 0; e < dl_type_count(type); e++) {
        if (kink)
            kink[0][e] = fabs(out[0][e]) < near;
        if (out[0][e] < 0)
            out[0][e] = 0;
    }
}

void op_matmul_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                         double *const *out, double *const *bound, bool *const *kink) {
    const dl_matmul_attributes *attributes = sample->attributes;
    bool ta = attributes->transpose_a, tb = attributes->transpose_b;
    int64_t m = type[0].dim[0], n = type[0].dim[1], k = sample->input[0].dim[ta ? 0 : 1];
    for (int64_t row = 0; row < m; row++)
        for (int64_t column = 0; column < n; column++) {
            int64_t to = row * n + column;
            for (int64_t i = 0; i < k; i++)
                add(out, bound, to, in[0][ta ? i * m + row : row * k + i],
                    in[1][tb ? column * k + i : i * n + column], (double)k);
            if (sample->inputs == 3)
                add(out, bound, to, in[2][column], 1, (double)k);
        }
    finish_epilogue(type, attributes->epilogue, out, kink);
}

/* A convolution is the set of triples (x, w, y) in y = sum x w; forward and both gradients sum over
 * the same set. */
typedef struct triples {
    int64_t n, ih, iw, c, oh, ow, o, kh, kw, group_in, groups;
    int64_t stride[2], dilation[2], before[2];
} triples;

static triples triples_of(const dl_conv_attributes *a, const dl_type *x, const dl_type *w,
                          const dl_type *y) {
    int s = a->spatial;
    triples t = {.n = x->dim[0], .c = x->dim[s + 1], .o = w->dim[0], .group_in = w->dim[s + 1]};
    t.groups = a->groups;
    t.ih = s == 2 ? x->dim[1] : 1;
    t.iw = x->dim[s];
    t.kh = s == 2 ? w->dim[1] : 1;
    t.kw = w->dim[s];
    t.oh = s == 2 ? y->dim[1] : 1;
    t.ow = y->dim[s];
    for (int i = 0; i < 2; i++) {
        int from = i - (2 - s);
        t.stride[i] = from < 0 ? 1 : a->stride[from];
        t.dilation[i] = from < 0 ? 1 : a->dilation[from];
        t.before[i] = from < 0 ? 0 : a->before[from];
    }
    return t;
}

typedef struct sums {
    double *const *out, *const *bound;
    const double *x, *w, *y; /* the one that is NULL is the output */
    double terms;
} sums;

static void sum_triple(const sums *s, int64_t x, int64_t w, int64_t y) {
    if (!s->y)
        add(s->out, s->bound, y, s->x[x], s->w[w], s->terms);
    else if (!s->x)
        add(s->out, s->bound, x, s->y[y], s->w[w], s->terms);
    else
        add(s->out, s->bound, w, s->x[x], s->y[y], s->terms);
}

static void sum_at(const triples *t, const sums *s, int64_t n, int64_t oy, int64_t ox, int64_t o) {
    int64_t group = o / (t->o / t->groups);
    for (int64_t ky = 0; ky < t->kh; ky++)
        for (int64_t kx = 0; kx < t->kw; kx++) {
            int64_t iy = oy * t->stride[0] + ky * t->dilation[0] - t->before[0];
            int64_t ix = ox * t->stride[1] + kx * t->dilation[1] - t->before[1];
            if (iy < 0 || iy >= t->ih || ix < 0 || ix >= t->iw)
                continue;
            for (int64_t i = 0; i < t->group_in; i++)
                sum_triple(s, ((n * t->ih + iy) * t->iw + ix) * t->c + group * t->group_in + i,
                           ((o * t->kh + ky) * t->kw + kx) * t->group_in + i,
                           ((n * t->oh + oy) * t->ow + ox) * t->o + o);
        }
}

static void sum_all(const triples *t, sums *s) {
    s->terms = (double)(!s->y   ? t->kh * t->kw * t->group_in
                        : !s->x ? t->kh * t->kw * t->o / t->groups
                                : t->n * t->oh * t->ow);
    for (int64_t n = 0; n < t->n; n++)
        for (int64_t oy = 0; oy < t->oh; oy++)
            for (int64_t ox = 0; ox < t->ow; ox++)
                for (int64_t o = 0; o < t->o; o++)
                    sum_at(t, s, n, oy, ox, o);
}

void op_conv_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                       double *const *out, double *const *bound, bool *const *kink) {
    const dl_conv_attributes *attributes = sample->attributes;
    triples t = triples_of(attributes, &sample->input[0], &sample->input[1], &type[0]);
    sums s = {.out = out, .bound = bound, .x = in[0], .w = in[1]};
    sum_all(&t, &s);
    for (int64_t e = 0; sample->inputs == 3 && e < dl_type_count(type); e++)
        add(out, bound, e, in[2][e % t.o], 1, s.terms);
    finish_epilogue(type, attributes->epilogue, out, kink);
}

void op_conv_input_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                             double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    const dl_conv_input_attributes *attributes = sample->attributes;
    triples t = triples_of(&attributes->conv, &type[0], &sample->input[1], &sample->input[0]);
    sums s = {.out = out, .bound = bound, .y = in[0], .w = in[1]};
    sum_all(&t, &s);
}

void op_conv_weight_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                              double *const *out, double *const *bound, bool *const *kink) {
    (void)kink;
    const dl_conv_weight_attributes *attributes = sample->attributes;
    triples t = triples_of(&attributes->conv, &sample->input[0], &type[0], &sample->input[1]);
    sums s = {.out = out, .bound = bound, .x = in[0], .y = in[1]};
    sum_all(&t, &s);
}

/* Pooling walks over the windows of each output cell. */
typedef struct pooling {
    int64_t n, ih, iw, c, oh, ow, kernel[2], stride[2], before[2];
} pooling;

static pooling pooling_of(const dl_pool_attributes *a, const dl_type *x, const dl_type *y) {
    int s = a->spatial;
    pooling p = {.n = x->dim[0], .c = x->dim[s + 1], .iw = x->dim[s], .ow = y->dim[s]};
    p.ih = s == 2 ? x->dim[1] : 1;
    p.oh = s == 2 ? y->dim[1] : 1;
    for (int i = 0; i < 2; i++) {
        int from = i - (2 - s);
        p.kernel[i] = from < 0 ? 1 : a->kernel[from];
        p.stride[i] = from < 0 ? 1 : a->stride[from];
        p.before[i] = from < 0 ? 0 : a->before[from];
    }
    return p;
}

/* Index in x of cell (ky, kx) of the window of output element y; -1 in the padding. */
static int64_t cell(const pooling *p, int64_t y, int64_t ky, int64_t kx) {
    int64_t c = y % p->c, ox = y / p->c % p->ow, oy = y / p->c / p->ow % p->oh;
    int64_t n = y / p->c / p->ow / p->oh;
    int64_t iy = oy * p->stride[0] + ky - p->before[0], ix = ox * p->stride[1] + kx - p->before[1];
    if (iy < 0 || iy >= p->ih || ix < 0 || ix >= p->iw)
        return -1;
    return ((n * p->ih + iy) * p->iw + ix) * p->c + c;
}

void op_max_pool_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink) {
    (void)bound; /* a maximum is exact */
    pooling p = pooling_of(sample->attributes, &sample->input[0], &type[0]);
    for (int64_t y = 0; y < dl_type_count(&type[0]); y++) {
        double first = -INFINITY, second = -INFINITY;
        for (int64_t k = 0; k < p.kernel[0] * p.kernel[1]; k++) {
            int64_t x = cell(&p, y, k / p.kernel[1], k % p.kernel[1]);
            if (x < 0)
                continue;
            if (in[0][x] > first) {
                second = first;
                first = in[0][x];
            } else if (in[0][x] > second)
                second = in[0][x];
        }
        out[0][y] = first;
        if (kink)
            kink[0][y] = first - second < near;
    }
}

/* Shares of each cell in its average, and back. */
static void walk_average(const pooling *p, int64_t count, const double *x, const double *y,
                         double *const *out, double *const *bound) {
    for (int64_t to = 0; to < count; to++) {
        int64_t cells = p->kernel[0] * p->kernel[1], inside = 0;
        for (int64_t k = 0; k < cells; k++)
            inside += cell(p, to, k / p->kernel[1], k % p->kernel[1]) >= 0;
        for (int64_t k = 0; k < cells; k++) {
            int64_t from = cell(p, to, k / p->kernel[1], k % p->kernel[1]);
            if (from >= 0)
                add(out, bound, x ? to : from, x ? x[from] : y[to], 1.0 / (double)inside,
                    (double)cells);
        }
    }
}

void op_average_pool_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink) {
    (void)kink;
    pooling p = pooling_of(sample->attributes, &sample->input[0], &type[0]);
    walk_average(&p, dl_type_count(&type[0]), in[0], NULL, out, bound);
}

void op_average_gradient_reference(const op_sample *sample, const dl_type *type,
                                   const double *const *in, double *const *out,
                                   double *const *bound, bool *const *kink) {
    (void)kink;
    const dl_pool_gradient_attributes *attributes = sample->attributes;
    pooling p = pooling_of(&attributes->pool, &type[0], &sample->input[0]);
    walk_average(&p, dl_type_count(&sample->input[0]), NULL, in[0], out, bound);
}

void op_max_gradient_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink) {
    (void)kink;
    const dl_pool_gradient_attributes *attributes = sample->attributes;
    pooling p = pooling_of(&attributes->pool, &type[0], &sample->input[0]);
    for (int64_t y = 0; y < dl_type_count(&sample->input[0]); y++) {
        int64_t k = (int64_t)in[1][y], x = cell(&p, y, k / p.kernel[1], k % p.kernel[1]);
        if (x >= 0)
            add(out, bound, x, in[0][y], 1, (double)(p.kernel[0] * p.kernel[1]));
    }
}
