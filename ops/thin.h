/* Products of large float32 weights with few samples, as dense layers of a small batch make them.
 * What they take is the time to read the weights, or to write their gradient, once; so they read
 * the canonical layout as it lies (no packing, no rounding to bfloat16) and write past the caches.
 * Our own kernels, with AVX-512; sums run in one order, whatever the number of threads. User:
 * matmul_cpu.c. */
#ifndef DL_OPS_THIN_H
#define DL_OPS_THIN_H

#include "ops/matmul.h"

typedef enum dl_thin_form {
    DL_THIN_NONE,
    DL_THIN_PLAIN,  /* y [m, n] = a [m, k] · b [k, n], few m */
    DL_THIN_TURNED, /* b lies as [n, k] */
    DL_THIN_OUTER   /* a lies as [k, m], few k */
} dl_thin_form;

typedef struct dl_thin {
    dl_thin_form form;
    int64_t m, k, n;
    int samples; /* the few ones, rounded up to a size that there is a kernel for */
    bool half_a, half_b, half_y, bias, relu;
} dl_thin;

/* Whether the product is such a one (decided by types and the agreed instructions alone). */
bool dl_thin_fits(const dl_prepare *what, dl_thin *out);
size_t dl_thin_workspace(const dl_thin *thin);
void dl_thin_run(const dl_thin *thin, const dl_run *run);

#endif
