/* Choosing cuDNN's engines and running them. See cudnn_cuda.h. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cudnn_call_cuda.h"
#include "runtime/base/memory.h"

/* More than an engine may take: others do without, and a step has one workspace for all. */
static const int64_t most_workspace = (int64_t)256 << 20;
enum { MOST_CONFIGS = 64, MOST_NOTES = 32 };

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
    if (call->plan)
        cudnnBackendDestroyDescriptor(call->plan);
    if (call->config)
        cudnnBackendDestroyDescriptor(call->config);
    while (call->made_count > 0)
        cudnnBackendDestroyDescriptor(call->made[--call->made_count]);
    dl_free(call);
}

/* ---- choosing ---- */

/* Why engines were not taken. */
typedef struct refusals {
    int rounds, random, large, failed;
    char last[160];
} refusals;

/* Whether the engine keeps our promises. */
static dl_status read_notes(const dl_cudnn *call, cudnnBackendDescriptor_t config, int64_t *index,
                            bool *fits, refusals *why) {
    cudnnBackendDescriptor_t engine = NULL;
    cudnnBackendNumericalNote_t note[MOST_NOTES];
    int64_t count = 0, got = 0;
    bool random = false, rounds = false;
    dl_status status;
    DL_TRY(dl_cudnn_check(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine),
                          "cudnnBackendCreateDescriptor"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &got,
                                                          &engine),
                                 "cudnnBackendGetAttribute"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX,
                                                          CUDNN_TYPE_INT64, 1, &got, index),
                                 "cudnnBackendGetAttribute"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                          CUDNN_TYPE_NUMERICAL_NOTE, MOST_NOTES,
                                                          &count, note),
                                 "cudnnBackendGetAttribute"));
    for (int64_t i = 0; i < count && i < MOST_NOTES; i++) {
        random = random || note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        rounds = rounds || note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
                 note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
                 note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6 ||
                 note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13 ||
                 (call->exact && note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    }
    why->random += random;
    why->rounds += rounds && !random;
    *fits = !random && !rounds;
done:
    cudnnBackendDestroyDescriptor(engine);
    return status;
}

static int64_t number_of(cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name) {
    int64_t value = 0, got = 0;
    cudnnStatus_t status = cudnnBackendGetAttribute(from, name, CUDNN_TYPE_INT64, 1, &got, &value);
    return status == CUDNN_STATUS_SUCCESS && got == 1 && value > 0 ? value : 0;
}

static void refuse(refusals *why, cudnnStatus_t status) {
    char words[100] = "";
    why->failed++;
    cudnnGetLastErrorString(words, sizeof words);
    snprintf(why->last, sizeof why->last, "%.50s: %.99s", cudnnGetErrorString(status), words);
}

cudnnStatus_t dl_cudnn_begin_plan(const dl_cudnn *call, cudnnBackendDescriptor_t *out) {
    const dl_cudnn_guest *guest = call->guest;
    *out = NULL;
    cudnnStatus_t status =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, out);
    if (status == CUDNN_STATUS_SUCCESS)
        status = guest->handle
                     ? cudnnBackendSetAttribute(*out, CUDNN_ATTR_EXECUTION_PLAN_HANDLE,
                                                CUDNN_TYPE_HANDLE, 1, &guest->handle)
                     : cudnnBackendSetAttribute(*out, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                                CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &guest->imagined);
    return status;
}

static void take(dl_cudnn *call, cudnnBackendDescriptor_t plan, int64_t engine, int64_t workspace,
                 const char *how) {
    call->plan = plan;
    call->engine = engine;
    call->workspace = (size_t)workspace;
    snprintf(call->text, sizeof call->text, "cuDNN engine %lld%s, %.2f MiB", (long long)engine, how,
             (double)workspace / (1 << 20));
}

bool dl_cudnn_take_plan(dl_cudnn *call, cudnnBackendDescriptor_t plan, int64_t engine) {
    int64_t workspace = number_of(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    if (workspace > most_workspace)
        return false;
    take(call, plan, engine, workspace, "");
    return true;
}

/* Finalises the engine's plan; takes config and returns true if it serves. */
static bool try_plan(dl_cudnn *call, cudnnBackendDescriptor_t config, int64_t engine,
                     refusals *why) {
    cudnnBackendDescriptor_t plan;
    cudnnStatus_t status = dl_cudnn_begin_plan(call, &plan);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendFinalize(plan);
    bool serves = status == CUDNN_STATUS_SUCCESS && dl_cudnn_take_plan(call, plan, engine);
    if (status == CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER && call->guest->imagined) {
        take(call, plan, engine, number_of(config, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE),
             " (its code not loaded: no driver)");
        call->unloaded = serves = true;
    }
    if (serves) {
        call->config = config;
        return true;
    }
    if (status == CUDNN_STATUS_SUCCESS)
        why->large++;
    else
        refuse(why, status);
    if (plan)
        cudnnBackendDestroyDescriptor(plan);
    return false;
}

static dl_status try_configs(dl_cudnn *call, cudnnBackendDescriptor_t *config, int64_t count,
                             refusals *why) {
    for (int64_t i = 0; i < count && !call->plan; i++) {
        int64_t engine = 0;
        bool fits = false;
        DL_TRY(read_notes(call, config[i], &engine, &fits, why));
        if (fits && try_plan(call, config[i], engine, why))
            config[i] = NULL; /* the call's */
    }
    return DL_OK;
}

/* What the heuristics propose in that mode, tried in their order. */
static dl_status ask(dl_cudnn *call, cudnnBackendHeurMode_t mode, refusals *why) {
    cudnnBackendDescriptor_t heuristics = NULL, config[MOST_CONFIGS] = {NULL};
    int64_t count = 0;
    dl_status status;
    DL_TRY(dl_cudnn_check(
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics),
        "cudnnBackendCreateDescriptor"));
    cudnnStatus_t asked =
        cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &call->graph);
    if (asked == CUDNN_STATUS_SUCCESS)
        asked = cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE,
                                         CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (asked == CUDNN_STATUS_SUCCESS && call->guest->imagined)
        asked = cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                         CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &call->guest->imagined);
    if (asked == CUDNN_STATUS_SUCCESS)
        asked = cudnnBackendFinalize(heuristics);
    if (asked != CUDNN_STATUS_SUCCESS) { /* they know no engine for it */
        refuse(why, asked);
        cudnnBackendDestroyDescriptor(heuristics);
        return DL_OK;
    }
    for (int i = 0; i < MOST_CONFIGS; i++)
        DL_GOTO(done, dl_cudnn_check(cudnnBackendCreateDescriptor(
                                         CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]),
                                     "cudnnBackendCreateDescriptor"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                          CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                          MOST_CONFIGS, &count, config),
                                 "cudnnBackendGetAttribute"));
    status = try_configs(call, config, count < MOST_CONFIGS ? count : MOST_CONFIGS, why);
done:
    for (int i = 0; i < MOST_CONFIGS; i++)
        if (config[i])
            cudnnBackendDestroyDescriptor(config[i]);
    cudnnBackendDestroyDescriptor(heuristics);
    return status;
}

static dl_status no_engine(const dl_cudnn *call, const refusals *why) {
    size_t version = cudnnGetVersion();
    const char *device = call->cuda->device.name;
    int seen = why->random + why->rounds + why->large + why->failed;
    int major = (int)(version / 10000), minor = (int)(version / 100 % 100);
    if (seen == 0)
        return dl_fail(DL_UNAVAILABLE, "cuDNN %d.%d has no engine for it on %s%s", major, minor,
                       device,
                       call->dtype[0] == DL_BF16 && call->cuda->device.architecture < 80
                           ? "; bfloat16 needs compute capability 8.0 or more: say precision: fp32"
                           : "");
    return dl_fail(DL_UNAVAILABLE,
                   "cuDNN %d.%d has no engine for it on %s that keeps dltrain's promises: %d are "
                   "not deterministic, %d round what they multiply, %d want more than %lld MiB of "
                   "workspace, %d do not serve%s%s%s",
                   major, minor, device, why->random, why->rounds, why->large,
                   (long long)(most_workspace >> 20), why->failed, *why->last ? " (" : "",
                   why->last, *why->last ? ")" : "");
}

dl_status dl_cudnn_choose(dl_cudnn **way, int count, dl_cudnn **out, int *which) {
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B,
                                                   CUDNN_HEUR_MODE_FALLBACK};
    refusals why = {0};
    dl_status status = DL_OK;
    *out = NULL;
    dl_code_key key = dl_cudnn_key(way, count);
    if (dl_cudnn_recall(way, count, key, which))
        *out = way[*which];
    for (int w = 0; w < count && !*out; w++)
        if (dl_cudnn_complete(way[w]) != DL_OK) {
            why.failed++;
            snprintf(why.last, sizeof why.last, "%.150s", dl_message());
        }
    for (size_t m = 0; m < sizeof modes / sizeof modes[0] && !*out && status == DL_OK; m++)
        for (int w = 0; w < count && !*out && status == DL_OK; w++) {
            if (way[w]->status == DL_OK)
                status = ask(way[w], modes[m], &why);
            if (status == DL_OK && way[w]->plan) {
                *out = way[w];
                *which = w;
                dl_cudnn_remember(way[w], key, w);
            }
        }
    if (status == DL_OK && !*out)
        status = no_engine(way[0], &why);
    for (int w = 0; w < count; w++)
        if (way[w] != *out)
            dl_cudnn_free(way[w]);
    return status;
}

size_t dl_cudnn_workspace(const dl_cudnn *call) {
    return call->workspace;
}

const char *dl_cudnn_text(const dl_cudnn *call) {
    return call->text;
}

/* ---- running ---- */

dl_status dl_cudnn_run(const dl_cudnn *call, void *const *memory, void *workspace) {
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
    status = dl_cudnn_check(cudnnBackendExecute(call->guest->handle, call->plan, pack),
                            "cudnnBackendExecute");
done:
    cudnnBackendDestroyDescriptor(pack);
    return status;
}
