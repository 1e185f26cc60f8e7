/* Softmax, its cross-entropy, the top-k hit, and a step's loss in one pass: a warp a row, whose
 * lanes stride over the columns. The rows are those of softmax.c; the exponential is that of
 * runtime/expr/math.h. */
#include "ops/own_cuda.h"

namespace {

struct rows_state {
    const dl_cuda *cuda;
    int64_t rows, width;
    bool labels, alike; /* alike: all rows have one gradient of the loss */
    float smoothing;
    int k, position;
};

dl_status prepare_rows(const dl_prepare *what, dl_prepared *out, rows_state **made) {
    const dl_type *x = what->input[0];
    DL_TRY(dl_make_state(out, made));
    rows_state *state = *made;
    state->cuda = dl_cuda_of(what->device);
    state->width = x->dim[x->rank - 1];
    state->rows = dl_type_count(x) / state->width;
    state->labels = what->inputs > 1 && what->input[1]->dtype == DL_I32;
    state->position = what->position;
    return DL_OK;
}

dl_status prepare_softmax(const dl_prepare *what, dl_prepared *out) {
    rows_state *state;
    return prepare_rows(what, out, &state);
}

dl_status prepare_cross_entropy(const dl_prepare *what, dl_prepared *out) {
    rows_state *state;
    DL_TRY(prepare_rows(what, out, &state));
    state->smoothing = ((const dl_cross_entropy_attributes *)what->attributes)->smoothing;
    return DL_OK;
}

dl_status prepare_softmax_loss(const dl_prepare *what, dl_prepared *out) {
    const dl_softmax_loss_attributes *attributes =
        (const dl_softmax_loss_attributes *)what->attributes;
    rows_state *state;
    DL_TRY(prepare_rows(what, out, &state));
    state->smoothing = attributes->cross_entropy.smoothing;
    state->k = attributes->top.k;
    state->alike = dl_type_count(what->input[2]) != state->rows;
    return DL_OK;
}

dl_status prepare_in_top_k(const dl_prepare *what, dl_prepared *out) {
    rows_state *state;
    DL_TRY(prepare_rows(what, out, &state));
    state->k = ((const dl_in_top_k_attributes *)what->attributes)->k;
    return DL_OK;
}

/* kernel<<<a warp a row>>>(rows_state, ...) */
#define LAUNCH_ROWS(kernel, s, ...)                                                       \
    DL_LAUNCH_TEAM(kernel, dl_warp_row_blocks((s)->rows), dim3(DL_WARP, DL_WARP_ROWS), 0, \
                   (s)->cuda->stream, *(s), __VA_ARGS__)

/* Probabilities to y; returns log(sum(exp(x - *most))). */
__device__ float softmax_row(const float *x, float *y, int64_t width, bool writes, float *most) {
    float greatest = -INFINITY, sum = 0;
    for (int64_t i = threadIdx.x; i < width; i += DL_WARP)
        greatest = dl_m_max(greatest, x[i]);
    *most = greatest = dl_warp_max(greatest);
    for (int64_t i = threadIdx.x; i < width; i += DL_WARP)
        sum = sum + dl_m_exp(x[i] - greatest);
    sum = dl_warp_sum(sum);
    for (int64_t i = threadIdx.x; i < width; i += DL_WARP)
        if (writes)
            y[i] = dl_m_exp(x[i] - greatest) / sum;
    return dl_m_log(sum);
}

__global__ void softmax(rows_state s, const float *x, float *y) {
    bool writes;
    int64_t row = dl_warp_row(s.rows, &writes);
    float most;
    softmax_row(x + row * s.width, y + row * s.width, s.width, writes, &most);
}

/* dx = y * (dy - sum(dy * y)) */
__global__ void softmax_gradient(rows_state s, const float *y, const float *dy, float *dx) {
    bool writes;
    int64_t row = dl_warp_row(s.rows, &writes);
    y += row * s.width;
    dy += row * s.width;
    float sum = 0;
    for (int64_t i = threadIdx.x; i < s.width; i += DL_WARP)
        sum = sum + dy[i] * y[i];
    sum = dl_warp_sum(sum);
    for (int64_t i = threadIdx.x; i < s.width; i += DL_WARP)
        if (writes)
            dx[row * s.width + i] = y[i] * (dy[i] - sum);
}

__device__ float smooth(const rows_state &s, float target) {
    return s.smoothing == 0.0f ? target
                               : target * (1.0f - s.smoothing) + s.smoothing / (float)s.width;
}

/* The row's label; a bad one is told of, and 0 stands in for it. */
__device__ int64_t label_of(const rows_state &s, const void *target, int64_t row, dl_fault *fault) {
    int32_t label = ((const int32_t *)target)[row];
    if (label >= 0 && label < s.width)
        return label;
    if (threadIdx.x == 0)
        dl_tell_fault(fault, s.position, DL_FAULT_LABEL, label, s.width);
    return 0;
}

__global__ void cross_entropy(rows_state s, const float *x, const void *target, float *loss,
                              float *y, dl_fault *fault) {
    bool writes;
    int64_t row = dl_warp_row(s.rows, &writes);
    x += row * s.width;
    float most, sum = 0;
    float log_sum = softmax_row(x, y + row * s.width, s.width, writes, &most);
    if (s.labels) {
        sum = log_sum + (most - x[label_of(s, target, row, fault)]);
    } else {
        const float *t = (const float *)target + row * s.width;
        for (int64_t i = threadIdx.x; i < s.width; i += DL_WARP)
            if (t[i] != 0.0f || s.smoothing != 0.0f)
                sum = sum + smooth(s, t[i]) * (log_sum + (most - x[i]));
        sum = dl_warp_sum(sum);
    }
    if (writes && threadIdx.x == 0)
        loss[row] = sum;
}

/* dx = dloss * (p * sum(target) - target) */
__global__ void cross_entropy_gradient(rows_state s, const float *p, const void *target,
                                       const float *dloss, float *dx, dl_fault *fault) {
    bool writes;
    int64_t row = dl_warp_row(s.rows, &writes);
    p += row * s.width;
    dx += row * s.width;
    if (s.labels) {
        int64_t label = label_of(s, target, row, fault);
        for (int64_t i = threadIdx.x; i < s.width; i += DL_WARP)
            if (writes)
                dx[i] = dloss[row] * (i == label ? p[i] - 1.0f : p[i]);
        return;
    }
    const float *t = (const float *)target + row * s.width;
    float total = 0;
    for (int64_t i = threadIdx.x; i < s.width; i += DL_WARP)
        total = total + smooth(s, t[i]);
    total = dl_warp_sum(total);
    for (int64_t i = threadIdx.x; i < s.width; i += DL_WARP)
        if (writes)
            dx[i] = dloss[row] * (p[i] * total - smooth(s, t[i]));
}

/* Of equal greatest values the first. */
__device__ int64_t greatest_of(const float *row, int64_t width) {
    float best = -INFINITY;
    int64_t place = width;
    for (int64_t i = threadIdx.x; i < width; i += DL_WARP)
        if (place == width || row[i] > best) {
            best = row[i];
            place = i;
        }
    for (int mask = DL_WARP / 2; mask > 0; mask /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, best, mask);
        int64_t where = __shfl_xor_sync(0xffffffffu, place, mask);
        if (where < width && (place == width || other > best || (other == best && where < place))) {
            best = other;
            place = where;
        }
    }
    return place;
}

__global__ void in_top_k(rows_state s, const float *p, const void *target, float *hit,
                         dl_fault *fault) {
    bool writes;
    int64_t row = dl_warp_row(s.rows, &writes);
    p += row * s.width;
    int64_t right = s.labels ? label_of(s, target, row, fault)
                             : greatest_of((const float *)target + row * s.width, s.width);
    float before = 0; /* exact up to 2^24 classes */
    for (int64_t i = threadIdx.x; i < s.width; i += DL_WARP)
        before = before + (p[i] > p[right] || (p[i] == p[right] && i < right) ? 1.0f : 0.0f);
    before = dl_warp_sum(before);
    if (writes && threadIdx.x == 0)
        hit[row] = p[right] == p[right] && before < (float)s.k ? 1.0f : 0.0f;
}

/* The row's columns as this thread holds them: EACH of them in registers, or any number, read again
 * from memory for each use. */
#define EACH_COLUMN(j, i)                                                                  \
    for (int64_t j = 0, i = threadIdx.x; EACH ? j < EACH : i < s.width; j++, i += DL_WARP) \
        if (!EACH || i < s.width)

/* What softmax_cross_entropy, its gradient and in_top_k give, with their bits. */
template <int EACH>
__global__ void softmax_loss(rows_state s, const float *x, const void *target, const float *dloss,
                             float *loss, float *dx, float *hit, dl_fault *fault) {
    bool writes;
    int64_t row = dl_warp_row(s.rows, &writes);
    const float *t = (const float *)target + (s.labels ? 0 : row * s.width);
    x += row * s.width;
    dx += row * s.width;
    float held[EACH ? EACH : 1] = {}, most = -INFINITY, sum = 0, each = 0, total = 0, before = 0;
    EACH_COLUMN(j, i) {
        if (EACH)
            held[j] = x[i];
        most = dl_m_max(most, EACH ? held[j] : x[i]);
    }
    most = dl_warp_max(most);
    EACH_COLUMN(j, i) {
        float power = dl_m_exp((EACH ? held[j] : x[i]) - most);
        if (EACH)
            held[j] = power;
        sum = sum + power;
    }
    sum = dl_warp_sum(sum);
    float log_sum = dl_m_log(sum);
    int64_t right = s.labels  ? label_of(s, target, row, fault)
                    : s.k > 0 ? greatest_of(t, s.width)
                              : 0;
    float right_p = dl_m_exp(x[right] - most) / sum, slope = dloss[s.alike ? 0 : row];
    EACH_COLUMN(j, i) {
        float p = (EACH ? held[j] : dl_m_exp(x[i] - most)) / sum;
        if (EACH)
            held[j] = p;
        before = before + (p > right_p || (p == right_p && i < right) ? 1.0f : 0.0f);
        if (s.labels)
            continue;
        if (t[i] != 0.0f || s.smoothing != 0.0f)
            each = each + smooth(s, t[i]) * (log_sum + (most - x[i]));
        total = total + smooth(s, t[i]);
    }
    before = dl_warp_sum(before);
    each = s.labels ? log_sum + (most - x[right]) : dl_warp_sum(each);
    total = dl_warp_sum(total);
    EACH_COLUMN(j, i) {
        float p = EACH ? held[j] : dl_m_exp(x[i] - most) / sum;
        float wrong = s.labels ? (i == right ? p - 1.0f : p) : p * total - smooth(s, t[i]);
        if (writes)
            dx[i] = slope * wrong;
    }
    if (!writes || threadIdx.x != 0)
        return;
    loss[row] = each;
    hit[row] = right_p == right_p && before < (float)s.k ? 1.0f : 0.0f;
}

dl_status run_softmax_loss(const void *state, const dl_run *run) {
    const rows_state *s = (const rows_state *)state;
#define CALL(EACH)                                                                     \
    LAUNCH_ROWS(softmax_loss<EACH>, s, (const float *)run->in[0], run->in[1],          \
                (const float *)run->in[2], (float *)run->out[0], (float *)run->out[1], \
                (float *)run->out[2], run->fault)
    return s->width <= DL_WARP ? CALL(1) : s->width <= 32 * DL_WARP ? CALL(32) : CALL(0);
#undef CALL
}

dl_status run_softmax(const void *state, const dl_run *run) {
    const rows_state *s = (const rows_state *)state;
    return LAUNCH_ROWS(softmax, s, (const float *)run->in[0], (float *)run->out[0]);
}

dl_status run_softmax_gradient(const void *state, const dl_run *run) {
    const rows_state *s = (const rows_state *)state;
    return LAUNCH_ROWS(softmax_gradient, s, (const float *)run->in[0], (const float *)run->in[1],
                       (float *)run->out[0]);
}

dl_status run_cross_entropy(const void *state, const dl_run *run) {
    const rows_state *s = (const rows_state *)state;
    return LAUNCH_ROWS(cross_entropy, s, (const float *)run->in[0], run->in[1],
                       (float *)run->out[0], (float *)run->out[1], run->fault);
}

dl_status run_cross_entropy_gradient(const void *state, const dl_run *run) {
    const rows_state *s = (const rows_state *)state;
    return LAUNCH_ROWS(cross_entropy_gradient, s, (const float *)run->in[0], run->in[1],
                       (const float *)run->in[2], (float *)run->out[0], run->fault);
}

dl_status run_in_top_k(const void *state, const dl_run *run) {
    const rows_state *s = (const rows_state *)state;
    return LAUNCH_ROWS(in_top_k, s, (const float *)run->in[0], run->in[1], (float *)run->out[0],
                       run->fault);
}

} // namespace

const dl_kernel dl_cuda_softmax = {.prepare = prepare_softmax, .run = run_softmax};
const dl_kernel dl_cuda_softmax_gradient = {.prepare = prepare_softmax,
                                            .run = run_softmax_gradient};
const dl_kernel dl_cuda_softmax_cross_entropy = {.prepare = prepare_cross_entropy,
                                                 .run = run_cross_entropy};
const dl_kernel dl_cuda_softmax_cross_entropy_gradient = {.prepare = prepare_cross_entropy,
                                                          .run = run_cross_entropy_gradient};
const dl_kernel dl_cuda_in_top_k = {.prepare = prepare_in_top_k, .run = run_in_top_k};
const dl_kernel dl_cuda_softmax_loss = {.prepare = prepare_softmax_loss, .run = run_softmax_loss};
