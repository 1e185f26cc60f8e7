/* Formulas: elementwise mathematics in the words of the field, as one pointwise node.
 *
 * A formula names its inputs: values of the graph and plain numbers. Programs of several lines,
 * "name = text", bind names in order, a later line may bind a name anew; optimizers are written so.
 */
#ifndef DL_MODELS_FORMULA_H
#define DL_MODELS_FORMULA_H

#include "runtime/graph/graph.h"

typedef struct dl_symbol {
    const char *name;
    bool is_number;
    dl_value value; /* of the graph */
    double number;  /* rounded to float32 */
} dl_symbol;

static inline dl_symbol dl_symbol_value(const char *name, dl_value value) {
    return (dl_symbol){.name = name, .value = value};
}
static inline dl_symbol dl_symbol_number(const char *name, double number) {
    return (dl_symbol){.name = name, .is_number = true, .value = -1, .number = number};
}

/* One output. `derivative` (or NULL) is dy/dx as text over y, the output, where there is one input.
 * Random numbers take the stream of graph->scope. */
dl_value dl_formula(dl_graph *graph, const char *text, const char *derivative,
                    const dl_symbol *symbols, int count);

/* Runs the lines and returns the values that the names in `results` then have, one node for all:
 * results i is the returned value + i. A result must depend on an input or stand beside one that
 * does. */
dl_value dl_formula_lines(dl_graph *graph, const char *const *lines, int line_count,
                          const dl_symbol *symbols, int count, const char *const *results,
                          int result_count);

/* A value of the shape of `like`, everywhere `number`; no gradient reaches `like`. */
dl_value dl_constant_like(dl_graph *graph, dl_value like, double number);

#endif
