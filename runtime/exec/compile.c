/* A variant: the program for one number of samples a leaf, its nodes in running order, with
 * prepared kernels. Phases: a per-shard node runs in the first phase in which its inputs are there;
 * collectives end a phase; shared nodes of a phase run before its per-shard nodes. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/hash.h"
#include "runtime/exec/internal.h"
#include "runtime/graph/fuse.h"
#include "runtime/graph/half_copy.h"
#include "runtime/graph/parts.h"

static int order_class(const dl_graph_node *node) {
    if (node->op == &dl_op_sum_leaves)
        return CLASS_COLLECTIVE;
    return node->shared ? CLASS_SHARED : CLASS_SHARD;
}

/* Those that run when they are first read, the last first. */
static dl_status find_late_phases(variant *v, int *phase) {
    const dl_graph *graph = &v->graph;
    int *first = DL_NEW_N(&v->memory, int, graph->values + 1); /* phase that reads it */
    if (!first)
        return dl_fail_memory(sizeof *first * (size_t)graph->values);
    for (int i = 0; i < graph->values; i++)
        first[i] = INT_MAX;
    for (int n = graph->nodes; n-- > 0;) {
        const dl_graph_node *node = &graph->node[n];
        bool view = node->op == &dl_op_view;
        int read = INT_MAX;
        for (int o = 0; o < node->outputs; o++)
            read = first[node->output + o] < read ? first[node->output + o] : read;
        if (node->late && read != INT_MAX)
            phase[n] = read;
        read = view ? read : phase[n];
        for (int i = 0; i < node->inputs; i++)
            if (read < first[node->input[i]])
                first[node->input[i]] = read;
    }
    return DL_OK;
}

/* Phases of all nodes, then units sorted by (phase, shared/per shard/collective, creation). */
static dl_status order_units(dl_exec *exec, variant *v) {
    const dl_graph *graph = &v->graph;
    int *level = DL_NEW_N(&v->memory, int, graph->values + 1);
    int *phase = DL_NEW_N(&v->memory, int, graph->nodes + 1);
    v->units = DL_NEW_N(&v->memory, unit, graph->nodes + 1);
    v->count = 0; /* units that can be freed */
    if (!level || !phase || !v->units)
        return dl_fail_memory(sizeof *v->units * (size_t)graph->nodes);
    int phases = 1, collectives = 0;
    for (int n = 0; n < graph->nodes; n++) {
        const dl_graph_node *node = &graph->node[n];
        for (int i = 0; i < node->inputs; i++)
            if (level[node->input[i]] > phase[n])
                phase[n] = level[node->input[i]];
        bool collective = node->op == &dl_op_sum_leaves;
        for (int o = 0; o < node->outputs; o++)
            level[node->output + o] = phase[n] + collective;
        if (phase[n] + collective + 1 > phases)
            phases = phase[n] + collective + 1;
        collectives += collective;
    }
    DL_TRY(find_late_phases(v, phase));
    v->begin = DL_NEW_N(&v->memory, int, CLASSES *phases + 1);
    if (!v->begin)
        return dl_fail_memory(sizeof(int) * (size_t)phases);
    for (int n = 0; n < graph->nodes; n++) /* counting sort by (phase, class); views run nowhere */
        if (graph->node[n].op != &dl_op_view)
            v->begin[CLASSES * phase[n] + order_class(&graph->node[n]) + 1]++;
    for (int i = 0; i < CLASSES * phases; i++)
        v->begin[i + 1] += v->begin[i];
    v->count = v->begin[CLASSES * phases];
    int *next = DL_NEW_N(&v->memory, int, CLASSES *phases + 1);
    if (!next)
        return dl_fail_memory(sizeof(int) * (size_t)phases);
    memcpy(next, v->begin, sizeof *next * (size_t)(CLASSES * phases));
    int sum = 0;
    for (int n = 0; n < graph->nodes; n++) {
        const dl_graph_node *node = &graph->node[n];
        if (node->op == &dl_op_view)
            continue;
        int position = next[CLASSES * phase[n] + order_class(node)]++;
        v->units[position] =
            (unit){.node = node, .phase = phase[n], .position = position, .sum = -1};
    }
    for (int u = 0; u < v->count; u++)
        if (v->units[u].node->op == &dl_op_sum_leaves)
            v->units[u].sum = sum++;
    exec->last_shard_phase = 0; /* beyond 0: a collective lies between nodes of shards */
    for (int u = 0; u < v->count; u++)
        if (order_class(v->units[u].node) == CLASS_SHARD)
            exec->last_shard_phase = v->units[u].phase; /* ascending */
    exec->phases = phases;
    exec->collectives = collectives;
    exec->lockstep = exec->last_shard_phase > 0;
    return DL_OK;
}

static dl_status learn_inputs(dl_exec *exec, const variant *v) {
    const dl_graph *graph = &v->graph;
    int count = 0;
    for (int i = 0; i < graph->values; i++)
        count += graph->value[i].role == DL_ROLE_INPUT;
    exec->input_count = 0;
    size_t n = (size_t)count + 1;
    exec->input_name = dl_alloc(sizeof *exec->input_name * n);
    exec->input_type = dl_alloc(sizeof *exec->input_type * n);
    exec->input_shared = dl_alloc(sizeof *exec->input_shared * n);
    exec->constant = dl_alloc(sizeof *exec->constant * n);
    exec->table = dl_alloc(sizeof *exec->table * n);
    exec->input = dl_alloc(sizeof *exec->input * n);
    exec->output = dl_alloc(sizeof *exec->output * (size_t)(graph->outputs + 1));
    if (!exec->input_name || !exec->input_type || !exec->input_shared || !exec->constant ||
        !exec->table || !exec->input || !exec->output)
        return dl_fail_memory(n * sizeof *exec->input_type);
    for (int i = 0; i < graph->values; i++) {
        if (graph->value[i].role != DL_ROLE_INPUT)
            continue;
        exec->input_name[exec->input_count] = graph->value[i].name;
        exec->input_type[exec->input_count] = graph->value[i].type;
        exec->input_shared[exec->input_count++] = graph->value[i].shared;
    }
    return DL_OK;
}

/* What a run of the node reads and writes at least. */
static double bytes_of(const variant *v, const dl_graph_node *node) {
    double bytes = 0;
    for (int i = 0; i < node->inputs; i++)
        bytes += (double)dl_type_bytes(&v->graph.value[node->input[i]].type);
    for (int o = 0; o < node->outputs; o++)
        bytes += (double)dl_type_bytes(&v->graph.value[node->output + o].type);
    return bytes;
}

dl_device *dl_exec_device(const dl_exec *exec) {
    return exec->options.resident ? exec->options.resident->device : exec->options.plan_for;
}

/* What is kept in half for all kernels need not be packed for this one. Where it lies on a line of
 * 16 bytes, as every variable does, if perhaps not every view of one. */
static bool take_half_copy(const dl_exec *exec, unit *made, int input) {
    place from = made->in[input];
    size_t offset = from.offset / sizeof(float) * sizeof(uint16_t);
    if (!dl_exec_device(exec) || !dl_is_half(exec->options.variables->half) ||
        !(made->prepared.packed_half >> input & 1) || from.base != BASE_SLAB + DL_SLAB_PARAMETER ||
        offset % 16 != 0)
        return false;
    made->prepared.packed_bytes[input] = 0;
    made->in[input] = (place){BASE_SLAB + DL_SLAB_HALF, offset};
    return true;
}

/* A variable or a view of one. */
static bool is_constant(const dl_graph *graph, dl_value value) {
    const dl_graph_node *node = dl_producer(graph, value);
    for (; node && node->op == &dl_op_view; node = dl_producer(graph, value))
        value = node->input[0];
    return graph->value[value].role == DL_ROLE_VARIABLE;
}

static dl_status prepare_unit(dl_exec *exec, variant *v, unit *made) {
    const dl_graph_node *node = made->node;
    dl_device *device = dl_exec_device(exec);
    made->bytes = bytes_of(v, node);
    if (made->sum >= 0)
        return DL_OK;
    const dl_kernel *kernel = made->kernel =
        device ? device->kernel(node->op->name) : &node->op->cpu;
    if (!kernel || !kernel->run)
        return dl_fail(DL_UNAVAILABLE, "%s of '%s' has no kernel for %s", node->op->name,
                       node->name, device ? device->name : "the CPU");
    if (!kernel->prepare) {
        made->ready = true;
        return DL_OK;
    }
    const dl_type **input = DL_NEW_N(&v->memory, const dl_type *, node->inputs + 1);
    const dl_type **output = DL_NEW_N(&v->memory, const dl_type *, node->outputs);
    if (!input || !output)
        return dl_fail_memory(sizeof *input * (size_t)node->inputs);
    bool side = dl_team_form_of(exec->options.team) == DL_TEAM_SIDE;
    int runs = exec->options.any_ranks ? exec->options.leaves : exec->local_leaves;
    dl_prepare what = {.attributes = node->attributes,
                       .inputs = node->inputs,
                       .outputs = node->outputs,
                       .input = input,
                       .output = output,
                       .name = node->name,
                       .runs = v->graph.assignments ? runs : INT_MAX,
                       .threads = side ? 1 : dl_team_threads(exec->options.team),
                       .device = device,
                       .position = made->position,
                       .tf32 = exec->options.tf32};
    for (int i = 0; i < node->inputs; i++) {
        input[i] = &v->graph.value[node->input[i]].type;
        if (i < DL_MAX_PACKED && !node->shared)
            what.constant[i] = is_constant(&v->graph, node->input[i]);
    }
    for (int o = 0; o < node->outputs; o++)
        output[o] = &v->graph.value[node->output + o].type;
    made->flop = node->op->flop ? node->op->flop(&what) : 0;
    dl_status status = kernel->prepare(&what, &made->prepared);
    if (status != DL_OK)
        return dl_fail_prefix(status, "%s of '%s': ", node->op->name, node->name);
    made->ready = true;
    size_t *workspace = node->shared ? &v->shared_workspace : &v->workspace;
    if (made->prepared.workspace > *workspace && !dl_workspace_placed(exec, node))
        *workspace = made->prepared.workspace;
    return DL_OK;
}

static void place_packed(const dl_exec *exec, variant *v) {
    for (int u = 0; u < v->count; u++) {
        unit *made = &v->units[u];
        for (int i = 0; i < DL_MAX_PACKED; i++)
            if (made->prepared.packed_bytes[i] && !take_half_copy(exec, made, i)) {
                made->in[i] = (place){BASE_PACKED, v->packed_bytes};
                v->packed_bytes += (made->prepared.packed_bytes[i] + 63) / 64 * 64;
            }
    }
}

/* A plan for a device that is not here names all that it cannot run, of what has no kernel at all
 * the first of each op. */
static bool told(const variant *v, int index) {
    for (int i = 0; i < index; i++)
        if (v->units[i].node->op == v->units[index].node->op && !v->units[index].kernel)
            return true;
    return false;
}

static dl_status prepare_units(dl_exec *exec, variant *v, bool first) {
    char all[DL_MESSAGE_MAX] = "";
    size_t length = 0;
    dl_status status = DL_OK;
    for (int i = 0; i < v->count; i++) {
        if (!first && v->units[i].node->shared)
            continue;
        dl_status mine = prepare_unit(exec, v, &v->units[i]);
        if (mine == DL_OK)
            continue;
        if (!exec->options.plan_for)
            return mine;
        status = mine;
        if (!told(v, i) && length < sizeof all)
            length += (size_t)snprintf(all + length, sizeof all - length, "%s%s",
                                       length ? "\n  " : "", dl_message());
    }
    return status == DL_OK ? DL_OK : dl_fail(status, "%s", all);
}

dl_status dl_variant_make(dl_exec *exec, int64_t samples, variant **out) {
    bool first = exec->variants == 0;
    dl_status status;
    variant *v = dl_alloc(sizeof *v);
    if (!v)
        return dl_fail_memory(sizeof *v);
    v->samples = samples;
    dl_graph_init(&v->graph, exec->options.ops, exec->options.variables, samples,
                  exec->options.training);
    DL_GOTO(failed, exec->options.build(exec->options.argument, &v->graph));
    DL_GOTO(failed, dl_graph_simplify(&v->graph));
    if (dl_exec_device(exec)) {
        DL_GOTO(failed, dl_graph_fuse(&v->graph, dl_exec_device(exec)));
        DL_GOTO(failed, dl_graph_assign_half(&v->graph));
        DL_GOTO(failed, dl_graph_join_parts(&v->graph));
    }
    bool changed = false;
    DL_GOTO(failed, order_units(exec, v));
    if (exec->options.training && exec->options.recompute > 0)
        DL_GOTO(failed, dl_variant_recompute(exec, v, &changed));
    if (changed)
        DL_GOTO(failed, order_units(exec, v));
    uint64_t hash = dl_graph_hash(&v->graph);
    if (first)
        exec->hash = hash;
    else if (hash != exec->hash) {
        status = dl_fail(DL_INTERNAL, "the program '%s' has other nodes for %lld samples",
                         exec->options.name, (long long)samples);
        goto failed;
    }
    if (first)
        DL_GOTO(failed, learn_inputs(exec, v));
    DL_GOTO(failed, prepare_units(exec, v, first));
    DL_GOTO(failed, dl_variant_place(exec, v));
    dl_variant_divide(exec, v);
    place_packed(exec, v);
    if (v->packed_bytes && !dl_exec_device(exec)) {
        v->packed = dl_alloc(v->packed_bytes);
        if (!v->packed) {
            status = dl_fail_memory(v->packed_bytes);
            goto failed;
        }
    }
    *out = v;
    return DL_OK;
failed:
    dl_variant_free(v);
    return status;
}

void dl_variant_free(variant *v) {
    if (!v)
        return;
    for (int i = 0; i < v->count; i++) {
        unit *made = &v->units[i];
        if (!made->ready || !made->prepared.state)
            continue;
        if (made->kernel->release)
            made->kernel->release(made->prepared.state);
        else
            dl_free(made->prepared.state);
    }
    dl_free(v->packed);
    dl_graph_fini(&v->graph);
    dl_arena_free(&v->memory);
    dl_free(v);
}
