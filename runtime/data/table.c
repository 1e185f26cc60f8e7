/* See table.h. */
#include "runtime/data/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "It has 40: Price, Area, Location, No. of Bedrooms, ..." */
static const char *some_names(const dl_columns *c) {
    enum { SHOWN = 4 };
    const char *text = dl_arena_format(c->arena, "It has %d: ", c->count);
    for (int i = 0; text && i < c->count && i < SHOWN; i++)
        text = dl_arena_format(c->arena, "%s%s%s", text, i ? ", " : "", c->name[i]);
    if (text && c->count > SHOWN)
        text = dl_arena_format(c->arena, "%s, ...", text);
    return text ? text : "";
}

dl_status dl_column_find(const dl_columns *c, const dl_node *node, const char *text, bool number,
                         int *out) {
    if (number) {
        double index = node->number;
        if (index != floor(index) || index < 0 || index >= c->count)
            return dl_fail_at(node, DL_BAD_JOB, "%s has no column %s; it has %d, numbered from 0",
                              c->file, text, c->count);
        *out = (int)index;
        return DL_OK;
    }
    if (!c->name)
        return dl_fail_at(
            node, DL_BAD_JOB,
            "%s has no header, so '%s' means nothing; use numbers from 0 to %d, or say "
            "header: true",
            c->file, text, c->count - 1);
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->name[i], text) == 0) {
            *out = i;
            return DL_OK;
        }
    const char *near = dl_nearest(text, c->name, c->count);
    if (near)
        return dl_fail_at(node, DL_BAD_JOB, "%s has no column '%s'; did you mean '%s'? %s", c->file,
                          text, near, some_names(c));
    return dl_fail_at(node, DL_BAD_JOB, "%s has no column '%s'. %s", c->file, text, some_names(c));
}

/* "2..31" or "2.." */
static bool is_range(const dl_node *node, long *low, long *high) {
    char *end;
    if (node->quoted || node->text[0] < '0' || node->text[0] > '9')
        return false;
    *low = strtol(node->text, &end, 10);
    if (strncmp(end, "..", 2) != 0)
        return false;
    end += 2;
    *high = -1;
    if (*end)
        *high = strtol(end, &end, 10);
    return *end == '\0';
}

static dl_status pick_scalar(const dl_columns *c, const dl_node *node, dl_pick *pick) {
    long low, high;
    if (node->kind != DL_NODE_SCALAR)
        return dl_fail_at(
            node, DL_BAD_JOB,
            "columns are a name, a number from 0, a range, a list of these or {all_but: "
            "[...]}");
    int first;
    if (is_range(node, &low, &high)) {
        high = high < 0 ? c->count - 1 : high;
        if (low > high || high >= c->count)
            return dl_fail_at(node, DL_BAD_JOB, "%s has no columns %s; it has %d, numbered from 0",
                              c->file, node->text, c->count);
        first = (int)low;
    } else {
        bool number = !node->quoted && node->value == DL_VALUE_NUMBER;
        DL_TRY(dl_column_find(c, node, node->text, number, &first));
        high = first;
    }
    for (int i = first; i <= high; i++) {
        if (pick->count == c->count)
            return dl_fail_at(node, DL_BAD_JOB, "a column is named twice here");
        pick->column[pick->count++] = i;
    }
    return DL_OK;
}

static dl_status pick_others(const dl_columns *c, const dl_node *list, dl_pick *pick) {
    bool *left_out = DL_NEW_N(c->arena, bool, c->count);
    dl_pick out = {.column = DL_NEW_N(c->arena, int, c->count)};
    if (!left_out || !out.column)
        return dl_fail_memory((size_t)c->count);
    if (list->kind == DL_NODE_LIST) {
        for (DL_EACH(child, list))
            DL_TRY(pick_scalar(c, child, &out));
    } else {
        DL_TRY(pick_scalar(c, list, &out));
    }
    for (int i = 0; i < out.count; i++)
        left_out[out.column[i]] = true;
    for (int i = 0; i < c->count; i++)
        if (!left_out[i])
            pick->column[pick->count++] = i;
    return DL_OK;
}

dl_status dl_columns_pick(const dl_columns *c, const dl_node *node, dl_pick *pick) {
    long low, high;
    *pick = (dl_pick){.node = node, .column = DL_NEW_N(c->arena, int, c->count + 1)};
    if (!pick->column)
        return dl_fail_memory(sizeof(int) * (size_t)c->count);
    if (node->kind == DL_NODE_MAP) {
        const dl_node *others = dl_get(node, "all_but");
        if (!others || node->count != 1)
            return dl_fail_at(node, DL_BAD_JOB,
                              "'%s' is not known of columns; write {all_but: [...]}",
                              node->first ? node->first->key : "{}");
        DL_TRY(pick_others(c, others, pick));
    } else if (node->kind == DL_NODE_LIST) {
        for (DL_EACH(child, node))
            DL_TRY(pick_scalar(c, child, pick));
    } else {
        DL_TRY(pick_scalar(c, node, pick));
        pick->lone = !is_range(node, &low, &high);
    }
    if (pick->count == 0)
        return dl_fail_at(node, DL_BAD_JOB, "field '%s' is left without a column", node->key);
    return DL_OK;
}
