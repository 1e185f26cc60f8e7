/* Ranks of a launcher run all that a communicator promises (exchange.h).
 *   ranks_comm check auto|shm|mpi   exit 0 when every rank found everything right
 *   ranks_comm mixed mpi            the same over MPI, as between hosts: what is split off may
 * share memory ranks_comm stall auto|shm|mpi   the last rank stalls for 4 s, the others allow 1 s
 * and must fail ranks_comm time auto|shm|mpi    milliseconds of a sum of 100 MB, of MPI_Allreduce,
 * and the ratio tests/runs/comm.sh starts it. */
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include "comm/comm.h"
#include "comm/mpi.h"
#include "runtime/base/clock.h"
#include "tests/ranks/exchange.h"

static int check(dl_comm *comm) {
    dl_team *team = NULL;
    if (dl_team_open(&team, DL_TEAM_SIDE, 2) != DL_OK)
        return 1;
    ex_all(comm, team, 2);
    dl_team_close(team);
    uint64_t mine = (uint64_t)ex_failures, total = 0;
    uint64_t *all = dl_alloc(sizeof *all * (size_t)comm->size);
    dl_status status = dl_comm_gather(comm, &mine, sizeof mine, all);
    for (int r = 0; r < comm->size; r++)
        total += all[r];
    dl_free(all);
    if (comm->rank == 0)
        printf("%s, %d ranks: %d failures\n", comm->table->name, comm->size, (int)total);
    return status != DL_OK || total > 0;
}

static int mixed(void) {
    MPI_Comm world;
    dl_comm *comm = NULL;
    if (MPI_Comm_dup(MPI_COMM_WORLD, &world) != MPI_SUCCESS ||
        dl_mpi_open(world, true, &comm) != DL_OK)
        return 1;
    dl_comm *part = NULL;
    if (dl_comm_split(comm, comm->rank / 2, 0, &part) != DL_OK ||
        strcmp(part->table->name, part->size > 1 ? "shm" : "single") != 0)
        return 1;
    dl_comm_close(part);
    int code = check(comm);
    dl_comm_close(comm);
    return code;
}

static int stall(dl_comm *comm) {
    comm->timeout = 1.0;
    if (dl_comm_barrier(comm) != DL_OK)
        return 1;
    if (comm->rank == comm->size - 1) {
        sleep(4);
        return 0;
    }
    double begun = dl_seconds();
    dl_status status = dl_comm_barrier(comm);
    double waited = dl_seconds() - begun;
    printf("%s\n", dl_message());
    return status == DL_FAILED && waited > 0.9 && waited < 3.0 ? 0 : 1;
}

static int die(dl_comm *comm) {
    if (dl_comm_barrier(comm) != DL_OK)
        return 1;
    if (comm->rank == comm->size - 1)
        raise(SIGKILL);
    dl_comm_barrier(comm);
    printf("%s\n", dl_message());
    return 1;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { FLOATS = 25000000, TIMES = 7 };

static int measure(dl_comm *comm) {
    dl_sum *sum = NULL;
    double ours[TIMES], theirs[TIMES];
    if (dl_sum_open(comm, FLOATS, 1, &sum) != DL_OK)
        return 1;
    float *to = dl_alloc(sizeof *to * FLOATS), *from = dl_alloc(sizeof *from * FLOATS);
    for (int64_t i = 0; i < FLOATS; i++)
        from[i] = to[i] = 1.0f;
    for (int turn = -1; turn < TIMES; turn++) {
        for (int64_t i = 0; i < FLOATS; i++)
            sum->leaf[0][i] = 1.0f;
        if (dl_comm_barrier(comm) != DL_OK)
            return 1;
        double begun = dl_seconds();
        if (dl_sum_run(sum, comm->size, NULL) != DL_OK)
            return 1;
        ours[turn < 0 ? 0 : turn] = dl_seconds() - begun;
        MPI_Barrier(MPI_COMM_WORLD);
        begun = dl_seconds();
        MPI_Allreduce(from, to, FLOATS, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        theirs[turn < 0 ? 0 : turn] = dl_seconds() - begun;
    }
    qsort(ours, TIMES, sizeof *ours, compare_doubles);
    qsort(theirs, TIMES, sizeof *theirs, compare_doubles);
    double mine = ours[TIMES / 2] * 1e3, library = theirs[TIMES / 2] * 1e3;
    if (comm->rank == 0)
        printf("%s, %d ranks, 100 MB: sum %.1f ms, MPI_Allreduce %.1f ms, ratio %.1f "
               "(medians of %d)\n",
               comm->table->name, comm->size, mine, library, library / mine, TIMES);
    dl_free(from);
    dl_free(to);
    dl_sum_close(sum);
    return 0;
}

int main(int argc, char **argv) {
    dl_comm *comm = NULL;
    if (argc != 3 || dl_comm_open(&comm, argv[2]) != DL_OK) {
        fprintf(stderr, "ranks_comm: %s\n",
                argc == 3 ? dl_message() : "check|mixed|stall|die|time BACKEND");
        return 1;
    }
    int code = 1;
    if (strcmp(argv[1], "check") == 0)
        code = check(comm);
    else if (strcmp(argv[1], "mixed") == 0)
        code = mixed();
    else if (strcmp(argv[1], "time") == 0)
        code = measure(comm);
    else if (strcmp(argv[1], "die") == 0)
        code = die(comm);
    else if (strcmp(argv[1], "stall") == 0) {
        code = stall(comm);
        dl_comm_finish(NULL); /* the communicator is broken, MPI itself is not */
        return code;
    }
    if (code != 0)
        dl_comm_abort(code);
    dl_comm_finish(comm);
    return 0;
}
