/* The carrier: a thread that runs the collectives of a phase while leaves still compute. A leaf
 * hands a collective over once nothing of this phase writes or reads what it sums; when the last
 * local leaf has done so and all earlier collectives are through, the carrier sums it. So every
 * rank keeps the one order of collectives. run.c meets the carrier at the end of the phase. */
#include <pthread.h>
#include <stdio.h>

#include "runtime/base/clock.h"
#include "runtime/exec/internal.h"

struct dl_carrier {
    dl_exec *exec;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t ready, done;
    /* under the mutex */
    int next, end; /* units: the next collective of this phase, and where they end */
    int *missing;  /* [collectives]: local leaves that have not handed it over yet */
    int leaves;    /* of the run, over all ranks */
    bool leaving;  /* the thread ends */
    dl_status status;
    char message[DL_MESSAGE_MAX];
};

static void *carry(void *argument) {
    dl_carrier *carrier = argument;
    const variant *v = carrier->exec->variant[0];
    pthread_mutex_lock(&carrier->mutex);
    for (;;) {
        while (!carrier->leaving &&
               (carrier->next == carrier->end || carrier->missing[v->units[carrier->next].sum] > 0))
            pthread_cond_wait(&carrier->ready, &carrier->mutex);
        if (carrier->leaving)
            break;
        int collective = carrier->next;
        dl_sum *sum = carrier->exec->sum[v->units[collective].sum];
        pthread_mutex_unlock(&carrier->mutex);
        sum->comm->patient = true; /* ours alone until the phase ends */
        double start = dl_seconds();
        dl_status status = dl_sum_run(sum, carrier->leaves, NULL);
        sum->comm->patient = false;
        profile *p = carrier->exec->profile;
        if (p && p->nodes)
            dl_profile_note(p, carrier->exec->workers, collective, start, 0,
                            v->units[collective].bytes);
        pthread_mutex_lock(&carrier->mutex);
        carrier->next = status == DL_OK ? carrier->next + 1 : carrier->end;
        if (status != DL_OK) {
            carrier->status = status;
            snprintf(carrier->message, sizeof carrier->message, "%s", dl_message());
        }
        if (carrier->next == carrier->end)
            pthread_cond_signal(&carrier->done);
    }
    pthread_mutex_unlock(&carrier->mutex);
    return NULL;
}

dl_status dl_carrier_open(dl_exec *exec, dl_carrier **out) {
    dl_carrier *carrier = dl_alloc(sizeof *carrier);
    if (!carrier)
        return dl_fail_memory(sizeof *carrier);
    carrier->exec = exec;
    carrier->missing = dl_alloc(sizeof *carrier->missing * (size_t)(exec->collectives + 1));
    if (!carrier->missing) {
        dl_free(carrier);
        return dl_fail_memory(sizeof *carrier->missing * (size_t)exec->collectives);
    }
    pthread_mutex_init(&carrier->mutex, NULL); /* with default attributes these cannot fail */
    pthread_cond_init(&carrier->ready, NULL);
    pthread_cond_init(&carrier->done, NULL);
    int code = pthread_create(&carrier->thread, NULL, carry, carrier);
    if (code == 0) {
        *out = carrier;
        return DL_OK;
    }
    dl_free(carrier->missing);
    dl_free(carrier);
    return dl_fail(DL_UNAVAILABLE,
                   "no thread for the sums over ranks (error %d); set comm.overlap "
                   "to false, or raise the limit of processes (ulimit -u)",
                   code);
}

void dl_carrier_close(dl_carrier *carrier) {
    if (!carrier)
        return;
    pthread_mutex_lock(&carrier->mutex);
    carrier->leaving = true;
    pthread_cond_signal(&carrier->ready);
    pthread_mutex_unlock(&carrier->mutex);
    pthread_join(carrier->thread, NULL);
    pthread_cond_destroy(&carrier->done);
    pthread_cond_destroy(&carrier->ready);
    pthread_mutex_destroy(&carrier->mutex);
    dl_free(carrier->missing);
    dl_free(carrier);
}

void dl_carrier_begin(dl_carrier *carrier, int first, int end, int leaves) {
    const variant *v = carrier->exec->variant[0];
    pthread_mutex_lock(&carrier->mutex);
    for (int u = first; u < end; u++)
        carrier->missing[v->units[u].sum] = carrier->exec->leaf_count;
    carrier->next = first;
    carrier->end = end;
    carrier->leaves = leaves;
    carrier->status = DL_OK;
    if (carrier->exec->leaf_count == 0)
        pthread_cond_signal(&carrier->ready);
    pthread_mutex_unlock(&carrier->mutex);
}

void dl_carrier_ready(dl_carrier *carrier, int sum) {
    pthread_mutex_lock(&carrier->mutex);
    if (--carrier->missing[sum] == 0)
        pthread_cond_signal(&carrier->ready);
    pthread_mutex_unlock(&carrier->mutex);
}

dl_status dl_carrier_finish(dl_carrier *carrier) {
    pthread_mutex_lock(&carrier->mutex);
    while (carrier->next < carrier->end)
        pthread_cond_wait(&carrier->done, &carrier->mutex);
    dl_status status = carrier->status;
    pthread_mutex_unlock(&carrier->mutex);
    return status == DL_OK ? DL_OK : dl_fail(status, "%s", carrier->message);
}
