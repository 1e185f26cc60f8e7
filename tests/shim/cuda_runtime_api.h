/* The part of CUDA's runtime that dltrain calls, on the host (fake_cuda.cpp): one device whose
 * memory is the host's, streams whose work waits until somebody waits for it (so that host memory
 * which is used again too early is seen) and overtakes that of others wherever events let it,
 * graphs. It is how libdl_cuda_shim.so runs whole jobs through the code of libdl_cuda.so without a
 * GPU; what races inside a kernel it cannot show. */
#ifndef DL_SHIM_CUDA_RUNTIME_API_H
#define DL_SHIM_CUDA_RUNTIME_API_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnjoined = 904,
    cudaErrorStreamCaptureIsolation = 905
} cudaError_t;
typedef struct shim_stream *cudaStream_t;
typedef struct shim_graph *cudaGraph_t;
typedef struct shim_graph_exec *cudaGraphExec_t;
typedef struct shim_event *cudaEvent_t;
enum cudaMemcpyKind { cudaMemcpyDefault = 4 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum {
    cudaHostAllocDefault = 0,
    cudaStreamNonBlocking = 1,
    cudaEventDefault = 0,
    cudaEventDisableTiming = 2
};
struct cudaDeviceProp {
    char name[256];
    struct {
        char bytes[16];
    } uuid;
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount, l2CacheSize;
};

const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemGetInfo(size_t *left, size_t *all);
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
typedef void (*cudaHostFn_t)(void *argument);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *argument);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);

/* What the shim's own files use. The n-th call from now on (1: the next) fails, as a CUDA call
 * does; 0: none. Calls made so far; memory, streams, events, graphs, and the libraries' handles and
 * descriptors that are not freed. */
void shim_fail_call(long n);
bool shim_fails_in(const char *call); /* counts a call */
const char *shim_failed(void);        /* the call that was made to fail; NULL: not reached */
long shim_calls(void);
void shim_count_calls_of(const char *beginning); /* of their names, no others; NULL: all */
long shim_held(void);
long shim_launches(void); /* kernels and library calls so far, those in recordings once */
/* Copies from the host's memory so far, page-locked or other, and their bytes. */
void shim_sent(bool locked, long *copies, long *bytes);
/* Of work that runs: how long it takes by the shim's clock, which timed events read. */
void shim_spend(double seconds);
void shim_keep(int more); /* adds to what is held */
/* Work in a stream went wrong: the next wait for one fails. */
void shim_break(const char *why);
/* In which order work of several streams runs, where events leave a choice: that of the stream that
 * is waited for first, or last, or any by seed. SHIM_ORDER=early, or a seed, chooses from outside.
 */
enum shim_order_kind { SHIM_ORDER_LATE, SHIM_ORDER_EARLY, SHIM_ORDER_ANY };
void shim_order(enum shim_order_kind kind, unsigned seed);
/* Waits of streams for events so far; the n-th from now on keeps nothing waiting (0: none). */
long shim_waits(void);
void shim_leave_out_wait(long n);
/* Work for the stream: run when somebody waits for it, or kept by the graph that is being captured.
 * `argument` is copied. */
cudaError_t shim_submit(cudaStream_t stream, void (*work)(const void *argument),
                        const void *argument, size_t bytes);
/* The same, called until it returns that it is done; then its copy of `state` must be as it was, as
 * a graph is played again. *graphs: how many graphs have such work. */
cudaError_t shim_submit_tries(cudaStream_t stream, bool (*work)(void *state), const void *state,
                              size_t bytes, int *graphs);

#ifdef __cplusplus
}
#endif
#endif
