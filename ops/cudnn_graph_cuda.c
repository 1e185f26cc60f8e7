/* Describing what cuDNN shall compute. See cudnn_cuda.h. The first call that fails is remembered;
 * those after it do nothing. */
#include <stdarg.h>
#include <stdio.h>

#include "ops/cudnn_call_cuda.h"

static void note(dl_cudnn *call, dl_status status) {
    if (status == DL_OK || call->status != DL_OK)
        return;
    call->status = status;
    snprintf(call->message, sizeof call->message, "%s", dl_message());
}

/* Into the key; a description that does not fit is a defect. */
__attribute__((format(printf, 2, 3))) static void say(dl_cudnn *call, const char *format, ...) {
    va_list arguments;
    size_t room = sizeof call->key - call->key_length;
    va_start(arguments, format);
    int length = vsnprintf(call->key + call->key_length, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room)
        note(call, dl_fail(DL_INTERNAL, "%s takes too many words to describe", call->what));
    else
        call->key_length += (size_t)length;
}

cudnnBackendDescriptor_t dl_cudnn_make(dl_cudnn *call, cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t made = NULL;
    if (call->status != DL_OK)
        return NULL;
    if (call->made_count == CUDNN_MADE) {
        note(call, dl_fail(DL_INTERNAL, "%s takes too many descriptors of cuDNN", call->what));
        return NULL;
    }
    note(call,
         dl_cudnn_check(cudnnBackendCreateDescriptor(type, &made), "cudnnBackendCreateDescriptor"));
    if (made)
        call->made[call->made_count++] = made;
    return made;
}

void dl_cudnn_put(dl_cudnn *call, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (call->status == DL_OK)
        note(call, dl_cudnn_check(cudnnBackendSetAttribute(to, name, type, count, values),
                                  "cudnnBackendSetAttribute"));
}

void dl_cudnn_done(dl_cudnn *call, cudnnBackendDescriptor_t descriptor) {
    if (call->status == DL_OK)
        note(call, dl_cudnn_check(cudnnBackendFinalize(descriptor), "cudnnBackendFinalize"));
}

static void put_descriptor(dl_cudnn *call, cudnnBackendDescriptor_t to,
                           cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value) {
    dl_cudnn_put(call, to, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static cudnnDataType_t type_of(dl_dtype dtype) {
    return dtype == DL_BF16  ? CUDNN_DATA_BFLOAT16
           : dtype == DL_F16 ? CUDNN_DATA_HALF
                             : CUDNN_DATA_FLOAT;
}

static int add_tensor(dl_cudnn *call, dl_dtype dtype, int64_t n, const int64_t space[2],
                      int64_t channels, int64_t alignment, bool inner) {
    int64_t h = space[0], w = space[1], c = channels, id = call->tensors;
    const int64_t dim[] = {n, c, h, w}, stride[] = {h * w * c, 1, w * c, c};
    cudnnDataType_t type = type_of(dtype);
    say(call, "tensor %d %lld,%lld,%lld,%lld %lld%s\n", (int)dtype, (long long)n, (long long)h,
        (long long)w, (long long)c, (long long)alignment, inner ? " inner" : "");
    if (call->tensors == CUDNN_TENSORS) {
        note(call, dl_fail(DL_INTERNAL, "%s has too many tensors", call->what));
        return 0;
    }
    cudnnBackendDescriptor_t made = dl_cudnn_make(call, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    dl_cudnn_put(call, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    dl_cudnn_put(call, made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    dl_cudnn_put(call, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
    dl_cudnn_put(call, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    dl_cudnn_put(call, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    dl_cudnn_put(call, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &inner);
    dl_cudnn_done(call, made);
    call->tensor[call->tensors] = made;
    call->inner[call->tensors] = inner;
    call->dtype[call->tensors] = dtype;
    call->bytes[call->tensors] = (size_t)(n * h * w * c) * dl_dtype_bytes(dtype);
    return call->tensors++;
}

enum { LINE = 16 /* bytes: all that an engine may want of a pointer */ };

/* Values lie on 64-byte lines, but the samples of a leaf begin anywhere in its batch: what their
 * size is a multiple of is certain. */
int dl_cudnn_tensor(dl_cudnn *call, dl_dtype dtype, int64_t n, const int64_t space[2],
                    int64_t channels) {
    int64_t bytes = space[0] * space[1] * channels * (int64_t)dl_dtype_bytes(dtype), certain = LINE;
    while (bytes % certain)
        certain /= 2;
    return add_tensor(call, dtype, n, space, channels, certain, false);
}

int dl_cudnn_weights(dl_cudnn *call, dl_dtype dtype, int64_t o, const int64_t kernel[2],
                     int64_t i) {
    return add_tensor(call, dtype, o, kernel, i, LINE, false);
}

int dl_cudnn_vector(dl_cudnn *call, dl_dtype dtype, int64_t channels) {
    static const int64_t point[] = {1, 1};
    return add_tensor(call, dtype, 1, point, channels, LINE, false);
}

int dl_cudnn_inner(dl_cudnn *call, int64_t n, const int64_t space[2], int64_t channels) {
    return add_tensor(call, DL_F32, n, space, channels, LINE, true);
}

static cudnnBackendDescriptor_t add_operation(dl_cudnn *call, cudnnBackendDescriptorType_t type) {
    if (call->operations == CUDNN_OPERATIONS) {
        note(call, dl_fail(DL_INTERNAL, "%s has too many operations", call->what));
        return NULL;
    }
    return call->operation[call->operations++] = dl_cudnn_make(call, type);
}

static cudnnBackendDescriptor_t describe_conv(dl_cudnn *call, const dl_dnnl_window *window) {
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t spatial = 2;
    cudnnBackendDescriptor_t made = dl_cudnn_make(call, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    dl_cudnn_put(call, made, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    dl_cudnn_put(call, made, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1,
                 &mode);
    dl_cudnn_put(call, made, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial);
    const struct {
        cudnnBackendAttributeName_t name;
        const int64_t *values;
    } sizes[] = {{CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, window->before},
                 {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, window->after},
                 {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, window->stride},
                 {CUDNN_ATTR_CONVOLUTION_DILATIONS, window->dilation}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        dl_cudnn_put(call, made, sizes[i].name, CUDNN_TYPE_INT64, 2, sizes[i].values);
    dl_cudnn_done(call, made);
    return made;
}

void dl_cudnn_conv(dl_cudnn *call, dl_dnnl_direction direction, const dl_dnnl_window *window,
                   bool tf32, int x, int w, int y) {
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t window, x, w, y, alpha, beta;
    } kinds[] = {
        [DL_DNNL_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        [DL_DNNL_BACKWARD_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        [DL_DNNL_BACKWARD_WEIGHTS] = {
            CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
    float one = 1, zero = 0;
    say(call, "conv %d%s of %d %d %d:", (int)direction, tf32 ? " tf32" : "", x, w, y);
    for (int i = 0; i < 2; i++)
        say(call, " %lld,%lld,%lld,%lld", (long long)window->stride[i],
            (long long)window->dilation[i], (long long)window->before[i],
            (long long)window->after[i]);
    say(call, "\n");
    int factor = direction == DL_DNNL_BACKWARD_DATA ? y : x; /* the other may be an inner one */
    call->exact = call->exact || (call->dtype[factor] == DL_F32 && !tf32);
    cudnnBackendDescriptor_t desc = describe_conv(call, window);
    cudnnBackendDescriptor_t made = add_operation(call, kinds[direction].type);
    put_descriptor(call, made, kinds[direction].window, desc);
    put_descriptor(call, made, kinds[direction].x, call->tensor[x]);
    put_descriptor(call, made, kinds[direction].w, call->tensor[w]);
    put_descriptor(call, made, kinds[direction].y, call->tensor[y]);
    dl_cudnn_put(call, made, kinds[direction].alpha, CUDNN_TYPE_FLOAT, 1, &one);
    dl_cudnn_put(call, made, kinds[direction].beta, CUDNN_TYPE_FLOAT, 1, &zero);
    dl_cudnn_done(call, made);
}

/* b: -1 where the mode takes one input; dy: -1 where it is no gradient, and then y is dx. */
static void add_gradient(dl_cudnn *call, cudnnPointwiseMode_t mode, int x, int b, int dy, int y) {
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    say(call, "pointwise %d of %d %d %d %d\n", (int)mode, x, b, dy, y);
    cudnnBackendDescriptor_t desc = dl_cudnn_make(call, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    dl_cudnn_put(call, desc, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    dl_cudnn_put(call, desc, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
    dl_cudnn_done(call, desc);
    cudnnBackendDescriptor_t made =
        add_operation(call, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    put_descriptor(call, made, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, desc);
    put_descriptor(call, made, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, call->tensor[x]);
    if (b >= 0)
        put_descriptor(call, made, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, call->tensor[b]);
    if (dy >= 0)
        put_descriptor(call, made, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, call->tensor[dy]);
    put_descriptor(call, made,
                   dy >= 0 ? CUDNN_ATTR_OPERATION_POINTWISE_DXDESC
                           : CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
                   call->tensor[y]);
    dl_cudnn_done(call, made);
}

static void add_pointwise(dl_cudnn *call, cudnnPointwiseMode_t mode, int x, int b, int y) {
    add_gradient(call, mode, x, b, -1, y);
}

void dl_cudnn_add(dl_cudnn *call, int a, int b, int y) {
    add_pointwise(call, CUDNN_POINTWISE_ADD, a, b, y);
}

void dl_cudnn_relu(dl_cudnn *call, int x, int y) {
    add_pointwise(call, CUDNN_POINTWISE_RELU_FWD, x, -1, y);
}

void dl_cudnn_copy(dl_cudnn *call, int x, int y) {
    add_pointwise(call, CUDNN_POINTWISE_IDENTITY, x, -1, y);
}

void dl_cudnn_subtract(dl_cudnn *call, int a, int b, int y) {
    add_pointwise(call, CUDNN_POINTWISE_SUB, a, b, y);
}

void dl_cudnn_multiply(dl_cudnn *call, int a, int b, int y) {
    add_pointwise(call, CUDNN_POINTWISE_MUL, a, b, y);
}

void dl_cudnn_relu_gradient(dl_cudnn *call, int x, int dy, int dx) {
    add_gradient(call, CUDNN_POINTWISE_RELU_BWD, x, -1, dy, dx);
}

void dl_cudnn_moments(dl_cudnn *call, int x, int sum, int squares) {
    cudnnGenStatsMode_t mode = CUDNN_GENSTATS_SUM_SQSUM;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    say(call, "moments of %d %d %d\n", x, sum, squares);
    cudnnBackendDescriptor_t made =
        add_operation(call, CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
    dl_cudnn_put(call, made, CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_TYPE_GENSTATS_MODE, 1,
                 &mode);
    dl_cudnn_put(call, made, CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1,
                 &type);
    put_descriptor(call, made, CUDNN_ATTR_OPERATION_GENSTATS_XDESC, call->tensor[x]);
    put_descriptor(call, made, CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, call->tensor[sum]);
    put_descriptor(call, made, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, call->tensor[squares]);
    dl_cudnn_done(call, made);
}

void dl_cudnn_norm_sums(dl_cudnn *call, const dl_cudnn_norm *norm) {
    const struct {
        cudnnBackendAttributeName_t name;
        int tensor;
    } parts[] = {{CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, norm->x},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, norm->dy},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, norm->mean},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, norm->inverse},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, norm->scale},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, norm->scale_gradient},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, norm->beta_gradient},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, norm->by_dy},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, norm->by_x},
                 {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS, norm->added}};
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t made =
        add_operation(call, CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR);
    dl_cudnn_put(call, made, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1,
                 &type);
    say(call, "sums of a normalisation");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        say(call, " %d", parts[i].tensor);
        put_descriptor(call, made, parts[i].name, call->tensor[parts[i].tensor]);
    }
    say(call, "\n");
    dl_cudnn_done(call, made);
}

dl_status dl_cudnn_complete(dl_cudnn *call) {
    if (call->graph && call->status == DL_OK)
        return DL_OK;
    call->graph = dl_cudnn_make(call, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    dl_cudnn_put(call, call->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                 call->operations, call->operation);
    if (call->guest->handle)
        dl_cudnn_put(call, call->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
                     &call->guest->handle);
    dl_cudnn_done(call, call->graph);
    return call->status == DL_OK ? DL_OK : dl_fail(call->status, "%s", call->message);
}
