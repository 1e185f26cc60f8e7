/* Between pool.c and its kernels. */
#ifndef DL_OPS_POOL_H
#define DL_OPS_POOL_H

#include "ops/window.h"

typedef struct dl_pool_gradient_attributes {
    dl_pool_attributes pool;
    dl_type x; /* of the pooled input, and so of the result */
} dl_pool_gradient_attributes;

/* norm_pool.c: of max_pool(relu(batch_norm(x))), and back. */
typedef struct dl_norm_pool_attributes {
    dl_batch_norm_attributes norm;
    dl_pool_gradient_attributes pool; /* its x: for the way back alone */
} dl_norm_pool_attributes;

dl_status dl_pool_sizes(const dl_pool_attributes *attributes, const dl_type *x,
                        dl_window_sizes *sizes);

/* pool_max_cpu.c */
dl_status dl_max_pool_prepare(const dl_prepare *what, dl_prepared *out);
dl_status dl_max_pool_gradient_prepare(const dl_prepare *what, dl_prepared *out);
dl_status dl_max_pool_run(const void *state, const dl_run *run);
dl_status dl_max_pool_gradient_run(const void *state, const dl_run *run);

/* pool_average_cpu.c */
dl_status dl_average_pool_prepare(const dl_prepare *what, dl_prepared *out);
dl_status dl_average_pool_gradient_prepare(const dl_prepare *what, dl_prepared *out);
dl_status dl_average_pool_run(const void *state, const dl_run *run);
void dl_average_pool_release(void *state);

#endif
