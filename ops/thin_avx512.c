/* The kernels of thin.h. Each keeps 16 vectors of sums, samples times vectors of weights (or rows
 * of them), so that every vector of weights that is read meets all samples. */
#include <string.h>

#include "ops/first_lanes.h"
#include "ops/thin_kernels.h"

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma")
#include <immintrin.h>

enum { LANES = 16, SUMS = 16 };

#define KERNEL         static inline __attribute__((always_inline)) void
#define EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)

/* Rows [row, end) of b in SUMS / samples vectors of columns from `column`, of `left` columns. */
KERNEL plain_tile(const dl_thin *t, const float *a, const float *b, int64_t row, int64_t end,
                  int64_t column, int64_t left, float *sum, const int samples) {
    const int wide = SUMS / samples;
    __m512 s[SUMS];
    __mmask16 mask[4];
    EACH(v, wide) mask[v] = dl_first_lanes(left - v * LANES);
    EACH(i, samples)
    EACH(v, wide)
    s[i * wide + v] = row == 0
                          ? _mm512_setzero_ps()
                          : _mm512_maskz_loadu_ps(mask[v], sum + i * t->n + column + v * LANES);
    for (int64_t k = row; k < end; k++) {
        __m512 w[4];
        EACH(v, wide) w[v] = _mm512_maskz_loadu_ps(mask[v], b + k * t->n + column + v * LANES);
        EACH(i, samples) {
            __m512 x = _mm512_set1_ps(a[i * t->k + k]);
            EACH(v, wide) s[i * wide + v] = _mm512_fmadd_ps(x, w[v], s[i * wide + v]);
        }
    }
    EACH(i, samples)
    EACH(v, wide)
    _mm512_mask_storeu_ps(sum + i * t->n + column + v * LANES, mask[v], s[i * wide + v]);
}

/* A few rows at a time, so that they are read as streams of neighbours. */
KERNEL plain(const dl_thin *t, const float *a, const float *b, int64_t first, int64_t last,
             float *sum, const int samples) {
    enum { ROWS = 16 };
    for (int64_t row = 0; row < t->k; row += ROWS)
        for (int64_t n = first; n < last; n += SUMS / samples * LANES)
            plain_tile(t, a, b, row, row + ROWS < t->k ? row + ROWS : t->k, n, last - n, sum,
                       samples);
}

/* Sums over k of SUMS / samples rows of b, of which `rows` are there. */
KERNEL turned_tile(const dl_thin *t, const float *a, const float *b, int64_t n, int64_t rows,
                   float *sum, const int samples) {
    const int tall = SUMS / samples;
    __m512 s[SUMS];
    EACH(i, SUMS) s[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < t->k; k += LANES) {
        __mmask16 mask = dl_first_lanes(t->k - k);
        __m512 w[4];
        EACH(r, tall) w[r] = _mm512_maskz_loadu_ps(r < rows ? mask : 0, b + (n + r) * t->k + k);
        EACH(i, samples) {
            __m512 x = _mm512_maskz_loadu_ps(mask, a + i * t->k + k);
            EACH(r, tall) s[i * tall + r] = _mm512_fmadd_ps(x, w[r], s[i * tall + r]);
        }
    }
    EACH(i, samples)
    EACH(r, tall) if (r < rows) sum[i * t->n + n + r] = _mm512_reduce_add_ps(s[i * tall + r]);
}

KERNEL turned(const dl_thin *t, const float *a, const float *b, int64_t first, int64_t last,
              float *sum, const int samples) {
    for (int64_t n = first; n < last; n += SUMS / samples)
        turned_tile(t, a, b, n, last - n, sum, samples);
}

/* SUMS / samples rows of y, `rows` of them there, in the columns [column, end). */
KERNEL outer_tile(const dl_thin *t, const float *a, const float *b, int64_t row, int64_t rows,
                  int64_t column, int64_t end, float *y, const bool past, const int samples) {
    const int tall = SUMS / samples;
    __m512 x[SUMS];
    EACH(i, samples)
    EACH(r, tall) x[i * tall + r] = _mm512_set1_ps(r < rows ? a[i * t->m + row + r] : 0.0f);
    for (int64_t n = column; n < end; n += LANES) {
        __mmask16 mask = dl_first_lanes(end - n);
        __m512 s[4];
        EACH(r, tall) s[r] = _mm512_setzero_ps();
        EACH(i, samples) {
            __m512 w = _mm512_maskz_loadu_ps(mask, b + i * t->n + n);
            EACH(r, tall) s[r] = _mm512_fmadd_ps(x[i * tall + r], w, s[r]);
        }
        EACH(r, tall) if (r < rows) {
            float *to = y + (row + r) * t->n + n;
            if (past)
                _mm512_stream_ps(to, s[r]);
            else
                _mm512_mask_storeu_ps(to, mask, s[r]);
        }
    }
}

/* Columns in parts whose b stays in the nearest cache. */
KERNEL outer(const dl_thin *t, const float *a, const float *b, int64_t first, int64_t last,
             float *y, const int samples) {
    const int64_t part = 8192 / samples;
    bool past = t->n % LANES == 0 && (uintptr_t)y % 64 == 0;
    for (int64_t n = 0; n < t->n; n += part) {
        int64_t end = n + part < t->n ? n + part : t->n;
        for (int64_t row = first; row < last; row += SUMS / samples) {
            if (past)
                outer_tile(t, a, b, row, last - row, n, end, y, true, samples);
            else
                outer_tile(t, a, b, row, last - row, n, end, y, false, samples);
        }
    }
    _mm_sfence();
}

#define BY_SAMPLES(name)                                                                   \
    static void name##_4(const dl_thin *t, const float *a, const float *b, int64_t first,  \
                         int64_t last, float *out) {                                       \
        name(t, a, b, first, last, out, 4);                                                \
    }                                                                                      \
    static void name##_8(const dl_thin *t, const float *a, const float *b, int64_t first,  \
                         int64_t last, float *out) {                                       \
        name(t, a, b, first, last, out, 8);                                                \
    }                                                                                      \
    static void name##_16(const dl_thin *t, const float *a, const float *b, int64_t first, \
                          int64_t last, float *out) {                                      \
        name(t, a, b, first, last, out, 16);                                               \
    }                                                                                      \
    void dl_thin_##name(const dl_thin *t, const float *a, const float *b, int64_t first,   \
                        int64_t last, float *out) {                                        \
        (t->samples == 4   ? name##_4                                                      \
         : t->samples == 8 ? name##_8                                                      \
                           : name##_16)(t, a, b, first, last, out);                        \
    }
BY_SAMPLES(plain)
BY_SAMPLES(turned)
BY_SAMPLES(outer)

#else /* dl_thin_fits says no */

void dl_thin_plain(const dl_thin *t, const float *a, const float *b, int64_t first, int64_t last,
                   float *sum) {
    (void)t, (void)a, (void)b, (void)first, (void)last, (void)sum;
}
void dl_thin_turned(const dl_thin *t, const float *a, const float *b, int64_t first, int64_t last,
                    float *sum) {
    dl_thin_plain(t, a, b, first, last, sum);
}
void dl_thin_outer(const dl_thin *t, const float *a, const float *b, int64_t first, int64_t last,
                   float *y) {
    dl_thin_plain(t, a, b, first, last, y);
}

#endif
