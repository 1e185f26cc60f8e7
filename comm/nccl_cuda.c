/* Ranks that have a GPU each, as NCCL's group of them: joining, memory to sum in, and what goes
 * wrong. Never blocking: joining and waiting have an end, and look out for ranks that gave up. The
 * id goes through the host's communicator, as does who failed (runtime/exec/queue.c). */
#include "comm/nccl_cuda.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/memory.h"

/* ncclMemAlloc takes a multicast granule, which may be 512 MiB, for the least of sums. */
enum { REGISTERED_FROM = 8 << 20 };

dl_nccl *dl_nccl_of(const dl_device *device) {
    return ((const dl_cuda *)device)->guest[DL_GUEST_NCCL].state;
}

dl_status dl_nccl_check(const dl_nccl *g, ncclResult_t result, const char *call) {
    if (result == ncclSuccess || result == ncclInProgress)
        return DL_OK;
    if (result == ncclRemoteError)
        return dl_fail(DL_FAILED, "%s: %s lost another rank", call, g->here);
    return dl_fail(DL_UNAVAILABLE, "%s failed on %s: %s (%s)", call, g->here,
                   ncclGetErrorString(result), g->comm ? ncclGetLastError(g->comm) : "");
}

/* Whether the group goes on as it should since `begun`, and if something is still in progress;
 * DL_FAILED where another rank must know why not (dl_comm_agree). */
static dl_status look(const dl_nccl *g, double begun, const char *what, ncclResult_t *state) {
    int first = g->given_up ? atomic_load(g->given_up) : 0;
    if (first > 0 && first != g->rank + 1)
        return dl_fail(DL_FAILED, "%s: rank %d gave up", what, first - 1);
    DL_NCCL_TRY(g, ncclCommGetAsyncError, g->comm, state);
    DL_TRY(dl_nccl_check(g, *state, what));
    if (g->timeout > 0 && dl_seconds() - begun > g->timeout)
        return dl_fail(DL_FAILED,
                       "%s: %s waited %.0f s for the GPUs of other ranks; see what holds them up, "
                       "or raise comm.timeout",
                       what, g->here, g->timeout);
    return DL_OK;
}

dl_status dl_nccl_settle(const dl_nccl *g, const char *what) {
    double begun = dl_seconds();
    ncclResult_t state;
    for (;;) {
        DL_TRY(look(g, begun, what, &state));
        if (state != ncclInProgress)
            return DL_OK;
        sched_yield();
    }
}

dl_status dl_nccl_await(dl_cuda *cuda, cudaEvent_t event) {
    const dl_nccl *g = dl_nccl_of(&cuda->device);
    double begun = dl_seconds();
    for (;;) {
        cudaError_t state = cudaEventQuery(event);
        if (state != cudaErrorNotReady)
            DL_TRY(dl_cuda_check(state, "cudaEventQuery"));
        if (!g->comm)
            return dl_fail(DL_FAILED, "%s gave up summing", g->here);
        ncclResult_t group;
        DL_TRY(look(g, begun, "sums between GPUs", &group));
        if (state == cudaSuccess)
            return DL_OK;
        sched_yield();
    }
}

/* Ends kernels that still run at once, but returns only when no recording has any left. */
static void *abort_group(void *group) {
    ncclCommAbort(((dl_nccl *)group)->aborted);
    return NULL;
}

/* The caller goes on to where recordings are closed; leave waits for the rest. */
void dl_nccl_give_up(dl_device *device) {
    dl_nccl *g = dl_nccl_of(device);
    if (!g)
        return;
    int none = 0;
    if (g->given_up)
        atomic_compare_exchange_strong(g->given_up, &none, g->rank + 1);
    if (!g->comm)
        return;
    g->aborted = g->comm;
    g->comm = NULL;
    g->aborting = pthread_create(&g->aborter, NULL, abort_group, g) == 0;
    if (!g->aborting)
        abort_group(g);
}

/* ---- memory ---- */

/* Registered, so that other GPUs read and write it in place; NULL where that is not to be had. */
static dl_nccl_buffer *open_buffer(dl_nccl *g, size_t bytes) {
    dl_nccl_buffer *buffer = dl_alloc(sizeof *buffer);
    if (!buffer)
        return NULL;
    if (ncclMemAlloc(&buffer->memory, bytes) != ncclSuccess) {
        cudaGetLastError(); /* it ends here */
        dl_free(buffer);
        return NULL;
    }
    /* Without, sums go through NCCL's own buffers. */
    if (ncclCommRegister(g->comm, buffer->memory, bytes, &buffer->handle) != ncclSuccess)
        buffer->handle = NULL;
    buffer->next = g->buffers;
    g->buffers = buffer;
    return buffer;
}

dl_status dl_nccl_allocate(dl_device *device, size_t bytes, void **out) {
    dl_nccl *g = dl_nccl_of(device);
    dl_nccl_buffer *buffer =
        g && g->comm && bytes >= REGISTERED_FROM ? open_buffer(g, bytes) : NULL;
    if (!buffer)
        return device->table->allocate(device, bytes, out);
    *out = buffer->memory;
    dl_status status = device->table->fill(device, *out, 0, bytes);
    if (status != DL_OK) {
        dl_nccl_release(device, *out);
        *out = NULL;
    }
    return status;
}

void dl_nccl_release(dl_device *device, void *memory) {
    dl_nccl *g = dl_nccl_of(device);
    for (dl_nccl_buffer **at = g ? &g->buffers : NULL; at && *at; at = &(*at)->next) {
        dl_nccl_buffer *buffer = *at;
        if (buffer->memory != memory)
            continue;
        if (!g->comm)
            return; /* NCCL has not let go of it yet: leave frees it */
        *at = buffer->next;
        if (buffer->handle)
            ncclCommDeregister(g->comm, buffer->handle);
        ncclMemFree(memory);
        dl_free(buffer);
        return;
    }
    device->table->release(device, memory);
}

/* ---- joining and leaving ---- */

enum { PATIENCE = 30 /* seconds, for ranks that leave together unless one of them has died */ };

/* After an abort that does not end the process ends with it under way. */
static bool is_through(dl_nccl *g) {
    struct timespec until;
    if (!g->aborting)
        return true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE;
    return pthread_timedjoin_np(g->aborter, NULL, &until) == 0;
}

static void leave(void *state) {
    dl_nccl *g = state;
    g->timeout = g->timeout > 0 && g->timeout < PATIENCE ? g->timeout : PATIENCE;
    if (g->comm && dl_nccl_check(g, ncclCommFinalize(g->comm), "ncclCommFinalize") == DL_OK &&
        dl_nccl_settle(g, "ncclCommFinalize") == DL_OK)
        ncclCommDestroy(g->comm);
    else if (g->comm)
        ncclCommAbort(g->comm);
    if (!is_through(g))
        return;
    while (g->buffers) {
        dl_nccl_buffer *buffer = g->buffers;
        g->buffers = buffer->next;
        ncclMemFree(buffer->memory);
        dl_free(buffer);
    }
    dl_comm_unshare(g->given_up, sizeof *g->given_up);
    dl_free(g);
}

static dl_status start(dl_nccl *g, dl_comm *comm) {
    ncclUniqueId id = {{0}};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    /* What switches add (NVLS) comes out in other bits from call to call; who knows better has
     * said so. */
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    dl_status status =
        comm->rank == 0 ? dl_nccl_check(g, ncclGetUniqueId(&id), "ncclGetUniqueId") : DL_OK;
    DL_TRY(dl_comm_agree(comm, status));
    DL_TRY(dl_comm_broadcast(comm, &id, sizeof id, 0));
    DL_NCCL_TRY(g, ncclCommInitRankConfig, &g->comm, comm->size, id, comm->rank, &config);
    return dl_nccl_settle(g, "ncclCommInitRankConfig");
}

dl_status dl_nccl_join(dl_device *device, dl_comm *comm) {
    dl_cuda *cuda = dl_cuda_of(device);
    char host[64] = "";
    dl_nccl *g = dl_alloc(sizeof *g);
    DL_TRY(dl_comm_agree(comm, g ? DL_OK : dl_fail_memory(sizeof *g)));
    gethostname(host, sizeof host - 1);
    g->timeout = comm->timeout;
    g->rank = comm->rank;
    g->size = comm->size;
    snprintf(g->here, sizeof g->here, "rank %d (%s, %s)", comm->rank, host, device->name);
    cuda->guest[DL_GUEST_NCCL].state = g;
    cuda->guest[DL_GUEST_NCCL].close = leave;
    if (dl_comm_shares(comm)) {
        void *page = NULL;
        DL_TRY(dl_comm_share(comm, sizeof *g->given_up, &page));
        g->given_up = page;
    }
    dl_status status = start(g, comm);
    if (status != DL_OK)
        dl_nccl_give_up(device); /* the others need not wait until their limit */
    status = dl_comm_agree(comm, status);
    if (status != DL_OK)
        dl_nccl_give_up(device);
    device->joined = status == DL_OK;
    return status;
}
