/* Sums over the rows of [rows, columns] for own kernels: what batch and layer normalisation need.
 * A block takes 32 columns of a chunk of rows, eight rows at a time, or lines of them; the chunks'
 * sums are then added in a fixed order, in double. Chunks depend on the sizes alone. */
#ifndef DL_OPS_COLUMNS_CUDA_H
#define DL_OPS_COLUMNS_CUDA_H

#include "ops/own_cuda.h"

enum { DL_COLUMN_ROWS = 8 /* that a block takes at a time */, DL_COLUMN_CHUNKS = 512 };

typedef struct dl_columns {
    int64_t rows, columns, chunk, chunks;
} dl_columns;

/* The last axis of x across, all others down. */
static inline dl_columns dl_columns_of(const dl_type *x) {
    int64_t columns = x->dim[x->rank - 1], rows = columns ? dl_type_count(x) / columns : 0;
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

/* out [SUMS][columns]: eight threads a sum, each every eighth chunk, then the eight in order. */
template <class Term>
__global__ void dl_finish_columns(Term term, dl_columns c, const float *partial, float *out) {
    __shared__ double part[DL_COLUMN_ROWS][DL_WARP];
    int64_t i = (int64_t)blockIdx.x * DL_WARP + threadIdx.x;
    int s = (int)(i / c.columns);
    double total = 0;
    for (int64_t chunk = threadIdx.y; chunk < c.chunks && s < Term::SUMS; chunk += DL_COLUMN_ROWS)
        total += (double)partial[chunk * Term::SUMS * c.columns + i];
    part[threadIdx.y][threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y != 0 || s >= Term::SUMS)
        return;
    for (int y = 1; y < DL_COLUMN_ROWS; y++)
        total += part[y][threadIdx.x];
    out[i] = term.finish((float)total, s, i % c.columns);
}

template <class Term>
static dl_status dl_finish_sums(const dl_cuda *cuda, Term term, dl_columns c, const float *partial,
                                float *out) {
    unsigned blocks = (unsigned)((Term::SUMS * c.columns + DL_WARP - 1) / DL_WARP);
    return DL_LAUNCH_TEAM(dl_finish_columns<Term>, dim3(blocks), dim3(DL_WARP, DL_COLUMN_ROWS), 0,
                          cuda->stream, term, c, partial, out);
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
    return dl_finish_sums(cuda, term, c, (const float *)partial, out);
}

/* Rows of whole lines of 16 bytes: a block takes up to 256 lines of a row, and as many rows at a
 * time as fill it. */
template <class Term>
__global__ void dl_sum_lines(Term term, dl_columns c, int across, float *partial) {
    constexpr int WIDE = dl_line<Term::HALF>::WIDE, PARTS = (int)Term::SUMS * WIDE;
    __shared__ float part[DL_BLOCK][PARTS + 1];
    int line = (int)threadIdx.x % across, slot = (int)threadIdx.x / across;
    int slots = DL_BLOCK / across;
    int64_t column = ((int64_t)blockIdx.x * across + line) * WIDE;
    int64_t first = (int64_t)blockIdx.y * c.chunk;
    int64_t last = first + c.chunk < c.rows ? first + c.chunk : c.rows;
    float sum[PARTS];
    for (int p = 0; p < PARTS; p++)
        sum[p] = 0;
    if (slot < slots && column < c.columns) {
        typename Term::held held;
        term.hold(column, &held);
        for (int64_t row = first + slot; row < last; row += slots)
            term.add_line(held, row * c.columns + column, sum);
    }
    for (int p = 0; p < PARTS; p++)
        part[threadIdx.x][p] = sum[p];
    __syncthreads();
    for (int i = (int)threadIdx.x; i < across * PARTS; i += DL_BLOCK) {
        int from = i / PARTS, p = i % PARTS;
        int64_t at = ((int64_t)blockIdx.x * across + from) * WIDE + p % WIDE;
        float total = part[from][p];
        for (int y = 1; y < slots; y++)
            total = total + part[y * across + from][p];
        if (at < c.columns)
            partial[((int64_t)blockIdx.y * Term::SUMS + p / WIDE) * c.columns + at] = total;
    }
}

/* The same sums of rows that are whole lines. Term also has enum { HALF }; struct held, what a
 * thread keeps of its columns; void hold(int64_t column, held *) const; void add_line(const held &,
 * int64_t element, float sum[SUMS * WIDE]) const; but no add. */
template <class Term>
static dl_status dl_sum_whole_lines(const dl_cuda *cuda, Term term, dl_columns c, void *workspace,
                                    float *out) {
    int64_t lines = c.columns / dl_line<Term::HALF>::WIDE;
    float *partial = (float *)workspace;
    if (lines == 0)
        return DL_OK;
    int across = lines < DL_BLOCK ? (int)lines : (int)DL_BLOCK;
    DL_TRY(DL_LAUNCH_TEAM(dl_sum_lines<Term>,
                          dim3((unsigned)((lines + across - 1) / across), (unsigned)c.chunks),
                          dim3(DL_BLOCK), 0, cuda->stream, term, c, across, partial));
    return dl_finish_sums(cuda, term, c, (const float *)partial, out);
}

/* By lines where rows are whole ones; Term has what both ways need. */
template <class Term>
static dl_status dl_sum_column_lines(const dl_cuda *cuda, Term term, dl_columns c, void *workspace,
                                     float *out) {
    return c.columns % dl_line<Term::HALF>::WIDE
               ? dl_sum_columns(cuda, term, c, workspace, out)
               : dl_sum_whole_lines(cuda, term, c, workspace, out);
}

#endif
