/* What mpi.c and mpi_sum.c share: the communicator's struct, bounded waiting, the sum's functions.
 */
#ifndef DL_COMM_MPI_SUM_H
#define DL_COMM_MPI_SUM_H

#include <mpi.h>
#include <stdbool.h>

#include "runtime/device/comm.h"

typedef struct dl_mpi_comm {
    dl_comm comm;
    MPI_Comm mpi;
    bool may_share;
    bool share_cores; /* waiting gives the core away */
} dl_mpi_comm;

/* Waits for the requests at most the communicator's timeout; `what` for the message. */
dl_status dl_mpi_finish(dl_mpi_comm *c, MPI_Request *request, int count, const char *what);

dl_status dl_mpi_sum_open(dl_comm *comm, int64_t count, int local_leaves, dl_sum **out);
dl_status dl_mpi_sum_run(dl_sum *sum, int leaves, dl_team *team);
void dl_mpi_sum_close(dl_sum *sum);

#endif
