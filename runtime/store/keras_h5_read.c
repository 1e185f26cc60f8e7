/* Reading Keras's HDF5 files, guarded. The same walk is done first in a child process, because the
 * library can crash on damaged files: what kills the child is a message here. See keras_h5.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/store/file.h"
#include "runtime/store/h5.h"
#include "runtime/store/keras_h5.h"

enum {
    NAMES_MOST = 100000,
    TEXT_MOST = 64 << 20,
    INFLATE_MOST = 1100, /* deflate cannot shrink further */
    CHILD_SECONDS = 600
};

static dl_status refuse(const dl_keras_h5 *file, const char *name, const char *why) {
    return dl_fail(DL_NO_INPUT, "'%.200s' in '%s' is refused: %s", name, file->path, why);
}

static dl_status fail(const dl_keras_h5 *file, const char *what, const char *name) {
    return dl_h5_fail(DL_NO_INPUT, what, name, file->path);
}

/* Whether every part of the path is a hard link: others could lead to files of the host. */
static dl_status check_links(const dl_keras_h5 *file, hid_t from, const char *name) {
    char path[1024];
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof path || name[0] == '/')
        return refuse(file, name, "this is no name of a layer or weight");
    memcpy(path, name, length + 1);
    for (size_t i = 1; i <= length; i++) {
        H5L_info_t info;
        if (path[i] != '/' && path[i] != '\0')
            continue;
        char end = path[i];
        path[i] = '\0';
        if (H5Lget_info(from, path, &info, H5P_DEFAULT) < 0)
            return refuse(file, name, "there is nothing of this name");
        if (info.type != H5L_TYPE_HARD)
            return refuse(file, name, "it is a link to somewhere else");
        path[i] = end;
    }
    return DL_OK;
}

static dl_status keep_text(dl_keras_h5 *file, const char *bytes, size_t length, const char **out) {
    char *copy = dl_arena_alloc(&file->arena, length + 1);
    if (!copy)
        return dl_fail_memory(length + 1);
    memcpy(copy, bytes, length);
    *out = copy;
    return DL_OK;
}

/* Texts of an opened attribute: variable or fixed length; none when it has size 0, whatever type.
 */
static dl_status read_texts(dl_keras_h5 *file, hid_t attribute, const char *name, const char ***out,
                            int *count) {
    dl_status status = DL_OK;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute), memory = -1;
    hssize_t size = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    size_t width = 0;
    char *block = NULL;
    bool variable = false;
    *count = 0;
    *out = NULL;
    if (type < 0 || size < 0 || size > NAMES_MOST) {
        status = refuse(file, name, "it is no list of names");
        goto out;
    }
    *out = DL_NEW_N(&file->arena, const char *, size + 1);
    if (!*out) {
        status = dl_fail_memory(sizeof **out * (size_t)size);
        goto out;
    }
    if (size == 0)
        goto out;
    if (H5Tget_class(type) != H5T_STRING) {
        status = refuse(file, name, "it is no text");
        goto out;
    }
    variable = H5Tis_variable_str(type) > 0;
    width = variable ? sizeof(char *) : H5Tget_size(type);
    if (width == 0 || width > TEXT_MOST / (size_t)size) {
        status = refuse(file, name, "it is too large");
        goto out;
    }
    block = dl_alloc(width * (size_t)size);
    if (!block) {
        status = dl_fail_memory(width * (size_t)size);
        goto out;
    }
    memory = H5Tcopy(type);
    if (memory < 0 || H5Aread(attribute, memory, block) < 0) {
        status = fail(file, "read the attribute", name);
        goto out;
    }
    for (hssize_t i = 0; status == DL_OK && i < size; i++) {
        const char *text = block + width * (size_t)i;
        size_t length = width;
        if (variable) {
            memcpy(&text, block + width * (size_t)i, sizeof text);
            text = text ? text : "";
            length = strlen(text);
        } else {
            length = strnlen(text, width);
            while (H5Tget_strpad(type) == H5T_STR_SPACEPAD && length > 0 && text[length - 1] == ' ')
                length--;
        }
        status = keep_text(file, text, length, &(*out)[(*count)++]);
    }
    if (variable)
        H5Dvlen_reclaim(memory, space, H5P_DEFAULT, block);
out:
    dl_free(block);
    if (memory >= 0)
        H5Tclose(memory);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

static dl_status read_attribute(dl_keras_h5 *file, hid_t object, const char *name,
                                const char ***out, int *count) {
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return fail(file, "open the attribute", name);
    dl_status status = read_texts(file, attribute, name, out, count);
    H5Aclose(attribute);
    return status;
}

/* A list that may be split into name0, name1, ... */
static dl_status read_list(dl_keras_h5 *file, hid_t object, const char *name, const char ***out,
                           int *count) {
    if (H5Aexists(object, name) > 0)
        return read_attribute(file, object, name, out, count);
    *out = NULL;
    *count = 0;
    for (int part = 0;; part++) {
        char numbered[64];
        const char **more, **joined;
        int more_count;
        snprintf(numbered, sizeof numbered, "%s%d", name, part);
        if (H5Aexists(object, numbered) <= 0)
            return part > 0 ? DL_OK : refuse(file, name, "the attribute is missing");
        DL_TRY(read_attribute(file, object, numbered, &more, &more_count));
        if (more_count == 0 || *count + more_count > NAMES_MOST)
            return refuse(file, numbered, "it is no part of a list of names");
        joined = DL_NEW_N(&file->arena, const char *, *count + more_count);
        if (!joined)
            return dl_fail_memory(sizeof *joined * (size_t)(*count + more_count));
        if (*count > 0)
            memcpy(joined, *out, sizeof *joined * (size_t)*count);
        memcpy(joined + *count, more, sizeof *joined * (size_t)more_count);
        *out = joined;
        *count += more_count;
    }
}

static dl_status read_text(dl_keras_h5 *file, hid_t object, const char *name, const char **out) {
    const char **texts;
    int count;
    *out = NULL;
    if (H5Aexists(object, name) <= 0)
        return DL_OK;
    DL_TRY(read_attribute(file, object, name, &texts, &count));
    *out = count > 0 ? texts[0] : NULL;
    return DL_OK;
}

/* How the values are stored: inside the file, plainly or by gzip, no more than the file can hold.
 */
static dl_status check_storage(const dl_keras_h5 *file, hid_t data, const char *name,
                               const dl_type *type) {
    hid_t list = H5Dget_create_plist(data);
    if (list < 0)
        return fail(file, "look at", name);
    const char *why = NULL;
    int64_t most = file->bytes;
    H5D_layout_t layout = H5Pget_layout(list);
    int filters = layout == H5D_CHUNKED ? H5Pget_nfilters(list) : 0;
    if (H5Pget_external_count(list) != 0)
        why = "its values lie in another file";
    else if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        why = "its values lie elsewhere (virtual layout)";
    else if (filters < 0 || filters > 2)
        why = "it has more filters than gzip and shuffle";
    for (int i = 0; !why && i < filters; i++) {
        unsigned flags;
        size_t none = 0;
        H5Z_filter_t filter = H5Pget_filter2(list, (unsigned)i, &flags, &none, NULL, 0, NULL, NULL);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE)
            why = "it has a filter other than gzip and shuffle";
        if (filter == H5Z_FILTER_DEFLATE)
            most = file->bytes * INFLATE_MOST;
    }
    if (!why && dl_type_bytes(type) > (size_t)most)
        why = "it says that it is larger than the file";
    if (!why && H5Dget_storage_size(data) > (hsize_t)file->bytes)
        why = "it says that it takes more room than the file";
    if (!why && dl_type_count(type) > 0 && H5Dget_storage_size(data) == 0)
        why = "it holds no values";
    H5Pclose(list);
    return why ? refuse(file, name, why) : DL_OK;
}

static dl_status read_type(const dl_keras_h5 *file, hid_t data, const char *name, dl_type *type) {
    dl_status status = DL_OK;
    hid_t kind = H5Dget_type(data), space = H5Dget_space(data);
    hsize_t dim[DL_MAX_RANK];
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    size_t size = kind < 0 ? 0 : H5Tget_size(kind);
    int64_t count = 1;
    if (rank < 0 || rank > DL_MAX_RANK || H5Sget_simple_extent_type(space) == H5S_NULL ||
        (rank > 0 && H5Sget_simple_extent_dims(space, dim, NULL) < 0)) {
        status = refuse(file, name, "it has no shape that a weight can have");
        goto out;
    }
    if (H5Tget_class(kind) != H5T_FLOAT || (size != 2 && size != 4 && size != 8)) {
        status = refuse(file, name, "its values are no floating-point numbers");
        goto out;
    }
    *type = (dl_type){.dtype = size == 2 ? DL_F16 : size == 4 ? DL_F32 : DL_F64, .rank = rank};
    for (int i = 0; i < rank; i++) {
        type->dim[i] = (int64_t)dim[i];
        if (dim[i] > INT64_MAX / 16 || __builtin_mul_overflow(count, type->dim[i], &count) ||
            count > INT64_MAX / 16) {
            status = refuse(file, name, "its shape is impossible");
            goto out;
        }
    }
out:
    if (space >= 0)
        H5Sclose(space);
    if (kind >= 0)
        H5Tclose(kind);
    return status;
}

static dl_status open_layer(const dl_keras_h5 *file, const char *name, hid_t *group) {
    DL_TRY(check_links(file, file->group, name));
    *group = H5Gopen2(file->group, name, H5P_DEFAULT);
    return *group < 0 ? fail(file, "open the layer", name) : DL_OK;
}

static dl_status open_weight(const dl_keras_h5 *file, hid_t group, const char *name, hid_t *data,
                             dl_type *type) {
    DL_TRY(check_links(file, group, name));
    *data = H5Dopen2(group, name, H5P_DEFAULT);
    if (*data < 0)
        return fail(file, "open the weight", name);
    dl_status status = read_type(file, *data, name, type);
    if (status == DL_OK)
        status = check_storage(file, *data, name, type);
    if (status != DL_OK)
        H5Dclose(*data);
    return status;
}

static dl_status read_layer(dl_keras_h5 *file, dl_keras_h5_layer *layer) {
    hid_t group, data;
    const char **names;
    int count;
    DL_TRY(open_layer(file, layer->name, &group));
    dl_status status;
    DL_GOTO(out, read_list(file, group, "weight_names", &names, &count));
    layer->weight = DL_NEW_N(&file->arena, dl_keras_h5_weight, count + 1);
    if (!layer->weight) {
        status = dl_fail_memory(sizeof *layer->weight * (size_t)count);
        goto out;
    }
    for (int i = 0; i < count; i++) {
        layer->weight[i].name = names[i];
        DL_GOTO(out, open_weight(file, group, names[i], &data, &layer->weight[i].type));
        H5Dclose(data);
        layer->weight_count++;
    }
out:
    H5Gclose(group);
    return status;
}

static dl_status read_tree(dl_keras_h5 *file) {
    const char **names;
    int count;
    file->file = H5Fopen(file->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file->file < 0)
        return fail(file, "open", "/");
    file->group = H5Gopen2(file->file, "/", H5P_DEFAULT);
    if (file->group < 0)
        return fail(file, "open", "/");
    DL_TRY(read_text(file, file->group, "model_config", &file->model_config));
    if (H5Aexists(file->group, "layer_names") <= 0 && H5Aexists(file->group, "layer_names0") <= 0) {
        hid_t root = file->group;
        DL_TRY(check_links(file, root, "model_weights"));
        file->group = H5Gopen2(root, "model_weights", H5P_DEFAULT);
        H5Gclose(root);
        if (file->group < 0)
            return fail(file, "open", "model_weights");
    }
    DL_TRY(read_text(file, file->group, "keras_version", &file->keras_version));
    DL_TRY(read_list(file, file->group, "layer_names", &names, &count));
    file->layer = DL_NEW_N(&file->arena, dl_keras_h5_layer, count + 1);
    if (!file->layer)
        return dl_fail_memory(sizeof *file->layer * (size_t)count);
    for (int i = 0; i < count; i++) {
        file->layer[i].name = names[i];
        DL_TRY(read_layer(file, &file->layer[i]));
        file->layer_count++;
    }
    return DL_OK;
}

static dl_status read_values(const dl_keras_h5 *file, int layer, int weight, float *out) {
    hid_t group, data;
    dl_type type;
    const char *name = file->layer[layer].weight[weight].name;
    DL_TRY(open_layer(file, file->layer[layer].name, &group));
    dl_status status = open_weight(file, group, name, &data, &type);
    if (status == DL_OK) {
        if (H5Dread(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
            status = fail(file, "read the weight", name);
        H5Dclose(data);
    }
    H5Gclose(group);
    return status;
}

/* The child's part: everything is walked and read once. */
static dl_status read_all(dl_keras_h5 *file) {
    DL_TRY(read_tree(file));
    for (int i = 0; i < file->layer_count; i++)
        for (int j = 0; j < file->layer[i].weight_count; j++) {
            int64_t count = dl_type_count(&file->layer[i].weight[j].type);
            float *values = dl_alloc((size_t)count * sizeof *values);
            if (!values)
                return dl_fail_memory((size_t)count * sizeof *values);
            dl_status status = read_values(file, i, j, values);
            dl_free(values);
            DL_TRY(status);
        }
    return DL_OK;
}

static dl_status vet(dl_keras_h5 *file) {
    int ends[2], result = 0;
    char message[DL_MESSAGE_MAX];
    size_t used = 0;
    if (pipe(ends) != 0)
        return dl_fail(DL_UNAVAILABLE, "cannot make a pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return dl_fail(DL_UNAVAILABLE, "cannot start a process to check '%s': %s", file->path,
                       strerror(errno));
    }
    if (child == 0) {
        struct rlimit seconds = {CHILD_SECONDS, CHILD_SECONDS}, none = {0, 0};
        setrlimit(RLIMIT_CPU, &seconds);
        setrlimit(RLIMIT_CORE, &none);
        setrlimit(RLIMIT_FSIZE, &none);
        /* Handlers of the parent (its signals mean checkpoints) are not for the child. */
        for (int number = 1; number < 32; number++)
            signal(number, SIG_DFL);
        alarm(CHILD_SECONDS);
        dl_status status = read_all(file);
        const char *text = status == DL_OK ? "" : dl_message();
        for (size_t left = strlen(text); left > 0;) {
            ssize_t written = write(ends[1], text, left);
            if (written <= 0)
                break;
            text += written;
            left -= (size_t)written;
        }
        _exit((int)status);
    }
    close(ends[1]);
    for (ssize_t got; used < sizeof message - 1; used += (size_t)got) {
        got = read(ends[0], message + used, sizeof message - 1 - used);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got <= 0)
            break;
    }
    message[used] = '\0';
    close(ends[0]);
    while (waitpid(child, &result, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(result))
        return dl_fail(DL_NO_INPUT, "'%s' is damaged: the HDF5 library fails on it (signal %d)",
                       file->path, WTERMSIG(result));
    if (WEXITSTATUS(result) != 0)
        return dl_fail((dl_status)WEXITSTATUS(result), "%s", message);
    return DL_OK;
}

dl_status dl_keras_h5_open(dl_keras_h5 **out, const char *path) {
    int64_t bytes;
    *out = NULL;
    struct stat info;
    if (stat(path, &info) != 0)
        return dl_fail(DL_NO_INPUT, "cannot open '%s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return dl_fail(DL_NO_INPUT, "'%s' is not a file", path);
    bytes = (int64_t)info.st_size;
    dl_keras_h5 *file = dl_alloc(sizeof *file);
    if (!file)
        return dl_fail_memory(sizeof *file);
    file->file = file->group = -1;
    file->bytes = bytes;
    dl_status status = DL_OK;
    file->path = dl_arena_text(&file->arena, path);
    if (!file->path) {
        status = dl_fail_memory(strlen(path) + 1);
        goto fail;
    }
    dl_h5_setup();
    DL_GOTO(fail, vet(file));
    DL_GOTO(fail, read_tree(file));
    *out = file;
    return DL_OK;
fail:
    dl_keras_h5_close(file);
    return status;
}

void dl_keras_h5_close(dl_keras_h5 *file) {
    if (!file)
        return;
    if (file->group >= 0)
        H5Gclose(file->group);
    if (file->file >= 0)
        H5Fclose(file->file);
    dl_arena_free(&file->arena);
    dl_free(file);
}

dl_status dl_keras_h5_read(const dl_keras_h5 *file, int layer, int weight, const dl_type *type,
                           const int *order, float *out) {
    const dl_keras_h5_weight *entry = &file->layer[layer].weight[weight];
    dl_type want = *type;
    char have_text[DL_SHAPE_TEXT], want_text[DL_SHAPE_TEXT];
    for (int i = 0; i < type->rank; i++)
        want.dim[i] = type->dim[order[i]];
    if (!dl_same_shape(&entry->type, &want))
        return dl_fail(DL_NO_INPUT, "weight '%s' in '%s' has shape %s, but %s is wanted",
                       entry->name, file->path, dl_shape_text(&entry->type, false, have_text),
                       dl_shape_text(&want, false, want_text));
    size_t bytes = (size_t)dl_type_count(type) * sizeof(float);
    float *values = dl_alloc(bytes);
    if (!values)
        return dl_fail_memory(bytes);
    dl_status status = read_values(file, layer, weight, values);
    if (status == DL_OK)
        dl_h5_transpose(type, order, true, values, out);
    dl_free(values);
    return status;
}
