/* What a run enqueues on a device, once as it is, then as recordings. The places of values are
 * those of the plan; only the bases are the device's. Leaves follow one another. Sums over the
 * leaves of one rank are added there, along the tree of runtime/device/comm.h; a staged sum, which
 * goes through the host (queue.c), ends a segment. */
#include "runtime/exec/queue.h"

static dl_status run_unit(const dl_exec *exec, const variant *v, int index, leaf *context,
                          int random) {
    const dl_queue *s = exec->queue;
    const unit *made = &v->units[index];
    const dl_graph_node *node = made->node;
    dl_run run = run_of(made, context);
    run.random = (const dl_random *)(const void *)s->head + random;
    run.stream = s->device->stream;
    run.fault = fault_of(s->tail);
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

/* Of this rank, and of the others where devices sum among themselves. */
static dl_status sum_leaves(const dl_exec *exec, int sum) {
    dl_device *device = exec->queue->device;
    float *own = exec->queue->leaf[sum * exec->local_leaves];
    int64_t floats = exec->sum_floats[sum];
    if (exec->leaf_count == 0)
        DL_TRY(device->table->fill(device, own, 0, sizeof *own * (size_t)floats));
    DL_TRY(add_tree(exec, sum, 0, exec->leaf_count));
    return device->joined ? device->table->sum(device, own, floats) : DL_OK;
}

/* Assignments that could not be made in place, and what the host shall hear. */
static dl_status finish(const dl_exec *exec) {
    const variant *v = exec->variant[0];
    dl_device *device = exec->queue->device;
    for (int i = 0; i < exec->copy_count; i++)
        DL_TRY(device->table->copy(device, at(&exec->shared_leaf, exec->copies[i].to),
                                   at(&exec->shared_leaf, exec->copies[i].from),
                                   exec->copies[i].bytes));
    for (int i = 0; i < v->graph.outputs; i++) {
        dl_value value = v->graph.output[i].value;
        const dl_value_info *info = &v->graph.value[value];
        if (info->shared)
            DL_TRY(device->table->copy(device, exec->queue->tail + exec->queue->output_place[i],
                                       at(&exec->shared_leaf, v->where[value]),
                                       dl_type_bytes(&info->type)));
    }
    return DL_OK;
}

static dl_status enqueue(dl_exec *exec, int phase, int end) {
    for (; phase < end; phase++) {
        DL_TRY(run_shared(exec, phase));
        for (int l = 0; l < exec->leaf_count; l++)
            DL_TRY(run_leaf(exec, phase, l));
        int first, last;
        units_of(exec->variant[0], phase, CLASS_COLLECTIVE, &first, &last);
        for (int u = first; u < last && !exec->queue->staged; u++)
            DL_TRY(sum_leaves(exec, exec->variant[0]->units[u].sum));
    }
    return end == exec->phases ? finish(exec) : DL_OK;
}

void dl_queue_forget(dl_queue *queue, batch_run *batch) {
    while (batch->segments > 0)
        queue->device->table->forget(queue->device, batch->segment[--batch->segments]);
}

/* What fails while recording ends the recording all the same. */
static dl_status record(dl_exec *exec, batch_run *batch, int segment, int first, int end) {
    dl_queue *s = exec->queue;
    dl_recording *made = NULL;
    if (segment == 0)
        dl_queue_forget(s, batch); /* of a run that failed */
    if (segment == MAX_SEGMENTS)
        return dl_fail(DL_INTERNAL, "'%s' has more than %d sums in a row", exec->options.name,
                       MAX_SEGMENTS);
    DL_TRY(s->device->table->record(s->device));
    dl_queue_keep(s, enqueue(exec, first, end));
    dl_queue_keep(s, s->device->table->recorded(s->device, &made));
    if (s->failure != DL_OK) {
        s->device->table->forget(s->device, made);
        return s->failure;
    }
    batch->segment[batch->segments++] = made;
    return DL_OK;
}

dl_status dl_queue_phases(dl_exec *exec, batch_run *batch, int segment, int first, int end) {
    const dl_queue *s = exec->queue;
    if (!batch || batch->runs == 0)
        return enqueue(exec, first, end);
    if (batch->runs == 1)
        DL_TRY(record(exec, batch, segment, first, end));
    return s->device->table->play(s->device, batch->segment[segment]);
}
