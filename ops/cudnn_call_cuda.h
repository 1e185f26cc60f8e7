/* What the files behind cudnn_cuda.h share: a description, whose descriptors live as long as it
 * does, and the engine that was chosen for it. */
#ifndef DL_OPS_CUDNN_CALL_CUDA_H
#define DL_OPS_CUDNN_CALL_CUDA_H

#include <cudnn.h>

#include "ops/cudnn_cuda.h"
#include "runtime/device/choices.h"

enum {
    CUDNN_TENSORS = 20,
    CUDNN_OPERATIONS = 8,
    CUDNN_MADE = 96,
    CUDNN_TEXT = 96,
    CUDNN_KEY = 2048,
    CUDNN_ANSWER = 512
};

/* Of a device, its guest. */
typedef struct dl_cudnn_guest {
    cudnnHandle_t handle;              /* NULL: the device is imagined */
    cudnnBackendDescriptor_t imagined; /* its properties */
    bool driver;                       /* code can be compiled for it */
    char library[48];                  /* "cuDNN 9.19.0" */
} dl_cudnn_guest;

/* An engine, made ready for a description. */
typedef struct dl_cudnn_plan {
    cudnnBackendDescriptor_t config, plan;
    int64_t engine;
    size_t workspace;
    bool unloaded; /* compiled, but there is no driver to load it */
} dl_cudnn_plan;

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
    size_t bytes[CUDNN_TENSORS];
    int tensors, operations;
    cudnnBackendDescriptor_t graph; /* in made too */
    dl_cudnn_plan chosen;
    dl_cudnn_follow_fn follow;
    const void *follow_argument;
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

/* cudnn_cuda.c */
dl_status dl_cudnn_run_plan(const dl_cudnn *call, const dl_cudnn_plan *plan, void *const *memory,
                            void *workspace);

/* cudnn_choose_cuda.c: finalises the plan of that configuration, which is the plan's then; false:
 * it does not serve, or does not keep our promises. */
bool dl_cudnn_try(const dl_cudnn *call, cudnnBackendDescriptor_t config, dl_cudnn_plan *out);
void dl_cudnn_drop(dl_cudnn_plan *plan);

/* cudnn_answer_cuda.c: the ways in words, one line (NULL: no memory; dl_free); a plan in words,
 * false where cuDNN does not tell; and from words, which sets way[*which]->chosen. */
char *dl_cudnn_key(dl_cudnn *const *way, int count);
bool dl_cudnn_answer(const dl_cudnn_plan *plan, int way, char text[CUDNN_ANSWER]);
bool dl_cudnn_recall(dl_cudnn *const *way, int count, const char *answer, int *which);

/* cudnn_card_cuda.c: the properties of a card of that compute capability, as cuDNN's JSON. */
enum { CUDNN_CARD_TEXT = 1024 };
int dl_cudnn_card(int architecture, char text[CUDNN_CARD_TEXT]); /* its length */
/* That, and the same text as cuDNN gives it: of the card of that index, or if that is negative of
 * the kept one. Tests find it by name. */
__attribute__((visibility("default"))) dl_status dl_cudnn_card_here(int index, int architecture,
                                                                    char kept[CUDNN_CARD_TEXT],
                                                                    char *text, int64_t room);

#endif
