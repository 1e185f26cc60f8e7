/* See evaluation.h. The feed runs through the part in order, so nothing depends on earlier passes.
 */
#include "launcher/evaluation.h"

#include <stdio.h>
#include <string.h>

#include "launcher/batches.h"
#include "launcher/signals.h"

struct dl_evaluation {
    dl_session *session;
    dl_exec *exec;
    dl_batches batches;
    int64_t samples;
    double *sums, *values;
    int metrics;
};

dl_status dl_evaluation_open(dl_evaluation **out, dl_session *session, dl_part_name part) {
    dl_evaluation *evaluation = dl_alloc(sizeof *evaluation);
    dl_status status = evaluation ? DL_OK : dl_fail_memory(sizeof *evaluation);
    DL_TRY(dl_comm_agree(session->comm, status));
    evaluation->session = session;
    evaluation->samples = dl_data_samples(session->data, part);
    int64_t batch = dl_session_evaluation_batch(session);
    if (batch > evaluation->samples)
        batch = evaluation->samples;
    evaluation->metrics = dl_network_metric_count(session->network);
    evaluation->sums = dl_alloc(sizeof(double) * (size_t)dl_network_sum_count(session->network));
    evaluation->values = dl_alloc(sizeof(double) * (size_t)evaluation->metrics);
    status = evaluation->sums && evaluation->values ? DL_OK : dl_fail_memory(64);
    DL_GOTO(failed, dl_comm_agree(session->comm, status));
    DL_GOTO(failed, dl_session_program(session, "evaluation", dl_network_evaluation, false, part,
                                       batch, evaluation->samples % batch, &evaluation->exec));
    dl_batches_options options = {.part = part, .batch = batch, .in_order = true};
    DL_GOTO(failed, dl_batches_open(&evaluation->batches, session, evaluation->exec, &options));
    *out = evaluation;
    return DL_OK;
failed:
    dl_evaluation_close(evaluation);
    return status;
}

void dl_evaluation_close(dl_evaluation *evaluation) {
    if (!evaluation)
        return;
    dl_batches_close(&evaluation->batches);
    dl_exec_close(evaluation->exec);
    dl_free(evaluation->values);
    dl_free(evaluation->sums);
    dl_free(evaluation);
}

/* Nothing is left under way: the weights are saved next. */
static dl_status stop(const dl_evaluation *evaluation) {
    for (int64_t batch = 1; batch > 0;)
        DL_TRY(dl_exec_collect(evaluation->exec, true, &batch));
    return dl_fail(DL_STOPPED, "stopped by %s in the evaluation; start the same command again",
                   dl_signals_stop() ? dl_signals_name() : "a signal on another rank");
}

/* Adds up a batch that is through, if there is one: dl_exec_collect. */
static dl_status count_batch(const dl_evaluation *evaluation, bool all, int64_t *batch) {
    DL_TRY(dl_exec_collect(evaluation->exec, all, batch));
    if (*batch == 0)
        return DL_OK;
    if (dl_exec_noticed(evaluation->exec) != 0.0f)
        return stop(evaluation);
    const float *metrics =
        dl_exec_result(evaluation->exec, dl_exec_output(evaluation->exec, "metrics"));
    for (int i = 0; i < dl_network_sum_count(evaluation->session->network); i++)
        evaluation->sums[i] += (double)metrics[i];
    return DL_OK;
}

dl_status dl_evaluation_run(dl_evaluation *evaluation, const char *prefix, dl_values *values) {
    const dl_network *network = evaluation->session->network;
    memset(evaluation->sums, 0, sizeof(double) * (size_t)dl_network_sum_count(network));
    DL_TRY(dl_batches_rewind(&evaluation->batches));
    int64_t batches = dl_batches_count(&evaluation->batches), batch;
    for (int64_t i = 0; i < batches; i++) {
        dl_exec_notice(evaluation->exec, dl_signals_stop() ? 1.0f : 0.0f);
        DL_TRY(dl_batches_begin(&evaluation->batches));
        do
            DL_TRY(count_batch(evaluation, i == batches - 1, &batch));
        while (batch > 0);
    }
    dl_network_metric_values(network, evaluation->sums, (double)evaluation->samples,
                             evaluation->values);
    for (int i = 0; i < evaluation->metrics; i++)
        dl_values_set(values, prefix, dl_network_metric_name(network, i), evaluation->values[i]);
    return DL_OK;
}

dl_status dl_evaluate_parts(dl_session *session, dl_values *values) {
    const dl_node *wanted = dl_get(dl_get(session->job, "evaluate"), "parts");
    for (DL_EACH(name, wanted))
        for (int part = 0; part < DL_PARTS; part++) {
            const char *text = dl_part_text((dl_part_name)part);
            if (strcmp(name->text, text) != 0 ||
                dl_data_samples(session->data, (dl_part_name)part) == 0)
                continue;
            char prefix[32];
            snprintf(prefix, sizeof prefix, "%s_", text);
            dl_evaluation *evaluation;
            DL_TRY(dl_evaluation_open(&evaluation, session, (dl_part_name)part));
            dl_status status = dl_evaluation_run(evaluation, prefix, values);
            dl_evaluation_close(evaluation);
            DL_TRY(status);
        }
    return DL_OK;
}
