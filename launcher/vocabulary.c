/* All that a job may say: the rows of every room, collected. And opening a job with them. */
#include <string.h>

#include "launcher/keys.h"
#include "launcher/verbs.h"
#include "models/keys.h"
#include "models/zoo.h"
#include "runtime/base/memory.h"
#include "runtime/data/keys.h"

const dl_vocabulary *dl_job_vocabulary(void) {
    static const dl_table *const tables[] = {&dl_data_table,     &dl_cut_table,
                                             &dl_repeat_table,   &dl_checkpoint_table,
                                             &dl_evaluate_table, &dl_comm_keys_table};
    static const dl_family *const families[] = {
        &dl_source_family,      &dl_step_family,       &dl_layer_family,    &dl_loss_family,
        &dl_metric_family,      &dl_optimizer_family,  &dl_schedule_family, &dl_initializer_family,
        &dl_regularizer_family, &dl_activation_family, &dl_callback_family};
    static const dl_vocabulary all = {.root = &dl_root_table,
                                      .tables = tables,
                                      .table_count = DL_COUNT(tables),
                                      .families = families,
                                      .family_count = DL_COUNT(families),
                                      .write = dl_zoo_write};
    return &all;
}

dl_status dl_open_job(dl_job **out, const char *path, const dl_options *options, dl_comm *comm) {
    dl_job *job = NULL;
    dl_status here =
        dl_job_read(&job, path, dl_job_vocabulary(), options->sets, options->set_count);
    dl_status status = comm ? dl_comm_agree(comm, here) : here;
    if (comm && status == DL_OK)
        status = dl_comm_same(comm, dl_job_hash(job), "the job");
    bool speaks = !comm || comm->rank == 0;
    if (speaks && job)
        dl_job_complain(job, stderr);
    if (status == DL_OK) {
        *out = job;
        return DL_OK;
    }
    bool said = speaks && job && dl_job_errors(job) > 0 && here != DL_OK;
    dl_job_close(job);
    return said ? dl_fail(status, "%s", "") : status;
}

dl_status dl_verb_help(const dl_options *options) {
    if (options->json_schema)
        return dl_job_schema(dl_job_vocabulary(), stdout);
    return dl_job_help(dl_job_vocabulary(), options->argument[0], stdout);
}
