/* See fake_cudnn.h: the operations, one line each, and pointwise ones. */
#include <cmath>

#include "tests/shim/fake_cudnn_kinds.h"

using namespace shim_cudnn;

static const kind kinds[] = {
#define KIND(name, main, check, run) \
    { CUDNN_BACKEND_OPERATION_##name##_DESCRIPTOR, main, check, run }
    KIND(CONVOLUTION_FORWARD, true, check_conv, run_conv_forward),
    KIND(CONVOLUTION_BACKWARD_DATA, true, check_conv, run_conv_data),
    KIND(CONVOLUTION_BACKWARD_FILTER, true, check_conv, run_conv_filter),
    KIND(POINTWISE, false, check_pointwise, run_pointwise),
    KIND(GEN_STATS, false, check_stats, run_stats),
    KIND(REDUCTION, false, check_reduction, run_reduction),
    KIND(BN_FINALIZE_STATISTICS, true, check_finalize, run_finalize),
    KIND(BN_BWD_WEIGHTS, false, check_weights, run_weights)
#undef KIND
};

const kind *shim_cudnn::kind_of(cudnnBackendDescriptorType_t type) {
    for (const kind &k : kinds)
        if (k.type == type)
            return &k;
    return nullptr;
}

void shim_cudnn::give(running *r, const operation &o, int name, const cells &result) {
    const tensor *t = find_tensor(*r->graph, o, name);
    if (!t)
        return;
    cells &to = r->value[(size_t)o.tensor.at(name)];
    for (size_t i = 0; i < result.size(); i++)
        to[i] = shim_rounded(t->type, result[i]);
}

/* ---- pointwise ---- */

namespace {

struct clips {
    float lower, upper, slope;
};

struct mode {
    cudnnPointwiseMode_t name;
    int inputs; /* x; x and b; x, b and t. Backward: x and dy, to dx */
    bool backward;
    float (*apply)(float x, float b, float t, const clips &clip);
};

} // namespace

/* As the CPU's: relu leaves NaN. */
static float relu(float x, float, float, const clips &c) {
    return x < c.lower ? c.slope * (x - c.lower) + c.lower : x > c.upper ? c.upper : x;
}
static float relu_gradient(float x, float dy, float, const clips &c) {
    return x > c.lower && x < c.upper ? dy : x > c.lower ? 0 : c.slope * dy;
}

#define ONE(name, value)                                                        \
    {                                                                           \
        CUDNN_POINTWISE_##name, 1, false,                                       \
            [](float x, float, float, const clips &) -> float { return value; } \
    }
#define TWO(name, value)                                                          \
    {                                                                             \
        CUDNN_POINTWISE_##name, 2, false,                                         \
            [](float x, float b, float, const clips &) -> float { return value; } \
    }
#define GRADIENT(name, value)                                                      \
    {                                                                              \
        CUDNN_POINTWISE_##name, 2, true,                                           \
            [](float x, float dy, float, const clips &) -> float { return value; } \
    }

// clang-format off
static const mode modes[] = {
    TWO(ADD, x + b), TWO(MUL, x * b), TWO(SUB, x - b), TWO(DIV, x / b),
    TWO(MIN, x < b ? x : b), TWO(MAX, x > b ? x : b), TWO(ADD_SQUARE, x + b * b),
    TWO(CMP_EQ, x == b), TWO(CMP_NEQ, x != b), TWO(CMP_GT, x > b), TWO(CMP_GE, x >= b),
    TWO(CMP_LT, x < b), TWO(CMP_LE, x <= b),
    ONE(SQRT, std::sqrt(x)), ONE(RSQRT, 1 / std::sqrt(x)), ONE(ABS, std::fabs(x)),
    ONE(EXP, std::exp(x)), ONE(LOG, std::log(x)), ONE(NEG, -x), ONE(RECIPROCAL, 1 / x),
    ONE(IDENTITY, x), ONE(TANH_FWD, std::tanh(x)), ONE(SIGMOID_FWD, 1 / (1 + std::exp(-x))),
    {CUDNN_POINTWISE_RELU_FWD, 1, false, relu},
    {CUDNN_POINTWISE_RELU_BWD, 2, true, relu_gradient},
    GRADIENT(TANH_BWD, dy * (1 - std::tanh(x) * std::tanh(x))),
    GRADIENT(SIGMOID_BWD, dy / (1 + std::exp(-x)) * (1 - 1 / (1 + std::exp(-x)))),
    {CUDNN_POINTWISE_BINARY_SELECT, 3, false,
     [](float x, float b, float t, const clips &) -> float { return t != 0 ? x : b; }}};
// clang-format on

static const mode *mode_of(const operation &o) {
    const descriptor &d = *o.described->made(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    for (const mode &m : modes)
        if (d.type == CUDNN_BACKEND_POINTWISE_DESCRIPTOR &&
            m.name == d.get<int>(CUDNN_ATTR_POINTWISE_MODE, -1) &&
            d.get<int>(CUDNN_ATTR_POINTWISE_MATH_PREC, -1) == CUDNN_DATA_FLOAT)
            return &m;
    return nullptr;
}

/* The attributes of a mode's inputs and output. */
static std::vector<int> inputs_of(const mode &m) {
    static const int all[] = {CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                              CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                              CUDNN_ATTR_OPERATION_POINTWISE_TDESC};
    std::vector<int> list(all, all + m.inputs);
    if (m.backward)
        list[1] = CUDNN_ATTR_OPERATION_POINTWISE_DYDESC;
    return list;
}
static int output_of(const mode &m) {
    return m.backward ? CUDNN_ATTR_OPERATION_POINTWISE_DXDESC
                      : CUDNN_ATTR_OPERATION_POINTWISE_YDESC;
}

static bool spreads(const tensor &from, const tensor &to) {
    return (from.n == 1 || from.n == to.n) && (from.c == 1 || from.c == to.c) &&
           (from.h == 1 || from.h == to.h) && (from.w == 1 || from.w == to.w);
}

cudnnStatus_t shim_cudnn::check_pointwise(const graph &g, const operation &o) {
    const mode *m = mode_of(o);
    if (!m)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "a pointwise mode that the shim does not know");
    const tensor *to = find_tensor(g, o, output_of(*m));
    if (!to || o.tensor.size() != (size_t)m->inputs + 1)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a pointwise operation of %zu tensors, not %d",
                      o.tensor.size(), m->inputs + 1);
    for (int name : inputs_of(*m)) {
        const tensor *from = find_tensor(g, o, name);
        if (!from || !spreads(*from, *to))
            return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                          "a pointwise operation's input is missing, or does not fit its output");
    }
    return CUDNN_STATUS_SUCCESS;
}

static clips clips_of(const operation &o) {
    const descriptor &d = *o.described->made(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    return {(float)d.get<double>(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0),
            (float)d.get<double>(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, HUGE_VAL),
            (float)d.get<double>(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 0)};
}

void shim_cudnn::run_pointwise(running *r, const operation &o) {
    const mode &m = *mode_of(o);
    const tensor &to = *find_tensor(*r->graph, o, output_of(m));
    std::vector<int> names = inputs_of(m);
    clips clip = clips_of(o);
    const float alpha[] = {o.described->get<float>(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1),
                           o.described->get<float>(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, 1), 1};
    cells result((size_t)to.cells());
    size_t cell = 0;
    for (int64_t n = 0; n < to.n; n++)
        for (int64_t h = 0; h < to.h; h++)
            for (int64_t w = 0; w < to.w; w++)
                for (int64_t c = 0; c < to.c; c++) {
                    float in[3] = {0, 0, 0};
                    for (size_t i = 0; i < names.size(); i++) {
                        const tensor &t = *find_tensor(*r->graph, o, names[i]);
                        int64_t at = (((n % t.n) * t.h + h % t.h) * t.w + w % t.w) * t.c + c % t.c;
                        in[i] = alpha[i] * value_of(*r, o, names[i])[(size_t)at];
                    }
                    result[cell++] = m.apply(in[0], in[1], in[2], clip);
                }
    give(r, o, output_of(m), result);
}
