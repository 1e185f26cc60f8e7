/* What a program needs on a device: memory for the plan's arenas, inputs, sums, what comes back. */
#include "runtime/exec/queue.h"

static size_t line_up(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

void dl_queue_close(dl_exec *exec) {
    dl_queue *s = exec->queue;
    if (!s)
        return;
    dl_device *device = s->device;
    if (s->under_way > 0 && device->joined)
        device->table->give_up(device); /* a rank may have died: nobody waits for its part */
    device->table->wait(device);
    dl_queue_list_close(s);
    dl_queue_time_close(s);
    for (int b = 0; b < s->batches; b++)
        dl_queue_forget(s, &s->batch[b]);
    for (int i = 0; i < LANDINGS; i++) {
        device->table->mark_close(device, s->landing[i].filled);
        device->table->mark_close(device, s->landing[i].emptied);
        device->table->release(device, s->landing[i].block);
    }
    for (int i = 0; i < MOST_UNDER_WAY; i++) {
        device->table->mark_close(device, s->turns[i].mark);
        device->table->release_host(device, s->turns[i].block);
        device->table->release_host(device, s->turns[i].tail);
    }
    s->resident->held -= s->held;
    device->table->sum_release(device, s->sums);
    for (int i = 0; i < DL_COUNT(s->memory); i++)
        device->table->release(device, s->memory[i]);
    for (int i = 0; i < MAX_VARIANTS; i++)
        device->table->release(device, s->packed[i]);
    device->table->release(device, s->block);
    device->table->release(device, s->tail);
    for (int i = 0; s->input && i < exec->input_count; i++)
        device->table->release(device, s->input[i]);
    dl_free(s->input);
    dl_free(s->input_size);
    dl_free(s->input_place);
    dl_free(s->output_place);
    dl_free(s->leaf);
    dl_free(s);
    exec->queue = NULL;
}

/* Bytes of a sample of an input, or of a shared one. */
static size_t size_of(const dl_exec *exec, int input) {
    size_t bytes = dl_type_bytes(&exec->input_type[input]);
    return exec->input_shared[input] ? bytes : bytes / (size_t)exec->variant[0]->samples;
}

/* What does not come with a run, but lies on the device, or is taken there from what does. */
static bool is_there(const dl_exec *exec, int input) {
    return exec->table[input] || exec->constant[input];
}

static size_t whole_size(const dl_exec *exec, int input) {
    return size_of(exec, input) * (exec->input_shared[input] ? 1 : (size_t)exec->most_samples);
}

/* What a run reads lies in one piece, which one copy brings: randoms, numbers of rows, inputs. */
static size_t place_inputs(const dl_exec *exec, size_t *places, size_t *rows) {
    size_t bytes = line_up(sizeof(dl_random) * (size_t)(exec->local_leaves + 1));
    *rows = bytes;
    if (exec->takes_rows)
        bytes += line_up(sizeof *exec->rows * (size_t)exec->most_samples);
    for (int i = 0; i < exec->input_count; i++) {
        if (is_there(exec, i))
            continue;
        if (places)
            places[i] = bytes;
        bytes += line_up(whole_size(exec, i));
    }
    return bytes;
}

size_t dl_queue_input_bytes(const dl_exec *exec) {
    size_t rows, bytes = place_inputs(exec, NULL, &rows);
    return bytes * (dl_goes_ahead(bytes) ? 1 + LANDINGS : 1);
}

static dl_status make_inputs(const dl_exec *exec, dl_queue *s) {
    size_t inputs = (size_t)exec->input_count + 1;
    s->input_size = dl_alloc(sizeof *s->input_size * inputs);
    s->input_place = dl_alloc(sizeof *s->input_place * inputs);
    s->input = dl_alloc(sizeof *s->input * inputs);
    if (!s->input_size || !s->input_place || !s->input)
        return dl_fail_memory(sizeof *s->input_size * inputs);
    for (int i = 0; i < exec->input_count; i++)
        s->input_size[i] = size_of(exec, i);
    s->block_bytes = place_inputs(exec, s->input_place, &s->rows_place);
    for (int i = 0; i < exec->input_count; i++) {
        if (is_there(exec, i))
            DL_TRY(s->device->table->allocate(s->device, whole_size(exec, i), &s->input[i]));
        if (exec->constant[i])
            DL_TRY(s->device->table->copy(s->device, s->input[i], exec->input[i],
                                          whole_size(exec, i)));
    }
    return DL_OK;
}

/* Nodes of shards run once a leaf. Sums count as kernels. */
static dl_run_work work_of(const dl_exec *exec) {
    dl_run_work work = {0};
    const variant *v = exec->variant[0];
    for (int u = 0; u < v->count; u++) {
        int times = v->units[u].node->shared ? 1 : exec->local_leaves;
        work.kernels += times;
        work.flop += times * v->units[u].flop;
        work.bytes += times * v->units[u].bytes;
    }
    return work;
}

dl_status dl_queue_choose(dl_exec *exec, int *runs) {
    const dl_comm *comm = exec->options.comm;
    dl_run_work work = work_of(exec);
    bool joined = exec->options.resident->device->joined;
    size_t rows;
    *runs = exec->options.steps_per_execution;
    if (*runs == 0)
        *runs = dl_runs_together(dl_run_seconds(&work), place_inputs(exec, NULL, &rows));
    if (comm->size == 1 || !joined) {
        *runs = comm->size == 1 ? *runs : 1; /* the host takes part in every sum */
        return DL_OK;
    }
    float mine = (float)*runs;
    DL_TRY(dl_comm_gather(exec->options.comm, &mine, sizeof mine, exec->notices));
    for (int r = 0; r < comm->size; r++)
        *runs = (int)exec->notices[r] < *runs ? (int)exec->notices[r] : *runs;
    return DL_OK;
}

/* One piece for all sums, as memory that devices share has large granules. */
static dl_status make_sums(dl_exec *exec, dl_queue *s) {
    dl_device *device = s->device;
    size_t leaves = (size_t)exec->local_leaves, sums = (size_t)exec->collectives;
    size_t room = 0, floats = 0;
    s->leaf = dl_alloc(sizeof *s->leaf * (sums * leaves + 1));
    if (!s->leaf)
        return dl_fail_memory(sizeof *s->leaf * sums * leaves);
    for (size_t c = 0; c < sums; c++) {
        int64_t count = exec->sum_floats[c];
        size_t own = !exec->options.any_ranks
                         ? 0
                         : device->table->sum_room(device, count, exec->options.leaves);
        room = own > room ? own : room;
        floats += leaves * (size_t)dl_device_sum_stride(count, exec->options.comm->size);
    }
    DL_TRY(device->table->sum_allocate(device, sizeof(float) * floats + room, &s->sums));
    float *next = s->sums;
    for (size_t c = 0; c < sums; c++)
        for (size_t l = 0; l < leaves; l++) {
            s->leaf[c * leaves + l] = next;
            next += dl_device_sum_stride(exec->sum_floats[c], exec->options.comm->size);
        }
    s->room = next;
    return DL_OK;
}

/* What a run says. */
static dl_status make_outputs(const dl_exec *exec, dl_queue *s) {
    const variant *v = exec->variant[0];
    s->output_place = dl_alloc(sizeof *s->output_place * (size_t)(v->graph.outputs + 1));
    if (!s->output_place)
        return dl_fail_memory(sizeof *s->output_place);
    s->tail_bytes = line_up(sizeof(dl_fault));
    for (int i = 0; i < v->graph.outputs; i++) {
        const dl_value_info *info = &v->graph.value[v->graph.output[i].value];
        s->output_place[i] = s->tail_bytes;
        if (info->shared)
            s->tail_bytes += line_up(dl_type_bytes(&info->type));
    }
    return DL_OK;
}

static dl_status make_turns(dl_queue *s) {
    dl_device *device = s->device;
    size_t slots = (size_t)s->slots;
    void *memory;
    for (int i = 0; i < MOST_UNDER_WAY; i++) {
        turn *t = &s->turns[i];
        DL_TRY(device->table->allocate_host(device, s->block_bytes * slots, &memory));
        t->block = memory;
        DL_TRY(device->table->allocate_host(device, s->tail_bytes * slots, &memory));
        t->tail = memory;
        DL_TRY(device->table->mark_open(device, false, &t->mark));
    }
    s->last = s->turns[0].tail;
    DL_TRY(device->table->allocate(device, s->block_bytes * slots, &memory));
    s->block = memory;
    DL_TRY(device->table->allocate(device, s->tail_bytes * slots, &memory));
    s->tail = memory;
    return DL_OK;
}

static dl_status make_landings(dl_queue *s) {
    dl_device *device = s->device;
    size_t bytes = s->block_bytes * (size_t)s->slots;
    void *memory;
    for (int i = 0; i < LANDINGS && dl_goes_ahead(bytes); i++) {
        landing *l = &s->landing[i];
        DL_TRY(device->table->mark_open(device, false, &l->filled));
        DL_TRY(device->table->mark_open(device, false, &l->emptied));
        DL_TRY(device->table->allocate(device, bytes, &memory));
        l->block = memory;
    }
    return DL_OK;
}

static dl_status make_memory(dl_exec *exec, dl_queue *s) {
    dl_device *device = s->device;
    size_t bytes[] = {exec->arena_bytes * (size_t)exec->arena_count, exec->shared_bytes,
                      exec->workspace_bytes + exec->shared_workspace};
    for (int i = 0; i < DL_COUNT(bytes); i++)
        DL_TRY(device->table->allocate(device, bytes[i], &s->memory[i]));
    for (int i = 0; i < exec->variants; i++)
        if (exec->variant[i]->packed_bytes)
            DL_TRY(device->table->allocate(device, exec->variant[i]->packed_bytes, &s->packed[i]));
    return DL_OK;
}

/* The bases that never change. */
static void set_bases(dl_exec *exec, dl_queue *s, leaf *context, int index) {
    for (int i = 0; i < DL_SLABS_THERE; i++)
        context->base[BASE_SLAB + i] = s->resident->slab[i];
    context->base[BASE_SHARED] = s->memory[1];
    context->workspace = s->memory[2];
    if (index < 0)
        context->workspace += exec->workspace_bytes;
    int arena = exec->arena_count == exec->local_leaves ? index : 0;
    if (index >= 0)
        context->base[BASE_ARENA] = (char *)s->memory[0] + exec->arena_bytes * (size_t)arena;
    for (int c = 0; c < exec->collectives; c++) {
        if (index >= 0)
            context->base[base_leaf(exec, c)] = (char *)s->leaf[c * exec->local_leaves + index];
        context->base[base_result(exec, c)] = (char *)s->leaf[c * exec->local_leaves];
    }
}

dl_status dl_queue_open(dl_exec *exec, int runs) {
    dl_queue *s = exec->queue = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    s->resident = exec->options.resident;
    s->device = s->resident->device;
    s->staged = exec->options.comm->size > 1 && !s->device->joined;
    s->slots = runs;
    DL_TRY(s->device->table->build(s->device));
    DL_TRY(make_inputs(exec, s));
    DL_TRY(make_sums(exec, s));
    DL_TRY(make_outputs(exec, s));
    DL_TRY(make_turns(s));
    DL_TRY(make_landings(s));
    DL_TRY(make_memory(exec, s));
    DL_TRY(dl_queue_list_open(exec));
    for (int l = 0; l < exec->local_leaves; l++)
        set_bases(exec, s, &exec->leaves[l], l);
    set_bases(exec, s, &exec->shared_leaf, -1);
    return s->device->table->wait(s->device);
}
