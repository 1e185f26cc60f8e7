/* The job language as a user writes it: what is read, what is filled in, what comes back as text.
 */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "tests/unit/check.h"
#include "tests/unit/job_words.h"

#define MNIST                                                              \
    "data:\n"                                                              \
    "  root: data/mnist\n"                                                 \
    "  train: {idx: {x: train-images.gz, y: train-labels.gz}}\n"           \
    "  test: {idx: {x: t10k-images.gz, y: t10k-labels.gz}}\n"              \
    "  prepare: [{reshape: [784]}, {scale: 1/255}, {one_hot, field: y}]\n" \
    "model:\n"                                                             \
    "  - {dense: {units: 512, activation: relu}, name: hidden}\n"          \
    "  - dense: {units: 10, activation: softmax}\n"                        \
    "loss: categorical_crossentropy\n"                                     \
    "optimizer: rmsprop\n"                                                 \
    "metrics: [accuracy]\n"                                                \
    "batch_size: 128\n"                                                    \
    "epochs: 5\n"

static dl_job *read_sets(const char *text, const char *const *sets, int count) {
    dl_job *job = NULL;
    dl_status status =
        dl_job_read_text(&job, "mnist-mlp.yaml", text, strlen(text), &test_vocabulary, sets, count);
    CU_ASSERT_PTR_NOT_NULL_FATAL(job);
    if (status != DL_OK)
        dl_job_complain(job, stderr);
    CU_ASSERT_EQUAL_FATAL(status, DL_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(dl_job_root(job));
    return job;
}

static dl_job *read_text(const char *text) {
    return read_sets(text, NULL, 0);
}

static void rows_are_sound(void) {
    CHECK_OK(dl_vocabulary_check(&test_vocabulary));
}

static void defaults_and_shorthands(void) {
    dl_job *job = read_text("# a comment\n" MNIST);
    const dl_node *root = dl_job_root(job);
    CU_ASSERT_STRING_EQUAL(dl_text(root, "name"), "mnist-mlp");
    CU_ASSERT_EQUAL(dl_int(root, "seed"), 0);
    CU_ASSERT_EQUAL(dl_int(root, "batch_size"), 128);
    CU_ASSERT(dl_get(root, "batch_size")->given);
    CU_ASSERT_EQUAL(dl_get(root, "batch_size")->line, 13);
    CU_ASSERT_EQUAL(dl_get(root, "batch_size")->column, 13);
    CU_ASSERT_EQUAL(dl_get(root, "batch_size")->key_column, 1);
    CU_ASSERT_EQUAL(dl_int(dl_get(root, "repeat"), "times"), 1);
    CU_ASSERT(dl_is(root, "accumulate", "auto"));
    CU_ASSERT_PTR_NULL(dl_given(root, "steps"));
    CU_ASSERT_PTR_NOT_NULL(dl_get(root, "steps"));

    const dl_node *hidden = dl_at(dl_get(root, "model"), 0);
    CU_ASSERT_EQUAL(hidden->kind, DL_NODE_ITEM);
    CU_ASSERT_STRING_EQUAL(hidden->text, "dense");
    CU_ASSERT_PTR_EQUAL(hidden->word, &t_layers[0]);
    CU_ASSERT_EQUAL(dl_int(hidden, "units"), 512);
    CU_ASSERT_STRING_EQUAL(dl_text(hidden, "name"), "hidden");
    CU_ASSERT(dl_bool(hidden, "use_bias"));
    CU_ASSERT_STRING_EQUAL(dl_text(hidden, "kernel_initializer"), "glorot_uniform");
    CU_ASSERT_EQUAL(dl_get(hidden, "kernel_initializer")->kind, DL_NODE_ITEM);
    CU_ASSERT_FALSE(dl_get(hidden, "kernel_initializer")->given);

    const dl_node *train = dl_get(dl_get(root, "data"), "train");
    CU_ASSERT_EQUAL(train->kind, DL_NODE_ITEM);
    CU_ASSERT_STRING_EQUAL(dl_text(dl_get(train, "fields"), "y"), "train-labels.gz");
    const dl_node *scale = dl_at(dl_get(dl_get(root, "data"), "prepare"), 1);
    CU_ASSERT_EQUAL(dl_number(scale, "by"), 1.0 / 255);
    const dl_node *one_hot = dl_at(dl_get(dl_get(root, "data"), "prepare"), 2);
    CU_ASSERT(dl_is(one_hot, "field", "y"));
    CU_ASSERT_PTR_NULL(dl_text(one_hot, "classes"));
    CU_ASSERT_EQUAL(dl_number(dl_get(root, "optimizer"), "learning_rate"), 0.001);
    dl_job_close(job);
}

static void values_of_every_type(void) {
    dl_job *job = read_text(
        "data:\n"
        "  source: {values: {x: [[1, 0.5], [-2, 1e-3]], y: [0, 1]}, first: 0.2}\n"
        "  test: {random: 1000, stratify: true}\n"
        "  validation: {rows: 300001.., keep: true}\n"
        "  train: {rows: 2..31}\n"
        "  classes: {vehicle: [0, 1], animal: others}\n"
        "  shuffle: with_replacement\n"
        "  prepare: [{crop: 2 s}, {crop: [28, 28]}]\n"
        "model:\n"
        "  - {conv2d: {filters: 32, kernel_size: 3, strides: [2, 1], activation: \"x * 2\"}}\n"
        "  - {bidirectional: {dense: 3}}\n"
        "  - {bidirectional: {layer: {dense: 4}, merge_mode: sum}}\n"
        "  - {lambda: \"z + normal()\", inputs: [z_mean, z_log_var], name: z, times: 2}\n"
        "  - {concatenate, inputs: vgg.block5_conv3, training: false}\n"
        "  - {dense: {units: 2, kernel_initializer: {constant: [[6, 10], [10, 6]]},\n"
        "     kernel_regularizer: {l2: 0.2/128}, activation: {leaky_relu: 0.01}}}\n"
        "models:\n"
        "  decoder: [flatten, {dense: 4}]\n"
        "loss:\n"
        "  one: {mse: {target: age}}\n"
        "  two: {mae: {target: \"0.05 * uniform()\"}}\n"
        "  three: mse\n"
        "  four: {binary_crossentropy: {target: 0}}\n"
        "loss_weights: {one: 0.25, four: 10}\n"
        "metrics: [{mae, output: one}, {expr: \"8.87 * y_pred\", name: celsius}]\n"
        "optimizer:\n"
        "  sgd:\n"
        "    learning_rate: 1e-4\n"
        "    schedule: {cosine_decay: 0.1, warmup: 2 epochs}\n"
        "class_weight: {cat: 1, dog: 2.5}\n"
        "checkpoint: {every: [1 epoch, 10 min], best: val_loss}\n"
        "repeat: 6\n"
        "constants: {k: 3/4}\n"
        "steps: 10000\n");
    const dl_node *root = dl_job_root(job), *data = dl_get(root, "data");
    const dl_node *source = dl_get(data, "source"), *first = dl_get(source, "first");
    CU_ASSERT_STRING_EQUAL(first->unit, "share");
    CU_ASSERT_EQUAL(first->number, 0.2);
    const dl_node *x = dl_get(dl_get(source, "fields"), "x");
    CU_ASSERT_EQUAL(dl_at(dl_at(x, 1), 1)->number, 1e-3);
    CU_ASSERT_EQUAL(dl_at(dl_at(x, 1), 0)->number, -2);
    CU_ASSERT_EQUAL(dl_get(data, "test")->kind, DL_NODE_MAP);
    CU_ASSERT_STRING_EQUAL(dl_get(dl_get(data, "test"), "random")->unit, "count");
    CU_ASSERT_EQUAL(dl_int(dl_get(data, "test"), "random"), 1000);
    const dl_node *rows = dl_get(dl_get(data, "validation"), "rows");
    CU_ASSERT_EQUAL(rows->number, 300001);
    CU_ASSERT(isinf(rows->number2));
    CU_ASSERT_EQUAL(dl_get(dl_get(data, "train"), "rows")->number2, 31);
    CU_ASSERT_EQUAL(dl_get(dl_get(data, "classes"), "vehicle")->kind, DL_NODE_LIST);
    CU_ASSERT(dl_is(dl_get(data, "classes"), "animal", "others"));
    CU_ASSERT(dl_is(data, "shuffle", "with_replacement"));
    const dl_node *crop = dl_at(dl_get(data, "prepare"), 0);
    CU_ASSERT_STRING_EQUAL(dl_get(crop, "size")->unit, "s");
    CU_ASSERT_EQUAL(dl_number(crop, "size"), 2);

    const dl_node *model = dl_get(root, "model"), *conv = dl_at(model, 0);
    int64_t pair[2];
    CU_ASSERT(dl_ints(conv, "kernel_size", 2, pair) && pair[0] == 3 && pair[1] == 3);
    CU_ASSERT(dl_ints(conv, "strides", 2, pair) && pair[0] == 2 && pair[1] == 1);
    CU_ASSERT_FALSE(dl_ints(conv, "strides", 3, (int64_t[3]){0}));
    CU_ASSERT_EQUAL(dl_get(conv, "activation")->value, DL_VALUE_EXPR);
    CU_ASSERT_EQUAL(dl_int(dl_get(dl_at(model, 1), "layer"), "units"), 3);
    CU_ASSERT(dl_is(dl_at(model, 2), "merge_mode", "sum"));
    CU_ASSERT_EQUAL(dl_get(dl_at(model, 3), "inputs")->count, 2);
    CU_ASSERT(dl_is(dl_at(model, 4), "inputs", "vgg.block5_conv3"));
    CU_ASSERT_FALSE(dl_bool(dl_at(model, 4), "training"));
    const dl_node *dense = dl_at(model, 5);
    CU_ASSERT_EQUAL(dl_number(dl_get(dense, "kernel_regularizer"), "l2"), 0.2 / 128);
    CU_ASSERT_EQUAL(
        dl_at(dl_at(dl_get(dl_get(dense, "kernel_initializer"), "value"), 0), 1)->number, 10);
    CU_ASSERT_EQUAL(dl_number(dl_get(dense, "activation"), "alpha"), 0.01);
    CU_ASSERT_EQUAL(dl_int(dl_at(dl_get(dl_get(root, "models"), "decoder"), 1), "units"), 4);

    const dl_node *loss = dl_get(root, "loss");
    CU_ASSERT_EQUAL(loss->kind, DL_NODE_MAP);
    CU_ASSERT_EQUAL(dl_get(dl_get(loss, "one"), "target")->value, DL_VALUE_NAME);
    CU_ASSERT_EQUAL(dl_get(dl_get(loss, "two"), "target")->value, DL_VALUE_EXPR);
    CU_ASSERT_EQUAL(dl_get(dl_get(loss, "four"), "target")->value, DL_VALUE_NUMBER);
    CU_ASSERT_STRING_EQUAL(dl_get(loss, "three")->text, "mse");
    CU_ASSERT(dl_is(dl_at(dl_get(root, "metrics"), 0), "output", "one"));
    const dl_node *schedule = dl_get(dl_get(root, "optimizer"), "schedule");
    CU_ASSERT_EQUAL(dl_number(schedule, "alpha"), 0.1);
    CU_ASSERT_STRING_EQUAL(dl_get(schedule, "warmup")->unit, "epochs");
    CU_ASSERT_EQUAL(dl_number(dl_get(root, "class_weight"), "dog"), 2.5);
    const dl_node *every = dl_get(dl_get(root, "checkpoint"), "every");
    CU_ASSERT_STRING_EQUAL(dl_at(every, 0)->unit, "epochs");
    CU_ASSERT_STRING_EQUAL(dl_at(every, 1)->unit, "min");
    CU_ASSERT_EQUAL(dl_int(dl_get(root, "repeat"), "times"), 6);
    CU_ASSERT_EQUAL(dl_number(dl_get(root, "constants"), "k"), 0.75);
    dl_job_close(job);
}

/* A lone unknown key with a loss inside is a term; a known word is the loss. */
static void one_loss_or_one_term(void) {
    static const char before[] = "data: {train: {idx: {x: a}}}\nmodel: [flatten]\nepochs: 1\n"
                                 "optimizer: sgd\n";
    char text[512];
    snprintf(text, sizeof text, "%sloss: {expr: \"mean(x)\"}\n", before);
    dl_job *job = read_text(text);
    CU_ASSERT_EQUAL(dl_get(dl_job_root(job), "loss")->kind, DL_NODE_ITEM);
    dl_job_close(job);
    snprintf(text, sizeof text, "%sloss: {smooth: {expr: \"mean(x)\"}}\n", before);
    job = read_text(text);
    CU_ASSERT_EQUAL(dl_get(dl_job_root(job), "loss")->kind, DL_NODE_MAP);
    CU_ASSERT_STRING_EQUAL(dl_get(dl_get(dl_job_root(job), "loss"), "smooth")->text, "expr");
    dl_job_close(job);
    snprintf(text, sizeof text, "%sloss: {mse1: mse}\n", before);
    job = read_text(text);
    CU_ASSERT_EQUAL(dl_get(dl_job_root(job), "loss")->kind, DL_NODE_MAP);
    dl_job_close(job);
}

static void resolved_text_reads_back(void) {
    static const char *const texts[] = {
        MNIST,
        MNIST "description: \"a: b # c\\u00e9 \\\\ \\\" \\x07 \\N\"\n",
        MNIST "freeze: [\"*_conv\", \"!conv_base.block5_*\", a b]\n"
              "constants: {\"odd key:\": 3}\n",
        "data:\n  source: {csv: {file: T (degC).csv, where: {esc10: True}, missing: [9, \"\"],\n"
        "    fields: {x: {all_but: [Price, \"a, b\"]}, y: Price, z: [[1, \"2\"], {a: []}, "
        "[{}]]}}}\n"
        "  test: {random: 0.2}\nmodel: [flatten, {dense: 1, times: 2}, {concatenate, name: c}]\n"
        "loss: {a: {expr: \"x + 1\"}, b: {mse: {target: \"y\"}}}\noptimizer: {sgd: {schedule:\n"
        " {piecewise_constant_decay: {boundaries: [1 epoch, 300 steps], factors: [1, 0.1, "
        "1/100]},\n"
        "  warmup: 1 step}}}\nsteps: 3\n",
    };
    for (int i = 0; i < DL_COUNT(texts); i++) {
        dl_job *job = read_text(texts[i]);
        const char *resolved = dl_job_text(job);
        CU_ASSERT_PTR_NOT_NULL_FATAL(resolved);
        dl_job *again = read_text(resolved);
        CU_ASSERT_STRING_EQUAL(dl_job_text(again), resolved);
        CU_ASSERT_EQUAL(dl_job_hash(again), dl_job_hash(job));
        CHECK_OK(dl_job_same(job, again));
        dl_job_close(again);
        dl_job_close(job);
    }
}

static void resolved_text_shows_defaults(void) {
    dl_job *job = read_text(MNIST);
    const char *text = dl_job_text(job);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nname: mnist-mlp\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nseed: 0\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "model:\n"
                                        "  - dense:\n"
                                        "      units: 512\n"
                                        "      activation: relu\n"
                                        "      use_bias: true\n"
                                        "      kernel_initializer: glorot_uniform\n"
                                        "      kernel_regularizer: none\n"
                                        "    name: hidden\n"
                                        "    times: 1\n"
                                        "    training: auto\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "optimizer:\n  rmsprop:\n    learning_rate: 0.001\n"));
    dl_job_close(job);
}

static void sets_change_values(void) {
    static const char *const sets[] = {
        "batch_size=64",
        "optimizer=sgd",
        "optimizer.sgd.momentum=0.9",
        "optimizer.sgd.schedule={cosine_decay: 0.5}",
        "model.h*.dense.units=4",
        "model.dense.dense.kernel_regularizer={l2: 0.1}",
        "model.hidden.times=2",
        "model.hidden.dense.kernel_initializer=zeros",
        "model.hidden.dense.kernel_initializer=none",
        "data.prepare.1.scale.offset=-1",
        "data.validation.last=0.1",
        "constants.k=2",
        "data.test=none",
        "class_weight=balanced",
        "class_weight=none",
        "checkpoint.keep=3",
        "repeat=4",
        "metrics=[accuracy, mae]",
        "metrics.mae=none",
    };
    dl_job *job = read_sets(MNIST, sets, DL_COUNT(sets));
    const dl_node *root = dl_job_root(job), *optimizer = dl_get(root, "optimizer");
    CU_ASSERT_EQUAL(dl_int(root, "batch_size"), 64);
    CU_ASSERT_STRING_EQUAL(optimizer->text, "sgd");
    CU_ASSERT_EQUAL(dl_number(optimizer, "momentum"), 0.9);
    CU_ASSERT_EQUAL(dl_number(optimizer, "learning_rate"), 0.01);
    CU_ASSERT_EQUAL(dl_number(dl_get(optimizer, "schedule"), "alpha"), 0.5);
    const dl_node *hidden = dl_at(dl_get(root, "model"), 0);
    CU_ASSERT_EQUAL(dl_int(hidden, "units"), 4);
    CU_ASSERT_EQUAL(dl_int(hidden, "times"), 2);
    CU_ASSERT(dl_is(hidden, "kernel_initializer", "glorot_uniform"));
    CU_ASSERT(dl_is(hidden, "activation", "relu"));
    const dl_node *last = dl_at(dl_get(root, "model"), 1);
    CU_ASSERT_EQUAL(dl_number(dl_get(last, "kernel_regularizer"), "l2"), 0.1);
    CU_ASSERT_EQUAL(dl_int(last, "units"), 10);
    const dl_node *data = dl_get(root, "data");
    CU_ASSERT_EQUAL(dl_number(dl_at(dl_get(data, "prepare"), 1), "offset"), -1);
    CU_ASSERT_EQUAL(dl_number(dl_get(data, "validation"), "last"), 0.1);
    CU_ASSERT_PTR_NULL(dl_given(data, "test"));
    CU_ASSERT_EQUAL(dl_number(dl_get(root, "constants"), "k"), 2);
    CU_ASSERT(dl_is(root, "class_weight", "none"));
    CU_ASSERT_EQUAL(dl_int(dl_get(root, "checkpoint"), "keep"), 3);
    CU_ASSERT_EQUAL(dl_int(dl_get(root, "repeat"), "times"), 4);
    CU_ASSERT_EQUAL(dl_get(root, "metrics")->count, 1);
    dl_job_close(job);
}

/* A layer replaced keeps name and inputs; `none` takes one away; a glob takes all that have the
 * path. */
static void sets_change_layers(void) {
    static const char text[] =
        "data: {train: {idx: {x: a}}}\nepochs: 1\noptimizer: sgd\nloss: mse\nmodel:\n"
        "  - {dense: 1, name: h1, inputs: x}\n  - {dropout: 0.5, name: h2}\n"
        "  - {dense: 2, name: h3}\n  - {dense: 7, times: 2}\n  - dense: 8\n";
    static const char *const sets[] = {"model.h1={conv2d: {filters: 3, kernel_size: 5}}",
                                       "model.h2=none", "model.h*.dense.units=9",
                                       "model.dense_2.dense.units=11", "model.h3=flatten"};
    dl_job *job = read_sets(text, sets, DL_COUNT(sets));
    const dl_node *model = dl_get(dl_job_root(job), "model");
    CU_ASSERT_EQUAL(model->count, 4);
    CU_ASSERT_STRING_EQUAL(dl_at(model, 0)->text, "conv2d");
    CU_ASSERT(dl_is(dl_at(model, 0), "name", "h1"));
    CU_ASSERT(dl_is(dl_at(model, 0), "inputs", "x"));
    CU_ASSERT_STRING_EQUAL(dl_at(model, 1)->text, "flatten");
    CU_ASSERT(dl_is(dl_at(model, 1), "name", "h3"));
    CU_ASSERT_EQUAL(dl_int(dl_at(model, 2), "units"), 7);
    CU_ASSERT_EQUAL(dl_int(dl_at(model, 3), "units"), 11);
    dl_job_close(job);
}

/* What a file lacks may come from --set. */
static void sets_complete_a_job(void) {
    static const char text[] = "data: {train: {idx: {x: a}}}\nmodel: [{conv2d: {filters: 3}}]\n"
                               "loss: mse\noptimizer: sgd\n";
    static const char *const sets[] = {"epochs=2", "model.conv2d.conv2d.kernel_size=[3, 5]"};
    dl_job *job = read_sets(text, sets, DL_COUNT(sets));
    CU_ASSERT_EQUAL(dl_int(dl_job_root(job), "epochs"), 2);
    dl_job_close(job);
}

/* A default with arguments keeps them, also when another argument is set. */
static void defaults_with_arguments(void) {
    static const char text[] = "data: {train: {idx: {x: a}}}\nepochs: 1\nloss: mse\n"
                               "optimizer: sgd\nmodel: [{conv2d: {filters: 1, kernel_size: 1}}]\n";
    static const char *const set[] = {
        "model.conv2d.conv2d.kernel_initializer.random_normal.mean=1"};
    for (int sets = 0; sets < 2; sets++) {
        dl_job *job = read_sets(text, set, sets);
        const dl_node *layer = dl_at(dl_get(dl_job_root(job), "model"), 0);
        const dl_node *initializer = dl_get(layer, "kernel_initializer");
        CU_ASSERT_EQUAL(initializer->given, sets == 1);
        CU_ASSERT_EQUAL(dl_number(initializer, "stddev"), 0.02);
        CU_ASSERT_EQUAL(dl_number(initializer, "mean"), sets);
        dl_job_close(job);
    }
}

static void variables_are_replaced(void) {
    setenv("DL_TEST_ROOT", "/tmp/a b", 1);
    unsetenv("DL_TEST_NONE");
    static const char text[] =
        "data: {root: \"${DL_TEST_ROOT}/m${DL_TEST_NONE:-n}\", train: {idx: {x: a}}}\n"
        "model: [flatten]\nepochs: ${DL_TEST_NONE:-3}\nloss: mse\noptimizer: sgd\n";
    dl_job *job = read_text(text);
    const dl_node *data = dl_get(dl_job_root(job), "data");
    CU_ASSERT(dl_is(data, "root", "/tmp/a b/mn"));
    CU_ASSERT_STRING_EQUAL(dl_get(data, "root")->written, "${DL_TEST_ROOT}/m${DL_TEST_NONE:-n}");
    CU_ASSERT_EQUAL(dl_int(dl_job_root(job), "epochs"), 3);
    dl_job_close(job);
}

static void differences_are_named(void) {
    dl_job *then = read_text(MNIST);
    static const char *const lr[] = {"optimizer.rmsprop.learning_rate=0.01"};
    static const char *const same[] = {"optimizer.rmsprop.learning_rate=1e-3",
                                       "description=other words",
                                       "data.root=/elsewhere",
                                       "checkpoint.every=3 steps",
                                       "checkpoint.keep=7",
                                       "evaluate.parts=[train]"};
    static const char *const best[] = {"checkpoint.best=loss"};
    static const char *const fewer[] = {"model.hidden=none"};
    static const char *const steps[] = {"epochs=none", "steps=4"};
    dl_job *now = read_sets(MNIST, lr, 1);
    CHECK_FAILS(dl_job_same(then, now), DL_BAD_JOB,
                "optimizer.rmsprop.learning_rate was 0.001, is 0.01");
    dl_job_close(now);
    now = read_sets(MNIST, same, DL_COUNT(same));
    CHECK_OK(dl_job_same(then, now));
    dl_job_close(now);
    now = read_sets(MNIST, best, 1);
    CHECK_FAILS(dl_job_same(then, now), DL_BAD_JOB, "checkpoint.best was none, is loss");
    dl_job_close(now);
    now = read_sets(MNIST, fewer, 1);
    CHECK_FAILS(dl_job_same(then, now), DL_BAD_JOB, "model.0.dense.units was 512, is 10");
    dl_job_close(now);
    now = read_sets(MNIST, steps, 2);
    CHECK_FAILS(dl_job_same(then, now), DL_BAD_JOB, "epochs was 5, is absent");
    dl_job_close(now);
    dl_job_close(then);
}

static void no_memory_is_told(void) {
    static const char *const sets[] = {"optimizer.rmsprop.rho=0.5", "model.h*.dense.units=3"};
    for (uint64_t n = 1;; n++) {
        dl_job *job = NULL;
        dl_alloc_fail_after(n);
        dl_status status =
            dl_job_read_text(&job, "job.yaml", MNIST, strlen(MNIST), &test_vocabulary, sets, 2);
        bool all = status == DL_OK && dl_job_text(job) != NULL;
        dl_alloc_fail_after(0);
        if (status != DL_OK)
            CU_ASSERT_EQUAL(status, DL_NO_MEMORY);
        dl_job_close(job);
        if (all)
            break;
        CU_ASSERT_FATAL(n < 10000);
    }
}

void suite_job(void) {
    CU_pSuite suite = CU_add_suite("job", NULL, NULL);
    CU_add_test(suite, "rows are sound", rows_are_sound);
    CU_add_test(suite, "defaults and shorthands", defaults_and_shorthands);
    CU_add_test(suite, "values of every type", values_of_every_type);
    CU_add_test(suite, "one loss or one term", one_loss_or_one_term);
    CU_add_test(suite, "resolved text reads back", resolved_text_reads_back);
    CU_add_test(suite, "resolved text shows defaults", resolved_text_shows_defaults);
    CU_add_test(suite, "--set changes values", sets_change_values);
    CU_add_test(suite, "--set changes layers", sets_change_layers);
    CU_add_test(suite, "--set completes a job", sets_complete_a_job);
    CU_add_test(suite, "defaults with arguments", defaults_with_arguments);
    CU_add_test(suite, "variables are replaced", variables_are_replaced);
    CU_add_test(suite, "differences are named", differences_are_named);
    CU_add_test(suite, "no memory is told", no_memory_is_told);
}
