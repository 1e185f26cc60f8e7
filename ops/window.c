/* Windows: sizes, padding as Keras counts it, and what does not fit. */
#include "ops/window.h"

#include <stdio.h>

int64_t dl_conv_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t before,
                     int64_t after) {
    int64_t reach = (kernel - 1) * dilation + 1, room = size + before + after - reach;
    return room < 0 ? 0 : room / stride + 1;
}

/* TensorFlow: ceil(size / stride) outputs, the odd cell of padding after. */
void dl_same_padding(int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                     int64_t *before, int64_t *after) {
    int64_t out = (size + stride - 1) / stride;
    int64_t total = (out - 1) * stride + (kernel - 1) * dilation + 1 - size;
    if (total < 0)
        total = 0;
    *before = total / 2;
    *after = total - total / 2;
}

void dl_window_set(dl_dnnl_window *window, int spatial, const int64_t *kernel,
                   const int64_t *stride, const int64_t *dilation, const int64_t *before,
                   const int64_t *after) {
    for (int i = 0; i < 2; i++) {
        int from = i - (2 - spatial); /* -1: the dimension that is not there */
        window->kernel[i] = from < 0 ? 1 : kernel[from];
        window->stride[i] = from < 0 ? 1 : stride[from];
        window->dilation[i] = from < 0 || !dilation ? 1 : dilation[from];
        window->before[i] = from < 0 ? 0 : before[from];
        window->after[i] = from < 0 ? 0 : after[from];
    }
}

void dl_window_space(const dl_type *type, int spatial, int64_t space[2]) {
    space[0] = spatial == 2 ? type->dim[1] : 1;
    space[1] = type->dim[spatial];
}

/* "3 x 3", of one dimension "3". */
static const char *size_text(int spatial, const int64_t *size, char text[64]) {
    if (spatial == 2)
        snprintf(text, 64, "%lld x %lld", (long long)size[0], (long long)size[1]);
    else
        snprintf(text, 64, "%lld", (long long)size[1]);
    return text;
}

dl_status dl_window_out(dl_window_sizes *sizes, int spatial, const char *what, const dl_type *x) {
    const dl_dnnl_window *window = &sizes->window;
    char shape[DL_SHAPE_TEXT], kernel[64];
    for (int i = 0; i < 2; i++) {
        if (window->kernel[i] < 1 || window->stride[i] < 1 || window->dilation[i] < 1)
            return dl_fail(DL_BAD_JOB, "%s: sizes, strides and dilations are at least 1", what);
        if (window->before[i] < 0 || window->after[i] < 0)
            return dl_fail(DL_BAD_JOB, "%s: padding is at least 0", what);
        sizes->out[i] = dl_conv_size(sizes->in[i], window->kernel[i], window->stride[i],
                                     window->dilation[i], window->before[i], window->after[i]);
        if (sizes->out[i] < 1)
            return dl_fail(DL_BAD_JOB,
                           "%s: a window of %s%s does not fit into an input of shape %s; take a "
                           "smaller one, padding: same, or less pooling before it",
                           what, size_text(spatial, window->kernel, kernel),
                           window->dilation[0] > 1 || window->dilation[1] > 1 ? ", dilated," : "",
                           dl_shape_text(x, true, shape));
    }
    return DL_OK;
}

dl_type dl_window_type(dl_dtype dtype, int spatial, int64_t n, const int64_t space[2],
                       int64_t channels) {
    return spatial == 2 ? DL_TYPE(dtype, n, space[0], space[1], channels)
                        : DL_TYPE(dtype, n, space[1], channels);
}

dl_dnnl_tensor dl_window_tensor(dl_dtype dtype, int64_t n, const int64_t space[2],
                                int64_t channels) {
    int64_t h = space[0], w = space[1], c = channels;
    return (dl_dnnl_tensor){
        .rank = 4, .dim = {n, c, h, w}, .stride = {h * w * c, 1, w * c, c}, .dtype = dtype};
}

dl_value dl_window_border(const dl_graph *graph, dl_value x, int spatial, const int64_t *reach,
                          int64_t *before, int64_t *after) {
    const dl_graph_node *node = dl_producer(graph, x);
    if (!node || node->op != &dl_op_pad || spatial > 2 || dl_type_of(graph, x)->rank != spatial + 2)
        return x;
    const dl_pad_attributes *pad = node->attributes;
    bool fits = pad->value == 0.0f && pad->before[0] + pad->after[0] == 0 &&
                pad->before[spatial + 1] + pad->after[spatial + 1] == 0;
    for (int i = 0; i < spatial && fits; i++)
        fits = before[i] + pad->before[i + 1] < reach[i] && after[i] + pad->after[i + 1] < reach[i];
    if (!fits)
        return x;
    for (int i = 0; i < spatial; i++) {
        before[i] += pad->before[i + 1];
        after[i] += pad->after[i + 1];
    }
    return node->input[0];
}
