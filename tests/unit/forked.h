/* Ranks of a test: forked, in shared memory. */
#ifndef DL_TESTS_FORKED_H
#define DL_TESTS_FORKED_H

#include <sys/types.h>

#include "runtime/device/comm.h"

typedef int (*rank_fn)(dl_comm *comm);
typedef struct forked {
    int size, fd;
    pid_t child[8];
} forked;

/* Begins fn on `size` forked ranks. All must end within 120 s and with the exit codes of `want`, of
 * which a negative one is a signal. */
void forked_begin(forked *all, int size, rank_fn fn);
void forked_end(forked *all, const int *want);
void run_forked(int size, rank_fn fn, const int *want);

#endif
