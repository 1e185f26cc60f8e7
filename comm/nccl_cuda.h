/* What the files of NCCL share: nccl_cuda.c begins, watches and ends a group of ranks that have a
 * GPU each, sum_cuda.c sums in it. */
#ifndef DL_COMM_NCCL_CUDA_H
#define DL_COMM_NCCL_CUDA_H

#include <nccl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/device/device_cuda.h"

typedef struct dl_nccl_buffer { /* registered memory */
    struct dl_nccl_buffer *next;
    void *memory, *handle;
} dl_nccl_buffer;

typedef struct dl_nccl {
    ncclComm_t comm;       /* NULL: given up */
    _Atomic int *given_up; /* 1 + the rank that was first to; NULL: ranks are on several hosts */
    double timeout;        /* 0: none */
    int rank, size;
    char here[128]; /* "rank 1 (host, cuda:0)" */
    dl_nccl_buffer *buffers;
    ncclComm_t aborted; /* by a thread of its own */
    pthread_t aborter;
    bool aborting;
} dl_nccl;

/* DL_UNAVAILABLE, naming the call and this rank. DL_FAILED where NCCL says that it is another's. */
dl_status dl_nccl_check(const dl_nccl *g, ncclResult_t result, const char *call);
#define DL_NCCL_TRY(g, function, ...) DL_TRY(dl_nccl_check((g), function(__VA_ARGS__), #function))
/* What NCCL does in the background is done. */
dl_status dl_nccl_settle(const dl_nccl *g, const char *what);
/* NULL: the device has not joined others. */
dl_nccl *dl_nccl_of(const dl_device *device);

#endif
