/* --set PATH=VALUE: a path walks the checked tree, where shorthands are spelled out:
 * optimizer.sgd.learning_rate, model.h*.dense.units, data.prepare.0. Entries of a list go by the
 * name of the item (layers without one by Keras's: dense, dense_1), else by number from 0. `none`
 * takes a key or an entry away. The new value is put in raw; the check that follows judges it. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/job_inner.h"

enum { TRAIL = 200, NEAREST_OF = 4000, PATH_BYTES = 512 };

typedef struct setter {
    dl_job *job;
    const char *label; /* "--set PATH", in messages */
    const char *path;
    char *part[DL_JOB_PARTS];
    int parts;
    dl_node *value;
    bool none;             /* takes away what has no word `none` of its own */
    dl_node *trail[TRAIL]; /* from the root to the node at hand */
    int depth;
    int matches;
} setter;

static bool glob(const char *part) {
    return strpbrk(part, "*?") != NULL;
}

static bool matches(const char *part, const char *name) {
    return glob(part) ? fnmatch(part, name, 0) == 0 : strcmp(part, name) == 0;
}

/* Word and given name of a list entry, checked or raw. */
static const char *entry_word(const dl_node *entry) {
    if (entry->kind == DL_NODE_ITEM || entry->kind == DL_NODE_SCALAR)
        return entry->text;
    return entry->kind == DL_NODE_MAP && entry->first ? entry->first->key : NULL;
}

static const char *entry_name(const dl_node *entry) {
    const dl_node *name = entry->kind == DL_NODE_ITEM  ? dl_get(entry->beside, "name")
                          : entry->kind == DL_NODE_MAP ? dl_get(entry, "name")
                                                       : NULL;
    return name && name->kind == DL_NODE_SCALAR ? name->text : NULL;
}

/* Copies of this entry: as many of Keras's names are taken by it. */
static int64_t entry_times(const dl_node *entry) {
    const dl_node *times = entry->kind == DL_NODE_ITEM ? dl_get(entry->beside, "times") : NULL;
    return times && times->kind == DL_NODE_SCALAR && times->integer > 1 ? times->integer : 1;
}

/* The name by which an entry goes: its own, or its word with the number of those before. */
static void name_of_entry(const dl_node *list, const dl_node *entry, char *text, size_t size) {
    const char *own = entry_name(entry), *word = entry_word(entry);
    int64_t before = 0;
    if (own || !word) {
        snprintf(text, size, "%s", own ? own : "");
        return;
    }
    for (const dl_node *other = list->first; other != entry; other = other->next) {
        const char *same = entry_word(other);
        if (same && strcmp(same, word) == 0 && !entry_name(other))
            before += entry_times(other);
    }
    if (before)
        snprintf(text, size, "%s_%lld", word, (long long)before);
    else
        snprintf(text, size, "%s", word);
}

static void apply(setter *s, dl_node *node, dl_node *parent);
static void walk(setter *s, dl_node *node, int part);

static void go(setter *s, dl_node *child, dl_node *parent, int part) {
    if (s->depth >= TRAIL)
        return;
    s->trail[s->depth++] = child;
    if (part == s->parts)
        apply(s, child, parent);
    else
        walk(s, child, part);
    s->depth--;
}

static void mark_given(setter *s) {
    for (int i = 0; i < s->depth; i++)
        s->trail[i]->given = true;
}

static dl_node *deep_copy(dl_job *job, const dl_node *node) {
    dl_node *copy = dl_job_take(job, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *node;
    dl_node **last = &copy->first;
    for (DL_EACH(child, node)) {
        *last = deep_copy(job, child);
        if (!*last)
            return NULL;
        last = &(*last)->next;
    }
    *last = NULL;
    return copy;
}

static bool unlink_child(dl_node *parent, dl_node *child) {
    for (dl_node **at = &parent->first; *at; at = &(*at)->next)
        if (*at == child) {
            *at = child->next;
            parent->count--;
            return true;
        }
    return false;
}

/* Arguments of an item: `sgd: 0.1` is `sgd: {learning_rate: 0.1}`, as in a file. */
static dl_node *arguments_of(dl_job *job, const dl_node *item, dl_node *value) {
    if (value->kind == DL_NODE_MAP)
        return value;
    if (!item->word->main) {
        dl_job_error_at(job, value, "%s takes no lone value; set one of its arguments", item->text);
        return NULL;
    }
    dl_node *map = dl_job_take(job, sizeof *map);
    if (!map)
        return NULL;
    *map = *value;
    map->kind = DL_NODE_MAP;
    map->text = NULL;
    map->first = value;
    map->count = 1;
    value->key = item->word->main;
    value->next = NULL;
    return map;
}

static bool none_is_a_value(dl_job *job, const dl_node *node) {
    const dl_form *forms = node->row ? dl_form_parse(job, node->row->type) : NULL;
    return dl_form_has_word(forms, "none");
}

/* The node is what the whole path names; its parent is above it on the trail. */
static void apply(setter *s, dl_node *node, dl_node *parent) {
    s->matches++;
    if (s->none && !none_is_a_value(s->job, node)) {
        if (parent->kind == DL_NODE_LIST || parent->open) {
            unlink_child(parent, node);
        } else if (parent->kind == DL_NODE_ITEM && node == parent->args) {
            node->first = NULL;
            node->count = 0;
        } else {
            node->kind = DL_NODE_ABSENT;
        }
        mark_given(s);
        node->given = false;
        return;
    }
    dl_node *value = deep_copy(s->job, s->value);
    if (value && parent->kind == DL_NODE_ITEM && node == parent->args)
        value = arguments_of(s->job, parent, value);
    if (!value)
        return;
    /* A layer replaced keeps its name and inputs (job.md 2.1). */
    bool keeps = parent->kind == DL_NODE_LIST && node->kind == DL_NODE_ITEM;
    dl_node *beside = keeps ? node->beside : NULL, *next = node->next;
    const char *key = node->key;
    *node = *value;
    node->key = key;
    node->next = next;
    node->given = true;
    if (beside && node->kind == DL_NODE_SCALAR) { /* a bare word: as `word: {}` */
        dl_node *word = dl_job_take(s->job, sizeof *word);
        if (!word)
            return;
        *word = *node;
        word->kind = DL_NODE_MAP;
        word->key = node->text;
        word->text = NULL;
        word->next = NULL;
        node->kind = DL_NODE_MAP;
        node->first = word;
        node->count = 1;
    }
    for (const dl_node *old = beside ? beside->first : NULL; old; old = old->next) {
        if (node->kind != DL_NODE_MAP || !old->given || old->kind == DL_NODE_ABSENT ||
            dl_get(node, old->key))
            continue;
        dl_node *copy = deep_copy(s->job, old);
        if (!copy)
            return;
        copy->next = node->first;
        node->first = copy;
        node->count++;
    }
    mark_given(s);
}

/* Adds the rest of the path as new maps under a node that is not there yet, or has any names. */
static void grow(setter *s, dl_node *node, int part) {
    dl_node *above = node;
    if (s->none)
        return;
    for (int i = part; i < s->parts; i++)
        if (glob(s->part[i]))
            return;
    if (node->kind != DL_NODE_MAP) {
        node->kind = DL_NODE_MAP;
        node->first = NULL;
        node->count = 0;
    }
    node->file = s->label;
    for (int i = part; i < s->parts; i++) {
        dl_node *child = dl_job_take(s->job, sizeof *child);
        if (!child)
            return;
        if (i == s->parts - 1)
            *child = *s->value;
        else
            child->kind = DL_NODE_MAP;
        child->key = s->part[i];
        child->given = true;
        child->file = s->label;
        child->next = above->first;
        above->first = child;
        above->count++;
        above = child;
    }
    s->matches++;
    mark_given(s);
}

static void walk_list(setter *s, dl_node *list, int part) {
    const char *name = s->part[part];
    char *end;
    long number = strtol(name, &end, 10);
    bool by_number = *name && *end == '\0';
    dl_node *next;
    int i = 0, before = s->matches;
    for (dl_node *entry = list->first; entry; entry = next, i++) {
        char text[256];
        next = entry->next;
        if (by_number && i != number)
            continue;
        if (!by_number) {
            name_of_entry(list, entry, text, sizeof text);
            if (!matches(name, text))
                continue;
        }
        go(s, entry, list, part + 1);
        if (!glob(name) && s->matches > before)
            return;
    }
}

static void walk_item(setter *s, dl_node *item, int part) {
    const char *name = s->part[part];
    if (matches(name, item->text))
        go(s, item->args, item, part + 1);
    for (dl_node *child = item->beside->first; child; child = child->next)
        if (matches(name, child->key))
            go(s, child, item->beside, part + 1);
}

static void walk(setter *s, dl_node *node, int part) {
    const char *name = s->part[part];
    if (node->kind == DL_NODE_LIST) {
        walk_list(s, node, part);
    } else if (node->kind == DL_NODE_ITEM) {
        walk_item(s, node, part);
    } else if (node->kind == DL_NODE_MAP) {
        dl_node *next;
        bool found = false;
        for (dl_node *child = node->first; child; child = next) {
            next = child->next;
            if (!matches(name, child->key))
                continue;
            found = true;
            go(s, child, node, part + 1);
        }
        if (!found && node->open)
            grow(s, node, part);
    } else if (node->kind == DL_NODE_ABSENT) {
        grow(s, node, part);
    }
}

/* The nearest of all paths, for "did you mean". */
typedef struct search {
    setter *s;
    char best[PATH_BYTES];
    int best_rank, seen;
} search;

static int common(const char *a, const char *b) {
    int n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

static void consider(search *f, const char *path) {
    const char *wanted = f->s->path, *one[] = {path};
    if (!dl_nearest(wanted, one, 1))
        return;
    const char *two[] = {f->best, path};
    if (!*f->best || (dl_nearest(wanted, two, 2) == path) ||
        (common(wanted, path) > f->best_rank && dl_nearest(path, two, 1))) {
        snprintf(f->best, sizeof f->best, "%s", path);
        f->best_rank = common(wanted, path);
    }
}

static void visit(search *f, const dl_node *node, const char *path, const char *name, int depth);

static void visit_children(search *f, const dl_node *node, const char *path, int depth) {
    int i = 0;
    for (DL_EACH(child, node)) {
        char text[256];
        if (node->kind == DL_NODE_LIST) {
            name_of_entry(node, child, text, sizeof text);
            if (!*text || child->kind == DL_NODE_SCALAR)
                snprintf(text, sizeof text, "%d", i);
        }
        visit(f, child, path, node->kind == DL_NODE_LIST ? text : child->key, depth);
        i++;
    }
}

static void visit(search *f, const dl_node *node, const char *path, const char *name, int depth) {
    char here[PATH_BYTES];
    int length = snprintf(here, sizeof here, "%s%s%s", path, *path ? "." : "", name);
    if (length < 0 || length >= (int)sizeof here || depth > 12 || ++f->seen > NEAREST_OF)
        return;
    consider(f, here);
    if (node->kind == DL_NODE_ITEM) {
        visit(f, node->args, here, node->text, depth + 1);
        visit_children(f, node->beside, here, depth + 1);
    } else {
        visit_children(f, node, here, depth + 1);
    }
}

static void no_such_path(setter *s, const dl_node *root) {
    search f = {.s = s};
    visit_children(&f, root, "", 0);
    const char *path = dl_job_clip(s->job, s->path);
    const char *keras = dl_job_keras(s->job, "optimizer", s->part[s->parts - 1], s->value);
    if (keras)
        dl_job_error(s->job, s->label, 0, 0, "no '%s' in this job; %s", path, keras);
    else if (*f.best)
        dl_job_error(s->job, s->label, 0, 0,
                     "no '%s' in this job; did you mean '%s'? (dltrain plan prints every path)",
                     path, dl_job_clip(s->job, f.best));
    else
        dl_job_error(s->job, s->label, 0, 0, "no '%s' in this job; dltrain plan prints every path",
                     path);
}

static void print_paths(FILE *out, const dl_node *node, const char *path) {
    int i = 0;
    for (DL_EACH(child, node)) {
        char name[256], here[PATH_BYTES];
        snprintf(name, sizeof name, "%s", child->key ? child->key : "");
        if (node->kind == DL_NODE_LIST) {
            name_of_entry(node, child, name, sizeof name);
            if (!*name)
                snprintf(name, sizeof name, "%d", i);
        }
        int length = snprintf(here, sizeof here, "%s%s%s", path, *path ? "." : "", name);
        i++;
        if (length < 0 || length >= (int)sizeof here)
            continue;
        if (node->kind == DL_NODE_LIST && child->kind == DL_NODE_ITEM)
            fprintf(out, "  %s.%s\n", here, child->text);
        if (child->kind == DL_NODE_MAP || child->kind == DL_NODE_LIST)
            print_paths(out, child, here);
    }
}

void dl_job_print_paths(dl_job *job, FILE *out) {
    print_paths(out, job->root, "");
}

void dl_job_set(dl_job *job, dl_node *root, const char *set) {
    setter s = {.job = job};
    const char *equals = strchr(set, '=');
    if (!equals || equals == set) {
        dl_job_error(job, "--set", 0, 0, "'%s' is not PATH=VALUE; write --set epochs=3",
                     dl_job_clip(job, set));
        return;
    }
    char *path = dl_job_copy(job, set, (size_t)(equals - set));
    char *parts = path ? dl_job_copy(job, path, strlen(path)) : NULL;
    if (!parts)
        return;
    s.path = path;
    s.label = dl_arena_format(&job->arena, "--set %s", dl_job_clip(job, path));
    for (char *rest = parts, *one; (one = strsep(&rest, "."));) {
        if (s.parts == DL_JOB_PARTS || !*one) {
            dl_job_error(job, s.label, 0, 0, "'%s' is no path; its parts are joined by one dot",
                         dl_job_clip(job, path));
            return;
        }
        s.part[s.parts++] = one;
    }
    static const dl_node nowhere = {.kind = DL_NODE_ABSENT};
    s.none = strcmp(equals + 1, "none") == 0;
    s.value = dl_job_parse(job, s.label, equals + 1, strlen(equals + 1), true, &nowhere);
    if (!s.value)
        return;
    s.trail[s.depth++] = root;
    int errors = job->errors;
    walk(&s, root, 0);
    if (s.matches == 0 && job->errors == errors && !job->out_of_memory)
        no_such_path(&s, root);
}
