/* Source `cifar`: the binary files of CIFAR-10 (a label, then 1024 red, 1024 green, 1024 blue bytes
 * a record) and CIFAR-100 (two labels, coarse and fine). Fields x (32, 32, 3), channels last, and
 * y. */
#include "runtime/data/set.h"

#include <inttypes.h>
#include <string.h>

enum { PIXELS = 32 * 32, PICTURE = 3 * PIXELS, RECORD_10 = 1 + PICTURE, RECORD_100 = 2 + PICTURE };

typedef struct cifar {
    size_t record; /* bytes; of the first file, which decides for all */
    int label;     /* byte of the label in a record */
    int64_t count;
} cifar;

/* The number of records; *record is 0 for the first file. */
static dl_status look_at(dl_set *set, const dl_node *path, dl_bytes *bytes, cifar *all) {
    DL_TRY(dl_set_text(set, path, bytes));
    size_t record = all->record;
    if (record == 0)
        record = bytes->count % RECORD_10 == 0 ? RECORD_10 : RECORD_100;
    if (bytes->count == 0 || bytes->count % record != 0)
        return dl_fail_at(
            path, DL_NO_INPUT,
            "%s is no CIFAR file, or cut off: %zu bytes are no whole number of records of "
            "%d (CIFAR-10) or %d (CIFAR-100) bytes",
            path->text, bytes->count, RECORD_10, RECORD_100);
    all->record = record;
    all->count += (int64_t)(bytes->count / record);
    return DL_OK;
}

static void unpack(const cifar *all, const dl_bytes *bytes, uint8_t *x, uint8_t *y) {
    size_t labels = all->record - PICTURE;
    for (const uint8_t *at = bytes->at; at < bytes->at + bytes->count; at += all->record) {
        *y++ = at[all->label];
        for (int i = 0; i < PIXELS; i++, x += 3)
            for (int c = 0; c < 3; c++)
                x[c] = at[labels + (size_t)(c * PIXELS + i)];
    }
}

static dl_status add_fields(dl_set *set, const dl_node *item, const cifar *all, const uint8_t *x,
                            const uint8_t *y) {
    const char *file = dl_get(item, "files")->first->text;
    dl_array images = {
        .name = "x", .node = item, .file = file, .type = DL_TYPE(DL_U8, 32, 32, 3), .values = x};
    dl_array labels = {
        .name = "y", .node = item, .file = file, .type = DL_SCALAR(DL_U8), .values = y};
    DL_TRY(dl_set_add(set, &images, all->count, NULL));
    return dl_set_add(set, &labels, all->count, NULL);
}

static dl_status open_cifar(dl_set *set, const dl_node *item) {
    const dl_node *files = dl_get(item, "files"), *label = dl_given(item, "label");
    cifar all = {.record = 0};
    if (files->count == 0)
        return dl_fail_at(files, DL_BAD_JOB, "name at least one file");
    dl_bytes *bytes = DL_NEW_N(&set->arena, dl_bytes, files->count);
    if (!bytes)
        return dl_fail_memory(sizeof *bytes * (size_t)files->count);
    int file = 0;
    for (DL_EACH(path, files))
        DL_TRY(look_at(set, path, &bytes[file++], &all));
    if (label && all.record == RECORD_10)
        return dl_fail_at(label, DL_BAD_JOB, "CIFAR-10 has one label an image; leave label out");
    all.label = all.record == RECORD_100 && !(label && strcmp(label->text, "coarse") == 0);
    uint8_t *x = dl_set_take(set, all.count, PICTURE);
    uint8_t *y = x ? dl_set_take(set, all.count, 1) : NULL;
    if (!y)
        return DL_NO_MEMORY;
    int64_t done = 0;
    for (int i = 0; i < files->count; i++) {
        unpack(&all, &bytes[i], x + done * PICTURE, y + done);
        done += (int64_t)(bytes[i].count / all.record);
    }
    return add_fields(set, item, &all, x, y);
}

const dl_source dl_source_cifar = {open_cifar};
