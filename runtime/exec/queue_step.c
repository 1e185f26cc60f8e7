/* What a run enqueues on a device, once as it is, then as recordings: the pieces of queue_list.c,
 * each in its stream, with marks where one waits for another. The places of values are those of the
 * plan; only the bases are the device's. Sums over the leaves of one rank are added there, along
 * the tree of runtime/device/comm.h; a staged sum, which goes through the host (queue.c), ends a
 * segment. */
#include "runtime/exec/queue.h"

static dl_status run_unit(const dl_exec *exec, int index, leaf *context, int random) {
    const dl_queue *s = exec->queue;
    const unit *made = &context->variant->units[index];
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

static dl_status run_move(const dl_exec *exec, int index, int leaf_index) {
    const leaf *context = &exec->leaves[leaf_index];
    const move *m = &context->variant->moves[index];
    const dl_queue *s = exec->queue;
    return s->device->table->copy(
        s->device, (char *)s->leaf[m->sum * exec->local_leaves + leaf_index] + m->offset,
        at(context, m->from), m->bytes);
}

static dl_status deliver(const dl_exec *exec, int output, const leaf *context) {
    const variant *v = context->variant;
    dl_value value = v->graph.output[output].value;
    size_t bytes = dl_type_bytes(&v->graph.value[value].type);
    size_t sample = bytes / (size_t)v->samples;
    dl_device *device = exec->queue->device;
    return device->table->copy(device,
                               (char *)exec->output[output] + sample * (size_t)context->first,
                               at(context, v->where[value]), bytes);
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

static dl_status assign(const dl_exec *exec, const copy *c) {
    dl_device *device = exec->queue->device;
    return device->table->copy(device, at(&exec->shared_leaf, c->to),
                               at(&exec->shared_leaf, c->from), c->bytes);
}

static dl_status say(const dl_exec *exec, int output) {
    const variant *v = exec->variant[0];
    const dl_queue *s = exec->queue;
    dl_value value = v->graph.output[output].value;
    return s->device->table->copy(s->device, s->tail + s->output_place[output],
                                  at(&exec->shared_leaf, v->where[value]),
                                  dl_type_bytes(&v->graph.value[value].type));
}

static dl_status run_piece(dl_exec *exec, const piece *p) {
    bool shared = p->leaf < 0;
    leaf *context = shared ? &exec->shared_leaf : &exec->leaves[p->leaf];
    switch (p->kind) {
    case PIECE_UNIT:
        return run_unit(exec, p->index, context, shared ? exec->local_leaves : p->leaf);
    case PIECE_MOVE:
        return run_move(exec, p->index, p->leaf);
    case PIECE_SUM:
        return sum_leaves(exec, p->index);
    case PIECE_DELIVER:
        return deliver(exec, p->index, context);
    case PIECE_ASSIGN:
        return assign(exec, &exec->copies[p->index]);
    case PIECE_SAY:
        return say(exec, p->index);
    case PIECE_EDGE:
        break;
    }
    return DL_OK;
}

/* In its stream, behind what it waits for. */
static dl_status place_piece(dl_exec *exec, int index) {
    dl_device *device = exec->queue->device;
    work_list *list = &exec->queue->list;
    const dl_task *task = &list->task[index];
    device->table->turn_to(device, task->stream);
    for (int s = 0; s < DL_STREAMS; s++)
        if (task->wait[s] >= 0)
            DL_TRY(device->table->follow(device, list->mark[task->wait[s]]));
    DL_TRY(run_piece(exec, &list->piece[index]));
    if (!task->awaited)
        return DL_OK;
    if (!list->mark[index])
        DL_TRY(device->table->mark_open(device, &list->mark[index]));
    return device->table->mark(device, list->mark[index]);
}

static dl_status enqueue(dl_exec *exec, int first, int end) {
    dl_device *device = exec->queue->device;
    dl_status status = DL_OK;
    dl_queue_list(exec, first, end);
    for (int i = 0; i < exec->queue->list.count && status == DL_OK; i++)
        status = place_piece(exec, i);
    device->table->turn_to(device, DL_STREAM_COMPUTE);
    return status;
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
