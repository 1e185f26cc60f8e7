/* The program's own words: every row is sound, and jobs written in them are read as meant. */
#include <CUnit/Basic.h>
#include <string.h>

#include "launcher/job.h"
#include "launcher/verbs.h"
#include "tests/unit/check.h"

static void rows_are_sound(void) {
    CHECK_OK(dl_vocabulary_check(dl_job_vocabulary()));
}

/* The first network of the README, and its resolved text again. */
static void a_job_is_read(void) {
    static const char text[] =
        "data:\n"
        "  train: {idx: {x: train-images-idx3-ubyte.gz, y: train-labels-idx1-ubyte.gz}}\n"
        "  test: {idx: {x: t10k-images-idx3-ubyte.gz, y: t10k-labels-idx1-ubyte.gz}}\n"
        "  prepare: [{reshape: [784]}, {scale: 1/255}, {one_hot, field: y}]\n"
        "model:\n"
        "  - dense: {units: 512, activation: relu}\n"
        "  - dense: {units: 10, activation: softmax}\n"
        "loss: categorical_crossentropy\n"
        "optimizer: rmsprop\n"
        "metrics: [accuracy]\n"
        "batch_size: 128\n"
        "epochs: 5\n";
    dl_job *job = NULL, *again = NULL;
    CHECK_OK(
        dl_job_read_text(&job, "mnist-mlp.yaml", text, strlen(text), dl_job_vocabulary(), NULL, 0));
    CU_ASSERT_PTR_NOT_NULL_FATAL(dl_job_root(job));
    const dl_node *root = dl_job_root(job);
    CU_ASSERT_EQUAL(dl_int(dl_at(dl_get(root, "model"), 0), "units"), 512);
    CU_ASSERT_EQUAL(dl_number(dl_get(root, "optimizer"), "learning_rate"), 0.001);
    CU_ASSERT_EQUAL(dl_number(dl_get(root, "optimizer"), "rho"), 0.9);
    CU_ASSERT(dl_is(dl_at(dl_get(root, "model"), 1), "activation", "softmax"));
    const char *resolved = dl_job_text(job);
    CU_ASSERT_PTR_NOT_NULL_FATAL(resolved);
    CHECK_OK(dl_job_read_text(&again, "job.yaml", resolved, strlen(resolved), dl_job_vocabulary(),
                              NULL, 0));
    CU_ASSERT_PTR_NOT_NULL_FATAL(dl_job_text(again));
    CU_ASSERT_STRING_EQUAL(dl_job_text(again), resolved);
    dl_job_close(again);
    dl_job_close(job);
}

void suite_rows(void) {
    CU_pSuite suite = CU_add_suite("rows", NULL, NULL);
    CU_add_test(suite, "rows are sound", rows_are_sound);
    CU_add_test(suite, "a job is read", a_job_is_read);
}
