/* See fake_cudnn.h: reductions, and what cuDNN has for batch normalisation. Sums are double. */
#include <cmath>

#include "tests/shim/fake_cudnn_kinds.h"

using namespace shim_cudnn;

static bool is_vector(const tensor *t, int64_t channels) {
    return !t || (t->n == 1 && t->h == 1 && t->w == 1 && t->c == channels &&
                  t->dtype == CUDNN_DATA_FLOAT);
}

static cudnnStatus_t vectors(const graph &g, const operation &o, int64_t channels,
                             std::initializer_list<int> names) {
    for (int name : names)
        if (!is_vector(find_tensor(g, o, name), channels))
            return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                          "attribute %d is no float32 vector of %lld channels", name,
                          (long long)channels);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- sums and sums of squares, by channel ---- */

cudnnStatus_t shim_cudnn::check_stats(const graph &g, const operation &o) {
    return vectors(
        g, o, find_tensor(g, o, CUDNN_ATTR_OPERATION_GENSTATS_XDESC)->c,
        {CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC});
}

void shim_cudnn::run_stats(running *r, const operation &o) {
    auto channels = (size_t)find_tensor(*r->graph, o, CUDNN_ATTR_OPERATION_GENSTATS_XDESC)->c;
    const cells &x = value_of(*r, o, CUDNN_ATTR_OPERATION_GENSTATS_XDESC);
    std::vector<double> sum(channels, 0.0), squares(channels, 0.0);
    for (size_t i = 0; i < x.size(); i++) {
        sum[i % channels] += (double)x[i];
        squares[i % channels] += (double)x[i] * (double)x[i];
    }
    give(r, o, CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, cells(sum.begin(), sum.end()));
    give(r, o, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, cells(squares.begin(), squares.end()));
}

/* ---- any reduction ---- */

cudnnStatus_t shim_cudnn::check_reduction(const graph &g, const operation &o) {
    const tensor &x = *find_tensor(g, o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
    const tensor &y = *find_tensor(g, o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
    const descriptor &d = *o.described->made(CUDNN_ATTR_OPERATION_REDUCTION_DESC);
    if (d.type != CUDNN_BACKEND_REDUCTION_DESCRIPTOR ||
        d.get<int>(CUDNN_ATTR_REDUCTION_OPERATOR, -1) > CUDNN_REDUCE_TENSOR_AVG)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "a reduction that the shim does not compute");
    for (int64_t size : {y.n == 1 || y.n == x.n, y.c == 1 || y.c == x.c, y.h == 1 || y.h == x.h,
                         y.w == 1 || y.w == x.w})
        if (!size)
            return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "a reduction to other sizes");
    return CUDNN_STATUS_SUCCESS;
}

static double reduced(int how, double sum, double x) {
    switch (how) {
    case CUDNN_REDUCE_TENSOR_MUL:
        return sum * x;
    case CUDNN_REDUCE_TENSOR_MIN:
        return x < sum ? x : sum;
    case CUDNN_REDUCE_TENSOR_MAX:
        return x > sum ? x : sum;
    case CUDNN_REDUCE_TENSOR_AMAX:
        return std::fabs(x) > sum ? std::fabs(x) : sum;
    default:
        return sum + x;
    }
}

void shim_cudnn::run_reduction(running *r, const operation &o) {
    const tensor &x = *find_tensor(*r->graph, o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
    const tensor &y = *find_tensor(*r->graph, o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
    const cells &in = value_of(*r, o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
    int how = o.described->made(CUDNN_ATTR_OPERATION_REDUCTION_DESC)
                  ->get<int>(CUDNN_ATTR_REDUCTION_OPERATOR, -1);
    double start = how == CUDNN_REDUCE_TENSOR_MUL   ? 1
                   : how == CUDNN_REDUCE_TENSOR_MIN ? HUGE_VAL
                   : how == CUDNN_REDUCE_TENSOR_MAX ? -HUGE_VAL
                                                    : 0;
    std::vector<double> sum((size_t)y.cells(), start);
    size_t cell = 0;
    for (int64_t n = 0; n < x.n; n++)
        for (int64_t h = 0; h < x.h; h++)
            for (int64_t w = 0; w < x.w; w++)
                for (int64_t c = 0; c < x.c; c++) {
                    int64_t at = ((n % y.n * y.h + h % y.h) * y.w + w % y.w) * y.c + c % y.c;
                    sum[(size_t)at] = reduced(how, sum[(size_t)at], (double)in[cell++]);
                }
    for (double &s : sum)
        s = how == CUDNN_REDUCE_TENSOR_AVG ? s * (double)y.cells() / (double)x.cells() : s;
    give(r, o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, cells(sum.begin(), sum.end()));
}

/* ---- batch normalisation: statistics of sums; gradients of scale and bias ---- */

#define BN(name) CUDNN_ATTR_OPERATION_BN_FINALIZE_##name

cudnnStatus_t shim_cudnn::check_finalize(const graph &g, const operation &o) {
    bool running = o.tensor.count(BN(PREV_RUNNING_MEAN_DESC));
    for (int name : {BN(PREV_RUNNING_VAR_DESC), BN(UPDATED_RUNNING_MEAN_DESC),
                     BN(UPDATED_RUNNING_VAR_DESC), BN(EXP_AVERATE_FACTOR_DESC)})
        if (running != (o.tensor.count(name) > 0))
            return refuse(CUDNN_STATUS_BAD_PARAM, "running statistics that are not all there");
    if (o.described->get<int>(BN(STATS_MODE), -1) != CUDNN_BN_FINALIZE_STATISTICS_TRAINING)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "statistics that are not those of training");
    for (int name : {BN(EPSILON_DESC), BN(ACCUM_COUNT_DESC), BN(EXP_AVERATE_FACTOR_DESC)}) {
        const tensor *t = find_tensor(g, o, name);
        if (t && t->cells() != 1)
            return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d is no single number", name);
    }
    return vectors(g, o, find_tensor(g, o, BN(Y_SUM_DESC))->c,
                   {BN(Y_SUM_DESC), BN(Y_SQ_SUM_DESC), BN(SCALE_DESC), BN(BIAS_DESC),
                    BN(PREV_RUNNING_MEAN_DESC), BN(PREV_RUNNING_VAR_DESC),
                    BN(UPDATED_RUNNING_MEAN_DESC), BN(UPDATED_RUNNING_VAR_DESC),
                    BN(SAVED_MEAN_DESC), BN(SAVED_INV_STD_DESC)});
}

void shim_cudnn::run_finalize(running *r, const operation &o) {
    const cells &sum = value_of(*r, o, BN(Y_SUM_DESC)),
                &squares = value_of(*r, o, BN(Y_SQ_SUM_DESC));
    const cells &scale = value_of(*r, o, BN(SCALE_DESC)), &bias = value_of(*r, o, BN(BIAS_DESC));
    double count = (double)value_of(*r, o, BN(ACCUM_COUNT_DESC))[0];
    double epsilon = (double)value_of(*r, o, BN(EPSILON_DESC))[0];
    cells mean(sum.size()), inverse(sum.size()), equal_scale(sum.size()), equal_bias(sum.size());
    cells mean_now(sum.size()), variance_now(sum.size());
    bool running = o.tensor.count(BN(PREV_RUNNING_MEAN_DESC));
    for (size_t c = 0; c < sum.size(); c++) {
        double m = (double)sum[c] / count, variance = (double)squares[c] / count - m * m;
        variance = variance > 0 ? variance : 0;
        double inverted = 1 / std::sqrt(variance + epsilon);
        mean[c] = (float)m;
        inverse[c] = (float)inverted;
        equal_scale[c] = (float)((double)scale[c] * inverted);
        equal_bias[c] = (float)((double)bias[c] - m * (double)scale[c] * inverted);
        if (!running)
            continue;
        double factor = (double)value_of(*r, o, BN(EXP_AVERATE_FACTOR_DESC))[0];
        double before = (double)value_of(*r, o, BN(PREV_RUNNING_MEAN_DESC))[c];
        double variance_before = (double)value_of(*r, o, BN(PREV_RUNNING_VAR_DESC))[c];
        double unbiased = count > 1 ? variance * count / (count - 1) : variance;
        mean_now[c] = (float)((1 - factor) * before + factor * m);
        variance_now[c] = (float)((1 - factor) * variance_before + factor * unbiased);
    }
    give(r, o, BN(SAVED_MEAN_DESC), mean);
    give(r, o, BN(SAVED_INV_STD_DESC), inverse);
    give(r, o, BN(EQ_SCALE_DESC), equal_scale);
    give(r, o, BN(EQ_BIAS_DESC), equal_bias);
    give(r, o, BN(UPDATED_RUNNING_MEAN_DESC), mean_now);
    give(r, o, BN(UPDATED_RUNNING_VAR_DESC), variance_now);
}
#undef BN

#define BN(name) CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_##name

cudnnStatus_t shim_cudnn::check_weights(const graph &g, const operation &o) {
    const tensor &x = *find_tensor(g, o, BN(X_DESC)), &dy = *find_tensor(g, o, BN(DY_DESC));
    if (x.n != dy.n || x.c != dy.c || x.h != dy.h || x.w != dy.w)
        return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "x and dy of different sizes");
    return vectors(g, o, x.c,
                   {BN(MEAN_DESC), BN(INVSTD_DESC), BN(BN_SCALE_DESC), BN(DBN_SCALE_DESC),
                    BN(DBN_BIAS_DESC), BN(EQ_DY_SCALE_DESC), BN(EQ_X_SCALE_DESC), BN(EQ_BIAS)});
}

/* And the factors of dx = dy * EQ_DY_SCALE + x * EQ_X_SCALE + EQ_BIAS. */
void shim_cudnn::run_weights(running *r, const operation &o) {
    const cells &x = value_of(*r, o, BN(X_DESC)), &dy = value_of(*r, o, BN(DY_DESC));
    const cells &mean = value_of(*r, o, BN(MEAN_DESC)), &inverse = value_of(*r, o, BN(INVSTD_DESC));
    const cells &scale = value_of(*r, o, BN(BN_SCALE_DESC));
    size_t channels = mean.size();
    std::vector<double> by_scale(channels, 0.0), by_bias(channels, 0.0);
    for (size_t i = 0; i < x.size(); i++) {
        size_t c = i % channels;
        by_bias[c] += (double)dy[i];
        by_scale[c] += (double)dy[i] * ((double)x[i] - (double)mean[c]) * (double)inverse[c];
    }
    cells of_dy(channels), of_x(channels), rest(channels);
    for (size_t c = 0; c < channels; c++) {
        double count = (double)(x.size() / channels), i = (double)inverse[c];
        double s = (double)scale[c] * i, x_scale = -s * i * by_scale[c] / count;
        of_dy[c] = (float)s;
        of_x[c] = (float)x_scale;
        rest[c] = (float)(-s * by_bias[c] / count - x_scale * (double)mean[c]);
    }
    give(r, o, BN(DBN_SCALE_DESC), cells(by_scale.begin(), by_scale.end()));
    give(r, o, BN(DBN_BIAS_DESC), cells(by_bias.begin(), by_bias.end()));
    give(r, o, BN(EQ_DY_SCALE_DESC), of_dy);
    give(r, o, BN(EQ_X_SCALE_DESC), of_x);
    give(r, o, BN(EQ_BIAS), rest);
}
#undef BN
