/* Reading checkpoints: everything in the files is checked before it is believed. Writing is in
 * checkpoint_write.c; the layout is described in checkpoint.h. */
#include "runtime/store/checkpoint.h"

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
#include "runtime/store/json.h"

enum { MANIFEST_MOST = 64 << 20, STATE_MOST = 64 << 20, DIGEST_LINE = 30 };

int64_t dl_checkpoint_step_of(const char *name) {
    if (strncmp(name, "step-", 5) != 0 || strlen(name) < 13 || strlen(name) > 23 ||
        strspn(name + 5, "0123456789") != strlen(name + 5))
        return -1;
    return strtoll(name + 5, NULL, 10);
}

dl_status dl_checkpoint_manifest(const char *path, void **manifest) {
    char file[DL_PATH_MAX], line[DIGEST_LINE + 1];
    char *text;
    size_t count;
    json_t *root;
    DL_TRY(dl_path_join(file, path, "manifest.json"));
    DL_TRY(dl_file_read(file, MANIFEST_MOST, &text, &count));
    dl_status status;
    uint64_t digest = count > DIGEST_LINE ? dl_hash(text + DIGEST_LINE, count - DIGEST_LINE, 0) : 0;
    snprintf(line, sizeof line, "{\"digest\":\"%016" PRIx64 "\",\n", digest);
    if (count <= DIGEST_LINE || memcmp(text, line, DIGEST_LINE) != 0)
        status = dl_fail(DL_NO_INPUT, "'%s' is damaged: its digest is wrong", file);
    else
        status = dl_json_read(file, text, count, &root);
    dl_free(text);
    if (status == DL_OK)
        *manifest = root;
    return status;
}

static dl_status bad(const dl_checkpoint *checkpoint, const char *what) {
    return dl_fail(DL_NO_INPUT, "'%s/manifest.json' is no manifest of a checkpoint: %s",
                   checkpoint->path, what);
}

/* Compares size and digest of an opened file with what the manifest says. */
static dl_status compare(const json_t *manifest, const char *name, int fd, const char *path,
                         int64_t bytes) {
    const json_t *entry = json_object_get(json_object_get(manifest, "files"), name);
    const json_t *size = json_object_get(entry, "bytes");
    const char *want = json_string_value(json_object_get(entry, "digest"));
    if (!json_is_integer(size) || !want)
        return dl_fail(DL_NO_INPUT, "the manifest beside '%s' does not describe it", path);
    if (json_integer_value(size) != bytes)
        return dl_fail(DL_NO_INPUT, "'%s' is damaged: it has %lld bytes and had %lld", path,
                       (long long)bytes, (long long)json_integer_value(size));
    uint64_t digest;
    char text[17];
    DL_TRY(dl_file_digest(fd, path, bytes, &digest));
    snprintf(text, sizeof text, "%016" PRIx64, digest);
    if (strcmp(text, want) != 0)
        return dl_fail(DL_NO_INPUT, "'%s' is damaged: its digest is wrong", path);
    return DL_OK;
}

static dl_status read_type(const dl_checkpoint *checkpoint, const json_t *row, dl_type *type) {
    const char *text = json_string_value(json_object_get(row, "dtype"));
    const json_t *shape = json_object_get(row, "shape");
    int dtype = 0;
    while (dtype < DL_DTYPE_COUNT && (!text || strcmp(text, dl_dtype_text((dl_dtype)dtype)) != 0))
        dtype++;
    if (dtype == DL_DTYPE_COUNT)
        return bad(checkpoint, "a tensor of an unknown element type");
    if (!json_is_array(shape) || json_array_size(shape) > DL_MAX_RANK)
        return bad(checkpoint, "a tensor without a shape");
    *type = (dl_type){.dtype = (dl_dtype)dtype, .rank = (int)json_array_size(shape)};
    int64_t count = 1;
    for (int i = 0; i < type->rank; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        type->dim[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || type->dim[i] < 0 ||
            __builtin_mul_overflow(count, type->dim[i], &count) || count > INT64_MAX / 16)
            return bad(checkpoint, "a tensor of an impossible shape");
    }
    return DL_OK;
}

static dl_status read_table(dl_checkpoint *checkpoint, const json_t *manifest, int64_t bytes) {
    const json_t *table = json_object_get(manifest, "tensors"), *row;
    const char *name;
    if (!json_is_object(table) || json_object_size(table) > 1000000)
        return bad(checkpoint, "no table of tensors");
    checkpoint->tensor =
        DL_NEW_N(&checkpoint->arena, dl_checkpoint_entry, json_object_size(table) + 1);
    if (!checkpoint->tensor)
        return dl_fail_memory(json_object_size(table) * sizeof(dl_checkpoint_entry));
    json_object_foreach((json_t *)table, name, row) {
        dl_checkpoint_entry *entry = &checkpoint->tensor[checkpoint->tensor_count++];
        const json_t *offset = json_object_get(row, "offset");
        DL_TRY(read_type(checkpoint, row, &entry->type));
        entry->name = dl_arena_text(&checkpoint->arena, name);
        entry->offset = json_integer_value(offset);
        if (!entry->name)
            return dl_fail_memory(strlen(name) + 1);
        if (!json_is_integer(offset) || entry->offset < 0 || entry->offset > bytes ||
            dl_type_bytes(&entry->type) > (size_t)(bytes - entry->offset))
            return bad(checkpoint, "a tensor that reaches past the end of tensors.bin");
    }
    return DL_OK;
}

static dl_status read_state(dl_checkpoint *checkpoint, const json_t *manifest) {
    char path[DL_PATH_MAX];
    char *text = NULL;
    size_t count;
    int fd;
    int64_t bytes;
    json_t *state;
    DL_TRY(dl_path_join(path, checkpoint->path, "state.json"));
    DL_TRY(dl_file_open(path, &fd, &bytes));
    dl_status status = compare(manifest, "state.json", fd, path, bytes);
    close(fd);
    if (status == DL_OK)
        status = dl_file_read(path, STATE_MOST, &text, &count);
    if (status == DL_OK)
        status = dl_json_read(path, text, count, &state);
    dl_free(text);
    if (status == DL_OK)
        checkpoint->state = state;
    return status;
}

static dl_status load(dl_checkpoint *checkpoint, const char *path) {
    char file[DL_PATH_MAX];
    int64_t bytes;
    void *parsed;
    checkpoint->path = dl_arena_text(&checkpoint->arena, path);
    if (!checkpoint->path)
        return dl_fail_memory(strlen(path) + 1);
    DL_TRY(dl_checkpoint_manifest(path, &parsed));
    const json_t *manifest = parsed, *step = json_object_get(manifest, "step");
    dl_status status;
    if (json_integer_value(json_object_get(manifest, "format")) != 1) {
        status = bad(checkpoint, "not of format 1");
        goto out;
    }
    if (!json_is_integer(step) || json_integer_value(step) < 0) {
        status = bad(checkpoint, "no step");
        goto out;
    }
    checkpoint->step = json_integer_value(step);
    checkpoint->best = json_is_true(json_object_get(manifest, "best"));
    DL_GOTO(out, dl_path_join(file, path, "tensors.bin"));
    DL_GOTO(out, dl_file_open(file, &checkpoint->fd, &bytes));
    DL_GOTO(out, compare(manifest, "tensors.bin", checkpoint->fd, file, bytes));
    DL_GOTO(out, read_table(checkpoint, manifest, bytes));
    DL_GOTO(out, read_state(checkpoint, manifest));
out:
    json_decref(parsed);
    return status;
}

dl_status dl_checkpoint_open(const char *path, dl_checkpoint **out) {
    *out = NULL;
    dl_checkpoint *checkpoint = dl_alloc(sizeof *checkpoint);
    if (!checkpoint)
        return dl_fail_memory(sizeof *checkpoint);
    checkpoint->fd = -1;
    dl_status status = load(checkpoint, path);
    if (status != DL_OK) {
        dl_checkpoint_close(checkpoint);
        return status;
    }
    *out = checkpoint;
    return DL_OK;
}

void dl_checkpoint_close(dl_checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    if (checkpoint->state)
        json_decref(checkpoint->state);
    if (checkpoint->fd >= 0)
        close(checkpoint->fd);
    dl_arena_free(&checkpoint->arena);
    dl_free(checkpoint);
}

/* The highest step below `limit` in the folder, its name in `name`; -1: none. */
static dl_status next_step(const char *folder, int64_t limit, char name[32], int64_t *step) {
    DIR *listing = opendir(folder);
    *step = -1;
    if (!listing && errno == ENOENT)
        return DL_OK;
    if (!listing)
        return dl_fail(DL_NO_INPUT, "cannot read folder '%s': %s", folder, strerror(errno));
    for (struct dirent *entry; (entry = readdir(listing));) {
        int64_t here = dl_checkpoint_step_of(entry->d_name);
        if (here > *step && here < limit) {
            *step = here;
            memcpy(name, entry->d_name, strlen(entry->d_name) + 1); /* at most 23 */
        }
    }
    closedir(listing);
    return DL_OK;
}

static dl_status newest(const char *folder, bool best, dl_checkpoint **out, dl_warn_fn warn,
                        void *arg) {
    *out = NULL;
    for (int64_t step = INT64_MAX;;) {
        char name[32], path[DL_PATH_MAX];
        DL_TRY(next_step(folder, step, name, &step));
        if (step < 0)
            return DL_OK;
        DL_TRY(dl_path_join(path, folder, name));
        dl_status status = dl_checkpoint_open(path, out);
        if (status == DL_OK && (*out)->step != step) {
            dl_checkpoint_close(*out);
            *out = NULL;
            status = dl_fail(DL_NO_INPUT, "'%s' holds another step than its name says", path);
        }
        if (status == DL_OK && (!best || (*out)->best))
            return DL_OK;
        if (status == DL_OK) {
            dl_checkpoint_close(*out);
            *out = NULL;
        } else if (status != DL_NO_INPUT) {
            return status;
        } else if (warn) {
            char text[DL_MESSAGE_MAX];
            snprintf(text, sizeof text, "checkpoint '%.300s' is left out: %.3000s", path,
                     dl_message());
            warn(arg, text);
        }
    }
}

dl_status dl_checkpoint_latest(const char *folder, dl_checkpoint **out, dl_warn_fn warn,
                               void *arg) {
    return newest(folder, false, out, warn, arg);
}

dl_status dl_checkpoint_best(const char *folder, dl_checkpoint **out, dl_warn_fn warn, void *arg) {
    return newest(folder, true, out, warn, arg);
}

const dl_checkpoint_entry *dl_checkpoint_find(const dl_checkpoint *checkpoint, const char *name) {
    for (int i = 0; i < checkpoint->tensor_count; i++)
        if (strcmp(checkpoint->tensor[i].name, name) == 0)
            return &checkpoint->tensor[i];
    return NULL;
}

dl_status dl_checkpoint_read(const dl_checkpoint *checkpoint, const char *name, const dl_type *type,
                             void *data) {
    char file[DL_PATH_MAX], have[DL_SHAPE_TEXT], want[DL_SHAPE_TEXT];
    const dl_checkpoint_entry *entry = dl_checkpoint_find(checkpoint, name);
    if (!entry)
        return dl_fail(DL_NO_INPUT, "checkpoint '%s' has no tensor '%s'", checkpoint->path, name);
    if (!dl_same_type(&entry->type, type))
        return dl_fail(DL_NO_INPUT, "tensor '%s' of checkpoint '%s' is %s %s, but %s %s is wanted",
                       name, checkpoint->path, dl_dtype_text(entry->type.dtype),
                       dl_shape_text(&entry->type, false, have), dl_dtype_text(type->dtype),
                       dl_shape_text(type, false, want));
    DL_TRY(dl_path_join(file, checkpoint->path, "tensors.bin"));
    return dl_file_read_at(checkpoint->fd, file, entry->offset, data, dl_type_bytes(type));
}

static dl_status missing(const dl_checkpoint *checkpoint, const char *name, const char *kind) {
    return dl_fail(DL_NO_INPUT, "checkpoint '%s' has no %s '%s'", checkpoint->path, kind, name);
}

bool dl_checkpoint_has(const dl_checkpoint *checkpoint, const char *name) {
    return json_object_get(checkpoint->state, name) != NULL;
}

dl_status dl_checkpoint_get_int(const dl_checkpoint *checkpoint, const char *name, int64_t *value) {
    const json_t *found = json_object_get(checkpoint->state, name);
    if (!json_is_integer(found))
        return missing(checkpoint, name, "integer");
    *value = json_integer_value(found);
    return DL_OK;
}

/* A double is {"double": "0x1.8p+0"}; NaNs, whose bits matter too, are "nan:" and 16 digits. */
dl_status dl_checkpoint_get_number(const dl_checkpoint *checkpoint, const char *name,
                                   double *value) {
    const json_t *found = json_object_get(checkpoint->state, name);
    const char *text = json_string_value(json_object_get(found, "double"));
    char *end = NULL;
    if (text && strncmp(text, "nan:", 4) == 0) {
        uint64_t bits = strtoull(text + 4, &end, 16);
        memcpy(value, &bits, sizeof bits);
    } else if (text) {
        *value = strtod(text, &end);
    }
    return text && end != text && *end == '\0' ? DL_OK : missing(checkpoint, name, "number");
}

dl_status dl_checkpoint_get_text(const dl_checkpoint *checkpoint, const char *name,
                                 const char **value) {
    *value = json_string_value(json_object_get(checkpoint->state, name));
    return *value ? DL_OK : missing(checkpoint, name, "text");
}
