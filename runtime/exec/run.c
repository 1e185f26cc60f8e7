/* A step: per phase the shared nodes, the per-shard nodes of every local leaf, the collectives.
 * Nothing here allocates. A leaf that fails goes on to the next collective with a flag in its
 * buffer, so that all ranks learn of it from the sum they were going to make anyway, and stop
 * together. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/exec/queue.h"

static dl_status run_unit(dl_exec *exec, const variant *v, int index, leaf *context,
                          dl_team *team) {
    const unit *made = &v->units[index];
    const dl_graph_node *node = made->node;
    dl_run run = run_of(made, context);
    run.team = team;
    run.random = &context->random;
    if (made->divided) {
        run.part = exec->options.variables->part;
        run.parts = exec->options.variables->parts;
    }
    bool timed = exec->profile && exec->profile->nodes;
    double start = timed ? dl_seconds() : 0;
    dl_status status = made->kernel->run(made->prepared.state, &run);
    if (timed)
        dl_profile_note(exec->profile, context->worker, index, start, made->flop, made->bytes);
    if (exec->options.memory == DL_MEMORY_POISONED)
        for (int d = 0; d < made->dead_count; d++)
            memset(context->base[node->shared ? BASE_SHARED : BASE_ARENA] + made->dead[d].offset,
                   0xff, made->dead[d].bytes);
    if (status != DL_OK)
        return dl_fail_prefix(status, "%s of '%s': ", node->op->name, node->name);
    return DL_OK;
}

static int around(const dl_exec *exec, int what) {
    return exec->profile->count + DL_RUN_PARTS + what;
}

/* Ends a part of the run, if somebody wants to know. */
static inline void lap(dl_exec *exec, dl_run_part part) {
    if (exec->profile)
        dl_profile_lap(exec->profile, part);
}

/* Per-shard outputs leave when the leaf is through. */
static void deliver(const dl_exec *exec, const leaf *context) {
    const variant *v = context->variant;
    for (int i = 0; i < v->graph.outputs; i++) {
        dl_value value = v->graph.output[i].value;
        const dl_value_info *info = &v->graph.value[value];
        if (info->shared || !exec->output[i])
            continue;
        size_t bytes = dl_type_bytes(&info->type), sample = bytes / (size_t)v->samples;
        memcpy((char *)exec->output[i] + sample * (size_t)context->first,
               at(context, v->where[value]), bytes);
    }
}

/* What this leaf adds to a collective is complete. */
static void hand_over(dl_exec *exec, const leaf *context, const unit *collective) {
    const variant *v = context->variant;
    dl_sum *sum = exec->sum[collective->sum];
    int64_t flag = exec->sum_floats[collective->sum];
    int index = (int)(context - exec->leaves);
    bool timed = exec->profile && exec->profile->nodes;
    double start = timed ? dl_seconds() : 0, bytes = 0;
    for (int m = 0; context->status == DL_OK && m < v->move_count; m++) {
        if (v->moves[m].sum != collective->sum)
            continue;
        memcpy((char *)sum->leaf[index] + v->moves[m].offset, at(context, v->moves[m].from),
               v->moves[m].bytes);
        bytes += 2 * (double)v->moves[m].bytes;
    }
    if (timed && bytes > 0)
        dl_profile_note(exec->profile, context->worker, around(exec, AROUND_COPY), start, 0, bytes);
    memset(sum->leaf[index] + flag, 0, DL_SLAB_ALIGN * sizeof(float));
    sum->leaf[index][flag] = context->status == DL_OK ? 0.0f : 1.0f;
    sum->leaf[index][flag + 1] = index == 0 ? exec->notice : 0.0f;
    if (exec->carrier)
        dl_carrier_ready(exec->carrier, collective->sum);
}

static dl_status run_leaf(void *argument, int task) {
    dl_exec *exec = argument;
    leaf *context = &exec->leaves[task];
    const variant *v = context->variant;
    int phase = exec->current_phase;
    dl_team *team = dl_team_form_of(exec->options.team) == DL_TEAM_LONE ? exec->options.team : NULL;
    int first, last, collective, collectives;
    units_of(v, phase, CLASS_SHARD, &first, &last);
    units_of(v, phase, CLASS_COLLECTIVE, &collective, &collectives);
    for (int u = first; u < last && context->status == DL_OK; u++) {
        context->status = run_unit(exec, v, u, context, team);
        if (context->status != DL_OK)
            snprintf(context->message, sizeof context->message, "%s", dl_message());
        while (context->status == DL_OK && collective < collectives &&
               v->units[collective].after <= u)
            hand_over(exec, context, &v->units[collective++]);
    }
    /* A leaf that failed, now or in an earlier phase, takes part: the flag tells all ranks. */
    while (collective < collectives)
        hand_over(exec, context, &v->units[collective++]);
    if (phase == exec->last_shard_phase && context->status == DL_OK)
        deliver(exec, context);
    return DL_OK;
}

/* Ranks that share memory wait for each other. */
static dl_status meet(dl_exec *exec, dl_run_part until) {
    lap(exec, until);
    DL_TRY(dl_comm_barrier(exec->options.comm));
    lap(exec, DL_RUN_WAITING);
    return DL_OK;
}

static dl_status run_shared(dl_exec *exec, int phase, dl_run_part part) {
    const variant *v = exec->variant[0];
    int first, last;
    bool apart = false; /* ranks have written what others have not seen */
    units_of(v, phase, CLASS_SHARED, &first, &last);
    for (int u = first; u < last; u++) {
        if (v->units[u].meets)
            DL_TRY(meet(exec, part));
        DL_TRY(run_unit(exec, v, u, &exec->shared_leaf, exec->options.team));
        apart = apart || v->units[u].divided;
    }
    return apart ? meet(exec, part) : DL_OK;
}

/* Assignments that could not be made in place; of common memory each rank writes its part. */
static dl_status copy_assigned(dl_exec *exec) {
    bool apart = false;
    for (int i = 0; i < exec->copy_count; i++)
        apart = apart || exec->copies[i].common;
    if (apart) /* nobody reads the old values any more */
        DL_TRY(meet(exec, DL_RUN_UPDATE));
    for (int i = 0; i < exec->copy_count; i++) {
        const copy *c = &exec->copies[i];
        const dl_variables *v = exec->options.variables;
        int64_t from = 0, to = (int64_t)(c->bytes / sizeof(float));
        if (c->common)
            dl_part_range(to, v->part, v->parts, &from, &to);
        memcpy((float *)at(&exec->shared_leaf, c->to) + from,
               (const float *)at(&exec->shared_leaf, c->from) + from,
               (size_t)(to - from) * sizeof(float));
    }
    return apart ? meet(exec, DL_RUN_UPDATE) : DL_OK;
}

static dl_status run_collectives(dl_exec *exec, int phase, int leaves) {
    const variant *v = exec->variant[0];
    bool failed = false;
    int first, last;
    units_of(v, phase, CLASS_COLLECTIVE, &first, &last);
    if (exec->carrier) { /* waiting and communication cannot be told apart beside each other */
        DL_TRY(dl_carrier_finish(exec->carrier));
    } else if (exec->profile && last > first) {
        DL_TRY(dl_comm_barrier(exec->options.comm));
        dl_profile_lap(exec->profile, DL_RUN_WAITING);
    }
    for (int u = first; u < last; u++) {
        const unit *made = &v->units[u];
        dl_sum *sum = exec->sum[made->sum];
        int64_t flag = exec->sum_floats[made->sum];
        bool timed = exec->profile && exec->profile->nodes;
        double start = timed ? dl_seconds() : 0;
        if (!exec->carrier)
            DL_TRY(dl_sum_run(sum, leaves, exec->options.team));
        if (timed && !exec->carrier)
            dl_profile_note(exec->profile, 0, u, start, 0, leaves > 1 ? made->bytes : 0);
        char *result = (char *)(uintptr_t)sum->result;
        exec->shared_leaf.base[base_result(exec, made->sum)] = result;
        for (int l = 0; l < exec->leaf_count; l++)
            exec->leaves[l].base[base_result(exec, made->sum)] = result;
        failed = failed || sum->result[flag] != 0.0f;
        exec->noticed = sum->result[flag + 1];
    }
    if (!failed)
        return DL_OK;
    dl_status mine = DL_OK;
    for (int l = 0; l < exec->leaf_count && mine == DL_OK; l++)
        if (exec->leaves[l].status != DL_OK)
            mine = dl_fail(exec->leaves[l].status, "%s", exec->leaves[l].message);
    return dl_comm_agree(exec->options.comm, mine);
}

static void pack(dl_exec *exec, variant *v) {
    if (!v->packed_bytes || v->packed_version == exec->options.variables->version)
        return;
    leaf *context = &exec->shared_leaf;
    bool timed = exec->profile && exec->profile->nodes;
    double start = timed ? dl_seconds() : 0;
    for (int u = 0; u < v->count; u++) {
        const unit *made = &v->units[u];
        for (int i = 0; i < DL_MAX_PACKED; i++)
            if (made->prepared.packed_bytes[i])
                made->kernel->pack(made->prepared.state, i,
                                   at(context, v->where[made->node->input[i]]),
                                   v->packed + made->in[i].offset, exec->options.team);
    }
    v->packed_version = exec->options.variables->version;
    if (timed)
        dl_profile_note(exec->profile, 0, around(exec, AROUND_PACK), start, 0,
                        2 * (double)v->packed_bytes);
}

static dl_status set_leaf(dl_exec *exec, int index, int64_t samples, int64_t first,
                          const dl_random *random, int64_t rank_first) {
    leaf *context = &exec->leaves[index];
    context->variant = NULL;
    for (int i = 0; i < exec->variants; i++)
        if (exec->variant[i]->samples == samples) {
            pack(exec, exec->variant[i]);
            context->variant = exec->variant[i];
            context->base[BASE_PACKED] = exec->variant[i]->packed;
        }
    if (!context->variant)
        return dl_fail(DL_INTERNAL, "'%s' was not prepared for %lld samples a shard",
                       exec->options.name, (long long)samples);
    int worker = index % exec->workers;
    int arena = exec->lockstep || exec->arena_count == exec->local_leaves ? index : worker;
    context->base[BASE_ARENA] = exec->arenas + exec->arena_bytes * (size_t)arena;
    context->workspace = exec->workspaces + exec->workspace_bytes * (size_t)worker;
    context->worker = worker;
    context->first = first - rank_first;
    context->random = *random;
    context->random.first_sample = (uint32_t)first;
    context->status = DL_OK;
    for (int i = 0; i < exec->input_count; i++) {
        const dl_type *type = &exec->input_type[i];
        const char *memory = exec->input[i];
        if (memory && !exec->input_shared[i]) {
            size_t sample = dl_type_bytes(type) / (size_t)exec->variant[0]->samples;
            memory += sample * (size_t)context->first;
        }
        context->base[base_input(exec, i)] = (char *)(uintptr_t)memory;
    }
    for (int s = 0; s < exec->collectives; s++) {
        context->base[base_leaf(exec, s)] = (char *)exec->sum[s]->leaf[index];
        context->base[base_result(exec, s)] = (char *)(uintptr_t)exec->sum[s]->result;
    }
    return DL_OK;
}

static dl_status begin(dl_exec *exec, int64_t batch, int leaves, const dl_random *random) {
    int first, last;
    dl_leaf_range(leaves, exec->options.comm->rank, exec->options.comm->size, &first, &last);
    exec->leaf_count = last - first;
    leaf *shared = &exec->shared_leaf;
    shared->random = *random;
    for (int i = 0; i < exec->input_count; i++) {
        if (!exec->input[i] && exec->refusal == DL_OK &&
            (exec->leaf_count > 0 || exec->input_shared[i]))
            return dl_fail(DL_INTERNAL, "input '%s' of '%s' is not bound", exec->input_name[i],
                           exec->options.name);
        shared->base[base_input(exec, i)] = (char *)(uintptr_t)exec->input[i];
    }
    int64_t rank_first = (int64_t)first * batch / leaves;
    for (int l = first; l < last; l++) {
        int64_t from = (int64_t)l * batch / leaves, to = (int64_t)(l + 1) * batch / leaves;
        DL_TRY(set_leaf(exec, l - first, to - from, from, random, rank_first));
        if (exec->refusal != DL_OK) {
            exec->leaves[l - first].status = exec->refusal;
            memcpy(exec->leaves[l - first].message, exec->refusal_message,
                   sizeof exec->refusal_message);
        }
    }
    return DL_OK;
}

void dl_exec_refuse(dl_exec *exec, dl_status status) {
    exec->refusal = status;
    snprintf(exec->refusal_message, sizeof exec->refusal_message, "%s", dl_message());
}

void dl_exec_notice(dl_exec *exec, float notice) {
    exec->notice = notice;
}

float dl_exec_noticed(const dl_exec *exec) {
    return exec->noticed;
}

/* A rank without samples has no leaf that its notice could ride in. All ranks know when there are
 * such ranks. */
dl_status dl_gather_notices(dl_exec *exec, float *notice, int runs) {
    dl_comm *comm = exec->options.comm;
    if (exec->collectives == 0 || comm->size == 1)
        return DL_OK;
    DL_TRY(dl_comm_gather(comm, notice, sizeof *notice * (size_t)runs, exec->notices));
    for (int i = 0; i < runs; i++) {
        notice[i] = 0;
        for (int r = 0; r < comm->size; r++)
            notice[i] += exec->notices[r * runs + i];
    }
    return DL_OK;
}

/* Workers are not called for a phase in which leaves have nothing to do. */
static bool has_leaf_work(const dl_exec *exec) {
    int phase = exec->current_phase, first, last, collective, end;
    units_of(exec->variant[0], phase, CLASS_SHARD, &first, &last);
    units_of(exec->variant[0], phase, CLASS_COLLECTIVE, &collective, &end);
    return first < last || collective < end || phase == exec->last_shard_phase;
}

static dl_status run_leaves(dl_exec *exec) {
    if (!has_leaf_work(exec))
        return DL_OK;
    if (dl_team_form_of(exec->options.team) == DL_TEAM_SIDE)
        return dl_team_tasks(exec->options.team, exec->leaf_count, run_leaf, exec);
    for (int l = 0; l < exec->leaf_count; l++)
        run_leaf(exec, l);
    return DL_OK;
}

static void begin_carrying(dl_exec *exec, int phase, int leaves) {
    int first, last;
    units_of(exec->variant[0], phase, CLASS_COLLECTIVE, &first, &last);
    if (first < last)
        dl_carrier_begin(exec->carrier, first, last, leaves);
}

/* What no collective has told: there was none after it, or this rank had no leaf to say it with. */
static dl_status failure_here(const dl_exec *exec) {
    for (int l = 0; l < exec->leaf_count; l++)
        if (exec->leaves[l].status != DL_OK)
            return dl_fail(exec->leaves[l].status, "%s", exec->leaves[l].message);
    return exec->refusal == DL_OK ? DL_OK : dl_fail(exec->refusal, "%s", exec->refusal_message);
}

static dl_status run_here(dl_exec *exec, int64_t batch, const dl_random *random) {
    int leaves = batch < exec->options.leaves ? (int)batch : exec->options.leaves;
    if (exec->profile)
        exec->profile->lap = dl_seconds();
    DL_TRY(begin(exec, batch, leaves, random));
    lap(exec, DL_RUN_UPDATE);
    for (int phase = 0; phase < exec->phases; phase++) {
        bool shards = phase <= exec->last_shard_phase;
        dl_run_part part = shards ? DL_RUN_COMPUTE : DL_RUN_UPDATE;
        DL_TRY(run_shared(exec, phase, part));
        lap(exec, part);
        exec->current_phase = phase;
        if (exec->carrier)
            begin_carrying(exec, phase, leaves);
        DL_TRY(run_leaves(exec));
        if (shards)
            lap(exec, DL_RUN_COMPUTE);
        DL_TRY(run_collectives(exec, phase, leaves));
        lap(exec, DL_RUN_COMMUNICATION);
    }
    if (leaves < exec->options.comm->size) {
        exec->noticed = exec->notice;
        DL_TRY(dl_gather_notices(exec, &exec->noticed, 1));
    }
    lap(exec, DL_RUN_COMMUNICATION);
    DL_TRY(failure_here(exec));
    DL_TRY(copy_assigned(exec));
    if (exec->variant[0]->graph.assignments)
        exec->options.variables->version++;
    lap(exec, DL_RUN_UPDATE);
    return DL_OK;
}

dl_status dl_exec_begin(dl_exec *exec, int64_t batch, const dl_random *random) {
    if (exec->queue)
        return dl_queue_begin(exec, batch, random);
    dl_status status = run_here(exec, batch, random);
    exec->refusal = DL_OK;
    exec->through = status == DL_OK ? batch : 0;
    return status;
}

dl_status dl_exec_collect(dl_exec *exec, bool all, int64_t *batch) {
    if (exec->queue)
        return dl_queue_collect(exec, all, batch);
    *batch = exec->through;
    exec->through = 0;
    return DL_OK;
}

int dl_exec_under_way(const dl_exec *exec) {
    return exec->queue ? dl_queue_under_way(exec) : exec->through > 0;
}

dl_status dl_exec_run(dl_exec *exec, int64_t batch, const dl_random *random) {
    DL_TRY(dl_exec_begin(exec, batch, random));
    return dl_exec_collect(exec, true, &batch);
}
