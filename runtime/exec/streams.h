/* What a step's pieces of work wait for, a pure function on integers: pieces in the order in which
 * they are enqueued, each with its stream and the memory it touches, become waits for events
 * between streams. Within a stream order is kept anyway. The workspace of shared nodes is of one
 * stream only and not told here. */
#ifndef DL_EXEC_STREAMS_H
#define DL_EXEC_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/device/device.h"

typedef struct dl_access { /* bytes [from, to) */
    uintptr_t from, to;
    bool writes;
} dl_access;

typedef struct dl_task {
    dl_work_stream stream;
    bool meets; /* comes after all before it, and before all after it, whatever they touch */
    const dl_access *access;
    int accesses;
    /* out */
    int wait[DL_STREAMS]; /* the piece of that stream whose event this one waits for; -1: none */
    bool awaited;         /* some piece waits for this one's */
    int seen[DL_STREAMS]; /* the last piece of each stream that is done before this begins; -1 */
    int before;           /* the piece before it in its stream; -1 */
} dl_task;

/* Two pieces that touch the same byte, one of them writing, keep their order; no wait is there that
 * others imply. */
void dl_streams_derive(dl_task *task, int count);

#endif
