/* See cuda_runtime_api.h. Every call counts, and the n-th can be made to fail. fake_streams.cpp
 * runs what was enqueued, fake_blocks.cpp its kernels. */
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "tests/shim/fake_cuda.h"

static long launches, calls, fail_at, held;
static const char *failed, *counted = "";
static cudaError_t last_error = cudaSuccess, broken = cudaSuccess;

void shim_fail_call(long n) {
    fail_at = n ? calls + n : 0;
    if (n)
        failed = nullptr;
}

void shim_count_calls_of(const char *beginning) {
    counted = beginning ? beginning : "";
}

long shim_launches(void) {
    return launches;
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

cudaError_t shim_mend() {
    cudaError_t error = broken;
    broken = cudaSuccess;
    return error;
}

void shim_keep(int more) {
    held += more;
}

bool shim_fails_in(const char *call) {
    if (std::strncmp(call, counted, std::strlen(counted)) != 0 || ++calls != fail_at)
        return false;
    failed = call;
    if (std::strncmp(call, "cuda", 4) == 0)
        last_error = cudaErrorLaunchFailure; /* until somebody asks, as CUDA has it */
    return true;
}

const char *shim_failed(void) {
    return failed;
}

void shim_enqueue_launch(cudaStream_t stream, std::function<void()> work) {
    launches++;
    shim_enqueue(stream, std::move(work));
}

struct piece {
    size_t bytes;
    bool locked; /* the host's */
};
static std::map<const char *, piece> device_and_locked; /* what copies need not wait for */
static long sent[2][2];                                 /* [page-locked]: copies, bytes */

void shim_sent(bool locked, long *copies, long *bytes) {
    *copies = sent[locked][0];
    *bytes = sent[locked][1];
}

cudaError_t shim_submit(cudaStream_t stream, void (*work)(const void *), const void *argument,
                        size_t bytes) {
    CALL(cudaErrorLaunchFailure);
    std::vector<char> copy((const char *)argument, (const char *)argument + bytes);
    shim_enqueue_launch(stream, [work, copy] { work(copy.data()); });
    return cudaSuccess;
}

/* What lives as long as a piece of captured work does, in all its copies. */
static std::shared_ptr<int> count_graph(cudaStream_t stream, int *graphs) {
    if (!shim_captures(stream))
        return nullptr;
    __atomic_add_fetch(graphs, 1, __ATOMIC_SEQ_CST);
    return std::shared_ptr<int>(graphs, [](int *g) { __atomic_sub_fetch(g, 1, __ATOMIC_SEQ_CST); });
}

cudaError_t shim_submit_tries(cudaStream_t stream, bool (*work)(void *), const void *state,
                              size_t bytes, int *graphs) {
    CALL(cudaErrorLaunchFailure);
    std::vector<char> copy((const char *)state, (const char *)state + bytes);
    shim_enqueue_work(stream, [work, copy, graph = count_graph(stream, graphs)]() mutable {
        return work(copy.data());
    });
    return cudaSuccess;
}

/* NULL: the memory is the host's and pageable. */
static const piece *find_piece(const void *memory) {
    auto after = device_and_locked.upper_bound((const char *)memory);
    if (after == device_and_locked.begin())
        return nullptr;
    auto at = std::prev(after);
    return (const char *)memory >= at->first + at->second.bytes ? nullptr : &at->second;
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess                   ? "no error"
           : error == cudaErrorMemoryAllocation   ? "out of memory"
           : error == cudaErrorNoDevice           ? "no CUDA-capable device is detected"
           : error == cudaErrorInsufficientDriver ? "CUDA driver version is insufficient"
           : error == cudaErrorStreamCaptureUnjoined
               ? "capture has work of a stream that never joined its first"
           : error == cudaErrorStreamCaptureIsolation
               ? "an event and a stream of different captures"
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

static const int cuda_version = 13000;

/* The machine that is played: SHIM_GPUS of compute capability SHIM_CAPABILITY, and a driver that
 * serves CUDA as far as SHIM_DRIVER, 0: none. */
static int played(const char *name, int unless_given) {
    const char *given = std::getenv(name);
    return given ? std::atoi(given) : unless_given;
}

cudaError_t cudaGetDeviceCount(int *count) {
    CALL(cudaErrorNoDevice);
    const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
    *count = visible && !*visible ? 0 : played("SHIM_GPUS", 1);
    if (played("SHIM_DRIVER", cuda_version) < cuda_version)
        return cudaErrorInsufficientDriver;
    return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int) {
    CALL(cudaErrorLaunchFailure);
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    CALL(cudaErrorLaunchFailure);
    int capability = played("SHIM_CAPABILITY", 90);
    *properties = cudaDeviceProp{"the host as a GPU",
                                 {{(char)device}},
                                 (size_t)8 << 30,
                                 capability / 10,
                                 capability % 10,
                                 2,
                                 1 << 16};
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    CALL(cudaErrorLaunchFailure);
    *version = played("SHIM_DRIVER", cuda_version);
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = cuda_version;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    CALL(cudaErrorMemoryAllocation);
    /* To the byte, so that the address sanitizer sees what lies behind. */
    if (posix_memalign(memory, 256, bytes) != 0)
        return cudaErrorMemoryAllocation;
    std::memset(*memory, 0xff, bytes);
    device_and_locked[(const char *)*memory] = {bytes, false};
    held++;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    shim_run_all();
    device_and_locked.erase((const char *)memory);
    held--;
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
    CALL(cudaErrorLaunchFailure);
    *left = (size_t)8 << 30;
    *all = (size_t)8 << 30;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    cudaError_t status = cudaMalloc(memory, bytes);
    if (status == cudaSuccess)
        device_and_locked[(const char *)*memory].locked = true;
    return status;
}

cudaError_t cudaFreeHost(void *memory) {
    return cudaFree(memory);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    const piece *source = find_piece(from);
    if (!source || source->locked) {
        sent[source != nullptr][0]++;
        sent[source != nullptr][1] += (long)bytes;
    }
    shim_enqueue(stream, [=] { std::memmove(to, from, bytes); });
    if (!shim_captures(stream) && !(source && find_piece(to)))
        shim_run(stream);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream) {
    CALL(cudaErrorLaunchFailure);
    shim_enqueue(stream, [=] { std::memset(to, byte, bytes); });
    return cudaSuccess;
}

void shim_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, bool as_team,
                 std::function<void()> thread) {
    if (shim_fails_in("cudaLaunchKernel") || block.x * block.y > SHIM_MOST_THREADS || grid.x == 0 ||
        grid.y > 65535) {
        last_error = cudaErrorLaunchFailure;
        return;
    }
    launches++;
    shim_enqueue(stream, [=] { shim_run_grid(grid, block, shared, as_team, thread); });
}
