/* A run that has been trained, opened again: its resolved job with changes, its data, its network
 * with the newest checkpoint's weights. What eval and predict begin with. */
#ifndef DL_LAUNCHER_FINISHED_H
#define DL_LAUNCHER_FINISHED_H

#include "launcher/session.h"
#include "launcher/verbs.h"

typedef struct dl_finished {
    dl_job *job;
    dl_session session;
} dl_finished;

/* Collective. The run's job with the --set of the command line. */
dl_status dl_finished_open(dl_finished *finished, const dl_options *options, dl_comm *comm,
                           int threads);
void dl_finished_close(dl_finished *finished);

#endif
