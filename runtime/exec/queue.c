/* Runs a program on a device: what run.c does with threads, here as work enqueued in order. The
 * places of values are those of the plan; only the bases are the device's. Leaves follow one
 * another. Sums over the leaves of one rank are added there, along the tree of
 * runtime/device/comm.h; of several ranks they go through the host's communicator (staged).
 *
 * The first run of a batch size is enqueued as it is, which loads what is loaded lazily; the second
 * is recorded, and from then on the recording is played. A staged sum ends a recording and begins
 * another. */
#include "runtime/exec/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void *at(const leaf *context, place where) {
    return where.base < 0 ? NULL : context->base[where.base] + where.offset;
}

/* ---- what a run enqueues ---- */

static dl_status run_unit(const dl_exec *exec, const variant *v, int index, leaf *context,
                          int random) {
    const dl_queue *s = exec->queue;
    const unit *made = &v->units[index];
    const dl_graph_node *node = made->node;
    for (int i = 0; i < node->inputs; i++)
        context->in[i] = at(context, made->in[i]);
    for (int o = 0; o < node->outputs; o++)
        context->out[o] = at(context, made->out[o]);
    dl_run run = {.in = context->in,
                  .out = context->out,
                  .workspace = context->workspace,
                  .random = (const dl_random *)(const void *)s->there + random,
                  .stream = s->device->stream,
                  .fault = s->fault};
    dl_status status = made->kernel->run(made->prepared.state, &run);
    if (status != DL_OK)
        return dl_fail_prefix(status, "%s of '%s': ", node->op->name, node->name);
    if (exec->options.memory == DL_MEMORY_POISONED)
        for (int d = 0; d < made->dead_count; d++)
            DL_TRY(s->device->table->fill(s->device,
                                          context->base[node->shared ? BASE_SHARED : BASE_ARENA] +
                                              made->dead[d].offset,
                                          0xff, made->dead[d].bytes));
    return DL_OK;
}

static void units_of(const variant *v, int phase, int class, int *first, int *last) {
    *first = v->begin[CLASSES * phase + class];
    *last = v->begin[CLASSES * phase + class + 1];
}

static dl_status run_shared(dl_exec *exec, int phase) {
    int first, last;
    units_of(exec->variant[0], phase, CLASS_SHARED, &first, &last);
    for (int u = first; u < last; u++)
        DL_TRY(run_unit(exec, exec->variant[0], u, &exec->shared_leaf, exec->local_leaves));
    return DL_OK;
}

/* Outputs of samples go straight to the host's memory. */
static dl_status deliver(const dl_exec *exec, const leaf *context) {
    const variant *v = context->variant;
    dl_device *device = exec->queue->device;
    for (int i = 0; i < v->graph.outputs; i++) {
        dl_value value = v->graph.output[i].value;
        const dl_value_info *info = &v->graph.value[value];
        if (info->shared || !exec->output[i])
            continue;
        size_t bytes = dl_type_bytes(&info->type), sample = bytes / (size_t)v->samples;
        DL_TRY(device->table->copy(device,
                                   (char *)exec->output[i] + sample * (size_t)context->first,
                                   at(context, v->where[value]), bytes));
    }
    return DL_OK;
}

static dl_status run_leaf(dl_exec *exec, int phase, int index) {
    leaf *context = &exec->leaves[index];
    const variant *v = context->variant;
    dl_device *device = exec->queue->device;
    int first, last;
    units_of(v, phase, CLASS_SHARD, &first, &last);
    for (int u = first; u < last; u++)
        DL_TRY(run_unit(exec, v, u, context, index));
    units_of(v, phase, CLASS_COLLECTIVE, &first, &last);
    for (int u = first; u < last; u++)
        for (int m = 0; m < v->move_count; m++)
            if (v->moves[m].sum == v->units[u].sum)
                DL_TRY(device->table->copy(
                    device,
                    (char *)exec->queue->leaf[v->moves[m].sum * exec->local_leaves + index] +
                        v->moves[m].offset,
                    at(context, v->moves[m].from), v->moves[m].bytes));
    return phase == exec->last_shard_phase ? deliver(exec, context) : DL_OK;
}

/* Into leaf 0 of [first, last): the tree of dl_sum. */
static dl_status add_tree(const dl_exec *exec, int sum, int first, int last) {
    if (last - first < 2)
        return DL_OK;
    int half = 1;
    while (2 * half < last - first)
        half *= 2;
    DL_TRY(add_tree(exec, sum, first, first + half));
    DL_TRY(add_tree(exec, sum, first + half, last));
    float **buffer = &exec->queue->leaf[sum * exec->local_leaves];
    dl_device *device = exec->queue->device;
    return device->table->add(device, buffer[first], buffer[first + half], exec->sum_floats[sum]);
}

/* Everything up to the first staged sum from `phase` on, and on until the end without one. */
static dl_status enqueue_segment(dl_exec *exec, int *phase) {
    dl_device *device = exec->queue->device;
    while (*phase < exec->phases) {
        DL_TRY(run_shared(exec, *phase));
        for (int l = 0; l < exec->leaf_count; l++)
            DL_TRY(run_leaf(exec, *phase, l));
        int first, last;
        units_of(exec->variant[0], (*phase)++, CLASS_COLLECTIVE, &first, &last);
        if (exec->queue->staged && first < last)
            return DL_OK;
        for (int u = first; u < last; u++)
            DL_TRY(add_tree(exec, exec->variant[0]->units[u].sum, 0, exec->leaf_count));
    }
    for (int i = 0; i < exec->copy_count; i++)
        DL_TRY(device->table->copy(device, at(&exec->shared_leaf, exec->copies[i].to),
                                   at(&exec->shared_leaf, exec->copies[i].from),
                                   exec->copies[i].bytes));
    const variant *v = exec->variant[0];
    for (int i = 0; i < v->graph.outputs; i++) {
        dl_value value = v->graph.output[i].value;
        const dl_value_info *info = &v->graph.value[value];
        if (info->shared)
            DL_TRY(device->table->copy(
                device, (char *)exec->queue->results + exec->queue->result_place[i],
                at(&exec->shared_leaf, v->where[value]), dl_type_bytes(&info->type)));
    }
    return device->table->copy(device, exec->queue->fault_here, exec->queue->fault,
                               sizeof(dl_fault));
}

/* ---- sums over ranks, through the host ---- */

static dl_status find_fault(dl_exec *exec) {
    const dl_fault *fault = exec->queue->fault_here;
    if (fault->node == 0)
        return DL_OK;
    const dl_graph_node *node = exec->variant[0]->units[fault->node - 1].node;
    return dl_fail(DL_BAD_JOB, "%s of '%s': %s %" PRId64 " is outside 0..%" PRId64, node->op->name,
                   node->name, fault->kind == DL_FAULT_LABEL ? "label" : "id", fault->value,
                   fault->bound - 1);
}

static dl_status stage_sums(dl_exec *exec, int phase, int leaves) {
    dl_queue *s = exec->queue;
    dl_device *device = s->device;
    bool failed = false;
    int first, last;
    units_of(exec->variant[0], phase, CLASS_COLLECTIVE, &first, &last);
    for (int u = first; u < last; u++) {
        int sum = exec->variant[0]->units[u].sum;
        size_t bytes = sizeof(float) * (size_t)exec->sum_floats[sum];
        for (int l = 0; l < exec->leaf_count; l++)
            DL_TRY(device->table->copy(device, exec->sum[sum]->leaf[l],
                                       s->leaf[sum * exec->local_leaves + l], bytes));
    }
    DL_TRY(device->table->copy(device, s->fault_here, s->fault, sizeof *s->fault));
    dl_status mine = device->table->wait(device);
    if (mine == DL_OK)
        mine = find_fault(exec);
    if (mine == DL_OK && exec->refusal != DL_OK)
        mine = dl_fail(exec->refusal, "%s", exec->refusal_message);
    for (int u = first; u < last; u++) {
        int sum = exec->variant[0]->units[u].sum;
        int64_t flag = exec->sum_floats[sum];
        for (int l = 0; l < exec->leaf_count; l++) {
            float *line = exec->sum[sum]->leaf[l] + flag;
            memset(line, 0, DL_SLAB_ALIGN * sizeof *line);
            line[0] = mine == DL_OK ? 0.0f : 1.0f;
            line[1] = l == 0 ? exec->notice : 0.0f;
        }
        DL_TRY(dl_sum_run(exec->sum[sum], leaves, exec->options.team));
        DL_TRY(device->table->copy(device, s->result[sum], exec->sum[sum]->result,
                                   sizeof(float) * (size_t)flag));
        failed = failed || exec->sum[sum]->result[flag] != 0.0f;
        exec->noticed = exec->sum[sum]->result[flag + 1];
    }
    return failed ? dl_comm_agree(exec->options.comm, mine) : DL_OK;
}

/* ---- a run ---- */

static dl_status set_leaves(dl_exec *exec, int64_t batch, int leaves, const dl_random *random) {
    dl_queue *s = exec->queue;
    dl_random *here = (dl_random *)(void *)s->here;
    int first, last;
    dl_leaf_range(leaves, exec->options.comm->rank, exec->options.comm->size, &first, &last);
    exec->leaf_count = last - first;
    int64_t rank_first = (int64_t)first * batch / leaves;
    int64_t rank_last = (int64_t)last * batch / leaves;
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
        here[l - first] = *random;
        here[l - first].first_sample = (uint32_t)from;
        for (int i = 0; i < exec->input_count; i++)
            context->base[base_input(exec, i)] =
                (char *)s->input[i] +
                (exec->input_shared[i] ? 0 : s->input_size[i] * (size_t)context->first);
    }
    here[exec->local_leaves] = *random;
    for (int i = 0; i < exec->input_count; i++) {
        size_t pieces = exec->input_shared[i] ? 1 : (size_t)(rank_last - rank_first);
        exec->shared_leaf.base[base_input(exec, i)] = s->input[i];
        if (!exec->input[i] && exec->refusal == DL_OK && pieces > 0)
            return dl_fail(DL_INTERNAL, "input '%s' of '%s' is not bound", exec->input_name[i],
                           exec->options.name);
        if (exec->input[i] && exec->refusal == DL_OK)
            DL_TRY(s->device->table->copy(s->device, s->input[i], exec->input[i],
                                          s->input_size[i] * pieces));
    }
    return s->device->table->copy(s->device, s->there, s->here, s->head);
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

static dl_status run_segments(dl_exec *exec, batch_run *b, int leaves) {
    dl_device *device = exec->queue->device;
    bool play = b && b->runs > 1, make = b && b->runs == 1;
    int segment = 0;
    for (int phase = 0; phase < exec->phases; segment++) {
        if (segment == MAX_SEGMENTS)
            return dl_fail(DL_INTERNAL, "'%s' has more than %d sums in a row", exec->options.name,
                           MAX_SEGMENTS);
        if (make)
            DL_TRY(device->table->record(device));
        if (play) {
            int first, last;
            do
                units_of(exec->variant[0], phase++, CLASS_COLLECTIVE, &first, &last);
            while (phase < exec->phases && (!exec->queue->staged || first == last));
        } else {
            dl_status status = enqueue_segment(exec, &phase);
            if (make && status == DL_OK) {
                status = device->table->recorded(device, &b->segment[segment]);
                b->segments = status == DL_OK ? segment + 1 : segment;
            }
            DL_TRY(status);
        }
        if (play || make)
            DL_TRY(device->table->play(device, b->segment[segment]));
        int first, last;
        units_of(exec->variant[0], phase - 1, CLASS_COLLECTIVE, &first, &last);
        if (exec->queue->staged && first < last)
            DL_TRY(stage_sums(exec, phase - 1, leaves));
    }
    if (b)
        b->runs++;
    return DL_OK;
}

dl_status dl_queue_run(dl_exec *exec, int64_t batch, const dl_random *random) {
    dl_queue *s = exec->queue;
    int leaves = batch < exec->options.leaves ? (int)batch : exec->options.leaves;
    DL_TRY(dl_resident_push(s->resident));
    DL_TRY(set_leaves(exec, batch, leaves, random));
    DL_TRY(pack(exec));
    if (!s->staged && exec->refusal != DL_OK) {
        dl_status refusal = exec->refusal;
        exec->refusal = DL_OK;
        return dl_fail(refusal, "%s", exec->refusal_message);
    }
    dl_status status = run_segments(exec, delivers(exec) ? NULL : find_batch(s, batch), leaves);
    exec->refusal = DL_OK;
    DL_TRY(status);
    if (!s->staged)
        exec->noticed = exec->notice;
    DL_TRY(s->device->table->wait(s->device));
    DL_TRY(find_fault(exec));
    if (exec->variant[0]->graph.assignments)
        dl_resident_changed(s->resident);
    return DL_OK;
}

const float *dl_queue_result(const dl_exec *exec, int output) {
    return (const float *)(const void *)((const char *)exec->queue->results +
                                         exec->queue->result_place[output]);
}
