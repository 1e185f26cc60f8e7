/* Source `values`: samples written in the job itself, as nested lists of numbers, or of text for
 * labels. */
#include "runtime/data/set.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Dimensions from the first element of every level. */
static dl_status shape_of(const dl_node *node, dl_type *type, int64_t *samples) {
    int depth = 0;
    for (const dl_node *at = node; at && at->kind == DL_NODE_LIST; at = at->first, depth++) {
        if (depth == DL_MAX_RANK)
            return dl_fail_at(at, DL_BAD_JOB, "lists are nested too deeply");
        if (depth == 0)
            *samples = at->count;
        else
            type->dim[type->rank++] = at->count;
    }
    if (depth == 0)
        return dl_fail_at(node, DL_BAD_JOB, "a field is a list with an element for each sample");
    return DL_OK;
}

typedef struct filler {
    const dl_type *type;
    const char *name;
    double *number;
    const char **text; /* NULL: numbers are wanted */
    int64_t done;
    bool whole; /* all of them whole numbers that int32 holds */
} filler;

static dl_status fill(filler *f, const dl_node *node, int depth) {
    if (depth <= f->type->rank) {
        int64_t want = depth == 0 ? node->count : f->type->dim[depth - 1];
        if (node->kind != DL_NODE_LIST || node->count != want)
            return dl_fail_at(node, DL_BAD_JOB,
                              "'%s': a list of %" PRId64 " belongs here, as in the first sample",
                              f->name, want);
        for (DL_EACH(child, node))
            DL_TRY(fill(f, child, depth + 1));
        return DL_OK;
    }
    if (node->kind != DL_NODE_SCALAR)
        return dl_fail_at(node, DL_BAD_JOB, "'%s': a number belongs here, as in the first sample",
                          f->name);
    if (f->text) {
        f->text[f->done++] = node->text;
        return DL_OK;
    }
    if (node->value != DL_VALUE_NUMBER)
        return dl_fail_at(node, DL_BAD_JOB, "'%s': '%s' is not a number", f->name, node->text);
    f->whole &= fabs(node->number) <= INT32_MAX && node->number == floor(node->number) &&
                !strpbrk(node->text, ".eE");
    f->number[f->done++] = node->number;
    return DL_OK;
}

static dl_status finish(dl_set *set, const filler *f, int64_t count, dl_array *array) {
    if (f->text)
        return dl_set_labels(set, f->text, count, array);
    array->type.dtype = f->whole && array->type.rank == 0 ? DL_I32 : DL_F32;
    void *values = dl_set_take(set, count, 4);
    if (!values)
        return DL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++)
        if (array->type.dtype == DL_I32)
            ((int32_t *)values)[i] = (int32_t)f->number[i];
        else
            ((float *)values)[i] = (float)f->number[i];
    array->values = values;
    return DL_OK;
}

static dl_status add(dl_set *set, const dl_node *node) {
    dl_array array = {.name = node->key, .node = node, .type.dtype = DL_F32};
    int64_t samples = 0, elements, count;
    DL_TRY(shape_of(node, &array.type, &samples));
    if (!dl_product(array.type.dim, array.type.rank, &elements) ||
        __builtin_mul_overflow(elements, samples, &count) || count > 1 << 24)
        return dl_fail_at(node, DL_BAD_JOB, "'%s' is too large to stand in a job", node->key);
    bool text = array.type.rank == 0 && node->first && node->first->kind == DL_NODE_SCALAR &&
                node->first->value != DL_VALUE_NUMBER;
    filler f = {.type = &array.type, .name = node->key, .whole = true};
    f.number = dl_alloc(sizeof *f.number * (size_t)count);
    f.text = text ? dl_alloc(sizeof *f.text * (size_t)count) : NULL;
    dl_status status = DL_OK;
    if (!f.number || (text && !f.text))
        status = dl_fail_memory(sizeof *f.number * (size_t)count);
    if (status == DL_OK)
        status = fill(&f, node, 0);
    if (status == DL_OK)
        status = finish(set, &f, count, &array);
    dl_free(f.text);
    dl_free(f.number);
    return status == DL_OK ? dl_set_add(set, &array, samples, NULL) : status;
}

static dl_status open_values(dl_set *set, const dl_node *item) {
    for (DL_EACH(node, dl_get(item, "fields")))
        DL_TRY(add(set, node));
    return DL_OK;
}

const dl_source dl_source_values = {open_values};
