/* Programs of a network: weighted sums of losses and metrics, frozen weights, shards, batch
 * statistics, random layers. Numbers are worked by hand; what Keras computes is compared in
 * test_reference.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/model.h"

#define LABELS(array, count, ...) \
    { .name = (array), .type = {.dtype = DL_I32, .rank = 0}, .classes = (count), __VA_ARGS__ }

/* Metrics of an evaluation or, with `step`, of a step that has nothing to train. */
static bool metrics_of(const char *yaml, const dl_field *fields, int count, const void *const *data,
                       int64_t batch, bool step, double *metrics) {
    model m;
    bool good = model_open(&m, yaml, fields, count);
    dl_exec *exec = good ? model_exec(&m, step ? MODEL_STEP : MODEL_EVALUATION, batch) : NULL;
    if (exec) {
        for (int i = 0; i < count; i++)
            model_bind(exec, fields[i].name, data[i]);
        good = step ? model_step(&m, exec, batch, 1, 0.1f, metrics)
                    : model_evaluate(&m, exec, batch, metrics);
    }
    dl_exec_close(exec);
    model_close(&m);
    return good && exec;
}

/* loss = sum of weight * error over the number of samples; class weights count in training alone.
 */
static void test_weights(void) {
    const dl_field fields[] = {FLOATS("x", 1), FLOATS("y", 1), FLOATS("w", 1)};
    const float x[] = {1, 2, 3, 5}, y[] = {0, 1, 1, 0}, w[] = {1, 2, 0.5f, 0};
    const void *const data[] = {x, y, w};
    static const char yaml[] =
        "model:\n  - activation: linear\n"
        "loss: {mse: {sample_weight: w}}\noptimizer: sgd\n"
        "class_weight: {0: 10, 1: 3}\nmetrics: [mae, root_mean_squared_error]\n";
    double got[3];
    if (metrics_of(yaml, fields, 3, data, 4, false, got)) {
        double want[] = {(1 + 2 * 1 + 0.5 * 4) / 4, (1 + 1 + 2 + 5) / 4.0,
                         sqrt((1 + 1 + 4 + 25) / 4.0)};
        CHECK_CLOSE_DOUBLE(got, want, 3, 1e-6, 0);
    }
    if (metrics_of(yaml, fields, 3, data, 4, true, got)) {
        double want = (10 + 3 * 2 * 1 + 3 * 0.5 * 4) / 4;
        CHECK_CLOSE_DOUBLE(got, &want, 1, 1e-6, 0);
    }
}

/* By labels, balanced: n / (classes * count). */
static void test_class_weight(void) {
    const int64_t counts[] = {1, 2, 1};
    const dl_field fields[] = {FLOATS("x", 3), LABELS("y", 3, .class_count = counts)};
    const float x[] = {1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1};
    const int32_t y[] = {0, 1, 1, 2};
    const void *const data[] = {x, y};
    double got[2], want[2] = {0}, weight[] = {4.0 / 3, 2.0 / 3, 4.0 / 3};
    for (int i = 0; i < 4; i++) {
        double sum = 0;
        for (int k = 0; k < 3; k++)
            sum += exp((double)x[3 * i + k]);
        want[0] += weight[y[i]] * (log(sum) - (double)x[3 * i + y[i]]) / 4;
    }
    want[1] = 0.75; /* sample 1 is a tie, which goes to class 0 */
    if (metrics_of("model:\n  - activation: softmax\nloss: sparse_categorical_crossentropy\n"
                   "optimizer: sgd\nclass_weight: balanced\nmetrics: [accuracy]\n",
                   fields, 2, data, 4, true, got))
        CHECK_CLOSE_DOUBLE(got, want, 2, 1e-6, 0);
}

/* Terms are logged one by one and add up with their weights. */
static void test_terms(void) {
    const dl_field fields[] = {FLOATS("x", 1), FLOATS("y", 1)};
    const float x[] = {1, 2}, y[] = {0, 4};
    const void *const data[] = {x, y};
    model m;
    static const char yaml[] = "model:\n"
                               "  - {activation: linear, name: a}\n"
                               "  - {lambda: \"2 * x\", inputs: x, name: b}\n"
                               "loss: {a: mse, b: {mae: {target: 1}}}\n"
                               "loss_weights: {b: 0.5}\n"
                               "metrics: [mse, {mae, output: b, name: off}]\n";
    if (CHECK_OK(model_try(&m, yaml, fields, 2, NULL))) {
        static const char *const want[] = {"loss", "a_loss", "b_loss", "a_mse", "b_mse", "off"};
        CU_ASSERT_EQUAL_FATAL(dl_network_metric_count(m.network), 6);
        for (int i = 0; i < 6; i++)
            CU_ASSERT_STRING_EQUAL(dl_network_metric_name(m.network, i), want[i]);
        CU_ASSERT_EQUAL(dl_network_output_count(m.network), 2);
    }
    model_close(&m);
    double got[6], want[] = {2.5 + 0.5 * 2, 2.5, 2, 2.5, 5, 2};
    if (metrics_of(yaml, fields, 2, data, 2, false, got))
        CHECK_CLOSE_DOUBLE(got, want, 6, 1e-6, 0);
}

/* Keras's dispatch: one output is binary, labels are sparse, rows are categorical. */
static void test_accuracy(void) {
    const float one[] = {0.4f, 0.6f, 0.5f, 0.9f}, yes[] = {0, 1, 1, 0};
    const dl_field binary[] = {FLOATS("x", 1), FLOATS("y", 1)};
    double got[3];
    if (metrics_of("model: [{activation: linear}]\nloss: mse\nmetrics: [accuracy]\n", binary, 2,
                   (const void *[]){one, yes}, 4, false, got))
        CU_ASSERT_EQUAL(got[1], 0.5);
    const float rows[] = {1, 2, 3, 4, 3, 2, 1, 0, 0, 0, 5, 4},
                hot[] = {0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0};
    const int32_t number[] = {2, 0, 3};
    const dl_field sparse[] = {FLOATS("x", 4), LABELS("y", 4, .class_count = NULL)};
    const dl_field categorical[] = {FLOATS("x", 4), FLOATS("y", 4)};
    if (metrics_of("model: [{activation: linear}]\n"
                   "loss: {categorical_crossentropy: {from_logits: true}}\n"
                   "metrics: [accuracy, {top_k_categorical_accuracy: 2}]\n",
                   categorical, 2, (const void *[]){rows, hot}, 3, false, got)) {
        CHECK_CLOSE_DOUBLE(&got[1], (&(double){2.0 / 3}), 1, 1e-7, 0);
        CHECK_CLOSE_DOUBLE(&got[2], (&(double){1}), 1, 0, 0);
    }
    if (metrics_of("model: [{activation: linear}]\n"
                   "loss: {sparse_categorical_crossentropy: {from_logits: true}}\n"
                   "metrics: [accuracy, {sparse_top_k_categorical_accuracy: 2}]\n",
                   sparse, 2, (const void *[]){rows, number}, 3, false, got)) {
        CHECK_CLOSE_DOUBLE(&got[1], (&(double){1.0 / 3}), 1, 1e-7, 0);
        CHECK_CLOSE_DOUBLE(&got[2], (&(double){1}), 1, 0, 0);
    }
}

enum { BATCH = 10, WIDTH = 4 };

static void fill(float *data, int count, double phase) {
    for (int i = 0; i < count; i++)
        data[i] = (float)sin(1.3 * i + phase);
}

/* Runs steps and copies a slab; leaves as told. */
static bool train(const char *yaml, int leaves, dl_slab slab, float *out, int64_t room) {
    const dl_field fields[] = {FLOATS("x", WIDTH), FLOATS("y", 2)};
    float x[BATCH * WIDTH], y[BATCH * 2];
    model m;
    fill(x, BATCH * WIDTH, 0.1);
    fill(y, BATCH * 2, 0.7);
    bool good = model_open(&m, yaml, fields, 2);
    m.leaves = leaves;
    dl_exec *exec = good ? model_exec(&m, MODEL_STEP, BATCH) : NULL;
    if (exec) {
        model_bind(exec, "x", x);
        model_bind(exec, "y", y);
        for (int step = 1; step <= 3 && good; step++)
            good = model_step(&m, exec, BATCH, step, 0.1f, NULL);
        const dl_variables *variables = dl_network_variables(m.network);
        CU_ASSERT_FATAL(variables->length[slab] <= room);
        memcpy(out, variables->slab[slab], sizeof(float) * (size_t)variables->length[slab]);
    }
    dl_exec_close(exec);
    model_close(&m);
    return good && exec;
}

/* Frozen layers keep their bits; the rest learns the same as without those layers' gradients. */
static void test_freeze(void) {
    static const char frozen[] = "model:\n"
                                 "  - dense: {units: 5, activation: tanh}\n"
                                 "  - batch_normalization\n"
                                 "  - {dense: 2, name: head}\n"
                                 "freeze: [\"*\", \"!head\"]\nloss: mse\noptimizer: sgd\n";
    const dl_field fields[] = {FLOATS("x", WIDTH), FLOATS("y", 2)};
    float after[128] = {0}, before[128] = {0};
    model m;
    if (!train(frozen, 1, DL_SLAB_STATE, after, 128))
        return;
    if (model_open(&m, frozen, fields, 2)) {
        const dl_variables *variables = dl_network_variables(m.network);
        memcpy(before, variables->slab[DL_SLAB_STATE],
               sizeof(float) * (size_t)variables->length[DL_SLAB_STATE]);
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, true), 12);
    }
    model_close(&m);
    CHECK_BITS(after, before, 128);
}

/* A layer used twice gets the sum of both gradients. */
static void test_shared_gradient(void) {
    static const char twice[] = "model:\n"
                                "  - {dense: 2, name: reader}\n"
                                "  - {call: reader, inputs: x, name: again}\n"
                                "  - {add, inputs: [reader, again]}\n"
                                "loss: mse\noptimizer: sgd\n";
    static const char doubled[] = "model:\n"
                                  "  - {dense: 2, name: reader}\n"
                                  "  - lambda: \"2 * x\"\n"
                                  "loss: mse\noptimizer: sgd\n";
    float a[32] = {0}, b[32] = {0};
    if (train(twice, 1, DL_SLAB_PARAMETER, a, 32) && train(doubled, 1, DL_SLAB_PARAMETER, b, 32))
        CHECK_CLOSE(a, b, 32, 1e-6, 0);
}

/* What no loss reads stays as it is, and a warning says so; its neighbours on the slab move. */
static void test_unmoved(void) {
    static const char yaml[] = "model:\n"
                               "  - {dense: 2, name: used}\n"
                               "  - {dense: 3, inputs: x, name: idle}\n"
                               "  - {dense: 2, inputs: used, name: end}\n"
                               "loss: {mse: {output: end}}\noptimizer: sgd\n";
    const dl_field fields[] = {FLOATS("x", WIDTH), FLOATS("y", 2)};
    float after[128] = {0};
    model m;
    if (!train(yaml, 1, DL_SLAB_PARAMETER, after, 128))
        return;
    if (model_open(&m, yaml, fields, 2)) {
        dl_variables *variables = dl_network_variables(m.network);
        dl_exec_close(model_exec(&m, MODEL_STEP, BATCH));
        CU_ASSERT_EQUAL(dl_network_warning_count(m.network), 2);
        for (int i = 0; i < variables->count; i++) {
            const dl_variable *v = variables->list[i];
            bool moved = memcmp(after + v->offset, dl_variable_data(variables, v),
                                dl_type_bytes(&v->type)) != 0;
            CU_ASSERT_EQUAL(moved, strcmp(v->layer, "idle") != 0);
        }
    }
    model_close(&m);
}

/* The number of shards moves the last bits only, global batch statistics included. */
static void test_shards(void) {
    static const char yaml[] = "model:\n"
                               "  - dense: 5\n"
                               "  - batch_normalization: {momentum: 0.5}\n"
                               "  - activation: relu\n"
                               "  - dense: 2\n"
                               "loss: mse\noptimizer: {sgd: {learning_rate: 0.1}}\n";
    float one[256] = {0}, three[256] = {0};
    const dl_slab slabs[] = {DL_SLAB_PARAMETER, DL_SLAB_STATE};
    for (int i = 0; i < 2; i++)
        if (train(yaml, 1, slabs[i], one, 256) && train(yaml, 3, slabs[i], three, 256))
            CHECK_CLOSE(three, one, 256, 1e-6, 1e-5);
}

/* Statistics of each shard: the moving mean takes the mean over shards, weighted by samples. */
static void test_shard_statistics(void) {
    static const char yaml[] = "model:\n"
                               "  - batch_normalization: {momentum: 0.5}\n"
                               "  - dense: 2\n"
                               "batch_statistics: shard\n"
                               "loss: mse\noptimizer: {sgd: {learning_rate: 0}}\n";
    float x[BATCH * WIDTH], got[64] = {0};
    fill(x, BATCH * WIDTH, 0.1);
    if (!train(yaml, 3, DL_SLAB_STATE, got, 64))
        return;
    for (int c = 0; c < WIDTH; c++) {
        double mean = 0, variance = 0; /* shards of 3, 3 and 4 */
        for (int s = 0; s < 3; s++) {
            int first = s * BATCH / 3, last = (s + 1) * BATCH / 3;
            double own = 0;
            for (int i = first; i < last; i++)
                own += (double)x[i * WIDTH + c] / (last - first);
            mean += own * (last - first) / BATCH;
            for (int i = first; i < last; i++)
                variance += pow((double)x[i * WIDTH + c] - own, 2) / BATCH;
        }
        /* Three steps of momentum 0.5 from 0 and 1. */
        float want[] = {(float)(0.875 * mean), (float)(0.125 + 0.875 * variance)};
        CHECK_CLOSE(&got[c], &want[0], 1, 1e-6, 0);
        CHECK_CLOSE(&got[DL_SLAB_ALIGN + c], &want[1], 1, 1e-6, 0);
    }
}

enum { DRAWS = 4000 };

static bool draw(const char *layer, uint32_t step, float *out) {
    const dl_field field = FLOATS("x", DRAWS / 4);
    static float x[DRAWS];
    char yaml[256];
    model m;
    for (int i = 0; i < DRAWS; i++)
        x[i] = 1;
    snprintf(yaml, sizeof yaml, "model:\n  - {%s}\n", layer);
    bool good = model_open(&m, yaml, &field, 1);
    dl_exec *exec = good ? model_exec(&m, MODEL_PREDICTION, 4) : NULL;
    if (exec) {
        model_bind(exec, "x", x);
        model_bind_output(exec, dl_network_output_name(m.network, 0), out);
        good = model_run(exec, 4, step);
    }
    dl_exec_close(exec);
    model_close(&m);
    return good && exec;
}

/* Masks hang on seed, name, step and sample; what stays is scaled. Predictions draw nothing. */
static void test_random_layers(void) {
    static float a[DRAWS], b[DRAWS], ones[DRAWS];
    for (int i = 0; i < DRAWS; i++)
        ones[i] = 1;
    if (draw("dropout: 0.25", 1, a))
        CHECK_BITS(a, ones, DRAWS);
    if (!draw("dropout: 0.25, training: true", 1, a) ||
        !draw("dropout: 0.25, training: true", 1, b))
        return;
    CHECK_BITS(a, b, DRAWS);
    int zeros = 0, other = 0, moved = 0;
    for (int i = 0; i < DRAWS; i++) {
        zeros += a[i] == 0;
        other += a[i] != 0 && fabsf(a[i] - 4.0f / 3) > 1e-6f;
    }
    CU_ASSERT_EQUAL(other, 0);
    CU_ASSERT(abs(zeros - DRAWS / 4) < 120);
    CU_ASSERT(memcmp(a, a + DRAWS / 4, DRAWS) != 0); /* samples differ */
    if (draw("dropout: 0.25, training: true", 2, b))
        for (int i = 0; i < DRAWS; i++)
            moved += a[i] != b[i];
    CU_ASSERT(moved > DRAWS / 5);
    if (draw("lambda: \"x + 0.5 * normal()\"", 1, a)) {
        double sum = 0, squares = 0;
        for (int i = 0; i < DRAWS; i++) {
            sum += (double)a[i] - 1;
            squares += pow((double)a[i] - 1, 2);
        }
        CU_ASSERT(fabs(sum / DRAWS) < 0.03 && fabs(sqrt(squares / DRAWS) - 0.5) < 0.03);
    }
}

void suite_training(void) {
    CU_pSuite suite = CU_add_suite("training", NULL, NULL);
    CU_add_test(suite, "sample and class weights", test_weights);
    CU_add_test(suite, "balanced class weights", test_class_weight);
    CU_add_test(suite, "several terms", test_terms);
    CU_add_test(suite, "accuracy by shape", test_accuracy);
    CU_add_test(suite, "frozen layers", test_freeze);
    CU_add_test(suite, "shared layer's gradient", test_shared_gradient);
    CU_add_test(suite, "weights that no loss reads", test_unmoved);
    CU_add_test(suite, "shards", test_shards);
    CU_add_test(suite, "statistics of shards", test_shard_statistics);
    CU_add_test(suite, "random layers", test_random_layers);
}
