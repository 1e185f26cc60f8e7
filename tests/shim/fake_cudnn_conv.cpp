/* See fake_cudnn.h: convolutions, over [n][h][w][c] and weights [filter][kernel...][channel]. Sums
 * are float32, over an image at most; images are added in double. */
#include "tests/shim/fake_cudnn_kinds.h"

using namespace shim_cudnn;

namespace {

/* The three tensors, whatever the direction. */
struct sizes {
    const tensor *x, *w, *y;
    int64_t stride[2], dilation[2], before[2], after[2];
    int64_t groups, channels, filters; /* channels and filters of a group */
};

struct names {
    int window, x, w, y, alpha, beta;
};

} // namespace

#define NAMES(kind, x, w, y)                                 \
    {                                                        \
        CUDNN_ATTR_OPERATION_CONVOLUTION_##kind##_CONV_DESC, \
            CUDNN_ATTR_OPERATION_CONVOLUTION_##kind##_##x,   \
            CUDNN_ATTR_OPERATION_CONVOLUTION_##kind##_##w,   \
            CUDNN_ATTR_OPERATION_CONVOLUTION_##kind##_##y,   \
            CUDNN_ATTR_OPERATION_CONVOLUTION_##kind##_ALPHA, \
            CUDNN_ATTR_OPERATION_CONVOLUTION_##kind##_BETA   \
    }
static const names forward = NAMES(FORWARD, X, W, Y), backward_data = NAMES(BWD_DATA, DX, W, DY),
                   backward_filter = NAMES(BWD_FILTER, X, DW, DY);

static const names &names_of(const operation &o) {
    return o.described->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR ? forward
           : o.described->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
               ? backward_data
               : backward_filter;
}

static sizes sizes_of(const graph &g, const operation &o) {
    const names &name = names_of(o);
    const descriptor &window = *o.described->made(name.window);
    sizes s = {find_tensor(g, o, name.x), find_tensor(g, o, name.w), find_tensor(g, o, name.y)};
    for (size_t i = 0; i < 2; i++) {
        s.stride[i] = window.all<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES)[i];
        s.dilation[i] = window.all<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS)[i];
        s.before[i] = window.all<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS)[i];
        s.after[i] = window.all<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS)[i];
    }
    s.channels = s.w->c;
    s.groups = s.x->c / s.w->c;
    s.filters = s.groups ? s.w->n / s.groups : 0;
    return s;
}

cudnnStatus_t shim_cudnn::check_conv(const graph &g, const operation &o) {
    const names &name = names_of(o);
    if (o.described->made(name.window)->type != CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a convolution without its description");
    sizes s = sizes_of(g, o);
    const int64_t in[] = {s.x->h, s.x->w}, kernel[] = {s.w->h, s.w->w}, out[] = {s.y->h, s.y->w};
    for (int i = 0; i < 2; i++) {
        if (s.stride[i] < 1 || s.dilation[i] < 1 || s.before[i] < 0 || s.after[i] < 0)
            return refuse(CUDNN_STATUS_BAD_PARAM, "a stride, dilation or padding below its least");
        int64_t room = in[i] + s.before[i] + s.after[i] - s.dilation[i] * (kernel[i] - 1) - 1;
        if (room < 0 || out[i] != room / s.stride[i] + 1)
            return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                          "a convolution's output is no %lld long", (long long)out[i]);
    }
    if (s.x->n != s.y->n || s.y->c != s.w->n || s.x->c % s.w->c || s.w->n % s.groups)
        return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                      "a convolution's channels or samples do not fit");
    if (o.described->get<float>(name.alpha, 0) != 1 || o.described->get<float>(name.beta, 1) != 0)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "a convolution with alpha or beta");
    const tensor *factor[] = {&name == &backward_data ? s.y : s.x,
                              &name == &backward_filter ? s.y : s.w};
    if (factor[0]->dtype != factor[1]->dtype && !factor[0]->is_virtual && !factor[1]->is_virtual)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "factors of different types");
    return CUDNN_STATUS_SUCCESS;
}

/* Calls work(first cell of a pixel of x, the tap of w, first cell of a pixel of y) for every
 * product of channels in sample n and group. */
template <class Work>
static void each_tap(const sizes &s, int64_t n, int64_t group, const Work &work) {
    for (int64_t oh = 0; oh < s.y->h; oh++)
        for (int64_t ow = 0; ow < s.y->w; ow++)
            for (int64_t kh = 0; kh < s.w->h; kh++)
                for (int64_t kw = 0; kw < s.w->w; kw++) {
                    int64_t h = oh * s.stride[0] - s.before[0] + kh * s.dilation[0];
                    int64_t w = ow * s.stride[1] - s.before[1] + kw * s.dilation[1];
                    if (h >= 0 && h < s.x->h && w >= 0 && w < s.x->w)
                        work(((n * s.x->h + h) * s.x->w + w) * s.x->c + group * s.channels,
                             kh * s.w->w + kw,
                             ((n * s.y->h + oh) * s.y->w + ow) * s.y->c + group * s.filters);
                }
}

/* [group][tap][channel][filter], for inner loops over filters; and back. */
static cells by_filters(const sizes &s, const cells &w) {
    cells turned(w.size());
    int64_t taps = s.w->h * s.w->w;
    for (int64_t g = 0; g < s.groups; g++)
        for (int64_t f = 0; f < s.filters; f++)
            for (int64_t at = 0; at < taps * s.channels; at++)
                turned[(size_t)((g * taps * s.channels + at) * s.filters + f)] =
                    w[(size_t)((g * s.filters + f) * taps * s.channels + at)];
    return turned;
}

/* One of the two that are multiplied: what comes from another operation in float32 is rounded as
 * the other one is. */
static cells factor(const running &r, const operation &o, int name, int other) {
    const tensor &t = *find_tensor(*r.graph, o, name), &u = *find_tensor(*r.graph, o, other);
    cells copy = value_of(r, o, name);
    for (float &value : copy)
        value = t.type == SHIM_F32 && u.type != SHIM_F32 ? shim_rounded(u.type, value)
                : r.tf32                                 ? shim_tf32(value)
                                                         : value;
    return copy;
}

void shim_cudnn::run_conv_forward(running *r, const operation &o) {
    sizes s = sizes_of(*r->graph, o);
    cells x = factor(*r, o, forward.x, forward.w);
    cells w = by_filters(s, factor(*r, o, forward.w, forward.x));
    cells y((size_t)s.y->cells(), 0.0f);
    int64_t taps = s.w->h * s.w->w;
    for (int64_t n = 0; n < s.x->n; n++)
        for (int64_t g = 0; g < s.groups; g++)
            each_tap(s, n, g, [&](int64_t in, int64_t tap, int64_t out) {
                const float *at = &w[(size_t)((g * taps + tap) * s.channels * s.filters)];
                for (int64_t c = 0; c < s.channels; c++)
                    shim_add_product(&y[(size_t)out], at + c * s.filters, x[(size_t)(in + c)],
                                     s.filters);
            });
    give(r, o, forward.y, y);
}

void shim_cudnn::run_conv_data(running *r, const operation &o) {
    sizes s = sizes_of(*r->graph, o);
    cells w = factor(*r, o, backward_data.w, backward_data.y);
    cells dy = factor(*r, o, backward_data.y, backward_data.w);
    cells dx((size_t)s.x->cells(), 0.0f);
    int64_t taps = s.w->h * s.w->w;
    for (int64_t n = 0; n < s.x->n; n++)
        for (int64_t g = 0; g < s.groups; g++)
            each_tap(s, n, g, [&](int64_t in, int64_t tap, int64_t out) {
                for (int64_t f = 0; f < s.filters; f++)
                    shim_add_product(&dx[(size_t)in],
                                     &w[(size_t)(((g * s.filters + f) * taps + tap) * s.channels)],
                                     dy[(size_t)(out + f)], s.channels);
            });
    give(r, o, backward_data.x, dx);
}

void shim_cudnn::run_conv_filter(running *r, const operation &o) {
    sizes s = sizes_of(*r->graph, o);
    cells x = factor(*r, o, backward_filter.x, backward_filter.y);
    cells dy = factor(*r, o, backward_filter.y, backward_filter.x);
    std::vector<double> sum((size_t)s.w->cells(), 0.0);
    int64_t taps = s.w->h * s.w->w;
    for (int64_t n = 0; n < s.x->n; n++) {
        cells image(sum.size(), 0.0f); /* [group][tap][channel][filter] */
        for (int64_t g = 0; g < s.groups; g++)
            each_tap(s, n, g, [&](int64_t in, int64_t tap, int64_t out) {
                float *at = &image[(size_t)((g * taps + tap) * s.channels * s.filters)];
                for (int64_t c = 0; c < s.channels; c++)
                    shim_add_product(at + c * s.filters, &dy[(size_t)out], x[(size_t)(in + c)],
                                     s.filters);
            });
        for (size_t i = 0; i < sum.size(); i++)
            sum[i] += (double)image[i];
    }
    cells dw(sum.size());
    for (int64_t g = 0; g < s.groups; g++)
        for (int64_t f = 0; f < s.filters; f++)
            for (int64_t at = 0; at < taps * s.channels; at++)
                dw[(size_t)((g * s.filters + f) * taps * s.channels + at)] =
                    (float)sum[(size_t)((g * taps * s.channels + at) * s.filters + f)];
    give(r, o, backward_filter.w, dw);
}
