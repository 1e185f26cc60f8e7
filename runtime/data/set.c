/* Opening sources: paths, memory, arrays. See set.h. */
#include "runtime/data/set.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Large memory of a set: allocated or mapped. */
typedef struct dl_block {
    struct dl_block *next;
    dl_bytes bytes;
} dl_block;

static dl_block *new_block(dl_set *set) {
    dl_block *block = DL_NEW(&set->arena, dl_block);
    if (!block) {
        dl_fail_memory(sizeof *block);
        return NULL;
    }
    block->next = set->block;
    set->block = block;
    return block;
}

void *dl_set_take(dl_set *set, int64_t count, size_t element) {
    dl_block *block = new_block(set);
    if (!block)
        return NULL;
    if (count < 0 || (uint64_t)count > (uint64_t)(PTRDIFF_MAX / 2) / (element ? element : 1)) {
        dl_fail_memory(SIZE_MAX);
        return NULL;
    }
    void *memory = dl_alloc((size_t)count * element);
    if (!memory)
        dl_fail_memory((size_t)count * element);
    block->bytes = (dl_bytes){.at = memory, .count = (size_t)count * element};
    return memory;
}

bool dl_product(const int64_t *dim, int rank, int64_t *out) {
    int64_t product = 1;
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(product, dim[i], &product))
            return false;
    *out = product;
    return product <= PTRDIFF_MAX / 16; /* bytes of any type still fit */
}

/* "data.root is '${DLTRAIN_DATA:-data}/mnist', DLTRAIN_DATA is not set" */
static const char *root_text(dl_set *set) {
    const dl_node *root = dl_given(set->data, "root");
    if (!root || !root->given)
        return "";
    const char *variable = root->written ? strstr(root->written, "${") : NULL;
    if (!variable)
        return dl_arena_format(&set->arena, " (data.root is '%s')", root->text);
    size_t length = strcspn(variable + 2, ":}");
    char name[128];
    if (length >= sizeof name)
        return "";
    memcpy(name, variable + 2, length);
    name[length] = '\0';
    const char *value = getenv(name);
    if (!value)
        return dl_arena_format(&set->arena, " (data.root is '%s', %s is not set)", root->written,
                               name);
    return dl_arena_format(&set->arena, " (data.root is '%s', %s is '%s')", root->written, name,
                           value);
}

/* The absolute path of a file named in the job. */
static const char *full_path(dl_set *set, const dl_node *path) {
    char folder[PATH_MAX];
    const char *root = dl_text(set->data, "root");
    if (path->text[0] == '/')
        return path->text;
    if (!root || strcmp(root, ".") == 0)
        root = "";
    if (root[0] == '/')
        return dl_arena_format(&set->arena, "%s/%s", root, path->text);
    if (!getcwd(folder, sizeof folder))
        strcpy(folder, ".");
    return dl_arena_format(&set->arena, "%s/%s%s%s", folder, root, *root ? "/" : "", path->text);
}

dl_status dl_set_file(dl_set *set, const dl_node *path, dl_bytes *bytes) {
    if (!path || path->kind != DL_NODE_SCALAR || !path->text[0])
        return dl_fail_at(path ? path : set->item, DL_BAD_JOB, "the name of a file belongs here");
    const char *full = full_path(set, path);
    dl_block *block = full ? new_block(set) : NULL;
    if (!block)
        return dl_fail_memory(sizeof *block);
    if (access(full, R_OK) != 0) {
        const char *root = root_text(set);
        if (errno == ENOENT || errno == ENOTDIR)
            return dl_fail_at(path, DL_NO_INPUT, "no file '%s'%s", full, root ? root : "");
        return dl_fail_at(path, DL_NO_INPUT, "cannot read '%s': %s", full, strerror(errno));
    }
    dl_status status = dl_bytes_open(&block->bytes, full, full);
    if (status != DL_OK)
        return dl_fail_at(path, status, "%s", dl_message());
    *bytes = block->bytes;
    return DL_OK;
}

dl_status dl_set_text(dl_set *set, const dl_node *path, dl_bytes *bytes) {
    DL_TRY(dl_set_file(set, path, bytes));
    if (!dl_is_gzip(bytes->at, bytes->count))
        return DL_OK;
    dl_block *block = new_block(set);
    uint8_t *out;
    size_t count;
    if (!block)
        return dl_fail_memory(sizeof *block);
    DL_TRY(dl_gunzip_all(bytes->at, bytes->count, &out, &count, path->text));
    dl_bytes_rest(bytes);
    *bytes = block->bytes = (dl_bytes){.at = out, .count = count};
    return DL_OK;
}

dl_status dl_set_add(dl_set *set, const dl_array *array, int64_t count, dl_array **out) {
    char text[DL_SHAPE_TEXT];
    int64_t elements;
    if (!dl_product(array->type.dim, array->type.rank, &elements) || elements < 1)
        return dl_fail_at(array->node, DL_NO_INPUT, "%s: samples of shape %s hold nothing",
                          array->file ? array->file : array->name,
                          dl_shape_text(&array->type, false, text));
    if (count > DL_MAX_SAMPLES)
        return dl_fail_at(array->node, DL_BAD_JOB,
                          "%" PRId64 " samples are too many; at most %" PRId64, count,
                          DL_MAX_SAMPLES);
    if (set->arrays > 0 && count != set->count)
        return dl_fail_at(array->node, DL_BAD_JOB,
                          "'%s' has %" PRId64 " samples, but '%s' has %" PRId64
                          "; fields of a source need as many",
                          array->name, count, set->array[0].name, set->count);
    for (int i = 0; i < set->arrays; i++)
        if (strcmp(set->array[i].name, array->name) == 0)
            return dl_fail_at(array->node, DL_BAD_JOB, "field '%s' is given twice", array->name);
    if (set->arrays == set->capacity) {
        int capacity = set->capacity ? set->capacity * 2 : 4;
        dl_array *grown = DL_NEW_N(&set->arena, dl_array, capacity);
        if (!grown)
            return dl_fail_memory(sizeof *grown * (size_t)capacity);
        if (set->arrays)
            memcpy(grown, set->array, sizeof *grown * (size_t)set->arrays);
        set->array = grown;
        set->capacity = capacity;
    }
    set->count = count;
    set->array[set->arrays] = *array;
    if (out)
        *out = &set->array[set->arrays];
    set->arrays++;
    return DL_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(**(const char *const *const *)a, **(const char *const *const *)b);
}

dl_status dl_set_labels(dl_set *set, const char *const *text, int64_t count, dl_array *array) {
    int32_t *code = dl_set_take(set, count, sizeof *code);
    const char *const **order = dl_alloc(sizeof *order * (size_t)count);
    if (!code || !order) {
        dl_free(order);
        return dl_fail_memory(sizeof *order * (size_t)count);
    }
    for (int64_t i = 0; i < count; i++)
        order[i] = &text[i];
    qsort(order, (size_t)count, sizeof *order, by_text);
    int labels = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(*order[i - 1], *order[i]) != 0)
            labels++;
        code[order[i] - text] = labels;
    }
    labels += count > 0;
    const char **label = DL_NEW_N(&set->arena, const char *, labels + 1);
    for (int64_t i = 0; label && i < count; i++)
        label[code[order[i] - text]] = *order[i];
    dl_free(order);
    if (!label)
        return dl_fail_memory(sizeof *label * (size_t)labels);
    array->type = DL_SCALAR(DL_I32);
    array->values = code;
    array->label = label;
    array->labels = labels;
    return DL_OK;
}

dl_status dl_set_open(dl_set *set, const dl_node *item, const dl_node *data, uint64_t seed) {
    *set = (dl_set){.item = item, .data = data, .seed = seed};
    const dl_source *source = item->word->impl;
    dl_status status = source->open(set, item);
    if (status == DL_OK && set->arrays == 0)
        status =
            dl_fail_at(item, DL_BAD_JOB, "this source has no fields; name some: {x: ..., y: ...}");
    if (status == DL_OK && set->count == 0)
        status = dl_fail_at(item, DL_BAD_JOB, "this source has 0 samples");
    if (status != DL_OK)
        dl_set_close(set);
    return status;
}

void dl_set_close(dl_set *set) {
    for (dl_block *block = set->block; block; block = block->next)
        dl_bytes_close(&block->bytes);
    dl_free(set->kept);
    dl_arena_free(&set->arena);
    *set = (dl_set){0};
}
