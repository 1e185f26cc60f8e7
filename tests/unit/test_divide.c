/* A step whose update is divided among the ranks of a host: each rank of two, run by itself here,
 * writes its part of the weights and slots and nothing else; together they have the bits of the
 * step on one rank, and ranks meet as often as they must. tests/runs/divide.sh has real ranks. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/model.h"

enum { BATCH = 4, INPUTS = 40, UNITS = 100 }; /* 4000 weights: a part ends within them */

static const char text[] =
    "model:\n"
    "  - dense: {units: 100, activation: tanh, kernel_regularizer: {l2: 0.01}}\n"
    "  - dense: 1\n"
    "loss: mse\n";

static int barriers;

static dl_status count_barrier(dl_comm *comm) {
    (void)comm;
    barriers++;
    return DL_OK;
}

typedef struct outcome {
    float *before, *after; /* the common slabs, one after another */
    int64_t floats;
} outcome;

static void outcome_free(outcome *o) {
    free(o->before);
    free(o->after);
}

/* The common slabs, as dl_variables_lend lays them out. */
static void keep(const dl_variables *v, float *to) {
    for (int s = 0; s < DL_SLAB_COUNT; s++) {
        if (s == DL_SLAB_STATE || s == DL_SLAB_SCALAR)
            continue;
        memcpy(to, v->slab[s], sizeof(float) * (size_t)v->length[s]);
        to += (v->length[s] + 1023) / 1024 * 1024;
    }
}

/* One step; `begin` (or NULL) are the values it starts from, of an undivided run. */
static bool run_part(const char *optimizer, int part, int parts, const outcome *begin,
                     outcome *out) {
    const dl_field fields[] = {FLOATS("x", INPUTS), FLOATS("y", 1)};
    float x[BATCH * INPUTS], y[BATCH] = {1, -2, 0.5f, 3};
    for (int i = 0; i < BATCH * INPUTS; i++)
        x[i] = (float)(i * 37 % 101) / 50 - 1;
    model m;
    bool good = CHECK_OK(model_try(&m, text, fields, 2, optimizer));
    dl_variables *v = good ? dl_network_variables(m.network) : NULL;
    size_t bytes = 0;
    if (good) {
        dl_variables_divide(v, part, 2); /* for the size alone, where parts are 1 */
        bytes = dl_variables_common_bytes(v);
        dl_variables_divide(v, part, parts);
        out->floats = (int64_t)(bytes / sizeof(float));
        out->before = calloc(1, bytes);
        out->after = calloc(1, bytes);
    }
    float *memory = calloc(1, bytes + 1);
    dl_comm_table counting = {0};
    if (good && parts > 1)
        dl_variables_lend(v, memory);
    good = good && CHECK_OK(dl_network_allocate(m.network)) &&
           CHECK_OK(dl_network_initialize(m.network, 1));
    if (good && begin)
        memcpy(memory, begin->before, bytes);
    if (good) {
        counting = *m.comm->table;
        counting.barrier = count_barrier;
        m.comm->table = &counting;
    }
    dl_exec *exec = good ? model_exec(&m, MODEL_STEP, BATCH) : NULL;
    if (exec) {
        keep(v, out->before);
        model_bind(exec, "x", x);
        model_bind(exec, "y", y);
        barriers = 0;
        good = model_step(&m, exec, BATCH, 1, 0.1f, NULL);
        keep(v, out->after);
    }
    dl_exec_close(exec);
    model_close(&m);
    free(memory);
    return good && exec;
}

static void check_divided(const char *optimizer, int meetings) {
    outcome whole = {0}, half[2] = {{0}, {0}};
    bool good = run_part(optimizer, 0, 1, NULL, &whole);
    for (int p = 0; p < 2 && good; p++) {
        good = run_part(optimizer, p, 2, &whole, &half[p]);
        if (barriers != meetings)
            printf("%s: part %d met %d times, not %d\n", optimizer, p, barriers, meetings);
        CU_ASSERT_EQUAL(barriers, meetings);
    }
    int64_t wrote[2] = {0}, both = 0, wrong = 0;
    for (int64_t i = 0; good && i < whole.floats; i++) {
        bool moved[2];
        uint32_t was, is, want;
        memcpy(&was, &whole.before[i], sizeof was);
        memcpy(&want, &whole.after[i], sizeof want);
        for (int p = 0; p < 2; p++) {
            memcpy(&is, &half[p].after[i], sizeof is);
            moved[p] = is != was;
            wrote[p] += moved[p];
            wrong += moved[p] && is != want;
        }
        both += moved[0] && moved[1];
        wrong += want != was && !moved[0] && !moved[1];
    }
    if (good && (both || wrong || !wrote[0] || !wrote[1]))
        printf("%s: %lld and %lld written, %lld by both, %lld wrong\n", optimizer,
               (long long)wrote[0], (long long)wrote[1], (long long)both, (long long)wrong);
    CU_ASSERT(good && both == 0 && wrong == 0 && wrote[0] > 0 && wrote[1] > 0);
    outcome_free(&whole);
    outcome_free(&half[0]);
    outcome_free(&half[1]);
}

/* A norm needs whole weights or gradients: each rank takes it alone, before any weight moves. The
 * formulas of one tensor after another read nothing that others write. */
static void test_optimizers(void) {
    check_divided("optimizer=sgd", 1);
    check_divided("optimizer={sgd: {momentum: 0.9, nesterov: true}}", 1);
    check_divided("optimizer={adam: {weight_decay: 0.01}}", 1);
    check_divided("optimizer={adagrad: {initial_accumulator_value: 0.1}}", 1);
    check_divided("optimizer={sgd: {clipvalue: 0.01}}", 1);
    check_divided("optimizer={sgd: {global_clipnorm: 0.5}}", 2);
    check_divided("optimizer={sgd: {clipnorm: 0.5}}", 2);
}

/* Norms of the tensors themselves (LARS): read by all before one is written. */
static void test_expression(void) {
    check_divided("optimizer={expr: {update: \"w + v\", state: {v: \"0.9 * v - learning_rate * g * "
                  "sqrt(sum(square(w)) / (sum(square(g)) + 1e-9))\"}}}",
                  2);
}

static void test_parts(void) {
    for (int64_t count = 0; count < 5000; count += 613)
        for (int parts = 1; parts <= 5; parts++) {
            int64_t end = 0;
            for (int p = 0; p < parts; p++) {
                int64_t first, last;
                dl_part_range(count, p, parts, &first, &last);
                CU_ASSERT(first == (end < count ? end : first) && last >= first && last <= count);
                CU_ASSERT(first % 1024 == 0);
                end = last;
            }
            CU_ASSERT_EQUAL(end, count);
        }
}

void suite_divide(void) {
    CU_pSuite suite = CU_add_suite("divide", NULL, NULL);
    CU_ADD_TEST(suite, test_parts);
    CU_ADD_TEST(suite, test_optimizers);
    CU_ADD_TEST(suite, test_expression);
}
