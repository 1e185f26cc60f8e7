/* What the files behind cudnn_cuda.h share: a description, whose descriptors live as long as it
 * does, and the engine that was chosen for it. */
#ifndef DL_OPS_CUDNN_CALL_CUDA_H
#define DL_OPS_CUDNN_CALL_CUDA_H

#include <cudnn.h>

#include "ops/cudnn_cuda.h"
#include "runtime/device/code_cache.h"

enum {
    CUDNN_TENSORS = 20,
    CUDNN_OPERATIONS = 8,
    CUDNN_MADE = 48,
    CUDNN_TEXT = 96,
    CUDNN_KEY = 2048
};

/* Of a device, its guest. */
typedef struct dl_cudnn_guest {
    cudnnHandle_t handle;              /* NULL: the device is imagined */
    cudnnBackendDescriptor_t imagined; /* its properties */
    bool driver;                       /* code can be compiled for it */
} dl_cudnn_guest;

struct dl_cudnn {
    dl_cuda *cuda;
    dl_cudnn_guest *guest;
    const char *what;
    bool exact; /* float32: no engine that rounds its inputs to multiply them */
    cudnnBackendDescriptor_t made[CUDNN_MADE]; /* all of them, in order */
    int made_count;
    cudnnBackendDescriptor_t tensor[CUDNN_TENSORS], operation[CUDNN_OPERATIONS];
    bool inner[CUDNN_TENSORS];
    dl_dtype dtype[CUDNN_TENSORS];
    int tensors, operations;
    cudnnBackendDescriptor_t graph, config, plan; /* graph and config are in made too */
    size_t workspace;
    int64_t engine;
    bool unloaded; /* compiled, but there is no driver to load it */
    char text[CUDNN_TEXT];
    char key[CUDNN_KEY]; /* all that was described, in words */
    size_t key_length;
    dl_status status; /* the first that failed while it was described */
    char message[256];
};

/* DL_OK, or DL_UNAVAILABLE with cuDNN's words: "cudnnCreate failed: ...". */
dl_status dl_cudnn_check(cudnnStatus_t status, const char *call);

/* cudnn_graph_cuda.c */
cudnnBackendDescriptor_t dl_cudnn_make(dl_cudnn *call, cudnnBackendDescriptorType_t type);
void dl_cudnn_put(dl_cudnn *call, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count, const void *values);
void dl_cudnn_done(dl_cudnn *call, cudnnBackendDescriptor_t descriptor);
/* The operations as one graph: call->graph. */
dl_status dl_cudnn_complete(dl_cudnn *call);

/* cudnn_cuda.c: a plan for the call, still without an engine or a content. */
cudnnStatus_t dl_cudnn_begin_plan(const dl_cudnn *call, cudnnBackendDescriptor_t *out);
/* Takes a finalised plan; false where it wants too much workspace. */
bool dl_cudnn_take_plan(dl_cudnn *call, cudnnBackendDescriptor_t plan, int64_t engine);

/* cudnn_cache_cuda.c: choices on disk, as plans in cuDNN's JSON, by card, driver, cuDNN and
 * description (runtime/device/code_cache.h). Recalling one sets way[*which]->plan. */
dl_code_key dl_cudnn_key(dl_cudnn *const *way, int count);
bool dl_cudnn_recall(dl_cudnn *const *way, int count, dl_code_key key, int *which);
void dl_cudnn_remember(const dl_cudnn *call, dl_code_key key, int which);

/* cudnn_card_cuda.c: the properties of a card of that compute capability, as cuDNN's JSON. */
enum { CUDNN_CARD_TEXT = 1024 };
int dl_cudnn_card(int architecture, char text[CUDNN_CARD_TEXT]); /* its length */

#endif
