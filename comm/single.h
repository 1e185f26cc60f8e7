/* The communicator of one rank alone: no waiting, no messages; the sum runs over its own leaves. */
#ifndef DL_COMM_SINGLE_H
#define DL_COMM_SINGLE_H

#include "runtime/device/comm.h"

dl_status dl_single_open(dl_comm **out);

#endif
