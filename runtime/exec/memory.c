/* Where every value of a variant lives. In order of preference: an assigned value in its variable's
 * own memory, a value bound for a collective in the collective's buffer, a result over an input
 * that dies there, else an interval in the planned arena (per shard or shared). Views are places in
 * another value's memory. A workspace on a device is a value that only its node knows. */
#include <limits.h>
#include <string.h>

#include "runtime/exec/internal.h"
#include "runtime/graph/parts.h"

enum { END = INT_MAX / 2 };

typedef struct placer {
    dl_exec *exec;
    variant *v;
    const dl_graph *graph;
    int *root;    /* [values] whose memory it is */
    size_t *into; /* [values] bytes from the start of the root's memory */
    int *last;    /* [values] of a root: last reading position */
    int *made;    /* [values] position of the producer, -1 */
    int *store;   /* [values] of a root: storage, -1 */
    int *scratch; /* [units] storage of the workspace, -1 */
    storage *storage;
    int storages;
} placer;

static size_t bytes_of(const placer *p, dl_value value) {
    return dl_type_bytes(&p->graph->value[value].type);
}

static place place_of(const dl_value_info *variable) {
    return (place){BASE_SLAB + (int)variable->slab,
                   (size_t)variable->offset * dl_dtype_bytes(variable->type.dtype)};
}

static void find_roots(placer *p) {
    for (int i = 0; i < p->graph->values; i++) {
        p->root[i] = i;
        p->made[i] = -1;
        p->last[i] = -1;
        p->store[i] = -1;
        p->v->where[i] = (place){-1, 0};
    }
    for (int n = 0; n < p->graph->nodes; n++) { /* creation order: inputs come first */
        const dl_graph_node *node = &p->graph->node[n];
        if (node->op == &dl_op_view) {
            const dl_view_attributes *view = node->attributes;
            dl_value from = node->input[0];
            p->root[node->output] = p->root[from];
            p->into[node->output] =
                p->into[from] + (size_t)view->offset * dl_dtype_bytes(view->type.dtype);
        }
    }
}

static void find_lives(placer *p) {
    for (int u = 0; u < p->v->count; u++) {
        const unit *made = &p->v->units[u];
        for (int i = 0; i < made->node->inputs; i++)
            p->last[p->root[made->node->input[i]]] = u;
        for (int o = 0; o < made->node->outputs; o++)
            p->made[made->node->output + o] = u;
    }
    for (int i = 0; i < p->graph->outputs; i++)
        p->last[p->root[p->graph->output[i].value]] = END;
}

/* Of one slab, where a device's half counts with the parameters: kernels that are given a parameter
 * may read that. */
static dl_slab slab_of(const dl_value_info *info) {
    return info->slab == DL_SLAB_HALF ? DL_SLAB_PARAMETER : info->slab;
}

static bool overlap(const dl_value_info *a, const dl_value_info *b) {
    return a->role == DL_ROLE_VARIABLE && b->role == DL_ROLE_VARIABLE && slab_of(a) == slab_of(b) &&
           a->offset < b->offset + dl_type_count(&b->type) &&
           b->offset < a->offset + dl_type_count(&a->type);
}

/* May the producer of an assigned value write straight into the variable? Only if the variable's
 * entry value is not read afterwards, and by the producer itself only element by element. */
static bool writes_in_place(const placer *p, const dl_assignment *assignment) {
    const dl_value_info *variable = &p->graph->value[assignment->variable];
    dl_value value = assignment->value;
    int at = p->made[value];
    if (p->exec->options.memory == DL_MEMORY_OFF || at < 0 || p->root[value] != value ||
        p->graph->value[value].role != DL_ROLE_TEMP)
        return false;
    const dl_graph_node *producer = p->v->units[at].node;
    if (producer->op != &dl_op_pointwise && producer->op != &dl_op_pointwise_parts)
        return false;
    for (int i = 0; i < p->graph->assignments; i++)
        if (p->graph->assignment[i].value == value && &p->graph->assignment[i] != assignment)
            return false;
    int64_t count = dl_type_count(&p->graph->value[value].type);
    for (int i = 0; i < producer->inputs; i++) {
        dl_value root = p->root[producer->input[i]];
        if (p->graph->value[root].slab == variable->slab &&
            overlap(&p->graph->value[root], variable) &&
            (root != assignment->variable || p->into[producer->input[i]] != 0 ||
             !dl_runs_along(producer, i, value - producer->output, count)))
            return false;
    }
    for (int u = at + 1; u < p->v->count; u++)
        for (int i = 0; i < p->v->units[u].node->inputs; i++)
            if (overlap(&p->graph->value[p->root[p->v->units[u].node->input[i]]], variable))
                return false;
    return true;
}

static bool is_common(const placer *p, const dl_assignment *assignment) {
    return dl_slab_common(p->exec->options.variables, p->graph->value[assignment->variable].slab);
}

/* A node that writes into common memory runs in parts, each rank one, so nothing else may be wanted
 * of it: are all its outputs in place, and there? */
static bool is_whole(const placer *p, const bool *in_place, dl_value value) {
    const dl_graph_node *producer = p->v->units[p->made[value]].node;
    int there = 0;
    for (int i = 0; i < p->graph->assignments; i++) {
        const dl_assignment *assignment = &p->graph->assignment[i];
        there += in_place[i] && is_common(p, assignment) && assignment->value >= producer->output &&
                 assignment->value < producer->output + producer->outputs;
    }
    return there == producer->outputs;
}

static dl_status place_assignments(placer *p, bool first) {
    const dl_graph *graph = p->graph;
    copy *copies = DL_NEW_N(&p->v->memory, copy, graph->assignments + 1);
    bool *in_place = DL_NEW_N(&p->v->memory, bool, graph->assignments + 1);
    if (!copies || !in_place)
        return dl_fail_memory(sizeof *copies);
    int count = 0;
    for (int i = 0; i < graph->assignments; i++)
        in_place[i] = writes_in_place(p, &graph->assignment[i]);
    for (int i = 0; i < graph->assignments; i++) {
        const dl_assignment *assignment = &graph->assignment[i];
        const dl_value_info *variable = &graph->value[assignment->variable];
        place to = place_of(variable);
        bool common = is_common(p, assignment);
        if (in_place[i] && (!common || is_whole(p, in_place, assignment->value))) {
            p->v->where[assignment->value] = to;
            continue;
        }
        dl_value root = p->root[assignment->value];
        if (graph->value[root].role == DL_ROLE_VARIABLE && root != assignment->variable)
            return dl_fail(DL_INTERNAL, "a variable is assigned another variable's entry value");
        p->last[root] = END;
        copies[count++] = (copy){.from = {(int)assignment->value, 0}, /* value: placed below */
                                 .to = to,
                                 .bytes = dl_type_bytes(&variable->type),
                                 .common = common};
    }
    if (first) {
        p->exec->copies = copies;
        p->exec->copy_count = count;
    }
    return DL_OK;
}

/* Inputs of collectives: straight into the buffer where nothing stands against it, else a move. */
static dl_status place_collectives(placer *p) {
    const dl_graph *graph = p->graph;
    int *uses = DL_NEW_N(&p->v->memory, int, graph->values + 1);
    int total = 0;
    for (int u = 0; uses && u < p->v->count; u++)
        if (p->v->units[u].sum >= 0)
            for (int i = 0; i < p->v->units[u].node->inputs; i++) {
                uses[p->root[p->v->units[u].node->input[i]]]++;
                total++;
            }
    p->v->moves = DL_NEW_N(&p->v->memory, move, total + 1);
    if (!uses || !p->v->moves)
        return dl_fail_memory(sizeof *uses * (size_t)graph->values);
    for (int u = 0; u < p->v->count; u++) {
        const unit *made = &p->v->units[u];
        if (made->sum < 0)
            continue;
        size_t offset = 0;
        p->v->where[made->node->output] = (place){base_result(p->exec, made->sum), 0};
        for (int i = 0; i < made->node->inputs; i++) {
            dl_value value = made->node->input[i], root = p->root[value];
            size_t bytes = bytes_of(p, value);
            bool direct = graph->value[root].role == DL_ROLE_TEMP && uses[root] == 1 &&
                          p->last[root] == u && p->into[value] == 0 && bytes_of(p, root) == bytes &&
                          p->made[root] >= 0;
            if (direct)
                p->v->where[root] = (place){base_leaf(p->exec, made->sum), offset};
            else
                p->v->moves[p->v->move_count++] = (move){
                    .from = {(int)value, 0}, .sum = made->sum, .offset = offset, .bytes = bytes};
            offset += (bytes + 63) / 64 * 64;
        }
    }
    return DL_OK;
}

/* The storage of an input that output `o` of this node may overwrite, or -1. */
static int take_over(const placer *p, const unit *made, int o) {
    const dl_graph_node *node = made->node;
    dl_value output = node->output + o;
    bool pointwise = node->op == &dl_op_pointwise;
    int64_t count = dl_type_count(&p->graph->value[output].type);
    if (p->exec->options.memory == DL_MEMORY_OFF || (o > 0 && !pointwise))
        return -1;
    for (int i = 0; i < node->inputs; i++) {
        dl_value input = node->input[i], root = p->root[input];
        int store = p->store[root];
        if (store < 0 ||
            (pointwise ? !dl_runs_along(node, i, o, count) : !(node->op->in_place >> i & 1)))
            continue;
        const storage *s = &p->storage[store];
        if (s->last != made->position || s->shared != node->shared || p->into[input] != 0 ||
            s->bytes != bytes_of(p, output))
            continue;
        bool alone = true;
        for (int k = 0; k < node->inputs; k++)
            if (k != i && p->store[p->root[node->input[k]]] == store)
                alone = alone && pointwise && dl_runs_along(node, k, o, count);
        if (alone)
            return store;
    }
    return -1;
}

static dl_status place_rest(placer *p) {
    for (int u = 0; u < p->v->count; u++) {
        const unit *made = &p->v->units[u];
        if (made->sum >= 0)
            continue;
        for (int o = 0; o < made->node->outputs; o++) {
            dl_value output = made->node->output + o;
            if (!made->node->shared)
                p->v->unplanned_bytes += bytes_of(p, output);
            if (p->v->where[output].base >= 0)
                continue;
            int last = p->last[output] > u ? p->last[output] : u;
            int store = take_over(p, made, o);
            if (store < 0) {
                store = p->storages++;
                p->storage[store] = (storage){.bytes = bytes_of(p, output),
                                              .first = u,
                                              .last = last,
                                              .shared = made->node->shared};
            } else
                p->storage[store].last = last;
            p->storage[store].maker = u;
            p->store[output] = store;
        }
    }
    return DL_OK;
}

bool dl_workspace_placed(const dl_exec *exec, const dl_graph_node *node) {
    return dl_exec_device(exec) && !node->shared;
}

static void place_workspaces(placer *p) {
    for (int u = 0; u < p->v->count; u++) {
        const unit *made = &p->v->units[u];
        p->scratch[u] = -1;
        if (made->prepared.workspace == 0 || !dl_workspace_placed(p->exec, made->node))
            continue;
        p->scratch[u] = p->storages++;
        p->storage[p->scratch[u]] = (storage){
            .maker = u, .bytes = made->prepared.workspace, .first = u, .last = u, .scratch = true};
    }
}

static dl_status plan_arena(placer *p, bool shared, size_t *total) {
    dl_lifetime *items = DL_NEW_N(&p->v->memory, dl_lifetime, p->storages + 1);
    if (!items)
        return dl_fail_memory(sizeof *items * (size_t)p->storages);
    bool keep = p->exec->options.memory == DL_MEMORY_OFF;
    int count = 0;
    for (int s = 0; s < p->storages; s++)
        if (p->storage[s].shared == shared)
            items[count++] = (dl_lifetime){.bytes = p->storage[s].bytes,
                                           .first = keep ? 0 : p->storage[s].first,
                                           .last = keep ? END : p->storage[s].last};
    DL_TRY(dl_plan_offsets(items, count, total));
    count = 0;
    for (int s = 0; s < p->storages; s++)
        if (p->storage[s].shared == shared)
            p->storage[s].offset = items[count++].offset;
    return DL_OK;
}

static void set_places(placer *p) {
    const dl_graph *graph = p->graph;
    int input = 0;
    for (int i = 0; i < graph->values; i++) {
        const dl_value_info *info = &graph->value[i];
        if (info->role == DL_ROLE_INPUT)
            p->v->where[i] = (place){base_input(p->exec, input++), 0};
        else if (info->role == DL_ROLE_VARIABLE)
            p->v->where[i] = place_of(info);
        else if (p->store[i] >= 0) {
            const storage *s = &p->storage[p->store[i]];
            p->v->where[i] = (place){s->shared ? BASE_SHARED : BASE_ARENA, s->offset};
        }
    }
    for (int i = 0; i < graph->values; i++)
        if (p->root[i] != i) {
            p->v->where[i] = p->v->where[p->root[i]];
            p->v->where[i].offset += p->into[i];
        }
}

/* From which unit on a collective may run: nothing after it writes or reads what is summed. */
static void set_after(const placer *p, unit *collective) {
    int first = p->v->begin[CLASSES * collective->phase + CLASS_SHARD];
    int last = p->v->begin[CLASSES * collective->phase + CLASS_SHARD + 1];
    collective->after = -1;
    for (int u = first; u < last; u++) {
        const unit *other = &p->v->units[u];
        for (int i = 0; i < collective->node->inputs; i++) {
            dl_value root = p->root[collective->node->input[i]];
            if (p->made[root] == u)
                collective->after = u;
            for (int k = 0; k < other->node->inputs; k++)
                if (p->root[other->node->input[k]] == root)
                    collective->after = u;
        }
    }
}

static dl_status set_units(placer *p) {
    for (int u = 0; u < p->v->count; u++) {
        unit *made = &p->v->units[u];
        made->in = DL_NEW_N(&p->v->memory, place, made->node->inputs + 1);
        made->out = DL_NEW_N(&p->v->memory, place, made->node->outputs);
        made->dead = DL_NEW_N(&p->v->memory, dying, made->node->inputs + made->node->outputs + 1);
        if (!made->in || !made->out || !made->dead)
            return dl_fail_memory(sizeof(place) * (size_t)made->node->inputs);
        for (int i = 0; i < made->node->inputs; i++)
            made->in[i] = p->v->where[made->node->input[i]];
        for (int o = 0; o < made->node->outputs; o++)
            made->out[o] = p->v->where[made->node->output + o];
        made->workspace = (place){-1, 0};
        if (p->scratch[u] >= 0)
            made->workspace = (place){BASE_ARENA, p->storage[p->scratch[u]].offset};
        if (made->sum >= 0)
            set_after(p, made);
    }
    for (int s = 0; s < p->storages; s++) {
        const storage *dead = &p->storage[s];
        if (dead->last >= p->v->count)
            continue;
        unit *made = &p->v->units[dead->last];
        if (made->sum < 0 && made->node->shared == dead->shared)
            made->dead[made->dead_count++] = (dying){dead->offset, dead->bytes};
    }
    for (int m = 0; m < p->v->move_count; m++)
        p->v->moves[m].from = p->v->where[p->v->moves[m].from.base];
    return DL_OK;
}

dl_status dl_variant_place(dl_exec *exec, variant *v) {
    const dl_graph *graph = &v->graph;
    bool first = exec->variants == 0;
    size_t values = (size_t)graph->values + 1;
    placer p = {.exec = exec, .v = v, .graph = graph};
    v->where = DL_NEW_N(&v->memory, place, values);
    p.root = DL_NEW_N(&v->memory, int, values);
    p.into = DL_NEW_N(&v->memory, size_t, values);
    p.last = DL_NEW_N(&v->memory, int, values);
    p.made = DL_NEW_N(&v->memory, int, values);
    p.store = DL_NEW_N(&v->memory, int, values);
    p.scratch = DL_NEW_N(&v->memory, int, v->count + 1);
    p.storage = DL_NEW_N(&v->memory, storage, values + (size_t)v->count);
    if (!v->where || !p.root || !p.into || !p.last || !p.made || !p.store || !p.scratch ||
        !p.storage)
        return dl_fail_memory(values * sizeof(storage));
    find_roots(&p);
    find_lives(&p);
    DL_TRY(place_assignments(&p, first));
    DL_TRY(place_collectives(&p));
    DL_TRY(place_rest(&p));
    place_workspaces(&p);
    DL_TRY(plan_arena(&p, false, &v->arena_bytes));
    DL_TRY(plan_arena(&p, true, &v->shared_bytes));
    v->storage = p.storage;
    v->storages = p.storages;
    set_places(&p);
    for (int i = 0; first && i < exec->copy_count; i++)
        exec->copies[i].from = v->where[exec->copies[i].from.base];
    return set_units(&p);
}
