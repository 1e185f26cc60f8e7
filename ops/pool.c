/* Maximum and average pooling and their gradients: rows max_pool, average_pool, max_pool_gradient,
 * average_pool_gradient. The maximum has a second output that says which cell of its window it was:
 * uint8 for windows of up to 255 cells, else int32. Kernels: pool_max_cpu.c (own),
 * pool_average_cpu.c (oneDNN). */
#include "ops/pool.h"

#include <string.h>

dl_status dl_pool_sizes(const dl_pool_attributes *attributes, const dl_type *x,
                        dl_window_sizes *sizes) {
    int spatial = attributes->spatial;
    char shape[DL_SHAPE_TEXT];
    if (spatial != 1 && spatial != 2)
        return dl_fail(DL_INTERNAL, "a pooling over %d dimensions", spatial);
    const char *what = attributes->average
                           ? spatial == 2 ? "average_pooling2d" : "average_pooling1d"
                       : spatial == 2 ? "max_pooling2d"
                                      : "max_pooling1d";
    if (!dl_is_float(x->dtype))
        return dl_fail(DL_BAD_JOB, "%s takes float32, not %s", what, dl_dtype_text(x->dtype));
    if (x->rank != spatial + 2)
        return dl_fail(DL_BAD_JOB, "%s takes an input of shape %s, but it gets %s", what,
                       spatial == 2 ? "(None, height, width, channels)" : "(None, steps, channels)",
                       dl_shape_text(x, true, shape));
    memset(sizes, 0, sizeof *sizes);
    sizes->n = x->dim[0];
    sizes->channels = sizes->filters = x->dim[spatial + 1];
    dl_window_space(x, spatial, sizes->in);
    dl_window_set(&sizes->window, spatial, attributes->kernel, attributes->stride, NULL,
                  attributes->before, attributes->after);
    DL_TRY(dl_window_out(sizes, spatial, what, x));
    for (int i = 0; i < 2; i++)
        if (sizes->window.before[i] >= sizes->window.kernel[i] ||
            sizes->window.after[i] >= sizes->window.kernel[i])
            return dl_fail(DL_BAD_JOB, "%s: a window would hold nothing but padding", what);
    return DL_OK;
}

static dl_type index_type(const dl_window_sizes *sizes, const dl_type *y) {
    dl_type type = *y;
    type.dtype = sizes->window.kernel[0] * sizes->window.kernel[1] < 256 ? DL_U8 : DL_I32;
    return type;
}

static dl_status infer_pool(const dl_infer *infer, bool average) {
    const dl_pool_attributes *attributes = infer->attributes;
    dl_window_sizes sizes;
    DL_TRY(dl_pool_sizes(attributes, infer->input[0], &sizes));
    infer->output[0] = dl_window_type(infer->input[0]->dtype, attributes->spatial, sizes.n,
                                      sizes.out, sizes.channels);
    if (!average)
        infer->output[1] = index_type(&sizes, &infer->output[0]);
    return DL_OK;
}

static dl_status infer_max(const dl_infer *infer) {
    return infer_pool(infer, false);
}

static dl_status infer_average(const dl_infer *infer) {
    return infer_pool(infer, true);
}

static dl_status infer_gradient(const dl_infer *infer) {
    const dl_pool_gradient_attributes *attributes = infer->attributes;
    char have[DL_SHAPE_TEXT], want[DL_SHAPE_TEXT];
    dl_window_sizes sizes;
    DL_TRY(dl_pool_sizes(&attributes->pool, &attributes->x, &sizes));
    dl_type y = dl_window_type(infer->input[0]->dtype, attributes->pool.spatial, sizes.n, sizes.out,
                               sizes.channels);
    dl_type index = index_type(&sizes, &y);
    if (!dl_same_type(&y, infer->input[0]) ||
        (infer->inputs == 2 && !dl_same_type(&index, infer->input[1])))
        return dl_fail(DL_INTERNAL,
                       "the gradient of a pooling has shape %s where its output has %s",
                       dl_shape_text(infer->input[0], true, have), dl_shape_text(&y, true, want));
    infer->output[0] = attributes->x;
    infer->output[0].dtype = infer->input[0]->dtype;
    return DL_OK;
}

static dl_value gradient(dl_grad *grad, const dl_op *op, dl_value dy, dl_value index, dl_type x) {
    dl_pool_gradient_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(&attributes.pool, grad->attributes, sizeof attributes.pool);
    attributes.x = x;
    const dl_value inputs[] = {dy, index};
    return dl_graph_add(grad->graph, op, &attributes, inputs, index < 0 ? 1 : 2);
}

static void grad_max(dl_grad *grad) {
    if (grad->need[0] && grad->dy[0] >= 0)
        grad->dx[0] = gradient(grad, &dl_op_max_pool_gradient, grad->dy[0], grad->output + 1,
                               *dl_type_of(grad->graph, grad->input[0]));
}

static void grad_average(dl_grad *grad) {
    if (grad->need[0])
        grad->dx[0] = gradient(grad, &dl_op_average_pool_gradient, grad->dy[0], -1,
                               *dl_type_of(grad->graph, grad->input[0]));
}

/* Averaging is linear: the gradient of its gradient is itself. */
static void grad_average_gradient(dl_grad *grad) {
    const dl_pool_gradient_attributes *attributes = grad->attributes;
    if (grad->need[0])
        grad->dx[0] = dl_pool(grad->graph, grad->dy[0], &attributes->pool);
}

const dl_op dl_op_max_pool = {.name = "max_pool",
                              .min_inputs = 1,
                              .max_inputs = 1,
                              .outputs = 2,
                              .attribute_bytes = sizeof(dl_pool_attributes),
                              .infer = infer_max,
                              .half = 1,
                              .grad = grad_max,
                              .deterministic = true,
                              .cpu = {.prepare = dl_max_pool_prepare, .run = dl_max_pool_run}};

const dl_op dl_op_average_pool = {.name = "average_pool",
                                  .min_inputs = 1,
                                  .max_inputs = 1,
                                  .outputs = 1,
                                  .attribute_bytes = sizeof(dl_pool_attributes),
                                  .infer = infer_average,
                                  .half = 1,
                                  .grad = grad_average,
                                  .deterministic = true,
                                  .cpu = {.prepare = dl_average_pool_prepare,
                                          .run = dl_average_pool_run,
                                          .release = dl_average_pool_release}};

const dl_op dl_op_max_pool_gradient = {
    .name = "max_pool_gradient",
    .min_inputs = 2,
    .max_inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(dl_pool_gradient_attributes),
    .infer = infer_gradient,
    .half = 1,
    .deterministic = true,
    .cpu = {.prepare = dl_max_pool_gradient_prepare, .run = dl_max_pool_gradient_run}};

const dl_op dl_op_average_pool_gradient = {.name = "average_pool_gradient",
                                           .min_inputs = 1,
                                           .max_inputs = 1,
                                           .outputs = 1,
                                           .attribute_bytes = sizeof(dl_pool_gradient_attributes),
                                           .infer = infer_gradient,
                                           .half = 1,
                                           .grad = grad_average_gradient,
                                           .deterministic = true,
                                           .cpu = {.prepare = dl_average_pool_gradient_prepare,
                                                   .run = dl_average_pool_run,
                                                   .release = dl_average_pool_release}};

/* Whether the value is the output of a relu: zeros around it then make no maximum another. Where
 * one of them was the first of several zeros, its gradient now goes to a cell that the relu had
 * made 0, which passes nothing on. */
static bool never_negative(const dl_graph *graph, dl_value x) {
    const dl_graph_node *node = dl_producer(graph, x);
    if (!node)
        return false;
    if (node->op == &dl_op_batch_norm || node->op == &dl_op_batch_norm_add)
        return ((const dl_batch_norm_attributes *)node->attributes)->epilogue == DL_EPILOGUE_RELU;
    if (node->op == &dl_op_conv)
        return ((const dl_conv_attributes *)node->attributes)->epilogue == DL_EPILOGUE_RELU;
    return false;
}

dl_value dl_pool(dl_graph *graph, dl_value x, const dl_pool_attributes *attributes) {
    if (x < 0)
        return -1;
    dl_pool_attributes clean;
    memset(&clean, 0, sizeof clean); /* equal nodes are found by comparing bytes */
    clean.spatial = attributes->spatial;
    clean.average = attributes->average;
    for (int i = 0; i < 2; i++) {
        bool used = i < attributes->spatial;
        clean.kernel[i] = used ? attributes->kernel[i] : 1;
        clean.stride[i] = used ? attributes->stride[i] : 1;
        clean.before[i] = used ? attributes->before[i] : 0;
        clean.after[i] = used ? attributes->after[i] : 0;
    }
    int64_t before[2] = {clean.before[0], clean.before[1]};
    int64_t after[2] = {clean.after[0], clean.after[1]};
    dl_value inside = dl_window_border(graph, x, clean.spatial, clean.kernel, before, after);
    if (!clean.average && inside != x && never_negative(graph, inside)) {
        memcpy(clean.before, before, sizeof before);
        memcpy(clean.after, after, sizeof after);
        x = inside;
    }
    return dl_graph_add(graph, clean.average ? &dl_op_average_pool : &dl_op_max_pool, &clean, &x,
                        1);
}
