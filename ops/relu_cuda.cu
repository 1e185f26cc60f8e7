/* relu beside cuBLASLt and cuDNN: masks, gradients stopped where one is 0, their sums over the
 * rows. */
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

template <int half> __global__ void stop(const void *x, const void *y, void *z, int64_t count) {
    for (int64_t i = DL_FIRST_THREAD; i < count; i += DL_ALL_THREADS)
        dl_store<half>(z, i, dl_load<half>(y, i) > 0 ? dl_load<half>(x, i) : 0.0f);
}

/* Without y: x is z, and is not written. */
template <int half> struct stopped {
    enum { SUMS = 1 };
    const void *x, *y;
    void *z;
    int64_t columns;
    __device__ void add(int64_t row, int64_t column, float *total) const {
        int64_t i = row * columns + column;
        float value = dl_load<half>(x, i);
        if (y) {
            value = dl_load<half>(y, i) > 0 ? value : 0.0f;
            dl_store<half>(z, i, value);
        }
        total[0] = total[0] + value;
    }
    __device__ float finish(float total, int, int64_t) const {
        return total;
    }
};

struct state {
    const dl_cuda *cuda;
    dl_type type;
};

dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(dl_make_state(out, &s));
    s->cuda = dl_cuda_of(what->device);
    s->type = *what->input[0];
    out->workspace = dl_cuda_row_sum_workspace(&s->type);
    return DL_OK;
}

dl_status run(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    return dl_cuda_row_sum(s->cuda, run->in[0], run->in[1], &s->type, run->out[0], run->workspace,
                           (float *)run->out[1]);
}

} // namespace

const dl_kernel dl_cuda_relu_gradient = {.prepare = prepare, .run = run};

dl_status dl_cuda_relu_mask(const dl_cuda *cuda, const void *y, const dl_type *type, void *mask) {
    int64_t rows = type->dim[0], columns = type->dim[1], bytes = (columns + 127) / 128 * 16;
    unsigned blocks = dl_cuda_blocks(cuda, rows * bytes);
    uint8_t *to = (uint8_t *)mask;
#define MARK(half) \
    DL_LAUNCH(mark<half>, blocks, DL_BLOCK, 0, cuda->stream, y, rows, columns, bytes, to)
    return DL_BY_HALF(dl_half_of(type->dtype), MARK);
#undef MARK
}

dl_status dl_cuda_relu_stop(const dl_cuda *cuda, const void *x, const void *y, const dl_type *type,
                            void *z) {
    int64_t count = dl_type_count(type);
    unsigned blocks = dl_cuda_blocks(cuda, count);
#define STOP(half) DL_LAUNCH(stop<half>, blocks, DL_BLOCK, 0, cuda->stream, x, y, z, count)
    return DL_BY_HALF(dl_half_of(type->dtype), STOP);
#undef STOP
}

size_t dl_cuda_row_sum_workspace(const dl_type *type) {
    return dl_columns_workspace(dl_columns_of(type), 1);
}

dl_status dl_cuda_row_sum(const dl_cuda *cuda, const void *x, const void *y, const dl_type *type,
                          void *z, void *workspace, float *out) {
    dl_columns c = dl_columns_of(type);
#define SUM(half) dl_sum_columns(cuda, stopped<half>{x, y, z, c.columns}, c, workspace, out)
    return DL_BY_HALF(dl_half_of(type->dtype), SUM);
#undef SUM
}
