/* Initial values by Keras's names, and the two orders of a weight's elements.
 *
 * Random values are keyed by Philox with the seed, stream dl_stream("LAYER/WEIGHT") and the
 * element's index in Keras's layout, so that a kernel begins with the same numbers whatever its
 * layout in memory. */
#ifndef DL_MODELS_INITIALIZERS_H
#define DL_MODELS_INITIALIZERS_H

#include "runtime/base/schema.h"
#include "runtime/graph/variables.h"

/* Fills `out` (canonical order) as the variable's initializer, an item of dl_initializer_family,
 * says. */
dl_status dl_initial_values(const dl_variable *variable, uint64_t seed, float *out);

/* Shape in Keras's order, and copies between the two orders. */
dl_type dl_keras_type(const dl_variable *variable);
void dl_to_keras(const dl_variable *variable, const float *canonical, float *keras);
void dl_from_keras(const dl_variable *variable, const float *keras, float *canonical);

#endif
