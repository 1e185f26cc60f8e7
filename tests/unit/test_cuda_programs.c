/* Whole programs on CUDA, on the host that plays the GPU (shim.h): training steps give the CPU's
 * losses and weights within what sums in another order explain; recorded steps, played, have the
 * bits of steps that are enqueued one by one; the memory plan changes no bit, nor does the order in
 * which streams get on, unless a wait between them is left out. */
#include <CUnit/Basic.h>
#include <float.h>
#include <stdio.h>
#include <string.h>

#include "comm/single.h"
#include "launcher/job.h"
#include "models/loss_scale.h"
#include "ops/ops.h"
#include "runtime/exec/resident.h"
#include "runtime/expr/math.h"
#include "tests/unit/check.h"
#include "tests/unit/model.h"
#include "tests/unit/op_values.h"
#include "tests/unit/shim.h"

enum { BATCH = 12, SIDE = 8, CLASSES = 3, STEPS = 4, MOST = 4096 };
static const float rate = 0.1f;

static const char job[] = "model:\n"
                          "  - conv2d: {filters: 4, kernel_size: 3, activation: relu}\n"
                          "  - max_pooling2d: 2\n"
                          "  - batch_normalization\n"
                          "  - flatten\n"
                          "  - dropout: 0.25\n"
                          "  - dense: {units: 9, activation: tanh}\n"
                          "  - dense: {units: 3, activation: softmax}\n"
                          "loss: sparse_categorical_crossentropy\n"
                          "optimizer: {sgd: {momentum: 0.9}}\n"
                          "metrics: [accuracy]\n"
                          "comm: {first_bucket: 1 KiB, bucket: 1 KiB}\n";

/* Its products' gradients are fused on a device. */
static const char dense[] = "model:\n"
                            "  - flatten\n"
                            "  - dense: {units: 20, activation: relu}\n"
                            "  - dense: {units: 13, activation: relu}\n"
                            "  - dense: {units: 3, activation: softmax}\n"
                            "loss: sparse_categorical_crossentropy\n"
                            "optimizer: {sgd: {momentum: 0.9}}\n"
                            "metrics: [accuracy]\n";

typedef struct outcome {
    double loss[STEPS];
    float weights[MOST], state[MOST]; /* parameters; what else the optimizer and layers keep */
    int64_t count, states;
} outcome;

typedef struct setting {
    dl_device *device; /* NULL: the CPU */
    dl_memory_mode memory;
    int leaves;
    bool anew; /* a program of its own for each step: nothing is ever recorded */
    const char *precision;
    const char *job;
    float scale; /* of a loss in fp16 when it begins; 0: as it is */
} setting;

static dl_exec *open_step(model *m, const setting *how, dl_resident *resident) {
    dl_exec_options options = model_step_options(m, resident, how->leaves);
    options.memory = how->memory;
    return model_open_exec(&options, BATCH);
}

static void keep(const dl_variables *v, outcome *out) {
    out->count = v->length[DL_SLAB_PARAMETER];
    CU_ASSERT_FATAL(out->count <= MOST);
    memcpy(out->weights, v->slab[DL_SLAB_PARAMETER], sizeof(float) * (size_t)out->count);
    for (int i = 0; i < DL_SLAB_COUNT; i++) {
        if (i == DL_SLAB_PARAMETER)
            continue;
        CU_ASSERT_FATAL(out->states + v->length[i] <= MOST);
        memcpy(out->state + out->states, v->slab[i], sizeof(float) * (size_t)v->length[i]);
        out->states += v->length[i];
    }
}

/* What the device keeps of the parameters in half is what they are now, rounded. */
static void check_half(const dl_resident *resident) {
    const dl_variables *v = resident ? resident->variables : NULL;
    if (!v || !dl_is_half(v->half))
        return;
    static uint16_t half[MOST];
    int64_t count = v->length[DL_SLAB_PARAMETER];
    const dl_device_table *table = resident->device->table;
    CHECK_OK(table->copy(resident->device, half, resident->slab[DL_SLAB_HALF],
                         sizeof *half * (size_t)count));
    CHECK_OK(table->wait(resident->device));
    int wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        float w = v->slab[DL_SLAB_PARAMETER][i];
        wrong += half[i] != (v->half == DL_BF16 ? dl_m_to_bf16(w) : dl_m_to_f16(w));
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

static bool train(const setting *how, outcome *out) {
    static float x[BATCH * SIDE * SIDE];
    static int32_t y[BATCH];
    const dl_field fields[] = {FLOATS("x", SIDE, SIDE, 1),
                               {.name = "y", .type = {.dtype = DL_I32}}};
    model m;
    dl_resident *resident = NULL;
    dl_exec *exec = NULL;
    memset(out, 0, sizeof *out);
    char text[sizeof job + 32];
    snprintf(text, sizeof text, "precision: %s\n%s", how->precision, how->job);
    bool going = model_open(&m, text, fields, 2);
    if (going && how->scale > 0) {
        const dl_variables *v = dl_network_variables(m.network);
        v->slab[DL_SLAB_SCALAR][v->length[DL_SLAB_SCALAR] - DL_LOSS_SCALE_STATES] = how->scale;
    }
    if (going && how->device)
        going = CHECK_OK(dl_resident_open(&resident, how->device, dl_network_variables(m.network)));
    for (int step = 1; step <= STEPS && going; step++) {
        double metrics[8] = {0};
        for (int i = 0; i < DL_COUNT(x); i++)
            x[i] = dl_unit_float(dl_random_word(7, (uint32_t)step, 0, 0, (uint32_t)i));
        for (int i = 0; i < BATCH; i++)
            y[i] = (i + step) % CLASSES;
        if (!exec)
            exec = open_step(&m, how, resident);
        going = exec != NULL;
        if (going) {
            model_bind(exec, "x", x);
            model_bind(exec, "y", y);
            going = model_step(&m, exec, BATCH, step, rate, metrics);
        }
        out->loss[step - 1] = metrics[0];
        if (how->anew) {
            dl_exec_close(exec);
            exec = NULL;
        }
    }
    going = going && CHECK_OK(dl_resident_fetch(resident));
    if (going) {
        keep(dl_network_variables(m.network), out);
        check_half(resident);
    }
    dl_exec_close(exec);
    dl_resident_close(resident);
    model_close(&m);
    return going;
}

static void compare_bits(const outcome *got, const outcome *want) {
    CHECK_CLOSE_DOUBLE(got->loss, want->loss, STEPS, 0, 0);
    CHECK_BITS(got->weights, want->weights, want->count);
    CHECK_BITS(got->state, want->state, want->states);
}

/* A gradient comes through LAYERS results that are each off by `rounding`, and with momentum 0.9
 * what STEPS steps add to a weight is at most 9.1 gradients, of at most 1 here, times the rate. */
enum { LAYERS = 8 };

static void compare_close(const outcome *got, const outcome *want, double rounding) {
    const double relative = LAYERS * rounding, within = 9.1 * relative;
    CU_ASSERT_EQUAL(got->count, want->count);
    CHECK_CLOSE_DOUBLE(got->loss, want->loss, STEPS, 0, relative);
    CHECK_CLOSE(got->weights, want->weights, want->count, (double)rate * within, 0);
    CHECK_CLOSE(got->state, want->state, want->states, within, 0);
}

/* Sums in another order differ by about the root of their terms times epsilon of what they add up.
 */
static const double of_sums = 20.8 /* of BATCH * 36 */ * (double)FLT_EPSILON;

static void compare_all(const char *text, dl_device *shim, int leaves) {
    static outcome cpu, device, other;
    const setting on_cpu = {NULL, DL_MEMORY_PLANNED, leaves, false, "fp32", text, 0};
    const setting played = {shim, DL_MEMORY_PLANNED, leaves, false, "fp32", text, 0};
    const setting others[] = {{shim, DL_MEMORY_PLANNED, leaves, true, "fp32", text, 0},
                              {shim, DL_MEMORY_POISONED, leaves, false, "fp32", text, 0},
                              {shim, DL_MEMORY_OFF, leaves, false, "fp32", text, 0}};
    if (!train(&on_cpu, &cpu) || !train(&played, &device))
        return;
    CU_ASSERT(cpu.loss[0] > 0.5 && cpu.count > 100);
    CU_ASSERT_EQUAL(device.states, cpu.states);
    compare_close(&device, &cpu, of_sums);
    for (int i = 0; i < DL_COUNT(others); i++)
        if (train(&others[i], &other))
            compare_bits(&other, &device);
}

static void test_training(void) {
    dl_device *shim = shim_open("cuda_programs, training");
    for (int leaves = 1; leaves <= 5 && shim; leaves += 4) {
        compare_all(job, shim, leaves);
        compare_all(dense, shim, leaves);
    }
    dl_device_close(shim);
}

/* A mask that is made from a result is that which the gradient's product wants, and without one the
 * gradient stops at the same elements. */
static void test_epilogues(void) {
    static const int lacking[] = {SHIM_RELU_AND_MASK, SHIM_MASKED, SHIM_MASKED_AND_SUMMED,
                                  SHIM_SUMS_OF_A};
    static const char test[] = "cuda_programs, epilogues that are not there";
    bool going = true;
    for (int i = 0; i < DL_COUNT(lacking) && going; i++) {
        dl_device *shim = shim_open(test);
        shim_lack_fn lack = shim ? shim_lack_of(shim, test) : NULL;
        going = lack != NULL;
        if (going) {
            lack(lacking[i]);
            compare_all(dense, shim, 2);
            CU_ASSERT(lack(0) > 0);
        }
        dl_device_close(shim);
    }
}

/* ---- streams ---- */

typedef struct trained {
    const setting *how;
    const outcome *outcome;
} trained;

static bool trains_same(const void *argument) {
    static outcome got;
    const trained *want = argument;
    return train(want->how, &got) && memcmp(&got, want->outcome, sizeof got) == 0;
}

/* A device that sums with others', here with none, does so in a stream of its own. */
static void test_streams(void) {
    static outcome alone, device;
    dl_comm *comm = NULL;
    static const char test[] = "cuda_programs, streams";
    shim_streams streams;
    dl_device *shim = shim_open(test);
    bool going = shim && shim_streams_of(shim, test, &streams);
    const int leaves[] = {2, 5}; /* of one, the sum would be that leaf */
    for (int i = 0; i < DL_COUNT(leaves) && going; i++) {
        const setting how = {shim, DL_MEMORY_PLANNED, leaves[i], false, "fp32", job, 0};
        const trained want = {&how, &alone};
        shim->joined = false;
        CU_ASSERT_FATAL(train(&how, &alone));
        CU_ASSERT(!shim_goes_wrong(&streams, 0, trains_same, &want));
        if (!comm && CHECK_OK(dl_single_open(&comm)))
            CHECK_OK(shim->table->join(shim, comm));
        shim->joined = true;
        long before = streams.waits();
        CU_ASSERT_FATAL(train(&how, &device));
        long all = streams.waits() - before;
        compare_bits(&device, &alone);
        /* Two buckets at least, there and back, enqueued and recorded. */
        CU_ASSERT(all >= 2 * 2 * 2);
        CU_ASSERT(!shim_goes_wrong(&streams, 0, trains_same, &want));
        for (long n = 1; n <= all; n++)
            CU_ASSERT(shim_goes_wrong(&streams, n, trains_same, &want));
    }
    dl_device_close(shim);
    dl_comm_close(comm);
}

/* Of fp32 on the CPU a program in half is as far as its roundings explain. Its parameters' rounded
 * copies are made as the update runs, or copied where it may not write in place; so, too, where a
 * scale that is too large has the convnet skip steps. */
static void test_half(void) {
    static outcome cpu, device, other;
    dl_device *shim = shim_open("cuda_programs, half");
    for (int i = 0; i < 4 && shim; i++) {
        bool fp16 = i / 2;
        const char *precision = fp16 ? "fp16" : "bf16", *text = i % 2 ? dense : job;
        const setting on_cpu = {NULL, DL_MEMORY_PLANNED, 1, false, "fp32", text, 0};
        setting how = {shim, DL_MEMORY_PLANNED, 1, false, precision, text, fp16 ? 256 : 0};
        if (!train(&on_cpu, &cpu) || !train(&how, &device))
            break;
        CU_ASSERT_EQUAL(device.states, cpu.states + (fp16 ? DL_LOSS_SCALE_STATES : 0));
        compare_close(&device, &cpu, op_values_unit(fp16 ? DL_F16 : DL_BF16));
        how.scale = fp16 ? 0x1p17f : 0;
        if (!train(&how, &device))
            break;
        float skipped = device.state[device.states - 1];
        CU_ASSERT(!fp16 || text != job || (skipped > 0 && skipped < STEPS));
        for (int way = 0; way < 3; way++) {
            how.memory = (dl_memory_mode)way;
            how.anew = way == 0;
            if (train(&how, &other))
                compare_bits(&other, &device);
        }
    }
    dl_device_close(shim);
}

void suite_cuda_programs(void);
void suite_cuda_programs(void) {
    CU_pSuite suite = CU_add_suite("cuda_programs", NULL, NULL);
    CU_add_test(suite, "training is the CPU's; played, poisoned, planned: the same bits",
                test_training);
    CU_add_test(suite, "products whose epilogues cuBLASLt does not have", test_epilogues);
    CU_add_test(suite, "streams in any order: the same bits; with a wait less: not", test_streams);
    CU_add_test(suite, "half: the copies follow the parameters", test_half);
}
