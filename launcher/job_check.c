/* The raw tree against the rows: shorthands are spelled out, defaults filled in, and what is wrong
 * is told. Of a type's alternatives the one that fits best is chosen by a look at the node
 * and its children alone, so that work is linear in the size of the job. What is wrong is left raw.
 * Checking twice gives the same tree, which is how --set works (job_paths.c). */
#include <string.h>

#include "launcher/job_inner.h"

enum { CHECK_DEPTH = 200 }; /* beyond it a default refers to itself */

typedef struct checker {
    dl_job *job;
    int depth;
    bool in_list; /* the node at hand is an entry of a list */
} checker;

static dl_node *check(checker *c, const dl_form *forms, const dl_node *raw, const char *label);

static dl_node *copy_of(checker *c, const dl_node *raw) {
    dl_node *node = dl_job_take(c->job, sizeof *node);
    if (node) {
        *node = *raw;
        node->next = NULL;
    }
    return node;
}

static void append(dl_node *parent, dl_node **last, dl_node *child) {
    child->next = NULL;
    if (*last)
        (*last)->next = child;
    else
        parent->first = child;
    *last = child;
    parent->count++;
}

/* A map or list like `raw`, without its children. */
static dl_node *empty_copy(checker *c, const dl_node *raw, dl_node_kind kind) {
    dl_node *node = copy_of(c, raw);
    if (node) {
        node->kind = kind;
        node->first = NULL;
        node->count = 0;
        node->args = node->beside = NULL;
    }
    return node;
}

/* The value of a key that the job does not give. */
static dl_node *default_of(checker *c, const dl_key *key, const dl_form *forms,
                           const dl_node *place) {
    dl_job *job = c->job;
    dl_node *raw;
    if (!key->value || !*key->value || c->depth > CHECK_DEPTH) {
        raw = dl_job_take(job, sizeof *raw);
        if (raw)
            *raw = (dl_node){.kind = DL_NODE_ABSENT};
    } else if (!strpbrk(key->value, "[]{}\"':#&*!")) {
        raw = dl_job_take(job, sizeof *raw);
        if (raw)
            *raw = (dl_node){.kind = DL_NODE_SCALAR, .text = key->value};
    } else {
        raw = dl_job_parse(job, place->file, key->value, strlen(key->value), true, place);
    }
    if (!raw)
        return NULL;
    raw->file = place->file;
    raw->line = place->line;
    raw->column = place->column;
    raw->key = key->name;
    if (raw->kind == DL_NODE_ABSENT)
        return raw;
    raw->given = true; /* what stands in the text counts, row defaults fill in the rest */
    dl_node *node = check(c, forms, raw, key->name);
    if (node)
        node->given = false;
    return node;
}

/* Who owns a row list: a table, or a word of a family. */
typedef struct owner {
    const dl_table *table;
    const dl_family *family;
    const dl_word *word;
    bool beside;          /* the family's siblings, not the word's arguments */
    const dl_node *place; /* where a missing key is told */
} owner;

static const char *owner_text(dl_job *job, const owner *o) {
    const char *text;
    if (o->word)
        text = dl_arena_format(&job->arena, "%s %s", o->family->name, o->word->name);
    else
        text = o->table == job->vocabulary->root ? "the job" : o->table->name;
    return text ? text : "";
}

static void unknown_key(checker *c, const owner *o, const dl_node *child) {
    dl_job *job = c->job;
    const char *key = dl_job_clip(job, child->key);
    bool refused = strcmp(key, "<<") == 0 || strcmp(key, "*") == 0 || !*key;
    if (refused && job->errors > 0) /* job_yaml.c told of it */
        return;
    if (o->beside) {
        dl_job_error_key(job, child, "'%s' is not a key beside %s; %s", key,
                         dl_job_a(job, o->family->name),
                         dl_job_no_sibling(job, o->family, o->word, child));
    } else if (o->word && dl_key_of(o->family->siblings, o->family->sibling_count, child->key)) {
        const char *value =
            child->kind == DL_NODE_SCALAR && *child->text ? dl_job_clip(job, child->text) : "...";
        dl_job_error_key(job, child,
                         "'%s' belongs beside the %s, not inside it: - {%s: {...}, %s: %s}", key,
                         o->family->name, o->word->name, key, value);
    } else if (o->word) {
        dl_job_error_key(job, child, "'%s' is not an argument of %s; %s", key, owner_text(job, o),
                         dl_job_no_argument(job, o->family, o->word, child));
    } else {
        dl_job_error_key(job, child, "'%s' is not a key of %s; %s", key, owner_text(job, o),
                         dl_job_no_key(job, o->table, child));
    }
}

static void missing_key(checker *c, const owner *o, const dl_key *key, const dl_form *forms) {
    dl_job_error_at(c->job, o->place, "%s lacks '%s'; add %s: %s", owner_text(c->job, o), key->name,
                    key->name, dl_form_text(c->job, forms));
}

/* A map with every key of the rows. `raw` is a map or NULL (all defaults). */
static dl_node *check_rows(checker *c, const dl_key *keys, int count, const dl_node *raw,
                           const owner *o) {
    dl_node *map = raw ? empty_copy(c, raw, DL_NODE_MAP) : dl_job_take(c->job, sizeof *map);
    dl_node *last = NULL;
    if (!map)
        return NULL;
    if (!raw) {
        map->kind = DL_NODE_MAP;
        map->file = o->place->file;
        map->line = o->place->line;
        map->column = o->place->column;
    }
    map->open = false;
    for (const dl_node *child = raw ? raw->first : NULL; child; child = child->next)
        if (!dl_key_of(keys, count, child->key))
            unknown_key(c, o, child);
    for (int i = 0; i < count; i++) {
        const dl_node *child = raw ? dl_get(raw, keys[i].name) : NULL;
        dl_form *forms = dl_form_parse(c->job, keys[i].type);
        dl_node *value;
        if (!forms)
            return NULL;
        if (child && child->given) {
            value = check(c, forms, child, keys[i].name);
        } else {
            if (!keys[i].value)
                missing_key(c, o, &keys[i], forms);
            value = default_of(c, &keys[i], forms, map);
        }
        if (!value)
            return NULL;
        value->key = keys[i].name;
        value->row = &keys[i];
        append(map, &last, value);
    }
    return map;
}

/* Unknown keys are kept at the end, so that a second check tells of them again. */
static dl_node *keep_unknown(checker *c, const dl_key *keys, int count, const dl_node *raw,
                             dl_node *map) {
    dl_node *last = map->first;
    while (last && last->next)
        last = last->next;
    for (const dl_node *child = raw ? raw->first : NULL; child; child = child->next) {
        if (dl_key_of(keys, count, child->key))
            continue;
        dl_node *copy = copy_of(c, child);
        if (!copy)
            return NULL;
        append(map, &last, copy);
    }
    return map;
}

static dl_node *check_map(checker *c, const dl_key *keys, int count, const dl_node *raw,
                          const owner *o) {
    dl_node *map = check_rows(c, keys, count, raw, o);
    return map ? keep_unknown(c, keys, count, raw, map) : NULL;
}

static dl_node *check_keys(checker *c, const dl_table *table, const dl_node *raw) {
    dl_node wrapped, inner;
    owner o = {.table = table, .place = raw};
    if (raw->kind == DL_NODE_SCALAR && table->main) {
        inner = *raw;
        inner.key = table->main;
        inner.next = NULL;
        wrapped = *raw;
        wrapped.kind = DL_NODE_MAP;
        wrapped.text = NULL;
        wrapped.first = &inner;
        wrapped.count = 1;
        raw = &wrapped;
        o.place = raw;
    }
    dl_node *map = check_map(c, table->keys, table->key_count, raw, &o);
    if (map)
        map->text = NULL;
    return map;
}

/* The first arguments of a word, for messages: "filters: ..., kernel_size: ..." */
static const char *example_arguments(dl_job *job, const dl_word *word) {
    const char *text = "";
    int shown = 0;
    for (int i = 0; i < word->key_count && shown < 2; i++)
        if (!word->keys[i].value || (i == word->key_count - 1 && shown == 0)) {
            text = dl_arena_format(&job->arena, "%s%s%s: ...", text, shown ? ", " : "",
                                   word->keys[i].name);
            if (!text)
                return "";
            shown++;
        }
    return text;
}

/* The arguments of a word as a map of its rows. `value` is what stands after "word:" or NULL. */
static dl_node *check_arguments(checker *c, const dl_family *family, const dl_word *word,
                                const dl_node *value, const dl_node *item) {
    owner o = {.family = family, .word = word, .place = item};
    dl_node wrapped, inner;
    if (value && value->kind == DL_NODE_ABSENT)
        return NULL;
    if (value && dl_node_is_empty(value))
        value = NULL;
    if (value && (value->kind != DL_NODE_MAP || dl_word_main_map(c->job, word, value))) {
        if (!word->main) {
            if (word->key_count == 0)
                dl_job_error_at(c->job, value, "%s %s takes no arguments; write it alone: %s",
                                family->name, word->name, word->name);
            else
                dl_job_error_at(
                    c->job, value, "%s %s takes no lone value; name its arguments: %s: {%s}",
                    family->name, word->name, word->name, example_arguments(c->job, word));
            return NULL;
        }
        inner = *value;
        inner.key = word->main;
        inner.next = NULL;
        wrapped = *value;
        wrapped.kind = DL_NODE_MAP;
        wrapped.text = NULL;
        wrapped.quoted = false;
        wrapped.first = &inner;
        wrapped.count = 1;
        value = &wrapped;
    }
    dl_node *map = check_map(c, word->keys, word->key_count, value, &o);
    if (map) {
        map->key = word->name;
        map->text = NULL;
    }
    return map;
}

/* The one word of an item map. NULL if it has none or two, which is told. */
static const dl_node *word_in(checker *c, const dl_family *family, const dl_node *raw,
                              bool in_list) {
    dl_job *job = c->job;
    const dl_node *first = NULL, *unknown = NULL;
    for (DL_EACH(child, raw)) {
        bool known = dl_word_of(family, child->key) != NULL;
        if (!known && !dl_key_of(family->siblings, family->sibling_count, child->key)) {
            unknown = unknown ? unknown : child;
            continue;
        }
        if (!known)
            continue;
        if (first) {
            dl_job_error_at(c->job, raw, "this item names two %s, '%s' and '%s'; %s",
                            family->plural, first->key, child->key,
                            in_list ? "begin the second with '- ' on its own line" : "keep one");
            return NULL;
        }
        first = child;
    }
    if (first)
        return first;
    if (unknown)
        dl_job_error_key(c->job, unknown, "'%s' is not %s; %s", dl_job_clip(c->job, unknown->key),
                         dl_job_a(job, family->name),
                         dl_job_no_word(c->job, family, unknown->key, unknown));
    else
        dl_job_error_at(c->job, raw,
                        "this item names no %s; write one, for example %s (dltrain help "
                        "%s)",
                        family->name, family->word_count ? family->words[0].name : "WORD",
                        family->plural);
    return NULL;
}

/* What stands beside the word: `raw` without the word itself. */
static dl_node *check_beside(checker *c, const dl_family *family, const dl_word *word,
                             const dl_node *raw, const dl_node *item) {
    owner o = {.family = family, .word = word, .beside = true, .place = item};
    dl_node *beside = NULL, *last = NULL;
    if (raw) {
        beside = empty_copy(c, raw, DL_NODE_MAP);
        for (const dl_node *child = raw->first; child && beside; child = child->next) {
            if (strcmp(child->key, word->name) == 0)
                continue;
            dl_node *copy = copy_of(c, child);
            if (!copy)
                return NULL;
            append(beside, &last, copy);
        }
        if (!beside)
            return NULL;
    }
    dl_node *map = check_map(c, family->siblings, family->sibling_count, beside, &o);
    if (map)
        map->key = NULL;
    return map;
}

static dl_node *check_item(checker *c, const dl_family *family, const dl_node *raw) {
    dl_job *job = c->job;
    const dl_node *value = NULL, *beside = NULL;
    const char *name = NULL;
    bool in_list = c->in_list;
    c->in_list = false;
    if (raw->kind == DL_NODE_SCALAR) {
        if (!dl_word_of(family, raw->text)) {
            dl_job_error_at(job, raw, "'%s' is not %s; %s", dl_job_clip(job, raw->text),
                            dl_job_a(job, family->name),
                            dl_job_no_word(job, family, raw->text, NULL));
            return copy_of(c, raw);
        }
        name = raw->text;
    } else if (raw->kind == DL_NODE_MAP) {
        const dl_node *word = word_in(c, family, raw, in_list);
        if (!word)
            return copy_of(c, raw);
        name = word->key;
        value = word;
        beside = raw;
    } else { /* checked before */
        name = raw->text;
        value = raw->args;
        beside = raw->beside;
    }
    const dl_word *word = dl_word_of(family, name);
    dl_node *item = empty_copy(c, raw, DL_NODE_ITEM);
    if (!item || !word)
        return NULL;
    item->text = word->name;
    item->word = word;
    if (raw->kind == DL_NODE_ITEM) {
        owner o = {.family = family, .word = word, .place = item};
        item->args = check_map(c, word->keys, word->key_count, value, &o);
    } else {
        item->args = check_arguments(c, family, word, value, item);
        if (!item->args) /* told, or no memory; told again after the next --set */
            return job->out_of_memory ? NULL : copy_of(c, raw);
    }
    item->beside = check_beside(c, family, word, beside, item);
    return item->args && item->beside ? item : NULL;
}

static dl_node *check_list(checker *c, const dl_form *element, const dl_node *raw,
                           const char *label) {
    dl_node *list = empty_copy(c, raw, DL_NODE_LIST), *last = NULL;
    if (!list)
        return NULL;
    for (DL_EACH(child, raw)) {
        c->in_list = true;
        dl_node *value = check(c, element, child, label);
        if (!value)
            return NULL;
        append(list, &last, value);
    }
    return list;
}

static dl_node *check_map_of(checker *c, const dl_form *element, const dl_node *raw) {
    dl_node *map = empty_copy(c, raw, DL_NODE_MAP), *last = NULL;
    if (!map)
        return NULL;
    map->open = true;
    for (DL_EACH(child, raw)) {
        dl_node *value = check(c, element, child, child->key);
        if (!value)
            return NULL;
        value->key = child->key;
        append(map, &last, value);
    }
    return map;
}

/* `any`: the subtree as it is; only a value that is not there is refused. */
static dl_node *check_any(checker *c, const dl_node *raw, const char *label) {
    dl_node *node = empty_copy(c, raw, raw->kind), *last = NULL;
    if (!node)
        return NULL;
    node->open = node->kind == DL_NODE_MAP;
    node->value = DL_VALUE_NONE;
    if (dl_node_is_empty(raw))
        dl_job_error_key(c->job, raw, "'%s' has no value; write one, or leave the key out",
                         dl_job_clip(c->job, label));
    if (raw->kind == DL_NODE_SCALAR) { /* a number is a number */
        static const dl_form number = {.kind = DL_FORM_NUMBER, .low = -1.7e308, .high = 1.7e308};
        if (raw->quoted || !dl_form_read(&number, node))
            node->value = DL_VALUE_NONE;
    }
    for (DL_EACH(child, raw)) {
        dl_node *value = check_any(c, child, child->key ? child->key : label);
        if (!value)
            return NULL;
        append(node, &last, value);
    }
    return node;
}

static dl_node *check_as(checker *c, const dl_form *form, const dl_node *raw, const char *label) {
    switch (form->kind) {
    case DL_FORM_ITEM:
        return check_item(c, form->family, raw);
    case DL_FORM_KEYS:
        return check_keys(c, form->table, raw);
    case DL_FORM_ITEMS: {
        dl_form item = {.kind = DL_FORM_ITEM, .family = form->family};
        return check_list(c, &item, raw, label);
    }
    case DL_FORM_LIST:
        return check_list(c, form->element, raw, label);
    case DL_FORM_MAP:
        return check_map_of(c, form->element, raw);
    case DL_FORM_ANY:
        return check_any(c, raw, label);
    default: {
        dl_node *node = copy_of(c, raw);
        if (node)
            dl_form_read(form, node);
        return node;
    }
    }
}

static dl_node *check(checker *c, const dl_form *forms, const dl_node *raw, const char *label) {
    const dl_form *best = forms;
    int best_so_far = DL_FIT_NEVER;
    bool in_list = c->in_list;
    c->in_list = false;
    if (raw->kind == DL_NODE_ABSENT || c->job->errors > DL_JOB_ERRORS) /* enough was told */
        return copy_of(c, raw);
    if (c->job->arena.used > DL_JOB_MEMORY) {
        dl_job_error_at(c->job, raw, "the job is too large; move data into files of their own");
        c->job->errors = DL_JOB_ERRORS + 1;
        return copy_of(c, raw);
    }
    if (c->depth >= CHECK_DEPTH) {
        dl_job_error_at(c->job, raw, "'%s' is nested too deeply; write it flatter",
                        dl_job_clip(c->job, label));
        return copy_of(c, raw);
    }
    for (const dl_form *form = forms; form; form = form->next) {
        int here = dl_form_fit(form, raw);
        if (here > best_so_far) {
            best = form;
            best_so_far = here;
        }
    }
    bool scalar = best->kind < DL_FORM_SCALARS;
    if (best_so_far == DL_FIT_NEVER || (scalar && best_so_far < DL_FIT_WELL) ||
        dl_node_is_empty(raw)) {
        dl_job_wrong_value(c->job, forms, raw, label);
        return copy_of(c, raw);
    }
    c->depth++;
    c->in_list = in_list && best->kind == DL_FORM_ITEM;
    dl_node *node = check_as(c, best, raw, label);
    c->depth--;
    return node;
}

dl_node *dl_job_check(dl_job *job, const dl_node *raw) {
    checker c = {.job = job};
    if (raw->kind != DL_NODE_MAP) {
        dl_job_error_at(job, raw, "a job is a map of keys; begin with 'data:' and 'model:'");
        return (dl_node *)raw;
    }
    return check_keys(&c, job->vocabulary->root, raw);
}

dl_node *dl_job_default(dl_job *job, const dl_key *key, const dl_node *place) {
    checker c = {.job = job};
    const dl_form *forms = dl_form_parse(job, key->type);
    return forms ? default_of(&c, key, forms, place) : NULL;
}
