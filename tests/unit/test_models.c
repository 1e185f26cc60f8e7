/* Networks from jobs: names, wiring, parameter counts of the drafts, freezing, sharing, messages.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/patterns.h"
#include "ops/ops.h"
#include "runtime/base/memory.h"
#include "runtime/base/philox.h"
#include "tests/unit/model.h"

static void check_parameters(const char *yaml, const dl_field *field, int64_t want) {
    model m;
    if (CHECK_OK(model_try(&m, yaml, field, 1, NULL)))
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, false), want);
    model_close(&m);
}

static void test_parameter_counts(void) {
    const dl_field flat = FLOATS("x", 784), image = FLOATS("x", 28, 28, 1), pair = FLOATS("x", 2),
                   photo = FLOATS("x", 64, 64, 3);
    check_parameters("model:\n"
                     "  - dense: {units: 512, activation: relu}\n"
                     "  - dense: {units: 10, activation: softmax}\n",
                     &flat, 407050);
    check_parameters("model:\n"
                     "  - conv2d: {filters: 32, kernel_size: 3, activation: relu}\n"
                     "  - max_pooling2d: 2\n"
                     "  - conv2d: {filters: 64, kernel_size: 3, activation: relu}\n"
                     "  - max_pooling2d: 2\n"
                     "  - conv2d: {filters: 64, kernel_size: 3, activation: relu}\n"
                     "  - flatten\n"
                     "  - dense: {units: 64, activation: relu}\n"
                     "  - dense: {units: 10, activation: softmax}\n",
                     &image, 93322);
    check_parameters("model:\n"
                     "  - dense: {units: 128, activation: relu}\n"
                     "  - dropout: 0.2\n"
                     "  - dense: {units: 64, activation: relu}\n"
                     "  - dropout: 0.2\n"
                     "  - dense: {units: 2, activation: softmax}\n",
                     &pair, 8770);
    check_parameters("model:\n"
                     "  - separable_conv2d: {filters: 32, kernel_size: 3, activation: relu}\n"
                     "  - separable_conv2d: {filters: 64, kernel_size: 3, activation: relu}\n"
                     "  - max_pooling2d: 2\n"
                     "  - separable_conv2d: {filters: 64, kernel_size: 3, activation: relu}\n"
                     "  - separable_conv2d: {filters: 128, kernel_size: 3, activation: relu}\n"
                     "  - max_pooling2d: 2\n"
                     "  - separable_conv2d: {filters: 64, kernel_size: 3, activation: relu}\n"
                     "  - separable_conv2d: {filters: 128, kernel_size: 3, activation: relu}\n"
                     "  - global_average_pooling2d\n"
                     "  - dense: {units: 32, activation: relu}\n"
                     "  - dense: {units: 10, activation: softmax}\n",
                     &photo, 38949);
    check_parameters("model:\n"
                     "  - {dense: {units: 2000, kernel_regularizer: {l2: 1e-4/400}}, name: h1}\n"
                     "  - {dense: {units: 1000, kernel_regularizer: {l2: 1e-4/400}}, name: h2}\n"
                     "  - {dense: {units: 500, kernel_regularizer: {l2: 1e-4/400}}, name: h3}\n"
                     "  - dense: {units: 10, activation: softmax}\n",
                     &flat, 4076510);
}

static const char *layer_name(const model *m, int index) {
    dl_layer_info info;
    dl_network_layer(m->network, index, &info);
    return info.name;
}

/* Keras numbers its names word by word; `times` numbers copies; a chain's name stands for its end.
 */
static void test_names(void) {
    const dl_field field = FLOATS("x", 8, 8, 2);
    model m;
    if (CHECK_OK(model_try(&m,
                           "model:\n"
                           "  - conv2d: {filters: 2, kernel_size: 1}\n"
                           "  - {conv2d: {filters: 2, kernel_size: 1}, name: conv2d_1}\n"
                           "  - conv2d: {filters: 2, kernel_size: 1}\n"
                           "  - max_pooling2d: 2\n"
                           "  - {conv2d: {filters: 2, kernel_size: 1}, times: 3, name: residual}\n"
                           "  - {add, inputs: [residual, max_pooling2d]}\n",
                           &field, 1, NULL))) {
        static const char *const want[] = {"conv2d",   "conv2d_1",   "conv2d_2",   "max_pooling2d",
                                           "residual", "residual_1", "residual_2", "add"};
        CU_ASSERT_EQUAL_FATAL(dl_network_layer_count(m.network), 8);
        for (int i = 0; i < 8; i++)
            CU_ASSERT_STRING_EQUAL(layer_name(&m, i), want[i]);
        CU_ASSERT_STRING_EQUAL(dl_network_layer_source(m.network, 7, 0), "residual_2");
        CU_ASSERT_STRING_EQUAL(dl_network_layer_source(m.network, 5, 0), "residual");
        CU_ASSERT_EQUAL(dl_network_output_count(m.network), 1);
        CU_ASSERT_STRING_EQUAL(dl_network_output_name(m.network, 0), "add");
    }
    model_close(&m);
}

/* call shares weights of a layer and of a model, copy has its own; patterns freeze either. */
static void test_sharing(void) {
    const dl_field fields[] = {FLOATS("a", 6), FLOATS("b", 6)};
    static const char yaml[] = "models:\n"
                               "  tower:\n"
                               "    - dense: 4\n"
                               "    - {dense: 4, times: 2}\n"
                               "model:\n"
                               "  - {call: tower, inputs: a, name: left}\n"
                               "  - {call: tower, inputs: b, name: right}\n"
                               "  - {copy: tower, inputs: a, name: own}\n"
                               "  - {concatenate, inputs: [left, right, own]}\n"
                               "  - {dense: 12, name: same}\n"
                               "  - {call: same}\n";
    int64_t tower = 6 * 4 + 4 + 2 * (4 * 4 + 4), same = 12 * 12 + 12;
    model m;
    if (CHECK_OK(model_try(&m, yaml, fields, 2, NULL))) {
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, false), 2 * tower + same);
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, true), 2 * tower + same);
        CU_ASSERT_PTR_NOT_NULL(
            dl_variables_find(dl_network_variables(m.network), "tower.dense_1/kernel"));
        CU_ASSERT_PTR_NOT_NULL(
            dl_variables_find(dl_network_variables(m.network), "own.dense_1/kernel"));
        CU_ASSERT_STRING_EQUAL(layer_name(&m, 0), "left.dense");
        CU_ASSERT_EQUAL(dl_network_output_count(m.network), 1);
    }
    model_close(&m);
    if (CHECK_OK(model_try(&m, yaml, fields, 2, "freeze=[tower, \"!tower.dense_2\", same]")))
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, true), tower + 4 * 4 + 4);
    model_close(&m);
    if (CHECK_OK(model_try(&m, yaml, fields, 2, "freeze=[\"*dense*\"]")))
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, true), same);
    model_close(&m);
}

static void test_patterns(void) {
    CU_ASSERT(dl_pattern_matches("base", "base.conv2d"));
    CU_ASSERT(dl_pattern_matches("base.conv*", "base.conv2d"));
    CU_ASSERT(dl_pattern_matches("*_conv2", "base.block1_conv2"));
    CU_ASSERT(!dl_pattern_matches("base", "bases.conv2d"));
    CU_ASSERT(!dl_pattern_matches("conv2d", "base.conv2d"));
    CU_ASSERT(!dl_pattern_matches("a*b*c*d*e*f*g*h*i*", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void check_message(const char *yaml, const dl_field *fields, int count, const char *want) {
    model m;
    CHECK_FAILS(model_try(&m, yaml, fields, count, NULL), DL_BAD_JOB, want);
    model_close(&m);
}

static void test_messages(void) {
    const dl_field several[] = {FLOATS("text", 4), FLOATS("question", 4), FLOATS("answer", 3)};
    const dl_field image[] = {FLOATS("x", 28, 28, 1)};
    dl_field labels[] = {FLOATS("x", 5),
                         {.name = "y", .type = {.dtype = DL_I32, .rank = 0}, .classes = 46}};
    check_message("model:\n  - dense: 3\n", several, 3,
                  "job.yaml:2:5: the data has several fields (text, question, answer) and none "
                  "called x; say which one this layer reads: inputs: text");
    check_message("model:\n"
                  "  - {dense: 3, inputs: question, name: question_code}\n"
                  "  - {dense: 3, inputs: qestion_code}\n",
                  several, 3,
                  "job.yaml:3:24: 'qestion_code' is neither a layer above nor a field; did you "
                  "mean 'question_code'?");
    check_message("model:\n"
                  "  - {conv2d: {filters: 64, kernel_size: 3, padding: same}, name: wide}\n"
                  "  - {max_pooling2d: 2, name: pool}\n"
                  "  - {add, inputs: [wide, pool]}\n",
                  image, 1,
                  "job.yaml:4:5: add cannot join 'wide' (None, 28, 28, 64) and 'pool' (None, 14, "
                  "14, 64); shapes must be equal");
    check_message("model:\n"
                  "  - dense: 7\n"
                  "  - dense: {units: 10, activation: softmax}\n"
                  "loss: sparse_categorical_crossentropy\n",
                  labels, 2,
                  "job.yaml:3:5: 'dense_1' gives 10 values, but the labels of train run to 45 (46 "
                  "classes); set units: 46, or choose with data.classes");
    check_message("model:\n"
                  "  - {dense: 1, inputs: text, name: says_age}\n"
                  "  - {dense: 3, inputs: text, name: says_more}\n"
                  "loss:\n"
                  "  says_age: mse\n"
                  "  says_more: {mse: {target: answer}}\n",
                  several, 3,
                  "job.yaml:5:13: loss term 'says_age' has no target: the data has no field y and "
                  "no field 'says_age'; add target: FIELD (text, question, answer)");
    check_message("model:\n"
                  "  - {dense: 3, inputs: text, name: z_log_var}\n"
                  "  - {lambda: \"exp(z_logvar)\", inputs: [z_log_var]}\n",
                  several, 3, "expression of layer 'lambda', character 5: 'z_logvar'");
    check_message("model:\n  - {dense: 3, name: base}\nfreeze: [bse]\n", image, 1,
                  "job.yaml:3:10: freeze: 'bse' matches no layer; close: base");
    check_message("model:\n  - max_pooling2d: 40\n", image, 1,
                  "job.yaml:2:5: 'x' gives (None, 28, 28, 1), too small for a pool_size of 40");
    check_message("model:\n  - flatten\n  - dense: 1000000000\n  - dense: 1000000000\n", image, 1,
                  "job.yaml:4:5: 'kernel' of layer 'dense_1' would have 1e+18 numbers");
    check_message("model:\n  - add\n", image, 1, "add needs at least 2 inputs and has 1");
    check_message("model:\n  - {dense: 3, name: x}\n", image, 1,
                  "the name 'x' is taken by a field");
    check_message("models:\n  a: [{call: b}]\n  b: [{call: a}]\nmodel: [{call: a}]\n", image, 1,
                  "models call one another without end");
}

static void test_warnings(void) {
    const dl_field fields[] = {FLOATS("x", 4), FLOATS("y", 1)};
    model m;
    if (CHECK_OK(
            model_try(&m, "model:\n  - dense: 1\nloss: binary_crossentropy\n", fields, 2, NULL))) {
        CU_ASSERT_EQUAL_FATAL(dl_network_warning_count(m.network), 1);
        CU_ASSERT_STRING_EQUAL(
            dl_network_warning(m.network, 0),
            "job.yaml:2:5: warning: binary_crossentropy compares probabilities, but 'dense' has no "
            "activation; add activation: sigmoid, or from_logits: true in the loss");
    }
    model_close(&m);
}

/* Every allocation of opening may fail; what was made until then is given back. */
static void test_no_memory(void) {
    const dl_field fields[] = {FLOATS("x", 6, 6, 1), FLOATS("y", 3)};
    static const char yaml[] =
        "models:\n  head: [{dense: {units: 3, activation: softmax}}]\n"
        "model:\n"
        "  - conv2d: {filters: 2, kernel_size: 3}\n"
        "  - batch_normalization\n"
        "  - flatten\n"
        "  - call: head\n"
        "loss: categorical_crossentropy\nmetrics: [accuracy]\noptimizer: adam\n";
    model m;
    if (CHECK_OK(model_try(&m, yaml, fields, 2, NULL))) {
        dl_status status = DL_NO_MEMORY;
        int failures = 0;
        for (uint64_t n = 1; n < 1000 && status != DL_OK; n++) {
            dl_network *network = NULL;
            dl_alloc_fail_after(n);
            status = dl_network_open(&network, dl_job_root(m.job), fields, 2, dl_ops());
            dl_alloc_fail_after(0);
            failures += status == DL_NO_MEMORY;
            CU_ASSERT(status == DL_OK || (status == DL_NO_MEMORY && network == NULL));
            dl_network_close(network);
        }
        CU_ASSERT(status == DL_OK && failures > 5);
    }
    model_close(&m);
}

static void test_keras_config(void) {
    const dl_field field = FLOATS("x", 6, 6, 1);
    model m;
    if (CHECK_OK(
            model_try(&m,
                      "model:\n"
                      "  - conv2d: {filters: 2, kernel_size: 3, kernel_regularizer: {l2: 1e-4}}\n"
                      "  - flatten\n"
                      "  - dense: {units: 3, activation: softmax}\n",
                      &field, 1, NULL))) {
        const char *json = dl_network_keras_config(m.network);
        CU_ASSERT_PTR_NOT_NULL_FATAL(json);
        CU_ASSERT_PTR_NOT_NULL(strstr(json, "{\"class_name\": \"Sequential\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(json, "\"batch_input_shape\": [null, 6, 6, 1]"));
        CU_ASSERT_PTR_NOT_NULL(strstr(json, "\"kernel_size\": [3, 3], \"strides\": [1, 1]"));
        CU_ASSERT_PTR_NOT_NULL(strstr(
            json,
            "\"kernel_regularizer\": {\"class_name\": \"L2\", \"config\": {\"l2\": 0.0001}}"));
        CU_ASSERT_EQUAL(dl_network_keras_layer_count(m.network), 3);
        CU_ASSERT_STRING_EQUAL(dl_network_keras_layer_name(m.network, 2), "dense");
        CU_ASSERT_EQUAL(dl_network_keras_weight_count(m.network, 2), 2);
        CU_ASSERT_STRING_EQUAL(dl_network_keras_weight(m.network, 2, 0)->name, "dense/kernel");
    }
    model_close(&m);
}

/* The order in which Keras's load_model gives weights to layers: its Model.layers after reading
 * such a file (TensorFlow 2.15), which is not the order of the job. */
static void test_keras_order(void) {
    static const char *const want[] = {"left",
                                       "right",
                                       "tower.wide",
                                       "own.wide",
                                       "tower.batch_normalization",
                                       "own.batch_normalization",
                                       "tower.narrow",
                                       "own.narrow",
                                       "gap",
                                       "both",
                                       "late",
                                       "most",
                                       "all",
                                       "out",
                                       "size"};
    const dl_field field[] = {FLOATS("left", 6), FLOATS("right", 6), FLOATS("unread", 2)};
    model m;
    if (CHECK_OK(model_try(&m,
                           "models:\n"
                           "  tower:\n"
                           "    - {dense: {units: 8, activation: tanh}, name: wide}\n"
                           "    - batch_normalization\n"
                           "    - {dense: 5, name: narrow}\n"
                           "model:\n"
                           "  - {dense: 4, inputs: right, name: late}\n"
                           "  - {call: tower, inputs: right, name: b}\n"
                           "  - {call: tower, inputs: left, name: a}\n"
                           "  - {subtract, inputs: [a, b], name: gap}\n"
                           "  - {copy: tower, inputs: left, name: own}\n"
                           "  - {multiply, inputs: [a, own], name: both}\n"
                           "  - {maximum, inputs: [a, b, own], name: most}\n"
                           "  - {concatenate, inputs: [gap, both, left, late, most], name: all}\n"
                           "  - {dense: {units: 3, activation: softmax}, inputs: all, name: out}\n"
                           "  - {dense: {units: 1}, inputs: all, name: size}\n",
                           field, 3, NULL))) {
        CU_ASSERT_EQUAL_FATAL(dl_network_keras_layer_count(m.network), DL_COUNT(want));
        for (int i = 0; i < DL_COUNT(want); i++)
            CU_ASSERT_STRING_EQUAL(dl_network_keras_layer_name(m.network, i), want[i]);
        CU_ASSERT_EQUAL(dl_network_keras_weight_count(m.network, 0), 0);
        CU_ASSERT_EQUAL(dl_network_keras_weight_count(m.network, 4), 4);
        const char *json = dl_network_keras_config(m.network);
        CU_ASSERT_PTR_NOT_NULL_FATAL(json);
        CU_ASSERT_PTR_NOT_NULL(
            strstr(json, "\"input_layers\": [[\"left\", 0, 0], [\"right\", 0, 0]]"));
        CU_ASSERT_PTR_NOT_NULL(
            strstr(json, "\"output_layers\": [[\"out\", 0, 0], [\"size\", 0, 0]]"));
    }
    model_close(&m);
}

/* Weights of layers a and b after a step of a network with `between` behind its border. */
static void step_with_border(const char *window, const char *between, float *weights) {
    const dl_field fields[] = {FLOATS("x", 9, 8, 2), FLOATS("y", 3)};
    static float x[4 * 9 * 8 * 2], y[4 * 3];
    char yaml[1024];
    model m;
    for (int i = 0; i < DL_COUNT(x); i++)
        x[i] = dl_unit_float(dl_random_word(3, 0, 0, 0, (uint32_t)i)) - 0.5f;
    snprintf(yaml, sizeof yaml,
             "model:\n"
             "  - {conv2d: {filters: 3, kernel_size: 3, activation: relu}, name: a}\n"
             "  - {zero_padding2d: [[2, 1], [0, 2]], name: border}\n%s%s"
             "  - flatten\n"
             "  - {dense: 3, name: b}\n"
             "loss: mse\n"
             "optimizer: {sgd: 1}\n",
             between, window);
    if (model_open(&m, yaml, fields, 2)) {
        dl_exec *exec = model_exec(&m, MODEL_STEP, 4);
        model_bind(exec, "x", x);
        model_bind(exec, "y", y);
        CU_ASSERT(model_step(&m, exec, 4, 0, 1, NULL));
        dl_exec_close(exec);
        memcpy(weights, model_weight(&m, "a/kernel"), sizeof(float) * 54);
        memcpy(weights + 54, model_weight(&m, "b/bias"), sizeof(float) * 3);
    }
    model_close(&m);
}

/* A border of zeros becomes padding of the window that reads it, unless something stands between
 * (here a leaky_relu that changes nothing); a step is the same up to the order of additions. */
static void test_borders(void) {
    static const char *const windows[] = {
        "  - {conv2d: {filters: 4, kernel_size: 3, strides: 2}, name: c}\n",
        "  - {conv2d: {filters: 4, kernel_size: 2, dilation_rate: 2, padding: same}, name: c}\n",
        "  - {conv2d: {filters: 4, kernel_size: 1}, name: c}\n",
        "  - max_pooling2d: {pool_size: 3, strides: 2}\n",
        "  - max_pooling2d: {pool_size: 2, padding: same}\n",
        "  - average_pooling2d: {pool_size: 3, strides: 2}\n"};
    for (int w = 0; w < DL_COUNT(windows); w++) {
        float got[57] = {0}, want[57] = {0}, moved = 0;
        step_with_border(windows[w], "", got);
        step_with_border(windows[w], "  - leaky_relu: 1\n", want);
        for (int i = 0; i < 57; i++) {
            CU_ASSERT(!(fabsf(got[i] - want[i]) > 1e-5f));
            moved += i >= 54 ? fabsf(want[i]) : 0;
        }
        CU_ASSERT(moved > 1e-3f);
    }
}

/* Weights after a step, and the loss, of a residual block whose sum is in the given order. */
static void step_of_block(const char *inputs, const char *between, float *weights, double *loss) {
    const dl_field fields[] = {FLOATS("x", 6, 5, 3), FLOATS("y", 4)};
    static float x[5 * 6 * 5 * 3], y[5 * 4];
    char yaml[1024];
    model m;
    for (int i = 0; i < DL_COUNT(x); i++)
        x[i] = dl_unit_float(dl_random_word(3, 1, 0, 0, (uint32_t)i)) - 0.5f;
    snprintf(yaml, sizeof yaml,
             "model:\n"
             "  - {conv2d: {filters: 4, kernel_size: 3, padding: same}, name: s}\n"
             "  - {conv2d: {filters: 4, kernel_size: 3, padding: same}, name: c}\n"
             "  - {batch_normalization, name: n}\n"
             "  - {add, inputs: [%s], name: a}\n%s"
             "  - activation: relu\n"
             "  - global_average_pooling2d\n"
             "loss: mse\n"
             "optimizer: {sgd: 1}\n",
             inputs, between);
    *loss = NAN;
    if (model_open(&m, yaml, fields, 2)) {
        dl_exec *exec = model_exec(&m, MODEL_STEP, 5);
        model_bind(exec, "x", x);
        model_bind(exec, "y", y);
        CU_ASSERT(model_step(&m, exec, 5, 0, 1, loss));
        dl_exec_close(exec);
        memcpy(weights, model_weight(&m, "s/kernel"), sizeof(float) * 108);
        memcpy(weights + 108, model_weight(&m, "c/kernel"), sizeof(float) * 144);
        memcpy(weights + 252, model_weight(&m, "n/gamma"), sizeof(float) * 4);
    }
    model_close(&m);
}

/* relu(normalised + other) in one kernel, and apart because something stands between: the same loss
 * and, up to what rounding and the order of sums leave, the same step. */
static void test_residual(void) {
    static const char *const orders[] = {"s, n", "n, s"};
    for (int o = 0; o < DL_COUNT(orders); o++) {
        float got[256] = {0}, want[256] = {0}, moved = 0;
        double loss[2];
        step_of_block(orders[o], "", got, &loss[0]);
        step_of_block(orders[o], "  - leaky_relu: 1\n", want, &loss[1]);
        CU_ASSERT(loss[0] == loss[1] && loss[0] > 0);
        for (int i = 0; i < 256; i++) {
            CU_ASSERT(!(fabsf(got[i] - want[i]) > 1e-5f));
            moved += i >= 252 ? fabsf(want[i] - 1) : 0;
        }
        CU_ASSERT(moved > 1e-3f);
    }
}

/* A field of bytes with its steps and the same field as float32 give the same bits. */
static void test_bytes(void) {
    enum { SAMPLES = 5, SIZE = 4 * 6 * 3 };
    static const char *const yaml = "model:\n"
                                    "  - conv2d: {filters: 4, kernel_size: 3, activation: relu}\n"
                                    "  - {dense: {units: 2}, name: y}\n";
    static const float channel[2][3] = {{0.25f, 3, -2}, {100, 7.5f, 0}};
    static float element[2][SIZE];
    const float by = 1.0f / 255, shift = 0;
    dl_prepare_step step[16] = {{DL_PREPARE_SCALE, 1, &by, &shift},
                                {DL_PREPARE_CENTRE, 3, channel[0], channel[1]},
                                {DL_PREPARE_SCALE, SIZE, element[0], element[1]}};
    for (int i = 0; i < SIZE; i++) {
        element[0][i] = 1 + 0.01f * (float)i;
        element[1][i] = 0.3f * (float)(i % 7) - 1;
    }
    for (int i = 3; i < 16; i++) /* more constants than a node has inputs */
        step[i] = step[2];
    for (int count = 0; count <= 16; count += count < 4 ? 1 : 12) {
        dl_field field = FLOATS("x", 4, 6, 3);
        uint8_t bytes[SAMPLES * SIZE];
        float floats[SAMPLES * SIZE], output[2][SAMPLES * 2 * 4 * 2];
        for (int i = 0; i < SAMPLES * SIZE; i++) {
            bytes[i] = (uint8_t)(i * 89 % 256);
            floats[i] = bytes[i];
            for (int k = 0; k < count; k++) {
                float a = step[k].by[i % SIZE % step[k].period];
                float b = step[k].offset[i % SIZE % step[k].period];
                bool centred = step[k].kind == DL_PREPARE_CENTRE;
                floats[i] = centred ? (floats[i] - b) * a : floats[i] * a + b;
            }
        }
        for (int way = 0; way < 2; way++) {
            model m;
            field.as_stored = way;
            field.stored = field.type;
            field.stored.dtype = DL_U8;
            field.prepare = step;
            field.prepares = count;
            dl_exec *exec =
                model_open(&m, yaml, &field, 1) ? model_exec(&m, MODEL_PREDICTION, SAMPLES) : NULL;
            if (exec) {
                char name[DL_INPUT_NAME];
                for (int k = 0; k < count; k++) {
                    model_bind(exec, dl_constant_name(name, "x", k, true), step[k].by);
                    model_bind(exec, dl_constant_name(name, "x", k, false), step[k].offset);
                }
                model_bind(exec, "x", floats);
                model_bind(exec, dl_stored_name(name, "x"), bytes);
                model_bind_output(exec, "y", output[way]);
                CU_ASSERT(model_run(exec, SAMPLES, 1));
            }
            dl_exec_close(exec);
            model_close(&m);
        }
        CU_ASSERT_EQUAL(memcmp(output[0], output[1], sizeof output[0]), 0);
        CU_ASSERT(output[0][0] != output[0][2]);
    }
}

void suite_models(void) {
    CU_pSuite suite = CU_add_suite("models", NULL, NULL);
    CU_add_test(suite, "parameter counts of drafts", test_parameter_counts);
    CU_add_test(suite, "names", test_names);
    CU_add_test(suite, "shared weights, copies, freezing", test_sharing);
    CU_add_test(suite, "patterns", test_patterns);
    CU_add_test(suite, "messages", test_messages);
    CU_add_test(suite, "warnings", test_warnings);
    CU_add_test(suite, "memory runs out", test_no_memory);
    CU_add_test(suite, "Keras configuration", test_keras_config);
    CU_add_test(suite, "layers in Keras's order", test_keras_order);
    CU_add_test(suite, "borders", test_borders);
    CU_add_test(suite, "residual sums", test_residual);
    CU_add_test(suite, "fields of bytes", test_bytes);
}
