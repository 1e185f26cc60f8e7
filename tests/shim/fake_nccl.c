/* See nccl.h: ranks meet in shared memory when their streams run, and add in the order of ranks. */
#include "tests/shim/nccl.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "comm/share.h"

enum { MOST_RANKS = 8, PIECE = 4096 };

typedef struct meeting {
    _Atomic int arrived, round, aborted;
    float piece[MOST_RANKS][PIECE];
} meeting;

struct shim_nccl {
    meeting *meeting;
    int rank, ranks;
};

static int made = -1; /* the file behind the last id: others find it through this process */

const char *ncclGetErrorString(ncclResult_t result) {
    return result == ncclSuccess ? "no error" : "unhandled system error";
}

const char *ncclGetLastError(ncclComm_t comm) {
    (void)comm;
    return "injected failure";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    dl_share_name name;
    dl_share_shut(made);
    made = -1;
    if (shim_fails() || dl_share_make(sizeof(meeting), &made, &name) != DL_OK)
        return ncclSystemError;
    memcpy(id, &name, sizeof name);
    return ncclSuccess;
}

static bool meet(const struct shim_nccl *c) {
    meeting *m = c->meeting;
    int round = m->round;
    if (atomic_fetch_add(&m->arrived, 1) + 1 == c->ranks) {
        m->arrived = 0;
        m->round++;
    }
    while (m->round == round && !m->aborted)
        sched_yield();
    return !m->aborted;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    (void)config;
    dl_share_name name;
    int fd;
    void *memory;
    memcpy(&name, &id, sizeof name);
    *comm = NULL;
    if (shim_fails() || ranks > MOST_RANKS || dl_share_find(&name, &fd) != DL_OK)
        return ncclSystemError;
    dl_status status = dl_share_map(fd, sizeof(meeting), &memory);
    dl_share_shut(fd);
    if (status != DL_OK)
        return ncclSystemError;
    *comm = malloc(sizeof **comm);
    **comm = (struct shim_nccl){memory, rank, ranks};
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *result) {
    *result = comm->meeting->aborted ? ncclSystemError : ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    (void)comm;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    dl_share_unmap(comm->meeting, sizeof(meeting));
    free(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    comm->meeting->aborted = 1; /* stays mapped: work that is under way still looks at it */
    return ncclSuccess;
}

typedef struct sum {
    const struct shim_nccl *c;
    float *data;
    size_t count;
} sum;

static void run_sum(const void *argument) {
    const sum *s = argument;
    const struct shim_nccl *c = s->c;
    for (size_t from = 0; from < s->count; from += PIECE) {
        size_t count = s->count - from < PIECE ? s->count - from : PIECE;
        memcpy(c->meeting->piece[c->rank], s->data + from, sizeof(float) * count);
        if (!meet(c))
            return;
        for (size_t i = 0; i < count; i++) {
            float total = c->meeting->piece[0][i];
            for (int r = 1; r < c->ranks; r++)
                total += c->meeting->piece[r][i];
            s->data[from + i] = total;
        }
        if (!meet(c))
            return;
    }
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    (void)from, (void)type, (void)op;
    sum s = {comm, to, count};
    return shim_submit(stream, run_sum, &s, sizeof s) == cudaSuccess ? ncclSuccess
                                                                     : ncclSystemError;
}
