/* dltrain bench JOB: how fast the job's step is on these ranks, and what its time goes into. Trains
 * from initial weights, keeps nothing of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "launcher/bench.h"
#include "launcher/verbs.h"
#include "runtime/store/file.h"

enum { FIELDS_TEXT = 4096 };

/* Whether the job's data stand in one source that parts are cut from, or each part has its own. */
static bool has_source(const dl_node *root) {
    return dl_given(dl_get(root, "data"), "source") != NULL;
}

/* --synthetic FIELDS in the words of --set: the source synthetic in place of the job's files. */
static dl_status open_synthetic(dl_job **out, const dl_options *options, dl_comm *comm) {
    const char *path = options->argument[0];
    DL_TRY(dl_open_job(out, path, options, comm));
    const dl_node *root = dl_job_root(*out);
    bool source = has_source(root);
    int64_t samples = 4 * dl_int(root, "batch_size");
    dl_options with = *options;
    char text[FIELDS_TEXT];
    int length = snprintf(text, sizeof text,
                          "data.%s={synthetic: {kind: vectors, samples: %" PRId64 ", fields: %s}}",
                          source ? "source" : "train", samples, options->synthetic);
    if (length >= (int)sizeof text || with.set_count + 3 > DL_MAX_SETS)
        return dl_fail(DL_BAD_JOB, "--synthetic and --set have too much to say");
    with.sets[with.set_count++] = text;
    if (!source && dl_given(dl_get(root, "data"), "test"))
        with.sets[with.set_count++] = "data.test=none";
    if (!source && dl_given(dl_get(root, "data"), "validation"))
        with.sets[with.set_count++] = "data.validation=none";
    dl_job_close(*out);
    return dl_open_job(out, path, &with, comm);
}

static dl_status measure(const dl_job *job, dl_bench *bench, const dl_options *options,
                         dl_comm *comm, int threads) {
    const dl_node *root = dl_job_root(job);
    dl_session session;
    dl_session_options opening = {.seed = (uint64_t)dl_int(root, "seed"), .threads = threads};
    dl_bench_options wanted = {.steps = options->steps ? options->steps : -1,
                               .warmup = options->warmup ? options->warmup : -1,
                               .repeat = options->repeat ? options->repeat : 5,
                               .rate = options->rate,
                               .trace = options->trace};
    DL_TRY(dl_session_open(&session, root, comm, &opening));
    bench->session = &session;
    bench->options = &wanted;
    dl_bench_mark(bench, DL_BENCH_OPENED);
    dl_status status = dl_bench_run(bench);
    if (status == DL_OK && comm->rank == 0)
        status = dl_bench_print(bench);
    if (status == DL_OK && comm->rank == 0 && options->json)
        status = dl_bench_write_json(bench, options->json);
    status = dl_comm_agree(comm, status);
    if (status == DL_OK && options->trace)
        status = dl_bench_write_trace(bench, options->trace);
    dl_bench_close(bench);
    dl_session_close(&session);
    return status;
}

/* What would be for nothing is refused before it is begun. */
static dl_status check_files(const dl_options *options, dl_comm *comm) {
    dl_status status = DL_OK;
    if (comm->rank == 0 && options->json)
        status = dl_file_may_replace(options->json);
    if (comm->rank == 0 && options->trace && status == DL_OK)
        status = dl_file_may_replace(options->trace);
    return dl_comm_agree(comm, status);
}

dl_status dl_verb_bench(const dl_options *options, dl_comm *comm, int threads) {
    dl_job *job = NULL;
    dl_comm *own = comm;
    dl_bench bench = {.session = NULL};
    dl_bench_mark(&bench, DL_BENCH_LOADED);
    dl_status status = check_files(options, comm);
    if (status == DL_OK)
        status = options->synthetic ? open_synthetic(&job, options, comm)
                                    : dl_open_job(&job, options->argument[0], options, comm);
    if (status == DL_OK)
        status = dl_open_backend(dl_job_root(job), comm, &own);
    if (status == DL_OK)
        status = measure(job, &bench, options, own, threads);
    if (own != comm)
        dl_comm_close(own);
    dl_job_close(job);
    return status;
}
