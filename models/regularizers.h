/* Weight penalties l1 sum|w| + l2 sum w^2 by Keras's names. */
#ifndef DL_MODELS_REGULARIZERS_H
#define DL_MODELS_REGULARIZERS_H

#include "runtime/base/schema.h"

typedef struct dl_penalty {
    double l1, l2;
} dl_penalty;

dl_penalty dl_penalty_of(const dl_node *item); /* NULL: none */

#endif
