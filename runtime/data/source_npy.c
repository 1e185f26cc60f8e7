/* Sources `npy` (a file for each field) and `npz` (an archive of them, numpy.savez). The first
 * dimension counts samples. */
#include "runtime/data/npy.h"
#include "runtime/data/zip.h"

#include <string.h>

/* Adds the array in bytes as the field of `node`. */
static dl_status add(dl_set *set, const dl_node *node, const char *file, const uint8_t *at,
                     size_t count) {
    dl_array array = {.name = node->key, .node = node, .file = file};
    dl_npy npy;
    int64_t samples = 0;
    dl_status status = dl_npy_read(at, count, &npy, file);
    if (status == DL_OK)
        status = dl_npy_array(set, at, &npy, &array, &samples);
    if (status != DL_OK)
        return dl_fail_at(node, status, "%s", dl_message());
    return dl_set_add(set, &array, samples, NULL);
}

static dl_status open_npy(dl_set *set, const dl_node *item) {
    for (DL_EACH(path, dl_get(item, "fields"))) {
        dl_bytes bytes;
        DL_TRY(dl_set_text(set, path, &bytes));
        DL_TRY(add(set, path, path->text, bytes.at, bytes.count));
    }
    return DL_OK;
}

const dl_source dl_source_npy = {open_npy};

/* The entry for array `name`, "NAME.npy"; else a message with the names there are. */
static dl_status find(dl_set *set, const dl_zip *zip, const dl_node *node, dl_zip_entry *entry) {
    enum { NAMES = 64 };
    const char *names[NAMES], *list = "";
    int count = 0;
    size_t next = 0, length = strlen(node->text);
    bool found;
    for (;;) {
        DL_TRY(dl_zip_next(zip, &next, entry, &found));
        if (!found)
            break;
        if (strncmp(entry->name, node->text, length) == 0 &&
            (!entry->name[length] || strcmp(entry->name + length, ".npy") == 0))
            return DL_OK;
        if (count == NAMES)
            continue;
        char *dot = strrchr(entry->name, '.');
        if (dot && strcmp(dot, ".npy") == 0)
            *dot = '\0';
        names[count] = dl_arena_text(&set->arena, entry->name);
        list = names[count]
                   ? dl_arena_format(&set->arena, "%s%s%s", list, count ? ", " : "", entry->name)
                   : NULL;
        if (!list)
            return dl_fail_memory(DL_ZIP_NAME);
        count++;
    }
    const char *near = dl_nearest(node->text, names, count);
    if (near)
        return dl_fail(DL_BAD_JOB, "%s has no array '%s'; did you mean '%s'?", zip->name,
                       node->text, near);
    return dl_fail(DL_BAD_JOB, "%s has no array '%s'; it has: %s", zip->name, node->text, list);
}

static dl_status open_entry(dl_set *set, const dl_zip *zip, const dl_node *node, uint8_t **out,
                            size_t *count) {
    dl_zip_entry entry;
    DL_TRY(find(set, zip, node, &entry));
    *count = entry.size;
    *out = dl_set_take(set, (int64_t)entry.size, 1);
    return *out ? dl_zip_read(zip, &entry, *out) : DL_NO_MEMORY;
}

static dl_status open_npz(dl_set *set, const dl_node *item) {
    const dl_node *path = dl_get(item, "file");
    dl_bytes bytes;
    dl_zip zip;
    DL_TRY(dl_set_file(set, path, &bytes));
    dl_status status = dl_zip_open(&zip, bytes.at, bytes.count, path->text);
    if (status != DL_OK)
        return dl_fail_at(path, status, "%s", dl_message());
    for (DL_EACH(node, dl_get(item, "fields"))) {
        uint8_t *at = NULL;
        size_t count = 0;
        status = open_entry(set, &zip, node, &at, &count);
        if (status != DL_OK)
            return dl_fail_at(node, status, "%s", dl_message());
        const char *file = dl_arena_format(&set->arena, "%s, array '%s'", path->text, node->text);
        if (!file)
            return dl_fail_memory(64);
        DL_TRY(add(set, node, file, at, count));
    }
    return DL_OK;
}

const dl_source dl_source_npz = {open_npz};
