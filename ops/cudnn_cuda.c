/* A device's cuDNN, descriptions and their running. See cudnn_cuda.h; cudnn_choose_cuda.c has what
 * lies between. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cudnn_call_cuda.h"
#include "runtime/base/memory.h"

dl_status dl_cudnn_check(cudnnStatus_t status, const char *call) {
    char why[128] = "";
    if (status == CUDNN_STATUS_SUCCESS)
        return DL_OK;
    cudnnGetLastErrorString(why, sizeof why);
    return dl_fail(DL_UNAVAILABLE, "%s failed: %s%s%.100s", call, cudnnGetErrorString(status),
                   *why ? ": " : "", why);
}

/* ---- a device's guest ---- */

static void close_guest(void *state) {
    dl_cudnn_guest *guest = state;
    if (guest->handle)
        cudnnDestroy(guest->handle);
    if (guest->imagined)
        cudnnBackendDestroyDescriptor(guest->imagined);
    dl_free(guest);
}

/* Engines that are compiled when a plan is made look for the driver's library before anything else,
 * though what they need for that is NVRTC. The toolkit has one to link against; opened here, it is
 * what they find. Its functions fail, so that such an engine gets as far as the loading of its
 * code. */
static bool find_driver(void) {
    static const char *const places[] = {"lib64/stubs", "lib/stubs",
                                         "targets/x86_64-linux/lib/stubs"};
    if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL))
        return true;
    const char *homes[] = {getenv("CUDA_HOME"), "/usr/local/cuda"};
    for (size_t h = 0; h < sizeof homes / sizeof homes[0]; h++)
        for (size_t p = 0; p < sizeof places / sizeof places[0] && homes[h]; p++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s/libcuda.so", homes[h], places[p]);
            if (dlopen(path, RTLD_NOW | RTLD_GLOBAL))
                return true;
        }
    return false;
}

static dl_status imagine(dl_cudnn_guest *guest, int architecture) {
    char text[CUDNN_CARD_TEXT];
    if (cudnnGetVersion() < 90800)
        return dl_fail(DL_UNAVAILABLE,
                       "plans for a GPU that is not here need cuDNN 9.8 or later, and this is %zu",
                       cudnnGetVersion());
    guest->driver = find_driver();
    DL_TRY(dl_cudnn_check(
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &guest->imagined),
        "cudnnBackendCreateDescriptor"));
    int length = dl_cudnn_card(architecture, text);
    DL_TRY(dl_cudnn_check(cudnnBackendSetAttribute(guest->imagined,
                                                   CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                                   CUDNN_TYPE_CHAR, length, text),
                          "cudnnBackendSetAttribute"));
    return dl_cudnn_check(cudnnBackendFinalize(guest->imagined), "cudnnBackendFinalize");
}

static void name_library(dl_cudnn_guest *guest) {
    int version = (int)cudnnGetVersion();
    snprintf(guest->library, sizeof guest->library, "cuDNN %d.%d.%d%s", version / 10000,
             version / 100 % 100, version % 100, guest->driver ? "" : ", no driver");
}

static dl_status open_guest(dl_cudnn_guest *guest, const dl_cuda *cuda) {
    if (cuda->device.imagined)
        return imagine(guest, cuda->device.architecture);
    DL_TRY(dl_cudnn_check(cudnnCreate(&guest->handle), "cudnnCreate"));
    guest->driver = true;
    return dl_cudnn_check(cudnnSetStream(guest->handle, cuda->stream), "cudnnSetStream");
}

static dl_status find_guest(dl_cuda *cuda, dl_cudnn_guest **out) {
    *out = cuda->guest[DL_GUEST_CUDNN].state;
    if (*out)
        return DL_OK;
    dl_cudnn_guest *guest = dl_alloc(sizeof *guest);
    if (!guest)
        return dl_fail_memory(sizeof *guest);
    dl_status status = open_guest(guest, cuda);
    if (status != DL_OK) {
        close_guest(guest);
        return status;
    }
    name_library(guest);
    cuda->guest[DL_GUEST_CUDNN].state = *out = guest;
    cuda->guest[DL_GUEST_CUDNN].close = close_guest;
    return DL_OK;
}

dl_status dl_cudnn_open(dl_cudnn **out, dl_cuda *cuda, const char *what) {
    dl_cudnn_guest *guest;
    *out = NULL;
    DL_TRY(find_guest(cuda, &guest));
    dl_cudnn *call = *out = dl_alloc(sizeof *call);
    if (!call)
        return dl_fail_memory(sizeof *call);
    call->cuda = cuda;
    call->guest = guest;
    call->what = what;
    return DL_OK;
}

void dl_cudnn_free(dl_cudnn *call) {
    if (!call)
        return;
    dl_cudnn_drop(&call->chosen);
    while (call->made_count > 0)
        cudnnBackendDestroyDescriptor(call->made[--call->made_count]);
    dl_free(call);
}

void dl_cudnn_follow(dl_cudnn *call, dl_cudnn_follow_fn follow, const void *argument) {
    call->follow = follow;
    call->follow_argument = argument;
}

size_t dl_cudnn_workspace(const dl_cudnn *call) {
    return call->chosen.workspace;
}

const char *dl_cudnn_text(const dl_cudnn *call) {
    return call->text;
}

/* ---- running ---- */

dl_status dl_cudnn_run(const dl_cudnn *call, void *const *memory, void *workspace) {
    return dl_cudnn_run_plan(call, &call->chosen, memory, workspace);
}

dl_status dl_cudnn_run_plan(const dl_cudnn *call, const dl_cudnn_plan *plan, void *const *memory,
                            void *workspace) {
    cudnnBackendDescriptor_t pack = NULL;
    int64_t id[CUDNN_TENSORS];
    void *pointer[CUDNN_TENSORS];
    int64_t count = 0;
    dl_status status;
    for (int i = 0; i < call->tensors; i++)
        if (!call->inner[i]) {
            id[count] = i;
            pointer[count++] = memory[i];
        }
    DL_TRY(
        dl_cudnn_check(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack),
                       "cudnnBackendCreateDescriptor"));
    const struct {
        cudnnBackendAttributeName_t name;
        cudnnBackendAttributeType_t type;
        int64_t count;
        const void *values;
    } parts[] = {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, id},
                 {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointer},
                 {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        DL_GOTO(done, dl_cudnn_check(cudnnBackendSetAttribute(pack, parts[i].name, parts[i].type,
                                                              parts[i].count, parts[i].values),
                                     "cudnnBackendSetAttribute"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendFinalize(pack), "cudnnBackendFinalize"));
    status = dl_cudnn_check(cudnnBackendExecute(call->guest->handle, plan->plan, pack),
                            "cudnnBackendExecute");
done:
    cudnnBackendDestroyDescriptor(pack);
    return status;
}
