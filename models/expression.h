/* Expressions of a job (job.md 2.1.7) as values of a graph. Their elementwise parts are pointwise
 * nodes; functions that are not elementwise (mean, crop, the losses: expression_words.c) cut them
 * into such parts. A name is looked up when a text first needs it.
 *
 * Over samples every value has the samples first, and mean and sum go over all else; over one
 * tensor they go over all of it. */
#ifndef DL_MODELS_EXPRESSION_H
#define DL_MODELS_EXPRESSION_H

#include "models/activations.h"
#include "runtime/base/schema.h"
#include "runtime/graph/graph.h"

enum { DL_EXPRESSION_INPUTS = 60 };

/* What a name stands for, or a function gave. */
typedef struct dl_operand {
    dl_value value;      /* float32 */
    dl_value raw;        /* of a field: as the data has it (labels int32); -1: none */
    dl_logits logits;    /* of a layer: what it was squashed from */
    const char *name;    /* for messages */
    const dl_node *node; /* layer that made it, or NULL */
    int classes;         /* of a field of labels */
} dl_operand;

typedef enum dl_expression_kind {
    DL_ELEMENTWISE,  /* no functions but the language's own: activations, lambda */
    DL_OVER_SAMPLES, /* losses, metrics */
    DL_OVER_TENSOR   /* optimizers */
} dl_expression_kind;

/* What a text sees. */
typedef struct dl_expression_names {
    dl_expression_kind kind;
    const char *const *name;
    int count;
    dl_status (*find)(void *argument, int index, dl_operand *out); /* DL_BAD_JOB: why it cannot */
    void *argument;
    const dl_node *constants; /* map of numbers, or NULL */
    const char *kinds;        /* "neither a layer nor a field", or NULL */
    const char *no_random;    /* why normal() has no place here, or NULL */
} dl_expression_names;

typedef struct dl_expression {
    dl_graph *graph;
    const dl_expression_names *names;
    dl_expr_scope scope;
    dl_expr_name *name;
    dl_operand input[DL_EXPRESSION_INPUTS];
    int inputs;
} dl_expression;

/* False after an error, as of all functions here, recorded in the graph. */
bool dl_expression_open(dl_expression *expression, dl_graph *graph,
                        const dl_expression_names *names);
/* NULL after an error: "FILE:LINE:COLUMN: expression of OWNER, character N: ..." */
const dl_expr *dl_expression_read(dl_expression *expression, const dl_node *text,
                                  const char *owner);
/* From now on name `index` stands for `bound`. */
void dl_expression_bind(dl_expression *expression, int index, const dl_expr *bound);
/* One node for all; output i is the result + i. */
dl_value dl_expression_make(dl_expression *expression, const dl_expr *const *outputs, int count);

/* The text as one value; graph->place stays. */
dl_value dl_expression_formula(dl_graph *graph, const dl_node *text, const char *owner,
                               const dl_expression_names *names);

/* The text as one number a sample, [n]; `what` ("loss 'kl'") is in messages. */
dl_value dl_expression_samples(dl_graph *graph, const dl_node *text, const char *what,
                               const dl_expression_names *names);

/* A number that the host works out with dl_expr_value: names are inputs 0, 1, ... */
dl_status dl_expression_number(dl_arena *arena, const dl_node *text, const char *owner,
                               const char *const *names, int count, const dl_node *constants,
                               const char *kinds, const dl_expr **out);

/* Whether the text uses this name. */
bool dl_expression_mentions(const char *text, const char *name);

/* ---- for expression_words.c ---- */

/* The functions of a kind of expression; calls go to dl_expression_call. */
bool dl_expression_functions(dl_expression *expression);
dl_status dl_expression_call(void *expression, int function, const dl_expr *const *arguments,
                             const dl_expr **out);
/* The value of an elementwise part; DL_BAD_JOB if it depends on nothing or shapes do not meet. */
dl_status dl_expression_value(dl_expression *expression, const dl_expr *part, dl_value *out);
/* A new input that stands for a value. */
dl_status dl_expression_input(dl_expression *expression, const dl_operand *operand,
                              const dl_expr **out);

#endif
