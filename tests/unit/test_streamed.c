/* What a step is sent, on the host that plays the GPU: samples as stored, in one copy of
 * page-locked memory, and the numbers of the samples alone where those live on the device;
 * constants of steps are sent before. Nothing is allocated. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include "comm/single.h"
#include "launcher/batches.h"
#include "launcher/session.h"
#include "launcher/verbs.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"
#include "tests/unit/shim.h"

enum { SAMPLES = 70, BATCH = 32, LAST = SAMPLES % BATCH, STEPS = 12, LINE = 256 };

static const char *const images =
    "data:\n"
    "  train: {synthetic: {kind: digits, samples: 70}}\n"
    "  prepare: [{reshape: [28, 28, 1]}, {standardize: {epsilon: 1}}, {one_hot: 10, field: y}]\n"
    "model: [flatten, {dense: {units: 10, activation: softmax}}]\n"
    "loss: categorical_crossentropy\n";

static const char *const labels = "data:\n"
                                  "  train: {synthetic: {kind: digits, samples: 70}}\n"
                                  "  prepare: [{scale: 1/255}]\n"
                                  "model: [flatten, {dense: {units: 10, activation: softmax}}]\n"
                                  "loss: sparse_categorical_crossentropy\n";

static const char *const series =
    "data:\n"
    "  train: {synthetic: {kind: vectors, samples: 70, fields: {x: {shape: [300]},\n"
    "          y: {classes: 300}}}}\n"
    "  prepare: [{fill_missing: 0}, standardize, {one_hot: 300, field: y}]\n"
    "model: [{dense: {units: 300, activation: softmax}}]\n"
    "loss: categorical_crossentropy\n";

static const char *const rest = "optimizer: {adam: {learning_rate: 0.01}}\n"
                                "steps_per_execution: 1\n"
                                "epochs: 8\n";

static const struct {
    const char *name, *const *job, *set;
    size_t sample; /* bytes that a sample is sent with */
    int fields;    /* that come with a step */
} cases[] = {
    {"images", &images, "data.on_device=never", 28 * 28 + 1, 2},
    {"images and labels", &labels, "data.on_device=never", 28 * 28 + 4, 2},
    {"vectors", &series, "data.on_device=never", 300 * 4 + 4, 2},
    {"images that live there", &images, "data.on_device=auto", 4, 1},
    {"vectors that live there", &series, "data.on_device=auto", 4, 1},
};

/* More than is sent ahead (runtime/exec/together.h). */
enum { MANY = 30, MANY_LAST = 15, MANY_STEPS = 6 };
static const char *const many =
    "data:\n"
    "  train: {synthetic: {kind: images, samples: 45, fields: {x: {shape: [200, 200, 1],\n"
    "          dtype: uint8}, y: {classes: 10}}}}\n"
    "  prepare: [{standardize: {epsilon: 1}}, {one_hot: 10, field: y}]\n"
    "model: [global_average_pooling2d, {dense: {units: 10, activation: softmax}}]\n"
    "loss: categorical_crossentropy\n";

typedef struct outcome {
    float loss[STEPS], weight;
    int collected;
} outcome;

typedef struct counts {
    long copies, bytes, pageable;
    uint64_t allocations;
} counts;

static counts count(shim_sent_fn sent) {
    counts now = {.allocations = dl_alloc_count()};
    long bytes;
    sent(true, &now.copies, &now.bytes);
    sent(false, &now.pageable, &bytes);
    return now;
}

typedef struct trainer {
    dl_job *job;
    dl_comm *comm;
    dl_session session;
    dl_exec *exec;
    dl_batches batches;
} trainer;

/* False: the device is no shim, or something failed, which is told. */
static bool open(trainer *t, const char *job, const char *set, int batch, int last) {
    char text[2048];
    memset(t, 0, sizeof *t);
    snprintf(text, sizeof text, "%s%sbatch_size: %d\n", job, rest, batch);
    dl_session_options opening = {.seed = 1, .threads = 1};
    if (!CHECK_OK(dl_job_read_text(&t->job, "job.yaml", text, strlen(text), dl_job_vocabulary(),
                                   &set, 1)) ||
        !CHECK_OK(dl_single_open(&t->comm)))
        return false;
    opening.device = shim_open("streamed");
    if (!opening.device)
        return false;
    dl_batches_options batches = {.part = DL_PART_TRAIN, .batch = batch};
    return CHECK_OK(dl_session_open_here(&t->session, dl_job_root(t->job), t->comm, &opening)) &&
           CHECK_OK(dl_session_allocate(&t->session)) &&
           CHECK_OK(dl_session_program(&t->session, "step", dl_network_step, true, DL_PART_TRAIN,
                                       batch, last, &t->exec)) &&
           CHECK_OK(dl_batches_open(&t->batches, &t->session, t->exec, &batches));
}

static void shut(trainer *t) {
    dl_batches_close(&t->batches);
    dl_exec_close(t->exec);
    dl_session_close(&t->session);
    dl_comm_close(t->comm);
    dl_job_close(t->job);
}

/* Collects what is through, or all, behind what was collected before. */
static dl_status step(trainer *t, int number, bool all, outcome *out) {
    int64_t batch;
    t->batches.learning_rate = 0.01f;
    t->batches.step = (float)number;
    DL_TRY(dl_batches_begin(&t->batches));
    for (;;) {
        DL_TRY(dl_exec_collect(t->exec, all, &batch));
        if (batch == 0)
            return DL_OK;
        out->loss[out->collected++] = *dl_exec_result(t->exec, dl_exec_output(t->exec, "metrics"));
    }
}

/* Randoms, samples, learning rate and step come with each field in lines of their own. */
static void check_sent(trainer *t, int c) {
    shim_sent_fn sent;
    outcome out = {0};
    if (!shim_find(t->session.device, "shim_sent", "what a step is sent", &sent))
        return;
    for (int number = 1; number <= STEPS; number++) {
        counts before = count(sent);
        if (!CHECK_OK(step(t, number, false, &out)))
            return;
        counts now = count(sent);
        long bytes = now.bytes - before.bytes, least = (long)cases[c].sample * BATCH;
        bool good = bytes >= least && bytes < least + (cases[c].fields + 4) * LINE;
        if (!good)
            printf("\n    %s: %ld bytes sent, of samples %ld", cases[c].name, bytes, least);
        CU_ASSERT(good);
        CU_ASSERT_EQUAL(now.copies - before.copies, 1);
        if (number > 1) /* weights go there before it */
            CU_ASSERT_EQUAL(now.pageable, before.pageable);
        if (number > 6) /* the second of each batch size is recorded */
            CU_ASSERT_EQUAL(now.allocations, before.allocations);
    }
}

static void test_sent(void) {
    for (int c = 0; c < DL_COUNT(cases); c++) {
        trainer t;
        if (open(&t, *cases[c].job, cases[c].set, BATCH, LAST))
            check_sent(&t, c);
        shut(&t);
    }
}

static void train_large(const char *set, shim_streams *streams, outcome *out) {
    trainer t;
    memset(out, 0, sizeof *out);
    bool going = open(&t, many, set, MANY, MANY_LAST);
    if (going && streams)
        going = shim_streams_of(t.session.device, "large batches go ahead", streams);
    for (int number = 1; number <= MANY_STEPS && going; number++)
        going = CHECK_OK(step(&t, number, number == MANY_STEPS, out));
    if (going && CHECK_OK(dl_session_fetch(&t.session)))
        out->weight = *dl_network_variables(t.session.network)->slab[DL_SLAB_PARAMETER];
    shut(&t);
}

static bool streams_same(const void *there) {
    outcome got;
    train_large("data.on_device=never", NULL, &got);
    return got.collected == MANY_STEPS && memcmp(there, &got, sizeof got) == 0;
}

/* A large batch goes to the device while the step before computes: the bits are those of samples
 * that live there, in any order that the waits allow, and only by the waits. Of a step that goes
 * ahead there are two; from the third step on one is for what the step before the last has read. */
static void test_ahead(void) {
    shim_streams streams;
    outcome there;
    train_large("data.on_device=auto", &streams, &there);
    if (there.collected != MANY_STEPS) /* skipped, or told */
        return;
    CU_ASSERT(there.loss[0] > 0 && there.loss[0] != there.loss[2]);
    CU_ASSERT(!shim_goes_wrong(&streams, 0, streams_same, &there));
    for (long wait = 5; wait <= 8; wait++)
        CU_ASSERT(shim_goes_wrong(&streams, wait, streams_same, &there));
}

void suite_streamed(void);
void suite_streamed(void) {
    CU_pSuite suite = CU_add_suite("streamed", NULL, NULL);
    CU_add_test(suite, "what a step is sent", test_sent);
    CU_add_test(suite, "large batches go ahead", test_ahead);
}
