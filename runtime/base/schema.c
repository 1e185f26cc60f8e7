/* Getters of the checked job, messages with a place, and the nearest word. See schema.h; the tree
 * is made by launcher/job_check.c. */
#include "runtime/base/schema.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const dl_node *child_of(const dl_node *map, const char *key) {
    for (DL_EACH(child, map)) {
        if (child->key && strcmp(child->key, key) == 0)
            return child;
    }
    return NULL;
}

const dl_node *dl_get(const dl_node *node, const char *key) {
    if (!node)
        return NULL;
    if (node->kind == DL_NODE_MAP)
        return child_of(node, key);
    if (node->kind != DL_NODE_ITEM)
        return NULL;
    const dl_node *found = child_of(node->args, key);
    return found ? found : child_of(node->beside, key);
}

const dl_node *dl_given(const dl_node *node, const char *key) {
    const dl_node *found = dl_get(node, key);
    return found && found->kind != DL_NODE_ABSENT ? found : NULL;
}

const dl_node *dl_at(const dl_node *list, int index) {
    const dl_node *child = list && index >= 0 ? list->first : NULL;
    while (child && index-- > 0)
        child = child->next;
    return child;
}

/* The scalar under `key`; that it is there is what the rows promise. */
static const dl_node *scalar(const dl_node *node, const char *key) {
    const dl_node *found = dl_get(node, key);
    assert(found && found->kind == DL_NODE_SCALAR);
    return found;
}

int64_t dl_int(const dl_node *node, const char *key) {
    return scalar(node, key)->integer;
}

double dl_number(const dl_node *node, const char *key) {
    return scalar(node, key)->number;
}

bool dl_bool(const dl_node *node, const char *key) {
    return scalar(node, key)->number != 0;
}

const char *dl_text(const dl_node *node, const char *key) {
    const dl_node *found = dl_get(node, key);
    assert(found);
    return found->kind == DL_NODE_SCALAR || found->kind == DL_NODE_ITEM ? found->text : NULL;
}

bool dl_is(const dl_node *node, const char *key, const char *word) {
    const char *text = dl_text(node, key);
    return text && strcmp(text, word) == 0;
}

bool dl_ints(const dl_node *node, const char *key, int count, int64_t *out) {
    const dl_node *found = dl_get(node, key);
    assert(found);
    if (found->kind == DL_NODE_SCALAR) {
        for (int i = 0; i < count; i++)
            out[i] = found->integer;
        return true;
    }
    if (found->kind != DL_NODE_LIST || found->count != count)
        return false;
    int i = 0;
    for (DL_EACH(child, found)) {
        out[i++] = child->integer;
    }
    return true;
}

dl_status dl_fail_at(const dl_node *node, dl_status status, const char *format, ...) {
    char text[DL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    if (!node || !node->file)
        return dl_fail(status, "%s", text);
    if (node->line == 0)
        return dl_fail(status, "%s: %s", node->file, text);
    return dl_fail(status, "%s:%d:%d: %s", node->file, node->line, node->column, text);
}

enum { WORD_MAX = 96 };

static int least(int a, int b) {
    return a < b ? a : b;
}

static bool same_letter(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Insertions, deletions, replacements and swaps of neighbours that make `a` of `b`, case aside. */
static int distance(const char *a, int a_length, const char *b, int b_length) {
    int rows[3][WORD_MAX + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (int j = 0; j <= b_length; j++)
        before[j] = last[j] = j;
    for (int i = 1; i <= a_length; i++) {
        now[0] = i;
        for (int j = 1; j <= b_length; j++) {
            int change = last[j - 1] + !same_letter(a[i - 1], b[j - 1]);
            now[j] = least(change, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        int *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b_length];
}

const char *dl_nearest(const char *word, const char *const *names, int count) {
    size_t length = strnlen(word, WORD_MAX + 1);
    const char *best = NULL;
    int best_distance = 0;
    if (length == 0 || length > WORD_MAX)
        return NULL;
    for (int i = 0; i < count; i++) {
        size_t other = strnlen(names[i], WORD_MAX + 1);
        if (other == 0 || other > WORD_MAX)
            continue;
        int here = distance(word, (int)length, names[i], (int)other);
        int longer = (int)(length > other ? length : other);
        if (3 * here <= longer && (!best || here < best_distance)) {
            best = names[i];
            best_distance = here;
        }
    }
    return best;
}
