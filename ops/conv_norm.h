/* Between conv_norm.c and its CUDA kernels. */
#ifndef DL_OPS_CONV_NORM_H
#define DL_OPS_CONV_NORM_H

#include "ops/links.h"
#include "ops/ops.h"
#include "ops/window.h"

/* conv_norm_fuse.c: whether cuDNN has a tuned kernel for the row that stands for this convolution
 * of x, normalised or to be, or this gradient of it (conv_norm_cuda.c). */
bool dl_conv_norm_has_engine(const struct dl_device *device, dl_dnnl_direction direction,
                             const dl_conv_attributes *conv, const dl_type *x, const dl_type *w);

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
