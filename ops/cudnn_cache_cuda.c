/* Choices of engines on disk. See cudnn_call_cuda.h. A file holds which way was taken, its engine
 * and the plan; with it neither the heuristics nor a compiler are asked again. A plan that does not
 * restore is chosen anew. */
#include <stdio.h>
#include <string.h>

#include "ops/cudnn_call_cuda.h"
#include "runtime/base/memory.h"

enum { HEAD = 64 /* most bytes of a file before its plan: "WAY ENGINE\n" */ };

dl_code_key dl_cudnn_key(dl_cudnn *const *way, int count) {
    enum { WAYS = 2 };
    const dl_device *device = &way[0]->cuda->device;
    char text[WAYS * CUDNN_KEY + sizeof device->text + 32];
    int length = snprintf(text, sizeof text, "cuDNN 1 %s%s\n", device->text,
                          way[0]->guest->driver ? "" : " (no driver)");
    for (int w = 0; w < count && w < WAYS; w++)
        length += snprintf(text + length, sizeof text - (size_t)length, "way\n%s", way[w]->key);
    return dl_code_key_of(text, device->architecture, (int)cudnnGetVersion());
}

static bool restore(dl_cudnn *call, const char *json, size_t size, int64_t engine) {
    cudnnBackendDescriptor_t plan;
    cudnnStatus_t status = dl_cudnn_begin_plan(call, &plan);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                          CUDNN_TYPE_CHAR, (int64_t)size, json);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendFinalize(plan);
    if (status == CUDNN_STATUS_SUCCESS && dl_cudnn_take_plan(call, plan, engine))
        return true;
    if (plan)
        cudnnBackendDestroyDescriptor(plan);
    return false;
}

bool dl_cudnn_recall(dl_cudnn *const *way, int count, dl_code_key key, int *which) {
    dl_nvrtc_code code;
    long long engine;
    if (!dl_code_cache_get(key, &code))
        return false;
    const char *json = memchr(code.bytes, '\n', code.size < HEAD ? code.size : HEAD);
    char head[HEAD + 1] = "";
    memcpy(head, code.bytes, json ? (size_t)(json - code.bytes) : 0);
    bool found = sscanf(head, "%d %lld", which, &engine) == 2 && *which >= 0 && *which < count &&
                 way[*which]->status == DL_OK;
    if (found) {
        json++;
        found = restore(way[*which], json, code.size - (size_t)(json - code.bytes), engine);
    }
    dl_nvrtc_code_free(&code);
    return found;
}

void dl_cudnn_remember(const dl_cudnn *call, dl_code_key key, int which) {
    int64_t size = 0;
    if (call->unloaded ||
        cudnnBackendGetAttribute(call->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                 CUDNN_TYPE_CHAR, 0, &size, NULL) != CUDNN_STATUS_SUCCESS ||
        size <= 0)
        return;
    dl_nvrtc_code code = {.bytes = dl_alloc((size_t)size + HEAD), .log = NULL};
    if (!code.bytes)
        return; /* it is only not kept */
    int head = snprintf(code.bytes, HEAD, "%d %lld\n", which, (long long)call->engine);
    if (cudnnBackendGetAttribute(call->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                 CUDNN_TYPE_CHAR, size, &size,
                                 code.bytes + head) == CUDNN_STATUS_SUCCESS) {
        code.size = (size_t)(head + size);
        dl_code_cache_put(key, &code);
    }
    dl_nvrtc_code_free(&code);
}
