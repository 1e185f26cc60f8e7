/* conv1d, conv2d, conv2d_transpose, depthwise_conv2d, separable_conv2d. Canonical kernels are
 * [filters, kernel..., channels], Keras's are (kernel..., channels, filters). See layer.h; keys in
 * layers.c. */
#include "models/layer.h"
#include "ops/ops.h"

/* Kernel, strides and dilation; false after an error. */
static bool read_numbers(dl_layer_build *build, int spatial, int64_t *kernel,
                         dl_conv_attributes *attributes) {
    attributes->spatial = spatial;
    attributes->groups = 1;
    if (!dl_ints(build->node, "kernel_size", spatial, kernel) ||
        !dl_ints(build->node, "strides", spatial, attributes->stride) ||
        !dl_ints(build->node, "dilation_rate", spatial, attributes->dilation)) {
        dl_layer_fail(build, "kernel_size, strides and dilation_rate of %s are one number or %d",
                      build->node->word->name, spatial);
        return false;
    }
    return true;
}

/* The padding too. */
static bool read_window(dl_layer_build *build, int spatial, int64_t *kernel,
                        dl_conv_attributes *attributes) {
    dl_type x = dl_layer_type(build, 0);
    if (!read_numbers(build, spatial, kernel, attributes))
        return false;
    for (int i = 0; i < spatial; i++) {
        int64_t reach = attributes->dilation[i] * (kernel[i] - 1), size = x.dim[i + 1];
        if (dl_is(build->node, "padding", "same"))
            dl_same_padding(size, kernel[i], attributes->stride[i], attributes->dilation[i],
                            &attributes->before[i], &attributes->after[i]);
        else if (dl_is(build->node, "padding", "causal"))
            attributes->before[i] = reach;
        else if (size < reach + 1) {
            char text[DL_SHAPE_TEXT];
            dl_layer_fail(build,
                          "'%s' gives %s, too small for a kernel of %lld; use padding: same or a "
                          "smaller kernel",
                          build->input_name[0], dl_shape_text(&x, true, text),
                          (long long)(reach + 1));
            return false;
        }
    }
    return true;
}

static bool relu_of(const dl_layer_build *build) {
    return dl_activation_is(dl_get(build->node, "activation"), "relu");
}

static dl_value convolve(dl_layer_build *build, int spatial) {
    static const int order1[] = {1, 2, 0}, order2[] = {1, 2, 3, 0};
    dl_conv_attributes attributes = {0};
    int64_t kernel[2];
    if (!dl_layer_rank(build, spatial + 2, spatial + 2) ||
        !read_window(build, spatial, kernel, &attributes))
        return -1;
    int64_t channels = dl_layer_type(build, 0).dim[spatial + 1];
    int64_t filters = dl_int(build->node, "filters");
    attributes.groups = dl_int(build->node, "groups");
    if (channels % attributes.groups || filters % attributes.groups)
        return dl_layer_fail(build, "%lld channels and %lld filters do not divide into %lld groups",
                             (long long)channels, (long long)filters, (long long)attributes.groups);
    int64_t inner = channels / attributes.groups;
    dl_type type = spatial == 1 ? DL_TYPE(DL_F32, filters, kernel[0], inner)
                                : DL_TYPE(DL_F32, filters, kernel[0], kernel[1], inner);
    dl_value weight = dl_layer_weight(build, "kernel", type, spatial == 1 ? order1 : order2,
                                      "kernel_initializer", "kernel_regularizer", true);
    bool error, relu = relu_of(build);
    dl_value bias = dl_layer_bias(build, filters, &error);
    if (weight < 0 || error)
        return -1;
    attributes.epilogue = relu ? DL_EPILOGUE_RELU : DL_EPILOGUE_NONE;
    dl_value y = dl_conv(build->graph, build->input[0], weight, bias, &attributes);
    return dl_layer_activate(build, y, relu);
}

dl_value dl_build_conv1d(dl_layer_build *build) {
    return convolve(build, 1);
}

dl_value dl_build_conv2d(dl_layer_build *build) {
    return convolve(build, 2);
}

/* The gradient of a convolution from `filters` channels to those of the input, whose output would
 * have the input's size: same multiplies sizes by the strides. Keras's kernel is (h, w, filters,
 * channels). */
dl_value dl_build_conv2d_transpose(dl_layer_build *build) {
    static const int order[] = {1, 2, 3, 0};
    dl_conv_input_attributes attributes = {.conv = {0}};
    dl_conv_attributes *conv = &attributes.conv;
    int64_t kernel[2];
    if (!dl_layer_rank(build, 4, 4) || !read_numbers(build, 2, kernel, conv))
        return -1;
    dl_type x = dl_layer_type(build, 0);
    int64_t channels = x.dim[3], filters = dl_int(build->node, "filters");
    attributes.x = DL_TYPE(DL_F32, x.dim[0], 0, 0, filters);
    for (int i = 0; i < 2; i++) {
        int64_t reach = conv->dilation[i] * (kernel[i] - 1) + 1, step = conv->stride[i];
        bool same = dl_is(build->node, "padding", "same");
        int64_t more = same || reach < step ? 0 : reach - step;
        attributes.x.dim[i + 1] = x.dim[i + 1] * step + more;
        if (same)
            dl_same_padding(attributes.x.dim[i + 1], kernel[i], step, conv->dilation[i],
                            &conv->before[i], &conv->after[i]);
    }
    dl_value weight =
        dl_layer_weight(build, "kernel", DL_TYPE(DL_F32, channels, kernel[0], kernel[1], filters),
                        order, "kernel_initializer", "kernel_regularizer", true);
    bool error;
    dl_value bias = dl_layer_bias(build, filters, &error);
    if (weight < 0 || error)
        return -1;
    dl_value y = dl_conv_input_gradient(build->graph, build->input[0], weight, &attributes);
    if (bias >= 0)
        y = dl_map(build->graph, "x0 + x1", (dl_value[]){y, bias}, 2);
    return dl_layer_activate(build, y, false);
}

/* Each channel by itself, `depth_multiplier` times. Keras's kernel is (h, w, channel, multiple). */
static dl_value depthwise(dl_layer_build *build, const char *initializer, const char *regularizer,
                          bool with_bias, bool relu) {
    static const int order[] = {2, 3, 0, 1};
    dl_conv_attributes attributes = {0};
    int64_t kernel[2];
    if (!dl_layer_rank(build, 4, 4) || !read_window(build, 2, kernel, &attributes))
        return -1;
    int64_t channels = dl_layer_type(build, 0).dim[3];
    int64_t multiple = dl_int(build->node, "depth_multiplier");
    attributes.groups = channels;
    attributes.epilogue = relu ? DL_EPILOGUE_RELU : DL_EPILOGUE_NONE;
    dl_value weight = dl_layer_weight(build, "depthwise_kernel",
                                      DL_TYPE(DL_F32, channels, multiple, kernel[0], kernel[1]),
                                      order, initializer, regularizer, true);
    weight = dl_reshape(build->graph, weight,
                        DL_TYPE(DL_F32, channels * multiple, kernel[0], kernel[1], 1));
    bool error = false;
    dl_value bias = with_bias ? dl_layer_bias(build, channels * multiple, &error) : -1;
    if (weight < 0 || error)
        return -1;
    return dl_conv(build->graph, build->input[0], weight, bias, &attributes);
}

dl_value dl_build_depthwise_conv2d(dl_layer_build *build) {
    bool relu = relu_of(build);
    dl_value y = depthwise(build, "depthwise_initializer", "depthwise_regularizer", true, relu);
    return dl_layer_activate(build, y, relu);
}

/* A depthwise convolution, then one of 1x1 over all channels, with the only bias. */
dl_value dl_build_separable_conv2d(dl_layer_build *build) {
    static const int order[] = {1, 2, 3, 0};
    dl_value middle =
        depthwise(build, "depthwise_initializer", "depthwise_regularizer", false, false);
    if (middle < 0)
        return -1;
    int64_t channels = dl_type_of(build->graph, middle)->dim[3];
    int64_t filters = dl_int(build->node, "filters");
    dl_value weight =
        dl_layer_weight(build, "pointwise_kernel", DL_TYPE(DL_F32, filters, 1, 1, channels), order,
                        "pointwise_initializer", "pointwise_regularizer", true);
    bool error, relu = relu_of(build);
    dl_value bias = dl_layer_bias(build, filters, &error);
    if (weight < 0 || error)
        return -1;
    dl_conv_attributes attributes = {.spatial = 2,
                                     .stride = {1, 1},
                                     .dilation = {1, 1},
                                     .groups = 1,
                                     .epilogue = relu ? DL_EPILOGUE_RELU : DL_EPILOGUE_NONE};
    dl_value y = dl_conv(build->graph, middle, weight, bias, &attributes);
    return dl_layer_activate(build, y, relu);
}
