/* Running programs. A dl_exec owns all that one program needs for its steps: prepared kernels,
 * memory plan, arenas, collectives. dl_exec_run allocates nothing.
 *
 * A batch of B samples is cut into L = min(leaves, B) leaves, leaf s holding samples [s*B/L,
 * (s+1)*B/L); each leaf this rank holds (dl_leaf_range) runs one instance of the per-shard nodes.
 * Variants differ in the samples of a leaf (floor and ceiling of B/L) and share everything else.
 * Order of a run: per-shard nodes up to the next collective for all local leaves (side by side on a
 * side team, else one after another), the collective, the shared nodes that wait for it, and so on.
 * Leaves need memory at the same time only where a collective lies between per-shard nodes (global
 * batch statistics); otherwise one arena a worker serves one leaf after another. */
#ifndef DL_EXEC_EXEC_H
#define DL_EXEC_EXEC_H

#include "runtime/base/team.h"
#include "runtime/device/comm.h"
#include "runtime/exec/resident.h"
#include "runtime/graph/graph.h"

typedef struct dl_exec dl_exec;

/* Appends the program for graph->samples samples. Called for each variant; must append the same
 * nodes. */
typedef dl_status (*dl_build_fn)(void *argument, dl_graph *graph);

typedef enum dl_memory_mode {
    DL_MEMORY_PLANNED,
    DL_MEMORY_OFF,     /* every value has memory of its own */
    DL_MEMORY_POISONED /* planned, and memory is filled with NaN when its value dies */
} dl_memory_mode;

typedef struct dl_exec_options {
    const char *name; /* "step", "evaluation": messages */
    const dl_op_table *ops;
    dl_variables *variables; /* laid out; allocated before dl_exec_run */
    dl_comm *comm;
    dl_team *team;
    dl_resident *resident; /* the device that runs it, with the variables; NULL: the CPU */
    dl_device *plan_for; /* prepared for this device, never run; NULL: the resident's, or the CPU */
    int leaves;          /* of a full batch, over all ranks */
    int steps_per_execution; /* runs in one launch of a device, 1..16; 0: together.h says */
    bool any_ranks;          /* kernels are chosen by what is the same on any number of ranks */
    bool every_leaf;  /* makes variants for the leaves of all ranks, not for this one's alone */
    bool tf32;        /* products of float32 may be rounded so on a device */
    double recompute; /* share of the bytes a step's leaves move that may go into making values
                         again rather than keeping them; 0: all are kept */
    bool training;
    dl_memory_mode memory;
    bool overlap; /* a thread of its own sums what is complete while leaves still compute */
    dl_build_fn build;
    void *argument;
} dl_exec_options;

/* The products of matrices in a program for `samples` samples; only what builds it is read. */
typedef struct dl_exec_work {
    double flop;
    int products;
} dl_exec_work;
dl_status dl_exec_count(const dl_exec_options *options, int64_t samples, dl_exec_work *work);

dl_status dl_exec_open(dl_exec **out, const dl_exec_options *options); /* options are copied */
void dl_exec_close(dl_exec *exec);                                     /* NULL is allowed */

/* Makes the variants that a global batch of `batch` samples needs: for the full and the last batch,
 * before the first run. Not collective: agree on the status, then connect, which opens the
 * collectives. */
dl_status dl_exec_prepare(dl_exec *exec, int64_t batch);
dl_status dl_exec_connect(dl_exec *exec);

/* Index of an input or output by name; -1: the program has none (or dropped it as unused). */
int dl_exec_input(const dl_exec *exec, const char *name);
int dl_exec_output(const dl_exec *exec, const char *name);

/* Binds for the runs that follow; the memory stays the caller's. Shared input: of its type.
 * Per-shard input: this rank's samples of the batch, contiguous. Per-shard output: receives this
 * rank's samples in the same way (NULL: not wanted). */
void dl_exec_bind_input(dl_exec *exec, int input, const void *memory);
/* Before connect: a shared input whose numbers stay as they are, so that a device gets them once.
 */
void dl_exec_bind_constant(dl_exec *exec, int input, const void *memory);
/* Before connect, for a device: the samples of a per-shard input are rows of a table there, which
 * stays the caller's. A run then reads the numbers of its samples, bound like an input and the same
 * for all such inputs, and takes the rows itself. */
void dl_exec_lend_rows(dl_exec *exec, int input, const void *table);
bool dl_exec_takes_rows(const dl_exec *exec);
void dl_exec_bind_rows(dl_exec *exec, const uint32_t *number);
void dl_exec_bind_output(dl_exec *exec, int output, void *memory);
/* A shared output of the run that was collected last, until the next run begins. */
const float *dl_exec_result(const dl_exec *exec, int output);

/* Before a run on this rank alone: the run will fail here with this thread's message (the batch
 * could not be read, say) and so, through its collectives, on every rank. */
void dl_exec_refuse(dl_exec *exec, dl_status status);
/* A number that rides along with the last collective of the runs that follow (a signal has come),
 * and the sum of what all ranks sent with the run that was collected last: an agreement that is
 * free, but where a batch has fewer samples than there are ranks. */
void dl_exec_notice(dl_exec *exec, float notice);
float dl_exec_noticed(const dl_exec *exec);

/* Begins the run of a batch; `random` holds seed and step. Bound inputs may change when it returns;
 * runs take effect in their order. On the CPU a run is through by then; a device works at it while
 * the host goes on to the next, or gets it later together with others, and a failure may come out
 * where the run is collected. Another program over the same variables begins when all runs are
 * collected. Collective when comm->size > 1, as collecting is. */
dl_status dl_exec_begin(dl_exec *exec, int64_t batch, const dl_random *random);
/* The next of the runs that were begun: *batch is its samples, and now its results and notice can
 * be had. 0: none for now, as runs are only waited for when no more can be under way, or where
 * `all` are wanted, one a call. So all ranks collect a run at the same place. After a begin, call
 * it until it says 0. */
dl_status dl_exec_collect(dl_exec *exec, bool all, int64_t *batch);
int dl_exec_under_way(const dl_exec *exec); /* begun, not collected */
/* Begins a run and collects it; no other is under way. */
dl_status dl_exec_run(dl_exec *exec, int64_t batch, const dl_random *random);

/* What `dltrain plan` shows; bytes on this rank. */
typedef struct dl_exec_report {
    int nodes, shared_nodes, collectives, local_leaves;
    size_t activations, arenas; /* one arena of the largest variant; how many there are */
    size_t unplanned;           /* what one would take without reuse */
    size_t workspace, packed, shared, reduction;
    size_t inputs;             /* on a device: of a step, and where the next one's land ahead */
    double bytes;              /* that the nodes of a step read and write at least */
    int64_t collective_floats; /* summed in a step */
    int inner_collectives;     /* those that work of the shards waits for */
    bool overlap;              /* the others are summed while leaves still compute */
    int64_t divided;           /* floats that ranks of a host update in parts, each its own */
} dl_exec_report;
void dl_exec_describe(const dl_exec *exec, dl_exec_report *report);
void dl_exec_print(const dl_exec *exec, FILE *file); /* its nodes and kernels, a line each */
/* The moment at which most of the arena is in use, while that node runs, and what then holds it: by
 * row of what was made, largest first; the last is of all other rows. */
enum { DL_EXEC_HOLDERS = 6 };
typedef struct dl_exec_worst {
    size_t bytes;
    const char *op;
    char name[64];
    int holders;
    struct {
        const char *op;
        size_t bytes;
        int values;
    } holder[DL_EXEC_HOLDERS];
} dl_exec_worst;
dl_status dl_exec_worst_moment(const dl_exec *exec, dl_exec_worst *out);
uint64_t dl_exec_hash(const dl_exec *exec); /* structure and sequence of collectives */

/* ---- measuring: profile.c ----
 *
 * Off, it costs a branch a phase and one a node. On, every moment of a run belongs to one part, so
 * the parts add up to the run; nothing is allocated in a step. Waiting is told from communication
 * by a barrier that each phase's collectives then begin with. */
typedef enum dl_measure {
    DL_MEASURE_OFF,
    DL_MEASURE_PARTS, /* the parts of a run */
    DL_MEASURE_NODES  /* and every node in them */
} dl_measure;

typedef enum dl_run_part {
    DL_RUN_COMPUTE,       /* forward and backward: what the shards do, or wait for */
    DL_RUN_WAITING,       /* from the arrival at a collective until the last rank's */
    DL_RUN_COMMUNICATION, /* the collectives themselves */
    DL_RUN_UPDATE,        /* shared nodes behind the last shard's, and packing of weights */
    DL_RUN_PARTS
} dl_run_part;

/* With overlap, communication is what of it no compute hid, and holds the waiting: the sums are
 * timed as nodes, on the lane after the team's. */

/* What was timed, by slot: the nodes in running order, the parts, then work around the nodes. */
typedef struct dl_exec_slot {
    const char *op, *name; /* row and layer; of a part: "part" and its name */
    bool part;
    double seconds, flop, bytes; /* summed over runs; flop: 0 but for products of matrices */
    int64_t calls;
} dl_exec_slot;

typedef struct dl_exec_span {
    int slot, lane; /* lane: of the team's threads, 0 the calling one; then that of the sums */
    double start, seconds;
} dl_exec_span;

/* Begins at zero; keeps room for `spans` of each lane, and what comes after those is not kept.
 * After dl_exec_connect. */
dl_status dl_exec_measure(dl_exec *exec, dl_measure level, int spans);
int dl_exec_slot_count(const dl_exec *exec);
void dl_exec_slot_at(const dl_exec *exec, int index, dl_exec_slot *out);
double dl_exec_part(const dl_exec *exec, dl_run_part part); /* seconds */
int dl_exec_lanes(const dl_exec *exec);
const dl_exec_span *dl_exec_spans(const dl_exec *exec, int lane, int *count);

#endif
