/* dltrain plan: the resolved job, layers as Keras's summary() prints them, batches, memory,
 * communication, threads. Needs neither the ranks nor a GPU it plans for: a rank's plan depends on
 * its number alone. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"
#include "launcher/inputs.h"
#include "launcher/session.h"
#include "launcher/verbs.h"
#include "ops/dnnl.h"

enum { NAME_WIDTH = 28, NAME_MOST = 60, SHAPE_WIDTH = 26, REST_WIDTH = 24 };

static void rule(char mark, int width) {
    for (int i = 0; i < width; i++)
        putchar(mark);
    putchar('\n');
}

static void print_layers(const dl_network *network) {
    char cell[256], shape[DL_SHAPE_TEXT];
    dl_layer_info info;
    int width = NAME_WIDTH;
    for (int i = 0; i < dl_network_layer_count(network); i++) {
        dl_network_layer(network, i, &info);
        int length = snprintf(cell, sizeof cell, "%s (%s)", info.name, info.class_name);
        width = length > width ? length : width;
    }
    width = width > NAME_MOST ? NAME_MOST : width;
    printf("\n%-*s %-*s%-12s%s\n", width, "Layer (type)", SHAPE_WIDTH, "Output Shape", "Param #",
           "Connected to");
    rule('=', width + SHAPE_WIDTH + REST_WIDTH + 1);
    for (int i = 0; i < dl_network_layer_count(network); i++) {
        dl_network_layer(network, i, &info);
        snprintf(cell, sizeof cell, "%s (%s)", info.name, info.class_name);
        printf("%-*s %-*s%-12" PRId64, width, cell, SHAPE_WIDTH,
               dl_shape_text(&info.type, true, shape), info.parameters);
        for (int k = 0; k < info.sources; k++)
            printf("%s%s", k ? ", " : "", dl_network_layer_source(network, i, k));
        putchar('\n');
    }
    rule('=', width + SHAPE_WIDTH + REST_WIDTH + 1);
    int64_t all = dl_network_parameter_count(network, false);
    int64_t trained = dl_network_parameter_count(network, true);
    printf("Total params: %" PRId64 "\nTrainable params: %" PRId64
           "\nNon-trainable params: %" PRId64 "\n",
           all, trained, all - trained);
}

static void print_fields(const dl_data *data) {
    char shape[DL_SHAPE_TEXT];
    for (int i = 0; i < dl_data_field_count(data); i++) {
        const dl_data_field *field = dl_data_field_at(data, i);
        printf("  %-12s%s %s", field->name, dl_shape_text(&field->type, false, shape),
               dl_dtype_text(field->type.dtype));
        if (field->classes)
            printf(", %d classes", field->classes);
        putchar('\n');
    }
}

static void print_batches(const dl_session *s) {
    printf("\nData\n");
    print_fields(s->data);
    for (int part = 0; part < DL_PARTS; part++) {
        int64_t samples = dl_data_samples(s->data, (dl_part_name)part);
        if (samples)
            printf("  %-12s%" PRId64 " samples\n", dl_part_text((dl_part_name)part), samples);
    }
    int64_t samples = dl_data_samples(s->data, DL_PART_TRAIN);
    if (!samples || !s->epochs)
        return;
    int64_t batch = s->batch_size < samples ? s->batch_size : samples, last = samples % batch;
    int64_t least = batch / s->leaves, most = (batch + s->leaves - 1) / s->leaves;
    printf("\nBatches\n  global batch  %" PRId64 " samples on %d rank%s", batch, s->comm->size,
           s->comm->size == 1 ? "" : "s");
    if (s->leaves > 1)
        printf(", in %d pieces of %" PRId64, s->leaves, least);
    if (s->leaves > 1 && least != most)
        printf(" or %" PRId64, most);
    if (batch < s->leaves)
        printf(" (%d have no sample)", (int)(s->leaves - batch));
    putchar('\n');
    if (last)
        printf("  last batch    %" PRId64 " samples\n", last);
    printf("  steps         %" PRId64 " an epoch x %" PRId64 " epoch%s = %" PRId64 "\n",
           s->steps_per_epoch, s->epochs, s->epochs == 1 ? "" : "s", s->steps);
    printf("  the learning rate is not rescaled with the number of ranks; reproducible: %s\n",
           s->any_ranks ? "any_ranks, the same bits on any number of ranks"
                        : "run, the same bits for the same ranks and threads");
}

static double mib(size_t bytes) {
    return (double)bytes / (1 << 20);
}

static void print_worst(const dl_exec_worst *worst) {
    printf("                           most in use, %.2f, while %s of '%s' runs:\n",
           mib(worst->bytes), worst->op, worst->name);
    for (int i = 0; i < worst->holders; i++)
        printf("                           %10.2f in %d of %s\n", mib(worst->holder[i].bytes),
               worst->holder[i].values, worst->holder[i].op);
}

static void print_memory(const dl_session *s, const dl_exec_report *r, const dl_exec_worst *worst) {
    const dl_variables *v = dl_network_variables(s->network);
    size_t slots = 0;
    for (int i = DL_SLAB_SLOT0; i <= DL_SLAB_SCALAR; i++)
        slots += (size_t)v->length[i] * sizeof(float);
    size_t weights =
        (size_t)(v->length[DL_SLAB_PARAMETER] + v->length[DL_SLAB_STATE]) * sizeof(float);
    if (s->device && dl_is_half(v->half))
        weights += (size_t)v->length[DL_SLAB_PARAMETER] * sizeof(uint16_t);
    size_t activations = r->activations * r->arenas;
    printf("\nMemory of a rank, MiB\n  weights       %10.2f\n  optimizer     %10.2f\n",
           mib(weights), mib(slots));
    printf("  gradients     %10.2f   in buffers of the collectives\n", mib(r->reduction));
    printf("  activations   %10.2f   %zu arena%s of %.2f (%.2f without reuse)\n", mib(activations),
           r->arenas, r->arenas == 1 ? "" : "s", mib(r->activations), mib(r->unplanned));
    print_worst(worst);
    printf("  workspace     %10.2f\n  packed        %10.2f   weights in the kernels' own layout\n",
           mib(r->workspace), mib(r->packed));
    if (s->device)
        printf("  inputs        %10.2f   of a step, and of those on their way; less where the data "
               "lie there\n",
               mib(r->inputs));
    printf("  total         %10.2f\n", mib(weights + slots + r->reduction + activations +
                                           r->workspace + r->packed + r->shared + r->inputs));
    printf("\nA step\n  %d nodes, %d of them once a rank; they read and write %.2f GB or more\n",
           r->nodes, r->shared_nodes, r->bytes / 1e9);
    if (s->comm->size == 1) {
        printf("  no communication on one rank (%d sum%s over pieces)\n", r->collectives,
               r->collectives == 1 ? "" : "s");
        return;
    }
    printf("  %d collective%s, %.2f MiB summed over the ranks\n", r->collectives,
           r->collectives == 1 ? "" : "s", mib((size_t)r->collective_floats * sizeof(float)));
    if (r->divided > 0)
        printf("  each rank updates 1/%d of the weights, which lie in memory that the host's ranks "
               "share\n",
               s->comm->size);
    if (r->inner_collectives > 0 && dl_is(s->job, "batch_statistics", "global"))
        printf("  %d of them for batch_statistics: global, which ranks wait for; batch_statistics: "
               "rank needs "
               "none,\n  and is the faster choice where a rank's share of the batch is large\n",
               r->inner_collectives);
}

/* On a card of any size: what else a card holds is not known. */
static bool is_streamed(const dl_session *s) {
    const dl_device_data kept = {.data = s->data};
    return !dl_is(dl_get(s->job, "data"), "on_device", "auto") ||
           !dl_device_data_fits(dl_device_data_missing(&kept, DL_PART_TRAIN), 0, SIZE_MAX);
}

/* Prepares a program for the batches of an epoch; the caller closes it in any case. */
static dl_status prepare(dl_session *s, const char *name, dl_build_fn build, dl_exec **exec) {
    dl_inputs_list(s->data, s->device && is_streamed(s), s->fields);
    int64_t samples = dl_data_samples(s->data, DL_PART_TRAIN);
    int64_t batch = s->batch_size < samples ? s->batch_size : samples;
    dl_exec_options options = dl_session_exec_options(s, name, build, build == dl_network_step);
    options.plan_for = s->device;
    DL_TRY(dl_exec_open(exec, &options));
    DL_TRY(dl_exec_prepare(*exec, batch));
    if (samples % batch)
        DL_TRY(dl_exec_prepare(*exec, samples % batch));
    return s->device ? s->device->table->build(s->device) : DL_OK;
}

static dl_status describe_step(dl_session *s, dl_exec_report *report, dl_exec_worst *worst,
                               bool graph) {
    dl_exec *exec = NULL;
    dl_status status = prepare(s, "step", dl_network_step, &exec);
    if (status == DL_OK) {
        dl_exec_describe(exec, report);
        status = dl_exec_worst_moment(exec, worst);
    }
    if (status == DL_OK && graph)
        dl_exec_print(exec, stdout);
    dl_exec_close(exec);
    exec = NULL;
    if (status == DL_OK && s->device) /* a GPU must be able to run it, too */
        status = prepare(s, "evaluation", dl_network_evaluation, &exec);
    dl_exec_close(exec);
    return status;
}

/* The device of --device: of that compute capability, none in particular. */
static dl_status imagine_device(const char *name, dl_device **out) {
    static const char prefix[] = "cuda:sm_";
    *out = NULL;
    if (!name)
        return DL_OK;
    bool ours = strncmp(name, prefix, strlen(prefix)) == 0;
    const char *digits = ours ? name + strlen(prefix) : "";
    char *end;
    long architecture = strtol(digits, &end, 10);
    if (*digits < '1' || *digits > '9' || *end != '\0' || architecture < 75 || architecture > 999)
        return dl_fail(DL_BAD_JOB,
                       "--device %s: a plan can be made for cuda:sm_NN, NN being the compute "
                       "capability of the GPU without its dot, 75 or more (A100: cuda:sm_80, H100 "
                       "and H200: cuda:sm_90, B200: cuda:sm_100)",
                       name);
    return dl_device_imagine_cuda((int)architecture, out);
}

static dl_status print_plan(dl_job *job, const dl_options *options, dl_comm *comm) {
    dl_cores cores;
    char text[DL_CORES_TEXT];
    DL_TRY(dl_cores_plan(0, comm->size, 0, &cores));
    dl_session session;
    dl_session_options opening = {.seed = (uint64_t)dl_int(dl_job_root(job), "seed"),
                                  .threads = cores.threads};
    DL_TRY(imagine_device(options->device, &opening.device));
    DL_TRY(dl_session_open_here(&session, dl_job_root(job), comm, &opening));
    dl_job_print(job, stdout);
    printf("\nPaths for --set: keys joined by dots (optimizer.sgd.learning_rate); of what stands "
           "in lists\n");
    dl_job_print_paths(job, stdout);
    print_layers(session.network);
    print_batches(&session);
    dl_status status = DL_OK;
    if (session.epochs > 0) {
        dl_exec_report report;
        dl_exec_worst worst;
        status = describe_step(&session, &report, &worst, options->graph);
        if (status == DL_OK)
            print_memory(&session, &report, &worst);
    }
    if (dl_is(session.job, "precision", "bf16"))
        printf(
            "\nPrecision\n  bf16, multiplied by %s (oneDNN %s): activations, their gradients and "
            "the "
            "kernels' copies of weights;\n  float32: weights, optimizer state, statistics, sums, "
            "softmax and losses\n",
            dl_bf16_text(dl_dnnl_bf16()), dl_dnnl_version());
    if (session.device)
        printf("\nDevice\n  %s\n", session.device->text);
    printf("\nThreads\n  %s\n", dl_cores_text(&cores, text));
    if (session.threads > 1)
        printf("  %s\n", session.side ? "side by side: each computes pieces of the batch by itself"
                                      : "together: they share the work of each kernel");
    for (int i = 0; i < dl_data_note_count(session.data); i++)
        printf("%s\n", dl_data_note(session.data, i));
    for (int i = 0; i < dl_network_warning_count(session.network); i++)
        printf("%s\n", dl_network_warning(session.network, i));
    dl_session_close(&session);
    return status;
}

dl_status dl_verb_plan(const dl_options *options) {
    dl_job *job;
    DL_TRY(dl_open_job(&job, options->argument[0], options, NULL));
    int local_rank, local_size;
    dl_comm_local_place(&local_rank,
                        &local_size); /* under mpirun: for as many as it started here */
    int ranks = options->ranks ? options->ranks : local_size;
    bool mpi = dl_is(dl_get(dl_job_root(job), "comm"), "backend", "mpi"); /* shares no memory */
    dl_comm imagined = {.rank = 0, .size = ranks, .local_rank = 0, .local_size = mpi ? 1 : ranks};
    dl_status status = print_plan(job, options, &imagined);
    dl_job_close(job);
    return status;
}
