/* Optimizers as formulas over segments of the flat parameter slab. See optimizers.c and update.c.
 */
#ifndef DL_MODELS_OPTIMIZERS_H
#define DL_MODELS_OPTIMIZERS_H

#include "runtime/base/schema.h"
#include "runtime/graph/graph.h"

enum { DL_OPTIMIZER_SLOTS = 4, DL_OPTIMIZER_LINES = 8 };

/* One form of an optimizer (with or without momentum, ...), all lines "name = text" over the
 * arguments by name. `scalars` run once a step, over learning_rate, step and the loose scalars in
 * `state`; `lines` over elements: w, g, the slots by name, and all the scalars' names. What a line
 * binds to "w" or to a slot's or state's name is its next value. Lists end with NULL. */
typedef struct dl_update_form {
    const char *slots[DL_OPTIMIZER_SLOTS + 1];
    const char *initial;                       /* argument that the slots begin with, NULL: 0 */
    const char *state[DL_OPTIMIZER_SLOTS + 1]; /* begin with 1 */
    const char *scalars[DL_OPTIMIZER_LINES + 1];
    const char *made[DL_OPTIMIZER_LINES + 1]; /* scalars that the lines read */
    const char *lines[DL_OPTIMIZER_LINES + 1];
    const dl_node *expression; /* the job's own: its `state` and `update` in place of lines */
} dl_update_form;

/* The form that an item of dl_optimizer_family asks for. */
dl_update_form dl_optimizer_form(const dl_node *item);
int dl_update_slots(const dl_update_form *form);
int dl_update_states(const dl_update_form *form);

/* A range of the parameter slab with the sum of its gradients: shared, flat, as the slab lies. */
typedef struct dl_gradient_range {
    int64_t offset, length;
    dl_value gradient;
} dl_gradient_range;

/* Appends the update of all parameters that lie in the ranges (ascending offsets). constants: named
 * numbers for expressions, or NULL. scale: what the gradients are multiplied by (loss_scale.h), or
 * NULL. */
struct dl_loss_scale;
void dl_update_append(dl_graph *graph, const dl_node *optimizer, const dl_node *constants,
                      dl_value learning_rate, dl_value step, const dl_gradient_range *ranges,
                      int count, const struct dl_loss_scale *scale);
/* update_expression.c: whether an optimizer `expr` can be built, before anything is; DL_OK for the
 * others. */
dl_status dl_update_expression_check(const dl_node *optimizer, const dl_node *constants,
                                     const dl_op_table *ops);
/* The next values of one tensor, w and then the states, where value[] holds w,
 * g, learning_rate, step and the states. */
void dl_update_expression(dl_graph *graph, const dl_update_form *form, const dl_node *constants,
                          const dl_value *value, dl_value *next);
/* Optimizer state at the beginning: slabs allocated. */
void dl_update_begin(dl_variables *variables, const dl_node *optimizer);
/* Whether exclude_from_weight_decay or a missing weight_decay spares it. */
bool dl_decays(const dl_node *optimizer, const dl_variable *variable);

/* schedules.c: an item of dl_schedule_family, or NULL, ready to be asked. */
typedef struct dl_schedule {
    const dl_node *item;
    const dl_expr *factor; /* of the schedule `expr` */
} dl_schedule;
dl_status dl_schedule_open(dl_schedule *schedule, dl_arena *arena, const dl_node *item,
                           const dl_node *constants);
/* The factor-carrying rate for `step` (0-based); steps_per_epoch for quantities in epochs. */
double dl_schedule_rate(const dl_schedule *schedule, int64_t step, int64_t total_steps,
                        int64_t steps_per_epoch, double base);

#endif
