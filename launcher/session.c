/* Opening a session. See session.h. Whatever can fail on one rank is agreed on at once. */
#include "launcher/session.h"

#include <string.h>

#include "ops/ops.h"

static dl_status open_team(dl_session *session) {
    dl_team_form form = session->any_ranks ? DL_TEAM_SIDE : DL_TEAM_LONE;
    return dl_team_open(&session->team, form, session->threads);
}

/* Leaves: a rank each, times micro-batches; under any_ranks the job's shards, whoever runs them. */
static dl_status count_leaves(dl_session *session) {
    const dl_node *job = session->job;
    session->batch_size = dl_int(job, "batch_size");
    session->any_ranks = dl_is(job, "reproducible", "any_ranks");
    int64_t pieces = session->any_ranks ? dl_int(job, "shards") : session->comm->size;
    if (session->any_ranks && session->comm->size > pieces)
        return dl_fail_at(
            dl_get(job, "shards"), DL_BAD_JOB,
            "%d ranks cannot share %lld shards; set shards: %d or more (another number "
            "of shards is another result), or start fewer ranks",
            session->comm->size, (long long)pieces, session->comm->size);
    int64_t micro = dl_is(job, "accumulate", "auto") ? 1 : dl_int(job, "accumulate");
    if (pieces * micro > 1 << 20)
        return dl_fail_at(dl_get(job, "accumulate"), DL_BAD_JOB,
                          "%lld pieces of a batch are too many", (long long)(pieces * micro));
    session->leaves = (int)(pieces * micro);
    return DL_OK;
}

static dl_status open_data(dl_session *session, const dl_session_options *options) {
    dl_data_options data = {.seed_offset = options->data_seed_offset, .fold = options->fold};
    DL_TRY(dl_data_open(&session->data, dl_get(session->job, "data"), &data));
    session->field_count = dl_data_field_count(session->data);
    session->fields = dl_alloc(sizeof *session->fields * (size_t)(session->field_count + 1));
    if (!session->fields)
        return dl_fail_memory(sizeof *session->fields);
    dl_session_list_fields(session);
    return DL_OK;
}

void dl_session_list_fields(dl_session *session) {
    for (int i = 0; i < session->field_count; i++) {
        const dl_data_field *field = dl_data_field_at(session->data, i);
        session->fields[i] = (dl_field){.name = field->name,
                                        .type = field->type,
                                        .classes = field->classes,
                                        .class_count = field->class_count,
                                        .bytes = field->bytes,
                                        .affine = field->affine,
                                        .affines = field->affines};
    }
}

static dl_status count_steps(dl_session *session) {
    const dl_node *job = session->job;
    int64_t samples = dl_data_samples(session->data, DL_PART_TRAIN);
    const dl_node *given = dl_given(job, "steps_per_epoch");
    int64_t pass = (samples + session->batch_size - 1) / session->batch_size;
    session->steps_per_epoch = given ? given->integer : pass;
    if (dl_given(job, "steps")) {
        session->steps = dl_int(job, "steps");
        session->epochs =
            session->steps_per_epoch
                ? (session->steps + session->steps_per_epoch - 1) / session->steps_per_epoch
                : 0;
    } else {
        session->epochs = dl_int(job, "epochs");
        session->steps = session->epochs * session->steps_per_epoch;
    }
    if (session->epochs > 0 && samples == 0)
        return dl_fail_at(
            dl_get(job, "data"), DL_BAD_JOB,
            "there are 0 samples to train on; check data.train and what was cut from it");
    dl_network_set_steps_per_epoch(session->network, session->steps_per_epoch);
    return DL_OK;
}

static dl_status open_here(dl_session *session, const dl_session_options *options) {
    DL_TRY(count_leaves(session));
    DL_TRY(open_team(session));
    DL_TRY(open_data(session, options));
    DL_TRY(dl_network_open(&session->network, session->job, session->fields, session->field_count,
                           dl_ops()));
    DL_TRY(count_steps(session));
    return session->epochs > 0 ? dl_network_check(session->network) : DL_OK;
}

dl_status dl_session_open_here(dl_session *session, const dl_node *job, dl_comm *comm,
                               const dl_session_options *options) {
    memset(session, 0, sizeof *session);
    session->job = job;
    session->comm = comm;
    session->seed = options->seed;
    session->threads = options->threads;
    dl_status status = open_here(session, options);
    if (status != DL_OK)
        dl_session_close(session);
    return status;
}

dl_status dl_session_open(dl_session *session, const dl_node *job, dl_comm *comm,
                          const dl_session_options *options) {
    dl_status here = dl_session_open_here(session, job, comm, options);
    dl_status status = dl_comm_agree(comm, here);
    if (status == DL_OK)
        status = dl_comm_same(comm, dl_data_hash(session->data), "the data");
    if (status != DL_OK && here == DL_OK)
        dl_session_close(session);
    return status;
}

void dl_session_close(dl_session *session) {
    dl_network_close(session->network);
    dl_free(session->fields);
    dl_data_close(session->data);
    dl_team_close(session->team);
    memset(session, 0, sizeof *session);
}

/* Within a host a sum is work for the very cores it would hide behind; between hosts it also waits
 * for the network, and hiding that pays where the network is the limit (README, Ranks). */
static bool overlaps(const dl_session *session) {
    const char *overlap = dl_text(dl_get(session->job, "comm"), "overlap");
    bool hosts = session->comm->local_size < session->comm->size;
    return strcmp(overlap, "always") == 0 || (strcmp(overlap, "auto") == 0 && hosts);
}

dl_status dl_session_program(dl_session *session, const char *name, dl_build_fn build,
                             bool training, int64_t batch, int64_t last, dl_exec **out) {
    dl_exec_options options = {.name = name,
                               .ops = dl_ops(),
                               .variables = dl_network_variables(session->network),
                               .comm = session->comm,
                               .team = session->team,
                               .leaves = session->leaves,
                               .training = training,
                               .overlap = training && overlaps(session),
                               .build = build,
                               .argument = session->network};
    dl_exec *exec = NULL;
    dl_status status = dl_exec_open(&exec, &options);
    if (status == DL_OK)
        status = dl_exec_prepare(exec, batch);
    if (status == DL_OK && last != 0)
        status = dl_exec_prepare(exec, last);
    status = dl_comm_agree(session->comm, status);
    if (status == DL_OK)
        status = dl_exec_connect(exec);
    if (status != DL_OK) {
        dl_exec_close(exec);
        return status;
    }
    *out = exec;
    return DL_OK;
}

int64_t dl_session_evaluation_batch(const dl_session *session) {
    enum { SAMPLES = 256 }; /* enough to feed the kernels; the activations of inference are few */
    return session->batch_size > SAMPLES ? session->batch_size : SAMPLES;
}
