/* See fuse.h. One fusion at a time: the nodes that it appended move to their place, what nobody
 * reads any more goes, and the search goes on behind them, round again until it has found nothing.
 */
#include "runtime/graph/fuse.h"

#include "runtime/graph/rewrite.h"

void dl_fuse_map(dl_fuse *fuse, dl_value value, dl_value made) {
    dl_graph *graph = fuse->graph;
    if (graph->status != DL_OK || made < 0)
        return;
    dl_type *type = &graph->value[made].type;
    const dl_type *wanted = dl_type_of(graph, value);
    if (wanted->dtype == DL_F32 && dl_is_half(type->dtype) &&
        dl_producer(graph, made)->op->writes_f32)
        type->dtype = DL_F32;
    if (fuse->count == DL_FUSE_MOST || !dl_same_type(type, wanted) ||
        graph->value[made].shared != graph->value[value].shared) {
        dl_graph_fail(graph, DL_INTERNAL, "a fusion puts another type in the place of %%%d", value);
        return;
    }
    graph->value[made].sampled = graph->value[value].sampled;
    fuse->from[fuse->count] = value;
    fuse->to[fuse->count++] = made;
}

const dl_graph_node *dl_fuse_reader(const dl_fuse *fuse, dl_value value, const dl_op *op) {
    const dl_graph *graph = fuse->graph;
    int left = fuse->readers[value]; /* they come after what makes it */
    for (int n = graph->value[value].node + 1; n < graph->nodes && left > 0; n++)
        for (int i = 0; i < graph->node[n].inputs; i++) {
            if (graph->node[n].input[i] != value)
                continue;
            if (graph->node[n].op == op)
                return &graph->node[n];
            left--;
        }
    return NULL;
}

enum { UNSEEN, WAITING, PUT };

typedef struct pass {
    dl_fuse fuse;
    dl_arena memory; /* of one search */
    int nodes;       /* without those that the fusion appended */
    dl_value *map;   /* [values] */
    uint8_t *state;  /* [nodes] */
    dl_graph_node *order;
    int ordered;
    bool circle;
} pass;

/* The node, behind what it reads once the fusion is done. */
static void put(pass *p, int n) {
    const dl_graph *graph = p->fuse.graph;
    const dl_graph_node *node = &graph->node[n];
    p->circle = p->circle || p->state[n] == WAITING;
    if (p->state[n] != UNSEEN)
        return;
    p->state[n] = WAITING;
    for (int i = 0; i < node->inputs; i++)
        if (graph->value[p->map[node->input[i]]].node >= 0)
            put(p, graph->value[p->map[node->input[i]]].node);
    p->state[n] = PUT;
    p->order[p->ordered++] = *node;
}

static bool reads_made(const pass *p, const dl_graph_node *node) {
    for (int i = 0; i < node->inputs; i++)
        if (p->map[node->input[i]] != node->input[i])
            return true;
    return false;
}

/* As it stood: what it reads stands before it, unless that is new. */
static void put_next(pass *p, int n) {
    const dl_graph_node *node = &p->fuse.graph->node[n];
    if (p->state[n] != UNSEEN || reads_made(p, node)) {
        put(p, n);
        return;
    }
    p->state[n] = PUT;
    p->order[p->ordered++] = *node;
}

/* The new nodes at the place of the one looked at, unless they are needed sooner. */
static dl_status order(pass *p, int looked_at) {
    const dl_graph *graph = p->fuse.graph;
    p->map = DL_NEW_N(&p->memory, dl_value, graph->values);
    p->state = DL_NEW_N(&p->memory, uint8_t, graph->nodes);
    p->order = DL_NEW_N(&p->memory, dl_graph_node, graph->nodes);
    if (!p->map || !p->state || !p->order)
        return dl_fail_memory(sizeof *p->order * (size_t)graph->nodes);
    for (int v = 0; v < graph->values; v++)
        p->map[v] = v;
    for (int i = 0; i < p->fuse.count; i++)
        p->map[p->fuse.from[i]] = p->fuse.to[i];
    p->ordered = 0;
    p->circle = false;
    for (int n = 0; n < p->nodes; n++) {
        for (int made = p->nodes; made < graph->nodes && n == looked_at; made++)
            put(p, made);
        put_next(p, n);
    }
    return DL_OK;
}

static dl_status replace(pass *p) {
    dl_graph *graph = p->fuse.graph;
    bool *needed = DL_NEW_N(&p->memory, bool, graph->values);
    if (!needed)
        return dl_fail_memory((size_t)graph->values);
    dl_rewrite_resolve(graph, p->map);
    for (int i = 0; i < graph->assignments; i++)
        needed[graph->assignment[i].value] = true;
    for (int i = 0; i < graph->outputs; i++)
        needed[graph->output[i].value] = true;
    int kept = p->ordered; /* from the end, where those that are kept gather */
    for (int n = p->ordered; n-- > 0;) {
        const dl_graph_node *node = &p->order[n];
        bool alive = false;
        for (int o = 0; o < node->outputs; o++)
            alive = alive || needed[node->output + o];
        for (int i = 0; i < node->inputs && alive; i++)
            needed[node->input[i]] = true;
        if (alive)
            p->order[--kept] = *node;
    }
    dl_rewrite_keep(graph, p->order + kept, p->ordered - kept);
    return DL_OK;
}

/* Looks at every node from `from` on until the fusion has done something. */
static dl_status search(pass *p, const dl_fusion *fusion, int from, bool *found) {
    dl_graph *graph = p->fuse.graph;
    int *readers = DL_NEW_N(&p->memory, int, graph->values + 1);
    int values = graph->values;
    *found = false;
    if (!readers)
        return dl_fail_memory(sizeof *readers * (size_t)graph->values);
    dl_rewrite_count_readers(graph, NULL, readers);
    p->fuse.readers = readers;
    p->nodes = graph->nodes;
    for (int n = from; n < p->nodes && !*found; n++) {
        dl_graph_node node = graph->node[n];
        graph->scope = node.name;
        graph->place = node.place;
        p->fuse.count = 0;
        fusion->fuse(&p->fuse, &node);
        DL_TRY(dl_graph_status(graph));
        if (p->fuse.count > 0)
            DL_TRY(order(p, n));
        *found = p->fuse.count > 0 && !p->circle;
        if (*found)
            return replace(p);
        graph->nodes = p->nodes;
        graph->values = values;
    }
    return DL_OK;
}

static dl_status fuse_all(dl_graph *graph, const struct dl_device *device,
                          const dl_fusion *fusion) {
    int from = 0;
    for (int left = graph->nodes;;) {
        bool found;
        pass p = {.fuse = {.graph = graph, .device = device}};
        dl_status status = search(&p, fusion, from, &found);
        dl_arena_free(&p.memory);
        DL_TRY(status);
        if (!found && from == 0)
            return DL_OK;
        if (found && left-- == 0)
            return dl_fail(DL_INTERNAL, "the fusion '%s' finds no end", fusion->name);
        from = found ? graph->value[p.fuse.to[0]].node : 0;
    }
}

dl_status dl_graph_fuse(dl_graph *graph, const struct dl_device *device) {
    const char *scope = graph->scope;
    const dl_node *place = graph->place;
    dl_dtype precision = graph->precision;
    dl_status status = DL_OK;
    graph->precision = DL_F32; /* rows that seek half get what the nodes before them had */
    for (int i = 0; i < graph->ops->fusions && status == DL_OK; i++)
        status = fuse_all(graph, device, &graph->ops->fusion[i]);
    graph->precision = precision;
    graph->scope = scope;
    graph->place = place;
    return status;
}
