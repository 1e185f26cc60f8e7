/* Work of all ranks of a host together. Where the common slabs of the variables (variables.h) are
 * memory of several ranks, an elementwise node that writes into them runs in parts, a part a rank:
 * nobody computes twice, nobody copies. Ranks meet where one would read what another may not have
 * written yet, or write what another may still read. Here this is decided; run.c does it. */
#include "runtime/exec/internal.h"

typedef struct region { /* of a slab; floats */
    int base;
    size_t offset, bytes;
    bool each; /* the node's element e is element e of this */
} region;

static bool is_common(const dl_exec *exec, place where) {
    return where.base >= BASE_SLAB && where.base < BASE_INPUT &&
           dl_slab_common(exec->options.variables, (dl_slab)(where.base - BASE_SLAB));
}

bool dl_unit_divides(const dl_exec *exec, const unit *made) {
    for (int o = 0; o < made->node->outputs; o++)
        if (is_common(exec, made->out[o]))
            return true;
    return false;
}

static region read_region(const variant *v, const unit *made, int input) {
    const dl_graph_node *node = made->node;
    const dl_type *type = &v->graph.value[node->input[input]].type;
    region r = {made->in[input].base, made->in[input].offset, dl_type_bytes(type), false};
    if (made->divided) {
        const dl_pointwise_attributes *attributes = node->attributes;
        const dl_expr_access *access = &attributes->access[input];
        r.each =
            access->div == 1 && access->mod == dl_type_count(&v->graph.value[node->output].type);
    }
    return r;
}

static region written_region(const variant *v, const unit *made, int output) {
    const dl_type *type = &v->graph.value[made->node->output + output].type;
    return (region){made->out[output].base, made->out[output].offset, dl_type_bytes(type), true};
}

/* Whether a rank's part of one may be another rank's part of the other. */
static bool clash(region a, region b) {
    bool overlap =
        a.base == b.base && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
    bool same = a.each && b.each && a.offset == b.offset && a.bytes == b.bytes;
    return overlap && !same;
}

/* Whether `writer`, which is divided, writes what `other` reads or writes. */
static bool disturbs(const variant *v, const unit *writer, const unit *other) {
    for (int o = 0; o < writer->node->outputs; o++) {
        region written = written_region(v, writer, o);
        for (int i = 0; i < other->node->inputs; i++)
            if (clash(written, read_region(v, other, i)))
                return true;
        for (int p = 0; other->divided && p < other->node->outputs; p++)
            if (clash(written, written_region(v, other, p)))
                return true;
    }
    return false;
}

void dl_variant_divide(dl_exec *exec, variant *v) {
    for (int u = 0; u < v->count; u++)
        v->units[u].divided = dl_unit_divides(exec, &v->units[u]);
    int met = 0;
    for (int u = 0; u < v->count; u++) {
        unit *made = &v->units[u];
        if (!made->node->shared || made->phase != v->units[met].phase)
            met = u; /* ranks meet at the end of a phase's shared nodes, see run.c */
        for (int before = met; before < u && !made->meets; before++) {
            const unit *other = &v->units[before];
            made->meets = (made->divided && disturbs(v, made, other)) ||
                          (other->divided && disturbs(v, other, made));
        }
        if (made->meets)
            met = u;
    }
}
