/* The communicator over MPI: any ranks on any hosts. Point-to-point messages that are polled, so
 * that waiting has an end; never MPI_Iallreduce. */
#ifndef DL_COMM_MPI_H
#define DL_COMM_MPI_H

#include <mpi.h>
#include <stdbool.h>

#include "runtime/device/comm.h"

/* Takes over `mpi`, also on failure. `may_share`: communicators split from this one use shared
 * memory where all their ranks are on one host. */
dl_status dl_mpi_open(MPI_Comm mpi, bool may_share, dl_comm **out);

/* Over shared memory if all ranks of `mpi` are on one host and can share, else DL_UNAVAILABLE on
 * all ranks. Leaves `mpi` alone. */
dl_status dl_shm_open_over(MPI_Comm mpi, dl_comm **out);

/* The best of the three for the ranks of `mpi`, which it takes over. */
dl_status dl_mpi_best(MPI_Comm mpi, dl_comm **out);

/* DL_OK, or DL_FAILED with MPI's own words. */
dl_status dl_mpi_check(int code, const char *what);

#endif
