/* What the verbs do: options; for those that run on ranks, the communicator of all of them and the
 * threads of this one. */
#ifndef DL_LAUNCHER_VERBS_H
#define DL_LAUNCHER_VERBS_H

#include "launcher/job.h"
#include "launcher/options.h"
#include "runtime/device/comm.h"

dl_status dl_verb_train(const dl_options *options, dl_comm *comm, int threads);
dl_status dl_verb_eval(const dl_options *options, dl_comm *comm, int threads);
dl_status dl_verb_predict(const dl_options *options, dl_comm *comm, int threads);
dl_status dl_verb_bench(const dl_options *options, dl_comm *comm, int threads);
dl_status dl_verb_plan(const dl_options *options);
dl_status dl_verb_help(const dl_options *options);
void dl_print_version(FILE *file);

/* Rows of all rooms: what a job may say. */
const dl_vocabulary *dl_job_vocabulary(void);

/* Reads and checks the job on every rank and agrees; prints what is wrong on rank 0 (comm NULL:
 * here). After a failure the message is empty: all has been said. */
dl_status dl_open_job(dl_job **out, const char *path, const dl_options *options, dl_comm *comm);

/* Collective: *out is `comm`, or another one that the caller closes, with the job's timeout. */
dl_status dl_open_backend(const dl_node *job, dl_comm *comm, dl_comm **out);

#endif
