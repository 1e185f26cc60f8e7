/* Runs a program on a device: what run.c does with threads, here as work enqueued in order
 * (queue_step.c). The host goes on while the device works; each run has a turn of its own with
 * page-locked memory for what it reads and says, and is collected some runs later.
 *
 * Sums over several ranks are made by the devices, where each rank has one of its own (joined), or
 * go through the host's communicator (staged), which the host waits for. A
 * rank that fails goes on to the next sum, or to where the run is collected, so that all ranks hear
 * of it where they meet anyway, and stop together. */
#include "runtime/exec/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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
    dl_queue *s = exec->queue;
    int first, last;
    dl_leaf_range(leaves, exec->options.comm->rank, exec->options.comm->size, &first, &last);
    exec->leaf_count = last - first;
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
        for (int i = 0; i < exec->input_count; i++)
            if (!exec->input_shared[i])
                context->base[base_input(exec, i)] =
                    (char *)s->input[i] + s->input_size[i] * (size_t)context->first;
    }
    return DL_OK;
}

static dl_status send_inputs(dl_exec *exec, const turn *t, int64_t batch, int leaves,
                             const dl_random *random) {
    dl_queue *s = exec->queue;
    dl_random *randoms = (dl_random *)(void *)t->head;
    int first, last;
    dl_leaf_range(leaves, exec->options.comm->rank, exec->options.comm->size, &first, &last);
    size_t samples = (size_t)((int64_t)last * batch / leaves - (int64_t)first * batch / leaves);
    for (int l = 0; l <= exec->local_leaves; l++)
        randoms[l] = *random;
    for (int l = first; l < last; l++)
        randoms[l - first].first_sample = (uint32_t)((int64_t)l * batch / leaves);
    for (int i = 0; i < exec->input_count; i++) {
        bool shared = exec->input_shared[i];
        size_t bytes = s->input_size[i] * (shared ? 1 : samples);
        if (bytes == 0)
            continue;
        if (!exec->input[i])
            return dl_fail(DL_INTERNAL, "input '%s' of '%s' is not bound", exec->input_name[i],
                           exec->options.name);
        char *locked = (shared ? t->head : t->samples) + s->input_place[i];
        memcpy(locked, exec->input[i], bytes);
        if (!shared)
            DL_TRY(s->device->table->copy(s->device, s->input[i], locked, bytes));
    }
    return s->device->table->copy(s->device, s->head, t->head, s->head_bytes);
}

/* Copies of weights in the kernels' own layout, made anew when the variables have changed. */
static dl_status pack(dl_exec *exec) {
    dl_queue *s = exec->queue;
    for (int i = 0; i < exec->variants; i++) {
        variant *v = exec->variant[i];
        if (!v->packed_bytes || v->packed_version == exec->options.variables->version)
            continue;
        for (int u = 0; u < v->count; u++)
            for (int k = 0; k < DL_MAX_PACKED; k++)
                if (v->units[u].prepared.packed_bytes[k])
                    v->units[u].kernel->pack(
                        v->units[u].prepared.state, k,
                        at(&exec->shared_leaf, v->where[v->units[u].node->input[k]]),
                        (char *)s->packed[i] + v->units[u].in[k].offset, NULL);
        v->packed_version = exec->options.variables->version;
    }
    return DL_OK;
}

static dl_status send(dl_exec *exec, const turn *t, int64_t batch, int leaves,
                      const dl_random *random) {
    DL_TRY(dl_resident_push(exec->queue->resident));
    DL_TRY(send_inputs(exec, t, batch, leaves, random));
    return pack(exec);
}

/* ---- sums over ranks, through the host ---- */

static dl_status find_fault(const dl_exec *exec, const turn *t) {
    const dl_fault *fault = fault_of(t->tail);
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
    return find_fault(exec, t);
}

/* Fails on all ranks or on none. */
static dl_status stage_sums(dl_exec *exec, const turn *t, int phase, int leaves) {
    dl_queue *s = exec->queue;
    bool failed = false;
    int first, last;
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
        exec->noticed = exec->sum[sum]->result[flag + 1];
        if (s->failure == DL_OK)
            dl_queue_keep(s,
                          s->device->table->copy(s->device, s->result[sum], exec->sum[sum]->result,
                                                 sizeof(float) * (size_t)flag));
    }
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

/* A segment ends behind the first staged sum, or with the program. */
static dl_status run_segments(dl_exec *exec, const turn *t, batch_run *b, int leaves) {
    dl_queue *s = exec->queue;
    int segment = 0, first, last;
    for (int phase = 0, end = 0; phase < exec->phases; phase = end) {
        do
            units_of(exec->variant[0], end++, CLASS_COLLECTIVE, &first, &last);
        while (end < exec->phases && (!s->staged || first == last));
        if (s->failure == DL_OK)
            dl_queue_keep(s, dl_queue_phases(exec, b, segment++, phase, end));
        if (s->staged && first < last)
            DL_TRY(stage_sums(exec, t, end - 1, leaves));
    }
    if (b && s->failure == DL_OK)
        b->runs++;
    return DL_OK;
}

static dl_status answer(const dl_queue *s, const turn *t) {
    DL_TRY(s->device->table->copy(s->device, t->tail, s->tail, s->tail_bytes));
    return s->device->table->mark(s->device, t->mark);
}

dl_status dl_queue_begin(dl_exec *exec, int64_t batch, const dl_random *random) {
    dl_queue *s = exec->queue;
    turn *t = &s->turns[s->next];
    int leaves = batch < exec->options.leaves ? (int)batch : exec->options.leaves;
    if (s->under_way == MOST_UNDER_WAY)
        return dl_fail(DL_INTERNAL, "%d runs of '%s' are not collected", s->under_way,
                       exec->options.name);
    DL_TRY(set_leaves(exec, batch, leaves));
    if (exec->refusal != DL_OK)
        dl_queue_keep(s, dl_fail(exec->refusal, "%s", exec->refusal_message));
    exec->refusal = DL_OK;
    if (s->failure == DL_OK)
        dl_queue_keep(s, send(exec, t, batch, leaves, random));
    DL_TRY(run_segments(exec, t, delivers(exec) ? NULL : find_batch(s, batch), leaves));
    if (s->failure == DL_OK)
        dl_queue_keep(s, answer(s, t));
    if (exec->options.comm->size == 1) {
        DL_TRY(take_failure(s));
        exec->noticed = exec->notice;
    }
    DL_TRY(dl_gather_notices(exec, s->device->joined ? 0 : leaves)); /* no sum here carries them */
    if (exec->variant[0]->graph.assignments)
        dl_resident_changed(s->resident);
    t->batch = batch;
    t->noticed = exec->noticed;
    s->next = (s->next + 1) % MOST_UNDER_WAY;
    s->under_way++;
    return DL_OK;
}

int dl_queue_under_way(const dl_exec *exec) {
    return exec->queue->under_way;
}

dl_status dl_queue_collect(dl_exec *exec, bool all, int64_t *batch) {
    dl_queue *s = exec->queue;
    *batch = 0;
    if (s->under_way == 0 || (!all && s->under_way < MOST_UNDER_WAY))
        return DL_OK;
    const turn *t = &s->turns[(s->next + MOST_UNDER_WAY - s->under_way) % MOST_UNDER_WAY];
    s->under_way--;
    if (s->failure == DL_OK)
        dl_queue_keep(s, s->device->table->await(s->device, t->mark));
    if (s->failure == DL_OK)
        dl_queue_keep(s, find_fault(exec, t));
    if (s->failure != DL_OK && s->device->joined)
        s->device->table->give_up(s->device); /* others may wait for this one's part */
    dl_status status = dl_comm_agree(exec->options.comm, take_failure(s));
    if (status != DL_OK && s->device->joined)
        s->device->table->give_up(s->device);
    DL_TRY(status);
    s->last = t;
    *batch = t->batch;
    exec->noticed = t->noticed;
    return DL_OK;
}

const float *dl_queue_result(const dl_exec *exec, int output) {
    const dl_queue *s = exec->queue;
    return (const float *)(const void *)(s->last->tail + s->output_place[output]);
}
