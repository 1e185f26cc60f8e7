/* Writing checkpoints, in the order that makes them safe: aside, flushed, read back, renamed, and
 * the old ones removed at last. See checkpoint.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/hash.h"
#include "runtime/store/checkpoint.h"
#include "runtime/store/json.h"

enum { ALIGN = 64, DIGEST_LINE = 30 };

struct dl_checkpoint_writer {
    char folder[DL_PATH_MAX], aside[DL_PATH_MAX], bin[DL_PATH_MAX];
    int64_t step;
    int fd;
    char *block; /* DL_DIGEST_BLOCK bytes, which the digest is made of */
    size_t filled;
    int64_t written; /* bytes of tensors.bin so far, with those in `block` */
    uint64_t digest;
    json_t *table, *state;
};

/* What a process that died here left behind: unfinished work, never a checkpoint. */
static dl_status sweep(const char *folder) {
    DIR *listing = opendir(folder);
    if (!listing)
        return dl_fail(DL_NO_WRITE, "cannot read folder '%s': %s", folder, strerror(errno));
    dl_status status = DL_OK;
    for (struct dirent *entry; status == DL_OK && (entry = readdir(listing));) {
        char path[DL_PATH_MAX];
        if (strncmp(entry->d_name, ".tmp-step-", 10) != 0)
            continue;
        status = dl_path_join(path, folder, entry->d_name);
        if (status == DL_OK)
            status = dl_folder_remove(path);
    }
    closedir(listing);
    return status;
}

dl_status dl_checkpoint_begin(dl_checkpoint_writer **out, const char *folder, int64_t step) {
    *out = NULL;
    dl_json_setup();
    dl_checkpoint_writer *writer = dl_alloc(sizeof *writer);
    if (!writer)
        return dl_fail_memory(sizeof *writer);
    dl_status status = DL_OK;
    writer->fd = -1;
    writer->step = step;
    writer->block = dl_alloc(DL_DIGEST_BLOCK);
    writer->table = json_object();
    writer->state = json_object();
    if (!writer->block || !writer->table || !writer->state) {
        status = dl_fail_memory(DL_DIGEST_BLOCK);
        goto fail;
    }
    if (step < 0 || strlen(folder) >= sizeof writer->folder - 64) {
        status = dl_fail(DL_INTERNAL, "no checkpoint of step %" PRId64 " in '%.80s'", step, folder);
        goto fail;
    }
    memcpy(writer->folder, folder, strlen(folder) + 1);
    DL_GOTO(fail, dl_folder_make(folder, 0700));
    DL_GOTO(fail, sweep(folder));
    char name[48];
    snprintf(name, sizeof name, ".tmp-step-%08" PRId64, step);
    DL_GOTO(fail, dl_path_join(writer->bin, folder, name));
    DL_GOTO(fail, dl_folder_make(writer->bin, 0700));
    memcpy(writer->aside, writer->bin, sizeof writer->bin); /* set: from now on it is ours */
    DL_GOTO(fail, dl_path_join(writer->bin, writer->aside, "tensors.bin"));
    DL_GOTO(fail, dl_file_create(writer->bin, 0600, &writer->fd));
    *out = writer;
    return DL_OK;
fail:
    dl_checkpoint_abandon(writer);
    return status;
}

static void release(dl_checkpoint_writer *writer) {
    if (writer->fd >= 0)
        close(writer->fd);
    json_decref(writer->table);
    json_decref(writer->state);
    dl_free(writer->block);
    dl_free(writer);
}

void dl_checkpoint_abandon(dl_checkpoint_writer *writer) {
    if (!writer)
        return;
    if (writer->aside[0] != '\0') {
        char message[DL_MESSAGE_MAX]; /* the reason to abandon outlives the clean-up */
        snprintf(message, sizeof message, "%s", dl_message());
        if (dl_folder_remove(writer->aside) != DL_OK)
            dl_fail(DL_NO_WRITE, "%s", message);
    }
    release(writer);
}

static dl_status flush_block(dl_checkpoint_writer *writer) {
    if (writer->filled == 0)
        return DL_OK;
    writer->digest = dl_hash(writer->block, writer->filled, writer->digest);
    DL_TRY(dl_file_write(writer->fd, writer->bin, writer->block, writer->filled));
    writer->filled = 0;
    return DL_OK;
}

static dl_status append(dl_checkpoint_writer *writer, const void *bytes, size_t count) {
    static const char zeros[ALIGN];
    const char *at = bytes ? bytes : zeros;
    while (count > 0) {
        size_t room = DL_DIGEST_BLOCK - writer->filled, part = count < room ? count : room;
        memcpy(writer->block + writer->filled, at, part);
        writer->filled += part;
        writer->written += (int64_t)part;
        at += part;
        count -= part;
        if (writer->filled == DL_DIGEST_BLOCK)
            DL_TRY(flush_block(writer));
    }
    return DL_OK;
}

/* Takes over `value`. */
static dl_status put(json_t *object, const char *name, json_t *value) {
    if (json_object_get(object, name)) {
        json_decref(value);
        return dl_fail(DL_INTERNAL, "'%s' is put into a checkpoint twice", name);
    }
    if (value && json_object_set_new(object, name, value) == 0)
        return DL_OK; /* a value that could not be set has been let go by the library */
    return dl_fail(DL_NO_MEMORY,
                   "could not note '%.200s' for the checkpoint: out of memory, or not "
                   "UTF-8",
                   name);
}

dl_status dl_checkpoint_tensor(dl_checkpoint_writer *writer, const char *name, const dl_type *type,
                               const void *data) {
    json_t *shape = json_array();
    for (int i = 0; i < type->rank; i++)
        if (json_array_append_new(shape, json_integer(type->dim[i])) != 0) {
            json_decref(shape);
            return dl_fail_memory(64);
        }
    DL_TRY(append(writer, NULL, (size_t)(-writer->written & (ALIGN - 1))));
    /* pack takes over `shape` and answers NULL when any part is */
    DL_TRY(put(writer->table, name,
               json_pack("{s:s, s:o, s:I}", "dtype", dl_dtype_text(type->dtype), "shape", shape,
                         "offset", (json_int_t)writer->written)));
    return append(writer, data, dl_type_bytes(type));
}

dl_status dl_checkpoint_int(dl_checkpoint_writer *writer, const char *name, int64_t value) {
    return put(writer->state, name, json_integer(value));
}

dl_status dl_checkpoint_number(dl_checkpoint_writer *writer, const char *name, double value) {
    char text[40];
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        snprintf(text, sizeof text, "nan:%016" PRIx64, bits);
    else
        snprintf(text, sizeof text, "%a", value);
    return put(writer->state, name, json_pack("{s:s}", "double", text));
}

dl_status dl_checkpoint_text(dl_checkpoint_writer *writer, const char *name, const char *value) {
    return put(writer->state, name, json_string(value));
}

/* Writes a small file into the folder aside; its digest as the manifest wants it. */
static dl_status write_small(const dl_checkpoint_writer *writer, const char *name, const char *text,
                             size_t count, uint64_t *digest) {
    char path[DL_PATH_MAX];
    int fd;
    DL_TRY(dl_path_join(path, writer->aside, name));
    DL_TRY(dl_file_create(path, 0600, &fd));
    dl_status status = dl_file_write(fd, path, text, count);
    if (status == DL_OK)
        status = dl_file_sync(fd, path);
    if (status != DL_OK) {
        close(fd);
        return status;
    }
    *digest = 0;
    for (size_t at = 0; at < count; at += DL_DIGEST_BLOCK)
        *digest = dl_hash(text + at, count - at < DL_DIGEST_BLOCK ? count - at : DL_DIGEST_BLOCK,
                          *digest);
    return dl_file_close(fd, path);
}

static json_t *file_row(int64_t bytes, uint64_t digest) {
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, digest);
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "digest", text);
}

static dl_status write_files(dl_checkpoint_writer *writer, bool best) {
    char *text = NULL;
    size_t count;
    uint64_t digest;
    json_t *manifest = NULL;
    DL_TRY(flush_block(writer));
    DL_TRY(dl_file_sync(writer->fd, writer->bin));
    /* So that reading back asks the disk, as far as the system follows the advice. */
    posix_fadvise(writer->fd, 0, 0, POSIX_FADV_DONTNEED);
    int fd = writer->fd;
    writer->fd = -1;
    DL_TRY(dl_file_close(fd, writer->bin));
    DL_TRY(dl_json_write(writer->state, 0, &text, &count));
    dl_status status = write_small(writer, "state.json", text, count, &digest);
    dl_free(text);
    DL_TRY(status);

    manifest = json_pack("{s:i, s:I, s:b, s:{s:o, s:o}, s:O}", "format", 1, "step",
                         (json_int_t)writer->step, "best", best, "files", "tensors.bin",
                         file_row(writer->written, writer->digest), "state.json",
                         file_row((int64_t)count, digest), "tensors", writer->table);
    if (!manifest)
        return dl_fail_memory(64);
    /* The line of the digest takes the place of the opening brace and its line end. */
    status = dl_json_write(manifest, DIGEST_LINE - 2, &text, &count);
    json_decref(manifest);
    DL_TRY(status);
    char line[DIGEST_LINE + 1];
    snprintf(line, sizeof line, "{\"digest\":\"%016" PRIx64 "\",\n",
             dl_hash(text + DIGEST_LINE, count - DIGEST_LINE, 0));
    memcpy(text, line, DIGEST_LINE);
    status = write_small(writer, "manifest.json", text, count, &digest);
    dl_free(text);
    DL_TRY(status);
    return dl_folder_sync(writer->aside);
}

static dl_status verify(const dl_checkpoint_writer *writer) {
    dl_checkpoint *again;
    dl_status status = dl_checkpoint_open(writer->aside, &again);
    if (status == DL_NO_INPUT)
        return dl_fail(DL_NO_WRITE,
                       "the checkpoint of step %" PRId64
                       " does not read back as it was written: %s",
                       writer->step, dl_message());
    dl_checkpoint_close(again);
    return status;
}

/* Puts the folder aside into its place. One of the same step that is there goes aside in the same
 * moment, so that at no time both are missing; a damaged one is kept under another name. */
static dl_status place(dl_checkpoint_writer *writer) {
    char path[DL_PATH_MAX], kept[DL_PATH_MAX], name[48];
    snprintf(name, sizeof name, "step-%08" PRId64, writer->step);
    DL_TRY(dl_path_join(path, writer->folder, name));
    if (access(path, F_OK) != 0) {
        DL_TRY(dl_file_rename_new(writer->aside, path));
        writer->aside[0] = '\0';
        return dl_folder_sync(writer->folder);
    }
    dl_checkpoint *old;
    bool whole = dl_checkpoint_open(path, &old) == DL_OK, swapped;
    dl_checkpoint_close(old);
    for (int i = 1; !whole; i++) {
        snprintf(name, sizeof name, "damaged-%08" PRId64 ".%d", writer->step, i);
        DL_TRY(dl_path_join(kept, writer->folder, name));
        if (access(kept, F_OK) != 0)
            break;
    }
    DL_TRY(dl_file_swap(writer->aside, path, &swapped));
    if (!swapped) {
        snprintf(name, sizeof name, "replaced-%08" PRId64, writer->step);
        DL_TRY(dl_path_join(kept, writer->folder, name));
        DL_TRY(dl_file_rename(path, kept));
        DL_TRY(dl_file_rename(writer->aside, path));
        writer->aside[0] = '\0';
        DL_TRY(dl_folder_sync(writer->folder));
        return whole ? dl_folder_remove(kept) : DL_OK;
    }
    char moved[DL_PATH_MAX];
    memcpy(moved, writer->aside, sizeof moved);
    writer->aside[0] = '\0';
    DL_TRY(dl_folder_sync(writer->folder));
    return whole ? dl_folder_remove(moved) : dl_file_rename(moved, kept);
}

static int newest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Steps in the folder not above `step` whose manifests are whole, newest first: one that is damaged
 * is left for a person to see. */
static dl_status list_steps(const char *folder, int64_t step, int64_t **steps, size_t *count) {
    DIR *listing = opendir(folder);
    if (!listing)
        return dl_fail(DL_NO_WRITE, "cannot read folder '%s': %s", folder, strerror(errno));
    dl_status status = DL_OK;
    size_t room = 0;
    *count = 0;
    *steps = NULL;
    for (struct dirent *entry; (entry = readdir(listing));) {
        int64_t here = dl_checkpoint_step_of(entry->d_name);
        if (here < 0 || here > step)
            continue;
        if (*count == room) {
            room = room * 2 + 16;
            int64_t *more = dl_realloc(*steps, room * sizeof **steps);
            if (!more) {
                status = dl_fail_memory(room * sizeof **steps);
                break;
            }
            *steps = more;
        }
        (*steps)[(*count)++] = here;
    }
    closedir(listing);
    if (*count > 0)
        qsort(*steps, *count, sizeof **steps, newest_first);
    return status;
}

static dl_status rotate(const char *folder, int64_t step, int keep) {
    int64_t *steps = NULL;
    size_t count = 0;
    int kept = 0;
    bool have_best = false;
    dl_status status = list_steps(folder, step, &steps, &count);
    for (size_t i = 0; status == DL_OK && i < count; i++) {
        char name[48], path[DL_PATH_MAX], aside[DL_PATH_MAX];
        void *manifest;
        snprintf(name, sizeof name, ".tmp-step-%08" PRId64, steps[i]);
        DL_GOTO(out, dl_path_join(aside, folder, name));
        DL_GOTO(out, dl_path_join(path, folder, name + 5));
        status = dl_checkpoint_manifest(path, &manifest);
        if (status == DL_NO_INPUT) {
            status = DL_OK;
            continue;
        }
        if (status != DL_OK)
            break;
        bool best = json_is_true(json_object_get(manifest, "best")), wanted = kept < keep;
        json_decref(manifest);
        kept += wanted;
        if (best && !have_best)
            wanted = have_best = true;
        if (wanted)
            continue;
        /* Under another name first: half of it is never taken for a damaged checkpoint. */
        DL_GOTO(out, dl_file_rename(path, aside));
        DL_GOTO(out, dl_folder_remove(aside));
    }
out:
    dl_free(steps);
    return status;
}

dl_status dl_checkpoint_commit(dl_checkpoint_writer *writer, int keep, bool best) {
    dl_status status;
    DL_GOTO(fail, write_files(writer, best));
    DL_GOTO(fail, verify(writer));
    DL_GOTO(fail, place(writer));
    status = rotate(writer->folder, writer->step, keep < 1 ? 1 : keep);
    if (status != DL_OK)
        dl_fail_prefix(status,
                       "the checkpoint of step %" PRId64 " is saved, but an older one is "
                       "still there: ",
                       writer->step);
    release(writer);
    return status;
fail:
    dl_checkpoint_abandon(writer);
    return status;
}
