/* Keras's HDF5 files: `model.h5` as Keras 2 reads it, and a reader for what Keras wrote.
 *
 * Layout: "/" (weights alone) or "/model_weights" (whole model) has layer_names; each layer is a
 * group with weight_names, under which its datasets lie, float32 in Keras's axis order. Values on
 * our side are in canonical layout (output, kernel..., input); `order` says how the two map.
 *
 * The library itself is not safe against damaged files, so reading is guarded: no links but hard
 * ones, no external or virtual storage, no filters but gzip and shuffle, sizes within the file's,
 * and the whole file is first walked and read by a child process, whose death is our DL_NO_INPUT.
 */
#ifndef DL_STORE_KERAS_H5_H
#define DL_STORE_KERAS_H5_H

#include <stdint.h>

#include "runtime/base/memory.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"

typedef struct dl_keras_weight {
    const char *name;       /* "dense/kernel:0", unique in its layer */
    dl_type type;           /* float32; of `data`, row-major */
    int order[DL_MAX_RANK]; /* axis of `type` that is Keras's axis i */
    const float *data;
} dl_keras_weight;

typedef struct dl_keras_layer {
    const char *name;
    const dl_keras_weight *weight; /* trainable first, then the others */
    int weight_count;              /* 0 is usual: every layer is listed */
} dl_keras_layer;

typedef struct dl_keras_model {
    const char *model_config;    /* JSON; NULL: a file of weights alone */
    const char *training_config; /* JSON; NULL: none */
    const char *keras_version;   /* NULL: "2.4.0" */
    const dl_keras_layer *layer; /* in model order */
    int layer_count;
} dl_keras_model;

/* Written in memory, then aside, then renamed: `path` has the old file or the whole new one. A path
 * that ends in .weights.h5 is DL_BAD_JOB (Keras 3 reads another layout there). */
dl_status dl_keras_h5_write(const char *path, const dl_keras_model *model);

/* What a file holds, in its own order and Keras's layout. */
typedef struct dl_keras_h5_weight {
    const char *name;
    dl_type type; /* shape as in the file; F32, F64 or F16; others than these are DL_NO_INPUT */
} dl_keras_h5_weight;

typedef struct dl_keras_h5_layer {
    const char *name;
    dl_keras_h5_weight *weight;
    int weight_count;
} dl_keras_h5_layer;

typedef struct dl_keras_h5 {
    dl_arena arena;
    const char *path;
    const char *model_config;  /* NULL: none */
    const char *keras_version; /* NULL: none, which means Keras 1 */
    dl_keras_h5_layer *layer;
    int layer_count;
    int64_t file, group; /* of the library */
    int64_t bytes;       /* of the file */
} dl_keras_h5;

dl_status dl_keras_h5_open(dl_keras_h5 **out, const char *path);
void dl_keras_h5_close(dl_keras_h5 *file); /* NULL is allowed */
/* Values of a weight as float32: `type` and `order` as in dl_keras_weight, the inverse way.
 * DL_NO_INPUT when the shapes differ. `out` has dl_type_count(type) elements. */
dl_status dl_keras_h5_read(const dl_keras_h5 *file, int layer, int weight, const dl_type *type,
                           const int *order, float *out);

#endif
