/* Between conv_norm.c and its CUDA kernels. */
#ifndef DL_OPS_CONV_NORM_H
#define DL_OPS_CONV_NORM_H

#include "ops/links.h"
#include "ops/ops.h"

/* A row as links of others, and what those read that is not in the row. */
typedef struct dl_conv_norm_links {
    dl_link link[DL_MOST_LINKS];
    int count;
    dl_batch_norm_attributes norm;
    union {
        dl_conv_input_attributes input;
        dl_conv_weight_attributes weight;
    } conv;
} dl_conv_norm_links;
void dl_conv_statistics_links(const dl_prepare *what, dl_conv_norm_links *out);
void dl_conv_norm_weight_links(const dl_prepare *what, dl_conv_norm_links *out);
/* Of the row but for its last step: the gradient still stands where the relu passed nothing. */
void dl_conv_norm_input_links(const dl_prepare *what, dl_conv_norm_links *out);

#endif
