/* Text and named inputs to pointwise nodes. See formula.h. */
#include "models/formula.h"

#include <string.h>

enum { MAX_NAMES = 64 };

typedef struct naming {
    dl_expr_name name[MAX_NAMES];
    int names;
    dl_value input[DL_EXPR_MAX_INPUTS];
    int inputs;
} naming;

/* false after an error; an input that is -1 carries the error of its maker. */
static bool open_scope(dl_graph *graph, const dl_symbol *symbols, int count, naming *scope) {
    scope->names = scope->inputs = 0;
    if (graph->status != DL_OK)
        return false;
    for (int i = 0; i < count; i++) {
        const dl_expr *expr;
        if (symbols[i].is_number) {
            expr = dl_expr_const(graph->exprs, (float)symbols[i].number);
        } else {
            if (symbols[i].value < 0 || scope->inputs == DL_EXPR_MAX_INPUTS)
                return dl_graph_fail(graph, DL_INTERNAL, "formula: no value for '%s'",
                                     symbols[i].name) >= 0;
            expr = dl_expr_input(graph->exprs, scope->inputs);
            scope->input[scope->inputs++] = symbols[i].value;
        }
        if (scope->names == MAX_NAMES)
            return dl_graph_fail(graph, DL_INTERNAL, "formula: too many names") >= 0;
        scope->name[scope->names++] = (dl_expr_name){symbols[i].name, expr};
    }
    return true;
}

/* Leaves out inputs that no output needs, so that they are neither read nor broadcast. */
static dl_value make(dl_graph *graph, naming *scope, const dl_expr **outputs, int count,
                     const dl_expr *derivative) {
    uint64_t used = 0;
    for (int i = 0; i < count; i++) {
        if (!outputs[i])
            return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for an expression");
        used |= dl_expr_inputs(outputs[i]);
    }
    const dl_expr *with[DL_EXPR_MAX_INPUTS];
    dl_value kept[DL_EXPR_MAX_INPUTS];
    int keep = 0;
    for (int i = 0; i < scope->inputs; i++) {
        with[i] = dl_expr_input(graph->exprs, keep);
        if (used >> i & 1)
            kept[keep++] = scope->input[i];
    }
    if (keep < scope->inputs && keep > 0) {
        for (int i = 0; i < count; i++)
            outputs[i] = dl_expr_substitute(graph->exprs, outputs[i], with, scope->inputs);
    } else { /* constants alone: the inputs say the shape */
        keep = scope->inputs;
        memcpy(kept, scope->input, sizeof kept);
    }
    return dl_pointwise(graph, outputs, count, keep == 1 ? derivative : NULL, kept, keep);
}

dl_value dl_formula(dl_graph *graph, const char *text, const char *derivative,
                    const dl_symbol *symbols, int count) {
    naming scope;
    const dl_expr *output[1], *slope = NULL;
    if (!open_scope(graph, symbols, count, &scope))
        return -1;
    dl_status status =
        dl_expr_parse(graph->exprs, text, scope.name, scope.names, graph->scope, &output[0]);
    if (status == DL_OK && derivative) {
        dl_expr_name names[MAX_NAMES + 1];
        memcpy(names, scope.name, sizeof scope.name);
        names[scope.names] = (dl_expr_name){"y", dl_expr_input(graph->exprs, 0)};
        status =
            dl_expr_parse(graph->exprs, derivative, names, scope.names + 1, graph->scope, &slope);
    }
    if (status != DL_OK)
        return dl_graph_fail(graph, status, "%s", dl_message());
    return make(graph, &scope, output, 1, slope);
}

/* "name = text" cut at the first '='; the name ends at a space. */
static const char *cut(const char *line, char name[32]) {
    size_t length = strcspn(line, " =");
    if (length > 31)
        length = 31;
    memcpy(name, line, length);
    name[length] = '\0';
    const char *equals = strchr(line, '=');
    return equals ? equals + 1 : line;
}

dl_value dl_formula_lines(dl_graph *graph, const char *const *lines, int line_count,
                          const dl_symbol *symbols, int count, const char *const *results,
                          int result_count) {
    naming scope;
    if (!open_scope(graph, symbols, count, &scope))
        return -1;
    char made[MAX_NAMES][32];
    for (int i = 0; i < line_count; i++) {
        char name[32];
        const dl_expr *expr;
        const char *text = cut(lines[i], name);
        dl_status status =
            dl_expr_parse(graph->exprs, text, scope.name, scope.names, graph->scope, &expr);
        if (status != DL_OK)
            return dl_graph_fail(graph, status, "'%s': %s", lines[i], dl_message());
        int at = 0;
        while (at < scope.names && strcmp(scope.name[at].name, name) != 0)
            at++;
        if (at == MAX_NAMES)
            return dl_graph_fail(graph, DL_INTERNAL, "formula: too many names");
        if (at == scope.names) {
            memcpy(made[at], name, sizeof name);
            scope.name[scope.names++].name = made[at];
        }
        scope.name[at].expr = expr;
    }
    const dl_expr *outputs[DL_POINTWISE_MAX];
    for (int i = 0; i < result_count; i++) {
        outputs[i] = NULL;
        for (int j = 0; j < scope.names; j++)
            if (strcmp(scope.name[j].name, results[i]) == 0)
                outputs[i] = scope.name[j].expr;
        if (!outputs[i])
            return dl_graph_fail(graph, DL_INTERNAL, "formula: nothing makes '%s'", results[i]);
    }
    return make(graph, &scope, outputs, result_count, NULL);
}

dl_value dl_constant_like(dl_graph *graph, dl_value like, double number) {
    const dl_expr *output = dl_expr_const(graph->exprs, (float)number);
    if (like < 0 || graph->status != DL_OK)
        return -1;
    if (!output)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for an expression");
    return dl_pointwise_as(graph, DL_F32, &output, 1, NULL, &like, 1);
}
