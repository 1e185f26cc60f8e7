/* Windows of maximum pooling for own kernels, WIDE channels at a time: what a window's greatest
 * cells are, and what windows hand back to a cell, which a thread collects, so that nothing is
 * added atomically. */
#ifndef DL_OPS_POOL_CUDA_H
#define DL_OPS_POOL_CUDA_H

#include "ops/norm_cuda.h"
extern "C" {
#include "ops/pool.h"
}

struct dl_pool_side { /* one dimension */
    int in, out, kernel, stride, before;
};

struct dl_pool_cells {
    int64_t n, channels;
    dl_pool_side y, x;
    bool wide; /* places are int32 */
};

static inline dl_pool_side dl_pool_side_of(const dl_window_sizes &sizes, int i) {
    return {(int)sizes.in[i], (int)sizes.out[i], (int)sizes.window.kernel[i],
            (int)sizes.window.stride[i], (int)sizes.window.before[i]};
}

static inline dl_status dl_pool_cells_of(const dl_pool_attributes *attributes, const dl_type *x,
                                         dl_dtype place, dl_pool_cells *out) {
    dl_window_sizes sizes;
    DL_TRY(dl_pool_sizes(attributes, x, &sizes));
    *out = {sizes.n, sizes.channels, dl_pool_side_of(sizes, 0), dl_pool_side_of(sizes, 1),
            place == DL_I32};
    return DL_OK;
}

/* a / by, which is quick where a has 32 bits. */
static __device__ __forceinline__ int64_t dl_divide(int64_t a, int64_t by, int *rest) {
    if ((a | by) >> 32 == 0) {
        uint32_t quotient = (uint32_t)a / (uint32_t)by;
        *rest = (int)((uint32_t)a - quotient * (uint32_t)by);
        return quotient;
    }
    *rest = (int)(a % by);
    return a / by;
}

/* Of equal values the first, a NaN before all; map(k, x) makes of x of channel k what counts. */
template <int half, int WIDE, class Map>
static __device__ __forceinline__ void dl_pool_best(const dl_pool_cells &s, const void *x,
                                                    int64_t cell, int64_t channel, const Map &map,
                                                    float *best, int *place) {
    int oy, ox;
    int64_t n = dl_divide(dl_divide(cell, s.x.out, &ox), s.y.out, &oy);
    int top = oy * s.y.stride - s.y.before, left = ox * s.x.stride - s.x.before;
    for (int k = 0; k < WIDE; k++) {
        best[k] = 0;
        place[k] = -1;
    }
    for (int ky = 0; ky < s.y.kernel; ky++)
        for (int kx = 0; kx < s.x.kernel; kx++) {
            int iy = top + ky, ix = left + kx;
            float v[WIDE];
            if (iy < 0 || iy >= s.y.in || ix < 0 || ix >= s.x.in)
                continue;
            dl_load_group<half, WIDE>(x, ((n * s.y.in + iy) * s.x.in + ix) * s.channels + channel,
                                      v);
            for (int k = 0; k < WIDE; k++) {
                float z = map(k, v[k]);
                if (place[k] < 0 || z > best[k] || z != z) {
                    best[k] = z;
                    place[k] = ky * s.x.kernel + kx;
                }
            }
        }
}

/* Windows [first, last] of a dimension that hold position `at`. */
static __device__ __forceinline__ void dl_pool_holders(const dl_pool_side &side, int at, int *first,
                                                       int *last) {
    int from = at + side.before - side.kernel + 1;
    *first = from <= 0 ? 0 : (from + side.stride - 1) / side.stride;
    *last = (at + side.before) / side.stride;
    if (*last >= side.out)
        *last = side.out - 1;
}

/* Places of WIDE channels, four of bytes at a time where there are so many. */
template <int WIDE>
static __device__ __forceinline__ void dl_load_places(const dl_pool_cells &s, const void *place,
                                                      int64_t at, int *where) {
    if (s.wide || WIDE < 4) {
        for (int k = 0; k < WIDE; k++)
            where[k] = s.wide ? ((const int32_t *)place)[at + k] : ((const uint8_t *)place)[at + k];
        return;
    }
    for (int w = 0; w < WIDE / 4; w++) {
        uint32_t four = ((const uint32_t *)place)[at / 4 + w];
        for (int k = 0; k < 4; k++)
            where[w * 4 + k] = (int)(four >> k * 8 & 255u);
    }
}

/* What comes back to a cell of x. */
template <int half, int WIDE>
static __device__ __forceinline__ void dl_pool_back(const dl_pool_cells &s, const void *dy,
                                                    const void *place, int64_t cell,
                                                    int64_t channel, float *sum) {
    int iy, ix, oy0, oy1, ox0, ox1;
    int64_t n = dl_divide(dl_divide(cell, s.x.in, &ix), s.y.in, &iy);
    dl_pool_holders(s.y, iy, &oy0, &oy1);
    dl_pool_holders(s.x, ix, &ox0, &ox1);
    for (int k = 0; k < WIDE; k++)
        sum[k] = 0;
    for (int oy = oy0; oy <= oy1; oy++)
        for (int ox = ox0; ox <= ox1; ox++) {
            int mine = (iy + s.y.before - oy * s.y.stride) * s.x.kernel + ix + s.x.before -
                       ox * s.x.stride;
            int64_t at = ((n * s.y.out + oy) * s.x.out + ox) * s.channels + channel;
            float d[WIDE];
            int where[WIDE];
            dl_load_places<WIDE>(s, place, at, where);
            dl_load_group<half, WIDE>(dy, at, d);
            for (int k = 0; k < WIDE; k++)
                sum[k] = where[k] == mine ? sum[k] + d[k] : sum[k];
        }
}

#endif
