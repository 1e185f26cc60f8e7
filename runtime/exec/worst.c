/* What holds the memory of a program when it needs most of it, for a person (`dltrain plan`); the
 * arena cannot be smaller than that. memory.c has the lifetimes. */
#include <stdio.h>
#include <string.h>

#include "runtime/exec/internal.h"

typedef struct holder {
    const char *op;
    size_t bytes;
    int values;
} holder;

static size_t live_at(const variant *v, int position) {
    size_t bytes = 0;
    for (int s = 0; s < v->storages; s++)
        if (!v->storage[s].shared && v->storage[s].first <= position &&
            v->storage[s].last >= position)
            bytes += v->storage[s].bytes;
    return bytes;
}

/* Adds to the row's holder, or makes it. */
static void add(holder *list, int *count, const char *op, size_t bytes) {
    int i = 0;
    while (i < *count && strcmp(list[i].op, op) != 0)
        i++;
    if (i == *count)
        list[(*count)++] = (holder){.op = op};
    list[i].bytes += bytes;
    list[i].values++;
}

static void sort(holder *list, int count) {
    for (int i = 1; i < count; i++)
        for (int k = i; k > 0 && list[k].bytes > list[k - 1].bytes; k--) {
            holder larger = list[k];
            list[k] = list[k - 1];
            list[k - 1] = larger;
        }
}

dl_status dl_exec_worst_moment(const dl_exec *exec, dl_exec_worst *out) {
    const variant *v = exec->variant[0];
    int worst = 0, count = 0;
    memset(out, 0, sizeof *out);
    for (int i = 1; i < exec->variants; i++)
        if (exec->variant[i]->arena_bytes > v->arena_bytes)
            v = exec->variant[i];
    for (int u = 0; u < v->count; u++) {
        size_t bytes = live_at(v, u);
        worst = bytes > out->bytes ? u : worst;
        out->bytes = bytes > out->bytes ? bytes : out->bytes;
    }
    holder *list = dl_alloc(sizeof *list * (size_t)(v->count + 1));
    if (!list)
        return dl_fail_memory(sizeof *list * (size_t)v->count);
    for (int s = 0; s < v->storages; s++) {
        const storage *held = &v->storage[s];
        if (!held->shared && held->first <= worst && held->last >= worst)
            add(list, &count, held->scratch ? "workspace" : v->units[held->maker].node->op->name,
                held->bytes);
    }
    sort(list, count);
    for (int i = 0; i < count; i++) {
        int k = i < DL_EXEC_HOLDERS ? i : DL_EXEC_HOLDERS - 1;
        out->holder[k].op =
            count > DL_EXEC_HOLDERS && k == DL_EXEC_HOLDERS - 1 ? "others" : list[i].op;
        out->holder[k].bytes += list[i].bytes;
        out->holder[k].values += list[i].values;
        out->holders = k + 1;
    }
    out->op = v->count ? v->units[worst].node->op->name : "";
    snprintf(out->name, sizeof out->name, "%s", v->count ? v->units[worst].node->name : "");
    dl_free(list);
    return DL_OK;
}
