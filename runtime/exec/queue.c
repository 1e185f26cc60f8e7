/* Runs a program on a device: what run.c does with threads, here as work enqueued in order
 * (queue_step.c). The host goes on while the device works: a run that begins is written into a slot
 * of a turn, page-locked memory; the turn is launched when it is full, and its runs are collected
 * some turns later. Of tiny networks a turn has several slots, whose runs are one recording
 * (together.h); a turn that must go before it is full goes run by run.
 *
 * Sums over several ranks are made by the devices, where each rank has one of its own (joined), or
 * go through the host's communicator (staged), which the host waits for. A
 * rank that fails goes on to the next sum, or to where the run is collected, so that all ranks hear
 * of it where they meet anyway, and stop together. */
#include "runtime/exec/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"

void dl_queue_keep(dl_queue *queue, dl_status status) {
    if (status == DL_OK || queue->failure != DL_OK)
        return;
    queue->failure = status;
    snprintf(queue->message, sizeof queue->message, "%s", dl_message());
}

/* The failure kept, to be told. */
static dl_status take_failure(dl_queue *s) {
    dl_status status = s->failure;
    s->failure = DL_OK;
    return status == DL_OK ? DL_OK : dl_fail(status, "%s", s->message);
}

/* ---- what a run reads ---- */

/* Which samples each leaf has; no call that could fail on one rank alone. */
static dl_status set_leaves(dl_exec *exec, int64_t batch, int leaves) {
    const dl_queue *s = exec->queue;
    int first, last;
    dl_leaf_range(leaves, exec->options.comm->rank, exec->options.comm->size, &first, &last);
    exec->leaf_count = last - first;
    exec->run_leaves = leaves;
    int64_t rank_first = (int64_t)first * batch / leaves;
    for (int l = first; l < last; l++) {
        leaf *context = &exec->leaves[l - first];
        int64_t from = (int64_t)l * batch / leaves, to = (int64_t)(l + 1) * batch / leaves;
        context->variant = NULL;
        for (int i = 0; i < exec->variants; i++)
            if (exec->variant[i]->samples == to - from) {
                context->variant = exec->variant[i];
                context->base[BASE_PACKED] = s->packed[i];
            }
        if (!context->variant)
            return dl_fail(DL_INTERNAL, "'%s' was not prepared for %" PRId64 " samples a shard",
                           exec->options.name, to - from);
        context->first = from - rank_first;
    }
    return DL_OK;
}

/* Into a slot of the turn. */
static dl_status write_inputs(const dl_exec *exec, char *slot, int64_t batch, int leaves,
                              const dl_random *random) {
    const dl_queue *s = exec->queue;
    dl_random *randoms = (dl_random *)(void *)slot;
    int first, last;
    dl_leaf_range(leaves, exec->options.comm->rank, exec->options.comm->size, &first, &last);
    size_t samples = (size_t)((int64_t)last * batch / leaves - (int64_t)first * batch / leaves);
    for (int l = 0; l <= exec->local_leaves; l++)
        randoms[l] = *random;
    for (int l = first; l < last; l++)
        randoms[l - first].first_sample = (uint32_t)((int64_t)l * batch / leaves);
    for (int i = 0; i < exec->input_count; i++) {
        size_t bytes = s->input_size[i] * (exec->input_shared[i] ? 1 : samples);
        if (bytes == 0 || s->input[i])
            continue;
        if (!exec->input[i])
            return dl_fail(DL_INTERNAL, "input '%s' of '%s' is not bound", exec->input_name[i],
                           exec->options.name);
        memcpy(slot + s->input_place[i], exec->input[i], bytes);
    }
    if (!exec->takes_rows || samples == 0)
        return DL_OK;
    if (!exec->rows)
        return dl_fail(DL_INTERNAL, "the rows of '%s' are not bound", exec->options.name);
    memcpy(slot + s->rows_place, exec->rows, sizeof *exec->rows * samples);
    return DL_OK;
}

/* ---- sums over ranks, through the host ---- */

static dl_status find_fault(const dl_exec *exec, const char *tail) {
    const dl_fault *fault = fault_in(tail);
    if (fault->node == 0)
        return DL_OK;
    const dl_graph_node *node = exec->variant[0]->units[fault->node - 1].node;
    return dl_fail(DL_BAD_JOB, "%s of '%s': %s %" PRId64 " is outside 0..%" PRId64, node->op->name,
                   node->name, fault->kind == DL_FAULT_LABEL ? "label" : "id", fault->value,
                   fault->bound - 1);
}

static dl_status bring_leaves(const dl_exec *exec, const turn *t, int first, int last) {
    const dl_queue *s = exec->queue;
    dl_device *device = s->device;
    for (int u = first; u < last; u++) {
        int sum = exec->variant[0]->units[u].sum;
        size_t bytes = sizeof(float) * (size_t)exec->sum_floats[sum];
        for (int l = 0; l < exec->leaf_count; l++)
            DL_TRY(device->table->copy(device, exec->sum[sum]->leaf[l],
                                       s->leaf[sum * exec->local_leaves + l], bytes));
    }
    DL_TRY(device->table->copy(device, t->tail, s->tail, sizeof(dl_fault)));
    DL_TRY(device->table->wait(device));
    return find_fault(exec, t->tail);
}

/* Whether every rank has a leaf of a staged sum to send its notice with. */
static bool carries_notices(const dl_exec *exec, int leaves) {
    return exec->queue->staged && exec->collectives > 0 && leaves >= exec->options.comm->size;
}

/* Fails on all ranks or on none. */
static dl_status stage_sums(dl_exec *exec, turn *t, int phase, int leaves) {
    dl_queue *s = exec->queue;
    bool failed = false;
    int first, last;
    double start = dl_seconds();
    units_of(exec->variant[0], phase, CLASS_COLLECTIVE, &first, &last);
    if (s->failure == DL_OK)
        dl_queue_keep(s, bring_leaves(exec, t, first, last));
    for (int u = first; u < last; u++) {
        int sum = exec->variant[0]->units[u].sum;
        int64_t flag = exec->sum_floats[sum];
        for (int l = 0; l < exec->leaf_count; l++) {
            float *line = exec->sum[sum]->leaf[l] + flag;
            memset(line, 0, DL_SLAB_ALIGN * sizeof *line);
            line[0] = s->failure == DL_OK ? 0.0f : 1.0f;
            line[1] = l == 0 ? exec->notice : 0.0f;
        }
        DL_TRY(dl_sum_run(exec->sum[sum], leaves, exec->options.team));
        failed = failed || exec->sum[sum]->result[flag] != 0.0f;
        if (carries_notices(exec, leaves))
            t->noticed[0] = exec->sum[sum]->result[flag + 1];
        if (s->failure == DL_OK)
            dl_queue_keep(s, s->device->table->copy(s->device, s->leaf[sum * exec->local_leaves],
                                                    exec->sum[sum]->result,
                                                    sizeof(float) * (size_t)flag));
    }
    if (dl_queue_timed(exec))
        dl_queue_time_staged(exec, first, last, start);
    return failed ? dl_comm_agree(exec->options.comm, take_failure(s)) : DL_OK;
}

/* ---- a run ---- */

static batch_run *find_batch(dl_queue *s, int64_t batch) {
    for (int b = 0; b < s->batches; b++)
        if (s->batch[b].batch == batch)
            return &s->batch[b];
    if (s->batches == MAX_BATCHES)
        return NULL;
    s->batch[s->batches] = (batch_run){.batch = batch};
    return &s->batch[s->batches++];
}

static bool delivers(const dl_exec *exec) {
    for (int i = 0; i < exec->variant[0]->graph.outputs; i++)
        if (exec->output[i])
            return true;
    return false;
}

static dl_status run_segments(dl_exec *exec, turn *t, int leaves) {
    dl_queue *s = exec->queue;
    int segment = 0, first, last;
    for (int phase = 0, end = 0; phase < exec->phases; phase = end) {
        end = dl_queue_segment_end(exec, s->staged, phase);
        units_of(exec->variant[0], end - 1, CLASS_COLLECTIVE, &first, &last);
        if (s->failure == DL_OK)
            dl_queue_keep(s, dl_queue_phases(exec, t->as, segment++, phase, end));
        if (s->staged && first < last)
            DL_TRY(stage_sums(exec, t, end - 1, leaves));
    }
    if (t->as && s->failure == DL_OK)
        t->as->runs++;
    return DL_OK;
}

static dl_status copy_slots(const dl_queue *s, char *to, const char *from, int slots,
                            size_t bytes) {
    return s->device->table->copy(s->device, to, from, bytes * (size_t)slots);
}

static dl_status fill_landing(const dl_queue *s, const landing *l, const char *from, int slots) {
    DL_TRY(s->device->table->follow(s->device, l->emptied));
    DL_TRY(copy_slots(s, l->block, from, slots, s->block_bytes));
    return s->device->table->mark(s->device, l->filled);
}

/* What runs read, to where they read it. */
static dl_status bring(dl_queue *s, const char *from, int slots) {
    dl_device *device = s->device;
    s->landed = (s->landed + 1) % LANDINGS;
    const landing *l = &s->landing[s->landed];
    if (!l->block)
        return copy_slots(s, s->block, from, slots, s->block_bytes);
    device->table->turn_to(device, DL_STREAM_COPIES);
    dl_status status = fill_landing(s, l, from, slots);
    device->table->turn_to(device, DL_STREAM_COMPUTE);
    DL_TRY(status);
    DL_TRY(device->table->follow(device, l->filled));
    DL_TRY(copy_slots(s, s->block, l->block, slots, s->block_bytes));
    return device->table->mark(device, l->emptied);
}

static dl_status run_together(dl_exec *exec, const turn *t) {
    dl_queue *s = exec->queue;
    DL_TRY(bring(s, t->block, t->runs));
    DL_TRY(dl_queue_together(exec, t->as));
    return copy_slots(s, t->tail, s->tail, t->runs, s->tail_bytes);
}

/* Each by slot 0 of the device. */
static dl_status run_alone(dl_exec *exec, turn *t, int slot, int leaves) {
    dl_queue *s = exec->queue;
    if (s->failure == DL_OK)
        dl_queue_keep(s, bring(s, t->block + s->block_bytes * (size_t)slot, 1));
    DL_TRY(run_segments(exec, t, leaves));
    if (s->failure == DL_OK)
        dl_queue_keep(
            s, copy_slots(s, t->tail + s->tail_bytes * (size_t)slot, s->tail, 1, s->tail_bytes));
    return DL_OK;
}

static dl_status run_turn(dl_exec *exec, turn *t, int leaves) {
    dl_queue *s = exec->queue;
    bool together = s->slots > 1 && t->runs == s->slots && t->as && t->as->runs > 0;
    if (s->failure == DL_OK)
        dl_queue_keep(s, dl_resident_push(s->resident));
    if (s->failure == DL_OK)
        dl_queue_pack(exec);
    if (s->failure == DL_OK && together)
        dl_queue_keep(s, run_together(exec, t));
    else
        for (int slot = 0; slot < t->runs; slot++)
            DL_TRY(run_alone(exec, t, slot, leaves));
    if (s->failure == DL_OK)
        dl_queue_keep(s, s->device->table->mark(s->device, t->mark));
    return exec->options.comm->size == 1 ? take_failure(s) : DL_OK;
}

static int leaves_of(const dl_exec *exec, int64_t batch) {
    return batch < exec->options.leaves ? (int)batch : exec->options.leaves;
}

/* None waits any more on a device for the part of this rank, if it has failed. */
static void give_up_failed(const dl_queue *s) {
    if (s->failure != DL_OK && s->device->joined)
        s->device->table->give_up(s->device);
}

/* The runs that are held go to the device. A failure is kept for where ranks meet, unless they know
 * it all: then those runs were none. */
static dl_status launch(dl_exec *exec) {
    dl_queue *s = exec->queue;
    turn *t = &s->turns[s->next];
    int leaves = leaves_of(exec, t->batch);
    if (s->held == 0)
        return DL_OK;
    dl_status status = run_turn(exec, t, leaves);
    s->resident->held -= s->held;
    s->held = 0;
    if (status != DL_OK) {
        s->used--;
        s->under_way -= t->runs;
        return status;
    }
    s->next = (s->next + 1) % MOST_UNDER_WAY;
    give_up_failed(s);
    return carries_notices(exec, leaves) ? DL_OK : dl_gather_notices(exec, t->noticed, t->runs);
}

/* A slot for a run, in the turn that is filled. */
static dl_status take_slot(dl_exec *exec, int64_t batch) {
    dl_queue *s = exec->queue;
    turn *t = &s->turns[s->next];
    if (s->held == 0 && s->used == MOST_UNDER_WAY)
        return dl_fail(DL_INTERNAL, "%d runs of '%s' are not collected", s->under_way,
                       exec->options.name);
    if (s->held == 0) {
        s->used++;
        t->batch = batch;
        t->runs = t->collected = 0;
        t->as = delivers(exec) || dl_queue_timed(exec) ? NULL : find_batch(s, batch);
    }
    if (t->as)
        t->as->begun++;
    t->runs++;
    s->held++;
    s->under_way++;
    s->resident->held++;
    return DL_OK;
}

/* The first run of a batch size goes at once. Not by what has failed here: ranks decide alike. */
static bool is_full(const dl_queue *s, const turn *t) {
    return !t->as || t->as->begun == 1 || t->runs == s->slots;
}

dl_status dl_queue_begin(dl_exec *exec, int64_t batch, const dl_random *random) {
    dl_queue *s = exec->queue;
    turn *t = &s->turns[s->next];
    int leaves = leaves_of(exec, batch);
    if (s->resident->held != s->held)
        return dl_fail(DL_INTERNAL, "runs of another program than '%s' are not collected",
                       exec->options.name);
    if (s->held > 0 && (t->batch != batch || delivers(exec)))
        DL_TRY(launch(exec));
    if (exec->refusal != DL_OK)
        dl_queue_keep(s, dl_fail(exec->refusal, "%s", exec->refusal_message));
    exec->refusal = DL_OK;
    if (exec->options.comm->size == 1)
        DL_TRY(take_failure(s));
    DL_TRY(set_leaves(exec, batch, leaves));
    DL_TRY(take_slot(exec, batch));
    t = &s->turns[s->next];
    int slot = t->runs - 1;
    if (s->failure == DL_OK)
        dl_queue_keep(
            s, write_inputs(exec, t->block + s->block_bytes * (size_t)slot, batch, leaves, random));
    t->noticed[slot] = exec->notice;
    if (is_full(s, t))
        DL_TRY(launch(exec));
    if (exec->variant[0]->graph.assignments)
        dl_resident_changed(s->resident);
    return DL_OK;
}

int dl_queue_under_way(const dl_exec *exec) {
    return exec->queue->under_way;
}

/* All ranks fail together, and none waits any more for the part of one that has failed. */
static dl_status agree(dl_exec *exec, dl_status mine) {
    dl_device *device = exec->queue->device;
    if (mine != DL_OK && device->joined)
        device->table->give_up(device);
    dl_status status = dl_comm_agree(exec->options.comm, mine);
    if (status != DL_OK && device->joined)
        device->table->give_up(device);
    return status;
}

/* The turn is through, and whether without failure or fault on any rank: asked once for all its
 * runs. If not, the run that it is of is looked for. */
static bool is_sound(dl_exec *exec, const turn *t) {
    dl_queue *s = exec->queue;
    if (s->failure == DL_OK)
        dl_queue_keep(s, s->device->table->await(s->device, t->mark));
    bool sound = s->failure == DL_OK;
    for (int slot = 0; slot < t->runs && sound; slot++)
        sound = fault_in(t->tail + s->tail_bytes * (size_t)slot)->node == 0;
    give_up_failed(s);
    return dl_comm_agree(exec->options.comm, sound ? DL_OK : DL_FAILED) == DL_OK;
}

dl_status dl_queue_collect(dl_exec *exec, bool all, int64_t *batch) {
    dl_queue *s = exec->queue;
    *batch = 0;
    if (all)
        DL_TRY(launch(exec));
    if (s->under_way == 0 || (!all && s->used < MOST_UNDER_WAY))
        return DL_OK;
    int newest = s->held > 0 ? s->next : s->next - 1;
    turn *t = &s->turns[(newest + 1 - s->used + MOST_UNDER_WAY) % MOST_UNDER_WAY];
    int slot = t->collected++;
    const char *tail = t->tail + s->tail_bytes * (size_t)slot;
    s->under_way--;
    s->used -= t->collected == t->runs;
    if (slot == 0)
        t->sound = is_sound(exec, t);
    if (!t->sound && s->failure == DL_OK)
        dl_queue_keep(s, find_fault(exec, tail));
    if (!t->sound)
        DL_TRY(agree(exec, take_failure(s)));
    s->last = tail;
    *batch = t->batch;
    exec->noticed = t->noticed[slot];
    return DL_OK;
}

const float *dl_queue_result(const dl_exec *exec, int output) {
    const dl_queue *s = exec->queue;
    return (const float *)(const void *)(s->last + s->output_place[output]);
}
