/* See cuda_runtime_api.h and cuda_runtime.h. Every call counts, and the n-th can be made to fail.
 */
#include <ucontext.h>

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

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
static long calls, fail_at, held;
static cudaError_t last_error = cudaSuccess;

void shim_fail_call(long n) {
    fail_at = n ? calls + n : 0;
}

long shim_calls(void) {
    return calls;
}

long shim_held(void) {
    return held;
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
    *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (*memory) {
        std::memset(*memory, 0xff, bytes);
        device_and_locked[(const char *)*memory] = bytes;
        held++;
    }
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
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
    return cudaSuccess;
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
    return cudaSuccess;
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

/* ---- blocks and fibers ---- */

enum { MOST_THREADS = 1024, STACK = 64 << 10 };

static struct team {
    ucontext_t home, fiber[MOST_THREADS];
    std::vector<std::unique_ptr<char[]>> stacks;
    bool done[MOST_THREADS];
    uint64_t slot[MOST_THREADS];
    int current, count;
    bool running;
    const std::function<void()> *thread;
} team;
static std::vector<char> shared_memory;

void *shim_shared_memory() {
    return shared_memory.data();
}

int shim_lane() {
    return (int)threadIdx.x % warpSize;
}

/* All threads of a block come to the same meetings: so one round of turns per meeting serves. */
static void meet() {
    if (!team.running) {
        std::fprintf(stderr, "a kernel whose threads meet must be launched as a team\n");
        std::abort();
    }
    swapcontext(&team.fiber[team.current], &team.home);
}

void __syncthreads() {
    meet();
}

void __syncwarp(unsigned) {
    meet();
}

uint64_t shim_exchange(uint64_t mine, int from) {
    int base = team.current / warpSize * warpSize;
    team.slot[team.current] = mine;
    meet();
    uint64_t got = base + from < team.count ? team.slot[base + from] : mine;
    meet();
    return got;
}

static void fiber_main() {
    (*team.thread)();
    team.done[team.current] = true;
    swapcontext(&team.fiber[team.current], &team.home);
}

static void run_team(const std::function<void()> &thread, int count) {
    team.thread = &thread;
    team.count = count;
    team.running = true;
    while ((int)team.stacks.size() < count)
        team.stacks.push_back(std::make_unique<char[]>(STACK));
    for (int i = 0; i < count; i++) {
        team.done[i] = false;
        getcontext(&team.fiber[i]);
        team.fiber[i].uc_stack.ss_sp = team.stacks[(size_t)i].get();
        team.fiber[i].uc_stack.ss_size = STACK;
        team.fiber[i].uc_link = &team.home;
        makecontext(&team.fiber[i], fiber_main, 0);
    }
    for (bool left = true; left;) {
        left = false;
        for (int i = 0; i < count; i++) {
            if (team.done[i])
                continue;
            team.current = i;
            threadIdx = dim3((unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y, 0);
            swapcontext(&team.home, &team.fiber[i]);
            left = left || !team.done[i];
        }
    }
    team.running = false;
}

static void run_grid(dim3 grid, dim3 block, size_t shared, bool as_team,
                     const std::function<void()> &thread) {
    gridDim = grid;
    blockDim = block;
    if (shared_memory.size() < shared)
        shared_memory.resize(shared);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = dim3(x, y, z);
                std::memset(shared_memory.data(), 0xff, shared);
                if (as_team)
                    run_team(thread, (int)(block.x * block.y));
                for (unsigned j = 0; j < block.y && !as_team; j++)
                    for (unsigned i = 0; i < block.x; i++) {
                        threadIdx = dim3(i, j, 0);
                        thread();
                    }
            }
}

void shim_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, bool as_team,
                 std::function<void()> thread) {
    if (fails() || block.x * block.y > MOST_THREADS || grid.x == 0 || grid.y > 65535) {
        last_error = cudaErrorLaunchFailure;
        return;
    }
    submit(stream, [=] { run_grid(grid, block, shared, as_team, thread); });
}
