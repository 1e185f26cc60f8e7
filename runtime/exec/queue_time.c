/* How long the pieces of a run take on the device, for the profile: stamps in their streams, by the
 * device's clock. A run that is timed is not recorded; the device is kept waiting until the host is
 * well ahead, and so shows its own time, not the host's. What the compute stream waits for sums is
 * the communication that no compute hides. See queue.h, profile.c. */
#include "runtime/base/clock.h"
#include "runtime/exec/queue.h"

static const double least_pause = 1e-3, most_pause = 0.1;

bool dl_queue_timed(const dl_exec *exec) {
    return exec->profile && exec->profile->nodes;
}

/* Made when they are first needed. */
static dl_status stamp(dl_device *device, dl_mark **mark) {
    if (!*mark)
        DL_TRY(device->table->mark_open(device, true, mark));
    return device->table->mark(device, *mark);
}

static bool waits(const dl_task *task) {
    for (int s = 0; s < DL_STREAMS; s++)
        if (task->wait[s] >= 0)
            return true;
    return false;
}

static dl_mark **mark_of(const dl_queue *s, int index, int which) {
    return &s->times.mark[WORK_MARKS * index + which];
}

dl_status dl_queue_stamp(const dl_exec *exec, int index, int which) {
    const dl_queue *s = exec->queue;
    if (which == WORK_READY && !waits(&s->list.task[index]))
        return DL_OK;
    return stamp(s->device, mark_of(s, index, which));
}

dl_status dl_queue_time_begin(dl_exec *exec) {
    dl_queue *s = exec->queue;
    size_t marks = WORK_MARKS * (size_t)s->list.most;
    if (!s->times.mark)
        s->times.mark = dl_alloc(sizeof *s->times.mark * marks);
    if (!s->times.mark)
        return dl_fail_memory(sizeof *s->times.mark * marks);
    double pause = 2 * s->times.enqueuing;
    pause = pause < least_pause ? least_pause : pause > most_pause ? most_pause : pause;
    DL_TRY(s->device->table->pause(s->device, pause));
    s->times.enqueuing = -dl_seconds();
    return stamp(s->device, &s->times.begun);
}

static int unit_of_sum(const variant *v, int sum) {
    int u = 0;
    while (u < v->count - 1 && v->units[u].sum != sum)
        u++;
    return u;
}

/* Where a piece's time goes. */
static int slot_of(const dl_exec *exec, const piece *p, double *flop, double *bytes) {
    const leaf *context = p->leaf < 0 ? &exec->shared_leaf : &exec->leaves[p->leaf];
    const variant *v = p->leaf < 0 ? exec->variant[0] : context->variant;
    int around = exec->profile->count + DL_RUN_PARTS;
    *flop = *bytes = 0;
    switch (p->kind) {
    case PIECE_UNIT:
        *flop = v->units[p->index].flop;
        *bytes = v->units[p->index].bytes;
        return p->index;
    case PIECE_SUM:
        *bytes = exec->variant[0]->units[unit_of_sum(exec->variant[0], p->index)].bytes;
        return unit_of_sum(exec->variant[0], p->index);
    case PIECE_ROWS:
        return around + AROUND_ROWS;
    case PIECE_MOVE:
    case PIECE_DELIVER:
    case PIECE_ASSIGN:
    case PIECE_SAY:
    case PIECE_EDGE:
        break;
    }
    return around + AROUND_COPY;
}

/* Behind the last of the shards' work; of the compute stream. */
static bool updates(const dl_exec *exec, const piece *p) {
    if (p->kind == PIECE_UNIT)
        return p->leaf < 0 && exec->variant[0]->units[p->index].phase > exec->last_shard_phase;
    return p->kind == PIECE_ASSIGN || p->kind == PIECE_SAY;
}

typedef struct shares { /* seconds of the compute stream */
    double exposed, update, rest;
} shares;

/* All times count from the stamp `begun`, which is `origin` on the host's clock. */
static dl_status read_piece(const dl_exec *exec, int index, double origin, shares *of) {
    const dl_queue *s = exec->queue;
    const piece *p = &s->list.piece[index];
    const dl_task *task = &s->list.task[index];
    const dl_device_table *table = s->device->table;
    double asked, ready, done, flop, bytes;
    DL_TRY(table->seconds(s->device, s->times.begun, *mark_of(s, index, WORK_ASKED), &asked));
    DL_TRY(table->seconds(s->device, s->times.begun, *mark_of(s, index, WORK_DONE), &done));
    ready = asked;
    if (waits(task))
        DL_TRY(table->seconds(s->device, s->times.begun, *mark_of(s, index, WORK_READY), &ready));
    if (p->kind != PIECE_EDGE) {
        int slot = slot_of(exec, p, &flop, &bytes);
        dl_profile_add(exec->profile, (int)task->stream, slot, origin + ready, origin + done, flop,
                       bytes);
    }
    if (task->stream != DL_STREAM_COMPUTE)
        return DL_OK;
    if (task->wait[DL_STREAM_SUMS] >= 0)
        of->exposed += ready - asked;
    if (p->kind == PIECE_SUM)
        of->exposed += done - ready;
    else if (updates(exec, p))
        of->update += done - ready;
    else if (p->kind != PIECE_EDGE)
        of->rest += done - ready;
    return DL_OK;
}

/* Without a span: no trace shows it. */
static void add(profile *p, int slot, double seconds) {
    p->sum[slot].seconds += seconds;
    p->sum[slot].calls++;
}

dl_status dl_queue_time_end(dl_exec *exec) {
    dl_queue *s = exec->queue;
    const dl_device_table *table = s->device->table;
    int last = s->list.count - 1, around = exec->profile->count + DL_RUN_PARTS;
    double all, packed;
    shares of = {0};
    s->times.enqueuing += dl_seconds();
    DL_TRY(table->await(s->device, *mark_of(s, last, WORK_DONE)));
    double now = dl_seconds();
    DL_TRY(table->seconds(s->device, s->times.begun, *mark_of(s, last, WORK_DONE), &all));
    DL_TRY(table->seconds(s->device, s->times.begun, *mark_of(s, 0, WORK_ASKED), &packed));
    for (int i = 0; i <= last; i++)
        DL_TRY(read_piece(exec, i, now - all, &of));
    double update = of.update + packed, idle = all - of.exposed - update - of.rest;
    profile *p = exec->profile;
    add(p, around + AROUND_PACK, packed);
    add(p, around + AROUND_GAPS, idle);
    add(p, p->count + DL_RUN_COMPUTE, all - of.exposed - update);
    add(p, p->count + DL_RUN_COMMUNICATION, of.exposed);
    add(p, p->count + DL_RUN_UPDATE, update);
    return DL_OK;
}

void dl_queue_time_staged(const dl_exec *exec, int first, int last, double start) {
    profile *p = exec->profile;
    double seconds = dl_seconds() - start, bytes = 0;
    for (int u = first; u < last; u++)
        bytes += exec->variant[0]->units[u].bytes;
    for (int u = first; u < last; u++) {
        double of_all = bytes > 0 ? exec->variant[0]->units[u].bytes / bytes : 1.0;
        double end = start + seconds * of_all;
        dl_profile_add(p, DL_STREAM_SUMS, u, start, end, 0, exec->variant[0]->units[u].bytes);
        start = end;
    }
    add(p, p->count + DL_RUN_COMMUNICATION, seconds);
}

void dl_queue_time_close(dl_queue *s) {
    dl_device *device = s->device;
    for (int i = 0; s->times.mark && i < WORK_MARKS * s->list.most; i++)
        device->table->mark_close(device, s->times.mark[i]);
    device->table->mark_close(device, s->times.begun);
    dl_free(s->times.mark);
}
