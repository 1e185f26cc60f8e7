/* See forked.h. */
#include "tests/unit/forked.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/share.h"
#include "comm/shm.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"

static _Noreturn void be_rank(const forked *all, int rank, rank_fn fn) {
    dl_comm *comm = NULL;
    alarm(120);
    if (dl_shm_join(all->fd, rank, all->size, &comm) != DL_OK)
        _exit(99);
    int code = fn(comm);
    dl_comm_close(comm);
    fflush(NULL);
    _exit(code);
}

void forked_begin(forked *all, int size, rank_fn fn) {
    dl_share_name name;
    *all = (forked){.size = size, .fd = -1};
    CU_ASSERT_FATAL(size <= DL_COUNT(all->child));
    if (!CHECK_OK(dl_share_make(dl_shm_bytes(size), &all->fd, &name)))
        CU_FAIL_FATAL("no memory to share");
    fflush(NULL);
    for (int rank = 0; rank < size; rank++) {
        all->child[rank] = fork();
        if (all->child[rank] == 0)
            be_rank(all, rank, fn);
    }
}

void forked_end(forked *all, const int *want) {
    /* From rank 0 up, so that a rank that died early stays a zombie while others wait for it. */
    for (int rank = 0; rank < all->size; rank++) {
        int how = 0;
        CU_ASSERT_EQUAL(waitpid(all->child[rank], &how, 0), all->child[rank]);
        int code = WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
        if (code != want[rank])
            printf("\n    rank %d of %d ended with %d, want %d", rank, all->size, code, want[rank]);
        CU_ASSERT_EQUAL(code, want[rank]);
    }
    dl_share_shut(all->fd);
}

void run_forked(int size, rank_fn fn, const int *want) {
    forked all;
    forked_begin(&all, size, fn);
    forked_end(&all, want);
}
