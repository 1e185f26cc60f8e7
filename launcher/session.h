/* What one training, evaluation or plan works with, opened from the checked job: cores and team,
 * data, network. A session belongs to a communicator; nothing in it is global, so that folds and
 * repeats open one after another, and searches side by side. */
#ifndef DL_LAUNCHER_SESSION_H
#define DL_LAUNCHER_SESSION_H

#include "comm/cores.h"
#include "launcher/device_data.h"
#include "launcher/job.h"
#include "models/network.h"
#include "runtime/data/data.h"
#include "runtime/device/comm.h"
#include "runtime/device/device.h"
#include "runtime/exec/exec.h"

typedef struct dl_session {
    const dl_node *job;
    dl_comm *comm;
    dl_team *team;
    dl_device *device;     /* NULL: the CPU */
    dl_resident *resident; /* the variables there, from the first program on */
    dl_device_data kept;   /* samples there */
    int threads;
    bool any_ranks;
    bool side;  /* threads compute leaves of their own, side by side (runtime/base/team.h) */
    int leaves; /* of a full batch, over all ranks */
    int64_t batch_size; /* global */
    uint64_t seed;
    dl_data *data;
    dl_network *network;
    void *common; /* weights and slots that all ranks of the host share, or NULL */
    size_t common_bytes;
    dl_field *fields; /* as the program reads them that is made */
    int field_count;
    const char *folder; /* where kernel choices are kept; NULL: nowhere (kernels.h) */
    int64_t steps_per_epoch, epochs, steps; /* 0 without training data */
} dl_session;

typedef struct dl_session_options {
    uint64_t seed;             /* of weights, order, dropout */
    int fold;                  /* of the data, 0 without folds */
    uint64_t data_seed_offset; /* added to data.seed: repeats over data */
    int threads;               /* of this rank */
    bool uneven;               /* other ranks have other numbers of threads */
    dl_device *device;         /* becomes the session's; dl_session_open opens the job's */
} dl_session_options;

/* Collective: on failure all ranks get the same status. `comm` and `job` stay the caller's. */
dl_status dl_session_open(dl_session *session, const dl_node *job, dl_comm *comm,
                          const dl_session_options *options);
/* The same without asking other ranks (the plan): comm needs only rank and size. */
dl_status dl_session_open_here(dl_session *session, const dl_node *job, dl_comm *comm,
                               const dl_session_options *options);
void dl_session_close(dl_session *session);

/* Collective: memory and first values of all variables. */
dl_status dl_session_allocate(dl_session *session);

/* For a program over the session's network, whose memory need not be there yet. */
dl_exec_options dl_session_exec_options(const dl_session *session, const char *name,
                                        dl_build_fn build, bool training);

/* Collective. Before the host reads or changes variables: it gets what a device has changed. */
dl_status dl_session_fetch(dl_session *session);

/* Opens a program over the session's network; prepared for batches of `batch` samples of that part
 * and, if not 0, `last`. */
dl_status dl_session_program(dl_session *session, const char *name, dl_build_fn build,
                             bool training, dl_part_name part, int64_t batch, int64_t last,
                             dl_exec **out);

/* Batches of evaluation: as large as is useful, and the same on any number of ranks. */
int64_t dl_session_evaluation_batch(const dl_session *session);

#endif
