/* The optimizer `expr` of a job: its states and its update for one tensor. See optimizers.h,
 * expression.h. */
#include <stdio.h>
#include <string.h>

#include "models/expression.h"
#include "models/optimizers.h"
#include "ops/ops.h"

enum { FIRST_STATE = 4 };
static const char *const given_names[FIRST_STATE] = {"w", "g", "learning_rate", "step"};

static dl_status find_value(void *argument, int index, dl_operand *out) {
    out->value = ((const dl_value *)argument)[index];
    return DL_OK;
}

/* A formula that speaks of scalars alone gives each element the same. */
static dl_value whole_tensor(dl_graph *graph, dl_value value, dl_value w) {
    if (value < 0 || graph->status != DL_OK || dl_type_of(graph, value)->rank > 0)
        return value;
    return dl_broadcast(graph, value, *dl_type_of(graph, w));
}

void dl_update_expression(dl_graph *graph, const dl_update_form *form, const dl_node *constants,
                          const dl_value *value, dl_value *next) {
    const char *name[FIRST_STATE + DL_OPTIMIZER_SLOTS];
    const dl_expr *result[1 + DL_OPTIMIZER_SLOTS];
    dl_value given[FIRST_STATE + DL_OPTIMIZER_SLOTS];
    int states = dl_update_slots(form), at = 0;
    memcpy(name, given_names, sizeof given_names);
    memcpy(name + FIRST_STATE, form->slots, sizeof *name * (size_t)states);
    memcpy(given, value, sizeof *given * (size_t)(FIRST_STATE + states));
    dl_expression_names names = {.kind = DL_OVER_TENSOR,
                                 .name = name,
                                 .count = FIRST_STATE + states,
                                 .find = find_value,
                                 .argument = given,
                                 .constants = constants,
                                 .no_random = "random numbers have no place in an optimizer"};
    dl_expression e;
    if (!dl_expression_open(&e, graph, &names))
        return;
    for (DL_EACH(state, dl_given(form->expression, "state"))) {
        char owner[160];
        snprintf(owner, sizeof owner, "state '%.100s'", state->key);
        result[1 + at] = dl_expression_read(&e, state, owner);
        if (!result[1 + at])
            return;
        dl_expression_bind(&e, FIRST_STATE + at, result[1 + at]);
        at++;
    }
    result[0] = dl_expression_read(&e, dl_get(form->expression, "update"), "the update");
    dl_value made = result[0] ? dl_expression_make(&e, result, 1 + states) : -1;
    for (int i = 0; i <= states && made >= 0; i++)
        next[i] = whole_tensor(graph, made + i, value[0]);
}

static dl_status check_states(const dl_node *optimizer) {
    int states = 0;
    for (DL_EACH(state, dl_given(optimizer, "state"))) {
        if (++states > DL_OPTIMIZER_SLOTS)
            return dl_fail_at(state, DL_BAD_JOB, "an optimizer has at most %d states",
                              DL_OPTIMIZER_SLOTS);
        for (int i = 0; i < FIRST_STATE; i++)
            if (strcmp(state->key, given_names[i]) == 0)
                return dl_fail_at(state, DL_BAD_JOB,
                                  "'%s' has a meaning of its own in an optimizer; give the state "
                                  "another name",
                                  state->key);
    }
    return DL_OK;
}

dl_status dl_update_expression_check(const dl_node *optimizer, const dl_node *constants,
                                     const dl_op_table *ops) {
    dl_update_form form = dl_optimizer_form(optimizer);
    dl_value value[FIRST_STATE + DL_OPTIMIZER_SLOTS], next[1 + DL_OPTIMIZER_SLOTS];
    dl_graph graph;
    if (!form.expression)
        return DL_OK;
    DL_TRY(check_states(optimizer));
    dl_graph_init(&graph, ops, NULL, 1, true);
    for (int i = 0; i < FIRST_STATE + dl_update_slots(&form); i++) {
        bool scalar = i == 2 || i == 3;
        const char *name = i < FIRST_STATE ? given_names[i] : form.slots[i - FIRST_STATE];
        value[i] =
            dl_graph_input(&graph, name, scalar ? DL_SCALAR(DL_F32) : DL_TYPE(DL_F32, 2), true);
    }
    graph.scope = "update";
    dl_update_expression(&graph, &form, constants, value, next);
    dl_status status = dl_graph_status(&graph);
    dl_graph_fini(&graph);
    return status;
}
