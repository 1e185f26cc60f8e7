/* What plays cuDNN (cudnn.h). fake_cudnn.cpp: handles, descriptors and their attributes.
 * fake_cudnn_graph.cpp: what an operation graph says, as tensors and operations that can be
 * computed. fake_cudnn_engine.cpp: heuristics, engines, plans.
 * fake_cudnn_execute.cpp: a plan with a variant pack, on a stream. fake_cudnn_run.cpp: the
 * operations' arithmetic. */
#ifndef DL_SHIM_FAKE_CUDNN_H
#define DL_SHIM_FAKE_CUDNN_H

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/shim/cudnn.h"
#include "tests/shim/numbers.h"

namespace shim_cudnn {

/* CUDNN_STATUS_..., which is kept, with the text, for cudnnGetLastErrorString. */
cudnnStatus_t refuse(cudnnStatus_t status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

enum class use { need, may, tell, in, may_in, out, may_out };
struct rule { /* a row of cudnn_attributes.inc */
    cudnnBackendDescriptorType_t of;
    cudnnBackendAttributeName_t name;
    const char *text;
    cudnnBackendAttributeType_t type;
    int64_t most;
    shim_cudnn::use use;
};
const std::vector<rule> &rules();
size_t bytes_of(cudnnBackendAttributeType_t type);

struct descriptor;
using reference = std::shared_ptr<descriptor>;

struct value {
    int64_t count;
    std::vector<char> bytes; /* of numbers, modes, pointers */
    std::vector<reference> made;
};

struct graph;
struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalised;
    std::map<int, value> values;
    /* Of an operation graph, and of what stands on one. */
    std::shared_ptr<const shim_cudnn::graph> graph;
    int engine; /* of an engine, its configuration and plan */

    bool has(int name) const {
        return values.count(name) > 0;
    }
    template <class T> std::vector<T> all(int name) const {
        std::vector<T> list;
        if (!has(name))
            return list;
        const std::vector<char> &bytes = values.at(name).bytes;
        list.resize(bytes.size() / sizeof(T));
        if (!list.empty())
            std::memcpy(list.data(), bytes.data(), bytes.size());
        return list;
    }
    template <class T> T get(int name, T otherwise) const {
        if (has(name) && values.at(name).bytes.size() >= sizeof(T))
            std::memcpy(&otherwise, values.at(name).bytes.data(), sizeof(T));
        return otherwise;
    }
    reference made(int name) const {
        return has(name) ? values.at(name).made.at(0) : nullptr;
    }
};

const rule *find_rule(const descriptor &of, int name); /* NULL: it has no such attribute */
void put(descriptor *to, int name, const void *from, int64_t count);
cudnnStatus_t finalise(const reference &what);

/* ---- graphs ---- */

struct tensor {
    int64_t id, alignment;
    cudnnDataType_t dtype;
    shim_number type; /* as it is rounded and stored */
    int64_t n, c, h, w;
    int64_t stride[4];        /* of n, c, h, w, in elements */
    bool is_virtual, by_host; /* by_host: one number, in the host's memory when it is executed */
    int64_t cells() const {
        return n * c * h * w;
    }
    size_t bytes() const { /* from the first element to behind the last */
        int64_t last =
            (n - 1) * stride[0] + (c - 1) * stride[1] + (h - 1) * stride[2] + (w - 1) * stride[3];
        return shim_bytes(type) * (size_t)(last + 1);
    }
};

/* Values while a graph runs: [n][h][w][c], rounded to the tensor's type. */
using cells = std::vector<float>;

struct operation {
    const descriptor *described;
    std::map<int, int> tensor; /* by attribute: its place in graph.tensors */
};

struct graph {
    cudnnHandle_t handle;
    std::vector<reference> described;
    std::vector<shim_cudnn::tensor> tensors;
    std::vector<shim_cudnn::operation> operations;
    std::vector<bool> written; /* by tensor: by an operation */
};

cudnnStatus_t read_tensor(const descriptor &from, tensor *out);
cudnnStatus_t read_graph(descriptor *of);

/* ---- engines ---- */

struct engine {
    cudnnBackendHeurMode_t mode; /* of the heuristics that propose it */
    std::vector<cudnnBackendNumericalNote_t> notes;
    bool random, tf32, fuses;
    int64_t workspace;
    int64_t tile;   /* the value of its knob; 0: it has none */
    double seconds; /* by the shim's clock */
};
extern const std::vector<engine> engines;

cudnnStatus_t check_engine(descriptor *engine);
cudnnStatus_t check_config(descriptor *config);
cudnnStatus_t check_plan(descriptor *plan);
/* What a finalised descriptor tells of itself: its numbers, or descriptors. */
cudnnStatus_t told(const descriptor &of, cudnnBackendAttributeName_t name, value *out);

/* ---- running ---- */

struct running {
    const shim_cudnn::graph *graph;
    std::vector<cells> value; /* by tensor */
    bool tf32;                /* float32 factors are rounded */
};

/* The operation of that descriptor; NULL: the shim computes none. */
struct kind {
    cudnnBackendDescriptorType_t type;
    bool main; /* a graph without one, or with two, has no engine */
    cudnnStatus_t (*check)(const graph &g, const operation &o);
    void (*run)(running *r, const operation &o);
};
const kind *kind_of(cudnnBackendDescriptorType_t type);

} // namespace shim_cudnn

#endif
