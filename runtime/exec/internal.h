/* What the files of runtime/exec share: where values live, and nodes made ready to run.
 *
 * Memory is addressed as (base, offset). The bases of a leaf are filled in before it runs: its
 * arena, its part of the inputs, its buffers of the collectives; so one compiled variant serves all
 * leaves. */
#ifndef DL_EXEC_INTERNAL_H
#define DL_EXEC_INTERNAL_H

#include "runtime/exec/exec.h"
#include "runtime/graph/planner.h"

enum { /* fixed bases; inputs, leaf buffers and results follow */
       BASE_ARENA,
       BASE_SHARED,
       BASE_PACKED,
       BASE_SLAB,
       BASE_INPUT = BASE_SLAB + DL_SLABS_THERE
};

typedef struct place {
    int base; /* -1: nowhere (a value nobody reads) */
    size_t offset;
} place;

typedef struct dying { /* memory to poison once a node has run */
    size_t offset, bytes;
} dying;

typedef struct unit { /* one node, ready */
    const dl_graph_node *node;
    const dl_kernel *kernel; /* of the row, for where it runs */
    dl_prepared prepared;
    bool ready; /* prepared */
    place *in, *out;
    place workspace; /* in the arena; base -1: the context's, which all nodes use in turn */
    int phase, position;
    bool divided; /* every rank of the host runs its part */
    bool meets;   /* ranks of the host wait for each other before it */
    int sum;      /* collective: index in exec->sum */
    int after; /* collective: the last unit of its phase that writes or reads what it sums, or -1 */
    dying *dead;
    int dead_count;
    double flop, bytes; /* of a run */
} unit;

typedef struct move { /* copy: value into a collective's buffer, once it is complete */
    place from;
    int sum;
    size_t offset, bytes;
} move;

typedef struct storage { /* memory in one of the two arenas */
    size_t bytes;
    int first, last; /* units */
    bool shared;
    int maker;    /* the last unit that writes it */
    bool scratch; /* the unit's workspace, not what it makes */
    size_t offset;
} storage;

typedef struct variant {
    int64_t samples;
    dl_graph graph;
    dl_arena memory;
    unit *units; /* by position */
    int count;
    int *begin;   /* [3 * phases + 1]: first unit of (phase, class) */
    place *where; /* by value */
    move *moves;
    int move_count;
    storage *storage;
    int storages;
    size_t arena_bytes, shared_bytes, unplanned_bytes, workspace, shared_workspace, packed_bytes;
    char *packed;
    uint64_t packed_version;
} variant;

typedef struct copy { /* assignment that could not write in place */
    place from, to;
    size_t bytes;
    bool common; /* into memory of several ranks */
} copy;

typedef struct leaf { /* a piece of the current batch on this rank */
    const variant *variant;
    char **base;
    const void **in; /* scratch of one node's pointers */
    void **out;
    char *workspace;
    dl_random random;
    int64_t first; /* sample, from this rank's first */
    int sum_leaf;
    int worker; /* that runs it */
    dl_status status;
    char message[256];
} leaf;

/* Units of a phase, in this order. */
enum { CLASS_SHARED, CLASS_SHARD, CLASS_COLLECTIVE, CLASSES };

enum { MAX_VARIANTS = 8 };

typedef struct dl_carrier dl_carrier;
typedef struct dl_queue dl_queue; /* queue.c */

struct dl_exec {
    dl_exec_options options;
    variant *variant[MAX_VARIANTS]; /* [0] also runs the shared nodes */
    int variants;
    int phases, collectives, last_shard_phase;
    bool lockstep; /* a collective lies between per-shard nodes */
    uint64_t hash;
    copy *copies;
    int copy_count;
    int input_count;
    const char **input_name;
    dl_type *input_type; /* of the first variant */
    bool *input_shared;
    const void **input;
    bool *constant;       /* [inputs] shared ones whose numbers stay */
    const void **table;   /* [inputs] on a device, whose rows are the samples; NULL: none */
    const uint32_t *rows; /* of the samples of the current batch here */
    bool takes_rows;
    void **output;       /* [graph outputs] per-shard destinations */
    dl_queue *queue;     /* NULL: the CPU runs it */
    dl_carrier *carrier; /* NULL: collectives run at the end of their phase */
    dl_sum **sum;
    int64_t *sum_floats; /* without the flag */
    int bases;
    leaf *leaves; /* [local_leaves] */
    int local_leaves, arena_count, workers;
    char *arenas, *shared, *workspaces;
    size_t arena_bytes, shared_bytes, workspace_bytes, shared_workspace;
    int64_t most_samples; /* of a batch, on this rank */
    leaf shared_leaf;     /* context of the shared nodes */
    dl_status refusal;
    char refusal_message[256];
    float notice, noticed;
    float *notices;          /* [ranks][runs of a launch], where no sum carries them */
    struct profile *profile; /* NULL: off */
    int64_t through;         /* samples of a run that nobody has collected; 0: none */
    /* of the current run */
    int current_phase, first_leaf, leaf_count, run_leaves; /* run_leaves: over all ranks */
};

/* Sums a lane and slot; slots: nodes by position, parts, what is around the nodes. Each lane is
 * written by one thread. */
enum { AROUND_PACK, AROUND_COPY, AROUND_ROWS, AROUND_GAPS, AROUND };
typedef struct tally {
    double seconds, flop, bytes;
    int64_t calls;
} tally;

typedef struct profile {
    bool nodes;
    int count; /* of nodes: where the parts begin */
    int slots, lanes, capacity;
    double lap;         /* when the present part began */
    tally *sum;         /* [lanes][slots] */
    dl_exec_span *span; /* [lanes][capacity] */
    int *spans;         /* [lanes] */
} profile;

/* profile.c */
void dl_profile_free(profile *p); /* NULL is allowed */
void dl_profile_lap(profile *p, dl_run_part part);
void dl_profile_note(profile *p, int lane, int slot, double start, double flop, double bytes);
void dl_profile_add(profile *p, int lane, int slot, double start, double end, double flop,
                    double bytes);

/* compile.c */
dl_device *dl_exec_device(const dl_exec *exec); /* that runs or will run it; NULL: the CPU */
dl_status dl_variant_make(dl_exec *exec, int64_t samples, variant **out);
void dl_variant_free(variant *v);
/* count.c: adds the products of a node */
dl_status dl_count_node(const dl_graph *graph, const dl_graph_node *node, dl_exec_work *work);
/* recompute.c: appends nodes to the graph, in the order of which units then change. */
dl_status dl_variant_recompute(const dl_exec *exec, variant *v, bool *changed);
/* memory.c: places, moves, copies, poison lists of a variant whose units are prepared */
dl_status dl_variant_place(dl_exec *exec, variant *v);
/* Whether the workspace of a node has a place among the values: a device's memory is dear, while a
 * processor is glad of memory that is still in its cache. */
bool dl_workspace_placed(const dl_exec *exec, const dl_graph_node *node);
/* divide.c: which units run in parts, where ranks meet; of a variant that is placed */
void dl_variant_divide(dl_exec *exec, variant *v);

/* carrier.c: collectives beside the leaves. begin: units [first, end) are the collectives of the
 * phase; ready: a local leaf hands one over; finish: all are summed. */
dl_status dl_carrier_open(dl_exec *exec, dl_carrier **out);
void dl_carrier_close(dl_carrier *carrier); /* NULL is allowed */
void dl_carrier_begin(dl_carrier *carrier, int first, int end, int leaves);
void dl_carrier_ready(dl_carrier *carrier, int sum);
dl_status dl_carrier_finish(dl_carrier *carrier);

/* run.c: what this rank has to say with each of some runs becomes the sum of what all ranks have,
 * where no collective of the runs carries it. Collective. */
dl_status dl_gather_notices(dl_exec *exec, float *notice, int runs);

static inline void *at(const leaf *context, place where) {
    return where.base < 0 ? NULL : context->base[where.base] + where.offset;
}

/* Where a unit's values are in that context; the rest is the runner's. */
static inline dl_run run_of(const unit *made, const leaf *context) {
    for (int i = 0; i < made->node->inputs; i++)
        context->in[i] = at(context, made->in[i]);
    for (int o = 0; o < made->node->outputs; o++)
        context->out[o] = at(context, made->out[o]);
    char *workspace = made->workspace.base < 0 ? context->workspace : at(context, made->workspace);
    return (dl_run){.in = context->in, .out = context->out, .workspace = workspace};
}

/* The units of a class in a phase: [*first, *last). */
static inline void units_of(const variant *v, int phase, int class, int *first, int *last) {
    *first = v->begin[CLASSES * phase + class];
    *last = v->begin[CLASSES * phase + class + 1];
}
static inline int base_input(const dl_exec *exec, int index) {
    (void)exec;
    return BASE_INPUT + index;
}
static inline int base_leaf(const dl_exec *exec, int sum) {
    return BASE_INPUT + exec->input_count + sum;
}
static inline int base_result(const dl_exec *exec, int sum) {
    return BASE_INPUT + exec->input_count + exec->collectives + sum;
}

#endif
