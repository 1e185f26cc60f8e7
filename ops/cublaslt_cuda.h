/* The one place that calls cuBLASLt. Matrices are row-major here; cuBLASLt's are column-major, so
 * it computes y' = b' · a', which leaves the bias along its rows, where its epilogues want it. */
#ifndef DL_OPS_CUBLASLT_CUDA_H
#define DL_OPS_CUBLASLT_CUDA_H

#include <stdbool.h>

#include "runtime/base/type.h"
#include "runtime/device/device_cuda.h"

/* What happens to y [m, n] on its way to memory, or beside it. A mask has a bit for each element,
 * as ops.h says of matmul_relu. */
typedef enum dl_lt_epilogue {
    DL_LT_NONE,
    DL_LT_RELU,
    DL_LT_RELU_MASK,   /* writes the mask, too */
    DL_LT_MASKED,      /* 0 where the mask is */
    DL_LT_MASKED_SUMS, /* the same; sums [n]: of its rows */
    DL_LT_SUMS_OF_A,   /* sums [m]: of op(a) over k */
    DL_LT_SUMS_OF_B    /* sums [n]: of op(b) over k */
} dl_lt_epilogue;

/* y [m, n] = epilogue(op(a) · op(b) + bias), `batch` of them one after another in memory; op(a)
 * [m, k], op(b) [k, n]. a and b have one type; it adds up in float32. */
typedef struct dl_lt_product {
    int64_t m, n, k, batch;
    bool transpose_a, transpose_b, bias, tf32;
    dl_lt_epilogue epilogue;
    dl_dtype a, y; /* of a and b; of y, bias and sums */
} dl_lt_product;

typedef struct dl_lt_memory {
    const void *a, *b, *bias;
    void *y, *mask, *sums, *workspace;
} dl_lt_memory;

typedef struct dl_lt dl_lt;

/* The first of several ways to the same end that cuBLASLt has an algorithm for. Chosen among what
 * gives the same bits every time: as before (runtime/device/choices.h), else by cuBLASLt's
 * heuristics, or the fastest of a few. An imagined device has none to ask: the first way's
 * description alone is checked. *workspace: bytes that run needs. */
dl_status dl_lt_open(dl_lt **out, dl_cuda *cuda, const dl_lt_product *ways, int count, int *which,
                     size_t *workspace);
void dl_lt_close(dl_lt *lt); /* NULL is allowed */
dl_status dl_lt_run(dl_lt *lt, const dl_lt_memory *memory);

#endif
