/* dltrain JOB: reads the job, runs it, says what came of it in one last line. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "comm/comm.h"
#include "launcher/keeper.h"
#include "launcher/run.h"
#include "launcher/verbs.h"

/* "test accuracy 0.9871, test loss 0.0412; 15210 samples/s on 2 ranks; runs/quickstart". */
static void print_last_line(const dl_run_result *result, const dl_comm *comm, const char *folder) {
    char text[2048];
    bool several = result->trainings > 1;
    dl_values_text(&result->mean, several ? &result->spread : NULL, text, sizeof text);
    fputs(*text ? text : "nothing was measured", stdout);
    if (several)
        printf(" (mean of %d trainings +- standard error)", result->trainings);
    if (result->samples_per_second > 0)
        printf("; %.0f samples/s", result->samples_per_second);
    else
        fputs("; no step was left to train", stdout);
    printf(" on %d rank%s; %s\n", comm->size, comm->size == 1 ? "" : "s", folder);
}

static dl_status run(dl_job *job, const dl_options *options, dl_comm *comm, int threads) {
    const dl_node *root = dl_job_root(job);
    char folder[DL_PATH_MAX];
    snprintf(folder, sizeof folder, "%s/%s", dl_text(root, "output"), dl_text(root, "name"));
    dl_run_options running = {.folder = folder, .threads = threads, .fresh = options->fresh};
    dl_run_result result;
    DL_TRY(dl_run_job(job, comm, &running, &result));
    if (comm->rank == 0)
        print_last_line(&result, comm, folder);
    return DL_OK;
}

dl_status dl_verb_train(const dl_options *options, dl_comm *comm, int threads) {
    dl_job *job;
    DL_TRY(dl_open_job(&job, options->argument[0], options, comm));
    dl_comm *own;
    dl_status status = dl_open_backend(dl_job_root(job), comm, &own);
    if (status == DL_OK)
        status = run(job, options, own, threads);
    if (own != comm)
        dl_comm_close(own);
    dl_job_close(job);
    return status;
}
