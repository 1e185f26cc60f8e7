/* Large values made again rather than kept (runtime/exec/recompute.c): the same bits, dropout and
 * statistics over the whole batch included, on the CPU and on the host that plays the GPU; less
 * memory, no more bytes moved than are allowed, the same choice for any number of samples. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include "comm/single.h"
#include "ops/ops.h"
#include "runtime/exec/resident.h"
#include "tests/unit/check.h"
#include "tests/unit/model.h"
#include "tests/unit/shim.h"

enum { BATCH = 3, SIDE = 92, STEPS = 2, MOST = 2048 };

static const char job[] = "precision: %s\n"
                          "model:\n"
                          "  - conv2d: {filters: 16, kernel_size: 1, use_bias: false}\n"
                          "  - batch_normalization\n"
                          "  - activation: relu\n"
                          "  - dropout: 0.25\n"
                          "  - conv2d: {filters: 16, kernel_size: 1, use_bias: false}\n"
                          "  - batch_normalization\n"
                          "  - activation: tanh\n"
                          "  - conv2d: {filters: 16, kernel_size: 1}\n"
                          "  - global_average_pooling2d\n"
                          "  - dense: {units: 3, activation: softmax}\n"
                          "loss: sparse_categorical_crossentropy\n"
                          "optimizer: {sgd: {momentum: 0.9}}\n"
                          "metrics: [accuracy]\n";

typedef struct outcome {
    double loss[STEPS];
    float weights[MOST];
    int64_t count;
    uint64_t hash;
    dl_exec_report report;
} outcome;

typedef struct setting {
    dl_device *device; /* NULL: the CPU */
    const char *precision;
    dl_memory_mode memory;
    int leaves;
    double recompute;
} setting;

/* What holds the arena at the worst moment adds up, and is all that it takes. */
static void check_worst(const dl_exec *exec, const dl_exec_report *report) {
    dl_exec_worst worst;
    size_t held = 0;
    CHECK_OK(dl_exec_worst_moment(exec, &worst));
    for (int i = 0; i < worst.holders; i++) {
        CU_ASSERT(worst.holder[i].values > 0);
        CU_ASSERT(i == 0 || i == DL_EXEC_HOLDERS - 1 ||
                  worst.holder[i].bytes <= worst.holder[i - 1].bytes);
        held += worst.holder[i].bytes;
    }
    CU_ASSERT(held > 0);
    CU_ASSERT_EQUAL(held, worst.bytes);
    CU_ASSERT(worst.bytes <= report->activations);
    CU_ASSERT(report->activations < worst.bytes + worst.bytes / 20);
}

static bool run_steps(model *m, const setting *how, dl_resident *resident, outcome *out) {
    static float x[BATCH * SIDE * SIDE * 4];
    static const int32_t y[BATCH] = {1, 0, 2};
    dl_exec_options options = model_step_options(m, resident, how->leaves);
    options.recompute = how->recompute;
    options.memory = how->memory;
    dl_exec *exec = model_open_exec(&options, BATCH);
    bool going = exec != NULL;
    for (int i = 0; i < DL_COUNT(x); i++)
        x[i] = dl_unit_float(dl_random_word(7, 0, 0, 0, (uint32_t)i));
    for (int step = 1; step <= STEPS && going; step++) {
        double metrics[8] = {0};
        model_bind(exec, "x", x);
        model_bind(exec, "y", y);
        going = model_step(m, exec, BATCH, step, 0.1f, metrics);
        out->loss[step - 1] = metrics[0];
    }
    if (going) {
        dl_exec_describe(exec, &out->report);
        check_worst(exec, &out->report);
        out->hash = dl_exec_hash(exec);
        going = CHECK_OK(dl_resident_fetch(resident));
    }
    dl_exec_close(exec);
    return going;
}

static bool train(const setting *how, outcome *out) {
    const dl_field fields[] = {FLOATS("x", SIDE, SIDE, 4),
                               {.name = "y", .type = {.dtype = DL_I32}}};
    model m;
    dl_resident *resident = NULL;
    char text[sizeof job + 8];
    memset(out, 0, sizeof *out);
    snprintf(text, sizeof text, job, how->precision);
    bool going = model_open(&m, text, fields, 2);
    if (going && how->device)
        going = CHECK_OK(dl_resident_open(&resident, how->device, dl_network_variables(m.network)));
    going = going && run_steps(&m, how, resident, out);
    if (going) {
        const dl_variables *v = dl_network_variables(m.network);
        out->count = v->length[DL_SLAB_PARAMETER];
        CU_ASSERT_FATAL(out->count <= MOST);
        memcpy(out->weights, v->slab[DL_SLAB_PARAMETER], sizeof(float) * (size_t)out->count);
    }
    dl_resident_close(resident);
    model_close(&m);
    return going;
}

/* Kept, and made again with the memory of dead values full of NaN. */
static void compare(dl_device *device, const char *precision, int leaves) {
    static outcome kept, again, none;
    setting how = {device, precision, DL_MEMORY_PLANNED, leaves, 0};
    bool going = train(&how, &kept);
    how.recompute = 1e-3; /* not a value's worth */
    going = going && train(&how, &none);
    how.recompute = 1;
    how.memory = DL_MEMORY_POISONED;
    if (!going || !train(&how, &again))
        return;
    CU_ASSERT(kept.loss[0] > 0.5 && kept.loss[STEPS - 1] != kept.loss[0]);
    CHECK_CLOSE_DOUBLE(again.loss, kept.loss, STEPS, 0, 0);
    CHECK_BITS(again.weights, kept.weights, kept.count);
    CU_ASSERT_EQUAL(none.hash, kept.hash);
    CU_ASSERT_EQUAL(none.report.activations, kept.report.activations);
    CU_ASSERT(again.report.nodes > kept.report.nodes);
    CU_ASSERT(again.report.activations < kept.report.activations * 9 / 10);
    CU_ASSERT(again.report.bytes > kept.report.bytes);
    CU_ASSERT(again.report.bytes < 2 * kept.report.bytes);
}

static void test_cpu(void) {
    compare(NULL, "fp32", 1);
    compare(NULL, "fp32", BATCH);
}

static void test_device(void) {
    dl_device *shim = shim_open("recompute, on a device");
    if (shim) {
        compare(shim, "fp32", BATCH);
        compare(shim, "fp16", 1);
    }
    dl_device_close(shim);
}

/* The variants of leaves of one and of two samples have the same nodes, or are refused. */
static void test_variants(void) {
    static outcome kept, again;
    setting how = {NULL, "fp32", DL_MEMORY_PLANNED, 2, 0};
    if (!train(&how, &kept))
        return;
    how.recompute = 1;
    if (train(&how, &again))
        CHECK_BITS(again.weights, kept.weights, kept.count);
}

void suite_recompute(void);
void suite_recompute(void) {
    CU_pSuite suite = CU_add_suite("recompute", NULL, NULL);
    CU_add_test(suite, "the same bits in less memory", test_cpu);
    CU_add_test(suite, "on a device", test_device);
    CU_add_test(suite, "for any number of samples", test_variants);
}
