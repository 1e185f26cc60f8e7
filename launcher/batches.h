/* A program and its batches: the feed of a part, its fields bound to the program's inputs, one run
 * a batch. An error of reading on one rank becomes the error of all through the program's
 * collectives. */
#ifndef DL_LAUNCHER_BATCHES_H
#define DL_LAUNCHER_BATCHES_H

#include "launcher/session.h"

enum { DL_BATCH_FIELDS = 32 };

typedef struct dl_batches_options {
    dl_part_name part;
    int64_t batch;      /* global */
    bool in_order;      /* evaluation; training follows data.shuffle */
    bool endless;       /* more steps than the job has */
    int64_t first_step; /* of training, after a resume */
} dl_batches_options;

typedef struct dl_batches {
    dl_session *session;
    dl_exec *exec;
    dl_batches_options options;
    dl_feed *feed;
    int input[DL_BATCH_FIELDS]; /* of the exec, for each field of the feed */
    int fields;
    float samples, learning_rate, step; /* shared inputs */
    double waited;                      /* seconds for getting batches and giving them back */
    double getting;                     /* of those, for getting the last one */
    double read_at, reading;            /* of the last batch, as dl_batch has them */
} dl_batches;

/* Opening agrees among ranks. `batches` may be moved only before this. */
dl_status dl_batches_open(dl_batches *batches, dl_session *session, dl_exec *exec,
                          const dl_batches_options *options);
void dl_batches_close(dl_batches *batches); /* a zeroed one is allowed */
/* Starts again at first_step. */
dl_status dl_batches_rewind(dl_batches *batches);
int64_t dl_batches_count(const dl_batches *batches); /* of a pass */
/* Begins the run of the next batch (dl_exec_begin). Set learning_rate and step first. */
dl_status dl_batches_begin(dl_batches *batches);

#endif
