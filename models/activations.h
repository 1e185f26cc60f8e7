/* Activations by Keras's names; a row is a name and an expression, see activations.c. */
#ifndef DL_MODELS_ACTIVATIONS_H
#define DL_MODELS_ACTIVATIONS_H

#include "runtime/base/schema.h"
#include "runtime/graph/graph.h"

/* What an output was made of, for crossentropies that compute from logits as Keras does. */
typedef enum dl_squash { DL_SQUASH_NONE, DL_SQUASH_SOFTMAX, DL_SQUASH_SIGMOID } dl_squash;
typedef struct dl_logits {
    dl_squash squash;
    dl_value value;
} dl_logits;

/* item: of dl_activation_family. logits (or NULL) learns what was squashed. */
dl_value dl_activate(dl_graph *graph, const dl_node *item, dl_value x, dl_logits *logits);
/* True for relu, which kernels apply on their way out. */
bool dl_activation_is(const dl_node *item, const char *word);

#endif
