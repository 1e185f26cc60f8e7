/* Kernels of rows one after another (ops/links.h), on rows made up here: each adds 1 to what it
 * reads, or 10 to what was packed for it, so that a result tells how it came to be. */
#include <CUnit/Basic.h>
#include <string.h>

#include "ops/links.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"

enum { COUNT = 5 };

static int alive; /* states that are not released */

static dl_status infer_same(const dl_infer *infer) {
    *infer->output = *infer->input[0];
    return DL_OK;
}

static dl_status prepare_add(const dl_prepare *what, dl_prepared *out) {
    float *more = out->state = dl_alloc(sizeof *more);
    *more = what->constant[0] ? 10 : 1;
    out->packed_bytes[0] = what->constant[0] ? sizeof(float) * COUNT : 0;
    out->workspace = 64;
    alive++;
    return DL_OK;
}

static dl_status prepare_none(const dl_prepare *what, dl_prepared *out) {
    (void)what, (void)out;
    return dl_fail(DL_UNAVAILABLE, "no such kernel");
}

static void pack_add(const void *state, int input, const void *from, void *to, dl_team *team) {
    (void)state, (void)input, (void)team;
    memcpy(to, from, sizeof(float) * COUNT);
}

static dl_status run_add(const void *state, const dl_run *run) {
    memset(run->workspace, 0xff, 64);
    for (int i = 0; i < COUNT; i++)
        ((float *)run->out[0])[i] = ((const float *)run->in[0])[i] + *(const float *)state;
    return DL_OK;
}

static void release_add(void *state) {
    alive--;
    dl_free(state);
}

static const dl_op add = {
    .name = "add",
    .outputs = 1,
    .infer = infer_same,
    .cpu = {.prepare = prepare_add, .pack = pack_add, .run = run_add, .release = release_add}};
static const dl_op none = {
    .name = "none", .outputs = 1, .infer = infer_same, .cpu = {prepare_none, NULL, run_add, NULL}};

/* A row of one input, a variable, and of outputs of its type. */
static dl_status prepare_row(const dl_link *link, int count, int outputs, dl_prepared *out) {
    static const dl_type type = {.dtype = DL_F32, .rank = 1, .dim = {COUNT}};
    static const dl_type *const types[] = {&type, &type};
    const dl_prepare what = {
        .inputs = 1, .outputs = outputs, .input = types, .output = types, .constant = {true}};
    memset(out, 0, sizeof *out);
    return dl_links_prepare(&what, link, count, sizeof(dl_links), out);
}

static void run_row(const dl_prepared *made, float *first, float *second) {
    float x[COUNT] = {0, 1, 2, 3, 4};
    char *workspace = dl_alloc(made->workspace);
    CU_ASSERT_EQUAL(dl_links_run(made->state, &(dl_run){.in = (const void *[]){x},
                                                        .out = (void *[]){first, second},
                                                        .workspace = workspace}),
                    DL_OK);
    dl_free(workspace);
}

/* What lies between is numbered as its row likes: also from the last to the first. */
static void test_numbers(void) {
    const dl_link link[] = {{&add, NULL, 1, {0}, 3},
                            {&add, NULL, 1, {3}, 2},
                            {&add, NULL, 1, {2}, 3},
                            {&add, NULL, 1, {3}, 1}};
    dl_prepared made;
    float y[COUNT];
    CU_ASSERT_EQUAL_FATAL(prepare_row(link, DL_COUNT(link), 1, &made), DL_OK);
    CU_ASSERT_EQUAL(made.packed_bytes[0], sizeof(float) * COUNT);
    run_row(&made, y, NULL);
    for (int i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL(y[i], (float)i + 13);
    dl_links_release(made.state);
    CU_ASSERT_EQUAL(alive, 0);
}

/* Both must be able to read it, so it stays as it is. */
static void test_shared_variable(void) {
    const dl_link link[] = {{&add, NULL, 1, {0}, 1}, {&add, NULL, 1, {0}, 2}};
    dl_prepared made;
    float y[COUNT], z[COUNT];
    CU_ASSERT_EQUAL_FATAL(prepare_row(link, DL_COUNT(link), 2, &made), DL_OK);
    CU_ASSERT_EQUAL(made.packed_bytes[0], 0);
    run_row(&made, y, z);
    for (int i = 0; i < COUNT; i++)
        CU_ASSERT(y[i] == (float)i + 1 && z[i] == (float)i + 1);
    dl_links_release(made.state);
}

static void test_failure(void) {
    const dl_link link[] = {{&add, NULL, 1, {0}, 2}, {&none, NULL, 1, {2}, 1}};
    dl_prepared made;
    CU_ASSERT_EQUAL(prepare_row(link, DL_COUNT(link), 1, &made), DL_UNAVAILABLE);
    CU_ASSERT_EQUAL(alive, 0);
    CU_ASSERT_PTR_NULL(made.state);
}

void suite_links(void);
void suite_links(void) {
    CU_pSuite suite = CU_add_suite("links", NULL, NULL);
    CU_add_test(suite, "values between by any number", test_numbers);
    CU_add_test(suite, "a variable that two links read", test_shared_variable);
    CU_add_test(suite, "a link without a kernel", test_failure);
}
