/* The words of layers and their arguments: Keras's names and the defaults of Keras 2.4. Builders
 * are in layers_*.c; `call` and `copy` are taken apart in wiring.c before anything is built. */
#include "models/keys.h"
#include "models/layer.h"
#include "models/wiring.h"
#include "models/zoo.h"
#include "runtime/base/memory.h"

#define INITIALIZER(key, value, help) \
    { key, "item initializer", value, help }
#define REGULARIZER(key) \
    { key, "item regularizer", "", "penalty on it: l1, l2, l1_l2" }
#define USE_BIAS \
    { "use_bias", "bool", "true", "adds a bias to each output" }
#define ACTIVATION \
    { "activation", "item activation", "linear", "applied to the output" }
#define BIAS                                                                        \
    USE_BIAS, INITIALIZER("bias_initializer", "zeros", "first values of the bias"), \
        REGULARIZER("bias_regularizer")
#define KERNEL                                                                         \
    INITIALIZER("kernel_initializer", "glorot_uniform", "first values of the kernel"), \
        REGULARIZER("kernel_regularizer")
#define FILTERS \
    { "filters", "int 1..", NULL, "channels of the output" }
#define KERNEL_SIZE                                                      \
    {                                                                    \
        "kernel_size", "int 1..1000000 or list of int 1..1000000", NULL, \
            "cells, one number or one a dimension"                       \
    }
#define STRIDES \
    { "strides", "int 1..1000000 or list of int 1..1000000", "1", "cells from window to window" }
#define DILATION \
    { "dilation_rate", "int 1..1000000 or list of int 1..1000000", "1", "cells from tap to tap" }
#define GROUPS \
    { "groups", "int 1..", "1", "groups of channels convolved apart" }
#define PADDING \
    { "padding", "word valid|same", "valid", "same: as TensorFlow, the odd cell after" }
#define NORMALISE                                                                                  \
    {"epsilon", "number 0..", "0.001", "added to the variance"},                                   \
        {"center", "bool", "true", "adds beta"}, {"scale", "bool", "true", "multiplies by gamma"}, \
        INITIALIZER("beta_initializer", "zeros", "first values of beta"),                          \
        INITIALIZER("gamma_initializer", "ones", "first values of gamma")

static const dl_key input_keys[] = {
    {"shape", "list of int 1..", "", "shape of one sample; the data say it otherwise"}};
static const dl_key dense_keys[] = {
    {"units", "int 1..1000000000", NULL, "width of the output"}, ACTIVATION, BIAS, KERNEL};
static const dl_key conv1d_keys[] = {
    FILTERS,
    KERNEL_SIZE,
    STRIDES,
    {"padding", "word valid|same|causal", "valid", "causal: pads before, sees no future"},
    DILATION,
    GROUPS,
    ACTIVATION,
    BIAS,
    KERNEL};
static const dl_key conv2d_keys[] = {FILTERS, KERNEL_SIZE, STRIDES, PADDING, DILATION,
                                     GROUPS,  ACTIVATION,  BIAS,    KERNEL};
static const dl_key transpose_keys[] = {FILTERS,  KERNEL_SIZE, STRIDES, PADDING,
                                        DILATION, ACTIVATION,  BIAS,    KERNEL};
static const dl_key depthwise_keys[] = {
    KERNEL_SIZE,
    STRIDES,
    PADDING,
    DILATION,
    {"depth_multiplier", "int 1..1000000", "1", "outputs for each channel"},
    ACTIVATION,
    BIAS,
    INITIALIZER("depthwise_initializer", "glorot_uniform", "first values of the kernel"),
    REGULARIZER("depthwise_regularizer")};
static const dl_key separable_keys[] = {
    FILTERS,
    KERNEL_SIZE,
    STRIDES,
    PADDING,
    DILATION,
    {"depth_multiplier", "int 1..1000000", "1", "outputs for each channel in the first step"},
    ACTIVATION,
    BIAS,
    INITIALIZER("depthwise_initializer", "glorot_uniform", "first values of the first kernel"),
    INITIALIZER("pointwise_initializer", "glorot_uniform", "first values of the 1x1 kernel"),
    REGULARIZER("depthwise_regularizer"),
    REGULARIZER("pointwise_regularizer")};
static const dl_key pool_keys[] = {{"pool_size", "int 1..1000000 or list of int 1..1000000", "2",
                                    "cells, one number or one a dimension"},
                                   {"strides", "int 1..1000000 or list of int 1..1000000", "",
                                    "cells from window to window; pool_size otherwise"},
                                   PADDING};
static const dl_key reshape_keys[] = {{"target_shape", "list of int -1..1000000000", NULL,
                                       "shape of one sample; one dimension may be -1"}};
static const dl_key permute_keys[] = {
    {"dims", "list of int 1..", NULL, "old dimension for each new one, from 1, samples left out"}};
static const dl_key zero_padding_keys[] = {
    {"padding", "int 0..1000000 or list of int 0..1000000 or list of list of int 0..1000000", "1",
     "cells; [height, width]; [[top, bottom], [left, right]]"}};
static const dl_key dropout_keys[] = {
    {"rate", "number 0..0.999999", NULL, "share of values set to 0 in training"}};
static const dl_key noise_keys[] = {
    {"stddev", "number 0..", NULL, "standard deviation of the noise added in training"}};
static const dl_key activation_keys[] = {
    {"activation", "item activation", NULL, "applied to each value"}};
static const dl_key leaky_keys[] = {{"alpha", "number", "0.3", "slope below zero"}};
static const dl_key softmax_keys[] = {{"axis", "int", "-1", "dimension that sums to 1"}};
static const dl_key batch_norm_keys[] = {
    {"momentum", "number 0..1", "0.99", "share that moving statistics keep in a step"},
    NORMALISE,
    INITIALIZER("moving_mean_initializer", "zeros", "first moving mean"),
    INITIALIZER("moving_variance_initializer", "ones", "first moving variance"),
    REGULARIZER("beta_regularizer"),
    REGULARIZER("gamma_regularizer")};
static const dl_key layer_norm_keys[] = {NORMALISE, REGULARIZER("beta_regularizer"),
                                         REGULARIZER("gamma_regularizer")};
static const dl_key concatenate_keys[] = {{"axis", "int", "-1", "dimension joined along"}};
static const dl_key lambda_keys[] = {
    {"expr", "expr", NULL,
     "over its inputs by name (x if one), constants, normal() and uniform(); for example "
     "\"mean + exp(log_var / 2) * normal()\""}};
static const dl_key call_keys[] = {
    {"of", "name", NULL, "a layer above or an entry of models, with the same weights"}};
static const dl_key copy_keys[] = {
    {"of", "name", NULL, "an entry of models, with weights of its own"}};

#define ZOO                                                                             \
    {"include_top", "bool", "true", "the classifier too"},                              \
        {"classes", "int 1..1000000000", "1000", "outputs of the classifier"},          \
        {"pooling", "word none|avg|max", "none",                                        \
         "without the classifier: what becomes of the last feature maps"},              \
    {                                                                                   \
        "weights", "word none", "none", "first values; none: those of the initializers" \
    }
static const dl_key vgg16_keys[] = {ZOO};
static const dl_key resnet50_keys[] = {
    ZOO,
    {"variant", "word v1|v1.5", "v1",
     "v1.5: strides in the 3x3, no biases beside normalisation, torchvision's constants"}};

/* Networks by name (zoo.c): word, keys, help. */
#define ZOO_LIST(X)                                                                         \
    X(vgg16, DL_KEYS(vgg16_keys), "VGG16 (Simonyan and Zisserman 2015) with Keras's names") \
    X(resnet50, DL_KEYS(resnet50_keys), "ResNet-50 (He et al. 2016) with Keras's names")

/* word, main argument, keys, Keras's class, least and most inputs, help */
#define LAYER_LIST(X)                                                                              \
    X(input, "shape", DL_KEYS(input_keys), "InputLayer", 1, 1, "a field of the data")              \
    X(dense, "units", DL_KEYS(dense_keys), "Dense", 1, 1, "every output from every input")         \
    X(conv1d, NULL, DL_KEYS(conv1d_keys), "Conv1D", 1, 1, "convolution over time")                 \
    X(conv2d, NULL, DL_KEYS(conv2d_keys), "Conv2D", 1, 1, "convolution over pictures")             \
    X(conv2d_transpose, NULL, DL_KEYS(transpose_keys), "Conv2DTranspose", 1, 1,                    \
      "the gradient of a convolution: pictures become larger")                                     \
    X(depthwise_conv2d, NULL, DL_KEYS(depthwise_keys), "DepthwiseConv2D", 1, 1,                    \
      "convolution of each channel alone")                                                         \
    X(separable_conv2d, NULL, DL_KEYS(separable_keys), "SeparableConv2D", 1, 1,                    \
      "each channel alone, then 1x1 over all")                                                     \
    X(max_pooling1d, "pool_size", DL_KEYS(pool_keys), "MaxPooling1D", 1, 1,                        \
      "greatest of a window")                                                                      \
    X(max_pooling2d, "pool_size", DL_KEYS(pool_keys), "MaxPooling2D", 1, 1,                        \
      "greatest of a window")                                                                      \
    X(average_pooling1d, "pool_size", DL_KEYS(pool_keys), "AveragePooling1D", 1, 1,                \
      "mean of a window")                                                                          \
    X(average_pooling2d, "pool_size", DL_KEYS(pool_keys), "AveragePooling2D", 1, 1,                \
      "mean of a window")                                                                          \
    X(global_max_pooling1d, NULL, DL_NO_KEYS, "GlobalMaxPooling1D", 1, 1, "greatest of all cells") \
    X(global_max_pooling2d, NULL, DL_NO_KEYS, "GlobalMaxPooling2D", 1, 1, "greatest of all cells") \
    X(global_average_pooling1d, NULL, DL_NO_KEYS, "GlobalAveragePooling1D", 1, 1,                  \
      "mean of all cells")                                                                         \
    X(global_average_pooling2d, NULL, DL_NO_KEYS, "GlobalAveragePooling2D", 1, 1,                  \
      "mean of all cells")                                                                         \
    X(flatten, NULL, DL_NO_KEYS, "Flatten", 1, 1, "one row of values a sample")                    \
    X(reshape, "target_shape", DL_KEYS(reshape_keys), "Reshape", 1, 1,                             \
      "the same values in another shape")                                                          \
    X(permute, "dims", DL_KEYS(permute_keys), "Permute", 1, 1, "dimensions in another order")      \
    X(zero_padding2d, "padding", DL_KEYS(zero_padding_keys), "ZeroPadding2D", 1, 1,                \
      "a border of zeros")                                                                         \
    X(dropout, "rate", DL_KEYS(dropout_keys), "Dropout", 1, 1,                                     \
      "sets a share of values to 0 in training, scales the rest by 1 / (1 - rate)")                \
    X(gaussian_noise, "stddev", DL_KEYS(noise_keys), "GaussianNoise", 1, 1,                        \
      "adds noise in training")                                                                    \
    X(activation, "activation", DL_KEYS(activation_keys), "Activation", 1, 1,                      \
      "an activation alone")                                                                       \
    X(leaky_relu, "alpha", DL_KEYS(leaky_keys), "LeakyReLU", 1, 1, "x above 0, alpha x below")     \
    X(softmax, "axis", DL_KEYS(softmax_keys), "Softmax", 1, 1, "exp(x) over its sum")              \
    X(batch_normalization, NULL, DL_KEYS(batch_norm_keys), "BatchNormalization", 1, 1,             \
      "each channel to mean 0 and variance 1 over the batch (Ioffe and Szegedy 2015)")             \
    X(layer_normalization, NULL, DL_KEYS(layer_norm_keys), "LayerNormalization", 1, 1,             \
      "the last dimension to mean 0 and variance 1 (Ba et al. 2016)")                              \
    X(add, NULL, DL_NO_KEYS, "Add", 2, -1, "sum of its inputs")                                    \
    X(subtract, NULL, DL_NO_KEYS, "Subtract", 2, 2, "first input less the second")                 \
    X(multiply, NULL, DL_NO_KEYS, "Multiply", 2, -1, "product of its inputs")                      \
    X(average, NULL, DL_NO_KEYS, "Average", 2, -1, "mean of its inputs")                           \
    X(maximum, NULL, DL_NO_KEYS, "Maximum", 2, -1, "greatest of its inputs")                       \
    X(concatenate, NULL, DL_KEYS(concatenate_keys), "Concatenate", 2, -1, "inputs side by side")   \
    X(lambda, "expr", DL_KEYS(lambda_keys), NULL, 1, -1, "an expression over its inputs")

#define X(word, main, keys, class, least, most, help) \
    static const dl_layer_row word##_row = {dl_build_##word, class, least, most, NULL};
LAYER_LIST(X)
#undef X
#define X(word, keys, help) \
    static const dl_layer_row word##_row = {NULL, NULL, 1, 1, dl_zoo_##word};
ZOO_LIST(X)
#undef X
const dl_layer_row dl_call_row = {NULL, NULL, 1, -1, NULL}, dl_copy_row = {NULL, NULL, 1, -1, NULL};

static const dl_word words[] = {
#define X(word, main, keys, class, least, most, help) {#word, main, keys, help, &word##_row},
    LAYER_LIST(X)
#undef X
#define X(word, keys, help) {#word, NULL, keys, help, &word##_row},
        ZOO_LIST(X)
#undef X
            {"call", "of", DL_KEYS(call_keys), "a layer or model again, with the same weights",
             &dl_call_row},
    {"copy", "of", DL_KEYS(copy_keys), "a model with weights of its own", &dl_copy_row},
};

static const dl_key siblings[] = {
    {"name", "name", "", "of the layer; Keras's names otherwise: conv2d, conv2d_1"},
    {"inputs", "name or list of name", "", "layers above or fields; the layer above otherwise"},
    {"times", "int 1..10000", "1", "copies NAME, NAME_1, ... in a chain; NAME is then its end"},
    {"training", "word auto|true|false", "auto",
     "behave as in training: in training, always, never"},
};

const dl_family dl_layer_family = {"layer", "layers", words, DL_COUNT(words), DL_KEYS(siblings)};
