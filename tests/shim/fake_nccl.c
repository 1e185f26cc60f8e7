/* See nccl.h: ranks meet in shared memory when their streams run. Nothing here waits: work that
 * needs what another rank has not brought yet is tried again later. All-reduce adds in the order of
 * ranks. */
#include "tests/shim/nccl.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "comm/share.h"

enum { MOST_RANKS = 8, PIECE = 4096, LETTER = 512, MOST_MESSAGES = 1024 };

typedef struct letter { /* from one rank to another */
    _Atomic int full;
    float piece[LETTER];
} letter;

typedef struct meeting {
    _Atomic int joined, aborted;
    _Atomic long come[MOST_RANKS]; /* meetings that each rank has come to */
    float piece[MOST_RANKS][PIECE];
    letter letter[MOST_RANKS][MOST_RANKS]; /* [from][to] */
} meeting;

struct shim_nccl {
    meeting *meeting;
    int rank, ranks;
    int graphs; /* that have its work: as long as there are some it does not go */
    ncclResult_t error;
};

static int made = -1; /* the file behind the last id: others find it through this process */
static int wrong_how;
static long wrong_at, collectives; /* of this process */

void shim_nccl_go_wrong(int how, long n) {
    wrong_how = how;
    wrong_at = collectives + n;
}

const char *ncclGetErrorString(ncclResult_t result) {
    return result == ncclSuccess        ? "no error"
           : result == ncclRemoteError  ? "remote process exited or there was a network error"
           : result == ncclInvalidUsage ? "invalid usage"
                                        : "unhandled system error";
}

const char *ncclGetLastError(ncclComm_t comm) {
    (void)comm;
    return "injected failure";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    dl_share_name name;
    dl_share_shut(made);
    made = -1;
    if (shim_fails_in(__func__) || dl_share_make(sizeof(meeting), &made, &name) != DL_OK)
        return ncclSystemError;
    memcpy(id, &name, sizeof name);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    (void)config;
    dl_share_name name;
    int fd;
    void *memory;
    memcpy(&name, &id, sizeof name);
    *comm = NULL;
    if (shim_fails_in(__func__) || ranks > MOST_RANKS || dl_share_find(&name, &fd) != DL_OK)
        return ncclSystemError;
    dl_status status = dl_share_map(fd, sizeof(meeting), &memory);
    dl_share_shut(fd);
    if (status != DL_OK)
        return ncclSystemError;
    *comm = malloc(sizeof **comm);
    **comm = (struct shim_nccl){.meeting = memory, .rank = rank, .ranks = ranks};
    if (wrong_how != SHIM_NCCL_STALL_BEGINNING)
        atomic_fetch_add(&(*comm)->meeting->joined, 1);
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *result) {
    *result = comm->error                           ? comm->error
              : comm->meeting->aborted              ? ncclRemoteError
              : comm->meeting->joined < comm->ranks ? ncclInProgress
                                                    : ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    (void)comm;
    return ncclSuccess;
}

static void wait_for_graphs(ncclComm_t comm) {
    while (__atomic_load_n(&comm->graphs, __ATOMIC_SEQ_CST) > 0)
        sched_yield();
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    wait_for_graphs(comm);
    dl_share_unmap(comm->meeting, sizeof(meeting));
    free(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    comm->meeting->aborted = 1; /* stays mapped: work that is under way still looks at it */
    wait_for_graphs(comm);
    return ncclSuccess;
}

ncclResult_t ncclMemAlloc(void **memory, size_t bytes) {
    return cudaMalloc(memory, bytes) == cudaSuccess ? ncclSuccess : ncclSystemError;
}

ncclResult_t ncclMemFree(void *memory) {
    cudaFree(memory);
    return ncclSuccess;
}

ncclResult_t ncclCommRegister(ncclComm_t comm, void *memory, size_t bytes, void **handle) {
    (void)comm, (void)bytes;
    *handle = NULL;
    if (shim_fails_in(__func__))
        return ncclSystemError;
    *handle = memory;
    shim_keep(1);
    return ncclSuccess;
}

ncclResult_t ncclCommDeregister(ncclComm_t comm, void *handle) {
    (void)comm, (void)handle;
    shim_keep(-1);
    return ncclSuccess;
}

/* ---- work ---- */

/* Whether this rank's part of a collective goes wrong, as it begins. */
static bool goes_wrong(struct shim_nccl *c) {
    if (++collectives != wrong_at || wrong_how == SHIM_NCCL_WELL)
        return false;
    if (wrong_how == SHIM_NCCL_ERROR)
        c->error = ncclSystemError;
    return true;
}

typedef struct collective {
    struct shim_nccl *c;
    float *data;
    size_t count, from;
    int stage;
    bool gathers, lost;
} collective;

static bool all_come(const struct shim_nccl *c) {
    for (int r = 0; r < c->ranks; r++)
        if (c->meeting->come[r] < c->meeting->come[c->rank])
            return false;
    return true;
}

static void take(const collective *w, size_t count) {
    const meeting *m = w->c->meeting;
    if (w->gathers) {
        for (int r = 0; r < w->c->ranks; r++)
            memcpy(w->data + (size_t)r * w->count + w->from, m->piece[r], sizeof(float) * count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        float total = m->piece[0][i];
        for (int r = 1; r < w->c->ranks; r++)
            total += m->piece[r][i];
        w->data[w->from + i] = total;
    }
}

/* Stages of a piece: brought, all have brought theirs, all have taken what they need. */
static bool run_collective(void *state) {
    collective *w = state;
    struct shim_nccl *c = w->c;
    if (w->from == 0 && w->stage == 0 && !w->lost)
        w->lost = goes_wrong(c);
    while (!w->lost && w->from < w->count && !c->meeting->aborted) {
        size_t left = w->count - w->from, count = left < PIECE ? left : PIECE;
        const float *mine = w->data + w->from + (w->gathers ? (size_t)c->rank * w->count : 0);
        if (w->stage == 0)
            memcpy(c->meeting->piece[c->rank], mine, sizeof(float) * count);
        else if (!all_come(c))
            return false;
        if (w->stage == 1)
            take(w, count);
        if (w->stage < 2)
            c->meeting->come[c->rank]++;
        w->from += w->stage == 2 ? count : 0;
        w->stage = (w->stage + 1) % 3;
    }
    if (w->lost && wrong_how == SHIM_NCCL_STALL && !c->meeting->aborted)
        return false;
    w->from = 0;
    w->stage = 0;
    w->lost = false;
    return true;
}

static ncclResult_t submit(const collective *w, cudaStream_t stream) {
    if (w->c->meeting->joined < w->c->ranks)
        return ncclInvalidUsage; /* before the communicator has begun */
    cudaError_t error = shim_submit_tries(stream, run_collective, w, sizeof *w, &w->c->graphs);
    return error == cudaSuccess ? ncclSuccess : ncclSystemError;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    (void)type, (void)op;
    collective w = {.c = comm, .data = to, .count = count};
    return from == to ? submit(&w, stream) : ncclInvalidUsage;
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
    (void)type;
    collective w = {.c = comm, .data = to, .count = count, .gathers = true};
    return from == (float *)to + (size_t)comm->rank * count ? submit(&w, stream) : ncclInvalidUsage;
}

/* ---- messages ---- */

typedef struct message {
    float *data;
    size_t count, done;
    int peer;
    bool sends;
} message;

typedef struct group {
    struct shim_nccl *c;
    message message[MOST_MESSAGES];
    int count;
} group;

static group collected;
static cudaStream_t collected_on;

static bool advance(const struct shim_nccl *c, message *m) {
    letter *l =
        m->sends ? &c->meeting->letter[c->rank][m->peer] : &c->meeting->letter[m->peer][c->rank];
    if (l->full == m->sends)
        return false;
    size_t left = m->count - m->done, count = left < LETTER ? left : LETTER;
    if (m->sends)
        memcpy(l->piece, m->data + m->done, sizeof(float) * count);
    else
        memcpy(m->data + m->done, l->piece, sizeof(float) * count);
    m->done += count;
    l->full = m->sends;
    return true;
}

/* Messages between two ranks keep their order; those of others do not wait for them. */
static bool run_group(void *state) {
    group *g = state;
    for (bool left = true; left && !g->c->meeting->aborted;) {
        bool busy[2][MOST_RANKS] = {{false}}, moved = false;
        left = false;
        for (int i = 0; i < g->count; i++) {
            message *m = &g->message[i];
            if (m->done == m->count)
                continue;
            left = true;
            moved = (!busy[m->sends][m->peer] && advance(g->c, m)) || moved;
            busy[m->sends][m->peer] = true;
        }
        if (left && !moved)
            return false;
    }
    for (int i = 0; i < g->count; i++)
        g->message[i].done = 0;
    return true;
}

ncclResult_t ncclGroupStart(void) {
    collected = (group){.count = 0};
    return shim_fails_in(__func__) ? ncclSystemError : ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
    if (collected.count == 0)
        return ncclSuccess;
    cudaError_t error = shim_submit_tries(collected_on, run_group, &collected, sizeof collected,
                                          &collected.c->graphs);
    return error == cudaSuccess ? ncclSuccess : ncclSystemError;
}

static ncclResult_t collect(float *data, size_t count, int peer, bool sends, ncclComm_t comm,
                            cudaStream_t stream) {
    if (shim_fails_in(sends ? "ncclSend" : "ncclRecv"))
        return ncclSystemError;
    if (collected.count == MOST_MESSAGES || peer == comm->rank)
        return ncclInvalidUsage;
    collected.c = comm;
    collected_on = stream;
    collected.message[collected.count++] =
        (message){.data = data, .count = count, .peer = peer, .sends = sends};
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
    (void)type;
    return collect((float *)(uintptr_t)from, count, peer, true, comm, stream);
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    (void)type;
    return collect(to, count, peer, false, comm, stream);
}
