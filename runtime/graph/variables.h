/* Variables: what lives from step to step. Weights, moving statistics and optimizer state are named
 * windows on a few flat float32 slabs, shared by all programs of a run.
 *
 * The parameter slab lies in bucket order (the order in which the backward pass finishes gradients:
 * last layer first), and every optimizer slot is a slab of the same layout, so that an update runs
 * over long segments and a gradient bucket is a contiguous range.
 *
 * The canonical layout of parameters is (output, kernel..., input) on every device; `keras_order`
 * names the axes in the order in which Keras stores them: it keys initial values and exports. */
#ifndef DL_GRAPH_VARIABLES_H
#define DL_GRAPH_VARIABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/memory.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"

typedef enum dl_slab {
    DL_SLAB_PARAMETER, /* trained */
    DL_SLAB_STATE,     /* frozen weights, moving statistics */
    DL_SLAB_SLOT0,     /* optimizer state, parallel to DL_SLAB_PARAMETER */
    DL_SLAB_SLOT1,
    DL_SLAB_SLOT2,
    DL_SLAB_SLOT3,
    DL_SLAB_SCALAR, /* loose optimizer scalars */
    DL_SLAB_COUNT,
    /* On a device alone: the parameters as its kernels of half precision read them, rounded to
     * dl_variables.half, parallel to DL_SLAB_PARAMETER. Nobody saves it: it is made anew. */
    DL_SLAB_HALF = DL_SLAB_COUNT,
    DL_SLABS_THERE
} dl_slab;

enum { DL_SLAB_ALIGN = 16 }; /* floats: every variable starts on a 64-byte line; gaps stay zero */

typedef struct dl_variable {
    const char *name;  /* "dense/kernel" as Keras says it, without ":0" */
    const char *layer; /* "dense" */
    dl_type type;      /* canonical shape, float32 */
    dl_slab slab;
    int64_t offset;               /* floats, once laid out */
    int order;                    /* of creation = Keras's order of weights */
    int keras_order[DL_MAX_RANK]; /* canonical axis of Keras's axis i */
    const void *initializer;      /* models/: how it begins */
    const void *regularizer;      /* models/: penalty, or NULL */
    bool no_decay;                /* biases, normalisation */
} dl_variable;

typedef struct dl_variables {
    dl_arena arena;
    dl_variable **list;
    int count, capacity;
    int64_t length[DL_SLAB_COUNT]; /* floats */
    float *slab[DL_SLAB_COUNT];    /* NULL until allocated */
    dl_dtype half;                 /* what layers compute in, if it is half; else DL_F32 */
    bool laid_out;
    int part, parts;  /* parts > 1: common slabs are memory of so many ranks, of which this rank is
                         `part`, fills and updates that part of them alone */
    uint64_t version; /* grows with every change of values: packed copies compare it */
} dl_variables;

void dl_variables_init(dl_variables *variables);
void dl_variables_fini(dl_variables *variables);

/* The variable of this name, made from a copy of `like` if there is none; DL_BAD_JOB if there is
 * one of another type. Nothing new can be made after the layout (DL_INTERNAL). */
dl_status dl_variables_want(dl_variables *variables, const dl_variable *like, dl_variable **out);
const dl_variable *dl_variables_find(const dl_variables *variables, const char *name);

/* Gives offsets (parameters in reverse order of creation, state in order of creation) and the
 * lengths of all slabs, with `slots` optimizer slots and `scalars` loose scalars. */
void dl_variables_layout(dl_variables *variables, int slots, int scalars);
dl_status dl_variables_allocate(dl_variables *variables); /* the slabs, zeroed */

/* Trained weights and the optimizer's slots, which a step changes element by element, may lie in
 * memory that several ranks share. dl_variables_divide: before programs are compiled; then, before
 * dl_variables_allocate, dl_variables_lend: zeroed memory for the common slabs, which stays the
 * caller's. */
static inline bool dl_slab_common(const dl_variables *variables, dl_slab slab) {
    return variables->parts > 1 && slab != DL_SLAB_STATE && slab != DL_SLAB_SCALAR;
}
void dl_variables_divide(dl_variables *variables, int part, int parts);
size_t dl_variables_common_bytes(const dl_variables *variables);
void dl_variables_lend(dl_variables *variables, void *memory);

/* Whether this rank gives the variable, and its slots, their first values. */
bool dl_variables_fills(const dl_variables *variables, const dl_variable *variable);
float *dl_variable_data(const dl_variables *variables, const dl_variable *variable);

#endif
