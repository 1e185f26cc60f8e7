/* Between conv_norm.c and its CUDA kernels. */
#ifndef DL_OPS_CONV_NORM_H
#define DL_OPS_CONV_NORM_H

#include "ops/chain.h"
#include "ops/ops.h"

/* The rows as chains of others: which links, and what those read that is not in the row. */
typedef struct dl_conv_norm_chain {
    dl_link link[DL_CHAIN_LINKS];
    int links;
    dl_batch_norm_attributes norm;
} dl_conv_norm_chain;
void dl_conv_statistics_chain(const dl_prepare *what, dl_conv_norm_chain *out);

#endif
