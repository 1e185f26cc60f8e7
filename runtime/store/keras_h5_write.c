/* Writing Keras's HDF5 files. The file is made in memory (the library's core driver), so that a
 * full disk meets our own write() and not the library. See keras_h5.h. */
#include <stdio.h>
#include <string.h>

#include "runtime/store/file.h"
#include "runtime/store/h5.h"
#include "runtime/store/keras_h5.h"

enum { ATTRIBUTE_MOST = 64512 }; /* bytes; Keras splits longer lists into name0, name1, ... */

/* A text attribute as h5py makes it: scalar, variable length. */
static dl_status put_text(hid_t object, const char *name, const char *text, const char *path) {
    dl_status status = DL_OK;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), attribute = -1;
    if (type < 0 || space < 0 || H5Tset_size(type, H5T_VARIABLE) < 0 ||
        H5Tset_cset(type, H5T_CSET_UTF8) < 0 ||
        (attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT)) < 0 ||
        H5Awrite(attribute, type, &text) < 0)
        status = dl_h5_fail(DL_NO_WRITE, "write the attribute", name, path);
    if (attribute >= 0)
        H5Aclose(attribute);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

/* `count` texts of fixed width, which every version of Keras and h5py reads. */
static dl_status put_texts(hid_t object, const char *name, const char *const *text, int count,
                           size_t width, const char *path) {
    dl_status status = DL_OK;
    hsize_t size = (hsize_t)count;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &size, NULL), attribute = -1;
    char *block = dl_alloc(width * (size_t)count + 1);
    if (!block) {
        status = dl_fail_memory(width * (size_t)count + 1);
        goto out;
    }
    for (int i = 0; i < count; i++)
        memcpy(block + width * (size_t)i, text[i], strlen(text[i]));
    if (type < 0 || space < 0 || H5Tset_size(type, width) < 0 ||
        H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 ||
        (attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT)) < 0 ||
        (count > 0 && H5Awrite(attribute, type, block) < 0))
        status = dl_h5_fail(DL_NO_WRITE, "write the attribute", name, path);
out:
    dl_free(block);
    if (attribute >= 0)
        H5Aclose(attribute);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

static dl_status put_list(hid_t object, const char *name, const char *const *text, int count,
                          const char *path) {
    size_t width = 1;
    for (int i = 0; i < count; i++)
        width = strlen(text[i]) > width ? strlen(text[i]) : width;
    if (width > ATTRIBUTE_MOST)
        return dl_fail(DL_NO_WRITE, "a name of %zu bytes is too long for '%s'", width, path);
    int each = (int)(ATTRIBUTE_MOST / width);
    if (count <= each)
        return put_texts(object, name, text, count, width, path);
    for (int first = 0, part = 0; first < count; first += each, part++) {
        char numbered[64];
        snprintf(numbered, sizeof numbered, "%s%d", name, part);
        DL_TRY(put_texts(object, numbered, text + first,
                         count - first < each ? count - first : each, width, path));
    }
    return DL_OK;
}

static dl_status put_weight(hid_t group, const dl_keras_weight *weight, hid_t links,
                            const char *path) {
    dl_status status = DL_OK;
    hsize_t dim[DL_MAX_RANK];
    const dl_type *type = &weight->type;
    for (int i = 0; i < type->rank; i++)
        dim[i] = (hsize_t)type->dim[weight->order[i]];
    hid_t space = type->rank ? H5Screate_simple(type->rank, dim, NULL) : H5Screate(H5S_SCALAR);
    hid_t timeless = H5Pcreate(H5P_DATASET_CREATE), data = -1; /* equal weights, equal files */
    float *values = dl_alloc(dl_type_bytes(type));
    if (!values) {
        status = dl_fail_memory(dl_type_bytes(type));
        goto out;
    }
    dl_h5_transpose(type, weight->order, false, weight->data, values);
    if (space < 0 || timeless < 0 || H5Pset_obj_track_times(timeless, false) < 0 ||
        (data = H5Dcreate2(group, weight->name, H5T_IEEE_F32LE, space, links, timeless,
                           H5P_DEFAULT)) < 0 ||
        H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        status = dl_h5_fail(DL_NO_WRITE, "write the weight", weight->name, path);
out:
    dl_free(values);
    if (data >= 0 && H5Dclose(data) < 0 && status == DL_OK)
        status = dl_h5_fail(DL_NO_WRITE, "write the weight", weight->name, path);
    if (timeless >= 0)
        H5Pclose(timeless);
    if (space >= 0)
        H5Sclose(space);
    return status;
}

/* A name with '/' at an end or twice, or '.' as a part, is another path than it says. */
static bool usable(const char *name) {
    char framed[1024];
    if (snprintf(framed, sizeof framed, "/%s/", name) >= (int)sizeof framed)
        return false;
    return !strstr(framed, "//") && !strstr(framed, "/./") && !strstr(framed, "/../");
}

static dl_status put_layer(hid_t root, const dl_keras_layer *layer, hid_t links, const char *path) {
    dl_status status = DL_OK;
    const char **names = dl_alloc(sizeof *names * (size_t)(layer->weight_count + 1));
    if (!names)
        return dl_fail_memory(sizeof *names * (size_t)(layer->weight_count + 1));
    hid_t group = -1;
    if (!usable(layer->name)) {
        status = dl_fail(DL_NO_WRITE, "'%.200s' cannot be the name of a layer in '%s'", layer->name,
                         path);
        goto out;
    }
    group = H5Gcreate2(root, layer->name, links, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) {
        status = dl_h5_fail(DL_NO_WRITE, "write the layer", layer->name, path);
        goto out;
    }
    for (int i = 0; i < layer->weight_count; i++) {
        names[i] = layer->weight[i].name;
        if (!usable(names[i])) {
            status = dl_fail(DL_NO_WRITE, "'%.200s' cannot be the name of a weight in '%s'",
                             names[i], path);
            goto out;
        }
        DL_GOTO(out, put_weight(group, &layer->weight[i], links, path));
    }
    status = put_list(group, "weight_names", names, layer->weight_count, path);
out:
    if (group >= 0)
        H5Gclose(group);
    dl_free(names);
    return status;
}

static dl_status put_tree(hid_t root, const dl_keras_model *model, const char *version,
                          const char *path) {
    dl_status status = DL_OK;
    const char **names = dl_alloc(sizeof *names * (size_t)(model->layer_count + 1));
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    if (!names) {
        status = dl_fail_memory(sizeof *names * (size_t)(model->layer_count + 1));
        goto out;
    }
    if (links < 0 || H5Pset_create_intermediate_group(links, 1) < 0) {
        status = dl_h5_fail(DL_NO_WRITE, "write", "layers", path);
        goto out;
    }
    for (int i = 0; i < model->layer_count; i++) {
        names[i] = model->layer[i].name;
        DL_GOTO(out, put_layer(root, &model->layer[i], links, path));
    }
    DL_GOTO(out, put_list(root, "layer_names", names, model->layer_count, path));
    DL_GOTO(out, put_text(root, "backend", "tensorflow", path));
    DL_GOTO(out, put_text(root, "keras_version", version, path));
out:
    if (links >= 0)
        H5Pclose(links);
    dl_free(names);
    return status;
}

static dl_status put_model(hid_t file, const dl_keras_model *model, const char *path) {
    const char *version = model->keras_version ? model->keras_version : "2.4.0";
    if (!model->model_config)
        return put_tree(file, model, version, path);
    DL_TRY(put_text(file, "model_config", model->model_config, path));
    if (model->training_config)
        DL_TRY(put_text(file, "training_config", model->training_config, path));
    DL_TRY(put_text(file, "backend", "tensorflow", path));
    DL_TRY(put_text(file, "keras_version", version, path));
    hid_t group = H5Gcreate2(file, "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0)
        return dl_h5_fail(DL_NO_WRITE, "write", "model_weights", path);
    dl_status status = put_tree(group, model, version, path);
    H5Gclose(group);
    return status;
}

/* The bytes of the file in memory go to the disk in our own way. */
static dl_status save_image(hid_t file, const char *path) {
    ssize_t count = H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(file, NULL, 0);
    if (count <= 0)
        return dl_h5_fail(DL_NO_WRITE, "finish", "the file", path);
    char *image = dl_alloc((size_t)count);
    if (!image)
        return dl_fail_memory((size_t)count);
    dl_status status = H5Fget_file_image(file, image, (size_t)count) == count
                           ? dl_file_replace(path, 0666, image, (size_t)count)
                           : dl_h5_fail(DL_NO_WRITE, "finish", "the file", path);
    dl_free(image);
    return status;
}

dl_status dl_keras_h5_write(const char *path, const dl_keras_model *model) {
    static const char suffix[] = ".weights.h5";
    size_t length = strlen(path);
    if (length >= sizeof suffix - 1 && strcmp(path + length - (sizeof suffix - 1), suffix) == 0)
        return dl_fail(DL_BAD_JOB,
                       "'%s' ends in %s, where Keras 3 expects another layout than "
                       "that of Keras 2; call it something else",
                       path, suffix);
    dl_h5_setup();
    dl_status status;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = -1;
    if (access < 0 || H5Pset_fapl_core(access, 1 << 20, 0) < 0 ||
        H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) < 0 ||
        (file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access)) < 0) {
        status = dl_h5_fail(DL_NO_WRITE, "begin", "the file", path);
        goto out;
    }
    DL_GOTO(out, put_model(file, model, path));
    status = save_image(file, path);
out:
    if (file >= 0)
        H5Fclose(file); /* memory alone: nothing is lost if this fails */
    if (access >= 0)
        H5Pclose(access);
    return status;
}
