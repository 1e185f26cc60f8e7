/* What runs enqueue on a device, once as it is, then as recordings, of one run or of a turn's: the
 * pieces of queue_list.c, each in its stream, with marks where one waits for another. The places of
 * values are those of the plan; only the bases are the device's. A staged sum, which goes through
 * the host (queue.c), ends a segment. */
#include "runtime/exec/queue.h"

static char *slot_of(char *memory, size_t bytes, const dl_queue *s) {
    return memory + bytes * (size_t)s->slot;
}

/* What is enqueued from now on is the run in that slot. */
static void aim(dl_exec *exec, int slot) {
    dl_queue *s = exec->queue;
    s->slot = slot;
    for (int i = 0; i < exec->input_count; i++) {
        char *input =
            s->input[i] ? s->input[i] : slot_of(s->block, s->block_bytes, s) + s->input_place[i];
        exec->shared_leaf.base[base_input(exec, i)] = input;
        for (int l = 0; l < exec->leaf_count; l++) {
            leaf *context = &exec->leaves[l];
            size_t first = exec->input_shared[i] ? 0 : (size_t)context->first;
            context->base[base_input(exec, i)] = input + s->input_size[i] * first;
        }
    }
}

/* The samples of all leaves lie one behind the other. */
static dl_status take_rows(const dl_exec *exec, int input) {
    const dl_queue *s = exec->queue;
    const leaf *last = &exec->leaves[exec->leaf_count - 1];
    const char *number = slot_of(s->block, s->block_bytes, s) + s->rows_place;
    return s->device->table->take(s->device, s->input[input], exec->table[input],
                                  (const uint32_t *)(const void *)number,
                                  last->first + last->variant->samples, s->input_size[input]);
}

static dl_status run_unit(const dl_exec *exec, int index, leaf *context, int random) {
    const dl_queue *s = exec->queue;
    const unit *made = &context->variant->units[index];
    const dl_graph_node *node = made->node;
    dl_run run = run_of(made, context);
    run.random = (const dl_random *)(const void *)slot_of(s->block, s->block_bytes, s) + random;
    run.stream = s->device->stream;
    run.fault = (dl_fault *)(void *)slot_of(s->tail, s->tail_bytes, s);
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

/* Of this rank, and of the others where devices sum among themselves. */
static dl_status sum_leaves(const dl_exec *exec, int sum) {
    const dl_queue *s = exec->queue;
    const dl_device_sum what = {.leaf = &s->leaf[sum * exec->local_leaves],
                                .held = exec->leaf_count,
                                .leaves = exec->run_leaves,
                                .count = exec->sum_floats[sum],
                                .room = s->room,
                                .along_tree = exec->options.any_ranks};
    return s->device->table->sum(s->device, &what);
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
    return s->device->table->copy(
        s->device, slot_of(s->tail, s->tail_bytes, s) + s->output_place[output],
        at(&exec->shared_leaf, v->where[value]), dl_type_bytes(&v->graph.value[value].type));
}

static dl_status run_piece(dl_exec *exec, const piece *p) {
    bool shared = p->leaf < 0;
    leaf *context = shared ? &exec->shared_leaf : &exec->leaves[p->leaf];
    switch (p->kind) {
    case PIECE_ROWS:
        return take_rows(exec, p->index);
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
    bool timed = dl_queue_timed(exec);
    device->table->turn_to(device, task->stream);
    if (timed)
        DL_TRY(dl_queue_stamp(exec, index, WORK_ASKED));
    for (int s = 0; s < DL_STREAMS; s++)
        if (task->wait[s] >= 0)
            DL_TRY(device->table->follow(device, list->mark[task->wait[s]]));
    if (timed)
        DL_TRY(dl_queue_stamp(exec, index, WORK_READY));
    DL_TRY(run_piece(exec, &list->piece[index]));
    if (timed)
        DL_TRY(dl_queue_stamp(exec, index, WORK_DONE));
    if (!task->awaited)
        return DL_OK;
    if (!list->mark[index])
        DL_TRY(device->table->mark_open(device, false, &list->mark[index]));
    return device->table->mark(device, list->mark[index]);
}

static dl_status enqueue(dl_exec *exec, int first, int end) {
    dl_device *device = exec->queue->device;
    dl_status status = dl_queue_timed(exec) ? dl_queue_time_begin(exec) : DL_OK;
    if (first == 0)
        dl_queue_pack_in_run(exec);
    dl_queue_list(exec, first, end);
    for (int i = 0; i < exec->queue->list.count && status == DL_OK; i++)
        status = place_piece(exec, i);
    device->table->turn_to(device, DL_STREAM_COMPUTE);
    if (dl_queue_timed(exec) && status == DL_OK)
        status = dl_queue_time_end(exec);
    return status;
}

/* ---- recordings ---- */

static void forget(const dl_queue *queue, dl_recording **recording) {
    queue->device->table->forget(queue->device, *recording);
    *recording = NULL;
}

void dl_queue_forget(dl_queue *queue, batch_run *batch) {
    while (batch->segments > 0)
        forget(queue, &batch->segment[--batch->segments]);
    forget(queue, &batch->together);
}

/* Phases [first, end) of the runs in slots 0 .. slots-1. What fails while recording ends the
 * recording all the same. */
static dl_status record(dl_exec *exec, int slots, int first, int end, dl_recording **out) {
    dl_queue *s = exec->queue;
    DL_TRY(s->device->table->record(s->device));
    for (int slot = 0; slot < slots && s->failure == DL_OK; slot++) {
        aim(exec, slot);
        dl_queue_keep(s, enqueue(exec, first, end));
    }
    dl_queue_keep(s, s->device->table->recorded(s->device, out));
    if (s->failure != DL_OK)
        forget(s, out);
    return s->failure;
}

static dl_status record_segment(dl_exec *exec, batch_run *batch, int segment, int first, int end) {
    while (segment < batch->segments) /* of a run that failed */
        forget(exec->queue, &batch->segment[--batch->segments]);
    if (segment == MAX_SEGMENTS)
        return dl_fail(DL_INTERNAL, "'%s' has more than %d sums in a row", exec->options.name,
                       MAX_SEGMENTS);
    DL_TRY(record(exec, 1, first, end, &batch->segment[segment]));
    batch->segments++;
    return DL_OK;
}

dl_status dl_queue_phases(dl_exec *exec, batch_run *batch, int segment, int first, int end) {
    const dl_queue *s = exec->queue;
    if (!batch || batch->runs == 0) {
        aim(exec, 0);
        return enqueue(exec, first, end);
    }
    if (batch->runs == 1)
        DL_TRY(record_segment(exec, batch, segment, first, end));
    return s->device->table->play(s->device, batch->segment[segment]);
}

dl_status dl_queue_together(dl_exec *exec, batch_run *batch) {
    const dl_queue *s = exec->queue;
    if (!batch->together)
        DL_TRY(record(exec, s->slots, 0, exec->phases, &batch->together));
    return s->device->table->play(s->device, batch->together);
}
