/* What the two files behind dnnl.h share: a call, and how v2 and v3 of oneDNN name a layout (v3
 * keeps memory descriptors behind handles).
 *
 * A dl_dnnl owns the primitive, its descriptor (which owns the layouts) and a fixed number of
 * slots. A slot is a stream and one memory object an argument; a run borrows one by exchanging its
 * flag, beginning at a place that belongs to the thread, so that a worker meets the pointers of its
 * own last run. */
#ifndef DL_OPS_DNNL_CALL_H
#define DL_OPS_DNNL_CALL_H

#include <oneapi/dnnl/dnnl.h>
#include <stdatomic.h>

#include "ops/dnnl.h"

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
typedef const_dnnl_memory_desc_t layout_ref;
#define REF(made) (made)
#else
typedef dnnl_memory_desc_t layout;
typedef const dnnl_memory_desc_t *layout_ref;
#define REF(made) (&(made))
#endif

/* The slots' entry after the arguments is the scratchpad. */
enum { MEMORIES = DL_DNNL_ARGUMENTS + 1, MAX_SLOTS = 512, MIN_SLOTS = 8 };

typedef struct slot {
    _Alignas(64) _Atomic int busy;
    bool made;
    dnnl_stream_t stream;
    dnnl_exec_arg_t argument[MEMORIES];
    void *handle[MEMORIES];
} slot;

struct dl_dnnl {
    const char *what; /* "a convolution" */
    int threads;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    int arguments;
    int id[DL_DNNL_ARGUMENTS]; /* DNNL_ARG_...; 0: absent */
    layout_ref layout[MEMORIES];
    size_t scratch;
    int slots;
    slot *slot;
};

/* The engine of the process, made when first asked for; it lives as long as the process does. */
dl_status dl_dnnl_engine(dnnl_engine_t *out);
/* "oneDNN 2.6.3 could not DOING WHAT: unimplemented" */
dl_status dl_dnnl_failed(dnnl_status_t status, const char *doing, const char *what);

#endif
