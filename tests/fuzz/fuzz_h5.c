/* Keras's HDF5 files. Reading starts a process for each, so this is slow, and a death of that
 * process is a result like any other; the guards and the second reading are what is tried. */
#include "runtime/base/memory.h"
#include "runtime/store/keras_h5.h"
#include "tests/fuzz/folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    dl_keras_h5 *file;
    dl_status status = dl_keras_h5_open(&file, fuzz_put("model.h5", bytes, count));
    if (status != DL_OK && (status != DL_NO_INPUT || file))
        abort();
    for (int i = 0; file && i < file->layer_count; i++)
        for (int j = 0; j < file->layer[i].weight_count; j++) {
            const dl_type *type = &file->layer[i].weight[j].type;
            int order[DL_MAX_RANK];
            for (int axis = 0; axis < DL_MAX_RANK; axis++)
                order[axis] = axis;
            float *values = dl_alloc((size_t)dl_type_count(type) * sizeof *values);
            if (values && dl_keras_h5_read(file, i, j, type, order, values) != DL_OK)
                abort(); /* the other process could */
            dl_free(values);
        }
    dl_keras_h5_close(file);
    return 0;
}
