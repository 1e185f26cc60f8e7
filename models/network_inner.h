/* What network.c, programs.c and keras_config.c share. */
#ifndef DL_MODELS_NETWORK_INNER_H
#define DL_MODELS_NETWORK_INNER_H

#include "models/network.h"
#include "models/objective.h"
#include "models/optimizers.h"
#include "models/wiring.h"

enum { DL_MAX_WARNINGS = 64 };

struct dl_network {
    dl_arena arena;
    const dl_node *job;
    const dl_op_table *ops;
    dl_wiring wiring;
    dl_objective objective;
    dl_variables variables;
    const dl_node *optimizer; /* item; NULL: none */
    dl_schedule schedule;     /* of its learning rate */
    dl_statistics statistics;
    dl_dtype precision;        /* of activations and their gradients: DL_F32 or half */
    dl_variable *class_weight; /* [classes, 1] of training; NULL: none */
    float *class_weights;
    int classes;
    int64_t steps_per_epoch;
    bool discovering; /* the first build, before the layout */
    bool penalties;   /* a regularizer counts in the loss */
    dl_type *output_type;
    const char *warning[DL_MAX_WARNINGS];
    int warnings;
    const char *keras_config;
    int *keras_layer; /* keras_layers.c: >= 0 the first place of a layer, -1 - i field i */
    int keras_layers;
};

/* keras_layers.c: once the wiring is known. */
dl_status dl_network_list_keras_layers(dl_network *network);
/* `input` layers are other names of what they read. */
int dl_keras_source(const dl_wiring *wiring, int source);
/* One layer after another from one field to one output: Sequential. */
bool dl_keras_is_chain(const dl_wiring *wiring);

/* Forward, losses and metrics alone (no gradients): the first build. */
dl_status dl_network_discover(dl_network *network, dl_graph *graph);

void dl_network_warn(dl_network *network, const dl_node *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
