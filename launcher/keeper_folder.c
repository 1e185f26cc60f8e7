/* The folder of a run: claimed by one run at a time, refused to another job of the same name, and
 * its status for people and scripts. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "launcher/keeper_inner.h"
#include "launcher/verbs.h"
#include "runtime/store/json.h"

struct dl_folder {
    dl_comm *comm;
    dl_run_folder folder; /* rank 0 */
};

static void warn(void *argument, const char *text) {
    (void)argument;
    fprintf(stderr, "%s\n", text);
}

/* The text to open the folder with: that of the run which is there, if it is this job but for keys
 * that do not change results. */
static dl_status text_for(dl_job *job, const char *output, const char *name, bool fresh,
                          char **there) {
    *there = NULL;
    if (fresh || dl_run_folder_job(output, name, there) != DL_OK)
        return DL_OK;
    char file[DL_PATH_MAX];
    snprintf(file, sizeof file, "%s/%s/job.yaml", output, name);
    dl_job *then = NULL;
    dl_status status =
        dl_job_read_text(&then, file, *there, strlen(*there), dl_job_vocabulary(), NULL, 0);
    if (status == DL_OK)
        status = dl_job_same(then, job);
    if (status != DL_OK) {
        char why[DL_MESSAGE_MAX];
        snprintf(why, sizeof why, "%s", dl_message());
        status =
            dl_fail(DL_BAD_JOB,
                    "%s/%s was begun with another job: %s; give this one another name, or start "
                    "over with --fresh",
                    output, name, why);
    }
    dl_job_close(then);
    return status;
}

static dl_status claim(dl_folder *f, dl_job *job, const dl_run_options *options) {
    const dl_node *root = dl_job_root(job);
    const char *output = dl_text(root, "output"), *name = dl_text(root, "name");
    char *there;
    const char *text = dl_job_text(job);
    dl_status status =
        text ? text_for(job, output, name, options->fresh, &there) : dl_fail_memory(1);
    if (status == DL_OK)
        status = dl_run_folder_open(&f->folder, output, name, there ? there : text, options->fresh,
                                    warn, NULL);
    if (status == DL_OK && there && strcmp(there, text) != 0) /* eval and predict read it */
        status = dl_run_folder_rewrite(&f->folder, text);
    if (text)
        dl_free(there);
    if (status == DL_OK)
        status = dl_run_folder_status(&f->folder, &(dl_run_status){.state = "running"});
    return status;
}

dl_status dl_folder_claim(dl_folder **out, dl_job *job, dl_comm *comm,
                          const dl_run_options *options) {
    dl_folder *f = dl_alloc(sizeof *f);
    dl_status status = f ? DL_OK : dl_fail_memory(sizeof *f);
    if (f) {
        f->comm = comm;
        if (comm->rank == 0)
            status = claim(f, job, options);
    }
    status = dl_comm_agree(comm, status);
    if (status != DL_OK) {
        if (f && comm->rank == 0)
            dl_run_folder_close(&f->folder);
        dl_free(f);
        return status;
    }
    *out = f;
    return DL_OK;
}

void dl_folder_release(dl_folder *f, dl_status status, const dl_run_result *result) {
    if (f->comm->rank == 0) {
        char message[DL_MESSAGE_MAX], weights[32];
        snprintf(message, sizeof message, "%s", dl_message());
        snprintf(weights, sizeof weights, "%016" PRIx64, result->weights);
        dl_run_status say = {.state = status == DL_OK        ? "done"
                                      : status == DL_STOPPED ? "stopped"
                                                             : "failed",
                             .exit_code = (int)status,
                             .message = status == DL_OK ? NULL : message,
                             .epoch = result->epochs,
                             .step = result->steps,
                             .weights = status == DL_OK ? weights : NULL};
        const char *names[DL_MAX_VALUES];
        for (int i = 0; i < result->mean.count; i++)
            names[i] = result->mean.name[i];
        say.name = names;
        say.value = result->mean.value;
        say.value_count = status == DL_OK ? result->mean.count : 0;
        if (dl_run_folder_status(&f->folder, &say) != DL_OK)
            fprintf(stderr, "dltrain: %s\n", dl_message());
        dl_run_folder_close(&f->folder);
        if (status != DL_OK)
            dl_fail(status, "%s", message);
    }
    dl_free(f);
}
