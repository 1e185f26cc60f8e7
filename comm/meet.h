/* Where the ranks of one host meet: the control page of a shared-memory communicator, its barrier
 * and its look-out for peers that died. All state lies in shared memory; a rank keeps a dl_meet. */
#ifndef DL_COMM_MEET_H
#define DL_COMM_MEET_H

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/base/status.h"

enum { DL_PEER_ABSENT, DL_PEER_IN, DL_PEER_LEFT };

typedef struct dl_peer {
    _Alignas(64) _Atomic uint32_t state;
    _Atomic uint32_t round; /* of the barrier, to which this rank has come */
    int32_t pid;
    uint64_t started; /* of the process, in clock ticks since boot: tells it from a later one */
} dl_peer;

typedef struct dl_control {
    _Alignas(64) _Atomic uint32_t arrived;
    _Alignas(64) _Atomic uint32_t round; /* of the barrier; what waiting ranks look at */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t broken; /* 0 no; 1 being written; 2 `why` can be read */
    char why[256];
    dl_peer peer[]; /* [size] */
} dl_control;

typedef struct dl_meet {
    dl_control *control;
    int rank, size;
    int spins; /* before sleeping */
} dl_meet;

/* Zeroed shared memory of dl_meet_bytes is a ready control page. */
size_t dl_meet_bytes(int size);
void dl_meet_join(dl_meet *meet, dl_control *control, int rank, int size);
void dl_meet_leave(dl_meet *meet);

/* Waits for all ranks: what each wrote before it is seen by all after it. DL_FAILED when a peer
 * died or left, or lived but did not come for `timeout` seconds (0: no limit); then for all ranks,
 * for good. */
dl_status dl_meet_wait(dl_meet *meet, double timeout);

/* Makes this and every later wait of all ranks fail with the present message. */
void dl_meet_break(dl_meet *meet);

#endif
