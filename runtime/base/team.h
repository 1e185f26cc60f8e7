/* A team: the threads that one rank computes with.
 *
 * Two forms, never mixed within a run, because two pools that both spin starve each other:
 *   lone   one shard at a time, its kernels (oneDNN's and ours) share an OpenMP team of `threads`;
 *   side   `threads` workers of our own, each of which runs whole shards with oneDNN held to one
 *          thread; what all shards share runs on the same workers.
 * The calling thread is always worker 0. */
#ifndef DL_BASE_TEAM_H
#define DL_BASE_TEAM_H

#include <stdint.h>

#include "runtime/base/status.h"

typedef enum dl_team_form { DL_TEAM_LONE, DL_TEAM_SIDE } dl_team_form;
typedef struct dl_team dl_team;

dl_status dl_team_open(dl_team **out, dl_team_form form, int threads);
void dl_team_close(dl_team *team); /* NULL is allowed */
int dl_team_threads(const dl_team *team);
dl_team_form dl_team_form_of(const dl_team *team);

/* Runs fn(arg, first, last) over [0, count) cut in at most `threads` ranges of at least `grain`,
 * and waits. The cut depends on count, grain and threads alone; what is computed for an index must
 * not depend on the cut. NULL team, or a call from inside a worker: one range, on the calling
 * thread. */
typedef void (*dl_range_fn)(void *arg, int64_t first, int64_t last);
void dl_team_range(dl_team *team, int64_t count, int64_t grain, dl_range_fn fn, void *arg);

/* Side form: runs fn(arg, task) for every task of [0, tasks), task i on worker i % threads, each
 * worker in ascending order, and waits. Returns the status of the lowest failing task, its message
 * put on the calling thread. */
typedef dl_status (*dl_task_fn)(void *arg, int task);
dl_status dl_team_tasks(dl_team *team, int tasks, dl_task_fn fn, void *arg);

#endif
