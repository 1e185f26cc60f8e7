/* For tests of models/: a job's text opened as a network on one rank, its programs run on given
 * arrays. Failures are reported by CUnit; model_close takes whatever was opened. */
#ifndef DL_TESTS_MODEL_H
#define DL_TESTS_MODEL_H

#include "launcher/job.h"
#include "models/network.h"
#include "runtime/exec/exec.h"
#include "tests/unit/check.h"

typedef struct model {
    dl_job *job;
    dl_network *network;
    dl_comm *comm;
    dl_team *team;
    int leaves;
} model;

#define FLOATS(array, ...)                                             \
    {                                                                  \
        .name = (array), .type = {                                     \
            DL_F32,                                                    \
            (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
            {__VA_ARGS__}                                              \
        }                                                              \
    }

/* Opens; `set` (or NULL) as in --set. The status is that of the job or of the network. */
dl_status model_try(model *m, const char *yaml, const dl_field *fields, int count, const char *set);
/* The same, expected to succeed, allocated and initialised with seed 1. */
bool model_open(model *m, const char *yaml, const dl_field *fields, int count);
void model_close(model *m);

typedef enum model_program { MODEL_STEP, MODEL_EVALUATION, MODEL_PREDICTION } model_program;
/* Prepared for batches of `batch` and run by model_run; NULL after a reported failure. */
dl_exec *model_exec(model *m, model_program program, int64_t batch);
/* How the step of a model is opened whose variables lie on a device (NULL: here), for a test to add
 * to; and a program opened so, for batches of `batch`: NULL after a reported failure. */
dl_exec_options model_step_options(const model *m, dl_resident *resident, int leaves);
dl_exec *model_open_exec(const dl_exec_options *options, int64_t batch);
/* A program of the test's own, which gets the model as its argument, for batches of 1. */
dl_exec *model_build(model *m, dl_build_fn build);
/* One that only updates, by the job's optimizer and, under fp16, its loss scale; and a step of it.
 * The gradient is that of the whole slab of parameters. */
dl_exec *model_updates(model *m);
bool model_update(model *m, dl_exec *exec, const float *gradient, int step, float rate);
/* Binds a field, a scalar or an output by name, if the program has it. */
void model_bind(dl_exec *exec, const char *name, const void *memory);
void model_bind_output(dl_exec *exec, const char *name, float *memory);
bool model_run(dl_exec *exec, int64_t batch, uint32_t step);
/* Runs a step with the rate and step number bound; metrics (or NULL) are the logged values. */
bool model_step(model *m, dl_exec *exec, int64_t batch, int step, float rate, double *metrics);
bool model_evaluate(model *m, dl_exec *exec, int64_t batch, double *metrics);

/* A variable's memory by name; reports a missing one. */
float *model_weight(const model *m, const char *name);
int64_t model_weight_count(const model *m, const char *name);

#endif
