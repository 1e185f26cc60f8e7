/* Programs on a device: the counterpart of run.c. queue.c begins and collects runs, queue_list.c
 * lists what they do, queue_step.c enqueues and records it, queue_memory.c makes what they need
 * there. */
#ifndef DL_EXEC_QUEUE_H
#define DL_EXEC_QUEUE_H

#include "runtime/exec/internal.h"
#include "runtime/exec/streams.h"

/* After the collectives are open and the contexts made (exec.c); on failure close still frees. */
dl_status dl_queue_open(dl_exec *exec);
void dl_queue_close(dl_exec *exec);
/* As dl_exec_begin and so on. */
dl_status dl_queue_begin(dl_exec *exec, int64_t batch, const dl_random *random);
dl_status dl_queue_collect(dl_exec *exec, bool all, int64_t *batch);
int dl_queue_under_way(const dl_exec *exec);
const float *dl_queue_result(const dl_exec *exec, int output);

/* ---- what the files share ---- */

enum { MAX_BATCHES = 4, MAX_SEGMENTS = 64, MOST_UNDER_WAY = 4 };

typedef struct batch_run { /* of one batch size */
    int64_t batch;
    int runs;
    dl_recording *segment[MAX_SEGMENTS];
    int segments;
} batch_run;

/* A run under way. The host's side of it is page-locked memory of its own, so that the host can go
 * on to the next run. */
typedef struct turn {
    char *head;    /* what it reads: randoms of the leaves, shared inputs */
    char *samples; /* the other inputs */
    char *tail;    /* what it says: fault, shared outputs */
    dl_mark *mark; /* behind its last word */
    int64_t batch;
    float noticed;
} turn;

/* The pieces of work of some phases, in the order in which they are enqueued. */
typedef enum piece_kind {
    PIECE_EDGE,    /* the beginning and the end, where streams part and meet */
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

struct dl_queue {
    dl_device *device;
    dl_resident *resident;
    turn turns[MOST_UNDER_WAY];
    int next,
        under_way;     /* the turn that the next run takes; how many before it are not collected */
    const turn *last;  /* collected */
    char *head, *tail; /* on the device */
    size_t head_bytes, sample_bytes, tail_bytes;
    size_t *input_size;   /* [inputs] bytes of a sample, or of a shared one */
    size_t *input_place;  /* in head, or in samples */
    void **input;         /* on the device; of shared ones NULL */
    size_t *output_place; /* [graph outputs] of shared ones, in tail */
    float **leaf;         /* [collectives * local leaves] */
    float **result;       /* [collectives]: staged sums come back here; else leaf 0 */
    void *memory[3];      /* arenas, shared, workspaces */
    void *packed[MAX_VARIANTS];
    bool staged;
    batch_run batch[MAX_BATCHES];
    int batches;
    work_list list;
    /* The first failure here, until all ranks hear of it. */
    dl_status failure;
    char message[DL_MESSAGE_MAX];
};

static inline dl_fault *fault_of(char *tail) {
    return (dl_fault *)(void *)tail;
}

/* Keeps the first failure; nothing more is enqueued for a run after it. */
void dl_queue_keep(dl_queue *queue, dl_status status);

/* queue_list.c: room for the most that can be listed; phases [first, end) of the leaves that are
 * set, with what waits for what. */
dl_status dl_queue_list_open(dl_exec *exec);
void dl_queue_list_close(dl_queue *queue);
void dl_queue_list(dl_exec *exec, int first, int end);

/* queue_step.c: everything that is enqueued for phases [first, end); as it is in the first run of a
 * batch size, or if there is none (NULL), which loads what is loaded lazily; the second is
 * recorded, later ones played. `segment` counts from the run's beginning. */
dl_status dl_queue_phases(dl_exec *exec, batch_run *batch, int segment, int first, int end);
void dl_queue_forget(dl_queue *queue, batch_run *batch);

#endif
