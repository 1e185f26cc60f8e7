/* See forked.h. */
#include "tests/unit/forked.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/share.h"
#include "comm/shm.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"

void run_forked(int size, rank_fn fn, const int *want) {
    int fd = -1;
    dl_share_name name;
    pid_t child[8];
    CU_ASSERT_FATAL(size <= DL_COUNT(child));
    if (!CHECK_OK(dl_share_make(dl_shm_bytes(size), &fd, &name)))
        return;
    fflush(NULL);
    for (int rank = 0; rank < size; rank++) {
        child[rank] = fork();
        if (child[rank] == 0) {
            dl_comm *comm = NULL;
            alarm(60);
            if (dl_shm_join(fd, rank, size, &comm) != DL_OK)
                _exit(99);
            int code = fn(comm);
            dl_comm_close(comm);
            fflush(NULL);
            _exit(code);
        }
    }
    /* From rank 0 up, so that a rank that died early stays a zombie while others wait for it. */
    for (int rank = 0; rank < size; rank++) {
        int how = 0;
        CU_ASSERT_EQUAL(waitpid(child[rank], &how, 0), child[rank]);
        int code = WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
        if (code != want[rank])
            printf("\n    rank %d of %d ended with %d, want %d", rank, size, code, want[rank]);
        CU_ASSERT_EQUAL(code, want[rank]);
    }
    dl_share_shut(fd);
}
