/* The names that expressions of losses and metrics see: y_true and y_pred of their term, fields,
 * layers at every place. See program.h, expression.h. */
#include <stdio.h>

#include "models/program.h"

enum { Y_TRUE, Y_PRED, FIRST_FIELD };

static dl_status find_target(const dl_term_names *seen, dl_operand *out) {
    dl_compare *compare = seen->compare;
    const dl_graph *graph = compare->graph;
    if (seen->term->target == DL_NO_TARGET)
        return dl_fail(DL_BAD_JOB, "y_true: this term has no target; add target: FIELD");
    if (seen->term->target == DL_MADE_TARGET && compare->target < 0)
        return dl_fail(DL_BAD_JOB, "y_true is what this expression makes");
    out->raw = compare->target;
    out->classes = compare->classes;
    bool alike = compare->prediction >= 0 &&
                 (compare->target < 0 || dl_same_but_ones(dl_type_of(graph, compare->target),
                                                          dl_type_of(graph, compare->prediction)));
    if (alike)
        out->value = dl_target_like_prediction(compare); /* the same shape, a number everywhere */
    else if (seen->term->target >= 0)
        out->value = dl_program_input(seen->program, -1 - seen->term->target);
    else if (compare->target >= 0)
        out->value = compare->target;
    else
        return dl_fail(DL_BAD_JOB, "y_true is a number here, and no output says its shape");
    return DL_OK;
}

static dl_status find_name(void *argument, int index, dl_operand *out) {
    const dl_term_names *seen = argument;
    dl_program *program = seen->program;
    const dl_wiring *wiring = &program->network->wiring;
    int at = index - FIRST_FIELD, source;
    if (index == Y_TRUE)
        return find_target(seen, out);
    if (index == Y_PRED) {
        if (seen->compare->prediction < 0)
            return dl_fail(DL_BAD_JOB, "y_pred: this term has no output; add output: NAME");
        out->value = seen->compare->prediction;
        out->logits = seen->compare->logits;
        out->node = seen->compare->output_node;
        return DL_OK;
    }
    if (at < wiring->fields)
        source = -1 - at;
    else if (at < wiring->fields + wiring->results)
        source = wiring->result[at - wiring->fields].layer;
    else
        source = at - wiring->fields - wiring->results;
    out->value = dl_convert(program->graph, dl_program_input(program, source), DL_F32);
    if (source >= 0) {
        out->logits = program->logits[source];
        out->logits.value = dl_convert(program->graph, out->logits.value, DL_F32);
        out->node = wiring->layer[source].node;
    } else {
        out->raw = dl_program_field(program, -1 - source);
        out->classes = wiring->field[-1 - source].classes;
    }
    return DL_OK;
}

/* Once for a program. */
static void list_names(dl_program *program) {
    const dl_wiring *wiring = &program->network->wiring;
    int most = FIRST_FIELD + wiring->fields + wiring->results + wiring->layers, count = 0;
    program->name = DL_NEW_N(&program->graph->arena, const char *, most);
    if (!program->name) {
        dl_graph_fail(program->graph, DL_NO_MEMORY, "no memory for the names of layers");
        return;
    }
    program->name[count++] = "y_true";
    program->name[count++] = "y_pred";
    for (int i = 0; i < wiring->fields; i++)
        program->name[count++] = wiring->field[i].name;
    for (int i = 0; i < wiring->results; i++)
        program->name[count++] = wiring->result[i].name;
    for (int i = 0; i < wiring->layers; i++)
        program->name[count++] = wiring->layer[i].name;
    program->names = count;
}

void dl_program_names(dl_term_names *seen, dl_program *program, const dl_term *term,
                      dl_compare *compare) {
    if (!program->name)
        list_names(program);
    *seen = (dl_term_names){.program = program, .term = term, .compare = compare};
    seen->names = (dl_expression_names){
        .kind = DL_OVER_SAMPLES,
        .name = program->name,
        .count = program->names,
        .find = find_name,
        .argument = seen,
        .constants = dl_given(program->network->job, "constants"),
        .kinds = "neither a layer nor a field",
    };
    compare->names = &seen->names;
    if (term->target != DL_MADE_TARGET)
        return;
    char owner[160];
    snprintf(owner, sizeof owner, "the target of loss '%.100s'", term->name);
    program->graph->scope = term->name;
    compare->target = dl_expression_formula(program->graph, term->target_text, owner, &seen->names);
    compare->target_name = term->target_text->text;
}
