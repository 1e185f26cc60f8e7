/* The update of a step: gradients are made whole (penalties, clipping), then the optimizer's
 * formula runs over segments of the slab, each as long as its parameters are treated alike. See
 * optimizers.h. */
#include <math.h>
#include <string.h>

#include "models/formula.h"
#include "models/loss_scale.h"
#include "models/optimizers.h"
#include "models/patterns.h"
#include "models/regularizers.h"
#include "ops/ops.h"

typedef struct range {
    int64_t offset, length; /* padded, but for an expression */
    dl_penalty penalty;
    bool decays;
    dl_value w, g;
} range;

typedef struct updating {
    dl_graph *graph;
    const dl_node *optimizer;
    const dl_update_form *form;
    const dl_node *constants;
    dl_value learning_rate, step;
    bool scaled;              /* by the loss scale: */
    dl_value unscale, finite; /* its inverse; whether the step counts */
    dl_symbol scalar[DL_OPTIMIZER_LINES + DL_EXPR_MAX_INPUTS];
    int scalars;
    range *segment;
    int segments;
} updating;

bool dl_decays(const dl_node *optimizer, const dl_variable *variable) {
    if (!dl_given(optimizer, "weight_decay") || dl_number(optimizer, "weight_decay") == 0)
        return false;
    const char *own = strrchr(variable->name, '/');
    for (DL_EACH(pattern, dl_given(optimizer, "exclude_from_weight_decay")))
        if (dl_pattern_matches(pattern->text, variable->name) ||
            dl_pattern_matches(pattern->text, variable->layer) ||
            dl_pattern_matches(pattern->text, own ? own + 1 : variable->name))
            return false;
    return true;
}

static int64_t padded(const dl_variable *variable) {
    int64_t count = dl_type_count(&variable->type);
    return (count + DL_SLAB_ALIGN - 1) / DL_SLAB_ALIGN * DL_SLAB_ALIGN;
}

/* The parameters of the ranges in the order of the slab, neighbours of one kind joined. */
static bool find_segments(updating *update, const dl_gradient_range *ranges, int count) {
    dl_graph *graph = update->graph;
    const dl_variables *variables = graph->variables;
    /* An expression may not send zeros to zeros, and its means are over the tensor alone. */
    bool exact = update->form->expression != NULL;
    bool apart = exact || dl_given(update->optimizer, "clipnorm") != NULL;
    update->segment = DL_NEW_N(&graph->arena, range, variables->count + 1);
    if (!update->segment)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for an update") >= 0;
    for (int r = 0; r < count; r++) {
        int first = update->segments;
        /* Parameters lie in reverse order of creation. */
        for (int i = variables->count - 1; i >= 0; i--) {
            const dl_variable *v = variables->list[i];
            if (v->slab != DL_SLAB_PARAMETER || v->offset < ranges[r].offset ||
                v->offset >= ranges[r].offset + ranges[r].length)
                continue;
            range next = {.offset = v->offset,
                          .length = exact ? dl_type_count(&v->type) : padded(v),
                          .penalty = dl_penalty_of(v->regularizer),
                          .decays = dl_decays(update->optimizer, v)};
            range *last = update->segments > first ? &update->segment[update->segments - 1] : NULL;
            if (last && !apart && last->offset + last->length == next.offset &&
                last->penalty.l1 == next.penalty.l1 && last->penalty.l2 == next.penalty.l2 &&
                last->decays == next.decays)
                last->length += next.length;
            else
                update->segment[update->segments++] = next;
        }
        for (int s = first; s < update->segments; s++) {
            range *at = &update->segment[s];
            dl_type type = DL_TYPE(DL_F32, at->length);
            at->w = dl_graph_window(graph, DL_SLAB_PARAMETER, at->offset, type);
            at->g = dl_view(graph, ranges[r].gradient, type, at->offset - ranges[r].offset);
        }
    }
    return graph->status == DL_OK;
}

static void add_number(updating *update, const char *name, double number) {
    update->scalar[update->scalars++] = dl_symbol_number(name, number);
}

/* Arguments by name, the rate, and what the form's scalar lines make. */
static void make_scalars(updating *update) {
    dl_graph *graph = update->graph;
    const dl_update_form *form = update->form;
    static const char *const arguments[] = {
        "momentum", "rho", "epsilon", "beta_1", "beta_2", "schedule_decay", "weight_decay"};
    for (int i = 0; i < (int)(sizeof arguments / sizeof arguments[0]); i++)
        if (dl_given(update->optimizer, arguments[i]))
            add_number(update, arguments[i], dl_number(update->optimizer, arguments[i]));
    update->scalar[update->scalars++] = dl_symbol_value("learning_rate", update->learning_rate);
    int states = dl_update_states(form), lines = 0, results = 0;
    while (form->scalars[lines])
        lines++;
    if (lines == 0)
        return;
    dl_symbol symbols[DL_EXPR_MAX_INPUTS + DL_OPTIMIZER_LINES];
    const char *result[2 * DL_OPTIMIZER_LINES];
    int count = update->scalars;
    memcpy(symbols, update->scalar, sizeof(dl_symbol) * (size_t)count);
    symbols[count++] = dl_symbol_value("step", update->step);
    for (int i = 0; i < states; i++) {
        symbols[count++] = dl_symbol_value(
            form->state[i], dl_graph_window(graph, DL_SLAB_SCALAR, i, DL_SCALAR(DL_F32)));
        result[results++] = form->state[i];
    }
    for (int i = 0; form->made[i]; i++)
        result[results++] = form->made[i];
    dl_value made = dl_formula_lines(graph, form->scalars, lines, symbols, count, result, results);
    if (made < 0)
        return;
    for (int i = 0; i < results; i++) {
        dl_value before = i < states ? symbols[count - states + i].value : -1;
        if (i < states)
            dl_graph_assign(graph, before,
                            update->scaled
                                ? dl_loss_scale_keep(graph, update->finite, made + i, before)
                                : made + i);
        else
            update->scalar[update->scalars++] = dl_symbol_value(result[i], made + i);
    }
}

/* Lines that make the gradient whole, before any norm is taken. */
static int prepare_lines(const updating *update, const range *at, const char **lines,
                         dl_symbol *symbols, int *count) {
    int used = 0;
    if (update->scaled) {
        lines[used++] = "g = g * unscale";
        symbols[(*count)++] = dl_symbol_value("unscale", update->unscale);
    }
    if (at->penalty.l2 != 0) {
        lines[used++] = "g = g + l2 * w";
        symbols[(*count)++] = dl_symbol_number("l2", 2 * at->penalty.l2);
    }
    if (at->penalty.l1 != 0) {
        lines[used++] = "g = g + l1 * sign(w)";
        symbols[(*count)++] = dl_symbol_number("l1", at->penalty.l1);
    }
    if (dl_given(update->optimizer, "clipvalue")) {
        lines[used++] = "g = clip(g, -clipvalue, clipvalue)";
        symbols[(*count)++] =
            dl_symbol_number("clipvalue", dl_number(update->optimizer, "clipvalue"));
    }
    return used;
}

/* Scales gradients to a norm: of each segment (a variable then), and of all. TensorFlow's formulas.
 */
static void clip_norms(updating *update) {
    dl_graph *graph = update->graph;
    bool each = dl_given(update->optimizer, "clipnorm") != NULL;
    bool all = dl_given(update->optimizer, "global_clipnorm") != NULL;
    dl_value total = -1;
    for (int s = 0; s < update->segments && (each || all); s++) {
        range *at = &update->segment[s];
        const char *lines[4], *const results[] = {"g"};
        dl_symbol symbols[6] = {dl_symbol_value("w", at->w), dl_symbol_value("g", at->g)};
        int count = 2, used = prepare_lines(update, at, lines, symbols, &count);
        if (used)
            at->g = dl_formula_lines(graph, lines, used, symbols, count, results, 1);
        if (each) {
            dl_symbol norm[] = {
                dl_symbol_value("squares",
                                dl_reduce(graph, at->g, DL_REDUCE_SUM_SQUARES, 1, false)),
                dl_symbol_number("limit", dl_number(update->optimizer, "clipnorm"))};
            dl_symbol scale[] = {
                dl_symbol_value("g", at->g),
                dl_symbol_value("scale", dl_formula(graph, "limit / max(sqrt(squares), limit)",
                                                    NULL, norm, 2))};
            at->g = dl_formula(graph, "g * scale", NULL, scale, 2);
        }
        if (all) {
            dl_value squares = dl_reduce(graph, at->g, DL_REDUCE_SUM_SQUARES, 1, false);
            dl_symbol sum[] = {dl_symbol_value("total", total),
                               dl_symbol_value("squares", squares)};
            total = total < 0 ? squares : dl_formula(graph, "total + squares", NULL, sum, 2);
        }
    }
    if (!all || total < 0)
        return;
    dl_symbol norm[] = {dl_symbol_value("squares", total),
                        dl_symbol_number("limit", dl_number(update->optimizer, "global_clipnorm"))};
    dl_value scale = dl_formula(graph, "limit * min(1 / sqrt(squares), 1 / limit)", NULL, norm, 2);
    for (int s = 0; s < update->segments; s++) {
        dl_symbol symbols[] = {dl_symbol_value("g", update->segment[s].g),
                               dl_symbol_value("scale", scale)};
        update->segment[s].g = dl_formula(graph, "g * scale", NULL, symbols, 2);
    }
}

/* The job's own formula, after what is done for all: the penalties, clipping and decay. */
static void express_segment(updating *update, const range *at, const char **lines, int used,
                            const dl_symbol *symbols, int count, const dl_value *target) {
    dl_graph *graph = update->graph;
    int slots = dl_update_slots(update->form);
    dl_value value[4 + DL_OPTIMIZER_SLOTS] = {at->w, at->g, update->learning_rate, update->step};
    dl_value next[1 + DL_OPTIMIZER_SLOTS];
    const char *const results[] = {"w", "g"};
    if (used) {
        value[0] = dl_formula_lines(graph, lines, used, symbols, count, results, 2);
        value[1] = value[0] + 1;
    }
    memcpy(value + 4, target + 1, sizeof *value * (size_t)slots);
    if (graph->status == DL_OK)
        dl_update_expression(graph, update->form, update->constants, value, next);
    for (int i = 0; graph->status == DL_OK && i <= slots; i++)
        dl_graph_assign(graph, target[i],
                        update->scaled
                            ? dl_loss_scale_keep(graph, update->finite, next[i], target[i])
                            : next[i]);
}

/* Lines after which nothing has moved where the step does not count. */
static int keep_lines(const updating *update, const char *const *results, const dl_value *target,
                      int results_count, const char **lines, dl_symbol *symbols, int *count) {
    if (!update->scaled)
        return 0;
    symbols[(*count)++] = dl_symbol_value("finite", update->finite);
    for (int i = 0; i < results_count; i++) {
        dl_arena *arena = &update->graph->arena;
        const char *before = dl_arena_format(arena, "%s_before", results[i]);
        lines[i] = dl_arena_format(arena, "%s = where(finite, %s, %s)", results[i], results[i],
                                   before ? before : "");
        symbols[(*count)++] = dl_symbol_value(before, target[i]);
        if (!before || !lines[i]) {
            dl_graph_fail(update->graph, DL_NO_MEMORY, "no memory for an update");
            return 0;
        }
    }
    return results_count;
}

static void update_segment(updating *update, const range *at, bool prepared) {
    dl_graph *graph = update->graph;
    const dl_update_form *form = update->form;
    dl_symbol symbols[DL_EXPR_MAX_INPUTS + 4 * DL_OPTIMIZER_LINES];
    const char *lines[2 * DL_OPTIMIZER_LINES + 4], *results[1 + DL_OPTIMIZER_SLOTS];
    dl_value target[1 + DL_OPTIMIZER_SLOTS];
    dl_type type = DL_TYPE(DL_F32, at->length);
    int count = 0, slots = dl_update_slots(form);
    symbols[count++] = dl_symbol_value("w", at->w);
    symbols[count++] = dl_symbol_value("g", at->g);
    results[0] = "w";
    target[0] = at->w;
    for (int i = 0; i < slots; i++) {
        target[1 + i] = dl_graph_window(graph, (dl_slab)(DL_SLAB_SLOT0 + i), at->offset, type);
        results[1 + i] = form->slots[i];
        symbols[count++] = dl_symbol_value(form->slots[i], target[1 + i]);
    }
    memcpy(symbols + count, update->scalar, sizeof(dl_symbol) * (size_t)update->scalars);
    count += update->scalars;
    int used = prepared ? 0 : prepare_lines(update, at, lines, symbols, &count);
    if (at->decays)
        lines[used++] = "w = w - learning_rate * weight_decay * w";
    if (form->expression) {
        express_segment(update, at, lines, used, symbols, count, target);
        return;
    }
    for (int i = 0; form->lines[i]; i++)
        lines[used++] = form->lines[i];
    used += keep_lines(update, results, target, 1 + slots, lines + used, symbols, &count);
    dl_value next = dl_formula_lines(graph, lines, used, symbols, count, results, 1 + slots);
    for (int i = 0; next >= 0 && i <= slots; i++)
        dl_graph_assign(graph, target[i], next + i);
}

/* Skipped steps do not count as an optimizer's steps either. */
static void unscale(updating *update, const dl_loss_scale *scale, const dl_gradient_range *ranges,
                    int count) {
    dl_graph *graph = update->graph;
    dl_symbol symbols[] = {dl_symbol_value("scale", scale->scale),
                           dl_symbol_value("step", update->step),
                           dl_symbol_value("skipped", scale->skipped_steps)};
    update->scaled = true;
    update->finite = dl_loss_scale_finite(graph, ranges, count);
    update->unscale = dl_formula(graph, "1 / scale", NULL, symbols, 1);
    update->step = dl_formula(graph, "step - skipped", NULL, symbols + 1, 2);
    dl_loss_scale_move(graph, scale, update->finite);
}

void dl_update_append(dl_graph *graph, const dl_node *optimizer, const dl_node *constants,
                      dl_value learning_rate, dl_value step, const dl_gradient_range *ranges,
                      int count, const dl_loss_scale *scale) {
    dl_update_form form = dl_optimizer_form(optimizer);
    updating update = {.graph = graph,
                       .optimizer = optimizer,
                       .form = &form,
                       .constants = constants,
                       .learning_rate = learning_rate,
                       .step = step};
    const char *scope = graph->scope;
    graph->scope = "update";
    graph->place = optimizer;
    if (scale)
        unscale(&update, scale, ranges, count);
    make_scalars(&update);
    bool norms = dl_given(optimizer, "clipnorm") || dl_given(optimizer, "global_clipnorm");
    if (graph->status == DL_OK && find_segments(&update, ranges, count)) {
        clip_norms(&update);
        for (int s = 0; s < update.segments; s++)
            update_segment(&update, &update.segment[s], norms);
    }
    graph->scope = scope;
}

void dl_update_begin(dl_variables *variables, const dl_node *optimizer) {
    dl_update_form made = dl_optimizer_form(optimizer), *form = &made;
    for (int i = 0; i < dl_update_states(form); i++)
        variables->slab[DL_SLAB_SCALAR][i] = 1.0f;
    float initial = form->initial ? (float)dl_number(optimizer, form->initial) : 0.0f;
    for (int i = 0; i < variables->count; i++) {
        const dl_variable *v = variables->list[i];
        if (v->slab != DL_SLAB_PARAMETER || !dl_variables_fills(variables, v))
            continue;
        int64_t size = dl_type_count(&v->type);
        for (int slot = 0; slot < dl_update_slots(form); slot++)
            for (int64_t e = 0; e < size; e++)
                variables->slab[DL_SLAB_SLOT0 + slot][v->offset + e] = initial;
    }
}
