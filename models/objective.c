/* Finds for each loss term its output, target and weight, and for each metric its term. See
 * objective.h. */
#include "models/objective.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Names of outputs ("a, b") or of fields, for messages. */
static const char *list_outputs(const dl_wiring *wiring, dl_arena *arena) {
    const char *text = "";
    for (int i = 0; i < wiring->results && text; i++)
        if (!wiring->result[i].read)
            text =
                dl_arena_format(arena, "%s%s%s", text, *text ? ", " : "", wiring->result[i].name);
    return text ? text : "";
}

static const char *list_fields(const dl_wiring *wiring, dl_arena *arena) {
    const char *text = "";
    for (int i = 0; i < wiring->fields && text; i++)
        text = dl_arena_format(arena, "%s%s%s", text, i ? ", " : "", wiring->field[i].name);
    return text ? text : "";
}

/* The layer named, else that named like the term, else the only output. */
static dl_status find_output(const dl_wiring *wiring, dl_arena *arena, const dl_node *named,
                             const dl_node *at, const char *term, int *output, const char **name) {
    const char *wanted = named ? named->text : term;
    *output = wanted ? dl_wiring_find(wiring, wanted) : INT_MIN;
    *name = wanted;
    if (*output != INT_MIN)
        return DL_OK;
    if (named) {
        const char *nearest = dl_wiring_nearest(wiring, wanted);
        return dl_fail_at(named, DL_BAD_JOB, "'%s' is no layer%s%s%s", wanted,
                          nearest ? "; did you mean '" : "", nearest ? nearest : "",
                          nearest ? "'?" : "");
    }
    int found = 0;
    for (int i = 0; i < wiring->results; i++)
        if (!wiring->result[i].read) {
            *output = wiring->result[i].layer;
            *name = wiring->result[i].name;
            found++;
        }
    if (found == 1)
        return DL_OK;
    return dl_fail_at(
        at, DL_BAD_JOB,
        "the model has several outputs (%s); say which one this compares: output: NAME",
        list_outputs(wiring, arena));
}

static dl_status find_target(const dl_wiring *wiring, dl_arena *arena, dl_term *term,
                             const char *key) {
    const dl_node *given = dl_given(term->node, "target");
    if (given) {
        term->target = dl_wiring_field(wiring, given->text);
        if (term->target >= 0)
            return DL_OK;
        if (given->value == DL_VALUE_EXPR) {
            term->target = DL_MADE_TARGET;
            term->target_text = given;
            return DL_OK;
        }
        char first = given->text[0];
        bool number = !given->quoted && (strchr("+-.", first) || (first >= '0' && first <= '9'));
        term->target_number = given->number;
        if (number)
            return DL_OK;
        const char *names[256];
        int count = 0;
        for (int i = 0; i < wiring->fields && count < 256; i++)
            names[count++] = wiring->field[i].name;
        const char *nearest = dl_nearest(given->text, names, count);
        return dl_fail_at(given, DL_BAD_JOB, "the data has no field '%s'; %s%s%s", given->text,
                          nearest ? "did you mean '" : "it has ",
                          nearest ? nearest : list_fields(wiring, arena), nearest ? "'?" : "");
    }
    term->target = dl_wiring_field(wiring, "y");
    if (term->target < 0)
        term->target = dl_wiring_field(wiring, term->output_name);
    if (term->target >= 0)
        return DL_OK;
    const char *like = key ? key : term->output_name;
    return dl_fail_at(term->node, DL_BAD_JOB,
                      "loss%s%s%s has no target: the data has no field y and no field '%s'; add "
                      "target: FIELD (%s)",
                      key ? " term '" : "", key ? key : "", key ? "'" : "", like,
                      list_fields(wiring, arena));
}

/* Whether an item compares output and target. All losses and metrics do, but an expression may
 * speak of layers and fields alone. */
static bool uses(const dl_node *item, const char *name) {
    const dl_node *expr = dl_get(item, "expr");
    return !expr || dl_expression_mentions(expr->text, name);
}

static dl_status add_term(dl_objective *objective, dl_arena *arena, const dl_wiring *wiring,
                          const dl_node *item, const char *key, const dl_node *weights) {
    dl_term *term = &objective->term[objective->terms++];
    *term = (dl_term){.name = key ? key : "loss", .node = item, .target = -1, .weight = 1};
    term->sample_weight = -1;
    term->logged = key ? dl_arena_format(arena, "%s_loss", key) : term->name;
    if (!term->logged)
        return dl_fail_memory(64);
    const dl_node *output = dl_given(item, "output");
    dl_status status =
        find_output(wiring, arena, output, item, key, &term->output, &term->output_name);
    if (status != DL_OK) {
        if (output || uses(item, "y_pred"))
            return status;
        term->output = DL_NO_OUTPUT;
        term->output_name = "";
    }
    status = find_target(wiring, arena, term, key);
    if (status != DL_OK) {
        if (dl_given(item, "target") || uses(item, "y_true"))
            return status;
        term->target = DL_NO_TARGET;
    }
    term->compares = term->output != DL_NO_OUTPUT && term->target != DL_NO_TARGET &&
                     (!key || uses(item, "y_pred") || uses(item, "y_true"));
    const dl_node *weight = dl_given(item, "sample_weight");
    if (weight) {
        term->sample_weight = dl_wiring_field(wiring, weight->text);
        if (term->sample_weight < 0)
            return dl_fail_at(weight, DL_BAD_JOB, "the data has no field '%s'; it has %s",
                              weight->text, list_fields(wiring, arena));
    }
    for (DL_EACH(number, weights))
        if (key && number->key && strcmp(number->key, key) == 0)
            term->weight = number->number;
    return DL_OK;
}

static dl_status check_weights(const dl_objective *objective, const dl_node *weights) {
    for (DL_EACH(number, weights)) {
        const char *names[64];
        bool found = false;
        int count = 0;
        for (int i = 0; i < objective->terms && count < 64; i++) {
            names[count++] = objective->term[i].name;
            found = found || strcmp(objective->term[i].name, number->key) == 0;
        }
        const char *nearest = found ? NULL : dl_nearest(number->key, names, count);
        if (!found)
            return dl_fail_at(number, DL_BAD_JOB, "loss_weights: '%s' is no term of the loss%s%s%s",
                              number->key, nearest ? "; did you mean '" : "",
                              nearest ? nearest : "", nearest ? "'?" : "");
    }
    return DL_OK;
}

/* A metric without `output` measures the output of every term. */
static dl_status add_measures(dl_objective *objective, dl_arena *arena, const dl_wiring *wiring,
                              const dl_node *item) {
    const dl_node *output = dl_given(item, "output");
    const char *name = dl_text(item, "name"), *own = name ? name : item->word->name;
    int wanted = INT_MIN, before = objective->measures;
    const char *text;
    if (output)
        DL_TRY(find_output(wiring, arena, output, item, NULL, &wanted, &text));
    bool compares = uses(item, "y_true") || uses(item, "y_pred");
    int comparing = 0;
    for (int i = 0; i < objective->terms; i++)
        comparing += objective->term[i].compares;
    for (int i = 0; i < objective->terms; i++) {
        const dl_term *term = &objective->term[i];
        if (compares && (!term->compares || (output && term->output != wanted)))
            continue;
        if (!compares && i > 0)
            break; /* once, whatever the terms */
        bool alone = !compares || comparing == 1 || (output && name);
        dl_measure *measure = &objective->measure[objective->measures++];
        *measure = (dl_measure){
            .name = alone ? own : dl_arena_format(arena, "%s_%s", term->output_name, own),
            .node = item,
            .term = i};
        if (!measure->name)
            return dl_fail_memory(64);
        for (int j = 0; j < objective->measures - 1; j++)
            if (strcmp(objective->measure[j].name, measure->name) == 0)
                return dl_fail_at(
                    item, DL_BAD_JOB,
                    "two metrics are logged as '%s'; give one a name: - {%s, name: NAME}",
                    measure->name, item->word->name);
    }
    if (objective->measures == before)
        return dl_fail_at(output ? output : item, DL_BAD_JOB,
                          "metric %s has no target: no loss compares this output",
                          item->word->name);
    return DL_OK;
}

dl_status dl_objective_open(dl_objective *objective, dl_arena *arena, const dl_node *job,
                            const dl_wiring *wiring) {
    const dl_node *loss = dl_given(job, "loss"), *weights = dl_given(job, "loss_weights");
    const dl_node *metrics = dl_given(job, "metrics");
    memset(objective, 0, sizeof *objective);
    if (!loss)
        return DL_OK;
    int terms = loss->kind == DL_NODE_ITEM ? 1 : loss->count;
    objective->term = DL_NEW_N(arena, dl_term, terms);
    objective->measure = DL_NEW_N(arena, dl_measure, terms * (metrics ? metrics->count : 0) + 1);
    if (!objective->term || !objective->measure)
        return dl_fail_memory(sizeof(dl_term) * (size_t)terms);
    if (loss->kind == DL_NODE_ITEM)
        DL_TRY(add_term(objective, arena, wiring, loss, NULL, weights));
    else
        for (DL_EACH(item, loss))
            DL_TRY(add_term(objective, arena, wiring, item, item->key, weights));
    DL_TRY(check_weights(objective, weights));
    for (DL_EACH(item, metrics))
        DL_TRY(add_measures(objective, arena, wiring, item));
    return DL_OK;
}
