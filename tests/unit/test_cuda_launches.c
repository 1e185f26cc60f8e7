/* How many kernels a training step launches on a device, counted by the host that plays the GPU: a
 * launch costs a tiny network more than its arithmetic. Where a number here falls, write it
 * down; before it rises, see whether a row or a fusion (ops/fusions.h) can do the work on its way.
 */
#include <CUnit/Basic.h>
#include <stdio.h>

#include "ops/ops.h"
#include "tests/unit/check.h"
#include "tests/unit/model.h"
#include "tests/unit/shim.h"

enum { BATCH = 8, WIDTH = 24, CLASSES = 10 };

/* jobs/mnist-mlp.yaml, smaller; gradients come in two buckets there, too. */
#define MLP                                         \
    "model:\n"                                      \
    "  - dense: {units: 16, activation: relu}\n"    \
    "  - dense: {units: 10, activation: softmax}\n" \
    "loss: categorical_crossentropy\n"              \
    "metrics: [accuracy]\n"                         \
    "comm: {first_bucket: 1 KiB}\n"
#define DEEP                                        \
    "model:\n"                                      \
    "  - dense: {units: 16, activation: relu}\n"    \
    "  - dense: {units: 16, activation: relu}\n"    \
    "  - dense: {units: 16, activation: relu}\n"    \
    "  - dense: {units: 16, activation: relu}\n"    \
    "  - dense: {units: 10, activation: softmax}\n" \
    "loss: categorical_crossentropy\n"              \
    "comm: {first_bucket: 1 KiB, bucket: 1 KiB}\n"

static long (*launches)(void);

/* Of the second step, which is recorded. */
static long of_step(dl_device *device, const char *job) {
    static float x[BATCH * WIDTH], y[BATCH * CLASSES];
    const dl_field fields[] = {FLOATS("x", WIDTH), FLOATS("y", CLASSES)};
    model m;
    dl_resident *resident = NULL;
    dl_exec *exec = NULL;
    long before = 0;
    for (int i = 0; i < BATCH; i++)
        y[i * CLASSES + i] = 1;
    bool going = model_open(&m, job, fields, 2) &&
                 CHECK_OK(dl_resident_open(&resident, device, dl_network_variables(m.network)));
    if (going) {
        dl_exec_options options = model_step_options(&m, resident, 1);
        exec = model_open_exec(&options, BATCH);
        going = exec != NULL;
    }
    for (int step = 1; step <= 2 && going; step++) {
        double metrics[8] = {0};
        model_bind(exec, "x", x);
        model_bind(exec, "y", y);
        before = launches();
        going = model_step(&m, exec, BATCH, step, 0.01f, metrics);
    }
    long count = going ? launches() - before : -1;
    dl_exec_close(exec);
    dl_resident_close(resident);
    model_close(&m);
    return count;
}

/* Under fp16 nine more than the MLP's 12: samples and the loss's gradient are rounded (2), each of
 * two buckets is looked through for what is not finite (2), and both answers are taken together,
 * the scale's inverse and its move computed (3); a bias's gradient beside a half gradient is summed
 * by kernels of our own (2), as cuBLASLt would round it. */
static const struct {
    const char *name, *job;
    long launches;
} steps[] = {
    {"MLP", MLP "optimizer: rmsprop\n", 12},
    {"MLP, fp16", "precision: fp16\n" MLP "optimizer: rmsprop\n", 21},
    {"five layers", DEEP "optimizer: adam\n", 19},
    {"five layers, of which weights decay, bf16",
     "precision: bf16\n" DEEP
     "optimizer: {adamw: {weight_decay: 0.01, exclude_from_weight_decay: [bias]}}\n",
     30},
    {"five layers, an optimizer of the job's own",
     DEEP "optimizer: {expr: {state: {v: \"0.9 * v - learning_rate * g\"}, update: \"w + v\"}}\n",
     18},
};

static void test_steps(void) {
    dl_device *device = shim_open("cuda_launches");
    bool counts = device && shim_find(device, "shim_launches", "cuda_launches", &launches);
    for (int i = 0; i < DL_COUNT(steps) && counts; i++) {
        long count = of_step(device, steps[i].job);
        if (count != steps[i].launches)
            fprintf(stderr, "\n  %s: %ld launches a step, not %ld", steps[i].name, count,
                    steps[i].launches);
        CU_ASSERT_EQUAL(count, steps[i].launches);
    }
    dl_device_close(device);
}

void suite_cuda_launches(void);
void suite_cuda_launches(void) {
    CU_pSuite suite = CU_add_suite("cuda_launches", NULL, NULL);
    CU_add_test(suite, "kernels of a training step", test_steps);
}
