/* Between residual.c and its CUDA kernels: the normalisations of a row's inputs. */
#ifndef DL_OPS_RESIDUAL_H
#define DL_OPS_RESIDUAL_H

#include "ops/ops.h"

typedef struct dl_residual_norm {
    const float *mean, *variance, *gamma, *beta; /* gamma, beta may be NULL */
    float epsilon;
} dl_residual_norm;

/* Of x and, where it is normalised, of the shortcut. */
static inline void dl_residual_norms(const dl_residual_attributes *a, const void *const *in,
                                     dl_residual_norm norm[2]) {
    const float *const *vector = (const float *const *)in + 2;
    for (int i = 0; i < 1 + a->normalised; i++) {
        norm[i].mean = *vector++;
        norm[i].variance = *vector++;
        norm[i].gamma = a->norm[i].has_gamma ? *vector++ : NULL;
        norm[i].beta = a->norm[i].has_beta ? *vector++ : NULL;
        norm[i].epsilon = a->norm[i].epsilon;
    }
}

/* The same of residual_sums, which need less. */
static inline void dl_residual_sums_norms(const dl_residual_sums_attributes *a,
                                          const void *const *in, dl_residual_norm norm[2]) {
    for (int i = 0; i < 1 + a->normalised; i++) {
        const float *const *vector = (const float *const *)in + (i ? 7 : 4);
        norm[i].mean = vector[0];
        norm[i].variance = vector[1];
        norm[i].gamma = norm[i].beta = NULL;
        norm[i].epsilon = a->epsilon[i];
    }
}

#endif
