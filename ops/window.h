/* Windows that slide over 1 or 2 spatial dimensions, shared by convolution and pooling: kernels see
 * two, the first of size 1 where the row has one. */
#ifndef DL_OPS_WINDOW_H
#define DL_OPS_WINDOW_H

#include "ops/dnnl.h"
#include "ops/ops.h"

/* Sizes of one conv or pool. groups, in_group (input channels of a group): convolution alone. */
typedef struct dl_window_sizes {
    int64_t n, in[2], channels, out[2], filters, groups, in_group;
    dl_dnnl_window window;
} dl_window_sizes;

/* Kernel, stride, ... of `spatial` dimensions from a row's attributes into window of two; dilation
 * NULL: 1. */
void dl_window_set(dl_dnnl_window *window, int spatial, const int64_t *kernel,
                   const int64_t *stride, const int64_t *dilation, const int64_t *before,
                   const int64_t *after);
/* Spatial sizes of a channels-last type, as two. */
void dl_window_space(const dl_type *type, int spatial, int64_t space[2]);
/* Strides and dilations at least 1, padding at least 0, and the window fits in: sets sizes->out.
 * `what` ("conv2d") and x are for the message. */
dl_status dl_window_out(dl_window_sizes *sizes, int spatial, const char *what, const dl_type *x);
/* A window over x with a border of zeros is one over x with padding: goes through such a border,
 * adds it to before and after, and returns what it was put around; x itself where there is none, or
 * one that a window (`reach` cells wide in each dimension) could lie in. */
dl_value dl_window_border(const dl_graph *graph, dl_value x, int spatial, const int64_t *reach,
                          int64_t *before, int64_t *after);
/* Channels last [n, spatial..., channels]. */
dl_type dl_window_type(dl_dtype dtype, int spatial, int64_t n, const int64_t space[2],
                       int64_t channels);
/* The same for oneDNN, which names dimensions in the order n, channels, height, width. */
dl_dnnl_tensor dl_window_tensor(dl_dtype dtype, int64_t n, const int64_t space[2],
                                int64_t channels);

#endif
