/* A graph as a hash (ranks compare it before the first step) and as text (tests, `dltrain plan`).
 */
#include <string.h>

#include "runtime/base/hash.h"
#include "runtime/graph/graph.h"
#include "runtime/graph/parts.h"

/* NULL: the node has none. */
static const dl_pointwise_attributes *expressions_of(const dl_graph_node *node) {
    return node->op == &dl_op_pointwise ? node->attributes
           : node->op == &dl_op_pointwise_parts
               ? &((const dl_parts_attributes *)node->attributes)->each
               : NULL;
}

static uint64_t hash_expressions(const dl_pointwise_attributes *attributes, uint64_t hash) {
    dl_arena arena = {0};
    for (int o = 0; o < attributes->outputs; o++) {
        const char *text = dl_expr_text(&arena, attributes->output[o]);
        hash = dl_hash_text(text ? text : "", hash);
    }
    dl_arena_free(&arena);
    return hash;
}

uint64_t dl_graph_hash(const dl_graph *graph) {
    uint64_t hash = 0;
    for (int n = 0; n < graph->nodes; n++) {
        const dl_graph_node *node = &graph->node[n];
        hash = dl_hash_text(node->op->name, hash);
        hash = dl_hash_text(node->name, hash);
        hash = dl_hash(node->input, sizeof *node->input * (size_t)node->inputs, hash);
        if (expressions_of(node))
            hash = hash_expressions(expressions_of(node), hash);
        for (int o = 0; o < node->outputs; o++)
            hash = dl_hash(&graph->value[node->output + o].type.dtype, sizeof(dl_dtype), hash);
        for (int o = 0; o < node->outputs && node->shared; o++)
            hash = dl_hash(&graph->value[node->output + o].type, sizeof(dl_type), hash);
    }
    for (int i = 0; i < graph->assignments; i++)
        hash = dl_hash(&graph->assignment[i], sizeof graph->assignment[i], hash);
    for (int i = 0; i < graph->outputs; i++) {
        hash = dl_hash_text(graph->output[i].name, hash);
        hash = dl_hash(&graph->output[i].value, sizeof graph->output[i].value, hash);
    }
    return hash;
}

static void print_value(const dl_graph *graph, dl_value value, FILE *file) {
    static const char *const slabs[] = {"parameter", "state", "slot0",  "slot1",
                                        "slot2",     "slot3", "scalar", "half"};
    const dl_value_info *info = &graph->value[value];
    if (info->role == DL_ROLE_INPUT)
        fprintf(file, " %s", info->name);
    else if (info->role == DL_ROLE_VARIABLE)
        fprintf(file, " %s[%lld]", slabs[info->slab], (long long)info->offset);
    else
        fprintf(file, " %%%d", value);
}

void dl_graph_print(const dl_graph *graph, FILE *file) {
    char shape[DL_SHAPE_TEXT];
    for (int n = 0; n < graph->nodes; n++) {
        const dl_graph_node *node = &graph->node[n];
        const dl_type *type = dl_type_of(graph, node->output);
        fprintf(file, "%s %%%d %s%s = %s", node->shared ? "shared" : "shard ", node->output,
                dl_shape_text(type, false, shape),
                type->dtype == DL_BF16  ? " bf16"
                : type->dtype == DL_F16 ? " fp16"
                                        : "",
                node->op->name);
        for (int i = 0; i < node->inputs; i++)
            print_value(graph, node->input[i], file);
        if (expressions_of(node)) {
            const dl_pointwise_attributes *attributes = expressions_of(node);
            dl_arena arena = {0};
            for (int o = 0; o < attributes->outputs; o++)
                fprintf(file, " \"%s\"", dl_expr_text(&arena, attributes->output[o]));
            dl_arena_free(&arena);
        }
        fprintf(file, "  # %s%s\n", node->name, node->late ? ", again" : "");
    }
    for (int i = 0; i < graph->assignments; i++) {
        fputs("assign", file);
        print_value(graph, graph->assignment[i].variable, file);
        fprintf(file, " = %%%d\n", graph->assignment[i].value);
    }
    for (int i = 0; i < graph->outputs; i++)
        fprintf(file, "output %s = %%%d\n", graph->output[i].name, graph->output[i].value);
}
