/* Programs on a device: the counterpart of run.c. queue.c begins and collects runs, queue_step.c
 * enqueues and records what they do, queue_memory.c makes what they need there. */
#ifndef DL_EXEC_QUEUE_H
#define DL_EXEC_QUEUE_H

#include "runtime/exec/internal.h"

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
    /* The first failure here, until all ranks hear of it. */
    dl_status failure;
    char message[DL_MESSAGE_MAX];
};

static inline dl_fault *fault_of(char *tail) {
    return (dl_fault *)(void *)tail;
}

/* Keeps the first failure; nothing more is enqueued for a run after it. */
void dl_queue_keep(dl_queue *queue, dl_status status);

/* queue_step.c: everything that is enqueued for phases [first, end); as it is in the first run of a
 * batch size, or if there is none (NULL), which loads what is loaded lazily; the second is
 * recorded, later ones played. `segment` counts from the run's beginning. */
dl_status dl_queue_phases(dl_exec *exec, batch_run *batch, int segment, int first, int end);
void dl_queue_forget(dl_queue *queue, batch_run *batch);

#endif
