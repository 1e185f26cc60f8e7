/* Sums over the rows of [rows, columns] for own kernels: what batch and layer normalisation need.
 * A block takes 32 columns of a chunk of rows, eight rows at a time; the chunks' sums are then
 * added in order, in double. Chunks depend on the sizes alone. */
#ifndef DL_OPS_COLUMNS_CUDA_H
#define DL_OPS_COLUMNS_CUDA_H

#include "ops/own_cuda.h"

enum { DL_COLUMN_ROWS = 8 /* that a block takes at a time */, DL_COLUMN_CHUNKS = 512 };

typedef struct dl_columns {
    int64_t rows, columns, chunk, chunks;
} dl_columns;

static inline dl_columns dl_columns_of(int64_t rows, int64_t columns) {
    dl_columns c = {rows, columns, 4 * DL_COLUMN_ROWS, 1};
    if (c.chunk * DL_COLUMN_CHUNKS < rows)
        c.chunk = (rows + DL_COLUMN_CHUNKS - 1) / DL_COLUMN_CHUNKS;
    c.chunks = rows > 0 ? (rows + c.chunk - 1) / c.chunk : 1;
    return c;
}

/* Bytes of partial sums, for `sums` sums of a column. */
static inline size_t dl_columns_workspace(dl_columns c, int sums) {
    return sizeof(float) * (size_t)(c.chunks * sums * c.columns);
}

/* Term: enum { SUMS }; void add(int64_t row, int64_t column, float sum[SUMS]) const. */
template <class Term> __global__ void dl_sum_chunks(Term term, dl_columns c, float *partial) {
    __shared__ float part[Term::SUMS][DL_COLUMN_ROWS][DL_WARP];
    int64_t column = (int64_t)blockIdx.x * DL_WARP + threadIdx.x;
    int64_t first = (int64_t)blockIdx.y * c.chunk;
    int64_t last = first + c.chunk < c.rows ? first + c.chunk : c.rows;
    float sum[Term::SUMS];
    for (int s = 0; s < Term::SUMS; s++)
        sum[s] = 0;
    for (int64_t row = first + threadIdx.y; row < last && column < c.columns; row += DL_COLUMN_ROWS)
        term.add(row, column, sum);
    for (int s = 0; s < Term::SUMS; s++)
        part[s][threadIdx.y][threadIdx.x] = sum[s];
    __syncthreads();
    if (threadIdx.y != 0 || column >= c.columns)
        return;
    for (int s = 0; s < Term::SUMS; s++) {
        float total = part[s][0][threadIdx.x];
        for (int y = 1; y < DL_COLUMN_ROWS; y++)
            total = total + part[s][y][threadIdx.x];
        partial[((int64_t)blockIdx.y * Term::SUMS + s) * c.columns + column] = total;
    }
}

/* Of sum `s` and column `c`: its chunks' total. */
static __device__ __forceinline__ float dl_join_chunks(const float *partial, dl_columns c, int sums,
                                                       int s, int64_t column) {
    double total = 0;
    for (int64_t chunk = 0; chunk < c.chunks; chunk++)
        total += (double)partial[(chunk * sums + s) * c.columns + column];
    return (float)total;
}

/* out [SUMS][columns] */
template <class Term>
__global__ void dl_finish_columns(Term term, dl_columns c, const float *partial, float *out) {
    for (int64_t i = DL_FIRST_THREAD; i < Term::SUMS * c.columns; i += DL_ALL_THREADS) {
        int s = (int)(i / c.columns);
        out[i] =
            term.finish(dl_join_chunks(partial, c, Term::SUMS, s, i % c.columns), s, i % c.columns);
    }
}

/* Term also has float finish(float sum, int s, int64_t column) const. */
template <class Term>
static dl_status dl_sum_columns(const dl_cuda *cuda, Term term, dl_columns c, void *workspace,
                                float *out) {
    unsigned tiles = (unsigned)((c.columns + DL_WARP - 1) / DL_WARP);
    float *partial = (float *)workspace;
    if (c.columns == 0)
        return DL_OK;
    DL_TRY(DL_LAUNCH_TEAM(dl_sum_chunks<Term>, dim3(tiles, (unsigned)c.chunks),
                          dim3(DL_WARP, DL_COLUMN_ROWS), 0, cuda->stream, term, c, partial));
    return DL_LAUNCH(dl_finish_columns<Term>, dl_cuda_blocks(cuda, Term::SUMS * c.columns),
                     DL_BLOCK, 0, cuda->stream, term, c, (const float *)partial, out);
}

#endif
