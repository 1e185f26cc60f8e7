/* Expressions of a job: each kind beside the built-in word that says the same, whose bits it must
 * have; values worked by hand where there is none; and what the messages say. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/callbacks.h"
#include "tests/unit/model.h"

enum { BATCH = 6, WIDTH = 5, CLASSES = 3, STEPS = 4 };

static const dl_field fields[] = {
    FLOATS("x", WIDTH),
    {.name = "y", .type = {.dtype = DL_I32, .rank = 0}, .classes = CLASSES},
    FLOATS("image", 4, 3, 2)};
static float x[BATCH * WIDTH], image[BATCH * 24];
static const int32_t y[BATCH] = {0, 2, 1, 1, 0, 2};

/* A job of one hidden layer, its parts exchanged. */
static const char *job(char *text, size_t size, const char *activation, const char *loss,
                       const char *optimizer, const char *more) {
    snprintf(text, size,
             "constants: {momentum: 0.9, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, rate: 0.5}\n"
             "model:\n"
             "  - {dense: {units: 7, activation: %s}, name: hidden, inputs: x}\n"
             "  - {dense: {units: 3, activation: softmax}, name: out}\n"
             "loss: %s\noptimizer: %s\n%s\n",
             activation, loss, optimizer, more);
    return text;
}

static void fill(void) {
    for (int i = 0; i < BATCH * WIDTH; i++)
        x[i] = (float)sin(1.3 * i + 0.4);
    for (int i = 0; i < BATCH * 24; i++)
        image[i] = (float)cos(0.7 * i);
}

typedef struct trained {
    float w[256];
    int64_t length;
    double metrics[STEPS][8];
    float rates[STEPS];
    int values;
} trained;

/* Trains a few steps, at the job's learning rate. */
static bool train(const char *yaml, trained *out) {
    model m;
    memset(out, 0, sizeof *out);
    fill();
    bool good = model_open(&m, yaml, fields, 3);
    dl_exec *exec = good ? model_exec(&m, MODEL_STEP, BATCH) : NULL;
    if (exec) {
        const void *const data[] = {x, y, image};
        for (int i = 0; i < 3; i++)
            model_bind(exec, fields[i].name, data[i]);
        dl_network_set_steps_per_epoch(m.network, 2);
        out->values = dl_network_metric_count(m.network);
        for (int step = 0; step < STEPS && good; step++) {
            out->rates[step] = (float)dl_network_learning_rate(
                m.network, step, STEPS, dl_network_base_learning_rate(m.network));
            good = model_step(&m, exec, BATCH, step + 1, out->rates[step], out->metrics[step]);
        }
        const dl_variables *v = dl_network_variables(m.network);
        out->length = v->length[DL_SLAB_PARAMETER];
        CU_ASSERT_FATAL(out->length <= 256);
        memcpy(out->w, v->slab[DL_SLAB_PARAMETER], sizeof(float) * (size_t)out->length);
    }
    dl_exec_close(exec);
    model_close(&m);
    return good && exec;
}

/* Both train to the same weights, rates and metrics, bit for bit. */
static void same(const char *one, const char *other) {
    trained a, b;
    if (!train(one, &a) || !train(other, &b))
        return;
    CU_ASSERT_EQUAL(a.length, b.length);
    CU_ASSERT(memcmp(a.w, b.w, sizeof a.w) == 0);
    CU_ASSERT(memcmp(a.rates, b.rates, sizeof a.rates) == 0);
    CU_ASSERT(memcmp(a.metrics, b.metrics, sizeof a.metrics) == 0);
    trained first;
    float moved = 0;
    char text[2048];
    if (train(job(text, sizeof text, "relu", "sparse_categorical_crossentropy",
                  "{sgd: {learning_rate: 0}}", ""),
              &first))
        for (int i = 0; i < a.length; i++)
            moved += fabsf(a.w[i] - first.w[i]);
    CU_ASSERT(moved > 1e-3f); /* it trained at all */
}

#define CROSSENTROPY "sparse_categorical_crossentropy"

static void test_activation(void) {
    static const char *const pairs[][2] = {{"relu", "max(x, 0)"},
                                           {"softplus", "softplus(x)"},
                                           {"{leaky_relu: 0.25}", "where(x > 0, x, 0.25 * x)"},
                                           {"swish", "x * sigmoid(x)"}};
    for (int i = 0; i < DL_COUNT(pairs); i++) {
        char one[2048], other[2048], own[128];
        snprintf(own, sizeof own, "{expr: \"%s\"}", pairs[i][1]);
        same(job(one, sizeof one, pairs[i][0], CROSSENTROPY, "sgd", ""),
             job(other, sizeof other, own, CROSSENTROPY, "sgd", ""));
    }
}

static void test_loss(void) {
    static const char *const pairs[][2] = {
        {CROSSENTROPY, "{expr: \"sparse_categorical_crossentropy(y_true, y_pred)\"}"},
        {CROSSENTROPY, "{expr: \"sparse_categorical_crossentropy(y, out)\"}"},
        {"{mse: {target: x, output: five}}", "{expr: \"mse(x, five)\"}"},
        {"{mse: {target: x, output: five}}", "{expr: \"mean(square(five - x))\"}"},
        {"{mse: {target: \"1 - x\", output: five}}", "{expr: \"mean(square(five - (1 - x)))\"}"},
        {"{mae: {target: 0.5, output: five}}",
         "{expr: {expr: \"mean(abs(y_pred - y_true))\", target: 0.5, output: five}}"},
    };
    for (int i = 0; i < DL_COUNT(pairs); i++) {
        char text[2][2048];
        for (int k = 0; k < 2; k++)
            snprintf(text[k], sizeof text[k],
                     "model:\n"
                     "  - {dense: {units: 7, activation: relu}, name: hidden, inputs: x}\n"
                     "  - {dense: {units: 5, activation: tanh}, name: five}\n"
                     "  - {dense: {units: 3, activation: softmax}, name: out}\n"
                     "loss: %s\noptimizer: {sgd: {learning_rate: 0.1}}\n",
                     pairs[i][k]);
        trained a, b;
        if (train(text[0], &a) && train(text[1], &b)) {
            CU_ASSERT(memcmp(a.w, b.w, sizeof a.w) == 0);
            CU_ASSERT(memcmp(a.metrics, b.metrics, sizeof a.metrics) == 0);
        }
    }
}

static void test_optimizer(void) {
    static const char *const pairs[][2] = {
        {"{sgd: {learning_rate: 0.1}}", "{expr: {update: \"w - learning_rate * g\", "
                                        "learning_rate: 0.1}}"},
        {"{sgd: {learning_rate: 0.1, momentum: 0.9}}",
         "{expr: {update: \"w + velocity\", learning_rate: 0.1, "
         "state: {velocity: \"momentum * velocity - learning_rate * g\"}}}"},
        {"{sgd: {learning_rate: 0.1, momentum: 0.9, clipnorm: 0.1, weight_decay: 0.01}}",
         "{expr: {update: \"w + velocity\", learning_rate: 0.1, clipnorm: 0.1, weight_decay: 0.01, "
         "state: {velocity: \"momentum * velocity - learning_rate * g\"}}}"},
        {"{adam: {learning_rate: 0.01}}",
         "{expr: {learning_rate: 0.01, state: {m: \"beta_1 * m + (1 - beta_1) * g\", "
         "v: \"beta_2 * v + (1 - beta_2) * g * g\"}, "
         "update: \"w - learning_rate * sqrt(1 - beta_2 ** step) / (1 - beta_1 ** step) * m / "
         "(sqrt(v) + epsilon)\"}}"}};
    for (int i = 0; i < DL_COUNT(pairs); i++) {
        char one[2048], other[2048];
        same(job(one, sizeof one, "relu", CROSSENTROPY, pairs[i][0], ""),
             job(other, sizeof other, "relu", CROSSENTROPY, pairs[i][1], ""));
    }
}

/* mean and sum are of one tensor, without the gaps between tensors; scalars reach every element. */
static void test_tensor(void) {
    char text[2048];
    trained got;
    if (!train(job(text, sizeof text, "relu", CROSSENTROPY,
                   "{expr: {update: \"mean(0 * w + 2) + sum(0 * g + 1) + learning_rate\", "
                   "learning_rate: 0.25, schedule: constant}}",
                   ""),
               &got))
        return;
    /* out/bias 3, out/kernel 21, hidden/bias 7, hidden/kernel 35, each from a multiple of 16 */
    static const int counts[] = {3, 21, 7, 35}, begins[] = {0, 16, 48, 64};
    CU_ASSERT_EQUAL(got.length, 64 + 48);
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < (counts[t] + 15) / 16 * 16; i++)
            CU_ASSERT_EQUAL(got.w[begins[t] + i], i < counts[t] ? 2 + (float)counts[t] + 0.25f : 0);
}

static void test_schedule(void) {
    static const char *const pairs[][2] = {
        {"{exponential_decay: {decay_rate: 0.5}}", "{expr: \"0.5 ** (step / steps)\"}"},
        {"{inverse_time_decay: {decay_rate: 0.5, decay_steps: 2 steps, staircase: true}}",
         "{expr: \"1 / (1 + rate * epoch)\"}"},
        {"{polynomial_decay: {end_learning_rate: 0}, warmup: 2 steps}",
         "{expr: \"1 - step / steps\", warmup: 2 steps}"},
        {"constant", "{expr: \"1\"}"}};
    for (int i = 0; i < DL_COUNT(pairs); i++) {
        char one[2048], other[2048], first[256], second[256];
        snprintf(first, sizeof first, "{sgd: {learning_rate: 0.5, schedule: %s}}", pairs[i][0]);
        snprintf(second, sizeof second, "{sgd: {learning_rate: 0.5, schedule: %s}}", pairs[i][1]);
        same(job(one, sizeof one, "relu", CROSSENTROPY, first, ""),
             job(other, sizeof other, "relu", CROSSENTROPY, second, ""));
    }
}

/* By hand, over an image of 4 rows, 3 columns, 2 channels. */
static void test_functions(void) {
    char text[2048];
    trained got;
    if (!train(job(text, sizeof text, "relu", CROSSENTROPY, "{sgd: {learning_rate: 0}}",
                   "metrics:\n"
                   "  - {expr: \"sum(image)\", name: all}\n"
                   "  - {expr: \"mean(channel(image, 1)) * size(image)\", name: second}\n"
                   "  - {expr: \"sum(square(crop(image, 1)))\", name: inner}\n"
                   "  - {expr: \"sum(square(dx(image)) + square(dy(image)))\", name: rough}\n"
                   "  - {expr: \"sum(abs(image - mean(image)))\", name: spread}\n"
                   "  - {expr: \"mean(y_true == y_pred) + rate\", name: mixed}\n"
                   "  - {expr: \"sum(square(gram(image)))\", name: style}\n"),
               &got))
        return;
    double want[8] = {got.metrics[0][0]};
    for (int n = 0; n < BATCH; n++) {
        const float *at = image + 24 * n;
        double mean = 0, spread = 0;
        for (int i = 0; i < 24; i++) {
            mean += (double)at[i] / 24;
            want[2] += i % 2 ? (double)at[i] / 12 * 24 : 0;
        }
        want[1] += 24 * mean;
        for (int i = 0; i < 24; i++)
            spread += fabs((double)at[i] - mean);
        want[5] += spread;
        for (int r = 0; r < 4; r++)
            for (int c = 0; c < 3; c++)
                for (int k = 0; k < 2; k++) {
                    double here = (double)at[6 * r + 2 * c + k];
                    if (r >= 1 && r < 3 && c == 1)
                        want[3] += here * here;
                    if (r < 3 && c < 2)
                        want[4] += pow((double)at[6 * r + 2 * c + 2 + k] - here, 2) +
                                   pow((double)at[6 * r + 6 + 2 * c + k] - here, 2);
                }
        for (int a = 0; a < 4; a++) { /* pairs of the 2 channels */
            double together = 0;
            for (int cell = 0; cell < 12; cell++)
                together += (double)at[2 * cell + a / 2] * (double)at[2 * cell + a % 2];
            want[7] += together * together;
        }
        want[6] += 0.5; /* labels are never a probability between 0 and 1 */
    }
    for (int i = 1; i < 8; i++)
        want[i] /= BATCH;
    CU_ASSERT_EQUAL_FATAL(got.values, 8);
    CHECK_CLOSE_DOUBLE(got.metrics[0], want, 8, 1e-5, 1e-5);
}

/* A term that compares nothing has no metrics of its own. */
static void test_terms(void) {
    model m;
    static const char yaml[] = "constants: {beta: 0.01}\n"
                               "model:\n  - {dense: 5, name: code, inputs: x}\n"
                               "  - {dense: 5, name: out}\n"
                               "loss: {same: {mse: {target: x}}, small: {expr: \"beta * "
                               "sum(square(code))\"}}\n"
                               "metrics: [mae, {expr: \"mean(code)\", name: centre}]\n"
                               "optimizer: sgd\n";
    static const char *const want[] = {"loss", "same_loss", "small_loss", "mae", "centre"};
    if (CHECK_OK(model_try(&m, yaml, fields, 3, NULL))) {
        CU_ASSERT_EQUAL_FATAL(dl_network_metric_count(m.network), 5);
        for (int i = 0; i < 5; i++)
            CU_ASSERT_STRING_EQUAL(dl_network_metric_name(m.network, i), want[i]);
    }
    model_close(&m);
}

static void test_stop_when(void) {
    static const struct {
        const char *text;
        bool stops;
    } rows[] = {{"loss < 0.5", true},
                {"loss < 0.5 and epoch > 3", false},
                {"epoch >= 3", true},
                {"val_loss > loss + limit or step == 12", false},
                {"val_loss < inf", false}}; /* NaN: not measured */
    static const char *const names[] = {"loss", "val_loss", "epoch", "step"};
    const double values[] = {0.25, NAN, 3, 11};
    for (int i = 0; i < DL_COUNT(rows); i++) {
        model m;
        char yaml[512];
        bool stop = !rows[i].stops;
        snprintf(yaml, sizeof yaml,
                 "constants: {limit: 0.5}\nmodel: [{dense: {units: 3}, inputs: x}]\n"
                 "loss: {mse: {target: 1}}\ncallbacks: [{stop_when: \"%s\"}]\n",
                 rows[i].text);
        if (!CHECK_OK(model_try(&m, yaml, fields, 1, NULL)) && !m.job)
            continue;
        const dl_node *root = dl_job_root(m.job);
        CHECK_OK(dl_stop_when(dl_at(dl_get(root, "callbacks"), 0), dl_get(root, "constants"), names,
                              values, 4, &stop));
        CU_ASSERT_EQUAL(stop, rows[i].stops);
        model_close(&m);
    }
}

/* Line and column of the text, and the character within it. */
static void test_messages(void) {
    static const struct {
        const char *activation, *loss, *optimizer, *more, *says;
    } rows[] = {
        {"{expr: \"max(x, z)\"}", CROSSENTROPY, "sgd", "",
         "3:43: expression of the activation, character 8: 'z' is not a name known here"},
        {"{expr: \"x + normal()\"}", CROSSENTROPY, "sgd", "", "character 5: random numbers"},
        {"relu", "{expr: \"mean(square(hiden))\"}", "sgd", "",
         "5:14: expression of loss, character 13: 'hiden' is neither a layer nor a field; did you "
         "mean 'hidden'?"},
        {"relu", "{expr: \"hidden\"}", "sgd", "",
         "loss has shape (None, 7), but a loss is one number a sample; wrap it in sum(...) or "
         "mean(...)"},
        {"relu", "{a: {expr: \"mean(x - hidden)\"}}", "sgd", "",
         "expression of loss 'a', character 1: 'x' (None, 5) and 'hidden' (None, 7) do not meet"},
        {"relu", "{expr: \"mean(rate)\"}", "sgd", "", "character 1: this names no layer"},
        {"relu", "{expr: \"mean(x, 2)\"}", "sgd", "", "mean takes 1 argument, not 2"},
        {"relu", "{expr: \"sum(channel(image, 2))\"}", "sgd", "",
         "character 5: the second argument of channel on (None, 4, 3, 2) is a whole number from 0 "
         "to 1"},
        {"relu", "{expr: \"sum(dx(x))\"}", "sgd", "", "dx needs rows and columns, not (None, 5)"},
        {"relu", "{expr: \"mse(x, hidden)\"}", "sgd", "", "mse cannot compare"},
        {"relu", "{a: {mse: {target: \"1 - y_true\", output: hidden}}}", "sgd", "",
         "expression of the target of loss 'a', character 5: y_true is what this"},
        {"relu", CROSSENTROPY, "{expr: \"w - learning_rat * g\"}", "",
         "6:19: expression of the update, character 5: 'learning_rat' is not a name known here; "
         "did you mean 'learning_rate'?"},
        {"relu", CROSSENTROPY, "{expr: {update: \"w\", state: {a: \"a + \"}}}", "",
         "expression of state 'a', character 5: the expression ends"},
        {"relu", CROSSENTROPY, "{expr: {update: \"w\", state: {g: \"g\"}}}", "",
         "'g' has a meaning of its own in an optimizer"},
        {"relu", CROSSENTROPY,
         "{expr: {update: \"w\", state: {a: \"g\", b: \"g\", c: \"g\", d: \"g\", e: \"g\"}}}", "",
         "an optimizer has at most 4 states"},
        {"relu", CROSSENTROPY, "{sgd: {schedule: {expr: \"stop / steps\"}}}", "",
         "expression of the schedule, character 1: 'stop' is not a name known here; did you mean "
         "'step'?"},
        {"relu", CROSSENTROPY, "sgd", "metrics: [{expr: \"y_pred\", name: p}]",
         "metric 'p' has shape (None, 3), but a metric is one number a sample"},
    };
    for (int i = 0; i < DL_COUNT(rows); i++) {
        model m;
        char text[2048];
        dl_status status = model_try(&m,
                                     job(text, sizeof text, rows[i].activation, rows[i].loss,
                                         rows[i].optimizer, rows[i].more),
                                     fields, 3, NULL);
        CHECK_FAILS(status, DL_BAD_JOB, rows[i].says);
        model_close(&m);
    }
}

void suite_user_expr(void) {
    CU_pSuite suite = CU_add_suite("user_expr", NULL, NULL);
    CU_add_test(suite, "activations have the bits of the built-in ones", test_activation);
    CU_add_test(suite, "losses too", test_loss);
    CU_add_test(suite, "optimizers too", test_optimizer);
    CU_add_test(suite, "schedules too", test_schedule);
    CU_add_test(suite, "an update over one tensor", test_tensor);
    CU_add_test(suite, "functions by hand", test_functions);
    CU_add_test(suite, "terms that compare nothing", test_terms);
    CU_add_test(suite, "conditions", test_stop_when);
    CU_add_test(suite, "messages", test_messages);
}
