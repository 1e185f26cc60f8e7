/* A network: the checked job's model, losses, metrics and optimizer as programs over one set of
 * variables. The trainer opens one, gives its build functions to dl_exec and binds inputs by name;
 * see network.c (layers and variables), programs.c (what a step is), objective.c (losses and
 * metrics). */
#ifndef DL_MODELS_NETWORK_H
#define DL_MODELS_NETWORK_H

#include <stdio.h>

#include "runtime/base/prepare_step.h"
#include "runtime/base/schema.h"
#include "runtime/graph/graph.h"

typedef struct dl_field {
    const char *name;
    dl_type type; /* of one sample: float32 or int32 */
    int classes;  /* 0: not labels */
    const int64_t
        *class_count; /* [classes] samples of training, for class_weight: balanced; NULL: unknown */
    /* Programs read it as stored and do these steps on it; `type` is after them. */
    bool as_stored;
    dl_type stored;                 /* uint8 or float32; of one-hot rows the last dimension is 1 */
    const dl_prepare_step *prepare; /* [prepares] */
    int prepares;
} dl_field;

typedef struct dl_network dl_network;

/* Reads model, models, freeze, loss, loss_weights, metrics, optimizer, class_weight,
 * batch_statistics of the checked job; builds once to check shapes and discover variables, lays
 * them out. job and fields must live as long as the network. Without `loss` it can only predict. */
dl_status dl_network_open(dl_network **out, const dl_node *job, const dl_field *fields,
                          int field_count, const dl_op_table *ops);
void dl_network_close(dl_network *network);        /* NULL is allowed */
bool dl_network_trains(const dl_network *network); /* it has a loss and an optimizer */

dl_variables *dl_network_variables(dl_network *network); /* laid out, not allocated */
dl_status dl_network_allocate(dl_network *network);      /* slabs with the optimizer's slots */
/* Initial weights, moving statistics, optimizer state. */
dl_status dl_network_initialize(dl_network *network, uint64_t seed);
/* Optimizer state alone, as at the beginning (a stage starts it afresh). */
void dl_network_reset_optimizer(dl_network *network);

/* Inputs of programs: a field that is read as stored; constants of its steps that are not one
 * number (shared). */
enum { DL_INPUT_NAME = 128 };
const char *dl_stored_name(char name[DL_INPUT_NAME], const char *field);
const char *dl_constant_name(char name[DL_INPUT_NAME], const char *field, int step, bool by);

/* dl_build_fn's for dl_exec; argument = the network. Inputs by field name, per shard [n, ...];
 * shared scalars (float32): "learning_rate" and "step" (1 for the first update; step program
 * alone), "samples" (of this batch over all ranks). Output "metrics": shared
 * [dl_network_sum_count], sums over the batch's samples. A program has only the inputs that it
 * needs. */
dl_status dl_network_step(void *network, dl_graph *graph);
dl_status dl_network_evaluation(void *network, dl_graph *graph);
/* One per-shard output for each output layer, by its name. */
dl_status dl_network_prediction(void *network, dl_graph *graph);
int dl_network_output_count(const dl_network *network);
const char *dl_network_output_name(const dl_network *network, int index);
dl_type dl_network_output_type(const dl_network *network, int index); /* dimension 0 the sample */

/* Logged values: "loss", "TERM_loss" (several terms), metrics, in order; sums of an epoch and its
 * sample count to what is logged. */
int dl_network_sum_count(const dl_network *network);
int dl_network_metric_count(const dl_network *network);
const char *dl_network_metric_name(const dl_network *network, int index);
bool dl_network_metric_is_better_high(const dl_network *network, int index); /* accuracies */
void dl_network_metric_values(const dl_network *network, const double *sums, double samples,
                              double *values);

/* step is 0-based; base may have been reduced by a callback. Quantities in epochs need the
 * steps of one, set beforehand. */
double dl_network_learning_rate(const dl_network *network, int64_t step, int64_t total_steps,
                                double base);
/* The optimizer's name for what it keeps of each weight in this slot ("velocity"); NULL: none. */
const char *dl_network_slot_name(const dl_network *network, int slot);
double dl_network_base_learning_rate(const dl_network *network);
void dl_network_set_steps_per_epoch(dl_network *network, int64_t steps);

/* What the plan shows: a row for each place of a layer, in order. */
typedef struct dl_layer_info {
    const char *name, *word, *class_name;
    dl_type type;                  /* of the output, dimension 0 the sample */
    int64_t parameters, trainable; /* 0 for a layer used again */
    bool again;                    /* its weights were counted above */
    int sources;
} dl_layer_info;
int dl_network_layer_count(const dl_network *network);
void dl_network_layer(const dl_network *network, int index, dl_layer_info *info);
const char *dl_network_layer_source(const dl_network *network, int index, int source);
int64_t dl_network_parameter_count(const dl_network *network, bool trainable_only);

/* "FILE:LINE:COLUMN: warning: ..." */
int dl_network_warning_count(const dl_network *network);
const char *dl_network_warning(const dl_network *network, int index);

/* Keras 2.4's JSON of the whole model (model_config of model.h5), Sequential for a chain, else
 * Functional; NULL without memory. Layers that Keras lacks appear under their own word. */
const char *dl_network_keras_config(dl_network *network);
/* Layers of that file in order, and the weights of each in Keras's order. */
int dl_network_keras_layer_count(const dl_network *network);
const char *dl_network_keras_layer_name(const dl_network *network, int index);
int dl_network_keras_weight_count(const dl_network *network, int index);
const dl_variable *dl_network_keras_weight(const dl_network *network, int index, int weight);

#endif
