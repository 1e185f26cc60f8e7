/* A vocabulary of its own for the tests of the job reader: the real top level, and a few words of
 * every family that have each shape the language knows. */
#ifndef DL_TESTS_JOB_WORDS_H
#define DL_TESTS_JOB_WORDS_H

#include "launcher/job.h"
#include "launcher/keys.h"

static const dl_key t_dense_keys[] = {
    {"units", "int 1..", 0, "outputs"},
    {"activation", "item activation or expr", "linear", "applied to the outputs"},
    {"use_bias", "bool", "true", "adds a trained bias"},
    {"kernel_initializer", "item initializer", "glorot_uniform", "initial weights"},
    {"kernel_regularizer", "item regularizer or word none", "none", "penalty on the weights"},
};
static const dl_key t_conv2d_keys[] = {
    {"filters", "int 1..", 0, "outputs"},
    {"kernel_size", "int 1.. or list of int 1..", 0, "height and width"},
    {"strides", "int 1.. or list of int 1..", "[1, 1]", "steps of the window"},
    {"padding", "word valid|same", "valid", "what happens at the border"},
    {"activation", "item activation or expr", "linear", "applied to the outputs"},
    {"kernel_initializer", "item initializer", "{random_normal: 0.02}", "initial weights"},
};
static const dl_key t_pool_keys[] = {
    {"pool_size", "int 1.. or list of int 1..", "2", "height and width"},
};
static const dl_key t_dropout_keys[] = {
    {"rate", "number 0..1", 0, "share of values set to zero"},
};
static const dl_key t_lambda_keys[] = {{"expr", "expr", 0, "of the inputs"}};
static const dl_key t_call_keys[] = {{"of", "name", 0, "a model or layer"}};
static const dl_key t_bidirectional_keys[] = {
    {"layer", "item layer", 0, "the layer that runs both ways"},
    {"merge_mode", "word concat|sum", "concat", "how both outputs are joined"},
};
static const dl_word t_layers[] = {
    {"dense", "units", DL_KEYS(t_dense_keys), "matrix product", 0},
    {"conv2d", 0, DL_KEYS(t_conv2d_keys), "convolution", 0},
    {"max_pooling2d", "pool_size", DL_KEYS(t_pool_keys), "largest of a window", 0},
    {"flatten", 0, DL_NO_KEYS, "one axis of many", 0},
    {"dropout", "rate", DL_KEYS(t_dropout_keys), "noise while training", 0},
    {"concatenate", 0, DL_NO_KEYS, "side by side", 0},
    {"lambda", "expr", DL_KEYS(t_lambda_keys), "an expression", 0},
    {"call", "of", DL_KEYS(t_call_keys), "a model", 0},
    {"bidirectional", "layer", DL_KEYS(t_bidirectional_keys), "both ways", 0},
};
static const dl_key t_layer_siblings[] = {
    {"name", "identifier", "", "Keras's name unless given"},
    {"inputs", "name or list of name", "", "the layer above unless given"},
    {"times", "int 1..", "1", "copies in a row"},
    {"training", "bool or word auto", "auto", "dropout and statistics as in training"},
};
static const dl_family t_layer_family = {"layer", "layers", DL_KEYS(t_layers),
                                         DL_KEYS(t_layer_siblings)};

static const dl_key t_target_keys[] = {
    {"target", "name or number or expr", "", "what the output is compared with"},
    {"output", "name", "", "layer"},
    {"from_logits", "bool", "false", "before the softmax"},
};
static const dl_key t_expr_loss_keys[] = {{"expr", "expr", 0, "one number a sample"}};
static const dl_word t_losses[] = {
    {"mse", 0, DL_KEYS(t_target_keys), "mean squared error", 0},
    {"mae", 0, DL_KEYS(t_target_keys), "mean absolute error", 0},
    {"categorical_crossentropy", 0, DL_KEYS(t_target_keys), "of one-hot labels", 0},
    {"binary_crossentropy", 0, DL_KEYS(t_target_keys), "of probabilities", 0},
    {"expr", "expr", DL_KEYS(t_expr_loss_keys), "an expression", 0},
};
static const dl_family t_loss_family = {"loss", "losses", DL_KEYS(t_losses), DL_NO_KEYS};

static const dl_key t_top_k_keys[] = {{"k", "int 1..", "5", "guesses"}};
static const dl_word t_metrics[] = {
    {"accuracy", 0, DL_NO_KEYS, "share of right answers", 0},
    {"mae", 0, DL_NO_KEYS, "mean absolute error", 0},
    {"top_k_categorical_accuracy", "k", DL_KEYS(t_top_k_keys), "right among the first k", 0},
    {"expr", "expr", DL_KEYS(t_expr_loss_keys), "an expression", 0},
};
static const dl_key t_metric_siblings[] = {
    {"name", "identifier", "", "as it is logged"},
    {"output", "name", "", "layer"},
};
static const dl_family t_metric_family = {"metric", "metrics", DL_KEYS(t_metrics),
                                          DL_KEYS(t_metric_siblings)};

static const dl_key t_sgd_keys[] = {
    {"learning_rate", "number 0..", "0.01", "step size"},
    {"momentum", "number 0..1", "0", "share of the last step"},
    {"nesterov", "bool", "false", "looks ahead"},
    {"schedule", "item schedule", "constant", "factor of the learning rate"},
};
static const dl_key t_rmsprop_keys[] = {
    {"learning_rate", "number 0..", "0.001", "step size"},
    {"rho", "number 0..1", "0.9", "memory of the mean square"},
    {"schedule", "item schedule", "constant", "factor of the learning rate"},
};
static const dl_word t_optimizers[] = {
    {"sgd", "learning_rate", DL_KEYS(t_sgd_keys), "gradient descent", 0},
    {"rmsprop", "learning_rate", DL_KEYS(t_rmsprop_keys), "scaled by the mean square", 0},
};
static const dl_family t_optimizer_family = {"optimizer", "optimizers", DL_KEYS(t_optimizers),
                                             DL_NO_KEYS};

static const dl_key t_cosine_keys[] = {
    {"alpha", "number 0..1", "0", "factor at the end"},
    {"decay_steps", "quantity steps|epochs", "", "to the end unless given"},
};
static const dl_key t_piecewise_keys[] = {
    {"boundaries", "list of quantity steps|epochs", 0, "when the factor changes"},
    {"factors", "list of number", 0, "one more than boundaries"},
};
static const dl_word t_schedules[] = {
    {"constant", 0, DL_NO_KEYS, "no change", 0},
    {"cosine_decay", "alpha", DL_KEYS(t_cosine_keys), "half a cosine", 0},
    {"piecewise_constant_decay", 0, DL_KEYS(t_piecewise_keys), "stairs", 0},
};
static const dl_key t_schedule_siblings[] = {
    {"warmup", "quantity steps|epochs", "", "linear rise"},
};
static const dl_family t_schedule_family = {"schedule", "schedules", DL_KEYS(t_schedules),
                                            DL_KEYS(t_schedule_siblings)};

static const dl_key t_constant_keys[] = {{"value", "any", "0", "number or nested lists"}};
static const dl_key t_normal_keys[] = {
    {"stddev", "number 0..", "0.05", "spread"},
    {"mean", "number", "0", "centre"},
};
static const dl_word t_initializers[] = {
    {"glorot_uniform", 0, DL_NO_KEYS, "by fan-in and fan-out", 0},
    {"zeros", 0, DL_NO_KEYS, "all 0", 0},
    {"constant", "value", DL_KEYS(t_constant_keys), "given values", 0},
    {"random_normal", "stddev", DL_KEYS(t_normal_keys), "normal numbers", 0},
};
static const dl_family t_initializer_family = {"initializer", "initializers",
                                               DL_KEYS(t_initializers), DL_NO_KEYS};

static const dl_key t_l2_keys[] = {{"l2", "number 0..", "0.01", "factor"}};
static const dl_word t_regularizers[] = {{"l2", "l2", DL_KEYS(t_l2_keys), "sum of squares", 0}};
static const dl_family t_regularizer_family = {"regularizer", "regularizers",
                                               DL_KEYS(t_regularizers), DL_NO_KEYS};

static const dl_key t_leaky_keys[] = {{"alpha", "number", "0.3", "slope below 0"}};
static const dl_word t_activations[] = {
    {"linear", 0, DL_NO_KEYS, "x", 0},
    {"relu", 0, DL_NO_KEYS, "max(x, 0)", 0},
    {"softmax", 0, DL_NO_KEYS, "sums to 1", 0},
    {"leaky_relu", "alpha", DL_KEYS(t_leaky_keys), "relu with a slope", 0},
};
static const dl_family t_activation_family = {"activation", "activations", DL_KEYS(t_activations),
                                              DL_NO_KEYS};

static const dl_key t_idx_keys[] = {{"fields", "map of path", 0, "a file for each field"}};
static const dl_key t_values_keys[] = {{"fields", "map of any", 0, "nested lists for each field"}};
static const dl_key t_csv_keys[] = {
    {"file", "path", 0, "the table"},
    {"fields", "map of any", 0, "columns for each field"},
    {"where", "map of text", "", "rows that are kept"},
    {"missing", "text or list of text", "", "cells that mean unknown"},
    {"drop_missing", "bool", "false", "leaves such rows out"},
};
static const dl_word t_sources[] = {
    {"idx", "fields", DL_KEYS(t_idx_keys), "LeCun's format", 0},
    {"values", "fields", DL_KEYS(t_values_keys), "numbers in the job", 0},
    {"csv", 0, DL_KEYS(t_csv_keys), "a table", 0},
};
static const dl_key t_source_siblings[] = {
    {"first", "amount", "", "so many from the beginning"},
    {"last", "amount", "", "so many from the end"},
    {"random", "amount", "", "so many, drawn"},
    {"rows", "range 0..", "", "of these numbers"},
    {"stratify", "bool", "false", "keep the shares of classes"},
    {"variants", "int 1..", "1", "fixed versions"},
    {"steps", "int 1..", "", "evaluation stops early"},
};
static const dl_family t_source_family = {"source", "sources", DL_KEYS(t_sources),
                                          DL_KEYS(t_source_siblings)};

static const dl_key t_scale_keys[] = {
    {"by", "number", 0, "factor"},
    {"offset", "number", "0", "added after"},
};
static const dl_key t_reshape_keys[] = {{"shape", "list of int 1..", 0, "of a sample"}};
static const dl_key t_one_hot_keys[] = {{"classes", "int 1..", "", "those seen unless given"}};
static const dl_key t_crop_keys[] = {
    {"size", "[int 1..] or quantity s|ms", 0, "what is kept"},
};
static const dl_word t_steps[] = {
    {"scale", "by", DL_KEYS(t_scale_keys), "x * by + offset", 0},
    {"reshape", "shape", DL_KEYS(t_reshape_keys), "another shape", 0},
    {"one_hot", "classes", DL_KEYS(t_one_hot_keys), "labels to vectors", 0},
    {"crop", "size", DL_KEYS(t_crop_keys), "a part", 0},
};
static const dl_key t_step_siblings[] = {
    {"field", "name or list of name", "x", "what the step works on"},
};
static const dl_family t_step_family = {"step", "steps", DL_KEYS(t_steps),
                                        DL_KEYS(t_step_siblings)};

static const dl_key t_early_stopping_keys[] = {
    {"monitor", "name", "val_loss", "logged value to watch"},
    {"patience", "int 0..", "0", "epochs without a better value"},
};
static const dl_key t_stop_when_keys[] = {{"expr", "expr", 0, "of logged values"}};
static const dl_word t_callbacks[] = {
    {"early_stopping", 0, DL_KEYS(t_early_stopping_keys), "stops in time", 0},
    {"stop_when", "expr", DL_KEYS(t_stop_when_keys), "stops when told", 0},
};
static const dl_family t_callback_family = {"callback", "callbacks", DL_KEYS(t_callbacks),
                                            DL_NO_KEYS};

static const dl_table *const t_tables[] = {&dl_data_table,     &dl_cut_table,
                                           &dl_repeat_table,   &dl_checkpoint_table,
                                           &dl_evaluate_table, &dl_comm_keys_table};
static const dl_family *const t_families[] = {
    &t_layer_family,    &t_loss_family,        &t_metric_family,      &t_optimizer_family,
    &t_schedule_family, &t_initializer_family, &t_regularizer_family, &t_activation_family,
    &t_source_family,   &t_step_family,        &t_callback_family};
static const dl_vocabulary test_vocabulary = {&dl_root_table, t_tables, 6, t_families, 11, NULL};

#endif
