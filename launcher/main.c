/* The program: reads the command line, meets the other ranks, runs a verb, speaks once, ends with the
 * documented exit code. All that a library function could do is elsewhere. */
#include <stdio.h>
#include <string.h>

#include "comm/comm.h"
#include "comm/cores.h"
#include "launcher/options.h"
#include "launcher/signals.h"
#include "launcher/verbs.h"

static dl_status run_alone(const dl_options *options)
{
    if (strcmp(options->verb->name, "plan") == 0)
        return dl_verb_plan(options);
    return dl_verb_help(options);
}

static dl_status run_on_ranks(const dl_options *options, dl_comm *comm, int threads)
{
    static const struct {
        const char *name;
        dl_status (*run)(const dl_options *options, dl_comm *comm, int threads);
    } verbs[] = {{"train", dl_verb_train}, {"eval", dl_verb_eval}, {"predict", dl_verb_predict}};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(options->verb->name, verbs[i].name) == 0)
            return verbs[i].run(options, comm, threads);
    return dl_fail(DL_INTERNAL, "no verb '%s'", options->verb->name);
}

static int say(dl_status status, bool speaks)
{
    fflush(stdout);
    if (status != DL_OK && speaks && *dl_message())
        fprintf(stderr, "dltrain: %s\n", dl_message());
    return (int)status;
}

int main(int argc, char **argv)
{
    dl_options options;
    int local_rank, local_size;
    dl_comm_local_place(&local_rank, &local_size);
    dl_status status = dl_options_read(&options, argc, argv);
    if (status != DL_OK)
        return say(status, local_rank == 0);
    if (options.help || options.version) {
        if (local_rank == 0 && options.help)
            dl_options_help(stdout);
        else if (local_rank == 0)
            dl_print_version(stdout);
        return DL_OK;
    }
    if (!options.verb->ranks)
        return say(local_rank == 0 ? run_alone(&options) : DL_OK, true);

    dl_cores cores;
    status = dl_cores_plan(local_rank, local_size, 0, &cores);
    if (status == DL_OK) {
        dl_cores_restart(&cores, argv);
        status = dl_cores_take(&cores);
    }
    if (status != DL_OK)
        return say(status, true);
    dl_signals_catch();
    dl_comm *comm = NULL;
    status = dl_comm_open(&comm, "auto");
    if (status != DL_OK)
        return say(status, true);
    status = run_on_ranks(&options, comm, cores.threads);
    int code = say(status, comm->rank == 0);
    dl_comm_finish(comm);
    return code;
}
