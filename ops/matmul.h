/* Between matmul.c and its kernel: sizes, and the kernel's functions. */
#ifndef DL_OPS_MATMUL_H
#define DL_OPS_MATMUL_H

#include "ops/ops.h"

/* Of op(a) [m, k] · op(b) [k, n]. */
void dl_matmul_sizes(const dl_matmul_attributes *attributes, const dl_type *a, const dl_type *b,
                     int64_t *m, int64_t *k, int64_t *n);

dl_status dl_matmul_prepare(const dl_prepare *what, dl_prepared *out);
void dl_matmul_pack(const void *state, int input, const void *from, void *to, dl_team *team);
dl_status dl_matmul_run(const void *state, const dl_run *run);
void dl_matmul_release(void *state);

#endif
