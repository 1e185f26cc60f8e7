/* The graph: values and the nodes that make them, a straight program in order of creation.
 *
 * A program is built once per distinct number of samples; only sizes differ between those graphs,
 * never the nodes. A value is per shard   one instance for each shard of the batch: what depends on
 * samples; or shared      one instance a rank: variables, shared inputs, results of collectives,
 * and all that depends on these alone. A shared value has the same bits on every rank. A collective
 * (dl_sum_leaves) turns per-shard values into a shared one: gradients, batch statistics and metrics
 * leave the shards through it, updates run on shared values, assignments take shared values.
 *
 * Building: every function returns the new value, or -1 after an error; -1 as an input gives -1, so
 * a chain needs one check, dl_graph_status, at its end. A graph holds no state of a run. */
#ifndef DL_GRAPH_GRAPH_H
#define DL_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/base/memory.h"
#include "runtime/base/schema.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"
#include "runtime/expr/expr.h"
#include "runtime/graph/op.h"
#include "runtime/graph/variables.h"

typedef int dl_value; /* index in graph->value; -1: none */

typedef enum dl_role { DL_ROLE_TEMP, DL_ROLE_INPUT, DL_ROLE_VARIABLE } dl_role;

typedef struct dl_value_info {
    dl_type type;
    dl_role role;
    bool shared;
    bool sampled;   /* axis 0 is the samples: not so in a gradient of weights or a sum over them */
    int node, slot; /* producer and which of its outputs; node -1: input or variable */
    const char *name; /* of an input */
    dl_slab slab;     /* variable: window on a slab */
    int64_t offset;
} dl_value_info;

typedef struct dl_graph_node {
    const dl_op *op;
    const void *attributes; /* op->attribute_bytes, in the graph's arena */
    int inputs, outputs;
    const dl_value *input;
    dl_value output;      /* first; the others follow */
    bool shared;          /* runs once a rank */
    bool late;            /* runs when it is first read, not as soon as it can */
    const char *name;     /* layer or purpose: messages, profile, stream of random numbers */
    const dl_node *place; /* graph->place when it was added, or NULL; gradients take it over */
} dl_graph_node;

typedef struct dl_assignment {
    dl_value variable, value;
} dl_assignment;

typedef struct dl_graph_output {
    const char *name;
    dl_value value;
} dl_graph_output;

typedef struct dl_graph {
    dl_arena arena;
    const dl_op_table *ops;
    dl_variables *variables;
    dl_exprs *exprs;
    int64_t samples; /* of one shard: dimension 0 of per-shard data */
    bool training;
    dl_dtype precision; /* of what is being built: half where layers are, see dl_op.half */
    dl_value_info *value;
    dl_graph_node *node;
    dl_assignment *assignment;
    dl_graph_output *output;
    int values, nodes, assignments, outputs;
    int value_capacity, node_capacity, assignment_capacity, output_capacity;
    dl_status status;     /* first error ... */
    const char *message;  /* ... and what it says */
    const dl_node *place; /* set by layer builders: where in the job what is being built stands */
    const char *scope;    /* set by layer builders: name of the nodes being built */
} dl_graph;

void dl_graph_init(dl_graph *graph, const dl_op_table *ops, dl_variables *variables,
                   int64_t samples, bool training);
void dl_graph_fini(dl_graph *graph);
/* The first error, its message put on this thread; DL_OK otherwise. */
dl_status dl_graph_status(const dl_graph *graph);
/* Records an error (the first stays) and returns -1. With graph->place: "FILE:LINE:COLUMN: ...". */
dl_value dl_graph_fail(dl_graph *graph, dl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An input bound for each run, per shard (dimension 0 = samples) or shared. */
dl_value dl_graph_input(dl_graph *graph, const char *name, dl_type type, bool shared);
/* The entry value of a variable; one value for a variable in a graph. */
dl_value dl_graph_variable(dl_graph *graph, const dl_variable *variable);
/* A window on a slab (flat updates over many variables): float32 from `offset`. */
dl_value dl_graph_window(dl_graph *graph, dl_slab slab, int64_t offset, dl_type type);

/* Appends a node; returns its first output. Attributes are copied; the op's infer runs here. */
dl_value dl_graph_add(dl_graph *graph, const dl_op *op, const void *attributes,
                      const dl_value *inputs, int count);
/* The same by the op's name, for rows that live on a higher floor. */
dl_value dl_graph_add_named(dl_graph *graph, const char *op, const void *attributes,
                            const dl_value *inputs, int count);

void dl_graph_assign(dl_graph *graph, dl_value variable, dl_value value); /* a shared value */
void dl_graph_output_add(dl_graph *graph, const char *name, dl_value value);

const dl_type *dl_type_of(const dl_graph *graph, dl_value value); /* value >= 0 */
/* For messages: the input's or variable's name, else that of the node. */
const char *dl_value_name(const dl_graph *graph, dl_value value);
const dl_graph_node *dl_producer(const dl_graph *graph, dl_value value); /* NULL: none */

/* ---- structural rows: view, collective, pointwise (runtime/graph/structure.c, pointwise.c) ----
 */

extern const dl_op dl_op_view, dl_op_sum_leaves, dl_op_pointwise;

/* Elements [offset, offset + count(type)) of the input under another shape; no copy. */
typedef struct dl_view_attributes {
    dl_type type;
    int64_t offset;
} dl_view_attributes;
dl_value dl_view(dl_graph *graph, dl_value value, dl_type type, int64_t offset);
dl_value dl_reshape(dl_graph *graph, dl_value value,
                    dl_type type); /* equal counts, else an error */

/* The sum over all shards of all ranks, along the fixed tree of runtime/device/comm.h. Inputs:
 * float32, per shard, of a shape that does not depend on the samples; output: shared, flat, the
 * inputs one after another, each padded to DL_SLAB_ALIGN floats. dl_sum_part is the i-th of them,
 * in its shape. */
dl_value dl_sum_leaves(dl_graph *graph, const dl_value *values, int count, const char *name);
dl_value dl_sum_part(dl_graph *graph, dl_value sum, int index);

/* Elementwise expressions over graph->exprs: expression input i is node input i, float32,
 * bfloat16 or uint8; arithmetic is float32. Outputs are bfloat16 where the graph's precision is and
 * all inputs that run over samples are, else float32. Every output has the broadcast shape of the
 * inputs (NumPy's rule; shapes that dl_expr_access cannot say are broadcast by a node of their own
 * first). derivative: NULL, or for one input and one output, dy/dx as an expression of x0 = the
 * output (cheaper than of the input: relu, tanh, sigmoid). */
enum { DL_POINTWISE_MAX = DL_EXPR_MAX_OUTPUTS };
typedef struct dl_pointwise_attributes {
    int outputs;
    int inputs;
    const dl_expr *output[DL_POINTWISE_MAX];
    dl_dtype dtype[DL_POINTWISE_MAX]; /* of each output */
    const dl_expr *derivative;
    dl_expr_access access[DL_EXPR_MAX_INPUTS]; /* of each input; dl_pointwise fills it */
} dl_pointwise_attributes;
dl_value dl_pointwise(dl_graph *graph, const dl_expr *const *outputs, int output_count,
                      const dl_expr *derivative, const dl_value *inputs, int input_count);
/* The same with outputs of a stated type. */
dl_value dl_pointwise_as(dl_graph *graph, dl_dtype dtype, const dl_expr *const *outputs,
                         int output_count, const dl_expr *derivative, const dl_value *inputs,
                         int input_count);
/* float32 to bfloat16 or back: a pointwise node, which fuses with its neighbours; what already has
 * the type stays. The gradient of a value is cast to the value's type in the same way. */
dl_value dl_convert(dl_graph *graph, dl_value x, dl_dtype dtype);
bool dl_is_float(dl_dtype dtype); /* float32 or bfloat16: values that gradients flow through */
/* One output from text over x0, x1, ... (x for one input): dl_map(g, "x0 * sigmoid(x0)", &v, 1).
 * Random numbers take the stream of graph->scope. */
dl_value dl_map(dl_graph *graph, const char *text, const dl_value *inputs, int input_count);

/* ---- rows of ops/ that structural code needs: found by name ("reduce", "broadcast", "pad") ----
 */

typedef enum dl_reduction {
    DL_REDUCE_SUM,
    DL_REDUCE_MEAN,
    DL_REDUCE_MAX,
    DL_REDUCE_SUM_SQUARES,
    DL_REDUCE_SUM_ABS
} dl_reduction;
typedef struct dl_reduce_attributes {
    dl_reduction kind;
    uint32_t axes; /* bit i: over axis i */
    bool keep;     /* reduced axes stay as 1 */
} dl_reduce_attributes;
typedef struct dl_broadcast_attributes {
    dl_type type; /* of the output */
} dl_broadcast_attributes;
typedef struct dl_pad_attributes {
    int64_t before[DL_MAX_RANK], after[DL_MAX_RANK];
    float value;
} dl_pad_attributes;

/* Sums x down to the shape of `like`, which broadcasts to x's: the gradient of a broadcast operand.
 */
dl_value dl_reduce_to(dl_graph *graph, dl_value x, dl_value like);

/* ---- gradients ---- */

/* Appends nodes for the gradient of sum(y * seed) (seed of y's shape; -1: ones) with respect to
 * each of wrt[]; out[i] has the shape of wrt[i], or is -1 where y does not depend on it. Works for
 * any value. An op without grad on a needed path is an error that names op, node and target. A
 * collective on the path differentiates as what it is: the gradient of its output is summed over
 * all shards. */
dl_status dl_gradients(dl_graph *graph, dl_value y, dl_value seed, const dl_value *wrt, int count,
                       dl_value *out);

/* ---- passes, before planning; bits of outputs and assignments do not change, but that a bfloat16
 * value between two nodes that become one is not rounded, as it is not stored ---- */

/* Removes what no output or assignment needs, merges equal nodes, composes pointwise neighbours,
 * turns views of views into one. */
dl_status dl_graph_simplify(dl_graph *graph);

/* Structure without sample counts: ops, attributes, shapes of shared values, collectives, names. */
uint64_t dl_graph_hash(const dl_graph *graph);
void dl_graph_print(const dl_graph *graph, FILE *file); /* a line a node */

#endif
