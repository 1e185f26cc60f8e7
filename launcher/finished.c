/* See finished.h. */
#include "launcher/finished.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launcher/keeper.h"

/* The folder's job.yaml; one of several trainings has it in the folder above. */
static dl_status find_job(const char *run, char *path, size_t size) {
    snprintf(path, size, "%s/job.yaml", run);
    if (access(path, R_OK) == 0)
        return DL_OK;
    snprintf(path, size, "%s/../job.yaml", run);
    if (access(path, R_OK) == 0)
        return DL_OK;
    return dl_fail(DL_NO_INPUT,
                   "'%s' is no run: it has no job.yaml; give the folder of a run, for "
                   "example runs/quickstart",
                   run);
}

static dl_status open_session(dl_finished *finished, const dl_options *options, dl_comm *comm,
                              int threads) {
    const dl_node *root = dl_job_root(finished->job);
    dl_session_options opening = {.seed = (uint64_t)dl_int(root, "seed"), .threads = threads};
    DL_TRY(dl_session_open(&finished->session, root, comm, &opening));
    DL_TRY(dl_session_allocate(&finished->session));
    return dl_keeper_restore_weights(&finished->session, options->argument[0]);
}

dl_status dl_finished_open(dl_finished *finished, const dl_options *options, dl_comm *comm,
                           int threads) {
    memset(finished, 0, sizeof *finished);
    char path[DL_PATH_MAX];
    DL_TRY(dl_comm_agree(comm, find_job(options->argument[0], path, sizeof path)));
    DL_TRY(dl_open_job(&finished->job, path, options, comm));
    dl_status status = open_session(finished, options, comm, threads);
    if (status != DL_OK)
        dl_finished_close(finished);
    return status;
}

void dl_finished_close(dl_finished *finished) {
    if (finished->session.network)
        dl_session_close(&finished->session);
    dl_job_close(finished->job);
    memset(finished, 0, sizeof *finished);
}
