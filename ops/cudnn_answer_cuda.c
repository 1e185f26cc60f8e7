/* An engine in words, as choices keep it (runtime/device/choices.h): "way 0 eng45_k2=5_k13=1" is
 * engine 45 for the first way, with values for its knobs 2 and 13. With the answer neither cuDNN's
 * heuristics nor a clock are asked again. See cudnn_call_cuda.h. */
#include <stdio.h>
#include <string.h>

#include "ops/cudnn_call_cuda.h"
#include "runtime/base/memory.h"

enum { MOST_KNOBS = 32 };

char *dl_cudnn_key(dl_cudnn *const *way, int count) {
    size_t bytes = 1;
    for (int w = 0; w < count; w++)
        bytes += way[w]->key_length + 16;
    char *text = dl_alloc(bytes);
    size_t length = 0;
    for (int w = 0; w < count && text; w++)
        length += (size_t)snprintf(text + length, bytes - length, "%sway %d: %s", w ? " " : "", w,
                                   way[w]->key);
    for (char *c = text; c && *c; c++)
        *c = *c == '\n' ? ';' : *c;
    return text;
}

/* ---- to words ---- */

static bool say_knob(cudnnBackendDescriptor_t knob, char *text, size_t size, size_t *length) {
    cudnnBackendKnobType_t type;
    int64_t value = 0, got = 0;
    if (cudnnBackendGetAttribute(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                                 &got, &type) != CUDNN_STATUS_SUCCESS ||
        cudnnBackendGetAttribute(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &got,
                                 &value) != CUDNN_STATUS_SUCCESS)
        return false;
    *length +=
        (size_t)snprintf(text + *length, size - *length, "_k%d=%lld", (int)type, (long long)value);
    return *length < size;
}

bool dl_cudnn_answer(const dl_cudnn_plan *plan, int way, char text[CUDNN_ANSWER]) {
    cudnnBackendDescriptor_t knob[MOST_KNOBS] = {NULL};
    int64_t count = 0;
    size_t length =
        (size_t)snprintf(text, CUDNN_ANSWER, "way %d eng%lld", way, (long long)plan->engine);
    bool whole = true;
    for (int i = 0; i < MOST_KNOBS && whole; i++)
        whole = cudnnBackendCreateDescriptor(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knob[i]) ==
                CUDNN_STATUS_SUCCESS;
    whole = whole && cudnnBackendGetAttribute(plan->config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                              CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_KNOBS, &count,
                                              knob) == CUDNN_STATUS_SUCCESS;
    whole = whole && count <= MOST_KNOBS;
    for (int64_t i = 0; i < count && whole; i++)
        whole = say_knob(knob[i], text, CUDNN_ANSWER, &length);
    for (int i = 0; i < MOST_KNOBS; i++)
        if (knob[i])
            cudnnBackendDestroyDescriptor(knob[i]);
    return whole;
}

/* ---- from words ---- */

/* "_k2=5" at *at. */
static bool read_knob(const char **at, cudnnBackendKnobType_t *type, int64_t *value) {
    int number, used = 0;
    long long read;
    if (sscanf(*at, "_k%d=%lld%n", &number, &read, &used) != 2)
        return false;
    *at += used;
    *type = (cudnnBackendKnobType_t)number;
    *value = read;
    return true;
}

static cudnnBackendDescriptor_t describe_engine(dl_cudnn *call, int64_t index) {
    cudnnBackendDescriptor_t engine = dl_cudnn_make(call, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    dl_cudnn_put(call, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                 &call->graph);
    dl_cudnn_put(call, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index);
    if (call->guest->imagined)
        dl_cudnn_put(call, engine, CUDNN_ATTR_ENGINE_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                     &call->guest->imagined);
    dl_cudnn_done(call, engine);
    return engine;
}

/* Made aside from what the call has made: the plan's. */
static cudnnBackendDescriptor_t describe_config(dl_cudnn *call, int64_t index, const char *knobs) {
    cudnnBackendDescriptor_t knob[MOST_KNOBS], engine = describe_engine(call, index), config = NULL;
    int64_t count = 0, value;
    for (cudnnBackendKnobType_t type; count < MOST_KNOBS && read_knob(&knobs, &type, &value);) {
        knob[count] = dl_cudnn_make(call, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        dl_cudnn_put(call, knob[count], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                     &type);
        dl_cudnn_put(call, knob[count], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1,
                     &value);
        dl_cudnn_done(call, knob[count++]);
    }
    if (*knobs || cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config) !=
                      CUDNN_STATUS_SUCCESS)
        return NULL;
    dl_cudnn_put(call, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                 &engine);
    if (count > 0)
        dl_cudnn_put(call, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                     count, knob);
    dl_cudnn_done(call, config);
    return config;
}

bool dl_cudnn_recall(dl_cudnn *const *way, int count, const char *answer, int *which) {
    int used = 0;
    long long engine;
    if (sscanf(answer, "way %d eng%lld%n", which, &engine, &used) != 2 || *which < 0 ||
        *which >= count || dl_cudnn_complete(way[*which]) != DL_OK)
        return false;
    dl_cudnn *call = way[*which];
    cudnnBackendDescriptor_t config = describe_config(call, engine, answer + used);
    bool serves = config && call->status == DL_OK && dl_cudnn_try(call, config, &call->chosen);
    if (config && !serves)
        cudnnBackendDestroyDescriptor(config);
    call->status = DL_OK; /* what does not serve is chosen anew */
    return serves;
}
