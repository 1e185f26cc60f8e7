/* The program whose calls of CUDA fail, of test_cuda_faults.c: convolutions, a product and two
 * sums, one of them inside the shards' work; samples that live on the device, several steps in a
 * launch.
 */
#ifndef DL_TESTS_FAULT_PROGRAM_H
#define DL_TESTS_FAULT_PROGRAM_H

#include "runtime/device/comm.h"

enum { FAULT_CLASSES = 3, FAULT_RUNS = 6, FAULT_WEIGHTS = 128 /* floats at most */ };

typedef struct fault_setting {
    bool joins;          /* the ranks' devices sum among themselves */
    bool along_tree;     /* as any_ranks has it */
    bool timed;          /* engines and algorithms are chosen by the clock */
    bool measured;       /* each run is timed, piece by piece */
    long (*calls)(void); /* made so far */
} fault_setting;

typedef struct fault_outcome {
    float sums[FAULT_RUNS][FAULT_CLASSES], weights[FAULT_WEIGHTS];
    int collected;
    long calls; /* until closing began */
} fault_outcome;

/* Opens a device (or takes the CPU), runs the program, closes all. Collective. */
dl_status fault_program_run(const fault_setting *with, dl_comm *comm, bool cuda,
                            fault_outcome *out);
/* Numbers of about one, as sums of a few tens of terms in another order leave them. */
bool fault_outcomes_close(const fault_outcome *a, const fault_outcome *b);

#endif
