/* Sums between GPUs of several ranks, by NCCL, on the device's own queue (and so in recordings).
 * Never blocking: joining and waiting have an end, and look out for ranks that gave up. The id goes
 * through the host's communicator, as does who failed (runtime/exec/queue.c). */
#include <nccl.h>
#include <sched.h>
#include <stdatomic.h>

#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/device/device_cuda.h"

typedef struct group {
    ncclComm_t nccl;
    _Atomic int *given_up; /* of any rank of this host; NULL: ranks are on several */
    double timeout;        /* 0: none */
    int rank;
} group;

static dl_status check(const group *g, ncclResult_t result, const char *call) {
    if (result == ncclSuccess || result == ncclInProgress)
        return DL_OK;
    return dl_fail(DL_UNAVAILABLE, "%s failed on rank %d: %s (%s)", call, g->rank,
                   ncclGetErrorString(result), g->nccl ? ncclGetLastError(g->nccl) : "");
}
#define NCCL_TRY(g, function, ...) DL_TRY(check((g), function(__VA_ARGS__), #function))

/* Whether the group goes on as it should since `begun`; DL_FAILED, as others may know why not
 * (dl_comm_agree). */
static dl_status look(const group *g, double begun, const char *what) {
    ncclResult_t result = ncclSuccess;
    NCCL_TRY(g, ncclCommGetAsyncError, g->nccl, &result);
    if (check(g, result, what) != DL_OK)
        return DL_FAILED;
    if (g->given_up && atomic_load(g->given_up))
        return dl_fail(DL_FAILED, "%s: another rank gave up", what);
    if (g->timeout > 0 && dl_seconds() - begun > g->timeout)
        return dl_fail(DL_FAILED, "%s: rank %d waited %.0f s for the GPUs of other ranks", what,
                       g->rank, g->timeout);
    sched_yield();
    return DL_OK;
}

/* What NCCL does in the background is done. */
static dl_status settle(const group *g, const char *what) {
    double begun = dl_seconds();
    for (ncclResult_t state = ncclInProgress; state == ncclInProgress;) {
        NCCL_TRY(g, ncclCommGetAsyncError, g->nccl, &state);
        DL_TRY(look(g, begun, what));
    }
    return DL_OK;
}

void dl_nccl_give_up(dl_device *device) {
    group *g = dl_cuda_of(device)->guest[DL_GUEST_NCCL].state;
    if (!g || !g->nccl)
        return;
    if (g->given_up)
        atomic_store(g->given_up, 1);
    ncclCommAbort(g->nccl); /* ends its kernels that still run */
    g->nccl = NULL;
}

static void leave(void *state) {
    group *g = state;
    if (g->nccl && check(g, ncclCommFinalize(g->nccl), "ncclCommFinalize") == DL_OK &&
        settle(g, "ncclCommFinalize") == DL_OK)
        ncclCommDestroy(g->nccl);
    else if (g->nccl)
        ncclCommAbort(g->nccl);
    dl_comm_unshare(g->given_up, sizeof *g->given_up);
    dl_free(g);
}

static dl_status start(group *g, dl_comm *comm) {
    ncclUniqueId id = {{0}};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    dl_status status = comm->rank == 0 ? check(g, ncclGetUniqueId(&id), "ncclGetUniqueId") : DL_OK;
    DL_TRY(dl_comm_agree(comm, status));
    DL_TRY(dl_comm_broadcast(comm, &id, sizeof id, 0));
    NCCL_TRY(g, ncclCommInitRankConfig, &g->nccl, comm->size, id, comm->rank, &config);
    return settle(g, "ncclCommInitRankConfig");
}

dl_status dl_nccl_join(dl_device *device, dl_comm *comm) {
    dl_cuda *cuda = dl_cuda_of(device);
    group *g = dl_alloc(sizeof *g);
    DL_TRY(dl_comm_agree(comm, g ? DL_OK : dl_fail_memory(sizeof *g)));
    g->timeout = comm->timeout;
    g->rank = comm->rank;
    cuda->guest[DL_GUEST_NCCL].state = g;
    cuda->guest[DL_GUEST_NCCL].close = leave;
    if (dl_comm_shares(comm)) {
        void *page = NULL;
        DL_TRY(dl_comm_share(comm, sizeof *g->given_up, &page));
        g->given_up = page;
    }
    dl_status status = dl_comm_agree(comm, start(g, comm));
    if (status != DL_OK)
        dl_nccl_give_up(device);
    device->joined = status == DL_OK;
    return status;
}

dl_status dl_nccl_sum(dl_device *device, float *data, int64_t count) {
    dl_cuda *cuda = dl_cuda_of(device);
    const group *g = cuda->guest[DL_GUEST_NCCL].state;
    if (!g->nccl)
        return dl_fail(DL_FAILED, "rank %d gave up summing", g->rank);
    NCCL_TRY(g, ncclAllReduce, data, data, (size_t)count, ncclFloat, ncclSum, g->nccl,
             cuda->turned);
    return settle(g, "ncclAllReduce");
}

dl_status dl_nccl_await(dl_cuda *cuda, cudaEvent_t event) {
    const group *g = cuda->guest[DL_GUEST_NCCL].state;
    double begun = dl_seconds();
    for (;;) {
        cudaError_t state = cudaEventQuery(event);
        if (state != cudaErrorNotReady)
            return dl_cuda_check(state, "cudaEventQuery");
        if (!g->nccl)
            return dl_fail(DL_FAILED, "rank %d gave up summing", g->rank);
        DL_TRY(look(g, begun, "sums between GPUs"));
    }
}
