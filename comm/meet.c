/* A sense-reversing barrier: the last rank to come raises `round`, the others wait for the change,
 * spinning for a moment and then asleep in the kernel. A sleeper wakes ten times a second to see
 * whether a peer is gone. See meet.h. */
#include "comm/meet.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/wait.h"

static const double look_every = 0.1; /* seconds */

size_t dl_meet_bytes(int size) {
    return sizeof(dl_control) + sizeof(dl_peer) * (size_t)size;
}

/* State letter and start time of a process (fields 3 and 22 of /proc/PID/stat). */
static bool process_facts(int pid, char *state, uint64_t *started) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    char *at = strrchr(text, ')'); /* the name in field 2 may hold anything */
    if (!at || at[1] == '\0')
        return false;
    *state = at[2];
    at += 2;
    for (int field = 3; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    *started = at ? strtoull(at + 1, NULL, 10) : 0;
    return at != NULL;
}

void dl_meet_join(dl_meet *meet, dl_control *control, int rank, int size) {
    char state;
    *meet = (dl_meet){.control = control, .rank = rank, .size = size};
    /* Four times a thread's patience: ranks differ by more than threads do. None at all where ranks
     * outnumber processors, because the one waited for may need this one's. */
    meet->spins = size > sysconf(_SC_NPROCESSORS_ONLN) ? 0 : 4 * dl_spin_count();
    dl_peer *me = &control->peer[rank];
    me->pid = getpid();
    if (!process_facts(me->pid, &state, &me->started))
        me->started = 0;
    atomic_store(&me->state, DL_PEER_IN);
}

void dl_meet_leave(dl_meet *meet) {
    atomic_store(&meet->control->peer[meet->rank].state, DL_PEER_LEFT);
    dl_wake_all(&meet->control->round);
}

static bool is_dead(const dl_peer *peer) {
    char state;
    uint64_t started;
    if (kill(peer->pid, 0) != 0 && errno == ESRCH)
        return true;
    if (!process_facts(peer->pid, &state, &started))
        return false; /* no /proc: what kill said holds */
    return state == 'Z' || state == 'X' || (peer->started != 0 && started != peer->started);
}

static dl_status why_broken(const dl_control *control) {
    double begun = dl_seconds();
    while (atomic_load(&control->broken) == 1) /* a peer is writing its reason */
        if (dl_seconds() - begun > 1.0)
            return dl_fail(DL_FAILED, "a rank died while it reported a failure");
    return dl_fail(DL_FAILED, "%s", control->why);
}

void dl_meet_break(dl_meet *meet) {
    dl_control *control = meet->control;
    uint32_t none = 0;
    if (!atomic_compare_exchange_strong(&control->broken, &none, 1))
        return; /* the first reason is the one to tell */
    snprintf(control->why, sizeof control->why, "%s", dl_message());
    atomic_store(&control->broken, 2);
    dl_wake_all(&control->round);
}

/* Whether waiting for `round` to end has become pointless; breaks the communicator if so. */
static dl_status look_out(dl_meet *meet, uint32_t round, double waited, double timeout) {
    dl_control *control = meet->control;
    if (atomic_load(&control->broken))
        return why_broken(control);
    dl_status status = DL_OK;
    for (int r = 0; r < meet->size && status == DL_OK; r++) {
        const dl_peer *peer = &control->peer[r];
        if (r == meet->rank || atomic_load(&peer->round) == round + 1)
            continue; /* has come; if it died since, the round still ends */
        uint32_t state = atomic_load(&peer->state);
        if (state == DL_PEER_LEFT)
            status = dl_fail(DL_FAILED, "rank %d ended while rank %d waited for it", r, meet->rank);
        else if (state == DL_PEER_IN && is_dead(peer))
            status = dl_fail(DL_FAILED, "rank %d (process %d) died while rank %d waited for it", r,
                             (int)peer->pid, meet->rank);
        else if (timeout > 0.0 && waited > timeout)
            status = dl_fail(DL_FAILED,
                             "rank %d waited %.0f s for rank %d (process %d), which lives but does "
                             "not come; see what holds it up, or raise comm.timeout",
                             meet->rank, waited, r, (int)peer->pid);
    }
    if (status == DL_OK && timeout > 0.0 && waited > timeout + 10 * look_every)
        status = dl_fail(DL_FAILED, "rank %d waited %.0f s for a barrier to which all have come",
                         meet->rank, waited); /* one died on its way in */
    /* The peer may have come after all, and left then. */
    if (status == DL_OK || atomic_load(&control->round) != round)
        return DL_OK;
    dl_meet_break(meet);
    return status;
}

static dl_status wait_asleep(dl_meet *meet, uint32_t round, double timeout) {
    dl_control *control = meet->control;
    dl_status status = DL_OK;
    double begun = dl_seconds(), looked = begun;
    atomic_fetch_add(&control->sleepers, 1);
    while (status == DL_OK && atomic_load(&control->round) == round) {
        dl_sleep_on(&control->round, round, look_every);
        double now = dl_seconds();
        if (now - looked >= look_every || atomic_load(&control->broken)) {
            looked = now;
            if (atomic_load(&control->round) == round)
                status = look_out(meet, round, now - begun, timeout);
        }
    }
    atomic_fetch_sub(&control->sleepers, 1);
    return status;
}

dl_status dl_meet_wait(dl_meet *meet, double timeout) {
    dl_control *control = meet->control;
    if (atomic_load_explicit(&control->broken, memory_order_acquire))
        return why_broken(control);
    uint32_t round = atomic_load(&control->round);
    atomic_store(&control->peer[meet->rank].round, round + 1);
    if (atomic_fetch_add(&control->arrived, 1) + 1 == (uint32_t)meet->size) {
        atomic_store(&control->arrived, 0);
        atomic_store(&control->round, round + 1);
        if (atomic_load(&control->sleepers) > 0)
            dl_wake_all(&control->round);
        return DL_OK;
    }
    for (int spin = meet->spins; spin > 0; spin--) {
        if (atomic_load_explicit(&control->round, memory_order_acquire) != round)
            return DL_OK;
        dl_pause();
    }
    return wait_asleep(meet, round, timeout);
}
