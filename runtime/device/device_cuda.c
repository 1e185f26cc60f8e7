/* The dl_device of CUDA: streams, events as marks, recordings as CUDA graphs. See device.h. */
#include "runtime/device/device_cuda.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "runtime/base/memory.h"
#include "runtime/device/choices.h"

struct dl_recording {
    cudaGraphExec_t exec;
};

dl_status dl_cuda_check(cudaError_t error, const char *call) {
    if (error == cudaSuccess)
        return DL_OK;
    dl_status status = error == cudaErrorMemoryAllocation ? DL_NO_MEMORY : DL_UNAVAILABLE;
    return dl_fail(status, "%s failed: %s (%s)", call, cudaGetErrorString(error),
                   cudaGetErrorName(error));
}

static dl_status allocate(dl_device *device, size_t bytes, void **out) {
    *out = NULL;
    if (device->imagined)
        return dl_fail(DL_INTERNAL, "%s has no memory: it is planned for, not here", device->name);
    cudaError_t error = cudaMalloc(out, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        size_t left = 0, all = 0;
        cudaMemGetInfo(&left, &all);
        return dl_fail(DL_NO_MEMORY,
                       "%s has no %zu MiB left (%zu of %zu are free); use a smaller batch_size, "
                       "precision: bf16, or more ranks",
                       device->name, bytes >> 20, left >> 20, all >> 20);
    }
    DL_TRY(dl_cuda_check(error, "cudaMalloc"));
    dl_status status = dl_cuda_check(cudaMemsetAsync(*out, 0, bytes, dl_cuda_of(device)->stream),
                                     "cudaMemsetAsync");
    if (status != DL_OK) {
        cudaFree(*out);
        *out = NULL;
    }
    return status;
}

static void release(dl_device *device, void *memory) {
    (void)device;
    if (memory)
        cudaFree(memory);
}

static dl_status allocate_host(dl_device *device, size_t bytes, void **out) {
    (void)device;
    *out = NULL;
    DL_CUDA_TRY(cudaHostAlloc, out, bytes ? bytes : 1, cudaHostAllocDefault);
    memset(*out, 0, bytes);
    return DL_OK;
}

static void release_host(dl_device *device, void *memory) {
    (void)device;
    if (memory)
        cudaFreeHost(memory);
}

static dl_status room(dl_device *device, size_t *bytes) {
    size_t all = 0;
    (void)device;
    DL_CUDA_TRY(cudaMemGetInfo, bytes, &all);
    return DL_OK;
}

static dl_status copy(dl_device *device, void *to, const void *from, size_t bytes) {
    DL_CUDA_TRY(cudaMemcpyAsync, to, from, bytes, cudaMemcpyDefault, dl_cuda_of(device)->turned);
    return DL_OK;
}

static dl_status fill(dl_device *device, void *to, int byte, size_t bytes) {
    DL_CUDA_TRY(cudaMemsetAsync, to, byte, bytes, dl_cuda_of(device)->turned);
    return DL_OK;
}

static dl_status wait(dl_device *device) {
    for (int i = 0; i < DL_STREAMS; i++)
        DL_CUDA_TRY(cudaStreamSynchronize, dl_cuda_of(device)->all[i]);
    return DL_OK;
}

static void turn_to(dl_device *device, dl_work_stream stream) {
    dl_cuda_of(device)->turned = dl_cuda_of(device)->all[stream];
}

static dl_status record(dl_device *device) {
    DL_CUDA_TRY(cudaStreamBeginCapture, dl_cuda_of(device)->stream,
                cudaStreamCaptureModeThreadLocal);
    return DL_OK;
}

static dl_status recorded(dl_device *device, dl_recording **out) {
    cudaGraph_t graph = NULL;
    *out = NULL;
    DL_CUDA_TRY(cudaStreamEndCapture, dl_cuda_of(device)->stream, &graph);
    dl_recording *recording = dl_alloc(sizeof *recording);
    dl_status status = recording ? dl_cuda_check(cudaGraphInstantiate(&recording->exec, graph, 0),
                                                 "cudaGraphInstantiate")
                                 : dl_fail_memory(sizeof *recording);
    cudaGraphDestroy(graph);
    if (status != DL_OK) {
        dl_free(recording);
        return status;
    }
    *out = recording;
    return DL_OK;
}

static dl_status play(dl_device *device, dl_recording *recording) {
    DL_CUDA_TRY(cudaGraphLaunch, recording->exec, dl_cuda_of(device)->stream);
    return DL_OK;
}

static void forget(dl_device *device, dl_recording *recording) {
    (void)device;
    if (recording)
        cudaGraphExecDestroy(recording->exec);
    dl_free(recording);
}

/* A mark is an event of CUDA's. */
static dl_status mark_open(dl_device *device, bool timed, dl_mark **out) {
    cudaEvent_t event = NULL;
    (void)device;
    *out = NULL;
    DL_CUDA_TRY(cudaEventCreateWithFlags, &event,
                timed ? cudaEventDefault : cudaEventDisableTiming);
    *out = (dl_mark *)event;
    return DL_OK;
}

static void mark_close(dl_device *device, dl_mark *mark) {
    (void)device;
    if (mark)
        cudaEventDestroy((cudaEvent_t)mark);
}

static dl_status mark(dl_device *device, dl_mark *mark) {
    DL_CUDA_TRY(cudaEventRecord, (cudaEvent_t)mark, dl_cuda_of(device)->turned);
    return DL_OK;
}

static dl_status follow(dl_device *device, dl_mark *mark) {
    DL_CUDA_TRY(cudaStreamWaitEvent, dl_cuda_of(device)->turned, (cudaEvent_t)mark, 0);
    return DL_OK;
}

static dl_status await(dl_device *device, dl_mark *mark) {
    if (device->joined)
        return dl_nccl_await(dl_cuda_of(device), (cudaEvent_t)mark);
    DL_CUDA_TRY(cudaEventSynchronize, (cudaEvent_t)mark);
    return DL_OK;
}

static dl_status seconds(dl_device *device, const dl_mark *from, const dl_mark *to, double *out) {
    float milliseconds = 0;
    (void)device;
    DL_CUDA_TRY(cudaEventElapsedTime, &milliseconds, (cudaEvent_t)(uintptr_t)from,
                (cudaEvent_t)(uintptr_t)to);
    *out = 1e-3 * (double)milliseconds;
    return DL_OK;
}

/* On a thread of CUDA's. */
static void sleep_for(void *microseconds) {
    intptr_t count = (intptr_t)microseconds;
    struct timespec time = {.tv_sec = count / 1000000, .tv_nsec = count % 1000000 * 1000};
    nanosleep(&time, NULL);
}

static dl_status pause_for(dl_device *device, double seconds) {
    DL_CUDA_TRY(cudaLaunchHostFunc, dl_cuda_of(device)->turned, sleep_for,
                (void *)(intptr_t)(1e6 * seconds));
    return DL_OK;
}

static dl_status build(dl_device *device) {
    return dl_cuda_module_build(dl_cuda_of(device));
}

static void close_device(dl_device *device) {
    dl_cuda *cuda = dl_cuda_of(device);
    for (int i = 0; i < DL_STREAMS; i++)
        if (cuda->all[i])
            cudaStreamSynchronize(cuda->all[i]);
    for (int i = 0; i < DL_GUESTS; i++)
        if (cuda->guest[i].state)
            cuda->guest[i].close(cuda->guest[i].state);
    dl_cuda_module_close(cuda->module);
    dl_choices_close(cuda->device.choices);
    for (int i = 0; i < DL_STREAMS; i++)
        if (cuda->all[i])
            cudaStreamDestroy(cuda->all[i]);
    dl_free(cuda);
}

static const dl_device_table table = {.allocate = allocate,
                                      .release = release,
                                      .allocate_host = allocate_host,
                                      .release_host = release_host,
                                      .room = room,
                                      .copy = copy,
                                      .fill = fill,
                                      .take = dl_cuda_take,
                                      .wait = wait,
                                      .record = record,
                                      .recorded = recorded,
                                      .play = play,
                                      .forget = forget,
                                      .turn_to = turn_to,
                                      .mark_open = mark_open,
                                      .mark_close = mark_close,
                                      .mark = mark,
                                      .await = await,
                                      .follow = follow,
                                      .seconds = seconds,
                                      .pause = pause_for,
                                      .peaks = dl_cuda_peaks,
                                      .join = dl_nccl_join,
                                      .give_up = dl_nccl_give_up,
                                      .sum_allocate = dl_nccl_allocate,
                                      .sum_release = dl_nccl_release,
                                      .sum_room = dl_cuda_sum_room,
                                      .sum = dl_cuda_sum,
                                      .build = build,
                                      .close = close_device};

/* Why there is none, for a person. */
static dl_status no_gpu(cudaError_t error) {
    const char *why = cudaGetErrorString(error);
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return dl_fail(
            DL_UNAVAILABLE,
            "no GPU can be used: there is no NVIDIA driver here; install it, or say device: cpu");
    if (error == cudaErrorInsufficientDriver)
        return dl_fail(
            DL_UNAVAILABLE,
            "no GPU can be used: the driver serves CUDA %d.%d, dltrain is built with %d.%d; "
            "install a newer driver, or say device: cpu",
            driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    return dl_fail(DL_UNAVAILABLE,
                   "no GPU can be used: %s; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or say "
                   "device: cpu",
                   error == cudaSuccess ? "none is visible" : why);
}

dl_status dl_cuda_count(int *out) {
    *out = 0;
    cudaError_t error = cudaGetDeviceCount(out);
    return error == cudaSuccess && *out > 0 ? DL_OK : no_gpu(error);
}

static dl_status make(dl_cuda **out) {
    dl_cuda *cuda = *out = dl_alloc(sizeof *cuda);
    if (!cuda)
        return dl_fail_memory(sizeof *cuda);
    cuda->device.table = &table;
    dl_status status = dl_choices_open(&cuda->device.choices, cuda->device.text);
    if (status == DL_OK)
        status = dl_cuda_module_open(cuda);
    if (status != DL_OK) {
        dl_choices_close(cuda->device.choices);
        dl_free(cuda);
        *out = NULL;
    }
    return status;
}

static dl_status start(dl_cuda *cuda, int index) {
    struct cudaDeviceProp properties;
    int driver = 0;
    cudaGetLastError(); /* of a run before this one, which has told it */
    DL_CUDA_TRY(cudaSetDevice, index);
    DL_CUDA_TRY(cudaGetDeviceProperties, &properties, index);
    DL_CUDA_TRY(cudaDriverGetVersion, &driver);
    for (int i = 0; i < DL_STREAMS; i++)
        DL_CUDA_TRY(cudaStreamCreateWithFlags, &cuda->all[i], cudaStreamNonBlocking);
    cuda->stream = cuda->turned = cuda->all[DL_STREAM_COMPUTE];
    dl_device *device = &cuda->device;
    cuda->index = index;
    cuda->processors = properties.multiProcessorCount;
    cuda->cache = properties.l2CacheSize > 0 ? (size_t)properties.l2CacheSize : 0;
    device->stream = cuda->stream;
    device->architecture = 10 * properties.major + properties.minor;
    memcpy(device->id, properties.uuid.bytes, sizeof device->id);
    snprintf(device->name, sizeof device->name, "cuda:%d", index);
    snprintf(device->text, sizeof device->text, "%.64s, sm_%d, %zu GiB, CUDA %d.%d",
             properties.name, device->architecture, properties.totalGlobalMem >> 30, driver / 1000,
             driver % 1000 / 10);
    if (device->architecture < 75)
        return dl_fail(DL_UNAVAILABLE,
                       "%s: compute capability 7.5 (Turing) is the least; say device: cpu",
                       device->text);
    return DL_OK;
}

dl_status dl_cuda_open(int index, dl_device **out) {
    dl_cuda *cuda = NULL;
    *out = NULL;
    DL_TRY(make(&cuda));
    dl_status status = start(cuda, index);
    if (status != DL_OK) {
        close_device(&cuda->device);
        return status;
    }
    *out = &cuda->device;
    return DL_OK;
}

dl_status dl_cuda_imagine(int architecture, dl_device **out) {
    dl_cuda *cuda = NULL;
    *out = NULL;
    DL_TRY(make(&cuda));
    cuda->device.architecture = architecture;
    cuda->device.imagined = true;
    cuda->processors = 1;
    snprintf(cuda->device.name, sizeof cuda->device.name, "cuda:sm_%d", architecture);
    snprintf(cuda->device.text, sizeof cuda->device.text, "sm_%d, planned for, not here",
             architecture);
    *out = &cuda->device;
    return DL_OK;
}
