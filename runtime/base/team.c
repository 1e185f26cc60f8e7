/* The threads of a rank. The lone form is OpenMP's team, opened per call; the side form is our own
 * workers, which sleep between calls and see a new one in the word `round`. One call at a time: the
 * caller writes the job, raises `round`, works as worker 0 and waits until `working` is 0. */
#include "runtime/base/team.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/base/wait.h"

typedef struct worker {
    dl_team *team;
    int index;
    pthread_t thread;
    dl_status status; /* of this worker's lowest failing task ... */
    int failed_task;
    char message[DL_MESSAGE_MAX];
} worker;

struct dl_team {
    dl_team_form form;
    int threads;
    int openmp_before; /* the opening thread's OpenMP thread count, given back on close */

    /* The job of this round. */
    dl_range_fn range;
    dl_task_fn task;
    void *arg;
    int64_t count;
    int parts; /* ranges or tasks */
    bool stop;

    _Atomic uint32_t round;
    _Atomic uint32_t working; /* workers that have not finished the round */
    worker worker[];
};

/* Whether this thread works for a team at the moment: what it calls then runs on itself alone. */
static _Thread_local bool inside;

static void run_range(const dl_team *team, int part) {
    int64_t first = team->count * part / team->parts;
    int64_t last = team->count * (part + 1) / team->parts;
    team->range(team->arg, first, last);
}

static void run_tasks(worker *me) {
    dl_team *team = me->team;
    for (int task = me->index; task < team->parts; task += team->threads) {
        dl_status status = team->task(team->arg, task);
        if (status != DL_OK && me->status == DL_OK) {
            me->status = status;
            me->failed_task = task;
            memcpy(me->message, dl_message(), strlen(dl_message()) + 1);
        }
    }
}

static void work(worker *me) {
    inside = true;
    if (me->team->task)
        run_tasks(me);
    else if (me->index < me->team->parts)
        run_range(me->team, me->index);
    inside = false;
}

static void wait_while(_Atomic uint32_t *word, uint32_t value, bool until_equal) {
    for (int spin = dl_spin_count(); spin > 0; spin--) {
        if ((atomic_load_explicit(word, memory_order_acquire) == value) == until_equal)
            return;
        dl_pause();
    }
    uint32_t now;
    while (((now = atomic_load_explicit(word, memory_order_acquire)) == value) != until_equal)
        dl_sleep_on(word, now, 1.0);
}

static void *worker_main(void *arg) {
    worker *me = arg;
    dl_team *team = me->team;
    uint32_t seen = 0;
    omp_set_num_threads(1); /* oneDNN's team in this thread is this thread */
    for (;;) {
        wait_while(&team->round, seen, false);
        seen++;
        if (team->stop)
            return NULL;
        work(me);
        if (atomic_fetch_sub_explicit(&team->working, 1, memory_order_acq_rel) == 1)
            dl_wake_all(&team->working);
    }
}

/* Lets `workers` threads besides the caller see the job. */
static void begin_round(dl_team *team, int workers) {
    atomic_store_explicit(&team->working, (uint32_t)workers, memory_order_relaxed);
    atomic_fetch_add_explicit(&team->round, 1, memory_order_release);
    dl_wake_all(&team->round);
}

static void run_round(dl_team *team) {
    begin_round(team, team->threads - 1);
    work(&team->worker[0]);
    wait_while(&team->working, 0, true);
}

static void stop_workers(dl_team *team, int started) {
    team->stop = true;
    begin_round(team, 0);
    for (int i = 1; i < started; i++)
        pthread_join(team->worker[i].thread, NULL);
}

dl_status dl_team_open(dl_team **out, dl_team_form form, int threads) {
    *out = NULL;
    if (threads < 1)
        return dl_fail(DL_INTERNAL, "a team of %d threads", threads);
    int workers = form == DL_TEAM_SIDE ? threads : 0;
    size_t bytes = sizeof(dl_team) + sizeof(worker) * (size_t)workers;
    dl_team *team = dl_alloc(bytes);
    if (!team)
        return dl_fail_memory(bytes);
    team->form = form;
    team->threads = threads;
    for (int i = 0; i < workers; i++) {
        team->worker[i].team = team;
        team->worker[i].index = i;
        if (i == 0) /* the caller */
            continue;
        int error = pthread_create(&team->worker[i].thread, NULL, worker_main, &team->worker[i]);
        if (error != 0) {
            stop_workers(team, i);
            dl_free(team);
            return dl_fail(DL_UNAVAILABLE, "could not start thread %d of %d: %s", i, threads,
                           strerror(error));
        }
    }
    team->openmp_before = omp_get_max_threads();
    omp_set_num_threads(form == DL_TEAM_SIDE ? 1 : threads);
    *out = team;
    return DL_OK;
}

void dl_team_close(dl_team *team) {
    if (!team)
        return;
    if (team->form == DL_TEAM_SIDE)
        stop_workers(team, team->threads);
    omp_set_num_threads(team->openmp_before);
    dl_free(team);
}

int dl_team_threads(const dl_team *team) {
    return team ? team->threads : 1;
}

dl_team_form dl_team_form_of(const dl_team *team) {
    return team ? team->form : DL_TEAM_LONE;
}

static void lone_range(const dl_team *team) {
    int parts = team->parts;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        inside = true;
        run_range(team, part);
        inside = false;
    }
}

void dl_team_range(dl_team *team, int64_t count, int64_t grain, dl_range_fn fn, void *arg) {
    if (count <= 0)
        return;
    int64_t most = grain > 0 ? count / grain : count;
    if (!team || inside || team->threads == 1 || most < 2 || omp_in_parallel()) {
        fn(arg, 0, count);
        return;
    }
    team->parts = most < team->threads ? (int)most : team->threads;
    team->count = count;
    team->range = fn;
    team->task = NULL;
    team->arg = arg;
    if (team->form == DL_TEAM_LONE)
        lone_range(team);
    else
        run_round(team);
}

static dl_status tasks_alone(int tasks, dl_task_fn fn, void *arg) {
    dl_status first = DL_OK;
    char message[DL_MESSAGE_MAX];
    for (int task = 0; task < tasks; task++) {
        dl_status status = fn(arg, task);
        if (status != DL_OK && first == DL_OK) {
            first = status;
            memcpy(message, dl_message(), strlen(dl_message()) + 1);
        }
    }
    return first == DL_OK ? DL_OK : dl_fail(first, "%s", message);
}

dl_status dl_team_tasks(dl_team *team, int tasks, dl_task_fn fn, void *arg) {
    if (!team || inside || team->form == DL_TEAM_LONE || team->threads == 1 || omp_in_parallel())
        return tasks_alone(tasks, fn, arg);
    team->parts = tasks;
    team->task = fn;
    team->arg = arg;
    for (int i = 0; i < team->threads; i++)
        team->worker[i].status = DL_OK;
    run_round(team);
    const worker *lowest = NULL;
    for (int i = 0; i < team->threads; i++) {
        const worker *one = &team->worker[i];
        if (one->status != DL_OK && (!lowest || one->failed_task < lowest->failed_task))
            lowest = one;
    }
    return lowest ? dl_fail(lowest->status, "%s", lowest->message) : DL_OK;
}
