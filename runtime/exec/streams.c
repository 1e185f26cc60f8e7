/* See streams.h. Each piece knows the last one of every stream that is done before it (a vector
 * clock); what a piece must come after and does not know of yet becomes a wait. */
#include "runtime/exec/streams.h"

static bool conflict(const dl_task *a, const dl_task *b) {
    if (a->meets || b->meets)
        return true;
    for (int i = 0; i < a->accesses; i++)
        for (int k = 0; k < b->accesses; k++)
            if ((a->access[i].writes || b->access[k].writes) &&
                a->access[i].from < b->access[k].to && b->access[k].from < a->access[i].to)
                return true;
    return false;
}

static void learn(dl_task *task, const dl_task *from, int index) {
    for (int s = 0; s < DL_STREAMS; s++)
        if (from->seen[s] > task->seen[s])
            task->seen[s] = from->seen[s];
    if (index > task->seen[from->stream])
        task->seen[from->stream] = index;
}

/* The latest piece that this one must come after and does not know to be done, or -1. */
static int unmet(const dl_task *task, const dl_task *now, const int *last) {
    int latest = -1;
    for (int s = 0; s < DL_STREAMS; s++)
        for (int i = last[s]; s != (int)now->stream && i > now->seen[s] && i > latest;
             i = task[i].before)
            if (conflict(&task[i], now))
                latest = i;
    return latest;
}

void dl_streams_derive(dl_task *task, int count) {
    int last[DL_STREAMS];
    for (int s = 0; s < DL_STREAMS; s++)
        last[s] = -1;
    for (int i = 0; i < count; i++) {
        dl_task *now = &task[i];
        now->awaited = false;
        now->before = last[now->stream];
        for (int s = 0; s < DL_STREAMS; s++)
            now->wait[s] = now->seen[s] = -1;
        if (now->before >= 0)
            learn(now, &task[now->before], now->before);
        /* The latest first: it may know of the others. */
        for (int other; (other = unmet(task, now, last)) >= 0;) {
            now->wait[task[other].stream] = other;
            task[other].awaited = true;
            learn(now, &task[other], other);
        }
        last[now->stream] = i;
    }
}
