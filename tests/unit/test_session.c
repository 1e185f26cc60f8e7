/* What a session decides before anything runs: how many leaves a batch has, and whether the threads
 * of a rank compute leaves of their own. A small network's do; see launcher/session.c. */
#include <stdio.h>
#include <string.h>

#include "launcher/session.h"
#include "launcher/verbs.h"
#include "tests/unit/check.h"

static const char small[] =
    "data: {train: {synthetic: {kind: digits, samples: 120}},\n"
    "       prepare: [{reshape: [28, 28, 1]}, {scale: 1/255}]}\n"
    "model:\n"
    "  - {conv2d: {filters: 8, kernel_size: 3, activation: relu}, name: c}\n"
    "  - global_average_pooling2d\n"
    "  - dense: {units: 10, activation: softmax}\n"
    "loss: sparse_categorical_crossentropy\n"
    "optimizer: sgd\n"
    "batch_size: 64\n"
    "epochs: 1\n";

typedef struct given {
    const char *set;
    int ranks, threads;
    bool uneven;
} given;

static void check_session(const given *g, bool side, int leaves) {
    dl_job *job = NULL;
    const char *sets[] = {g->set};
    if (!CHECK_OK(dl_job_read_text(&job, "small.yaml", small, strlen(small), dl_job_vocabulary(),
                                   sets, g->set != NULL)))
        return;
    dl_comm imagined = {.rank = 0, .size = g->ranks, .local_size = g->ranks};
    dl_session_options opening = {.threads = g->threads, .uneven = g->uneven};
    dl_session session;
    if (CHECK_OK(dl_session_open_here(&session, dl_job_root(job), &imagined, &opening))) {
        if (session.side != side || session.leaves != leaves)
            printf("\n    %s on %d x %d: side %d, %d leaves\n", g->set ? g->set : "the job",
                   g->ranks, g->threads, session.side, session.leaves);
        CU_ASSERT_EQUAL(session.side, side);
        CU_ASSERT_EQUAL(session.leaves, leaves);
        CU_ASSERT_EQUAL(dl_team_form_of(session.team), side ? DL_TEAM_SIDE : DL_TEAM_LONE);
        dl_session_close(&session);
    }
    dl_job_close(job);
}

static void test_side_by_side(void) {
    check_session(&(given){NULL, 1, 2, false}, true, 2);
    check_session(&(given){NULL, 3, 2, false}, true, 6);
    check_session(&(given){NULL, 1, 4, false}, true, 4);
    check_session(&(given){"batch_size=4", 1, 2, false}, true, 2);
    check_session(&(given){"accumulate=2", 2, 2, false}, true, 8);
}

static void test_together(void) {
    check_session(&(given){NULL, 2, 1, false}, false, 2);
    check_session(&(given){NULL, 2, 2, true}, false, 2); /* the ranks would cut it differently */
    check_session(&(given){"batch_size=2", 2, 2, false}, false, 2); /* a thread would have none */
    check_session(&(given){"batch_statistics=rank", 1, 2, false}, false, 1);
    check_session(&(given){"epochs=0", 1, 2, false}, false, 1);
    /* Products of 32 samples x 26 x 26 x 9 x 4096 x 2 FLOP; then more weights than they are worth:
     * a dense kernel costs 6 FLOP a sample and weight. */
    check_session(&(given){"model.c.conv2d.filters=4096", 1, 2, false}, false, 1);
    check_session(&(given){"model.global_average_pooling2d=flatten", 1, 2, false}, true, 2);
    check_session(
        &(given){"model=[flatten, {dense: {units: 10, activation: softmax}}]", 1, 8, false}, false,
        1);
}

static void test_any_ranks(void) {
    check_session(&(given){"reproducible=any_ranks", 1, 1, false}, true, 8);
    check_session(&(given){"reproducible=any_ranks", 3, 2, true}, true, 8);
}

void suite_session(void) {
    CU_pSuite suite = CU_add_suite("session", NULL, NULL);
    CU_add_test(suite, "side by side", test_side_by_side);
    CU_add_test(suite, "together", test_together);
    CU_add_test(suite, "any_ranks", test_any_ranks);
}
