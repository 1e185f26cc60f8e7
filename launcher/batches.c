/* See batches.h. */
#include "launcher/batches.h"

#include <string.h>

#include "launcher/inputs.h"
#include "runtime/base/clock.h"

/* The fields that the program reads, in the feed's order; none where it takes them as rows. */
static int wanted_fields(dl_batches *batches, int *field, bool *stored) {
    const dl_data *data = batches->session->data;
    int count = 0;
    bool rows = dl_exec_takes_rows(batches->exec);
    for (int i = 0; !rows && i < dl_data_field_count(data) && count < DL_BATCH_FIELDS; i++) {
        int input = dl_inputs_find(batches->exec, dl_data_field_at(data, i), &stored[count]);
        if (input < 0)
            continue;
        batches->input[count] = input;
        field[count++] = i;
    }
    return count;
}

static dl_status open_feed(dl_batches *batches) {
    dl_session *s = batches->session;
    int field[DL_BATCH_FIELDS];
    bool stored[DL_BATCH_FIELDS];
    batches->fields = wanted_fields(batches, field, stored);
    dl_feed_options feed = {
        .part = batches->options.part,
        .batch = batches->options.batch,
        .seed = s->seed,
        .order = batches->options.in_order ? DL_ORDER_FILE : dl_data_order(dl_get(s->job, "data")),
        .leaves = s->leaves,
        .rank = s->comm->rank,
        .ranks = s->comm->size,
        .field = field,
        .fields = batches->fields,
        .stored = stored,
        .first_step = batches->options.first_step,
        .end_step = batches->options.in_order || batches->options.endless ? 0 : s->steps};
    return dl_feed_open(&batches->feed, s->data, &feed);
}

dl_status dl_batches_open(dl_batches *batches, dl_session *session, dl_exec *exec,
                          const dl_batches_options *options) {
    memset(batches, 0, sizeof *batches);
    batches->session = session;
    batches->exec = exec;
    batches->options = *options;
    dl_exec_bind_input(exec, dl_exec_input(exec, "samples"), &batches->samples);
    dl_exec_bind_input(exec, dl_exec_input(exec, "learning_rate"), &batches->learning_rate);
    dl_exec_bind_input(exec, dl_exec_input(exec, "step"), &batches->step);
    return dl_comm_agree(session->comm, open_feed(batches));
}

void dl_batches_close(dl_batches *batches) {
    dl_feed_close(batches->feed);
    memset(batches, 0, sizeof *batches);
}

dl_status dl_batches_rewind(dl_batches *batches) {
    dl_status status = dl_feed_seek(batches->feed, batches->options.first_step);
    return dl_comm_agree(batches->session->comm, status);
}

int64_t dl_batches_count(const dl_batches *batches) {
    return dl_feed_batches(batches->feed);
}

dl_status dl_batches_begin(dl_batches *batches) {
    dl_session *s = batches->session;
    dl_batch batch;
    double start = dl_seconds();
    dl_status status = dl_feed_next(batches->feed, &batch);
    batches->getting = dl_seconds() - start;
    batches->waited += batches->getting;
    if (status != DL_OK) { /* the others wait in the collectives: fail there, together */
        dl_exec_refuse(batches->exec, status);
        return dl_exec_begin(batches->exec, batches->options.batch, &(dl_random){.seed = s->seed});
    }
    for (int i = 0; i < batches->fields; i++)
        dl_exec_bind_input(batches->exec, batches->input[i], batch.field[i]);
    dl_exec_bind_rows(batches->exec, batch.sample);
    batches->samples = (float)batch.samples;
    batches->read_at = batch.read_at;
    batches->reading = batch.reading;
    dl_random random = {.seed = s->seed, .step = (uint32_t)batch.step};
    status = dl_exec_begin(batches->exec, batch.samples, &random);
    start = dl_seconds();
    dl_feed_release(batches->feed);
    batches->waited += dl_seconds() - start;
    return status;
}
