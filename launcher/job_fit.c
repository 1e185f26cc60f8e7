/* Which of a type's alternatives a node means. A look at the node and the first level below it
 * decides, so that the work stays linear in the size of a job; the choice is then checked in full
 * by job_check.c, whose messages speak of that alternative alone. */
#include <string.h>

#include "launcher/job_inner.h"

bool dl_node_is_empty(const dl_node *node) {
    return node->kind == DL_NODE_SCALAR && !node->quoted && !*node->text;
}

const char *dl_word_nearest(const dl_family *family, const char *text) {
    const char *best = NULL;
    for (int i = 0; i < family->word_count; i++) {
        const char *names[2] = {best ? best : family->words[i].name, family->words[i].name};
        const char *now = dl_nearest(text, names, 2);
        best = now ? now : best;
    }
    return best;
}

static int fit_item(const dl_family *family, const dl_node *node) {
    if (node->kind == DL_NODE_ITEM)
        return dl_word_of(family, node->text) == node->word ? DL_FIT_WELL : DL_FIT_NEVER;
    if (node->kind == DL_NODE_SCALAR)
        return dl_word_of(family, node->text) ? DL_FIT_WELL : DL_FIT_KIND;
    if (node->kind != DL_NODE_MAP)
        return DL_FIT_NEVER;
    const dl_node *unknown = NULL;
    int strangers = 0;
    for (DL_EACH(child, node)) {
        if (dl_word_of(family, child->key))
            return DL_FIT_WELL;
        if (dl_key_of(family->siblings, family->sibling_count, child->key))
            continue;
        unknown = child;
        strangers++;
    }
    if (strangers != 1)
        return DL_FIT_KIND;
    /* A misspelt word, or one of a later version: {cifar: [...], first: 1000}. */
    bool arguments = unknown->kind != DL_NODE_SCALAR && family->sibling_count > 0;
    return arguments || dl_word_nearest(family, unknown->key) ? DL_FIT_NEAR : DL_FIT_KIND;
}

static int fit_keys(const dl_table *table, const dl_node *node) {
    if (node->kind == DL_NODE_SCALAR)
        return table->main ? DL_FIT_PART : DL_FIT_NEVER;
    if (node->kind != DL_NODE_MAP)
        return DL_FIT_NEVER;
    int known = 0;
    for (DL_EACH(child, node))
        known += dl_key_of(table->keys, table->key_count, child->key) != NULL;
    return known == node->count ? DL_FIT_WELL : known > 0 ? DL_FIT_PART : DL_FIT_KIND;
}

static int fit(const dl_form *form, const dl_node *node, int depth);

static int best_fit(const dl_form *forms, const dl_node *node, int depth) {
    int best = DL_FIT_NEVER;
    for (; forms; forms = forms->next) {
        int here = fit(forms, node, depth);
        best = here > best ? here : best;
    }
    return best;
}

static int fit(const dl_form *form, const dl_node *node, int depth) {
    if (form->kind < DL_FORM_SCALARS) {
        dl_node copy = *node;
        if (node->kind != DL_NODE_SCALAR || dl_node_is_empty(node))
            return DL_FIT_NEVER;
        return dl_form_read(form, &copy) ? DL_FIT_WELL : DL_FIT_KIND;
    }
    switch (form->kind) {
    case DL_FORM_ITEM:
        return fit_item(form->family, node);
    case DL_FORM_KEYS:
        return fit_keys(form->table, node);
    case DL_FORM_ITEMS:
        return node->kind == DL_NODE_LIST ? DL_FIT_WELL : DL_FIT_NEVER;
    case DL_FORM_LIST:
        if (node->kind != DL_NODE_LIST)
            return DL_FIT_NEVER;
        return !node->first || depth > 2 ||
                       best_fit(form->element, node->first, depth + 1) >= DL_FIT_PART
                   ? DL_FIT_WELL
                   : DL_FIT_PART;
    case DL_FORM_MAP:
        if (node->kind != DL_NODE_MAP)
            return DL_FIT_NEVER;
        if (form->element->kind != DL_FORM_ITEM)
            return DL_FIT_PART;
        for (DL_EACH(child, node)) /* terms of a loss: told by a known word inside */
            if (best_fit(form->element, child, depth + 1) >= DL_FIT_WELL)
                return DL_FIT_WELL;
        return node->count > 1 ? DL_FIT_PART : DL_FIT_KIND;
    default:
        return DL_FIT_PART;
    }
}

int dl_form_fit(const dl_form *form, const dl_node *node) {
    return fit(form, node, 0);
}

/* Whether a form can be a map: then the word's map may be its main argument. */
static bool takes_map(const dl_form *forms) {
    for (; forms; forms = forms->next)
        if (forms->kind == DL_FORM_ITEM || forms->kind == DL_FORM_KEYS ||
            forms->kind == DL_FORM_MAP || forms->kind == DL_FORM_ANY)
            return true;
    return false;
}

bool dl_word_main_map(dl_job *job, const dl_word *word, const dl_node *value) {
    if (!word->main || !value->first)
        return false;
    for (DL_EACH(child, value))
        if (dl_key_of(word->keys, word->key_count, child->key))
            return false;
    const dl_key *row = dl_key_of(word->keys, word->key_count, word->main);
    const dl_form *forms = row ? dl_form_parse(job, row->type) : NULL;
    return takes_map(forms);
}
