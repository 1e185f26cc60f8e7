/* See cuda_runtime_api.h. Every call counts, and the n-th can be made to fail. fake_blocks.cpp runs
 * the kernels. */
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "tests/shim/cuda_runtime.h"

struct shim_graph {
    std::vector<std::function<void()>> work;
};
struct shim_graph_exec {
    std::shared_ptr<shim_graph> graph; /* also of its launches that have not run */
};
struct shim_stream {
    std::unique_ptr<shim_graph> capture;
    std::deque<std::function<void()>> pending;
    long submitted, done;
};
struct shim_event {
    shim_stream *stream;
    long place;
};

static long calls, fail_at, held;
static cudaError_t last_error = cudaSuccess, broken = cudaSuccess;

void shim_fail_call(long n) {
    fail_at = n ? calls + n : 0;
}

long shim_calls(void) {
    return calls;
}

long shim_held(void) {
    return held;
}

void shim_break(const char *why) {
    std::fprintf(stderr, "%s\n", why);
    broken = cudaErrorLaunchFailure;
}

static bool fails() {
    return ++calls == fail_at;
}

bool shim_fails(void) {
    return fails();
}
#define CALL(error) \
    if (fails())    \
    return (error)

static std::set<shim_stream *> streams;
static std::map<const char *, size_t> device_and_locked; /* what copies need not wait for */

static void run_until(shim_stream *stream, long place) {
    while (stream->done < place) {
        std::function<void()> work = std::move(stream->pending.front());
        stream->pending.pop_front();
        stream->done++;
        work();
    }
}

static void run_all() {
    for (shim_stream *stream : streams)
        run_until(stream, stream->submitted);
}

static void submit(cudaStream_t stream, std::function<void()> work) {
    if (stream->capture) {
        stream->capture->work.push_back(std::move(work));
        return;
    }
    stream->pending.push_back(std::move(work));
    stream->submitted++;
}

cudaError_t shim_submit(cudaStream_t stream, void (*work)(const void *), const void *argument,
                        size_t bytes) {
    CALL(cudaErrorLaunchFailure);
    std::vector<char> copy((const char *)argument, (const char *)argument + bytes);
    submit(stream, [work, copy] { work(copy.data()); });
    return cudaSuccess;
}

static bool pageable(const void *memory) {
    auto after = device_and_locked.upper_bound((const char *)memory);
    if (after == device_and_locked.begin())
        return true;
    auto at = std::prev(after);
    return (const char *)memory >= at->first + at->second;
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess                   ? "no error"
           : error == cudaErrorMemoryAllocation   ? "out of memory"
           : error == cudaErrorNoDevice           ? "no CUDA-capable device is detected"
           : error == cudaErrorInsufficientDriver ? "CUDA driver version is insufficient"
                                                  : "injected failure";
}

const char *cudaGetErrorName(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation"
                                              : "cudaErrorLaunchFailure";
}

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaGetDeviceCount(int *count) {
    CALL(cudaErrorNoDevice);
    const char *given = std::getenv("SHIM_GPUS");
    *count = given ? std::atoi(given) : 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int) {
    CALL(cudaErrorLaunchFailure);
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    CALL(cudaErrorLaunchFailure);
    *properties = cudaDeviceProp{"the host as a GPU", {{(char)device}}, (size_t)8 << 30, 9, 0, 2};
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    CALL(cudaErrorLaunchFailure);
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    CALL(cudaErrorMemoryAllocation);
    /* To the byte, so that the address sanitizer sees what lies behind. */
    if (posix_memalign(memory, 256, bytes) != 0)
        return cudaErrorMemoryAllocation;
    std::memset(*memory, 0xff, bytes);
    device_and_locked[(const char *)*memory] = bytes;
    held++;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    run_all();
    device_and_locked.erase((const char *)memory);
    held--;
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
    *left = 0;
    *all = (size_t)8 << 30;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    return cudaMalloc(memory, bytes);
}

cudaError_t cudaFreeHost(void *memory) {
    return cudaFree(memory);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    submit(stream, [=] { std::memmove(to, from, bytes); });
    if (!stream->capture && (pageable(to) || pageable(from)))
        run_until(stream, stream->submitted);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    submit(stream, [=] { std::memset(to, byte, bytes); });
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    CALL(cudaErrorLaunchFailure);
    *stream = new shim_stream();
    streams.insert(*stream);
    held++;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    run_until(stream, stream->submitted);
    streams.erase(stream);
    held--;
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    run_until(stream, stream->submitted);
    cudaError_t error = broken;
    broken = cudaSuccess;
    return error;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    CALL(cudaErrorMemoryAllocation);
    *event = new shim_event();
    held++;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    held--;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    *event = {stream, stream->submitted};
    return cudaSuccess;
}

/* Work gets on while somebody looks. */
cudaError_t cudaEventQuery(cudaEvent_t event) {
    CALL(cudaErrorLaunchFailure);
    if (event->stream && event->stream->done < event->place)
        run_until(event->stream, event->stream->done + 1);
    return event->stream && event->stream->done < event->place ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    CALL(cudaErrorLaunchFailure);
    if (event->stream)
        run_until(event->stream, event->place);
    cudaError_t error = broken;
    broken = cudaSuccess;
    return error;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    CALL(cudaErrorLaunchFailure);
    stream->capture = std::make_unique<shim_graph>();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    std::unique_ptr<shim_graph> captured = std::move(stream->capture);
    CALL(cudaErrorLaunchFailure);
    *graph = captured.release();
    held++;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    CALL(cudaErrorLaunchFailure);
    *exec = new shim_graph_exec{std::make_shared<shim_graph>(*graph)};
    held++;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    held--;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    held--;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    submit(stream, [graph = exec->graph] {
        for (auto &work : graph->work)
            work();
    });
    return cudaSuccess;
}

void shim_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, bool as_team,
                 std::function<void()> thread) {
    if (fails() || block.x * block.y > SHIM_MOST_THREADS || grid.x == 0 || grid.y > 65535) {
        last_error = cudaErrorLaunchFailure;
        return;
    }
    submit(stream, [=] { shim_run_grid(grid, block, shared, as_team, thread); });
}
