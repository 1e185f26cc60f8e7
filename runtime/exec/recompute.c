/* Large values that are cheap to make are made a second time just before their late readers,
 * instead of being kept from the forward to the backward pass (Chen et al. 2016, "Training deep
 * nets with sublinear memory cost"). For devices, where memory is dear: one at a time the value is
 * taken whose absence at the worst moment costs least, until that is worth no more
 * (dl_exec_options.recompute). The same node on the same inputs gives the same bits, random numbers
 * included.
 *
 * Everything is counted for one sample, so that all variants and ranks choose alike. Positions are
 * those of the units (compile.c); what is made again counts as if at the position of its first
 * reader. */
#include <string.h>

#include "runtime/exec/internal.h"
#include "runtime/graph/rewrite.h"

enum { LEAST_BYTES = 1 << 18 /* of a sample: less is not worth a kernel */, CHAIN = 3 };

/* A node's products take as long as moving so many bytes: what cards of compute capability 8.0 and
 * later can do, a half of it for half precision's sake. */
static const double flop_of_byte = 100;

/* Of the bytes moved for it, the share that making a value again must save at the least. */
static const double least_saved = 0.5;

typedef struct pass {
    const dl_exec *exec;
    const variant *v;
    dl_graph *graph;
    dl_arena memory;
    int *root;          /* [values] views are places in it */
    bool *viewed;       /* [values] */
    int64_t *bytes;     /* [values] of a sample; 0: does not depend on samples, or is no root */
    int *made;          /* [values] position of the producer */
    int *again;         /* [values] position before which it is made again; 0: is not */
    int *before, *best; /* [values] `again` before a choice, and with the best one so far */
    int *last[2];       /* [values] last reader of it, and of what is made again */
    int64_t *live;      /* [units + 2] change of what lives */
    int peak;           /* where most lives, none of those now marked made again */
    double left;        /* bytes that may yet be moved for it */
    int nodes;          /* before any is made again */
    dl_value *second;   /* [values] what is made again; 0: none */
} pass;

static const dl_graph_node *producer(const pass *p, dl_value value) {
    return p->v->units[p->made[value]].node;
}

static int64_t bytes_of(const dl_graph *graph, dl_value value) {
    const dl_value_info *info = &graph->value[value];
    return info->sampled ? (int64_t)dl_type_bytes(&info->type) / graph->samples : 0;
}

static double moved_by(const dl_graph *graph, const dl_graph_node *node) {
    double bytes = 0;
    for (int i = 0; i < node->inputs; i++)
        bytes += (double)bytes_of(graph, node->input[i]);
    for (int o = 0; o < node->outputs; o++)
        bytes += (double)bytes_of(graph, node->output + o);
    return bytes;
}

/* ---- how much lives when ---- */

static void read_at(pass *p, const dl_graph_node *node, int position) {
    for (int i = 0; i < node->inputs; i++) {
        dl_value v = p->root[node->input[i]];
        int *last = p->last[p->again[v] && position >= p->again[v]];
        if (position > last[v])
            last[v] = position;
    }
}

/* Returns the most that lives at a time, and where (NULL: never mind). */
static int64_t find_peak(pass *p, int *where) {
    int units = p->v->count, values = p->graph->values;
    memset(p->live, 0, sizeof *p->live * (size_t)(units + 2));
    for (int v = 0; v < values; v++) {
        p->last[0][v] = p->made[v];
        p->last[1][v] = p->again[v];
    }
    for (int u = 0; u < units; u++)
        read_at(p, p->v->units[u].node, u);
    for (int v = 0; v < values; v++)
        if (p->again[v])
            read_at(p, producer(p, v), p->again[v]);
    for (int v = 0; v < values; v++) {
        if (!p->bytes[v])
            continue;
        p->live[p->made[v]] += p->bytes[v];
        p->live[p->last[0][v] + 1] -= p->bytes[v];
        if (p->again[v]) {
            p->live[p->again[v]] += p->bytes[v];
            p->live[p->last[1][v] + 1] -= p->bytes[v];
        }
    }
    int64_t now = 0, most = 0;
    for (int u = 0; u < units; u++) {
        now += p->live[u];
        if (now > most && where)
            *where = u;
        most = now > most ? now : most;
    }
    return most;
}

/* ---- what to make again ---- */

/* The first reader behind the peak of what lives across it without being touched there; 0: none. */
static int late_reader(const pass *p, dl_value value) {
    int first = p->v->count;
    for (int u = p->peak; u < p->v->count; u++)
        for (int i = 0; i < p->v->units[u].node->inputs && first > u; i++)
            if (p->root[p->v->units[u].node->input[i]] == value)
                first = u;
    for (int v = 0; v < p->graph->values; v++)
        for (int i = 0; p->again[v] >= p->peak && i < producer(p, v)->inputs; i++)
            if (p->root[producer(p, v)->input[i]] == value && p->again[v] < first)
                first = p->again[v];
    return first > p->peak && first < p->v->count ? first : 0;
}

static dl_status add_cost(const pass *p, const dl_graph_node *node, double *cost) {
    dl_exec_work work = {0};
    DL_TRY(dl_count_node(p->graph, node, &work));
    double bytes = moved_by(p->graph, node);
    double products = work.flop / (double)p->graph->samples / flop_of_byte;
    *cost += products > bytes ? products : bytes;
    return DL_OK;
}

/* Marks a value to be made again before that position, and what it is made of, where that is gone
 * by then; adds what it costs. */
static dl_status mark(pass *p, dl_value value, int position, int depth, double *cost, bool *can) {
    const dl_graph_node *node = producer(p, value);
    *can = *can && depth < CHAIN && node->op->deterministic && !p->viewed[value] &&
           p->made[value] < p->peak;
    if (*can && !p->again[value])
        DL_TRY(add_cost(p, node, cost));
    p->again[value] = position;
    for (int i = 0; i < node->inputs && *can; i++) {
        dl_value from = p->root[node->input[i]];
        bool kept = p->again[from] ? p->again[from] <= position : p->last[0][from] >= p->peak;
        if (p->bytes[from] && !kept)
            DL_TRY(mark(p, from, position, depth + 1, cost, can));
    }
    return DL_OK;
}

/* The value that lowers the peak most for what it costs. */
static dl_status choose(pass *p, int64_t most, bool *found) {
    size_t size = sizeof *p->again * (size_t)p->graph->values;
    double highest = least_saved, left = p->left;
    memcpy(p->before, p->again, size);
    for (dl_value v = 0; v < p->graph->values; v++) {
        int position = p->bytes[v] < LEAST_BYTES || p->again[v] || p->made[v] >= p->peak
                           ? 0
                           : late_reader(p, v);
        bool can = position > 0;
        double cost = 0;
        if (!can)
            continue;
        DL_TRY(mark(p, v, position, 0, &cost, &can));
        int64_t less = can && cost <= left ? most - find_peak(p, NULL) : 0;
        if ((double)less > highest * cost) {
            highest = (double)less / cost;
            p->left = left - cost;
            memcpy(p->best, p->again, size);
        }
        memcpy(p->again, p->before, size);
        find_peak(p, NULL);
    }
    *found = highest > least_saved;
    if (*found)
        memcpy(p->again, p->best, size);
    return DL_OK;
}

/* ---- making it again ---- */

/* The second of value `v`; what it reads is made again first. */
static dl_value append(pass *p, dl_value v) {
    dl_graph *graph = p->graph;
    if (p->second[v])
        return p->second[v];
    dl_graph_node node = graph->node[graph->value[v].node];
    dl_value *input = DL_NEW_N(&p->memory, dl_value, node.inputs + 1);
    if (!input)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for a node");
    for (int i = 0; i < node.inputs; i++) {
        dl_value from = node.input[i]; /* of views nothing is made again */
        input[i] = p->again[from] && p->again[from] <= p->again[v] ? append(p, from) : from;
    }
    graph->scope = node.name;
    graph->place = node.place;
    dl_value made = dl_graph_add(graph, node.op, node.attributes, input, node.inputs);
    if (made < 0)
        return -1;
    graph->node[graph->nodes - 1].late = true;
    for (int o = 0; o < node.outputs; o++) {
        graph->value[made + o].type = graph->value[node.output + o].type;
        graph->value[made + o].sampled = graph->value[node.output + o].sampled;
    }
    return p->second[v] = made + (v - node.output);
}

/* A node, behind those made again that it reads. */
static void put(const pass *p, int n, dl_graph_node *list, bool *placed, int *count) {
    const dl_graph_node *node = &p->graph->node[n];
    for (int i = 0; i < node->inputs; i++) {
        int from = p->graph->value[node->input[i]].node;
        if (from >= p->nodes && !placed[from])
            put(p, from, list, placed, count);
    }
    placed[n] = true;
    list[(*count)++] = *node;
}

static dl_status make_again(pass *p) {
    dl_graph *graph = p->graph;
    int values = graph->values, units = p->v->count, count = 0;
    int *node = DL_NEW_N(&p->memory, int, units);
    if (!node)
        return dl_fail_memory(sizeof *node * (size_t)units);
    for (int u = 0; u < units; u++)
        node[u] = (int)(p->v->units[u].node - graph->node);
    p->nodes = graph->nodes;
    for (dl_value v = 0; v < values; v++)
        if (p->again[v])
            append(p, v);
    DL_TRY(dl_graph_status(graph));
    for (int u = 0; u < units; u++) {
        dl_value *input = (dl_value *)graph->node[node[u]].input; /* ours: made by dl_graph_add */
        for (int i = 0; i < graph->node[node[u]].inputs; i++)
            if (p->again[input[i]] && u >= p->again[input[i]])
                input[i] = p->second[input[i]];
    }
    dl_graph_node *list = DL_NEW_N(&p->memory, dl_graph_node, graph->nodes);
    bool *placed = DL_NEW_N(&p->memory, bool, graph->nodes);
    if (!list || !placed)
        return dl_fail_memory(sizeof *list * (size_t)graph->nodes);
    for (int n = 0; n < p->nodes; n++)
        put(p, n, list, placed, &count);
    dl_rewrite_keep(graph, list, count);
    return DL_OK;
}

/* ---- the pass ---- */

static dl_status open_pass(pass *p) {
    const dl_graph *graph = p->graph;
    size_t values = (size_t)graph->values + 1;
    int **lists[] = {&p->root, &p->made,    &p->again,   &p->before,
                     &p->best, &p->last[0], &p->last[1], &p->second};
    for (int i = 0; i < DL_COUNT(lists); i++)
        if (!(*lists[i] = DL_NEW_N(&p->memory, int, values)))
            return dl_fail_memory(sizeof(int) * values);
    p->bytes = DL_NEW_N(&p->memory, int64_t, values);
    p->viewed = DL_NEW_N(&p->memory, bool, values);
    p->live = DL_NEW_N(&p->memory, int64_t, p->v->count + 2);
    if (!p->bytes || !p->viewed || !p->live)
        return dl_fail_memory(sizeof *p->live * values);
    for (int v = 0; v < graph->values; v++)
        p->root[v] = v;
    for (int n = 0; n < graph->nodes; n++) {
        const dl_graph_node *node = &graph->node[n];
        if (node->op != &dl_op_view)
            continue;
        p->root[node->output] = p->root[node->input[0]];
        p->viewed[p->root[node->output]] = true;
    }
    for (int u = 0; u < p->v->count; u++) {
        const dl_graph_node *node = p->v->units[u].node;
        p->left += node->shared ? 0 : p->exec->options.recompute * moved_by(graph, node);
        for (int o = 0; o < node->outputs; o++) {
            p->made[node->output + o] = u;
            p->bytes[node->output + o] = bytes_of(graph, node->output + o);
        }
    }
    for (int i = 0; i < graph->outputs; i++)
        p->bytes[p->root[graph->output[i].value]] = 0;
    return DL_OK;
}

static dl_status recompute(pass *p, bool *changed) {
    bool found = true;
    DL_TRY(open_pass(p));
    while (found) {
        int64_t most = find_peak(p, &p->peak);
        DL_TRY(choose(p, most, &found));
        *changed = *changed || found;
    }
    return *changed ? make_again(p) : DL_OK;
}

dl_status dl_variant_recompute(const dl_exec *exec, variant *v, bool *changed) {
    dl_graph *graph = &v->graph;
    const char *scope = graph->scope;
    const dl_node *stood = graph->place;
    dl_dtype precision = graph->precision;
    pass p = {.exec = exec, .v = v, .graph = graph};
    graph->precision = DL_F32; /* rows that seek half get what the first ones had */
    *changed = false;
    dl_status status = recompute(&p, changed);
    dl_arena_free(&p.memory);
    graph->precision = precision;
    graph->scope = scope;
    graph->place = stood;
    return status;
}
