/* Dividing processors among ranks: from given facts, and on the host of the test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"
#include "comm/cores.h"
#include "tests/unit/check.h"

/* Numbered as Linux does: first threads of all cores, then the second ones. */
static int make_host(dl_processor *processors, int packages, int cores, int threads) {
    int count = 0;
    for (int thread = 0; thread < threads; thread++)
        for (int package = 0; package < packages; package++)
            for (int core = 0; core < cores; core++, count++)
                processors[count] = (dl_processor){count, package, core};
    return count;
}

static void test_divide(void) {
    dl_processor host[64];
    for (int ranks = 1; ranks <= 40; ranks++) {
        int times[64] = {0};
        int count = make_host(host, 2, 4, 2); /* 8 cores, 16 processors */
        for (int rank = 0; rank < ranks; rank++) {
            dl_cores c;
            dl_cores_divide(host, count, 0, rank, ranks, 0, &c);
            CU_ASSERT(c.threads >= 1);
            CU_ASSERT_EQUAL(c.owned, ranks <= 16);
            CU_ASSERT_EQUAL(CPU_COUNT(&c.mask), c.processors);
            for (int i = 0; i < count; i++)
                times[i] += CPU_ISSET((size_t)i, &c.mask) ? 1 : 0;
            if (ranks <= 8) { /* whole cores with both threads, one of ours for each core */
                CU_ASSERT_EQUAL(c.processors, 2 * c.threads);
                for (size_t i = 0; i < 8; i++)
                    CU_ASSERT_EQUAL(CPU_ISSET(i, &c.mask), CPU_ISSET(i + 8, &c.mask));
            }
        }
        for (int i = 0; i < count; i++)
            CU_ASSERT_EQUAL(times[i], ranks <= 16 ? 1 : ranks);
    }
}

static void test_limits(void) {
    dl_processor host[64];
    dl_cores c;
    char text[DL_CORES_TEXT];
    int count = make_host(host, 1, 8, 1);
    dl_cores_divide(host, count, 0, 1, 2, 0, &c);
    CU_ASSERT_STRING_EQUAL(dl_cores_text(&c, text),
                           "4 threads on processors 4-7 of 8 (rank 1 of 2 here), waits actively");
    dl_cores_divide(host, count, 2, 0, 1, 0, &c); /* a container with the time of two */
    CU_ASSERT_EQUAL(c.threads, 2);
    CU_ASSERT(c.owned);
    dl_cores_divide(host, count, 2, 2, 4, 0, &c);
    CU_ASSERT_EQUAL(c.threads, 1);
    CU_ASSERT_FALSE(c.owned);
    dl_cores_divide(host, count, 0, 0, 4, 2, &c); /* as wanted */
    CU_ASSERT_EQUAL(c.threads, 2);
    CU_ASSERT(c.owned);
    dl_cores_divide(host, count, 0, 0, 4, 3, &c); /* more than the share of 2 */
    CU_ASSERT_EQUAL(c.threads, 3);
    CU_ASSERT_FALSE(c.owned);
    CU_ASSERT_PTR_NOT_NULL(strstr(dl_cores_text(&c, text), "waits passively"));
}

static void test_this_host(void) {
    dl_cores c;
    cpu_set_t before, now;
    const char *threads = getenv("DLTRAIN_THREADS");
    char saved[32] = "";
    if (threads)
        snprintf(saved, sizeof saved, "%s", threads);
    CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof before, &before), 0);
    unsetenv("DLTRAIN_THREADS");
    CHECK_OK(dl_cores_plan(0, 1, 0, &c));
    CU_ASSERT(c.allowed >= 1 && c.threads >= 1 && c.processors >= 1);
    CHECK_OK(dl_cores_plan(0, 1000, 0, &c));
    CU_ASSERT_EQUAL(c.threads, 1);
    setenv("DLTRAIN_THREADS", "3", 1);
    CHECK_OK(dl_cores_plan(0, 1, 1, &c));
    CU_ASSERT_EQUAL(c.threads, 3);
    CHECK_OK(dl_cores_take(&c));
    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof now, &now), 0);
    CU_ASSERT(CPU_EQUAL(&now, &c.mask));
    setenv("DLTRAIN_THREADS", "two", 1);
    CHECK_FAILS(dl_cores_plan(0, 1, 0, &c), DL_BAD_JOB, "DLTRAIN_THREADS is 'two'");
    if (threads)
        setenv("DLTRAIN_THREADS", saved, 1);
    else
        unsetenv("DLTRAIN_THREADS");
    CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof before, &before), 0);
}

static void test_local_place(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
                                        "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"};
    if (getenv(names[0]) || getenv(names[2]))
        return; /* the suite itself was started by a launcher */
    int rank = -1, size = -1;
    dl_comm_local_place(&rank, &size);
    CU_ASSERT(rank == 0 && size == 1);
    setenv(names[2], "1", 1);
    setenv(names[3], "4(x2)", 1);
    dl_comm_local_place(&rank, &size);
    CU_ASSERT(rank == 1 && size == 4);
    setenv(names[0], "2", 1);
    setenv(names[1], "3", 1);
    dl_comm_local_place(&rank, &size);
    CU_ASSERT(rank == 2 && size == 3);
    for (int i = 0; i < 4; i++)
        unsetenv(names[i]);
}

void suite_cores(void) {
    CU_pSuite suite = CU_add_suite("cores", NULL, NULL);
    CU_add_test(suite, "processors divided among ranks", test_divide);
    CU_add_test(suite, "quota and wanted threads", test_limits);
    CU_add_test(suite, "this host", test_this_host);
    CU_add_test(suite, "place among local ranks", test_local_place);
}
