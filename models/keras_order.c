/* The two orders of a weight's elements: canonical (output, kernel, input), in which it is computed
 * with, and Keras's (kernel, input, output), in which it is initialised and exported. See
 * initializers.h. */
#include "models/initializers.h"

dl_type dl_keras_type(const dl_variable *variable) {
    dl_type type = variable->type;
    for (int i = 0; i < type.rank; i++)
        type.dim[i] = variable->type.dim[variable->keras_order[i]];
    return type;
}

/* Keras's order element by element, an odometer over the canonical strides. */
static void walk(const dl_variable *variable, const float *from, float *to, bool to_keras) {
    int rank = variable->type.rank;
    int64_t stride[DL_MAX_RANK] = {0}, step[DL_MAX_RANK] = {0}, at[DL_MAX_RANK] = {0};
    dl_type keras = dl_keras_type(variable);
    for (int i = rank - 1; i >= 0; i--)
        stride[i] = i == rank - 1 ? 1 : stride[i + 1] * variable->type.dim[i + 1];
    for (int i = 0; i < rank; i++)
        step[i] = stride[variable->keras_order[i]];
    int64_t count = dl_type_count(&keras), place = 0;
    for (int64_t e = 0; e < count; e++) {
        if (to_keras)
            to[e] = from[place];
        else
            to[place] = from[e];
        for (int i = rank - 1; i >= 0; i--) {
            place += step[i];
            if (++at[i] < keras.dim[i])
                break;
            place -= step[i] * keras.dim[i];
            at[i] = 0;
        }
    }
}

void dl_to_keras(const dl_variable *variable, const float *canonical, float *keras) {
    walk(variable, canonical, keras, true);
}

void dl_from_keras(const dl_variable *variable, const float *keras, float *canonical) {
    walk(variable, keras, canonical, false);
}
