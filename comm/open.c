/* Starting and ending MPI, and the choice of a communicator for its ranks. See comm.h. */
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/comm.h"
#include "comm/mpi.h"
#include "comm/shm.h"
#include "comm/single.h"

static bool started_mpi; /* MPI is the process's, and so is this */

static int number_in(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : -1;
}

/* Whether a launcher says that there are other processes. */
static bool has_launcher(void) {
    const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (number_in(sizes[i]) >= 0)
            return number_in(sizes[i]) > 1;
    return getenv("PMIX_RANK") != NULL;
}

void dl_comm_local_place(int *local_rank, int *local_size) {
    static const char *const names[][2] = {
        {"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
        {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
        {"SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"}, /* "4(x2)": 4 on each of 2 nodes */
    };
    *local_rank = 0;
    *local_size = 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int rank = number_in(names[i][0]), size = number_in(names[i][1]);
        if (rank >= 0 && size > rank) {
            *local_rank = rank;
            *local_size = size;
            return;
        }
    }
}

static dl_status start_mpi(void) {
    int running = 0, level = MPI_THREAD_SINGLE;
    DL_TRY(dl_mpi_check(MPI_Initialized(&running), "MPI_Initialized"));
    if (running)
        return DL_OK;
    int rank, size;
    dl_comm_local_place(&rank, &size);
    if (size > sysconf(_SC_NPROCESSORS_ONLN)) /* Open MPI's own calls give the core away, too */
        setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    DL_TRY(dl_mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), "MPI_Init"));
    started_mpi = true;
    DL_TRY(dl_mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
                        "MPI_Comm_set_errhandler"));
    if (level < MPI_THREAD_SERIALIZED)
        return dl_fail(DL_UNAVAILABLE, "this MPI library cannot be called from several threads");
    return DL_OK;
}

/* All ranks of `mpi` leave with the same status, the failing ones with their own message. */
static dl_status agree_over(MPI_Comm mpi, dl_status mine) {
    int code = (int)mine, worst = 0;
    DL_TRY(dl_mpi_check(MPI_Allreduce(&code, &worst, 1, MPI_INT, MPI_MAX, mpi), "MPI_Allreduce"));
    if (worst != DL_OK && mine == DL_OK)
        return dl_fail((dl_status)worst, "another rank could not join the shared memory");
    return (dl_status)worst;
}

dl_status dl_shm_open_over(MPI_Comm mpi, dl_comm **out) {
    int rank = 0, size = 0, local = 0, fd = -1;
    dl_share_name name = {0};
    MPI_Comm host = MPI_COMM_NULL;
    *out = NULL;
    MPI_Comm_rank(mpi, &rank);
    MPI_Comm_size(mpi, &size);
    DL_TRY(dl_mpi_check(MPI_Comm_split_type(mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
                        "MPI_Comm_split_type"));
    MPI_Comm_size(host, &local);
    DL_TRY(dl_mpi_check(MPI_Comm_free(&host), "MPI_Comm_free"));
    if (local != size) /* on every host, then */
        return dl_fail(DL_UNAVAILABLE,
                       "comm backend shm needs all ranks on one host, but %d of %d are here; use "
                       "auto or mpi",
                       local, size);
    dl_status status = rank == 0 ? dl_share_make(dl_shm_bytes(size), &fd, &name) : DL_OK;
    DL_GOTO(done, agree_over(mpi, status));
    DL_GOTO(done, dl_mpi_check(MPI_Bcast(&name, sizeof name, MPI_BYTE, 0, mpi), "MPI_Bcast"));
    if (rank != 0)
        status = dl_share_find(&name, &fd);
    if (status == DL_OK)
        status = dl_shm_join(fd, rank, size, out);
    status = agree_over(mpi, status);
    if (status != DL_OK && *out) {
        dl_comm_close(*out);
        *out = NULL;
    }
done:
    dl_share_shut(fd);
    return status;
}

dl_status dl_mpi_best(MPI_Comm mpi, dl_comm **out) {
    int size = 0;
    dl_status status = dl_mpi_check(MPI_Comm_size(mpi, &size), "MPI_Comm_size");
    if (status == DL_OK && size > 1) {
        status = dl_shm_open_over(mpi, out);
        if (status == DL_UNAVAILABLE)
            return dl_mpi_open(mpi, true, out);
    } else if (status == DL_OK) {
        status = dl_single_open(out);
    }
    MPI_Comm_free(&mpi);
    return status;
}

dl_status dl_comm_open(dl_comm **out, const char *backend) {
    *out = NULL;
    bool any = strcmp(backend, "auto") == 0, shm = strcmp(backend, "shm") == 0;
    if (!any && !shm && strcmp(backend, "mpi") != 0)
        return dl_fail(DL_BAD_JOB, "'%s' is not a comm backend; there are auto, shm and mpi",
                       backend);
    if ((any || shm) && !has_launcher())
        return dl_single_open(out);
    DL_TRY(start_mpi());
    MPI_Comm world = MPI_COMM_NULL;
    DL_TRY(dl_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &world), "MPI_Comm_dup"));
    if (any)
        return dl_mpi_best(world, out);
    if (!shm)
        return dl_mpi_open(world, false, out);
    dl_status status = dl_shm_open_over(world, out);
    MPI_Comm_free(&world);
    return status;
}

static bool mpi_runs(void) {
    int begun = 0, ended = 0;
    return MPI_Initialized(&begun) == MPI_SUCCESS && begun &&
           MPI_Finalized(&ended) == MPI_SUCCESS && !ended;
}

void dl_comm_finish(dl_comm *comm) {
    dl_comm_close(comm);
    if (started_mpi && mpi_runs())
        MPI_Finalize();
    started_mpi = false;
}

void dl_comm_abort(int code) {
    if (mpi_runs())
        MPI_Abort(MPI_COMM_WORLD, code);
    _exit(code);
}

const char *dl_comm_library(char *text, size_t bytes) {
    char name[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    if (MPI_Get_library_version(name, &length) != MPI_SUCCESS)
        length = 0;
    /* Open MPI: "Open MPI v4.1.4, package: ..."; others put a line each. */
    snprintf(text, bytes, "%.*s", length, name);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}
