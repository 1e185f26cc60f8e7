/* The communicator over MPI. The sum is in mpi_sum.c, how one is chosen in open.c. See mpi.h. */
#include "comm/mpi.h"

#include <limits.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "comm/mpi_sum.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/base/wait.h"

enum {
    CHUNK = 1 << 28,      /* bytes of one broadcast */
    GATHER_MOST = 1 << 20 /* bytes a rank in one message of a gather; above, broadcasts in turn */
};

dl_status dl_mpi_check(int code, const char *what) {
    if (code == MPI_SUCCESS)
        return DL_OK;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        length = 0;
    return dl_fail(DL_FAILED, "%s failed: %.*s", what, length, text);
}

/* Lets others run: where ranks share cores the one waited for may need this one. */
static void idle(const dl_mpi_comm *c, double waited) {
    const struct timespec nap = {.tv_nsec = 200000}, wink = {.tv_nsec = 20000};
    if (waited > 1.0)
        nanosleep(&nap, NULL);
    else if (c->comm.patient)
        nanosleep(&wink, NULL);
    else if (c->share_cores)
        sched_yield();
    else
        dl_pause();
}

dl_status dl_mpi_finish(dl_mpi_comm *c, MPI_Request *request, int count, const char *what) {
    double begun = 0.0, waited = 0.0;
    for (unsigned turn = 0;; turn++) {
        int done = 0;
        DL_TRY(dl_mpi_check(MPI_Testall(count, request, &done, MPI_STATUSES_IGNORE), what));
        if (done)
            return DL_OK;
        if (turn % 64 == 63) {
            double now = dl_seconds();
            begun = begun > 0.0 ? begun : now;
            waited = now - begun;
            if (c->comm.timeout > 0.0 && waited > c->comm.timeout)
                return dl_fail(DL_FAILED,
                               "rank %d of %d waited %.0f s for the others in %s; see what holds "
                               "them up, or raise comm.timeout",
                               c->comm.rank, c->comm.size, waited, what);
        }
        idle(c, waited);
    }
}

static dl_status barrier(dl_comm *comm) {
    dl_mpi_comm *c = (dl_mpi_comm *)comm;
    MPI_Request request = MPI_REQUEST_NULL;
    DL_TRY(dl_mpi_check(MPI_Ibarrier(c->mpi, &request), "MPI_Ibarrier"));
    return dl_mpi_finish(c, &request, 1, "a barrier");
}

static dl_status broadcast(dl_comm *comm, void *bytes, size_t count, int root) {
    dl_mpi_comm *c = (dl_mpi_comm *)comm;
    for (size_t done = 0; done < count; done += CHUNK) {
        int part = (int)(count - done < CHUNK ? count - done : CHUNK);
        MPI_Request request = MPI_REQUEST_NULL;
        DL_TRY(
            dl_mpi_check(MPI_Ibcast((char *)bytes + done, part, MPI_BYTE, root, c->mpi, &request),
                         "MPI_Ibcast"));
        DL_TRY(dl_mpi_finish(c, &request, 1, "a broadcast"));
    }
    return DL_OK;
}

static dl_status gather(dl_comm *comm, const void *mine, size_t count, void *all) {
    dl_mpi_comm *c = (dl_mpi_comm *)comm;
    if (count <= GATHER_MOST) {
        MPI_Request request = MPI_REQUEST_NULL;
        DL_TRY(dl_mpi_check(
            MPI_Iallgather(mine, (int)count, MPI_BYTE, all, (int)count, MPI_BYTE, c->mpi, &request),
            "MPI_Iallgather"));
        return dl_mpi_finish(c, &request, 1, "a gather");
    }
    memcpy((char *)all + (size_t)comm->rank * count, mine, count);
    for (int r = 0; r < comm->size; r++)
        DL_TRY(broadcast(comm, (char *)all + (size_t)r * count, count, r));
    return DL_OK;
}

static dl_status split(dl_comm *comm, int color, int key, dl_comm **out) {
    dl_mpi_comm *c = (dl_mpi_comm *)comm;
    MPI_Comm part = MPI_COMM_NULL;
    /* MPI's colors are not negative; ours are any ints. */
    dl_status status = dl_mpi_check(
        MPI_Comm_split(c->mpi, (int)((unsigned)color & INT_MAX), key, &part), "MPI_Comm_split");
    DL_TRY(dl_comm_agree(comm, status));
    status = c->may_share ? dl_mpi_best(part, out) : dl_mpi_open(part, false, out);
    status = dl_comm_agree(comm, status);
    if (status != DL_OK && *out) {
        dl_comm_close(*out);
        *out = NULL;
    }
    return status;
}

static void close_mpi(dl_comm *comm) {
    dl_mpi_comm *c = (dl_mpi_comm *)comm;
    MPI_Comm_free(&c->mpi); /* what fails here cannot matter any more */
    dl_comm_fini(comm);
    dl_free(c);
}

static const dl_comm_table table = {
    "mpi",     dl_mpi_sum_open, dl_mpi_sum_run, dl_mpi_sum_close, barrier,
    broadcast, gather,          split,          close_mpi,        NULL};

/* How many ranks of `mpi` are on this host, and which of them this one is. */
static dl_status local_place(MPI_Comm mpi, int *local_rank, int *local_size) {
    MPI_Comm local = MPI_COMM_NULL;
    DL_TRY(dl_mpi_check(MPI_Comm_split_type(mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
                        "MPI_Comm_split_type"));
    MPI_Comm_rank(local, local_rank);
    MPI_Comm_size(local, local_size);
    return dl_mpi_check(MPI_Comm_free(&local), "MPI_Comm_free");
}

dl_status dl_mpi_open(MPI_Comm mpi, bool may_share, dl_comm **out) {
    dl_status status;
    int rank = 0, size = 0;
    *out = NULL;
    dl_mpi_comm *c = dl_alloc(sizeof *c);
    if (!c) {
        status = dl_fail_memory(sizeof *c);
        goto fail;
    }
    c->mpi = mpi;
    c->may_share = may_share;
    DL_GOTO(fail_alloc, dl_mpi_check(MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN),
                                     "MPI_Comm_set_errhandler"));
    DL_GOTO(fail_alloc, dl_mpi_check(MPI_Comm_rank(mpi, &rank), "MPI_Comm_rank"));
    DL_GOTO(fail_alloc, dl_mpi_check(MPI_Comm_size(mpi, &size), "MPI_Comm_size"));
    DL_GOTO(fail_alloc, dl_comm_init(&c->comm, &table, rank, size));
    DL_GOTO(fail_comm, local_place(mpi, &c->comm.local_rank, &c->comm.local_size));
    c->share_cores = dl_spin_count() == 0 || c->comm.local_size > sysconf(_SC_NPROCESSORS_ONLN);
    *out = &c->comm;
    return DL_OK;
fail_comm:
    dl_comm_fini(&c->comm);
fail_alloc:
    dl_free(c);
fail:
    MPI_Comm_free(&mpi);
    return status;
}
