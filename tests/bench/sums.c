/* Times of a sum over all ranks: dltrain's own (the gradients of a bucket, ready to be read by
 * every rank) and MPI's, in turn in one run. Started under mpirun:
 *
 *   bench_sums FLOATS TURNS
 *
 * Prints a line of JSON: milliseconds of each turn, of the slowest rank. MPI_Allreduce is timed
 * from one buffer to another and in place. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "comm/comm.h"
#include "comm/cores.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"

enum { OURS, MPI_COPY, MPI_IN, WAYS };

typedef struct buffers {
    dl_sum *sum;
    float *from, *to;
    int floats;
} buffers;

static dl_status one(dl_comm *comm, const buffers *b, int way, double *seconds) {
    for (int i = 0; i < b->floats; i++)
        *(way == OURS ? &b->sum->leaf[0][i] : way == MPI_IN ? &b->to[i] : &b->from[i]) = 1.0f;
    DL_TRY(dl_comm_barrier(comm));
    MPI_Barrier(MPI_COMM_WORLD);
    double begun = dl_seconds();
    if (way == OURS)
        DL_TRY(dl_sum_run(b->sum, comm->size, NULL));
    else
        MPI_Allreduce(way == MPI_IN ? MPI_IN_PLACE : b->from, b->to, b->floats, MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
    double mine = dl_seconds() - begun;
    MPI_Allreduce(&mine, seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    float got = way == OURS ? b->sum->result[b->floats - 1] : b->to[b->floats - 1];
    return got == (float)comm->size ? DL_OK : dl_fail(DL_INTERNAL, "a sum is %g", (double)got);
}

static dl_status measure(dl_comm *comm, buffers *b, int turns) {
    static const char *const names[] = {"dltrain_ms", "mpi_ms", "mpi_in_place_ms"};
    DL_TRY(dl_sum_open(comm, b->floats, 1, &b->sum));
    b->from = dl_alloc(sizeof *b->from * (size_t)b->floats);
    b->to = dl_alloc(sizeof *b->to * (size_t)b->floats);
    double *took = dl_alloc(sizeof *took * WAYS * (size_t)turns);
    if (!b->from || !b->to || !took)
        return dl_fail_memory(sizeof *b->from * (size_t)b->floats);
    double warm;
    for (int way = 0; way < WAYS; way++)
        DL_TRY(one(comm, b, way, &warm));
    for (int turn = 0; turn < turns; turn++)
        for (int way = 0; way < WAYS; way++)
            DL_TRY(one(comm, b, way, &took[way * turns + turn]));
    if (comm->rank == 0) {
        char library[256];
        printf("{\"communicator\": \"%s\", \"library\": \"%s\", \"bytes\": %lld", comm->table->name,
               dl_comm_library(library, sizeof library), (long long)b->floats * 4);
        for (int way = 0; way < WAYS; way++) {
            printf(", \"%s\": [", names[way]);
            for (int turn = 0; turn < turns; turn++)
                printf("%s%.6f", turn ? ", " : "", took[way * turns + turn] * 1e3);
            putchar(']');
        }
        puts("}");
    }
    dl_free(took);
    return DL_OK;
}

int main(int argc, char **argv) {
    dl_comm *comm = NULL;
    dl_cores cores;
    int local_rank, local_size;
    if (argc != 3 || atoi(argv[1]) < 1 || atoi(argv[2]) < 1) {
        fputs("bench_sums FLOATS TURNS\n", stderr);
        return DL_BAD_JOB;
    }
    dl_comm_local_place(&local_rank, &local_size);
    dl_status status = dl_cores_plan(local_rank, local_size, 1, &cores);
    if (status == DL_OK)
        status = dl_cores_take(&cores);
    if (status == DL_OK)
        status = dl_comm_open(&comm, "auto");
    if (status == DL_OK && comm->size == 1)
        status = dl_fail(DL_BAD_JOB, "one rank has nothing to sum; start it under mpirun");
    buffers b = {.floats = atoi(argv[1])};
    if (status == DL_OK)
        status = measure(comm, &b, atoi(argv[2]));
    dl_sum_close(b.sum);
    dl_free(b.from);
    dl_free(b.to);
    if (status != DL_OK) {
        fprintf(stderr, "bench_sums: %s\n", dl_message());
        if (comm)
            dl_comm_abort((int)status);
        return (int)status;
    }
    dl_comm_finish(comm);
    return 0;
}
