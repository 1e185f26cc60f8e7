/* Dynamic loss scaling, for gradients that pass through float16. See loss_scale.c. */
#ifndef DL_MODELS_LOSS_SCALE_H
#define DL_MODELS_LOSS_SCALE_H

#include "models/optimizers.h"

enum { DL_LOSS_SCALE_STATES = 3 }; /* behind the optimizer's loose scalars */

typedef struct dl_loss_scale {
    dl_value scale, good_steps, skipped_steps;
} dl_loss_scale;

/* The states as a step finds them; `scale` is what the objective is multiplied by. */
dl_loss_scale dl_loss_scale_open(dl_graph *graph, const dl_node *optimizer);
/* 1 if all summed gradients are finite, else 0: the same on all ranks. */
dl_value dl_loss_scale_finite(dl_graph *graph, const dl_gradient_range *ranges, int count);
/* `next` if the step counts, else `before`. */
dl_value dl_loss_scale_keep(dl_graph *graph, dl_value finite, dl_value next, dl_value before);
/* The states for the next step. */
void dl_loss_scale_move(dl_graph *graph, const dl_loss_scale *at, dl_value finite);
/* Their first values: slabs allocated. */
void dl_loss_scale_begin(dl_variables *variables, const dl_node *optimizer);

#endif
