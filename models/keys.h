/* The words that models/ brings to a job, each family a list of rows beside the code that reads
 * them: layers.c, losses.c, metrics.c, optimizers.c, schedules.c, initializers.c, regularizers.c,
 * activations.c, callbacks.c. launcher/ collects the families; parsing, checking, `dltrain help`
 * and the resolved job come from the rows. */
#ifndef DL_MODELS_KEYS_H
#define DL_MODELS_KEYS_H

#include "runtime/base/schema.h"

extern const dl_family dl_layer_family, dl_loss_family, dl_metric_family, dl_optimizer_family,
    dl_schedule_family, dl_initializer_family, dl_regularizer_family, dl_activation_family,
    dl_callback_family;

#endif
