/* See h5.h. */
#include "runtime/store/h5.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void setup(void) {
    /* The first may refuse when the library was already started by someone else; then its exit
     * handler stays, which is what we had without the call. */
    (void)H5dont_atexit();
    H5open();
    H5PLset_loading_state(0);
}

void dl_h5_setup(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, setup);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* of this thread */
}

static herr_t note(unsigned depth, const H5E_error2_t *error, void *text) {
    if (depth == 0 && error->desc)
        snprintf(text, 256, "%s", error->desc);
    return 0;
}

dl_status dl_h5_fail(dl_status status, const char *what, const char *name, const char *path) {
    char reason[256] = "no reason given";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note, reason);
    return dl_fail(status, "cannot %s '%.500s' in '%s': %s", what, name, path, reason);
}

void dl_h5_transpose(const dl_type *type, const int *order, bool back, const float *from,
                     float *to) {
    int64_t stride[DL_MAX_RANK + 1], index[DL_MAX_RANK] = {0}, count = dl_type_count(type);
    stride[type->rank] = 1;
    for (int i = type->rank - 1; i >= 0; i--)
        stride[i] = stride[i + 1] * type->dim[i];
    /* stride[a + 1] is the step of axis a */
    for (int64_t keras = 0, ours = 0; keras < count; keras++) {
        if (back)
            to[ours] = from[keras];
        else
            to[keras] = from[ours];
        for (int i = type->rank - 1; i >= 0; i--) {
            int axis = order[i];
            ours += stride[axis + 1];
            if (++index[i] < type->dim[axis])
                break;
            ours -= index[i] * stride[axis + 1];
            index[i] = 0;
        }
    }
}
