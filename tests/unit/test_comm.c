/* The tree of a sum against its definition; the communicators of one rank and of forked ranks in
 * shared memory: all they promise, and what a rank sees when a peer dies, leaves or stalls. What
 * mpirun starts is tested by tests/runs/comm.sh. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "comm/comm.h"
#include "comm/share.h"
#include "comm/shm.h"
#include "comm/single.h"
#include "comm/tree.h"
#include "runtime/base/clock.h"
#include "tests/ranks/exchange.h"
#include "tests/unit/check.h"
#include "tests/unit/forked.h"

static void test_tree_shape(void) {
    CU_ASSERT_EQUAL(dl_tree_middle(0, 2), 1);
    CU_ASSERT_EQUAL(dl_tree_middle(0, 3), 2);
    CU_ASSERT_EQUAL(dl_tree_middle(4, 8), 6);
    CU_ASSERT_EQUAL(dl_tree_middle(0, 5), 4);
    CU_ASSERT_EQUAL(dl_tree_middle(8, 15), 12);
    int wrong = 0;
    for (int ranks = 1; ranks <= 17; ranks++)
        for (int leaves = 1; leaves <= 70; leaves++)
            for (int rank = 0, leaf = 0; rank < ranks; rank++) {
                int first, last;
                dl_leaf_range(leaves, rank, ranks, &first, &last);
                for (; leaf < last; leaf++)
                    wrong += dl_tree_owner(leaves, ranks, leaf) != rank;
                int partials = dl_tree_partials(leaves, ranks, rank, NULL, NULL);
                wrong += partials > dl_tree_most_partials(last - first);
                wrong += (partials == 0) != (first == last);
            }
    CU_ASSERT_EQUAL(wrong, 0);
}

enum { TREE_COUNT = 4200, TREE_LEAVES = 11 }; /* three pieces */

typedef struct tree_memory {
    int leaves, ranks;
    float *leaf[TREE_LEAVES];
} tree_memory;

static const float *tree_partial(const void *context, int rank, int slot, int64_t i) {
    const tree_memory *m = context;
    int first, last;
    dl_leaf_range(m->leaves, rank, m->ranks, &first, &last);
    return m->leaf[first + slot] + i;
}

static void test_tree_sum(void) {
    tree_memory m = {0};
    float *out = dl_alloc(sizeof *out * TREE_COUNT), *want = dl_alloc(sizeof *want * TREE_COUNT);
    for (int i = 0; i < TREE_LEAVES; i++)
        m.leaf[i] = dl_alloc(sizeof *out * TREE_COUNT);
    bool order_shows = false;
    for (m.leaves = 1; m.leaves <= TREE_LEAVES; m.leaves++) {
        for (int i = 0; i < TREE_COUNT; i++)
            want[i] = ex_tree(0, m.leaves, i, 1);
        for (m.ranks = 1; m.ranks <= 6; m.ranks++) {
            for (int leaf = 0; leaf < m.leaves; leaf++)
                for (int i = 0; i < TREE_COUNT; i++)
                    m.leaf[leaf][i] = ex_value(leaf, i, 1);
            for (int rank = 0; rank < m.ranks; rank++) {
                int first, last;
                dl_leaf_range(m.leaves, rank, m.ranks, &first, &last);
                dl_tree_presum(m.leaf + first, m.leaves, m.ranks, rank, 0, 100);
                dl_tree_presum(m.leaf + first, m.leaves, m.ranks, rank, 100, TREE_COUNT);
            }
            dl_tree_join(m.leaves, m.ranks, tree_partial, &m, out, 0, TREE_COUNT, false);
            CHECK_BITS(out, want, TREE_COUNT);
            memset(out, 0, sizeof *out * TREE_COUNT);
            dl_tree_join(m.leaves, m.ranks, tree_partial, &m, out, 0, TREE_COUNT, true);
            CHECK_BITS(out, want, TREE_COUNT);
            dl_tree_join(m.leaves, m.ranks, tree_partial, &m, out + 1, 4000, 4100, true);
            CHECK_BITS(out + 1, want + 4000, 100);
        }
        /* The test could not fail if adding one after the other gave the same. */
        for (int i = 0; i < TREE_COUNT; i++) {
            float serial = 0.0f;
            for (int leaf = 0; leaf < m.leaves; leaf++)
                serial += ex_value(leaf, i, 1);
            order_shows |= serial != want[i];
        }
    }
    CU_ASSERT(order_shows);
    for (int i = 0; i < TREE_LEAVES; i++)
        dl_free(m.leaf[i]);
    dl_free(want);
    dl_free(out);
}

static void test_single(void) {
    dl_comm *comm = NULL;
    dl_team *team = NULL;
    CHECK_OK(dl_single_open(&comm));
    CHECK_OK(dl_team_open(&team, DL_TEAM_SIDE, 2));
    ex_failures = 0;
    ex_all(comm, team, 1);
    CU_ASSERT_EQUAL(ex_failures, 0);
    dl_team_close(team);
    dl_comm_close(comm);
    CHECK_FAILS(dl_comm_open(&comm, "nvlink"), DL_BAD_JOB, "'nvlink' is not a comm backend");
}

static int rank_exchanges(dl_comm *comm) {
    dl_team *team = NULL;
    if (comm->rank == 1 && dl_team_open(&team, DL_TEAM_SIDE, 2) != DL_OK)
        return 98;
    ex_failures = 0;
    ex_all(comm, team, 2);
    dl_team_close(team);
    return ex_failures ? 1 : 0;
}

static void test_shm(void) {
    static const int fine[5] = {0};
    run_forked(1, rank_exchanges, fine);
    run_forked(2, rank_exchanges, fine);
    run_forked(3, rank_exchanges, fine);
    run_forked(5, rank_exchanges, fine);
}

/* The waiting ranks fail within seconds, say `part`, and go on failing. */
static int fails_with(dl_comm *comm, const char *part) {
    double begun = dl_seconds();
    if (dl_comm_barrier(comm) != DL_FAILED || !strstr(dl_message(), part)) {
        fprintf(stderr, "got: %s\n", dl_message());
        return 1;
    }
    uint64_t all[8], mine = 1;
    if (dl_comm_gather(comm, &mine, sizeof mine, all) != DL_FAILED || !strstr(dl_message(), part))
        return 2;
    if (dl_comm_agree(comm, DL_OK) != DL_FAILED)
        return 3;
    return dl_seconds() - begun < 10.0 ? 0 : 4;
}

static int rank_dies(dl_comm *comm) {
    if (dl_comm_barrier(comm) != DL_OK)
        return 5;
    if (comm->rank == 1)
        raise(SIGKILL);
    return fails_with(comm, "rank 1 (process ");
}

static int rank_leaves(dl_comm *comm) {
    if (dl_comm_barrier(comm) != DL_OK)
        return 5;
    return comm->rank == 1 ? 0 : fails_with(comm, "rank 1 ended while rank ");
}

static int rank_stalls(dl_comm *comm) {
    comm->timeout = 0.5;
    if (dl_comm_barrier(comm) != DL_OK)
        return 5;
    if (comm->rank == 1)
        sleep(2);
    return fails_with(comm, "rank 1 (process ");
}

static int rank_lacks_memory(dl_comm *comm) {
    for (uint64_t n = 1; n <= 6; n++) {
        dl_sum *sum = NULL;
        if (comm->rank == 1)
            dl_alloc_fail_after(n);
        dl_status status = dl_sum_open(comm, 1000, 2, &sum);
        dl_alloc_fail_after(0);
        if ((status == DL_OK) != (sum != NULL))
            return 1;
        if (n <= 4 && (status != DL_NO_MEMORY || !strstr(dl_message(), "rank 1: out of memory")))
            return 2;
        dl_sum_close(sum);
        if (dl_comm_barrier(comm) != DL_OK)
            return 3;
    }
    return 0;
}

static void test_shm_faults(void) {
    static const int dies[3] = {0, -SIGKILL, 0}, fine[3] = {0};
    run_forked(3, rank_dies, dies);
    run_forked(2, rank_leaves, fine);
    run_forked(3, rank_stalls, fine);
    run_forked(2, rank_lacks_memory, fine);
}

static void test_share(void) {
    int fd = -1, other = -1;
    dl_share_name name;
    CHECK_OK(dl_share_make(8192, &fd, &name));
    CHECK_OK(dl_share_find(&name, &other));
    dl_share_shut(other);
    dl_share_name wrong = name;
    wrong.inode++;
    CHECK_FAILS(dl_share_find(&wrong, &other), DL_UNAVAILABLE, "is not the shared memory");
    CU_ASSERT_EQUAL(other, -1);
    dl_share_shut(fd);
    CHECK_FAILS(dl_share_find(&name, &other), DL_UNAVAILABLE, "could not open");
}

void suite_comm(void) {
    CU_pSuite suite = CU_add_suite("comm", NULL, NULL);
    CU_add_test(suite, "tree of a sum: shape", test_tree_shape);
    CU_add_test(suite, "tree of a sum: bits", test_tree_sum);
    CU_add_test(suite, "one rank", test_single);
    CU_add_test(suite, "shared memory, forked ranks", test_shm);
    CU_add_test(suite, "a peer dies, leaves, stalls, lacks memory", test_shm_faults);
    CU_add_test(suite, "shared files", test_share);
}
