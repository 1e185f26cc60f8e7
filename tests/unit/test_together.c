/* Several runs in one launch (runtime/exec/together.h), on the host that plays the GPU: the bits of
 * each step are those of steps that go alone, whatever cuts the launches short, and wherever the
 * samples are; a fault is told of the step that has it. */
#include <CUnit/Basic.h>
#include <string.h>

#include "ops/ops.h"
#include "runtime/exec/exec.h"
#include "runtime/exec/together.h"
#include "tests/unit/check.h"
#include "tests/unit/model.h"
#include "tests/unit/shim.h"

enum {
    BATCH = 6,
    LAST = 4,
    SIDE = 4,
    CLASSES = 3,
    STEPS = 23,
    EPOCH = 9,
    TABLE = 40,
    MOST = 1024,
    LARGE = 50000
};

static const char job[] = "model:\n"
                          "  - flatten\n"
                          "  - dropout: 0.25\n"
                          "  - dense: {units: 7, activation: tanh}\n"
                          "  - batch_normalization\n"
                          "  - dense: {units: 3, activation: softmax}\n"
                          "loss: sparse_categorical_crossentropy\n"
                          "optimizer: {adam: {learning_rate: 0.01}}\n"
                          "metrics: [accuracy]\n";

/* Beside x a large input, of which the network sees the mean. */
static const char large_job[] = "model:\n"
                                "  - {flatten, inputs: x}\n"
                                "  - {dense: {units: 7, activation: tanh}, name: small}\n"
                                "  - {global_average_pooling1d, inputs: z, name: mean}\n"
                                "  - {concatenate, inputs: [small, mean]}\n"
                                "  - dense: {units: 3, activation: softmax}\n"
                                "loss: sparse_categorical_crossentropy\n"
                                "optimizer: {adam: {learning_rate: 0.01}}\n"
                                "metrics: [accuracy]\n";

static void test_numbers(void) {
    CU_ASSERT(!dl_goes_ahead(((size_t)1 << 20) - 1));
    CU_ASSERT(dl_goes_ahead((size_t)1 << 20));
    CU_ASSERT(BATCH * LARGE * sizeof(float) > (size_t)1 << 20);
    CU_ASSERT_EQUAL(dl_runs_together(1e-9, 100), 16);
    CU_ASSERT_EQUAL(dl_runs_together(1.25e-4, 100), 16);
    CU_ASSERT_EQUAL(dl_runs_together(1.26e-4, 100), 8);
    CU_ASSERT_EQUAL(dl_runs_together(4e-4, 100), 4);
    CU_ASSERT_EQUAL(dl_runs_together(6e-4, 100), 1);
    CU_ASSERT_EQUAL(dl_runs_together(1e-6, (size_t)1 << 20), 8);
    CU_ASSERT_EQUAL(dl_runs_together(1e-6, (size_t)3 << 20), 1);
    CU_ASSERT_EQUAL(dl_runs_together(1e-6, (size_t)1 << 40), 1);
    dl_run_work little = {.kernels = 10}, more = {.kernels = 10, .flop = 1e9}, most = more;
    most.bytes = 1e9;
    CU_ASSERT(dl_run_seconds(&little) > 0);
    CU_ASSERT(dl_run_seconds(&more) > dl_run_seconds(&little));
    CU_ASSERT(dl_run_seconds(&most) > dl_run_seconds(&more));
}

typedef struct plan {
    dl_device *device;
    int together;
    int bad;    /* step with a label out of range; 0: none */
    int pause;  /* after this step all runs are collected */
    bool rows;  /* x lies on the device, and so does y */
    bool large; /* z, too, which goes ahead of its step */
} plan;

static float table_x[TABLE * SIDE * SIDE];
static float table_z[TABLE * LARGE];
static int32_t table_y[TABLE];

typedef struct outcome {
    float sums[STEPS][8], weights[MOST];
    int64_t samples[STEPS], count;
    int collected;
    dl_status status;
} outcome;

typedef struct trainer {
    model m;
    dl_resident *resident;
    dl_exec *exec;
    void *x, *y, *z; /* on the device */
} trainer;

static dl_status lend(trainer *t, const char *name, const void *table, size_t bytes, void **out) {
    dl_device *device = t->resident->device;
    DL_TRY(device->table->allocate(device, bytes, out));
    DL_TRY(device->table->copy(device, *out, table, bytes));
    dl_exec_lend_rows(t->exec, dl_exec_input(t->exec, name), *out);
    return DL_OK;
}

static bool open(trainer *t, const plan *how) {
    const dl_field fields[] = {FLOATS("x", SIDE, SIDE),
                               {.name = "y", .type = {.dtype = DL_I32}, .classes = CLASSES},
                               FLOATS("z", LARGE, 1)};
    memset(t, 0, sizeof *t);
    if (!model_open(&t->m, how->large ? large_job : job, fields, how->large ? 3 : 2) ||
        !CHECK_OK(dl_resident_open(&t->resident, how->device, dl_network_variables(t->m.network))))
        return false;
    dl_exec_options options = model_step_options(&t->m, t->resident, 2);
    options.steps_per_execution = how->together;
    return CHECK_OK(dl_exec_open(&t->exec, &options)) &&
           CHECK_OK(dl_exec_prepare(t->exec, BATCH)) && CHECK_OK(dl_exec_prepare(t->exec, LAST)) &&
           (!how->rows ||
            (CHECK_OK(lend(t, "x", table_x, sizeof table_x, &t->x)) &&
             CHECK_OK(lend(t, "y", table_y, sizeof table_y, &t->y)) &&
             (!how->large || CHECK_OK(lend(t, "z", table_z, sizeof table_z, &t->z))))) &&
           CHECK_OK(dl_exec_connect(t->exec));
}

static void shut(trainer *t) {
    dl_exec_close(t->exec);
    if (t->resident) {
        t->resident->device->table->release(t->resident->device, t->x);
        t->resident->device->table->release(t->resident->device, t->y);
        t->resident->device->table->release(t->resident->device, t->z);
    }
    dl_resident_close(t->resident);
    model_close(&t->m);
}

static dl_status collect(trainer *t, bool all, outcome *out) {
    int64_t batch;
    int output = dl_exec_output(t->exec, "metrics");
    for (;;) {
        DL_TRY(dl_exec_collect(t->exec, all, &batch));
        if (batch == 0)
            return DL_OK;
        int sums = dl_network_sum_count(t->m.network);
        memcpy(out->sums[out->collected], dl_exec_result(t->exec, output),
               sizeof(float) * (size_t)sums);
        CU_ASSERT_EQUAL(dl_exec_noticed(t->exec), (float)(out->collected + 1));
        out->samples[out->collected++] = batch;
    }
}

/* Every number that a step reads is gone when the next begins. */
static dl_status begin(trainer *t, const plan *how, int step) {
    static float x[BATCH * SIDE * SIDE], samples, rate, number;
    static int32_t y[BATCH];
    static uint32_t rows[BATCH];
    static float z[BATCH * LARGE];
    bool last = step % EPOCH == 0;
    samples = last ? LAST : BATCH;
    rate = 0.02f / (float)step;
    number = (float)step;
    for (int i = 0; i < BATCH; i++) {
        rows[i] = (uint32_t)(step * 11 + i * 7) % TABLE;
        memcpy(x + i * SIDE * SIDE, table_x + rows[i] * SIDE * SIDE, sizeof *x * SIDE * SIDE);
        y[i] = step == how->bad && i == 1 ? 77 : table_y[rows[i]];
    }
    model_bind(t->exec, "x", how->rows ? NULL : x);
    model_bind(t->exec, "y", how->rows ? NULL : y);
    for (int i = 0; i < BATCH && how->large; i++)
        memcpy(z + i * LARGE, table_z + rows[i] * LARGE, sizeof *z * LARGE);
    model_bind(t->exec, "z", how->rows ? NULL : z);
    dl_exec_bind_rows(t->exec, rows);
    model_bind(t->exec, "samples", &samples);
    model_bind(t->exec, "learning_rate", &rate);
    model_bind(t->exec, "step", &number);
    dl_exec_notice(t->exec, number);
    dl_random random = {.seed = 1, .step = (uint32_t)step};
    return dl_exec_begin(t->exec, last ? LAST : BATCH, &random);
}

static dl_status steps(trainer *t, const plan *how, outcome *out) {
    for (int step = 1; step <= STEPS; step++) {
        DL_TRY(begin(t, how, step));
        if (step == 2) /* the first went alone, as nothing was recorded */
            CU_ASSERT_EQUAL(t->resident->held, how->together == 1 ? 0 : 1);
        DL_TRY(collect(t, step == how->pause || step % EPOCH == 0 || step == STEPS, out));
        CU_ASSERT_EQUAL(dl_exec_under_way(t->exec), step - out->collected);
    }
    return dl_resident_fetch(t->resident);
}

static void train(const plan *how, outcome *out) {
    trainer t;
    memset(out, 0, sizeof *out);
    out->status = DL_INTERNAL;
    if (open(&t, how)) {
        out->status = steps(&t, how, out);
        const dl_variables *v = dl_network_variables(t.m.network);
        out->count = v->length[DL_SLAB_PARAMETER];
        CU_ASSERT_FATAL(out->count <= MOST);
        memcpy(out->weights, v->slab[DL_SLAB_PARAMETER], sizeof(float) * (size_t)out->count);
    }
    shut(&t);
}

static void test_bits(void) {
    static outcome alone, got;
    dl_device *shim = shim_open("together");
    if (!shim)
        return;
    train(&(plan){.device = shim, .together = 1}, &alone);
    CU_ASSERT_EQUAL(alone.status, DL_OK);
    CU_ASSERT_EQUAL(alone.collected, STEPS);
    CU_ASSERT_EQUAL(alone.samples[EPOCH - 1], LAST);
    CU_ASSERT(memcmp(alone.sums[0], alone.sums[1], sizeof alone.sums[0]) != 0);
    const int together[] = {2, 3, 5, 8, 16, 0};
    for (int i = 0; i < DL_COUNT(together); i++)
        for (int pause = 3; pause <= 7; pause += 2) {
            train(&(plan){shim, together[i], .pause = pause, .rows = pause == 5}, &got);
            CU_ASSERT_EQUAL(got.status, DL_OK);
            CU_ASSERT_EQUAL(got.collected, STEPS);
            CU_ASSERT_EQUAL(memcmp(got.samples, alone.samples, sizeof got.samples), 0);
            CHECK_BITS(&got.sums[0][0], &alone.sums[0][0], STEPS * 8);
            CHECK_BITS(got.weights, alone.weights, got.count);
        }
    dl_device_close(shim);
}

typedef struct trained {
    plan how;
    const outcome *outcome;
} trained;

static bool trains_same(const void *argument) {
    static outcome got;
    const trained *want = argument;
    train(&want->how, &got);
    return got.status == DL_OK && memcmp(got.sums, want->outcome->sums, sizeof got.sums) == 0;
}

/* What goes ahead comes to its step and no other: as if it lay on the device. Each launch waits
 * twice, from the third on for what the one before the last has read. */
static void test_ahead(void) {
    static outcome there, got;
    shim_streams streams;
    dl_device *shim = shim_open("together, ahead");
    if (!shim)
        return;
    train(&(plan){shim, 1, .large = true, .rows = true}, &there);
    CU_ASSERT_EQUAL(there.status, DL_OK);
    for (int together = 1; together <= 3; together++) {
        train(&(plan){shim, together, .large = true}, &got);
        CU_ASSERT_EQUAL(got.status, DL_OK);
        CHECK_BITS(&got.sums[0][0], &there.sums[0][0], STEPS * 8);
        CHECK_BITS(got.weights, there.weights, got.count);
    }
    const trained ahead = {{shim, 1, .large = true}, &there};
    if (shim_streams_of(shim, "together, ahead in any order of streams", &streams)) {
        CU_ASSERT(!shim_goes_wrong(&streams, 0, trains_same, &ahead));
        for (long wait = 5; wait <= 8; wait++)
            CU_ASSERT(shim_goes_wrong(&streams, wait, trains_same, &ahead));
    }
    dl_device_close(shim);
}

/* The steps before it are counted, in a launch of several too. */
static void test_fault(void) {
    static outcome got;
    dl_device *shim = shim_open("together, faults");
    for (int bad = 1; bad <= 8 && shim; bad++)
        for (int together = 1; together <= 4; together++) {
            train(&(plan){.device = shim, .together = together, .bad = bad}, &got);
            CHECK_FAILS(got.status, DL_BAD_JOB, "label 77 is outside 0..2");
            CU_ASSERT_EQUAL(got.collected, bad - 1);
        }
    dl_device_close(shim);
}

/* What is begun and not launched is not lost from sight. */
static void test_held(void) {
    static outcome got;
    dl_device *shim = shim_open("together, held runs");
    if (!shim)
        return;
    plan how = {.device = shim, .together = 4};
    trainer t;
    if (open(&t, &how)) {
        CHECK_OK(begin(&t, &how, 1));
        CHECK_OK(begin(&t, &how, 2));
        CHECK_FAILS(dl_resident_fetch(t.resident), DL_INTERNAL, "before all runs are collected");
        dl_fail(DL_NO_INPUT, "the file ends early");
        dl_exec_refuse(t.exec, DL_NO_INPUT);
        CHECK_FAILS(begin(&t, &how, 3), DL_NO_INPUT, "the file ends early");
        CHECK_OK(begin(&t, &how, 3)); /* takes the place of the one refused */
        CHECK_OK(collect(&t, true, &got));
        CU_ASSERT_EQUAL(got.collected, 3);
        CHECK_OK(dl_resident_fetch(t.resident));
        CHECK_OK(begin(&t, &how, 4)); /* closing with a run held */
    }
    shut(&t);
    dl_device_close(shim);
}

void suite_together(void);
void suite_together(void) {
    for (uint32_t i = 0; i < DL_COUNT(table_x); i++)
        table_x[i] = dl_unit_float(dl_random_word(7, 0, 0, 0, i));
    for (int i = 0; i < TABLE * LARGE; i++)
        table_z[i] = (float)(i / LARGE) / TABLE;
    for (int i = 0; i < TABLE; i++)
        table_y[i] = i % CLASSES;
    CU_pSuite suite = CU_add_suite("together", NULL, NULL);
    CU_add_test(suite, "how many runs make a launch", test_numbers);
    CU_add_test(suite, "launches of several steps have the bits of single steps", test_bits);
    CU_add_test(suite, "large inputs go ahead", test_ahead);
    CU_add_test(suite, "a fault is the fault of its step", test_fault);
    CU_add_test(suite, "runs that are held", test_held);
}
