/* Programs on a device: the counterpart of run.c. queue.c runs, queue_memory.c makes what a run
 * needs there. */
#ifndef DL_EXEC_QUEUE_H
#define DL_EXEC_QUEUE_H

#include "runtime/exec/internal.h"

/* After the collectives are open and the contexts made (exec.c); on failure close still frees. */
dl_status dl_queue_open(dl_exec *exec);
void dl_queue_close(dl_exec *exec);
dl_status dl_queue_run(dl_exec *exec, int64_t batch, const dl_random *random);
const float *dl_queue_result(const dl_exec *exec, int output);

/* ---- what the two files share ---- */

enum { MAX_BATCHES = 4, MAX_SEGMENTS = 64 };

typedef struct batch_run { /* of one batch size */
    int64_t batch;
    int runs;
    dl_recording *segment[MAX_SEGMENTS];
    int segments;
} batch_run;

struct dl_queue {
    dl_device *device;
    dl_resident *resident;
    void **input;       /* [inputs] on the device */
    size_t *input_size; /* bytes of a sample, or of a shared one */
    float **leaf;       /* [collectives * local leaves] */
    float **result;     /* [collectives]: staged sums come back here; else leaf 0 */
    int64_t samples;    /* most this rank holds */
    char *there, *here; /* what a run reads of the host beside data: randoms, faults; page-locked */
    size_t head;
    dl_fault *fault, *fault_here;
    float *results;       /* page-locked: shared outputs, one after another */
    size_t *result_place; /* [graph outputs] */
    void *memory[3];      /* arenas, shared, workspaces */
    void *packed[MAX_VARIANTS];
    bool staged;
    batch_run batch[MAX_BATCHES];
    int batches;
};

#endif
