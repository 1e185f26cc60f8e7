/* Opening and closing a program, its variants, its memory, what it says of itself. See exec.h;
 * run.c runs it. */
#include <string.h>

#include "runtime/base/hash.h"
#include "runtime/exec/queue.h"

dl_status dl_exec_open(dl_exec **out, const dl_exec_options *options) {
    dl_exec *exec = dl_alloc(sizeof *exec);
    if (!exec)
        return dl_fail_memory(sizeof *exec);
    exec->options = *options;
    exec->workers = dl_team_form_of(options->team) == DL_TEAM_SIDE && !options->resident
                        ? dl_team_threads(options->team)
                        : 1;
    int size = options->comm->size;
    exec->local_leaves = (options->leaves + size - 1) / size;
    *out = exec;
    return DL_OK;
}

void dl_exec_close(dl_exec *exec) {
    if (!exec)
        return;
    dl_carrier_close(exec->carrier);
    dl_queue_close(exec);
    for (int s = 0; exec->sum && s < exec->collectives; s++)
        dl_sum_close(exec->sum[s]);
    dl_free(exec->sum);
    dl_free(exec->sum_floats);
    dl_free(exec->notices);
    for (int l = 0; exec->leaves && l < exec->local_leaves; l++) {
        dl_free(exec->leaves[l].base);
        dl_free(exec->leaves[l].in);
        dl_free(exec->leaves[l].out);
    }
    dl_free(exec->leaves);
    dl_free(exec->shared_leaf.base);
    dl_free(exec->shared_leaf.in);
    dl_free(exec->shared_leaf.out);
    dl_free(exec->arenas);
    dl_free(exec->shared);
    dl_free(exec->workspaces);
    dl_profile_free(exec->profile);
    dl_free(exec->input_name);
    dl_free(exec->input_type);
    dl_free(exec->input_shared);
    dl_free(exec->constant);
    dl_free(exec->table);
    dl_free(exec->input);
    dl_free(exec->output);
    for (int i = 0; i < exec->variants; i++)
        dl_variant_free(exec->variant[i]);
    dl_free(exec);
}

static dl_status want_variant(dl_exec *exec, int64_t samples) {
    for (int i = 0; i < exec->variants; i++)
        if (exec->variant[i]->samples == samples)
            return DL_OK;
    if (exec->variants == MAX_VARIANTS)
        return dl_fail(DL_INTERNAL, "more than %d sizes of a shard in '%s'", MAX_VARIANTS,
                       exec->options.name);
    variant *v;
    DL_TRY(dl_variant_make(exec, samples, &v));
    exec->variant[exec->variants++] = v;
    return DL_OK;
}

dl_status dl_exec_prepare(dl_exec *exec, int64_t batch) {
    int64_t leaves = batch < exec->options.leaves ? batch : exec->options.leaves;
    int first, last;
    dl_leaf_range((int)leaves, exec->options.comm->rank, exec->options.comm->size, &first, &last);
    int64_t samples = last * batch / leaves - first * batch / leaves;
    if (samples > exec->most_samples)
        exec->most_samples = samples;
    if (exec->options.every_leaf) {
        first = 0;
        last = (int)leaves;
    }
    if (first == last && exec->variants == 0)
        return want_variant(exec, (batch + leaves - 1) / leaves);
    for (int64_t l = first; l < last; l++)
        DL_TRY(want_variant(exec, (l + 1) * batch / leaves - l * batch / leaves));
    return DL_OK;
}

static dl_status make_context(dl_exec *exec, leaf *context) {
    size_t widest = 1;
    for (int i = 0; i < exec->variant[0]->count; i++) {
        const dl_graph_node *node = exec->variant[0]->units[i].node;
        if ((size_t)node->inputs > widest)
            widest = (size_t)node->inputs;
        if ((size_t)node->outputs > widest)
            widest = (size_t)node->outputs;
    }
    context->base = dl_alloc(sizeof *context->base * (size_t)exec->bases);
    context->in = dl_alloc(sizeof *context->in * widest);
    context->out = dl_alloc(sizeof *context->out * widest);
    if (!context->base || !context->in || !context->out)
        return dl_fail_memory(sizeof *context->base * (size_t)exec->bases);
    for (int s = 0; s < DL_SLAB_COUNT; s++)
        context->base[BASE_SLAB + s] = (char *)exec->options.variables->slab[s];
    context->base[BASE_SHARED] = exec->shared;
    return DL_OK;
}

static size_t round_up(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* Memory of all leaves and the shared nodes, for the largest variant. */
static dl_status make_memory(dl_exec *exec) {
    for (int i = 0; i < exec->variants; i++) {
        const variant *v = exec->variant[i];
        if (v->arena_bytes > exec->arena_bytes)
            exec->arena_bytes = v->arena_bytes;
        if (v->shared_bytes > exec->shared_bytes)
            exec->shared_bytes = v->shared_bytes;
        if (v->workspace > exec->workspace_bytes)
            exec->workspace_bytes = v->workspace;
        if (v->shared_workspace > exec->shared_workspace)
            exec->shared_workspace = v->shared_workspace;
    }
    exec->arena_bytes = round_up(exec->arena_bytes);
    exec->workspace_bytes = round_up(exec->workspace_bytes);
    exec->arena_count =
        exec->lockstep || exec->workers > exec->local_leaves ? exec->local_leaves : exec->workers;
    bool here = !exec->options.resident; /* else queue.c has them on the device */
    size_t arenas = here ? exec->arena_bytes * (size_t)exec->arena_count : 0;
    size_t workspaces =
        here ? exec->workspace_bytes * (size_t)exec->workers + exec->shared_workspace : 0;
    exec->arenas = dl_alloc(arenas);
    exec->workspaces = dl_alloc(workspaces);
    exec->shared = dl_alloc(here ? exec->shared_bytes : 0);
    exec->leaves = dl_alloc(sizeof *exec->leaves * (size_t)exec->local_leaves);
    if (!exec->arenas || !exec->workspaces || !exec->shared || !exec->leaves)
        return dl_fail_memory(arenas + workspaces + exec->shared_bytes);
    exec->bases = BASE_INPUT + exec->input_count + 2 * exec->collectives;
    for (int l = 0; l < exec->local_leaves; l++)
        DL_TRY(make_context(exec, &exec->leaves[l]));
    DL_TRY(make_context(exec, &exec->shared_leaf));
    exec->shared_leaf.variant = exec->variant[0];
    exec->shared_leaf.workspace = exec->workspaces + exec->workspace_bytes * (size_t)exec->workers;
    return DL_OK;
}

dl_status dl_exec_connect(dl_exec *exec) {
    dl_status status = exec->variants
                           ? make_memory(exec)
                           : dl_fail(DL_INTERNAL, "'%s' has no variant", exec->options.name);
    DL_TRY(dl_comm_agree(exec->options.comm, status));
    DL_TRY(dl_comm_same(exec->options.comm, dl_exec_hash(exec), exec->options.name));
    size_t sums = (size_t)exec->collectives + 1;
    exec->sum = dl_alloc(sizeof *exec->sum * sums);
    exec->sum_floats = dl_alloc(sizeof *exec->sum_floats * sums);
    size_t ranks = (size_t)exec->options.comm->size;
    exec->notices = dl_alloc(sizeof *exec->notices * ranks * MOST_TOGETHER);
    status = exec->sum && exec->sum_floats && exec->notices
                 ? DL_OK
                 : dl_fail_memory(sums * sizeof *exec->sum);
    DL_TRY(dl_comm_agree(exec->options.comm, status));
    const dl_resident *resident = exec->options.resident;
    bool sums_here = !resident || (ranks > 1 && !resident->device->joined);
    const variant *v = exec->variant[0];
    for (int u = 0; u < v->count; u++) {
        const unit *made = &v->units[u];
        if (made->sum < 0)
            continue;
        /* One more line at the end of each buffer carries "a leaf failed" to all ranks. */
        int64_t floats = dl_type_count(&v->graph.value[made->node->output].type);
        exec->sum_floats[made->sum] = floats;
        if (sums_here)
            DL_TRY(dl_sum_open(exec->options.comm, floats + DL_SLAB_ALIGN, exec->local_leaves,
                               &exec->sum[made->sum]));
    }
    if (exec->options.resident) {
        int runs = 1;
        DL_TRY(dl_queue_choose(exec, &runs));
        return dl_comm_agree(exec->options.comm, dl_queue_open(exec, runs));
    }
    if (!exec->options.overlap || exec->options.comm->size == 1 || exec->collectives == 0)
        return DL_OK;
    return dl_comm_agree(exec->options.comm, dl_carrier_open(exec, &exec->carrier));
}

int dl_exec_input(const dl_exec *exec, const char *name) {
    for (int i = 0; i < exec->input_count; i++)
        if (strcmp(exec->input_name[i], name) == 0)
            return i;
    return -1;
}

int dl_exec_output(const dl_exec *exec, const char *name) {
    const dl_graph *graph = &exec->variant[0]->graph;
    for (int i = 0; i < graph->outputs; i++)
        if (strcmp(graph->output[i].name, name) == 0)
            return i;
    return -1;
}

void dl_exec_bind_input(dl_exec *exec, int input, const void *memory) {
    if (input >= 0)
        exec->input[input] = memory;
}

void dl_exec_bind_constant(dl_exec *exec, int input, const void *memory) {
    dl_exec_bind_input(exec, input, memory);
    if (input >= 0)
        exec->constant[input] = exec->input_shared[input];
}

void dl_exec_lend_rows(dl_exec *exec, int input, const void *table) {
    if (input < 0 || exec->input_shared[input])
        return;
    exec->table[input] = table;
    exec->takes_rows = true;
}

bool dl_exec_takes_rows(const dl_exec *exec) {
    return exec->takes_rows;
}

void dl_exec_bind_rows(dl_exec *exec, const uint32_t *number) {
    exec->rows = number;
}

void dl_exec_bind_output(dl_exec *exec, int output, void *memory) {
    if (output >= 0)
        exec->output[output] = memory;
}

const float *dl_exec_result(const dl_exec *exec, int output) {
    if (exec->queue)
        return dl_queue_result(exec, output);
    const variant *v = exec->variant[0];
    place at = v->where[v->graph.output[output].value];
    return (const float *)(exec->shared_leaf.base[at.base] + at.offset);
}

void dl_exec_describe(const dl_exec *exec, dl_exec_report *report) {
    memset(report, 0, sizeof *report);
    const variant *v = exec->variant[0];
    for (int u = 0; u < v->count; u++) {
        report->nodes++;
        report->shared_nodes += v->units[u].node->shared;
        report->bytes += v->units[u].bytes * (v->units[u].node->shared ? 1 : exec->local_leaves);
        if (v->units[u].divided)
            report->divided += v->units[u].node->outputs *
                               dl_type_count(&v->graph.value[v->units[u].node->output].type);
        if (v->units[u].sum < 0)
            continue;
        report->collective_floats += dl_type_count(&v->graph.value[v->units[u].node->output].type);
        report->inner_collectives += v->units[u].phase < exec->last_shard_phase;
    }
    report->inputs = dl_exec_device(exec) ? dl_queue_input_bytes(exec) : 0;
    report->collectives = exec->collectives;
    report->overlap = exec->carrier != NULL;
    report->local_leaves = exec->local_leaves;
    for (int i = 0; i < exec->variants; i++) {
        v = exec->variant[i];
        if (v->arena_bytes > report->activations)
            report->activations = v->arena_bytes;
        if (v->unplanned_bytes > report->unplanned)
            report->unplanned = v->unplanned_bytes;
        if (v->workspace > report->workspace)
            report->workspace = v->workspace;
        if (v->shared_bytes > report->shared)
            report->shared = v->shared_bytes;
        report->packed += v->packed_bytes;
    }
    report->arenas =
        (size_t)(exec->lockstep || exec->workers > exec->local_leaves ? exec->local_leaves
                                                                      : exec->workers);
    report->reduction = (size_t)(report->collective_floats + exec->collectives * DL_SLAB_ALIGN) *
                        sizeof(float) * (size_t)exec->local_leaves;
}

void dl_exec_print(const dl_exec *exec, FILE *file) {
    const variant *v = exec->variant[0];
    dl_graph_print(&v->graph, file);
    for (int i = 0; i < v->count; i++)
        if (v->units[i].prepared.text)
            fprintf(file, "kernel %%%d %s: %s  # %s%s\n", v->units[i].node->output,
                    v->units[i].node->op->name, v->units[i].prepared.text, v->units[i].node->name,
                    v->units[i].node->late ? ", again" : "");
}

uint64_t dl_exec_hash(const dl_exec *exec) {
    int64_t facts[2] = {exec->options.leaves, exec->collectives};
    return dl_hash(facts, sizeof facts, exec->hash);
}
