/* The program: reads the command line, meets the other ranks, runs a verb, speaks once, ends with
 * the documented exit code. All that a library function could do is elsewhere. */
#include <stdio.h>
#include <string.h>

#include "comm/comm.h"
#include "comm/cores.h"
#include "launcher/options.h"
#include "launcher/signals.h"
#include "launcher/verbs.h"
#include "ops/dnnl.h"
#include "runtime/base/hash.h"
#include "runtime/base/memory.h"
#include "runtime/expr/expr.h"

static dl_status run_alone(const dl_options *options) {
    if (strcmp(options->verb->name, "plan") == 0)
        return dl_verb_plan(options);
    return dl_verb_help(options);
}

static dl_status run_on_ranks(const dl_options *options, dl_comm *comm, int threads) {
    static const struct {
        const char *name;
        dl_status (*run)(const dl_options *options, dl_comm *comm, int threads);
    } verbs[] = {{"train", dl_verb_train},
                 {"eval", dl_verb_eval},
                 {"predict", dl_verb_predict},
                 {"bench", dl_verb_bench}};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(options->verb->name, verbs[i].name) == 0)
            return verbs[i].run(options, comm, threads);
    return dl_fail(DL_INTERNAL, "no verb '%s'", options->verb->name);
}

/* Ranks compute alike: the same library versions, and no wider instructions than the narrowest of
 * them has. */
static dl_status agree_on_kernels(dl_comm *comm) {
    if (comm->size == 1)
        return DL_OK;
    DL_TRY(dl_comm_same(comm, dl_hash_text(DL_VERSION, dl_hash_text(dl_dnnl_version(), 0)),
                        "the versions of dltrain and oneDNN"));
    /* One number in the order of what they can do. */
    int32_t mine = (int32_t)dl_isa_here() * 16 + (int32_t)dl_bf16_of_cpu();
    int32_t least = mine;
    int32_t *all = dl_alloc(sizeof *all * (size_t)comm->size);
    DL_TRY(dl_comm_agree(comm, all ? DL_OK : dl_fail_memory(sizeof *all * (size_t)comm->size)));
    dl_status status = dl_comm_gather(comm, &mine, sizeof mine, all);
    for (int i = 0; i < comm->size && status == DL_OK; i++)
        least = all[i] < least ? all[i] : least;
    dl_free(all);
    DL_TRY(status);
    if (least == mine)
        return dl_comm_agree(comm, DL_OK);
    dl_expr_limit((dl_isa)(least / 16));
    return dl_comm_agree(comm, dl_dnnl_limit((dl_isa)(least / 16), (dl_bf16_kernels)(least % 16)));
}

/* "job.yaml:12:5: ..." says where it is; all else is said by name. */
static bool names_a_place(const char *message) {
    size_t file = strcspn(message, ": ");
    int line, column, length = 0;
    return sscanf(message + file, ":%d:%d:%n", &line, &column, &length) == 2 && length > 0;
}

static int say(dl_status status, bool speaks) {
    fflush(stdout);
    if (status != DL_OK && speaks && *dl_message())
        fprintf(stderr, "%s%s\n", names_a_place(dl_message()) ? "" : "dltrain: ", dl_message());
    return (int)status;
}

/* Before ranks have met, a launcher ends them all when the first one fails: so only the one that
 * speaks does, or its words could be lost. */
static int leave_early(dl_status status, int local_rank) {
    return local_rank == 0 ? say(status, true) : DL_OK;
}

int main(int argc, char **argv) {
    dl_options options;
    int local_rank, local_size;
    dl_comm_local_place(&local_rank, &local_size);
    dl_status status = dl_options_read(&options, argc, argv);
    if (status != DL_OK)
        return leave_early(status, local_rank);
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
    status = agree_on_kernels(comm);
    if (status == DL_OK)
        status = run_on_ranks(&options, comm, cores.threads);
    int code = say(status, comm->rank == 0);
    dl_comm_finish(comm);
    return code;
}
