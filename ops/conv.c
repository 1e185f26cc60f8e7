/* Convolution and its two gradients: three rows, each linear in its two tensors, so that the
 * gradients of each are the other two. Kernels: conv_cpu.c. */
#include "ops/conv.h"

#include <string.h>

#include "ops/epilogue.h"

static const char *word(int spatial) {
    return spatial == 2 ? "conv2d" : "conv1d";
}

dl_status dl_conv_sizes(const dl_conv_attributes *attributes, const dl_type *x, const dl_type *w,
                        dl_window_sizes *sizes) {
    int spatial = attributes->spatial, last = spatial + 1;
    char shape[DL_SHAPE_TEXT], kernel[DL_SHAPE_TEXT];
    const char *what = word(spatial);
    if (spatial != 1 && spatial != 2)
        return dl_fail(DL_INTERNAL, "a convolution over %d dimensions", spatial);
    if (!dl_is_float(x->dtype) || !dl_is_float(w->dtype))
        return dl_fail(DL_BAD_JOB, "%s takes float32, not %s", what,
                       dl_dtype_text(dl_is_float(x->dtype) ? w->dtype : x->dtype));
    if (x->rank != spatial + 2)
        return dl_fail(DL_BAD_JOB, "%s takes an input of shape %s, but it gets %s", what,
                       spatial == 2 ? "(None, height, width, channels)" : "(None, steps, channels)",
                       dl_shape_text(x, true, shape));
    if (w->rank != spatial + 2)
        return dl_fail(DL_INTERNAL, "%s with weights of shape %s", what,
                       dl_shape_text(w, false, kernel));
    sizes->n = x->dim[0];
    sizes->channels = x->dim[last];
    sizes->filters = w->dim[0];
    sizes->in_group = w->dim[last];
    sizes->groups = attributes->groups;
    if (sizes->groups < 1 || sizes->channels % sizes->groups || sizes->filters % sizes->groups)
        return dl_fail(
            DL_BAD_JOB,
            "%s: groups: %lld divides neither %lld channels into %lld filters; both must be "
            "multiples of it",
            what, (long long)sizes->groups, (long long)sizes->channels, (long long)sizes->filters);
    if (sizes->channels != sizes->in_group * sizes->groups)
        return dl_fail(DL_BAD_JOB, "%s has weights for %lld channels, but its input %s has %lld",
                       what, (long long)(sizes->in_group * sizes->groups),
                       dl_shape_text(x, true, shape), (long long)sizes->channels);
    dl_window_space(x, spatial, sizes->in);
    dl_window_set(&sizes->window, spatial, &w->dim[1], attributes->stride, attributes->dilation,
                  attributes->before, attributes->after);
    return dl_window_out(sizes, spatial, what, x);
}

static dl_status infer_conv(const dl_infer *infer) {
    const dl_conv_attributes *attributes = infer->attributes;
    dl_window_sizes sizes;
    DL_TRY(dl_conv_sizes(attributes, infer->input[0], infer->input[1], &sizes));
    if (infer->inputs == 3 &&
        (infer->input[2]->rank != 1 || infer->input[2]->dim[0] != sizes.filters))
        return dl_fail(DL_INTERNAL, "the bias does not fit %lld filters", (long long)sizes.filters);
    infer->output[0] = dl_window_type(infer->input[0]->dtype, attributes->spatial, sizes.n,
                                      sizes.out, sizes.filters);
    return DL_OK;
}

/* The gradients' operands fit what the forward convolution would make of x and w. */
static dl_status check_gradient(const dl_conv_attributes *attributes, const dl_type *x,
                                const dl_type *w, const dl_type *dy) {
    dl_window_sizes sizes;
    char have[DL_SHAPE_TEXT], want[DL_SHAPE_TEXT];
    DL_TRY(dl_conv_sizes(attributes, x, w, &sizes));
    if (attributes->epilogue != DL_EPILOGUE_NONE)
        return dl_fail(DL_INTERNAL, "the gradient of a convolution has no epilogue");
    dl_type y = dl_window_type(dy->dtype, attributes->spatial, sizes.n, sizes.out, sizes.filters);
    if (!dl_same_type(&y, dy))
        return dl_fail(DL_BAD_JOB, "the gradient of a %s has shape %s where its output has %s",
                       word(attributes->spatial), dl_shape_text(dy, true, have),
                       dl_shape_text(&y, true, want));
    return DL_OK;
}

static dl_status infer_input(const dl_infer *infer) {
    const dl_conv_input_attributes *attributes = infer->attributes;
    DL_TRY(check_gradient(&attributes->conv, &attributes->x, infer->input[1], infer->input[0]));
    infer->output[0] = attributes->x;
    infer->output[0].dtype = infer->input[0]->dtype;
    return DL_OK;
}

static dl_status infer_weight(const dl_infer *infer) {
    const dl_conv_weight_attributes *attributes = infer->attributes;
    DL_TRY(check_gradient(&attributes->conv, infer->input[0], &attributes->w, infer->input[1]));
    infer->output[0] = attributes->w;
    infer->output[0].dtype = DL_F32; /* a sum over samples */
    return DL_OK;
}

static dl_value input_gradient(dl_graph *graph, dl_value dy, dl_value w,
                               const dl_conv_attributes *conv, dl_type x) {
    dl_conv_input_attributes attributes = {.conv = *conv, .x = x};
    attributes.conv.epilogue = DL_EPILOGUE_NONE;
    return dl_conv_input_gradient(graph, dy, w, &attributes);
}

/* Where a filter sees one cell, the gradient is one product over all cells; oneDNN 2.6's own kernel
 * for it takes 1.7 to 4.1 times as long in bfloat16. */
static bool is_product(const dl_conv_attributes *conv, const dl_type *x, const dl_type *w) {
    bool one = x->dtype == DL_BF16 && conv->groups == 1;
    for (int i = 0; i < conv->spatial; i++)
        one = one && w->dim[1 + i] == 1 && conv->stride[i] == 1 && conv->before[i] == 0 &&
              conv->after[i] == 0;
    return one;
}

static dl_value weight_product(dl_graph *graph, dl_value x, dl_value dy, const dl_type *w) {
    dl_type from = *dl_type_of(graph, x);
    int64_t channels = from.dim[from.rank - 1], cells = dl_type_count(&from) / channels;
    dl_matmul_attributes product = {.transpose_a = true};
    x = dl_reshape(graph, x, DL_TYPE(DL_BF16, cells, channels));
    dy = dl_reshape(graph, dy, DL_TYPE(DL_BF16, cells, w->dim[0]));
    return dl_reshape(graph, dl_matmul(graph, dy, x, -1, &product), *w);
}

static dl_value weight_gradient(dl_graph *graph, dl_value x, dl_value dy,
                                const dl_conv_attributes *conv, dl_type w) {
    if (x >= 0 && dy >= 0 && graph->status == DL_OK && is_product(conv, dl_type_of(graph, x), &w))
        return weight_product(graph, x, dy, &w);
    dl_conv_weight_attributes attributes = {.conv = *conv, .w = w};
    attributes.conv.epilogue = DL_EPILOGUE_NONE;
    return dl_conv_weight_gradient(graph, x, dy, &attributes);
}

static void grad_conv(dl_grad *grad) {
    const dl_conv_attributes *conv = grad->attributes;
    dl_graph *graph = grad->graph;
    dl_value x = grad->input[0], w = grad->input[1];
    dl_value dy = dl_epilogue_gradient(graph, conv->epilogue, grad->output, grad->dy[0]);
    if (grad->need[0])
        grad->dx[0] = input_gradient(graph, dy, w, conv, *dl_type_of(graph, x));
    if (grad->need[1])
        grad->dx[1] = weight_gradient(graph, x, dy, conv, *dl_type_of(graph, w));
    if (grad->inputs == 3 && grad->need[2])
        grad->dx[2] = dl_bias_gradient(graph, dy, grad->input[2]);
}

/* dx = C'(dy, w): inputs dy and w, the arriving gradient stands where x stood. */
static void grad_input(dl_grad *grad) {
    const dl_conv_input_attributes *attributes = grad->attributes;
    dl_graph *graph = grad->graph;
    dl_value dy = grad->input[0], w = grad->input[1], x = grad->dy[0];
    if (grad->need[0])
        grad->dx[0] = dl_conv(graph, x, w, -1, &attributes->conv);
    if (grad->need[1])
        grad->dx[1] = weight_gradient(graph, x, dy, &attributes->conv, *dl_type_of(graph, w));
}

/* dw = C''(x, dy): the arriving gradient stands where w stood. */
static void grad_weight(dl_grad *grad) {
    const dl_conv_weight_attributes *attributes = grad->attributes;
    dl_graph *graph = grad->graph;
    dl_value x = grad->input[0], dy = grad->input[1], w = grad->dy[0];
    if (grad->need[0])
        grad->dx[0] = input_gradient(graph, dy, w, &attributes->conv, *dl_type_of(graph, x));
    if (grad->need[1])
        grad->dx[1] = dl_conv(graph, x, w, -1, &attributes->conv);
}

/* The three cost alike: a product and a sum for each output cell, its filter's cells and the input
 * channels of a group; cells over padding count, as they do for everybody. */
static double flop_of(const dl_type *y, const dl_type *w) {
    return 2 * (double)dl_type_count(y) * (double)(dl_type_count(w) / w->dim[0]);
}

static double flop_conv(const dl_prepare *what) {
    return flop_of(what->output[0], what->input[1]);
}

static double flop_input(const dl_prepare *what) {
    return flop_of(what->input[0], what->input[1]);
}

static double flop_weight(const dl_prepare *what) {
    return flop_of(what->input[1], what->output[0]);
}

const dl_op dl_op_conv = {.name = "conv",
                          .min_inputs = 2,
                          .max_inputs = 3,
                          .outputs = 1,
                          .attribute_bytes = sizeof(dl_conv_attributes),
                          .infer = infer_conv,
                          .grad = grad_conv,
                          .half = 3,
                          .packs_half = 2,
                          .seeks_half = true,
                          .deterministic = true,
                          .flop = flop_conv,
                          .cpu = {.prepare = dl_conv_prepare,
                                  .pack = dl_conv_pack,
                                  .run = dl_conv_run,
                                  .release = dl_conv_release}};

const dl_op dl_op_conv_input_gradient = {.name = "conv_input_gradient",
                                         .min_inputs = 2,
                                         .max_inputs = 2,
                                         .outputs = 1,
                                         .attribute_bytes = sizeof(dl_conv_input_attributes),
                                         .infer = infer_input,
                                         .grad = grad_input,
                                         .half = 3,
                                         .packs_half = 2,
                                         .deterministic = true,
                                         .flop = flop_input,
                                         .cpu = {.prepare = dl_conv_input_prepare,
                                                 .pack = dl_conv_input_pack,
                                                 .run = dl_conv_input_run,
                                                 .release = dl_conv_input_release}};

const dl_op dl_op_conv_weight_gradient = {.name = "conv_weight_gradient",
                                          .min_inputs = 2,
                                          .max_inputs = 2,
                                          .outputs = 1,
                                          .attribute_bytes = sizeof(dl_conv_weight_attributes),
                                          .infer = infer_weight,
                                          .grad = grad_weight,
                                          .half = 3,
                                          .deterministic = true,
                                          .flop = flop_weight,
                                          .cpu = {.prepare = dl_conv_weight_prepare,
                                                  .run = dl_conv_weight_run,
                                                  .release = dl_conv_weight_release}};

/* Equal nodes are found by comparing bytes: gaps zero, what one dimension does not use at its
 * neutral value. */
static void clean_conv(const dl_conv_attributes *from, dl_conv_attributes *to) {
    memset(to, 0, sizeof *to);
    to->spatial = from->spatial;
    to->groups = from->groups;
    to->epilogue = from->epilogue;
    for (int i = 0; i < 2; i++) {
        bool used = i < from->spatial;
        to->stride[i] = used ? from->stride[i] : 1;
        to->dilation[i] = used ? from->dilation[i] : 1;
        to->before[i] = used ? from->before[i] : 0;
        to->after[i] = used ? from->after[i] : 0;
    }
}

static dl_type clean_type(const dl_type *type) {
    return dl_type_make(type->dtype, type->rank, type->dim);
}

dl_value dl_conv(dl_graph *graph, dl_value x, dl_value w, dl_value bias,
                 const dl_conv_attributes *attributes) {
    if (x < 0 || w < 0)
        return -1;
    dl_conv_attributes clean;
    clean_conv(attributes, &clean);
    const dl_type *kernel = dl_type_of(graph, w);
    int64_t reach[2];
    for (int i = 0; i < clean.spatial && i < 2; i++)
        reach[i] = (kernel->dim[i + 1] - 1) * clean.dilation[i] + 1;
    x = dl_window_border(graph, x, clean.spatial, reach, clean.before, clean.after);
    const dl_value inputs[] = {x, w, bias};
    return dl_graph_add(graph, &dl_op_conv, &clean, inputs, bias < 0 ? 2 : 3);
}

dl_value dl_conv_input_gradient(dl_graph *graph, dl_value dy, dl_value w,
                                const dl_conv_input_attributes *attributes) {
    if (dy < 0 || w < 0)
        return -1;
    dl_conv_input_attributes clean;
    memset(&clean, 0, sizeof clean);
    clean_conv(&attributes->conv, &clean.conv);
    clean.x = clean_type(&attributes->x);
    const dl_value inputs[] = {dy, w};
    return dl_graph_add(graph, &dl_op_conv_input_gradient, &clean, inputs, 2);
}

dl_value dl_conv_weight_gradient(dl_graph *graph, dl_value x, dl_value dy,
                                 const dl_conv_weight_attributes *attributes) {
    if (x < 0 || dy < 0)
        return -1;
    dl_conv_weight_attributes clean;
    memset(&clean, 0, sizeof clean);
    clean_conv(&attributes->conv, &clean.conv);
    clean.w = clean_type(&attributes->w);
    const dl_value inputs[] = {x, dy};
    return dl_graph_add(graph, &dl_op_conv_weight_gradient, &clean, inputs, 2);
}
