/* See fake_cudnn.h: a plan with its memory. The pack is checked now; the plan's operations run with
 * the stream, while the plan is still there. */
#include "tests/shim/fake_cuda.h"
#include "tests/shim/fake_cudnn.h"

using namespace shim_cudnn;

namespace {
struct call {
    std::weak_ptr<descriptor> plan;
    std::shared_ptr<const graph> what;
    std::vector<void *> pointer; /* by tensor; NULL: virtual, or by value */
    std::vector<float> number;   /* by tensor: given by value */
    void *workspace;
};
} // namespace

template <class Work> static void each_cell(const tensor &t, const Work &work) {
    int64_t cell = 0;
    for (int64_t n = 0; n < t.n; n++)
        for (int64_t h = 0; h < t.h; h++)
            for (int64_t w = 0; w < t.w; w++)
                for (int64_t c = 0; c < t.c; c++)
                    work(cell++,
                         n * t.stride[0] + c * t.stride[1] + h * t.stride[2] + w * t.stride[3]);
}

/* Many operations in one take longer than a convolution alone, but for gradients of weights. */
static double seconds_of(const engine &e, const graph &g) {
    bool weights = false;
    for (const operation &o : g.operations)
        weights |=
            o.described->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
    return weights && g.operations.size() > 2 ? e.seconds / 16 : e.seconds;
}

static void run(const call &c) {
    reference plan = c.plan.lock();
    if (!plan) {
        shim_break("cuDNN of the shim: a plan was destroyed before its work ran");
        return;
    }
    const engine &e = engines[(size_t)plan->engine];
    size_t count = c.what->tensors.size();
    shim_spend(seconds_of(e, *c.what));
    running r = {c.what.get(), std::vector<cells>(count), e.tf32};
    if (e.workspace > 0)
        std::memset(c.workspace, 0xff, (size_t)e.workspace);
    for (size_t i = 0; i < count; i++) {
        const tensor &t = c.what->tensors[i];
        r.value[i].resize((size_t)t.cells());
        if (t.by_host)
            r.value[i][0] = c.number[i];
        else if (!t.is_virtual && !c.what->written[i])
            each_cell(t, [&](int64_t cell, int64_t at) {
                r.value[i][(size_t)cell] = shim_load(t.type, c.pointer[i], at);
            });
    }
    for (const operation &o : c.what->operations)
        kind_of(o.described->type)->run(&r, o);
    for (size_t i = 0; i < count; i++) {
        const tensor &t = c.what->tensors[i];
        if (!t.is_virtual && c.what->written[i])
            each_cell(t, [&](int64_t cell, int64_t at) {
                shim_store(t.type, c.pointer[i], at, r.value[i][(size_t)cell]);
            });
    }
}

static cudnnStatus_t find_pointers(const descriptor &pack, call *c) {
    std::vector<int64_t> ids = pack.all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    std::vector<void *> pointers = pack.all<void *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    size_t found = 0;
    for (size_t i = 0; i < c->what->tensors.size(); i++) {
        const tensor &t = c->what->tensors[i];
        void *pointer = nullptr;
        for (size_t p = 0; p < ids.size(); p++)
            if (ids[p] == t.id && !t.is_virtual) {
                pointer = pointers[p];
                found++;
            }
        if (!t.is_virtual && !pointer)
            return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no memory for tensor %lld",
                          (long long)t.id);
        if ((uintptr_t)pointer % (uintptr_t)t.alignment)
            return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
                          "tensor %lld is not aligned to %lld bytes", (long long)t.id,
                          (long long)t.alignment);
        c->pointer.push_back(t.by_host ? nullptr : pointer);
        c->number.push_back(t.by_host ? shim_load(t.type, pointer, 0) : 0);
    }
    return found == ids.size() ? CUDNN_STATUS_SUCCESS
                               : refuse(CUDNN_STATUS_BAD_PARAM,
                                        "memory for a tensor that is virtual or none of the graph");
}

/* No result lies over another tensor, but for pointwise ones in place. */
static cudnnStatus_t check_apart(const call &c) {
    const graph &g = *c.what;
    bool in_place = true;
    for (const operation &o : g.operations)
        in_place = in_place && o.described->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR;
    for (size_t i = 0; i < g.tensors.size(); i++)
        for (size_t j = 0; j < g.tensors.size() && g.written[i]; j++)
            if (i != j && c.pointer[i] && c.pointer[j] &&
                shim_overlap(c.pointer[i], g.tensors[i].bytes(), c.pointer[j],
                             g.tensors[j].bytes()) &&
                !(in_place && c.pointer[i] == c.pointer[j]))
                return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %lld lies over tensor %lld",
                              (long long)g.tensors[i].id, (long long)g.tensors[j].id);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t shim_cudnn_execute(cudaStream_t stream, const reference &plan,
                                 const descriptor &pack) {
    const engine &e = engines[(size_t)plan->engine];
    call c = {plan, plan->graph, {}, {}, nullptr};
    c.workspace = pack.get<void *>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
    if (e.random)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "an engine that is not deterministic is run");
    if (e.workspace > 0 && (!c.workspace || (uintptr_t)c.workspace % 16))
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER,
                      "no workspace, or not aligned to 16 bytes");
    cudnnStatus_t status = find_pointers(pack, &c);
    if (status == CUDNN_STATUS_SUCCESS)
        status = check_apart(c);
    if (status == CUDNN_STATUS_SUCCESS)
        shim_enqueue_launch(stream, [c] { run(c); });
    return status;
}
