/* What a layer's row is, and what its builder works with. The rows stand in layers.c, builders
 * beside their like: layers_dense.c, layers_conv.c, layers_pool.c, layers_shape.c, layers_merge.c,
 * layers_norm.c, layers_random.c. A new layer is one builder and its row. */
#ifndef DL_MODELS_LAYER_H
#define DL_MODELS_LAYER_H

#include <stdio.h>

#include "models/activations.h"
#include "runtime/base/schema.h"
#include "runtime/graph/graph.h"

enum { DL_LAYER_WEIGHTS = 8 };

/* A layer at one place of the network. Places that share weights have the same `weights` name. */
typedef struct dl_layer {
    const char *name;    /* of the place, unique: "conv2d_1", "tower.dense" */
    const char *weights; /* before the names of its variables */
    const dl_node *node; /* the item in the job */
    const struct dl_layer_row *row;
    int *source; /* where inputs come from: >= 0 a layer, -1 - i field i */
    int sources;
    bool frozen;
    bool first_use; /* of its weights */
    int mode;       /* `training`: -1 as the program, 0 never, 1 always */
    /* found by the first build */
    dl_type type; /* of its output, dimension 0 the sample */
    dl_variable *variable[DL_LAYER_WEIGHTS];
    int variables;
} dl_layer;

/* A moving average that a step updates: old * momentum + mean * (1 - momentum). The mean is
 * `shared`, or per shard times its samples, to be summed over shards and divided by the samples. */
typedef struct dl_moving {
    dl_variable *variable;
    dl_value mean;
    bool shared;
    double momentum;
    struct dl_moving *next;
} dl_moving;

typedef enum dl_statistics {
    DL_STATISTICS_GLOBAL,
    DL_STATISTICS_SHARD,
    DL_STATISTICS_RANK
} dl_statistics;

typedef struct dl_layer_build {
    dl_graph *graph;
    dl_variables *variables;
    dl_layer *layer;
    const dl_node *node; /* of the layer: dl_int(build->node, "units") */
    const dl_value *input;
    int inputs;
    const char *const *input_name;
    const dl_node *constants; /* named numbers for expressions; NULL: none */
    bool training;            /* behave as in training */
    bool updates;             /* the program updates moving averages */
    dl_value samples;         /* shared scalar: of the whole batch; -1 outside a step */
    dl_statistics statistics; /* of batch normalisation */
    dl_moving **moving;       /* list to add to */
    dl_logits logits;         /* out: what the output was squashed from */
} dl_layer_build;

typedef dl_value (*dl_layer_fn)(dl_layer_build *build);

typedef struct dl_layer_row {
    dl_layer_fn build;
    const char *keras;          /* class name; NULL: Keras has none */
    int min_inputs, max_inputs; /* max -1: any number */
    /* of a network by name (zoo.h), in place of build: writes its layers */
    void (*write)(const dl_node *item, FILE *out);
} dl_layer_row;

/* The weight LAYER/NAME of canonical `type`; keras_order as in dl_variable (NULL: the same order).
 * The keys name the initializer and the regularizer (NULL: none) among the layer's arguments.
 * Trained unless the layer is frozen or trained is false (moving statistics). */
dl_value dl_layer_weight(dl_layer_build *build, const char *name, dl_type type,
                         const int *keras_order, const char *initializer, const char *regularizer,
                         bool trained);
/* The bias [units], or -1 where use_bias is false; *error then tells an error from a lack. */
dl_value dl_layer_bias(dl_layer_build *build, int64_t units, bool *error);
/* The layer's `activation`, unless the kernel has applied it already. */
dl_value dl_layer_activate(dl_layer_build *build, dl_value x, bool applied);
/* DL_BAD_JOB at the layer. */
dl_value dl_layer_fail(dl_layer_build *build, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Checks the rank of input 0; says which layer gives what. */
bool dl_layer_rank(dl_layer_build *build, int least, int most);
dl_type dl_layer_type(const dl_layer_build *build, int input);

/* clang-format off */
#define DL_LAYER_BUILDERS(X)                                                                       \
    X(input) X(dense) X(conv1d) X(conv2d) X(conv2d_transpose) X(depthwise_conv2d) X(separable_conv2d)                  \
    X(max_pooling1d) X(max_pooling2d) X(average_pooling1d) X(average_pooling2d)                    \
    X(global_max_pooling1d) X(global_max_pooling2d) X(global_average_pooling1d)                    \
    X(global_average_pooling2d) X(flatten) X(reshape) X(permute) X(zero_padding2d) X(dropout)      \
    X(gaussian_noise) X(activation) X(leaky_relu) X(softmax) X(batch_normalization)                \
    X(layer_normalization) X(add) X(subtract) X(multiply) X(average) X(maximum) X(concatenate)     \
    X(lambda)
/* clang-format on */
#define X(name) dl_value dl_build_##name(dl_layer_build *build);
DL_LAYER_BUILDERS(X)
#undef X

#endif
