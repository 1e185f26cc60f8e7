/* Opening a session. See session.h. Whatever can fail on one rank is agreed on at once. */
#include "launcher/session.h"

#include <stdio.h>
#include <string.h>

#include "launcher/inputs.h"
#include "launcher/kernels.h"
#include "ops/dnnl.h"
#include "ops/ops.h"

/* Micro-batches that a rank computes one after another. */
static int64_t count_micro(const dl_node *job) {
    return dl_is(job, "accumulate", "auto") ? 1 : dl_int(job, "accumulate");
}

static int steps_per_execution(const dl_node *job) {
    bool automatic = dl_is(job, "steps_per_execution", "auto");
    return automatic ? 0 : (int)dl_int(job, "steps_per_execution");
}

static dl_status check_shards(dl_session *session) {
    session->batch_size = dl_int(session->job, "batch_size");
    session->any_ranks = dl_is(session->job, "reproducible", "any_ranks");
    if (session->any_ranks && session->comm->size > dl_int(session->job, "shards"))
        return dl_fail_at(
            dl_get(session->job, "shards"), DL_BAD_JOB,
            "%d ranks cannot share %lld shards; set shards: %d or more (another number "
            "of shards is another result), or start fewer ranks",
            session->comm->size, (long long)dl_int(session->job, "shards"), session->comm->size);
    return DL_OK;
}

dl_exec_options dl_session_exec_options(const dl_session *session, const char *name,
                                        dl_build_fn build, bool training) {
    return (dl_exec_options){.name = name,
                             .ops = dl_ops(),
                             .variables = dl_network_variables(session->network),
                             .comm = session->comm,
                             .team = session->team,
                             .resident = session->resident,
                             .leaves = session->leaves,
                             .steps_per_execution = steps_per_execution(session->job),
                             .any_ranks = session->any_ranks,
                             .tf32 = dl_bool(session->job, "tf32"),
                             .recompute =
                                 session->device ? dl_number(session->job, "recompute") : 0,
                             .training = training,
                             .build = build,
                             .argument = session->network};
}

/* Builds the step that this will train, gradients and update included, and counts its work: what is
 * wrong with the job is told before anything is written. None for a job that does not train. */
static dl_status count_work(const dl_session *session, int64_t samples, dl_exec_work *work) {
    *work = (dl_exec_work){0};
    if (session->epochs == 0 || !dl_network_trains(session->network))
        return DL_OK;
    dl_exec_options step = dl_session_exec_options(session, "step", dl_network_step, true);
    return dl_exec_count(&step, samples, work);
}

/* Whether the threads of a rank shall compute leaves of their own. A kernel that threads share
 * makes all of them wait for the last one; leaves wait once a step, but each has gradients of all
 * parameters, which must be summed. Measured with 2 threads, side by side over shared: 0.77 for
 * mnist-convnet (48 MFLOP a product and thread, 5,700 a leaf and parameter), 0.84 for quickstart,
 * 0.93 for mnist-mlp (21, 257), 1.01 for cifar10-cnn (235, 3,200), 1.03 for vgg16 (8,000, 2,700).
 * What decides is the same on all ranks, and for a last batch that is smaller. */
static dl_status choose_side(dl_session *session, const dl_session_options *options) {
    static const double most_of_product = 128e6, least_of_parameter = 200;
    int64_t samples = dl_data_samples(session->data, DL_PART_TRAIN);
    int64_t batch = session->batch_size < samples ? session->batch_size : samples;
    int64_t leaves = session->comm->size * count_micro(session->job) * session->threads;
    dl_exec_work work;
    DL_TRY(count_work(session, batch < leaves ? 1 : batch / leaves, &work));
    session->side = session->any_ranks;
    if (session->any_ranks || session->device || session->threads == 1 || options->uneven ||
        work.products == 0 || batch < leaves || !dl_is(session->job, "batch_statistics", "global"))
        return DL_OK;
    double parameters = (double)dl_network_parameter_count(session->network, true);
    session->side = work.flop <= most_of_product * work.products &&
                    work.flop >= least_of_parameter * parameters;
    return DL_OK;
}

/* Leaves: a rank each, or a thread each where threads work side by side, times micro-batches;
 * under any_ranks the job's shards, whoever runs them. */
static dl_status count_leaves(dl_session *session) {
    const dl_node *job = session->job;
    int64_t pieces = session->any_ranks
                         ? dl_int(job, "shards")
                         : (int64_t)session->comm->size * (session->side ? session->threads : 1);
    int64_t leaves = pieces * count_micro(job);
    if (leaves > 1 << 20)
        return dl_fail_at(dl_get(job, "accumulate"), DL_BAD_JOB,
                          "%lld pieces of a batch are too many", (long long)leaves);
    session->leaves = (int)leaves;
    return DL_OK;
}

static dl_status open_data(dl_session *session, const dl_session_options *options) {
    dl_data_options data = {.seed_offset = options->data_seed_offset, .fold = options->fold};
    DL_TRY(dl_data_open(&session->data, dl_get(session->job, "data"), &data));
    session->field_count = dl_data_field_count(session->data);
    session->fields = dl_alloc(sizeof *session->fields * (size_t)(session->field_count + 1));
    if (!session->fields)
        return dl_fail_memory(sizeof *session->fields);
    dl_inputs_list(session->data, false, session->fields);
    return DL_OK;
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

/* All ranks get a GPU or none does. `auto` asks where a driver shows itself on some rank, and says
 * why if it cannot. Collective, as leaves are counted by it. */
static dl_status open_device(const dl_node *job, dl_comm *comm, bool seen, dl_device **out) {
    static bool said; /* once, however many trials a search has */
    const dl_node *wanted = dl_get(job, "device");
    bool automatic = strcmp(wanted->text, "auto") == 0;
    *out = NULL;
    if (strcmp(wanted->text, "cpu") == 0 || (automatic && !seen))
        return DL_OK;
    dl_status status = dl_comm_agree(comm, dl_device_open_cuda(comm->local_rank, out));
    if (status == DL_OK)
        return DL_OK;
    dl_device_close(*out);
    *out = NULL;
    if (!automatic)
        return dl_fail_at(wanted, status, "%s", dl_message());
    if (comm->rank == 0 && !said)
        fprintf(stderr, "warning: device: auto runs on the CPU: %s\n", dl_message());
    said = true;
    return DL_OK;
}

/* Ranks that have a GPU each sum on them. Collective. */
static dl_status join_devices(dl_comm *comm, dl_device *device) {
    static bool said;
    if (!device || comm->size == 1)
        return DL_OK;
    size_t bytes = sizeof device->id;
    uint8_t *all = dl_alloc(bytes * (size_t)comm->size);
    DL_TRY(dl_comm_agree(comm, all ? DL_OK : dl_fail_memory(bytes * (size_t)comm->size)));
    dl_status status = dl_comm_gather(comm, device->id, bytes, all);
    bool shared = false;
    for (int i = 0; i < comm->size && status == DL_OK; i++)
        for (int k = 0; k < i; k++)
            shared = shared || memcmp(all + bytes * (size_t)i, all + bytes * (size_t)k, bytes) == 0;
    dl_free(all);
    DL_TRY(status);
    if (!shared)
        return device->table->join(device, comm);
    if (comm->rank == 0 && !said)
        fprintf(stderr, "warning: ranks share a GPU: their sums go through the host; start no more "
                        "ranks than there are GPUs\n");
    said = true;
    return DL_OK;
}

static dl_status check_bf16(const dl_session *session, const dl_node *node) {
    if (session->device ? session->device->architecture >= 80 : dl_dnnl_bf16() != DL_BF16_NONE)
        return DL_OK;
    if (session->device)
        return dl_fail_at(node, DL_UNAVAILABLE,
                          "precision: bf16 needs compute capability 8.0 or more (%s); set "
                          "precision: fp16 or fp32",
                          session->device->text);
    bool held = dl_bf16_of_cpu() != DL_BF16_NONE;
    return dl_fail_at(node, DL_UNAVAILABLE,
                      "precision: bf16 needs a processor that multiplies bfloat16 (AVX-512 BF16 or "
                      "AMX); %s; set precision: fp32",
                      held ? "this one does, but oneDNN is held to fewer instructions "
                             "(ONEDNN_MAX_CPU_ISA, DNNL_MAX_CPU_ISA or another rank's processor)"
                           : "this one does not");
}

static dl_status check_precision(const dl_session *session) {
    const dl_node *node = dl_get(session->job, "precision");
    if (strcmp(node->text, "bf16") == 0)
        return check_bf16(session, node);
    if (strcmp(node->text, "fp16") == 0 && !session->device)
        return dl_fail_at(node, DL_UNAVAILABLE,
                          "precision: fp16 needs a GPU: no float16 is computed on a CPU; set "
                          "precision: bf16 or fp32");
    return DL_OK;
}

static dl_status open_here(dl_session *session, const dl_session_options *options) {
    DL_TRY(check_shards(session));
    DL_TRY(check_precision(session));
    DL_TRY(open_data(session, options));
    DL_TRY(dl_network_open(&session->network, session->job, session->fields, session->field_count,
                           dl_ops()));
    if (!session->device && dl_comm_shares(session->comm)) /* as variables.h has it */
        dl_variables_divide(dl_network_variables(session->network), session->comm->rank,
                            session->comm->size);
    DL_TRY(count_steps(session));
    DL_TRY(choose_side(session, options));
    DL_TRY(count_leaves(session));
    return dl_team_open(&session->team, session->side ? DL_TEAM_SIDE : DL_TEAM_LONE,
                        session->threads);
}

dl_status dl_session_open_here(dl_session *session, const dl_node *job, dl_comm *comm,
                               const dl_session_options *options) {
    memset(session, 0, sizeof *session);
    session->job = job;
    session->comm = comm;
    session->seed = options->seed;
    session->threads = options->threads;
    session->device = options->device;
    dl_status status = open_here(session, options);
    if (status != DL_OK)
        dl_session_close(session);
    return status;
}

/* Whether the ranks have unequal numbers of threads, and whether any of them sees a GPU. */
static dl_status compare_ranks(dl_comm *comm, dl_session_options *options, bool *seen) {
    typedef struct facts {
        int32_t threads, seen;
    } facts;
    facts mine = {options->threads, dl_device_cuda_seen()};
    facts *all = dl_alloc(sizeof *all * (size_t)comm->size);
    DL_TRY(dl_comm_agree(comm, all ? DL_OK : dl_fail_memory(sizeof *all * (size_t)comm->size)));
    dl_status status = dl_comm_gather(comm, &mine, sizeof mine, all);
    for (int i = 0; i < comm->size && status == DL_OK; i++) {
        options->uneven = options->uneven || all[i].threads != all[0].threads;
        *seen = *seen || all[i].seen != 0;
    }
    dl_free(all);
    return status;
}

dl_status dl_session_open(dl_session *session, const dl_node *job, dl_comm *comm,
                          const dl_session_options *options) {
    dl_session_options opening = *options;
    bool seen = false;
    DL_TRY(compare_ranks(comm, &opening, &seen));
    DL_TRY(open_device(job, comm, seen, &opening.device));
    dl_status status = join_devices(comm, opening.device);
    if (status != DL_OK) {
        dl_device_close(opening.device);
        return status;
    }
    dl_status here = dl_session_open_here(session, job, comm, &opening);
    status = dl_comm_agree(comm, here);
    if (status == DL_OK)
        dl_kernels_begin(session);
    if (status == DL_OK)
        status = dl_comm_same(comm, dl_data_hash(session->data), "the data");
    if (status != DL_OK && here == DL_OK)
        dl_session_close(session);
    return status;
}

dl_status dl_session_allocate(dl_session *session) {
    dl_variables *variables = dl_network_variables(session->network);
    if (variables->parts > 1) {
        session->common_bytes = dl_variables_common_bytes(variables);
        DL_TRY(dl_comm_share(session->comm, session->common_bytes, &session->common));
        dl_variables_lend(variables, session->common);
    }
    dl_status status = dl_network_allocate(session->network);
    if (status == DL_OK)
        status = dl_network_initialize(session->network, session->seed);
    return dl_comm_agree(session->comm, status);
}

void dl_session_close(dl_session *session) {
    dl_device_data_close(&session->kept);
    dl_resident_close(session->resident);
    dl_device_close(session->device);
    dl_network_close(session->network);
    dl_comm_unshare(session->common, session->common_bytes);
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

/* Variables have memory by the time the first program is opened. */
static dl_status open_resident(dl_session *session) {
    if (!session->device || session->resident)
        return DL_OK;
    if (dl_is(dl_get(session->job, "data"), "on_device", "auto"))
        session->kept = (dl_device_data){.device = session->device, .data = session->data};
    dl_status status = dl_resident_open(&session->resident, session->device,
                                        dl_network_variables(session->network));
    return dl_comm_agree(session->comm, status);
}

dl_status dl_session_fetch(dl_session *session) {
    if (!session->resident)
        return DL_OK;
    return dl_comm_agree(session->comm, dl_resident_fetch(session->resident));
}

/* Whether the part lives on the devices: on all of them or on none, as programs of a part that is
 * streamed have other nodes. */
static dl_status choose_kept(const dl_session *session, dl_part_name part, bool *kept) {
    size_t ranks = (size_t)session->comm->size;
    *kept = false;
    if (!session->device)
        return DL_OK;
    bool mine = false, *all = dl_alloc(ranks * sizeof *all);
    dl_status status =
        all ? dl_device_data_takes(&session->kept, part, &mine) : dl_fail_memory(ranks);
    status = dl_comm_agree(session->comm, status);
    if (status == DL_OK)
        status = dl_comm_gather(session->comm, &mine, sizeof mine, all);
    *kept = status == DL_OK;
    for (size_t r = 0; r < ranks && *kept; r++)
        *kept = all[r];
    dl_free(all);
    return status;
}

dl_status dl_session_program(dl_session *session, const char *name, dl_build_fn build,
                             bool training, dl_part_name part, int64_t batch, int64_t last,
                             dl_exec **out) {
    bool kept = false;
    DL_TRY(open_resident(session));
    DL_TRY(choose_kept(session, part, &kept));
    dl_inputs_list(session->data, session->device && !kept, session->fields);
    dl_exec_options options = dl_session_exec_options(session, name, build, training);
    options.overlap = training && overlaps(session);
    options.every_leaf = session->comm->rank == 0 && dl_is(session->job, "kernels", "timed") &&
                         session->device; /* it chooses for all */
    dl_exec *exec = NULL;
    dl_status status = dl_exec_open(&exec, &options);
    status = dl_kernels_prepare(session, exec, status, batch, last);
    if (status == DL_OK && kept)
        status = dl_comm_agree(session->comm, dl_device_data_lend(&session->kept, part, exec));
    if (status == DL_OK) {
        dl_inputs_bind_constants(exec, session->data);
        status = dl_exec_connect(exec);
    }
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
