/* See fake_cudnn.h: an operation graph as tensors and operations in the order of their computation.
 * Refused is what cuDNN refuses, and what it would compute from memory that nothing was written to.
 */
#include "tests/shim/fake_cudnn.h"

using namespace shim_cudnn;

static bool number_of(cudnnDataType_t dtype, shim_number *out) {
    *out = dtype == CUDNN_DATA_HALF       ? SHIM_F16
           : dtype == CUDNN_DATA_BFLOAT16 ? SHIM_BF16
                                          : SHIM_F32;
    return dtype == CUDNN_DATA_FLOAT || dtype == CUDNN_DATA_BOOLEAN || *out != SHIM_F32;
}

cudnnStatus_t shim_cudnn::read_tensor(const descriptor &from, tensor *out) {
    std::vector<int64_t> dim = from.all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
    std::vector<int64_t> stride = from.all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
    *out = {};
    out->id = from.get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
    out->alignment = from.get<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0);
    out->dtype = (cudnnDataType_t)from.get<int>(CUDNN_ATTR_TENSOR_DATA_TYPE, -1);
    out->is_virtual = from.get<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false);
    out->by_host = from.get<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE, false);
    if (dim.size() != stride.size())
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor with %zu dimensions and %zu strides",
                      dim.size(), stride.size());
    if (dim.size() != 4)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_SHAPE,
                      "the shim computes tensors of 4 dimensions");
    for (size_t i = 0; i < 4; i++)
        if (dim[i] < 1 || stride[i] < 1)
            return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor's size or stride below 1");
    if (!number_of(out->dtype, &out->type) ||
        (out->dtype == CUDNN_DATA_BOOLEAN && !out->is_virtual))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "a tensor of type %d", (int)out->dtype);
    if (out->alignment < (int64_t)shim_bytes(out->type) || (out->alignment & (out->alignment - 1)))
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor aligned to %lld bytes",
                      (long long)out->alignment);
    out->n = dim[0];
    out->c = dim[1];
    out->h = dim[2];
    out->w = dim[3];
    for (size_t i = 0; i < 4; i++)
        out->stride[i] = stride[i];
    if (out->by_host && (out->is_virtual || out->cells() != 1))
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor by value is one number");
    return CUDNN_STATUS_SUCCESS;
}

static bool same(const tensor &a, const tensor &b) {
    return a.dtype == b.dtype && a.n == b.n && a.c == b.c && a.h == b.h && a.w == b.w &&
           std::memcmp(a.stride, b.stride, sizeof a.stride) == 0 && a.alignment == b.alignment &&
           a.is_virtual == b.is_virtual && a.by_host == b.by_host;
}

/* Its place; tensors with one id are one. */
static cudnnStatus_t place_tensor(graph *g, const descriptor &from, int *place) {
    tensor t;
    cudnnStatus_t status = read_tensor(from, &t);
    for (size_t i = 0; i < g->tensors.size() && status == CUDNN_STATUS_SUCCESS; i++)
        if (g->tensors[i].id == t.id) {
            *place = (int)i;
            return same(g->tensors[i], t) ? CUDNN_STATUS_SUCCESS
                                          : refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES,
                                                   "two tensors with the id %lld", (long long)t.id);
        }
    *place = (int)g->tensors.size();
    g->tensors.push_back(t);
    g->written.push_back(false);
    return status;
}

static cudnnStatus_t place_operation(graph *g, const descriptor &from, std::vector<bool> *read) {
    operation o = {&from, {}};
    std::vector<int> outputs;
    for (const rule &r : rules()) {
        int place = 0;
        if (r.of != from.type || r.use < use::in || !from.has(r.name))
            continue;
        cudnnStatus_t status = place_tensor(g, *from.made(r.name), &place);
        if (status != CUDNN_STATUS_SUCCESS)
            return status;
        o.tensor[r.name] = place;
        read->resize(g->tensors.size());
        const tensor &t = g->tensors[(size_t)place];
        if (r.use == use::out || r.use == use::may_out) {
            outputs.push_back(place);
            if (g->written[(size_t)place] || t.by_host || (*read)[(size_t)place])
                return refuse(CUDNN_STATUS_BAD_PARAM, "%s: written twice, or read before", r.text);
        } else {
            (*read)[(size_t)place] = true;
            if (t.is_virtual && !g->written[(size_t)place])
                return refuse(CUDNN_STATUS_BAD_PARAM, "%s: virtual, and not computed before it",
                              r.text);
        }
    }
    for (int place : outputs)
        g->written[(size_t)place] = true;
    const kind *k = kind_of(from.type);
    if (!k)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "the shim computes no operation %d",
                      (int)from.type);
    g->operations.push_back(o);
    return k->check(*g, o);
}

cudnnStatus_t shim_cudnn::read_graph(descriptor *of) {
    auto g = std::make_shared<shim_cudnn::graph>();
    std::vector<bool> read;
    g->handle = of->get<cudnnHandle_t>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, nullptr);
    g->described = of->values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).made;
    for (const reference &from : g->described) {
        cudnnStatus_t status = place_operation(g.get(), *from, &read);
        if (status != CUDNN_STATUS_SUCCESS)
            return status;
    }
    for (size_t i = 0; i < g->tensors.size(); i++)
        if (g->tensors[i].is_virtual && !read[i])
            return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %lld is virtual, and nothing reads it",
                          (long long)g->tensors[i].id);
    of->graph = g;
    return CUDNN_STATUS_SUCCESS;
}
