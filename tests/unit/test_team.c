/* Teams of both forms: every index once, the cut by count and grain, calls from inside a worker,
 * tasks in order, failures, no allocation per call. */
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/base/team.h"
#include "tests/unit/check.h"

enum { MANY = 100000, THREADS = 3 };

typedef struct marks {
    dl_team *team;
    unsigned char seen[MANY];
    _Atomic int ranges;
    int64_t shortest;
    pthread_mutex_t lock;
} marks;

static marks shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void mark_range(void *arg, int64_t first, int64_t last) {
    marks *m = arg;
    for (int64_t i = first; i < last; i++)
        m->seen[i]++;
    atomic_fetch_add(&m->ranges, 1);
    pthread_mutex_lock(&m->lock);
    if (last - first < m->shortest)
        m->shortest = last - first;
    pthread_mutex_unlock(&m->lock);
}

static void check_cut(dl_team *team, int64_t count, int64_t grain, int want_ranges) {
    memset(shared.seen, 0, sizeof shared.seen);
    atomic_store(&shared.ranges, 0);
    shared.shortest = count;
    dl_team_range(team, count, grain, mark_range, &shared);
    int64_t wrong = 0;
    for (int64_t i = 0; i < MANY; i++)
        wrong += shared.seen[i] != (i < count ? 1 : 0);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(atomic_load(&shared.ranges), want_ranges);
    if (want_ranges > 1)
        CU_ASSERT(shared.shortest >= grain);
}

static void test_range(void) {
    check_cut(NULL, 100, 1, 1);
    for (int form = DL_TEAM_LONE; form <= DL_TEAM_SIDE; form++) {
        dl_team *team;
        CHECK_OK(dl_team_open(&team, (dl_team_form)form, THREADS));
        CU_ASSERT_EQUAL(dl_team_threads(team), THREADS);
        CU_ASSERT_EQUAL(dl_team_form_of(team), form);
        uint64_t before = dl_alloc_count();
        check_cut(team, MANY, 1, THREADS);
        check_cut(team, MANY, MANY, 1);
        check_cut(team, MANY, MANY / 2, 2);
        check_cut(team, 2, 1, 2);
        check_cut(team, 10, 4, 2);
        check_cut(team, 0, 1, 0);
        for (int i = 0; i < 200; i++)
            dl_team_range(team, 10, 1, mark_range, &shared);
        CU_ASSERT_EQUAL(dl_alloc_count(), before);
        dl_team_close(team);
    }
    dl_team_close(NULL);
    dl_team *none;
    CHECK_FAILS(dl_team_open(&none, DL_TEAM_LONE, 0), DL_INTERNAL, "0 threads");
}

typedef struct nested {
    dl_team *team;
    _Atomic int inner_ranges, outside_thread, total;
} nested;

typedef struct inner {
    nested *all;
    pthread_t caller;
} inner;

static void inner_range(void *arg, int64_t first, int64_t last) {
    inner *in = arg;
    atomic_fetch_add(&in->all->inner_ranges, 1);
    atomic_fetch_add(&in->all->total, (int)(last - first));
    if (!pthread_equal(in->caller, pthread_self()))
        atomic_fetch_add(&in->all->outside_thread, 1);
}

static void outer_range(void *arg, int64_t first, int64_t last) {
    inner in = {arg, pthread_self()};
    for (int64_t i = first; i < last; i++)
        dl_team_range(in.all->team, 1000, 1, inner_range, &in);
}

static dl_status outer_task(void *arg, int task) {
    outer_range(arg, task, task + 1);
    return dl_team_tasks(((nested *)arg)->team, 0, outer_task, arg);
}

static void test_nested(void) {
    for (int form = DL_TEAM_LONE; form <= DL_TEAM_SIDE; form++) {
        nested n = {0};
        CHECK_OK(dl_team_open(&n.team, (dl_team_form)form, THREADS));
        dl_team_range(n.team, 12, 1, outer_range, &n);
        CU_ASSERT_EQUAL(atomic_load(&n.inner_ranges), 12);
        if (form == DL_TEAM_SIDE) {
            CHECK_OK(dl_team_tasks(n.team, 7, outer_task, &n));
            CU_ASSERT_EQUAL(atomic_load(&n.inner_ranges), 19);
        }
        CU_ASSERT_EQUAL(atomic_load(&n.total), 1000 * atomic_load(&n.inner_ranges));
        CU_ASSERT_EQUAL(atomic_load(&n.outside_thread), 0);
        dl_team_close(n.team);
    }
}

typedef struct tasks {
    pthread_t thread[10];
    int order[10], openmp[10];
    _Atomic int clock;
    int fail_from; /* tasks from this one on fail */
} tasks;

static dl_status one_task(void *arg, int task) {
    tasks *t = arg;
    t->thread[task] = pthread_self();
    t->order[task] = atomic_fetch_add(&t->clock, 1);
    t->openmp[task] = omp_get_max_threads();
    if (task >= t->fail_from)
        return dl_fail(task == t->fail_from ? DL_NO_INPUT : DL_FAILED, "task %d failed", task);
    return DL_OK;
}

static void test_tasks(void) {
    for (int threads = 1; threads <= 4; threads++) {
        dl_team *team;
        tasks t = {.fail_from = 100};
        int before = omp_get_max_threads();
        CHECK_OK(dl_team_open(&team, DL_TEAM_SIDE, threads));
        uint64_t allocations = dl_alloc_count();
        CHECK_OK(dl_team_tasks(team, 10, one_task, &t));
        CU_ASSERT_EQUAL(dl_alloc_count(), allocations);
        CU_ASSERT_EQUAL(atomic_load(&t.clock), 10);
        CU_ASSERT(pthread_equal(t.thread[0], pthread_self()));
        for (int i = 0; i < 10; i++) {
            CU_ASSERT_EQUAL(t.openmp[i], 1);
            CU_ASSERT(pthread_equal(t.thread[i], t.thread[i % threads]));
            if (i >= threads)
                CU_ASSERT(t.order[i] > t.order[i - threads]);
        }
        for (int from = 0; from < 10; from++) {
            char want[32];
            snprintf(want, sizeof want, "task %d failed", from);
            t.fail_from = from;
            CHECK_FAILS(dl_team_tasks(team, 10, one_task, &t), DL_NO_INPUT, want);
        }
        t.fail_from = 100;
        CHECK_OK(dl_team_tasks(team, 10, one_task, &t)); /* an old failure is forgotten */
        dl_team_close(team);
        CU_ASSERT_EQUAL(omp_get_max_threads(), before);
    }
}

static void test_open_fails(void) {
    dl_team *team = NULL;
    dl_alloc_fail_after(1);
    CHECK_FAILS(dl_team_open(&team, DL_TEAM_SIDE, 2), DL_NO_MEMORY, "out of memory");
    dl_alloc_fail_after(0);
    CU_ASSERT_PTR_NULL(team);
}

void suite_team(void) {
    CU_pSuite suite = CU_add_suite("team", NULL, NULL);
    CU_add_test(suite, "ranges", test_range);
    CU_add_test(suite, "calls from inside a worker", test_nested);
    CU_add_test(suite, "tasks", test_tasks);
    CU_add_test(suite, "no memory", test_open_fails);
}
