/* Ranks of a test: forked, in shared memory. */
#ifndef DL_TESTS_FORKED_H
#define DL_TESTS_FORKED_H

#include "runtime/device/comm.h"

/* Runs fn on `size` forked ranks; all must end within 60 s and with the exit codes of `want`, of
 * which a negative one is a signal. */
typedef int (*rank_fn)(dl_comm *comm);
void run_forked(int size, rank_fn fn, const int *want);

#endif
