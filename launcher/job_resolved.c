/* The checked tree as text: every key with its value, in the order of the rows, block style, lists
 * of plain values on one line. The text reads back to the same tree, hence to the same text. Also
 * the comparison of two jobs key by key. */
#include <stdio.h>
#include <string.h>

#include "launcher/job_inner.h"

typedef struct writer {
    dl_job *job;
    char *text;
    size_t used, size;
} writer;

static void put_bytes(writer *w, const char *bytes, size_t count) {
    if (w->used + count + 1 > w->size) {
        size_t size = w->size ? w->size * 2 : 4096;
        while (size < w->used + count + 1)
            size *= 2;
        char *grown = dl_realloc(w->text, size);
        if (!grown) {
            w->job->out_of_memory = true;
            return;
        }
        w->text = grown;
        w->size = size;
    }
    memcpy(w->text + w->used, bytes, count);
    w->used += count;
    w->text[w->used] = '\0';
}

static void put(writer *w, const char *text) {
    put_bytes(w, text, strlen(text));
}

static void indent(writer *w, int depth) {
    for (int i = 0; i < depth; i++)
        put(w, "  ");
}

/* Text that YAML takes as it is, also inside brackets. */
static bool is_plain(const char *text) {
    static const char inside[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                 "_./+-%()";
    size_t length = strlen(text);
    if (length == 0 || length > 120 || strchr("%)(", text[0]) || text[length - 1] == ' ')
        return false;
    if (text[0] == '-' && (text[1] < '0' || text[1] > '9') && text[1] != '.')
        return false;
    if (text[0] == '.' && text[1] == '.')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!strchr(inside, text[i]) && !(text[i] == ' ' && i > 0 && text[i - 1] != ' '))
            return false;
    return true;
}

static void put_quoted(writer *w, const char *text) {
    put(w, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        char code[8];
        if (*p == '"' || *p == '\\')
            snprintf(code, sizeof code, "\\%c", *p);
        else if (*p < ' ' || *p == 0x7F)
            snprintf(code, sizeof code, "\\x%02X", *p);
        else if (*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0) /* C1 controls, next line, nbsp */
            snprintf(code, sizeof code, "\\x%02X", *++p);
        else if (*p == 0xE2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9)) {
            snprintf(code, sizeof code, "\\u20%02X", p[2] - 0x80);
            p += 2;
        } else if (*p == 0xEF && p[1] == 0xBB && p[2] == 0xBF) {
            snprintf(code, sizeof code, "\\uFEFF");
            p += 2;
        } else
            snprintf(code, sizeof code, "%c", *p);
        put(w, code);
    }
    put(w, "\"");
}

static void put_scalar(writer *w, const dl_node *node) {
    bool keep = node->quoted && (node->value == DL_VALUE_EXPR || node->value == DL_VALUE_NONE);
    if (keep || !is_plain(node->text))
        put_quoted(w, node->text);
    else
        put(w, node->text);
}

static void put_key(writer *w, const char *key) {
    if (is_plain(key) && strcmp(key, "<<") != 0)
        put(w, key);
    else
        put_quoted(w, key);
    put(w, ":");
}

static bool is_flat(const dl_node *node) {
    if (node->kind == DL_NODE_SCALAR)
        return true;
    if (node->kind != DL_NODE_LIST)
        return false;
    for (DL_EACH(child, node))
        if (!is_flat(child))
            return false;
    return true;
}

static bool shown(const dl_node *map) {
    for (DL_EACH(child, map))
        if (child->kind != DL_NODE_ABSENT)
            return true;
    return false;
}

static void put_flat(writer *w, const dl_node *node) {
    if (node->kind == DL_NODE_SCALAR) {
        put_scalar(w, node);
        return;
    }
    put(w, "[");
    for (DL_EACH(child, node)) {
        if (child != node->first)
            put(w, ", ");
        put_flat(w, child);
    }
    put(w, "]");
}

static void put_children(writer *w, const dl_node *map, int depth, bool first_inline);

/* What follows "key:", or "- " with `entry`: the first line goes on where it stands. */
static void put_node(writer *w, const dl_node *node, int depth, bool entry) {
    if (is_flat(node)) {
        put(w, entry ? "" : " ");
        put_flat(w, node);
        put(w, "\n");
    } else if (node->kind == DL_NODE_LIST) {
        put(w, "\n"); /* of an entry: "-" alone, its list below */
        for (DL_EACH(child, node)) {
            indent(w, depth);
            put(w, child->kind == DL_NODE_LIST && !is_flat(child) ? "-" : "- ");
            put_node(w, child, depth + 1, true);
        }
    } else if (node->kind == DL_NODE_MAP) {
        if (!shown(node)) {
            put(w, entry ? "{}\n" : " {}\n");
        } else {
            if (!entry)
                put(w, "\n");
            put_children(w, node, depth, entry);
        }
    } else if (!shown(node->args) && !shown(node->beside)) {
        put(w, entry ? "" : " ");
        put(w, node->text);
        put(w, "\n");
    } else {
        if (!entry) {
            put(w, "\n");
            indent(w, depth);
        }
        put_key(w, node->text);
        put_node(w, node->args, depth + 1, false);
        put_children(w, node->beside, depth, false);
    }
}

static void put_children(writer *w, const dl_node *map, int depth, bool first_inline) {
    for (DL_EACH(child, map)) {
        if (child->kind == DL_NODE_ABSENT)
            continue;
        if (!first_inline)
            indent(w, depth);
        first_inline = false;
        put_key(w, child->key);
        put_node(w, child, depth + 1, false);
    }
}

const char *dl_node_print(dl_job *job, const dl_node *root) {
    writer w = {.job = job};
    put_children(&w, root, 0, false);
    const char *text = w.text && !job->out_of_memory ? dl_job_copy(job, w.text, w.used) : NULL;
    dl_free(w.text);
    return text;
}

/* Levels and values of the text, as job_yaml.c will count them. */
static int levels_of(const dl_node *node, int *values) {
    int deepest = 0;
    bool bare = node->kind == DL_NODE_ITEM && !shown(node->args) && !shown(node->beside);
    ++*values;
    if (node->kind == DL_NODE_SCALAR || bare)
        return 0;
    const dl_node *parts[] = {node, node->beside};
    if (node->kind == DL_NODE_ITEM)
        deepest = levels_of(node->args, values);
    for (int i = 0; i < 2; i++)
        for (DL_EACH(child, parts[i])) {
            int here = child->kind == DL_NODE_ABSENT ? 0 : levels_of(child, values);
            deepest = here > deepest ? here : deepest;
        }
    return deepest + 1;
}

bool dl_node_reads_back(const dl_node *root, const char *text) {
    int values = 0, levels = levels_of(root, &values);
    return levels <= DL_JOB_DEPTH && values <= DL_JOB_NODES && strlen(text) <= DL_JOB_BYTES;
}

/* Comparing. */

typedef struct place {
    const struct place *parent;
    const char *name;
} place;

static void put_place(writer *w, const place *at) {
    if (at->parent && at->parent->name) {
        put_place(w, at->parent);
        put(w, ".");
    }
    put(w, at->name);
}

static const char *value_text(dl_job *job, const dl_node *node) {
    if (!node || node->kind == DL_NODE_ABSENT)
        return "absent";
    if (!is_flat(node))
        return node->kind == DL_NODE_ITEM   ? node->text
               : node->kind == DL_NODE_LIST ? "a list"
                                            : "a map";
    writer w = {.job = job};
    put_flat(&w, node);
    const char *text = dl_job_clip(job, w.text ? w.text : "");
    dl_free(w.text);
    return text;
}

/* `memory` pays for the texts; it is a job of its own. */
static dl_status differ(dl_job *memory, const place *at, const dl_node *then, const dl_node *now) {
    writer w = {.job = memory};
    put_place(&w, at);
    const char *was = value_text(memory, then), *is = value_text(memory, now);
    char where[512] = "";
    if (now && now->line > 0 && now->given)
        snprintf(where, sizeof where, " (%.400s:%d:%d)", now->file, now->line, now->column);
    else if (now && now->given)
        snprintf(where, sizeof where, " (%.400s)", now->file);
    dl_status status =
        dl_fail(DL_BAD_JOB, "%s was %s, is %s%s", w.text ? w.text : "", was, is, where);
    dl_free(w.text);
    return status;
}

/* What changes no bit of the training: where files are, how ranks talk, what is said and saved, how
 * steps are launched; and the device, so that a run can go on where there is one. */
static bool is_free(const place *at) {
    static const char *const paths[][2] = {
        {"description", NULL},   {"device", NULL},       {"steps_per_execution", NULL},
        {"output", NULL},        {"comm", NULL},         {"evaluate", NULL},
        {"checkpoint", "every"}, {"checkpoint", "keep"}, {"data", "root"},
        {"data", "on_device"}};
    for (int i = 0; i < DL_COUNT(paths); i++) {
        const place *top = paths[i][1] ? at->parent : at;
        bool below = !paths[i][1] || strcmp(at->name, paths[i][1]) == 0;
        if (top && !top->parent && below && strcmp(top->name, paths[i][0]) == 0)
            return true;
    }
    return false;
}

static bool absent(const dl_node *node) {
    return !node || node->kind == DL_NODE_ABSENT;
}

static dl_status same(dl_job *memory, const place *above, const dl_node *then, const dl_node *now);

static dl_status same_children(dl_job *memory, const place *at, const dl_node *then,
                               const dl_node *now) {
    int number = 0;
    if (then->kind == DL_NODE_LIST) {
        const dl_node *a = then->first, *b = now->first;
        for (; a && b; a = a->next, b = b->next) {
            char name[32];
            snprintf(name, sizeof name, "%d", number++);
            DL_TRY(same(memory, &(place){at, name}, a, b));
        }
        return a || b ? differ(memory, at, then, now) : DL_OK;
    }
    for (DL_EACH(a, then)) {
        const dl_node *b = dl_get(now, a->key);
        if (!absent(a) || !absent(b))
            DL_TRY(same(memory, &(place){at, a->key}, a, b));
    }
    for (DL_EACH(b, now))
        if (!dl_get(then, b->key) && !absent(b) && !is_free(&(place){at, b->key}))
            return differ(memory, &(place){at, b->key}, NULL, b);
    return DL_OK;
}

static dl_status same(dl_job *memory, const place *at, const dl_node *then, const dl_node *now) {
    if (is_free(at))
        return DL_OK;
    if (absent(then) || absent(now) || then->kind != now->kind)
        return differ(memory, at, then, now);
    if (then->kind == DL_NODE_SCALAR) {
        bool equal = strcmp(then->text, now->text) == 0;
        bool numbers = then->value == now->value &&
                       (then->value == DL_VALUE_NUMBER || then->value == DL_VALUE_INT);
        if (!equal && !(numbers && then->number == now->number))
            return differ(memory, at, then, now);
        return DL_OK;
    }
    if (then->kind != DL_NODE_ITEM)
        return same_children(memory, at, then, now);
    if (strcmp(then->text, now->text) != 0)
        return differ(memory, at, then, now);
    DL_TRY(same_children(memory, &(place){at, then->text}, then->args, now->args));
    return same_children(memory, at, then->beside, now->beside);
}

dl_status dl_job_same(const dl_job *then, const dl_job *now) {
    dl_job *memory = dl_alloc(sizeof *memory);
    dl_status status = DL_OK;
    if (!memory)
        return dl_fail_memory(sizeof *memory);
    for (const dl_node *a = then->root->first; a && status == DL_OK; a = a->next) {
        const dl_node *b = dl_get(now->root, a->key);
        if (!absent(a) || !absent(b))
            status = same(memory, &(place){NULL, a->key}, a, b);
    }
    dl_job_close(memory);
    return status;
}
