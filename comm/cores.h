/* Which processors a rank computes on, and with how many threads.
 *
 * Launchers bind ranks in ways that do not suit (mpirun -np 1 binds to one core), so dltrain
 * divides the processors of a host that the user allows among the ranks there, itself. Order in
 * main.c, before MPI starts and before any thread: plan, restart, take. */
#ifndef DL_COMM_CORES_H
#define DL_COMM_CORES_H

#include <sched.h>
#include <stdbool.h>

#include "runtime/base/status.h"

typedef struct dl_cores {
    int local_rank, local_size; /* of the ranks on this host */
    int allowed;                /* processors that the user allows to all of them */
    int quota;      /* processors' worth of time that the container allows; 0: no limit */
    int processors; /* in the mask of this rank */
    int threads;    /* at least 1 */
    bool owned;     /* false: threads or ranks outnumber processors, so waiting must not spin */
    cpu_set_t mask;
} dl_cores;

/* A processor and where it sits: those with equal package and core are threads of one core. */
typedef struct dl_processor {
    int number, package, core;
} dl_processor;

/* Plans for one rank of this host. Threads: DLTRAIN_THREADS in the environment, else wanted_threads
 * if above 0, else one for every core of the rank's share. Changes nothing. */
dl_status dl_cores_plan(int local_rank, int local_size, int wanted_threads, dl_cores *out);

/* The same from given facts; sorts `processors`. quota 0: none. Whole cores while they suffice for
 * the ranks, then their hardware threads; when even these do not, all ranks share all. */
void dl_cores_divide(dl_processor *processors, int count, int quota, int local_rank, int local_size,
                     int threads, dl_cores *out);

/* Starts this program again, once, where OpenMP read something unfit before main: that it may spin
 * for long (on processors which others use too, a spinning team waits for the thread that it keeps
 * from running: an MNIST MLP on 2 threads beside other work made 9,800 samples/s, with a spin of
 * 1,000 rounds 56,000), or that it has fewer processors than the rank has threads (under mpirun -np
 * 1 a parallel region then costs 25 us, not 0.7). Returns when there is no need to, or no way. */
void dl_cores_restart(const dl_cores *cores, char **argv);

/* Binds the calling thread, and the threads that it starts from now on, to the mask. */
dl_status dl_cores_take(const dl_cores *cores);

/* "2 threads on processors 0-1 of 4 (rank 0 of 2 here), waits actively", for `dltrain plan`. */
enum { DL_CORES_TEXT = 512 };
const char *dl_cores_text(const dl_cores *cores, char *text);

#endif
