/* What some phases of a run are made of, as data: pieces of work in order, each with its stream and
 * the memory it touches; streams.c tells what waits for what. Leaves follow one another. The sum of
 * a collective is listed as soon as the last leaf has written what it adds, so that it goes on
 * beside the rest of that leaf's work, and whoever reads it waits for it alone. */
#include "runtime/exec/queue.h"

static void add(work_list *list, dl_work_stream stream, piece_kind kind, int index,
                int leaf_index) {
    list->piece[list->count] = (piece){kind, index, leaf_index};
    list->task[list->count++] = (dl_task){
        .stream = stream, .meets = kind == PIECE_EDGE, .access = list->access + list->accesses};
}

/* Of the piece that was added last. */
static void touch(work_list *list, const void *memory, size_t bytes, bool writes) {
    uintptr_t from = (uintptr_t)memory;
    if (!memory || bytes == 0)
        return;
    list->access[list->accesses++] = (dl_access){from, from + bytes, writes};
    list->task[list->count - 1].accesses++;
}

static size_t bytes_of(const variant *v, dl_value value) {
    return dl_type_bytes(&v->graph.value[value].type);
}

/* Of an input; a parameter's copy in half is half as long. */
static size_t bytes_read(const variant *v, const unit *made, int input) {
    size_t bytes = bytes_of(v, made->node->input[input]);
    return made->in[input].base == BASE_SLAB + DL_SLAB_HALF ? bytes / 2 : bytes;
}

static void list_unit(const dl_exec *exec, const variant *v, int index, int leaf_index) {
    const leaf *context = leaf_index < 0 ? &exec->shared_leaf : &exec->leaves[leaf_index];
    work_list *list = &exec->queue->list;
    const unit *made = &v->units[index];
    const dl_graph_node *node = made->node;
    add(list, DL_STREAM_COMPUTE, PIECE_UNIT, index, leaf_index);
    for (int i = 0; i < node->inputs; i++)
        if (made->in[i].base != BASE_PACKED) /* which no step writes */
            touch(list, at(context, made->in[i]), bytes_read(v, made, i), false);
    for (int o = 0; o < node->outputs; o++)
        touch(list, at(context, made->out[o]), bytes_of(v, node->output + o), true);
    if (made->workspace.base >= 0)
        touch(list, at(context, made->workspace), made->prepared.workspace, true);
}

static void list_rows(const dl_exec *exec) {
    const dl_queue *s = exec->queue;
    for (int i = 0; i < exec->input_count; i++) {
        if (!exec->table[i])
            continue;
        add(&exec->queue->list, DL_STREAM_COMPUTE, PIECE_ROWS, i, -1);
        touch(&exec->queue->list, s->input[i], s->input_size[i] * (size_t)exec->most_samples, true);
    }
}

static void list_shared(const dl_exec *exec, int phase) {
    int first, last;
    units_of(exec->variant[0], phase, CLASS_SHARED, &first, &last);
    for (int u = first; u < last; u++)
        list_unit(exec, exec->variant[0], u, -1);
}

static void list_moves(const dl_exec *exec, int sum, int leaf_index) {
    const leaf *context = &exec->leaves[leaf_index];
    const variant *v = context->variant;
    work_list *list = &exec->queue->list;
    char *buffer = (char *)exec->queue->leaf[sum * exec->local_leaves + leaf_index];
    for (int m = 0; m < v->move_count; m++) {
        const move *to = &v->moves[m];
        if (to->sum != sum)
            continue;
        add(list, DL_STREAM_COMPUTE, PIECE_MOVE, m, leaf_index);
        touch(list, at(context, to->from), to->bytes, false);
        touch(list, buffer + to->offset, to->bytes, true);
    }
}

/* Sums of the host's are not listed. Those of one rank alone stay where its work is. */
static void list_sum(const dl_exec *exec, int sum) {
    dl_queue *s = exec->queue;
    if (s->staged)
        return;
    add(&s->list, s->device->joined ? DL_STREAM_SUMS : DL_STREAM_COMPUTE, PIECE_SUM, sum, -1);
    for (int l = 0; l < exec->leaf_count || l == 0; l++)
        touch(&s->list, s->leaf[sum * exec->local_leaves + l],
              sizeof(float) * (size_t)exec->sum_floats[sum], true);
}

/* Outputs of samples go straight to the host's memory. */
static void list_deliveries(const dl_exec *exec, int leaf_index) {
    const leaf *context = &exec->leaves[leaf_index];
    const variant *v = context->variant;
    work_list *list = &exec->queue->list;
    for (int i = 0; i < v->graph.outputs; i++) {
        dl_value value = v->graph.output[i].value;
        if (v->graph.value[value].shared || !exec->output[i])
            continue;
        add(list, DL_STREAM_COPIES, PIECE_DELIVER, i, leaf_index);
        touch(list, at(context, v->where[value]), bytes_of(v, value), false);
    }
}

/* A collective is complete when the last leaf has handed it over. */
static void hand_over(const dl_exec *exec, int sum, int leaf_index) {
    list_moves(exec, sum, leaf_index);
    if (leaf_index == exec->leaf_count - 1)
        list_sum(exec, sum);
}

static void list_leaf(const dl_exec *exec, int phase, int leaf_index) {
    const variant *v = exec->leaves[leaf_index].variant;
    int first, last, collective, collectives;
    units_of(v, phase, CLASS_SHARD, &first, &last);
    units_of(v, phase, CLASS_COLLECTIVE, &collective, &collectives);
    for (int u = first; u < last; u++) {
        list_unit(exec, v, u, leaf_index);
        while (collective < collectives && v->units[collective].after <= u)
            hand_over(exec, v->units[collective++].sum, leaf_index);
    }
    while (collective < collectives)
        hand_over(exec, v->units[collective++].sum, leaf_index);
    if (phase == exec->last_shard_phase)
        list_deliveries(exec, leaf_index);
}

/* A rank without samples adds nothing, but takes part. */
static void list_leaves(const dl_exec *exec, int phase) {
    int first, last;
    for (int l = 0; l < exec->leaf_count; l++)
        list_leaf(exec, phase, l);
    units_of(exec->variant[0], phase, CLASS_COLLECTIVE, &first, &last);
    for (int u = first; u < last && exec->leaf_count == 0; u++)
        list_sum(exec, exec->variant[0]->units[u].sum);
}

/* Assignments that could not be made in place, and what the host shall hear. */
static void list_end(const dl_exec *exec) {
    const variant *v = exec->variant[0];
    work_list *list = &exec->queue->list;
    for (int i = 0; i < exec->copy_count; i++) {
        add(list, DL_STREAM_COMPUTE, PIECE_ASSIGN, i, -1);
        touch(list, at(&exec->shared_leaf, exec->copies[i].from), exec->copies[i].bytes, false);
        touch(list, at(&exec->shared_leaf, exec->copies[i].to), exec->copies[i].bytes, true);
    }
    for (int i = 0; i < v->graph.outputs; i++) {
        dl_value value = v->graph.output[i].value;
        if (!v->graph.value[value].shared)
            continue;
        add(list, DL_STREAM_COMPUTE, PIECE_SAY, i, -1);
        touch(list, at(&exec->shared_leaf, v->where[value]), bytes_of(v, value), false);
    }
}

int dl_queue_segment_end(const dl_exec *exec, bool staged, int first) {
    int sums, ends;
    do
        units_of(exec->variant[0], first++, CLASS_COLLECTIVE, &sums, &ends);
    while (first < exec->phases && (!staged || sums == ends));
    return first;
}

void dl_queue_list(dl_exec *exec, int first, int end) {
    work_list *list = &exec->queue->list;
    list->count = list->accesses = 0;
    add(list, DL_STREAM_COMPUTE, PIECE_EDGE, 0, -1);
    if (first == 0 && exec->leaf_count > 0)
        list_rows(exec);
    for (int phase = first; phase < end; phase++) {
        list_shared(exec, phase);
        list_leaves(exec, phase);
    }
    if (end == exec->phases)
        list_end(exec);
    add(list, DL_STREAM_COMPUTE, PIECE_EDGE, 0, -1);
    dl_streams_derive(list->task, list->count);
}

dl_status dl_queue_list_open(dl_exec *exec) {
    work_list *list = &exec->queue->list;
    int pieces = 0, accesses = 0;
    for (int i = 0; i < exec->variants; i++) {
        const variant *v = exec->variant[i];
        int own = v->count + v->move_count + v->graph.outputs, touched = 0;
        for (int u = 0; u < v->count; u++)
            touched += v->units[u].node->inputs + v->units[u].node->outputs + 1;
        touched += 2 * v->move_count + v->graph.outputs;
        pieces = own > pieces ? own : pieces;
        accesses = touched > accesses ? touched : accesses;
    }
    int ends = exec->copy_count + exec->variant[0]->graph.outputs;
    list->most =
        2 + exec->input_count + pieces * (exec->local_leaves + 1) + exec->collectives + ends;
    list->most_accesses =
        (accesses + exec->collectives) * (exec->local_leaves + 1) + 2 * ends + exec->input_count;
    list->piece = dl_alloc(sizeof *list->piece * (size_t)list->most);
    list->task = dl_alloc(sizeof *list->task * (size_t)list->most);
    list->mark = dl_alloc(sizeof *list->mark * (size_t)list->most);
    list->access = dl_alloc(sizeof *list->access * (size_t)list->most_accesses);
    if (!list->piece || !list->task || !list->mark || !list->access)
        return dl_fail_memory(sizeof *list->task * (size_t)list->most);
    return DL_OK;
}

void dl_queue_list_close(dl_queue *queue) {
    work_list *list = &queue->list;
    for (int i = 0; list->mark && i < list->most; i++)
        queue->device->table->mark_close(queue->device, list->mark[i]);
    dl_free(list->piece);
    dl_free(list->task);
    dl_free(list->mark);
    dl_free(list->access);
}
