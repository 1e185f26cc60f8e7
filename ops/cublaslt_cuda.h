/* The one place that calls cuBLASLt. Matrices are row-major here; cuBLASLt's are column-major, so
 * it computes y' = b' · a', which leaves the bias along its rows, where its epilogues want it. */
#ifndef DL_OPS_CUBLASLT_CUDA_H
#define DL_OPS_CUBLASLT_CUDA_H

#include <stdbool.h>

#include "runtime/base/type.h"
#include "runtime/device/device_cuda.h"

/* y [m, n] = epilogue(op(a) · op(b) + bias), `batch` of them one after another in memory; op(a)
 * [m, k], op(b) [k, n]. a and b have one type; sums are float32. */
typedef struct dl_lt_product {
    int64_t m, n, k, batch;
    bool transpose_a, transpose_b, bias, relu, tf32;
    dl_dtype a, y; /* of a and b; of y. The bias has y's type */
} dl_lt_product;

typedef struct dl_lt dl_lt;

/* Chosen among what gives the same bits every time: as before (runtime/device/choices.h), else by
 * cuBLASLt's heuristics, or the fastest of a few. An imagined device has none to ask: the
 * description alone is checked. *workspace: bytes that run needs. */
dl_status dl_lt_open(dl_lt **out, dl_cuda *cuda, const dl_lt_product *product, size_t *workspace);
void dl_lt_close(dl_lt *lt); /* NULL is allowed */
dl_status dl_lt_run(dl_lt *lt, const void *a, const void *b, const void *bias, void *y,
                    void *workspace);

#endif
