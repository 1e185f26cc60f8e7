/* See fake_cudnn.h: handles, descriptors, attributes. All is checked when it is set or finalised;
 * a descriptor that is finalised is not changed any more. */
#include <cstdarg>
#include <cstdio>
#include <set>

#include "tests/shim/fake_cuda.h"
#include "tests/shim/fake_cudnn.h"

using namespace shim_cudnn;

struct cudnnContext {
    cudaStream_t stream;
};
/* What a cudnnBackendDescriptor_t points to. */
struct shim_cudnn_holder {
    reference what;
};

static thread_local char last_error[256];
static std::set<const void *> live; /* handles and holders */

cudnnStatus_t shim_cudnn::refuse(cudnnStatus_t status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}
#define COUNT_CALL() CALL(refuse(CUDNN_STATUS_INTERNAL_ERROR, "injected failure"))

size_t cudnnGetVersion(void) {
    return 91900;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch (status) {
#define NAMED(name) \
    case name:      \
        return #name
        NAMED(CUDNN_STATUS_SUCCESS);
        NAMED(CUDNN_STATUS_BAD_PARAM);
        NAMED(CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
        NAMED(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
        NAMED(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
        NAMED(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
        NAMED(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES);
        NAMED(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_SHAPE);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE);
        NAMED(CUDNN_STATUS_INTERNAL_ERROR);
        NAMED(CUDNN_STATUS_EXECUTION_FAILED);
        NAMED(CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER);
#undef NAMED
    }
    return "CUDNN_STATUS_UNKNOWN";
}

void cudnnGetLastErrorString(char *message, size_t room) {
    std::snprintf(message, room, "%s", last_error);
    last_error[0] = '\0';
}

/* ---- handles ---- */

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    COUNT_CALL();
    *handle = new cudnnContext();
    live.insert(*handle);
    shim_keep(1);
    return CUDNN_STATUS_SUCCESS;
}

static bool is_handle(cudnnHandle_t handle) {
    return handle && live.count(handle);
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    if (!live.erase(handle))
        return refuse(CUDNN_STATUS_BAD_PARAM, "no handle to destroy");
    shim_keep(-1);
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    COUNT_CALL();
    if (!is_handle(handle))
        return refuse(CUDNN_STATUS_BAD_PARAM, "no handle");
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    COUNT_CALL();
    if (!is_handle(handle))
        return refuse(CUDNN_STATUS_BAD_PARAM, "no handle");
    *stream = handle->stream;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- rules ---- */

const std::vector<rule> &shim_cudnn::rules() {
    static std::vector<rule> list;
    cudnnBackendDescriptorType_t of = CUDNN_BACKEND_POINTWISE_DESCRIPTOR;
    if (!list.empty())
        return list;
    auto row = [&](cudnnBackendAttributeName_t name, const char *text,
                   cudnnBackendAttributeType_t type, int64_t most, use how) {
        list.push_back({of, name, text, type, most, how});
    };
#define OF(descriptor)                 of = CUDNN_BACKEND_##descriptor##_DESCRIPTOR;
#define ROW(name, type, most, how)     row(CUDNN_ATTR_##name, #name, CUDNN_TYPE_##type, most, how);
#define NEED(name, number, type, most) ROW(name, type, most, use::need)
#define MAY(name, number, type, most)  ROW(name, type, most, use::may)
#define TELL(name, number, type, most) ROW(name, type, most, use::tell)
#define IN(name, number)               ROW(name, BACKEND_DESCRIPTOR, 1, use::in)
#define MAY_IN(name, number)           ROW(name, BACKEND_DESCRIPTOR, 1, use::may_in)
#define OUT(name, number)              ROW(name, BACKEND_DESCRIPTOR, 1, use::out)
#define MAY_OUT(name, number)          ROW(name, BACKEND_DESCRIPTOR, 1, use::may_out)
#include "tests/shim/cudnn_attributes.inc"
    return list;
}

size_t shim_cudnn::bytes_of(cudnnBackendAttributeType_t type) {
    switch (type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
        return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
        return 8;
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
        return sizeof(void *);
    default:
        return 4;
    }
}

const rule *shim_cudnn::find_rule(const descriptor &of, int name) {
    for (const rule &r : rules())
        if (r.of == of.type && r.name == name)
            return &r;
    return nullptr;
}

/* ---- descriptors ---- */

static const reference *find(cudnnBackendDescriptor_t descriptor) {
    return live.count(descriptor) ? &((shim_cudnn_holder *)descriptor)->what : nullptr;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *out) {
    COUNT_CALL();
    bool known = false;
    for (const rule &r : rules())
        known = known || r.of == type;
    if (!known)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the shim knows no descriptor %d", (int)type);
    shim_cudnn_holder *h = new shim_cudnn_holder{std::make_shared<descriptor>()};
    h->what->type = type;
    live.insert(h);
    shim_keep(1);
    *out = h;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    if (!live.erase(descriptor))
        return refuse(CUDNN_STATUS_BAD_PARAM, "no descriptor to destroy");
    shim_keep(-1);
    delete (shim_cudnn_holder *)descriptor;
    return CUDNN_STATUS_SUCCESS;
}

void shim_cudnn::put(descriptor *to, int name, const void *from, int64_t count) {
    size_t bytes = bytes_of(find_rule(*to, name)->type) * (size_t)count;
    value v = {count, {}, {}};
    v.bytes.assign((const char *)from, (const char *)from + bytes);
    to->values[name] = v;
}

static cudnnStatus_t put_descriptors(descriptor *to, const rule &r, int64_t count,
                                     const void *values) {
    value v = {count, {}, {}};
    for (int64_t i = 0; i < count; i++) {
        const reference *made = find(((const cudnnBackendDescriptor_t *)values)[i]);
        if (!made || !(*made)->finalised)
            return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "%s: not a finalised descriptor",
                          r.text);
        bool tensor = (*made)->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR;
        if (tensor != (r.use != use::need && r.use != use::may))
            return refuse(CUDNN_STATUS_BAD_PARAM, "%s: a descriptor of another kind", r.text);
        v.made.push_back(*made);
    }
    to->values[r.name] = v;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values) {
    COUNT_CALL();
    const reference *what = find(descriptor);
    if (!what || !values)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or no values");
    const rule *r = find_rule(**what, name);
    if ((*what)->finalised || !r || r->use == use::tell)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: cannot be set%s",
                      r ? r->text : "an attribute of another descriptor",
                      (*what)->finalised ? " any more: the descriptor is finalised" : "");
    if (type != r->type)
        return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "%s: has type %d, not %d", r->text,
                      (int)r->type, (int)type);
    if (count < 1 || count > r->most)
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: %lld values, at most %lld fit", r->text,
                      (long long)count, (long long)r->most);
    if (type == CUDNN_TYPE_HANDLE && !is_handle(*(const cudnnHandle_t *)values))
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: no handle", r->text);
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return put_descriptors(what->get(), *r, count, values);
    put(what->get(), name, values, count);
    return CUDNN_STATUS_SUCCESS;
}

/* Into descriptors that were made for it. */
static cudnnStatus_t tell_descriptors(const rule &r, const value &v, int64_t wanted, void *values) {
    for (int64_t i = 0; i < v.count && i < wanted; i++) {
        cudnnBackendDescriptor_t to = ((cudnnBackendDescriptor_t *)values)[i];
        const reference *made = find(to);
        if (!made || (*made)->finalised || (*made)->type != v.made[(size_t)i]->type)
            return refuse(CUDNN_STATUS_BAD_PARAM, "%s: is told into a fresh descriptor of its kind",
                          r.text);
        ((shim_cudnn_holder *)to)->what = v.made[(size_t)i];
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted,
                                       int64_t *count, void *values) {
    COUNT_CALL();
    const reference *what = find(descriptor);
    if (!what || (!values && wanted > 0))
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or no room");
    const rule *r = find_rule(**what, name);
    if (!(*what)->finalised)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "an attribute is asked for too early");
    if (!r || type != r->type)
        return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "%s: asked for as another type",
                      r ? r->text : "an attribute of another descriptor");
    value v = {};
    cudnnStatus_t status = told(**what, name, &v);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    if (count)
        *count = wanted == 0 || v.count < wanted ? v.count : wanted;
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return tell_descriptors(*r, v, wanted, values);
    size_t room = bytes_of(type) * (size_t)wanted;
    if (room > 0 && !v.bytes.empty())
        std::memcpy(values, v.bytes.data(), v.bytes.size() < room ? v.bytes.size() : room);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_pack(const descriptor &pack) {
    std::vector<int64_t> ids = pack.all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    std::vector<void *> pointers = pack.all<void *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    if (ids.size() != pointers.size())
        return refuse(CUDNN_STATUS_BAD_PARAM, "a variant pack of %zu ids and %zu pointers",
                      ids.size(), pointers.size());
    if (std::set<int64_t>(ids.begin(), ids.end()).size() != ids.size())
        return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "a variant pack with an id twice");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_convolution(const descriptor &c) {
    auto spatial = (size_t)c.get<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0);
    for (int name : {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES,
                     CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS})
        if (c.all<int64_t>(name).size() != spatial)
            return refuse(CUDNN_STATUS_BAD_PARAM, "a convolution's sizes of other dimensions");
    if (c.get<int>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, -1) != CUDNN_DATA_FLOAT ||
        c.get<int>(CUDNN_ATTR_CONVOLUTION_CONV_MODE, -1) != CUDNN_CROSS_CORRELATION || spatial != 2)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "a convolution that the shim does not compute");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check(descriptor *what) {
    tensor ignored;
    switch (what->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        return read_tensor(*what, &ignored);
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
        return check_convolution(*what);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        return read_graph(what);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
        what->graph = what->made(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->graph;
        if (!what->graph->handle && !what->has(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP))
            return refuse(CUDNN_STATUS_BAD_PARAM, "heuristics for no device");
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
        what->graph = what->made(CUDNN_ATTR_ENGINE_OPERATION_GRAPH)->graph;
        return check_engine(what);
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
        what->graph = what->made(CUDNN_ATTR_ENGINECFG_ENGINE)->graph;
        what->engine = what->made(CUDNN_ATTR_ENGINECFG_ENGINE)->engine;
        return check_config(what);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        return check_plan(what);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
        return check_pack(*what);
    default:
        return CUDNN_STATUS_SUCCESS;
    }
}

cudnnStatus_t shim_cudnn::finalise(const reference &what) {
    if (what->finalised)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a descriptor is finalised twice");
    for (const rule &r : rules())
        if (r.of == what->type && (r.use == use::need || r.use == use::in || r.use == use::out) &&
            !what->has(r.name))
            return refuse(CUDNN_STATUS_BAD_PARAM, "%s: not set", r.text);
    cudnnStatus_t status = check(what.get());
    what->finalised = status == CUDNN_STATUS_SUCCESS;
    return status;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    COUNT_CALL();
    const reference *what = find(descriptor);
    return what ? finalise(*what)
                : refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor to finalise");
}

/* fake_cudnn_execute.cpp */
cudnnStatus_t shim_cudnn_execute(cudaStream_t stream, const reference &plan,
                                 const descriptor &pack);

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
    COUNT_CALL();
    const reference *p = find(plan), *v = find(pack);
    if (!is_handle(handle) || !handle->stream)
        return refuse(CUDNN_STATUS_BAD_PARAM, "no handle, or one without a stream");
    if (!p || (*p)->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR || !(*p)->finalised || !v ||
        (*v)->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR || !(*v)->finalised)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                      "a finalised plan and variant pack are executed");
    if ((*p)->get<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, nullptr) != handle)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a plan for another handle or device");
    return shim_cudnn_execute(handle->stream, *p, **v);
}
