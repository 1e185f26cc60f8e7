/* Fields of the data as programs read them: as they are, or as stored, with the steps of
 * data.prepare that are left. See network.h (dl_field) and runtime/base/prepare_step.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/program.h"

enum { LONGEST = 90 }; /* characters of a field's name in those of its inputs */

const char *dl_stored_name(char name[DL_INPUT_NAME], const char *field) {
    snprintf(name, DL_INPUT_NAME, "%.*s/stored", LONGEST, field);
    return name;
}

const char *dl_constant_name(char name[DL_INPUT_NAME], const char *field, int step, bool by) {
    snprintf(name, DL_INPUT_NAME, "%.*s/%s_%d", LONGEST, field, by ? "by" : "offset", step);
    return name;
}

/* The steps of a field so far: an expression over inputs. */
typedef struct prepared {
    dl_graph *graph;
    const dl_field *field;
    dl_value input[DL_EXPR_MAX_INPUTS];
    int inputs;
    const dl_expr *x;
} prepared;

static dl_type batch_of(const dl_graph *graph, const dl_type *sample) {
    dl_type type = {.dtype = sample->dtype, .rank = sample->rank + 1};
    type.dim[0] = graph->samples;
    memcpy(type.dim + 1, sample->dim, sizeof(int64_t) * (size_t)sample->rank);
    return type;
}

static void begin_node(prepared *p, dl_value value) {
    p->input[0] = value;
    p->inputs = 1;
    p->x = dl_expr_input(p->graph->exprs, 0);
}

static dl_value end_node(prepared *p) {
    return dl_pointwise_as(p->graph, DL_F32, &p->x, 1, NULL, p->input, p->inputs);
}

/* One number is part of the expression; others run over channels or over elements. */
static const dl_expr *constant_of(prepared *p, int step, bool by) {
    const dl_prepare_step *s = &p->field->prepare[step];
    if (s->period == 1)
        return dl_expr_const(p->graph->exprs, by ? *s->by : *s->offset);
    dl_type type = p->field->type;
    if (s->kind == DL_PREPARE_ONE_HOT || s->period != dl_type_count(&type))
        type = DL_TYPE(DL_F32, s->period);
    char name[DL_INPUT_NAME];
    p->input[p->inputs] =
        dl_graph_input(p->graph, dl_constant_name(name, p->field->name, step, by), type, true);
    return dl_expr_input(p->graph->exprs, p->inputs++);
}

/* A byte times what is not negative is not -0, the one number that + 0 changes. */
static bool changes(const prepared *p, int step) {
    const dl_prepare_step *s = &p->field->prepare[step];
    return p->field->stored.dtype != DL_U8 || step > 0 || s->period > 1 ||
           !(*s->offset == 0 && !signbit(*s->by));
}

static const dl_expr *do_step(prepared *p, int step) {
    dl_exprs *set = p->graph->exprs;
    const dl_prepare_step *s = &p->field->prepare[step];
    const dl_expr *x = p->x, *by = constant_of(p, step, true);
    const dl_expr *offset = s->offset ? constant_of(p, step, false) : NULL;
    switch (s->kind) {
    case DL_PREPARE_SCALE:
        x = dl_expr_make(set, DL_EXPR_MUL, x, by, NULL);
        return changes(p, step) ? dl_expr_make(set, DL_EXPR_ADD, x, offset, NULL) : x;
    case DL_PREPARE_CENTRE:
        x = dl_expr_make(set, DL_EXPR_SUB, x, offset, NULL);
        return dl_expr_make(set, DL_EXPR_MUL, x, by, NULL);
    case DL_PREPARE_FILL:
        return dl_expr_make(set, DL_EXPR_WHERE, dl_expr_make(set, DL_EXPR_EQUAL, x, x, NULL), x,
                            by);
    case DL_PREPARE_ONE_HOT:
        return dl_expr_make(set, DL_EXPR_EQUAL, x, by, NULL);
    }
    return x;
}

/* The steps of a field as stored, one node if they fit: with the bits of the reader's steps. */
static dl_value from_stored(dl_graph *graph, const dl_field *field, dl_value stored) {
    prepared p = {.graph = graph, .field = field};
    int rank = field->type.rank;
    begin_node(&p, stored);
    for (int i = 0; i < field->prepares; i++) {
        const dl_prepare_step *s = &field->prepare[i];
        if (p.inputs + 2 > DL_EXPR_MAX_INPUTS)
            begin_node(&p, end_node(&p));
        p.x = do_step(&p, i);
        if (s->kind == DL_PREPARE_ONE_HOT && field->type.dim[rank - 1] != s->period) {
            dl_type type = batch_of(graph, &field->type); /* which cuts the rows otherwise */
            begin_node(&p, dl_reshape(graph, end_node(&p), type));
        }
    }
    bool done = p.inputs == 1 && p.x->kind == DL_EXPR_INPUT && field->stored.dtype == DL_F32;
    return done ? p.input[0] : end_node(&p);
}

dl_value dl_program_field(dl_program *program, int index) {
    const dl_field *field = &program->network->wiring.field[index];
    dl_graph *graph = program->graph;
    if (!field->as_stored)
        return dl_graph_input(graph, field->name, batch_of(graph, &field->type), false);
    if (strlen(field->name) > LONGEST)
        return dl_graph_fail(graph, DL_BAD_JOB,
                             "the field '%.40s...' has a name of more than %d characters; give it "
                             "a shorter one",
                             field->name, LONGEST);
    char name[DL_INPUT_NAME];
    dl_type type = batch_of(graph, &field->stored);
    dl_value value = dl_graph_input(graph, dl_stored_name(name, field->name), type, false);
    return value < 0 ? value : from_stored(graph, field, value);
}
