/* The communicator of ranks on one host, over shared memory. A sum is written by every rank for its
 * slice into one result that all read in place: 100 MB pass each core once, not log R times. */
#ifndef DL_COMM_SHM_H
#define DL_COMM_SHM_H

#include "comm/share.h"
#include "runtime/device/comm.h"

/* One rank makes the meeting place, all join it with its file (which each still has to shut).
 * Joining does not wait for the others. */
size_t dl_shm_bytes(int size);
dl_status dl_shm_join(int fd, int rank, int size, dl_comm **out);

#endif
