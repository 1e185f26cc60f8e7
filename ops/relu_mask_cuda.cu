/* What cuBLASLt did not do beside a product: masks of relu, gradients stopped where one is 0, sums
 * over the rows. The forms of ops.h, matmul_relu. */
#include "ops/columns_cuda.h"

namespace {

/* A thread makes a byte. */
template <int half>
__global__ void mark(const void *y, int64_t rows, int64_t columns, int64_t bytes, uint8_t *mask) {
    for (int64_t i = DL_FIRST_THREAD; i < rows * bytes; i += DL_ALL_THREADS) {
        int64_t row = i / bytes, first = i % bytes * 8;
        unsigned bits = 0;
        for (int c = 0; c < 8 && first + c < columns; c++)
            bits |= (unsigned)(dl_load<half>(y, row * columns + first + c) > 0) << c;
        mask[i] = (uint8_t)bits;
    }
}

template <int half> __global__ void stop(void *x, const void *y, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        if (!(dl_load<half>(y, i) > 0))
            dl_store<half>(x, i, 0);
}

template <int half> struct sum {
    enum { SUMS = 1 };
    const void *x;
    int64_t columns;
    __device__ void add(int64_t row, int64_t column, float *total) const {
        total[0] = total[0] + dl_load<half>(x, row * columns + column);
    }
    __device__ float finish(float total, int, int64_t) const {
        return total;
    }
};

/* Stops x as it adds it up. */
template <int half> struct stopped_sum {
    enum { SUMS = 1 };
    void *x;
    const void *y;
    int64_t columns;
    __device__ void add(int64_t row, int64_t column, float *total) const {
        int64_t i = row * columns + column;
        if (dl_load<half>(y, i) > 0)
            total[0] = total[0] + dl_load<half>(x, i);
        else
            dl_store<half>(x, i, 0);
    }
    __device__ float finish(float total, int, int64_t) const {
        return total;
    }
};

} // namespace

dl_status dl_cuda_relu_mask(const dl_cuda *cuda, const void *y, const dl_type *type, void *mask) {
    int64_t rows = type->dim[0], columns = type->dim[1], bytes = (columns + 127) / 128 * 16;
    unsigned blocks = dl_cuda_blocks(cuda, rows * bytes);
    uint8_t *to = (uint8_t *)mask;
#define MARK(half) \
    DL_LAUNCH(mark<half>, blocks, DL_BLOCK, 0, cuda->stream, y, rows, columns, bytes, to)
    return DL_BY_HALF(dl_half_of(type->dtype), MARK);
#undef MARK
}

dl_status dl_cuda_relu_stop(const dl_cuda *cuda, void *x, const void *y, const dl_type *type) {
    int64_t count = dl_type_count(type);
    unsigned blocks = dl_cuda_blocks(cuda, count);
#define STOP(half) DL_LAUNCH(stop<half>, blocks, DL_BLOCK, 0, cuda->stream, x, y, count)
    return DL_BY_HALF(dl_half_of(type->dtype), STOP);
#undef STOP
}

size_t dl_cuda_row_sum_workspace(int64_t rows, int64_t columns) {
    return dl_columns_workspace(dl_columns_of(rows, columns), 1);
}

dl_status dl_cuda_row_sum(const dl_cuda *cuda, void *x, const void *y, const dl_type *type,
                          void *workspace, float *out) {
    dl_columns c = dl_columns_of(type->dim[0], type->dim[1]);
#define SUM(half)                                                                    \
    (y ? dl_sum_columns(cuda, stopped_sum<half>{x, y, c.columns}, c, workspace, out) \
       : dl_sum_columns(cuda, sum<half>{x, c.columns}, c, workspace, out))
    return DL_BY_HALF(dl_half_of(type->dtype), SUM);
#undef SUM
}
