/* Batches, read ahead by one thread into a ring of slots that are allocated once. Who makes a batch
 * claims it first: the thread while there is room, and the caller too where it would wait, so that
 * a core that has nothing else to do reads. The caller takes batches in order and gives them back:
 * released <= taken <= claimed <= released + slots. What is in a batch is a function of the step
 * alone (see data.h), so seeking is only a matter of the counters. */
#include "runtime/data/inner.h"
#include "runtime/data/order.h"

#include <pthread.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/base/philox.h"

typedef struct slot {
    bool ready; /* claimed and made */
    dl_batch batch;
    const void **field;
    uint32_t *sample;
} slot;

struct dl_feed {
    const dl_data *data;
    dl_feed_options options;
    int *field;
    bool *stored;
    int64_t samples, batches; /* of a pass */
    slot slot[DL_FEED_SLOTS];
    uint32_t *order; /* of pass `pass` */
    int64_t pass;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. Steps, counted from `begin` on. */
    int64_t begin, claimed, taken, released;
    int making; /* batches that are claimed and not ready */
    bool seeking, closing;
};

/* Positions of a batch of `batch` samples that this rank holds: whole leaves. */
static void share_of(const dl_feed_options *o, int64_t batch, int64_t *first, int64_t *end) {
    int64_t leaves = o->leaves < batch ? o->leaves : batch;
    int64_t leaf = leaves * o->rank / o->ranks, last = leaves * (o->rank + 1) / o->ranks;
    *first = leaf * batch / leaves;
    *end = last * batch / leaves;
}

static void order_pass(dl_feed *feed, int64_t pass) {
    if (feed->pass == pass)
        return;
    dl_permute(feed->order, feed->samples, feed->options.seed, dl_stream("data shuffle"),
               (uint32_t)pass);
    feed->pass = pass;
}

static void choose(dl_feed *feed, dl_batch *batch, uint32_t *sample) {
    const dl_feed_options *o = &feed->options;
    int64_t pass = batch->step / feed->batches, start = batch->step % feed->batches * o->batch;
    if (o->order == DL_ORDER_REPLACED) {
        uint32_t stream = dl_stream("data draw");
        for (int64_t i = 0; i < batch->count; i++)
            sample[i] = dl_bounded(dl_random_word(o->seed, stream, (uint32_t)batch->step,
                                                  (uint32_t)(batch->first + i), 0),
                                   (uint32_t)feed->samples);
        return;
    }
    if (o->order == DL_ORDER_SHUFFLED)
        order_pass(feed, pass);
    for (int64_t i = 0; i < batch->count; i++) {
        int64_t position = start + batch->first + i;
        sample[i] = o->order == DL_ORDER_SHUFFLED ? feed->order[position] : (uint32_t)position;
    }
}

/* Which samples: with the lock, as the order is one for all. */
static slot *claim(dl_feed *feed) {
    const dl_feed_options *o = &feed->options;
    int64_t number = feed->claimed++, step = feed->begin + number, end;
    int64_t left = feed->samples - step % feed->batches * o->batch;
    slot *s = &feed->slot[number % DL_FEED_SLOTS];
    dl_batch *batch = &s->batch;
    s->ready = false;
    feed->making++;
    batch->read_at = dl_seconds();
    batch->step = step;
    batch->samples = left < o->batch && o->order != DL_ORDER_REPLACED ? left : o->batch;
    share_of(o, batch->samples, &batch->first, &end);
    batch->count = end - batch->first;
    choose(feed, batch, s->sample);
    return s;
}

static void read_samples(const dl_feed *feed, slot *s) {
    const dl_feed_options *o = &feed->options;
    dl_batch *batch = &s->batch;
    for (int i = 0; i < o->fields; i++) {
        void *out = (void *)(uintptr_t)s->field[i];
        if (feed->stored[i])
            dl_data_read_stored(feed->data, o->part, feed->field[i], s->sample, 0, batch->count,
                                out);
        else
            dl_data_read(feed->data, o->part, feed->field[i], s->sample, 0, batch->count, out);
    }
    batch->reading = dl_seconds() - batch->read_at;
}

static bool may_claim(const dl_feed *feed) {
    return feed->claimed < feed->released + DL_FEED_SLOTS &&
           (feed->options.end_step == 0 || feed->begin + feed->claimed < feed->options.end_step);
}

/* Called and returns with the lock, which is open while it reads. */
static void make(dl_feed *feed) {
    slot *s = claim(feed);
    pthread_mutex_unlock(&feed->lock);
    read_samples(feed, s);
    pthread_mutex_lock(&feed->lock);
    s->ready = true;
    feed->making--;
    pthread_cond_broadcast(&feed->changed);
}

static void *read_ahead(void *argument) {
    dl_feed *feed = argument;
    pthread_mutex_lock(&feed->lock);
    while (!feed->closing)
        if (may_claim(feed) && !feed->seeking)
            make(feed);
        else
            pthread_cond_wait(&feed->changed, &feed->lock);
    pthread_mutex_unlock(&feed->lock);
    return NULL;
}

static dl_status check(const dl_data *data, const dl_feed_options *o) {
    int64_t samples = dl_data_samples(data, o->part);
    if (samples == 0 || o->batch < 1 || o->leaves < 1 || o->ranks < 1 || o->rank < 0 ||
        o->rank >= o->ranks || o->first_step < 0)
        return dl_fail(DL_INTERNAL, "a feed of %s with batches of %lld, rank %d of %d",
                       dl_part_text(o->part), (long long)o->batch, o->rank, o->ranks);
    return DL_OK;
}

static dl_status allocate(dl_feed *feed, const dl_feed_options *options) {
    const dl_data *data = feed->data;
    dl_feed_options *o = &feed->options;
    int64_t first, end, most = 0;
    int all = dl_data_field_count(data);
    o->fields = options->field ? options->fields : all;
    feed->field = dl_alloc(sizeof *feed->field * (size_t)(o->fields + 1));
    feed->stored = dl_alloc(sizeof *feed->stored * (size_t)(o->fields + 1));
    if (!feed->field || !feed->stored)
        return dl_fail_memory(sizeof *feed->field);
    for (int i = 0; i < o->fields; i++) {
        feed->field[i] = options->field ? options->field[i] : i;
        feed->stored[i] = options->stored && options->stored[i];
    }
    o->field = feed->field;
    o->stored = feed->stored;
    share_of(o, o->batch, &first, &end);
    most = end - first;
    share_of(o, (feed->samples - 1) % o->batch + 1, &first, &end); /* the last batch */
    most = end - first > most ? end - first : most;
    for (int i = 0; i < DL_FEED_SLOTS; i++) {
        slot *s = &feed->slot[i];
        s->sample = dl_alloc(sizeof *s->sample * (size_t)(most + 1));
        s->field = dl_alloc(sizeof *s->field * (size_t)(o->fields + 1));
        if (!s->sample || !s->field)
            return dl_fail_memory(sizeof *s->sample * (size_t)most);
        s->batch.field = s->field;
        s->batch.sample = s->sample;
        for (int j = 0; j < o->fields; j++) {
            const dl_data_field *field = dl_data_field_at(data, o->field[j]);
            size_t bytes = dl_type_bytes(o->stored[j] ? &field->stored : &field->type);
            if (bytes > SIZE_MAX / 4 / (size_t)(most + 1))
                return dl_fail_memory(SIZE_MAX);
            s->field[j] = dl_alloc(bytes * (size_t)(most + 1));
            if (!s->field[j])
                return dl_fail_memory(bytes * (size_t)most);
        }
    }
    if (o->order == DL_ORDER_SHUFFLED)
        feed->order = dl_alloc(sizeof *feed->order * (size_t)feed->samples);
    if (o->order == DL_ORDER_SHUFFLED && !feed->order)
        return dl_fail_memory(sizeof *feed->order * (size_t)feed->samples);
    return DL_OK;
}

dl_status dl_feed_open(dl_feed **out, const dl_data *data, const dl_feed_options *options) {
    DL_TRY(check(data, options));
    dl_feed *feed = dl_alloc(sizeof *feed);
    if (!feed)
        return dl_fail_memory(sizeof *feed);
    feed->data = data;
    feed->options = *options;
    feed->samples = dl_data_samples(data, options->part);
    feed->batches = (feed->samples + options->batch - 1) / options->batch;
    feed->pass = -1;
    feed->begin = options->first_step;
    pthread_mutex_init(&feed->lock, NULL);
    pthread_cond_init(&feed->changed, NULL);
    dl_status status = allocate(feed, options);
    if (status == DL_OK && feed->options.fields > 0) {
        feed->running = pthread_create(&feed->thread, NULL, read_ahead, feed) == 0;
        if (!feed->running)
            status = dl_fail(DL_NO_MEMORY, "cannot start the thread that reads batches ahead");
    }
    if (status != DL_OK) {
        dl_feed_close(feed);
        return status;
    }
    *out = feed;
    return DL_OK;
}

void dl_feed_close(dl_feed *feed) {
    if (!feed)
        return;
    pthread_mutex_lock(&feed->lock);
    feed->closing = true;
    pthread_cond_broadcast(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
    if (feed->running)
        pthread_join(feed->thread, NULL);
    pthread_cond_destroy(&feed->changed);
    pthread_mutex_destroy(&feed->lock);
    for (int i = 0; i < DL_FEED_SLOTS; i++) {
        for (int j = 0; feed->slot[i].field && j < feed->options.fields; j++)
            dl_free((void *)(uintptr_t)feed->slot[i].field[j]);
        dl_free(feed->slot[i].field);
        dl_free(feed->slot[i].sample);
    }
    dl_free(feed->order);
    dl_free(feed->field);
    dl_free(feed->stored);
    dl_free(feed);
}

dl_status dl_feed_next(dl_feed *feed, dl_batch *batch) {
    dl_status status = DL_OK;
    pthread_mutex_lock(&feed->lock);
    int64_t step = feed->begin + feed->taken;
    if (feed->options.end_step != 0 && step >= feed->options.end_step)
        status = dl_fail(DL_INTERNAL, "the feed of %s has no batch for step %lld",
                         dl_part_text(feed->options.part), (long long)step);
    else if (feed->taken - feed->released >= DL_FEED_SLOTS - 1)
        status = dl_fail(DL_INTERNAL, "more than %d batches are held", DL_FEED_SLOTS - 1);
    const slot *s = &feed->slot[feed->taken % DL_FEED_SLOTS];
    while (status == DL_OK && !(feed->claimed > feed->taken && s->ready))
        if (may_claim(feed))
            make(feed);
        else
            pthread_cond_wait(&feed->changed, &feed->lock);
    if (status == DL_OK) {
        *batch = s->batch;
        feed->taken++;
    }
    pthread_mutex_unlock(&feed->lock);
    return status;
}

void dl_feed_release(dl_feed *feed) {
    pthread_mutex_lock(&feed->lock);
    if (feed->released < feed->taken)
        feed->released++;
    pthread_cond_broadcast(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
}

dl_status dl_feed_seek(dl_feed *feed, int64_t step) {
    dl_status status = DL_OK;
    pthread_mutex_lock(&feed->lock);
    if (feed->released != feed->taken || step < 0) {
        status = dl_fail(DL_INTERNAL, "seeking with batches held");
    } else if (step != feed->begin + feed->taken) {
        feed->seeking = true;
        while (feed->making > 0) /* in a slot that is used anew */
            pthread_cond_wait(&feed->changed, &feed->lock);
        feed->seeking = false;
        feed->begin = step;
        feed->claimed = feed->taken = feed->released = 0;
        pthread_cond_broadcast(&feed->changed);
    }
    pthread_mutex_unlock(&feed->lock);
    return status;
}

int64_t dl_feed_batches(const dl_feed *feed) {
    return feed->batches;
}
