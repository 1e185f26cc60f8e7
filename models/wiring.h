/* The network of layers as the job describes it, taken apart: every layer at every place, with
 * names and where its inputs come from. `call`, `copy`, `times` and nested models are gone; graphs
 * are built from this list in order. Names: a place within a called model is "CALL.layer", its
 * weights "MODEL.layer" (copy: "COPY.layer"). */
#ifndef DL_MODELS_WIRING_H
#define DL_MODELS_WIRING_H

#include "models/layer.h"
#include "models/network.h"

/* A result of the top level by its name: what losses, metrics and outputs speak of. */
typedef struct dl_result {
    const char *name;
    int layer; /* index; -1 - i for field i */
    bool read; /* by a layer: not an output */
    const dl_node *node;
} dl_result;

typedef struct dl_wiring {
    dl_layer *layer;
    int layers, capacity;
    dl_result *result;
    int results, result_capacity;
    const dl_field *field;
    int fields;
} dl_wiring;

extern const dl_layer_row dl_call_row, dl_copy_row;

/* From `model`, `models` and `freeze` of the job. */
dl_status dl_wiring_open(dl_wiring *wiring, dl_arena *arena, const dl_node *job,
                         const dl_field *fields, int field_count);
/* Layer index of a name: a result of the top level, or any place or (last) use of weights; INT_MIN:
 * none. */
int dl_wiring_find(const dl_wiring *wiring, const char *name);
int dl_wiring_field(const dl_wiring *wiring, const char *name); /* -1: none */
const char *dl_wiring_source_name(const dl_wiring *wiring, int source);
/* For "did you mean": all names; returns NULL or the nearest. */
const char *dl_wiring_nearest(const dl_wiring *wiring, const char *name);

#endif
