/* The way in: which ranks there are, and the communicator of all of them.
 *
 * launcher/main.c calls these three; all other code receives a dl_comm. MPI is started only where a
 * launcher started several processes, or where it is asked for by name: it costs start-up time. */
#ifndef DL_COMM_COMM_H
#define DL_COMM_COMM_H

#include "runtime/device/comm.h"

/* backend: "auto" (shared memory when all ranks are on one host, else MPI), "shm", "mpi". Starts
 * MPI if need be. DL_BAD_JOB: no such backend; DL_UNAVAILABLE: not with these ranks. */
dl_status dl_comm_open(dl_comm **out, const char *backend);

/* Closes the communicator of all ranks (NULL is allowed) and MPI, if dl_comm_open started it. Waits
 * for the other ranks to do the same: after a failure that they do not know of, abort instead. */
void dl_comm_finish(dl_comm *comm);

/* Ends every rank of the job at once with this exit code. */
_Noreturn void dl_comm_abort(int code);

/* What the launcher's environment says before MPI runs; 0 and 1 without a launcher. */
void dl_comm_local_place(int *local_rank, int *local_size);

/* Name and version of the MPI library, for --version; no call to it needs MPI to run. */
const char *dl_comm_library(char *text, size_t bytes);

#endif
