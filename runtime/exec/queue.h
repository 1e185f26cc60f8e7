/* Programs on a device: the counterpart of run.c. queue.c begins and collects runs, queue_list.c
 * lists what they do, queue_step.c enqueues and records it, queue_pack.c keeps copies of weights,
 * queue_memory.c makes what all of it needs there. */
#ifndef DL_EXEC_QUEUE_H
#define DL_EXEC_QUEUE_H

#include "runtime/exec/internal.h"
#include "runtime/exec/streams.h"
#include "runtime/exec/together.h"

/* How many runs of this rank's device go in one launch; the same on all ranks. Collective. */
dl_status dl_queue_choose(dl_exec *exec, int *runs);
/* After the collectives are open and the contexts made (exec.c); on failure close still frees. */
dl_status dl_queue_open(dl_exec *exec, int runs);
void dl_queue_close(dl_exec *exec);
/* As dl_exec_begin and so on. */
dl_status dl_queue_begin(dl_exec *exec, int64_t batch, const dl_random *random);
dl_status dl_queue_collect(dl_exec *exec, bool all, int64_t *batch);
int dl_queue_under_way(const dl_exec *exec);
const float *dl_queue_result(const dl_exec *exec, int output);

/* ---- what the files share ---- */

enum { MAX_BATCHES = 4, MAX_SEGMENTS = 64, MOST_UNDER_WAY = 4 /* turns */, LANDINGS = 2 };

typedef struct batch_run { /* of one batch size */
    int64_t batch;
    int64_t begun;
    int runs; /* that went alone */
    dl_recording *segment[MAX_SEGMENTS];
    int segments;
    dl_recording *together; /* as many runs as fill a turn */
} batch_run;

/* Runs that go to the device together, one behind the other; `slot` is a run's place among them.
 * The host's side of a turn is page-locked memory of its own, so that the host can go on to the
 * next. */
typedef struct turn {
    char *block;   /* [slots] what a run reads: randoms of the leaves, inputs */
    char *tail;    /* [slots] what it says: fault, shared outputs */
    dl_mark *mark; /* behind the last word of all of them */
    batch_run *as; /* NULL: not recorded */
    int64_t batch;
    int runs, collected;
    bool sound;                   /* no rank has a failure or fault in any of them */
    float noticed[MOST_TOGETHER]; /* of this rank; once launched, of all */
} turn;

/* Where what a launch reads waits on the device, if it goes there ahead. */
typedef struct landing {
    char *block;
    dl_mark *filled, *emptied;
} landing;

/* The pieces of work of some phases, in the order in which they are enqueued. */
typedef enum piece_kind {
    PIECE_EDGE,    /* the beginning and the end, where streams part and meet */
    PIECE_ROWS,    /* index: input that takes rows, of all leaves */
    PIECE_UNIT,    /* index: unit */
    PIECE_MOVE,    /* index: move of the leaf's variant */
    PIECE_SUM,     /* index: collective, of all leaves */
    PIECE_DELIVER, /* index: graph output, of a leaf */
    PIECE_ASSIGN,  /* index: copy */
    PIECE_SAY      /* index: graph output, shared */
} piece_kind;

typedef struct piece {
    piece_kind kind;
    int index, leaf; /* leaf: -1 of what leaves share */
} piece;

typedef struct work_list {
    piece *piece; /* [count] */
    dl_task *task;
    dl_access *access;
    dl_mark **mark; /* of pieces that others wait for; opened when first needed */
    int count, accesses, most, most_accesses;
} work_list;

/* When the pieces of a list began and ended, by the device's clock: queue_time.c. */
typedef struct work_times {
    dl_mark **mark; /* [WORK_MARKS * list.most] */
    dl_mark *begun;
    double enqueuing; /* what that took the host the last time */
} work_times;
enum { WORK_ASKED, WORK_READY, WORK_DONE, WORK_MARKS };

struct dl_queue {
    dl_device *device;
    dl_resident *resident;
    turn turns[MOST_UNDER_WAY];
    int next, used;      /* the turn that takes the next run; turns with runs not collected */
    int held, under_way; /* runs not launched; runs not collected */
    const char *last;    /* tail of the run that was collected last */
    int slots;           /* of a turn */
    char *block, *tail;  /* a turn's, on the device */
    size_t block_bytes, tail_bytes; /* of a slot */
    size_t *input_size;             /* [inputs] bytes of a sample, or of a shared one */
    size_t *input_place;            /* in a slot of block; but of those with memory of their own: */
    void **input;                   /* rows taken, constants; one for all slots; else NULL */
    size_t rows_place;              /* in a slot of block: their numbers */
    size_t *output_place;           /* [graph outputs] of shared ones, in a slot of tail */
    int slot;                       /* of the run that is enqueued */
    landing landing[LANDINGS];      /* of large blocks: the launch that computes, the next */
    int landed;                     /* the landing that was filled last */
    float **leaf; /* [collectives * local leaves], in `sums`; a sum comes into its leaf 0 */
    float *room;  /* in `sums`, too */
    void *sums;
    void *memory[3]; /* arenas, shared, workspaces */
    void *packed[MAX_VARIANTS];
    bool staged;
    batch_run batch[MAX_BATCHES];
    int batches;
    work_list list;
    work_times times;
    /* The first failure here, until all ranks hear of it. */
    dl_status failure;
    char message[DL_MESSAGE_MAX];
};

static inline const dl_fault *fault_in(const char *tail) {
    return (const dl_fault *)(const void *)tail;
}

/* queue_memory.c: what a run reads, with the landings, where no input takes rows. */
size_t dl_queue_input_bytes(const dl_exec *exec);

/* Keeps the first failure; nothing more is enqueued for a run after it. */
void dl_queue_keep(dl_queue *queue, dl_status status);

/* queue_list.c: where the segment ends that begins with phase `first`: behind the first phase whose
 * sums are staged, or with the program. */
int dl_queue_segment_end(const dl_exec *exec, bool staged, int first);
/* Room for the most that can be listed; phases [first, end) of the leaves that are
 * set, with what waits for what. */
dl_status dl_queue_list_open(dl_exec *exec);
void dl_queue_list_close(dl_queue *queue);
void dl_queue_list(dl_exec *exec, int first, int end);

/* queue_step.c: everything that is enqueued for phases [first, end) of the run in slot 0; as it is
 * in the first run of a batch size, or if there is none (NULL), which loads what is loaded lazily;
 * the second is recorded, later ones played. `segment` counts from the run's beginning. */
dl_status dl_queue_phases(dl_exec *exec, batch_run *batch, int segment, int first, int end);
/* The runs of a whole turn, which are recorded the first time; not where sums are staged. */
dl_status dl_queue_together(dl_exec *exec, batch_run *batch);

/* queue_time.c: whether runs are timed piece by piece now. Then between begin and end all work is
 * enqueued, each piece between stamps: when its stream has come to it, when what it waits for is
 * done (if it waits), when it is done. The host waits for the end, and the profile has it all. */
bool dl_queue_timed(const dl_exec *exec);
dl_status dl_queue_time_begin(dl_exec *exec);
dl_status dl_queue_stamp(const dl_exec *exec, int index, int which);
dl_status dl_queue_time_end(dl_exec *exec);
/* The host's sums of a phase, units [first, last), since `start`. */
void dl_queue_time_staged(const dl_exec *exec, int first, int last, double start);
void dl_queue_time_close(dl_queue *queue);

/* queue_pack.c: copies of weights in the kernels' own layout. Before a turn, for a program that
 * changes no variables; in each run, for one that does. */
void dl_queue_pack(dl_exec *exec);
void dl_queue_pack_in_run(const dl_exec *exec);
void dl_queue_forget(dl_queue *queue, batch_run *batch);

#endif
