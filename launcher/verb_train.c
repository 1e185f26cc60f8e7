/* dltrain JOB: reads the job, runs it, says what came of it in one last line. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "launcher/keeper.h"
#include "launcher/run.h"
#include "launcher/verbs.h"

static bool of_evaluation(const char *name)
{
    return strncmp(name, "test_", 5) == 0 || strncmp(name, "train_", 6) == 0 ||
           strncmp(name, "validation_", 11) == 0;
}

/* "test accuracy 0.9871, test loss 0.0412; 15210 samples/s on 2 ranks; runs/quickstart". Values of the
 * evaluation, or of the last epoch where nothing was evaluated. */
static void print_last_line(const dl_run_result *result, const dl_comm *comm, const char *folder)
{
    const dl_values *values = &result->mean;
    bool evaluated = false;
    for (int i = 0; i < values->count; i++)
        evaluated = evaluated || of_evaluation(values->name[i]);
    const char *separator = "";
    for (int i = values->count; i-- > 0;) { /* accuracy before loss */
        char name[sizeof values->name[i]];
        memcpy(name, values->name[i], sizeof name);
        if (of_evaluation(name) != evaluated || strcmp(name, "lr") == 0)
            continue;
        if (evaluated)
            *strchr(name, '_') = ' ';
        printf("%s%s %.4f", separator, name, values->value[i]);
        if (result->trainings > 1)
            printf(" +- %.4f", result->spread.value[i]);
        separator = ", ";
    }
    if (result->trainings > 1)
        printf(" (mean of %d trainings, standard error)", result->trainings);
    printf("; %.0f samples/s on %d rank%s; %s\n", result->samples_per_second, comm->size,
           comm->size == 1 ? "" : "s", folder);
}

dl_status dl_verb_train(const dl_options *options, dl_comm *comm, int threads)
{
    dl_job *job;
    DL_TRY(dl_open_job(&job, options->argument[0], options, comm));
    const dl_node *root = dl_job_root(job);
    const dl_node *timeout = dl_get(dl_get(root, "comm"), "timeout");
    comm->timeout = timeout->number * (strcmp(timeout->unit, "min") == 0 ? 60 : 1);
    char folder[DL_PATH_MAX];
    snprintf(folder, sizeof folder, "%s/%s", dl_text(root, "output"), dl_text(root, "name"));
    dl_run_options run = {.folder = folder, .threads = threads, .fresh = options->fresh};
    dl_run_result result;
    dl_status status = dl_run_job(job, comm, &run, &result);
    if (status == DL_OK && comm->rank == 0)
        print_last_line(&result, comm, folder);
    dl_job_close(job);
    return status;
}
