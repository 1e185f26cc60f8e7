/* What the job reader says about a wrong job, word for word: each rule of the language broken once,
 * and the messages that its documentation promises. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "tests/unit/check.h"
#include "tests/unit/job_words.h"

/* A whole job around one line of the model, at line 3. */
#define HEAD "data: {train: {idx: {x: a}}}\nmodel:\n"
#define TAIL "loss: mse\noptimizer: sgd\nepochs: 1\n"

static void expect_of(const char *text, size_t length, const char *const *sets, int count,
                      const char *want, const char *file, int line) {
    dl_job *job = NULL;
    char *got = NULL;
    size_t size;
    dl_status status =
        dl_job_read_text(&job, "job.yaml", text, length, &test_vocabulary, sets, count);
    CU_ASSERT_PTR_NOT_NULL_FATAL(job);
    FILE *stream = open_memstream(&got, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    dl_job_complain(job, stream);
    fclose(stream);
    if (strcmp(got, want) != 0)
        fprintf(stderr, "%s:%d:\n  got:  %s  want: %s", file, line, got, want);
    CU_ASSERT_STRING_EQUAL(got, want);
    CU_ASSERT_EQUAL(status, DL_BAD_JOB);
    CU_ASSERT_PTR_NULL(dl_job_root(job));
    CU_ASSERT_PTR_NULL(dl_job_text(job));
    free(got);
    dl_job_close(job);
}

#define EXPECT(text, want) \
    expect_of((text), strlen(text), NULL, 0, want "\njob.yaml: 1 error\n", __FILE__, __LINE__)
#define EXPECT_ALL(text, want) expect_of((text), strlen(text), NULL, 0, want, __FILE__, __LINE__)
#define EXPECT_SET(text, set, want)                                                              \
    expect_of((text), strlen(text), (const char *const[]){set}, 1, want "\njob.yaml: 1 error\n", \
              __FILE__, __LINE__)

static void documented_messages(void) {
    EXPECT(HEAD "  - flatten\nepochs: 1\nloss: mse\noptimizer: {rmsprop: {learn_rate: 1}}\n",
           "job.yaml:6:23: 'learn_rate' is not an argument of optimizer rmsprop; did you mean "
           "'learning_rate'?");
    EXPECT(HEAD "  - flatten\n" TAIL "optimizer: sgd\n",
           "job.yaml:7:1: 'optimizer' is given twice, first at 5:1; keep one");
    EXPECT(HEAD "  - dense: {units: 3, trainable: false}\n" TAIL,
           "job.yaml:3:23: 'trainable' is not an argument of layer dense; here it is the "
           "top-level key: freeze: [NAME]");
    EXPECT(HEAD "  - maxpool2d: 2\n" TAIL,
           "job.yaml:3:5: 'maxpool2d' is not a layer; did you mean 'max_pooling2d'? (dltrain help "
           "layers)");
    EXPECT(HEAD "  - conv2d: {filters: 3, kernel_size: 3}\n    max_pooling2d: 2\n" TAIL,
           "job.yaml:3:5: this item names two layers, 'conv2d' and 'max_pooling2d'; begin the "
           "second with '- ' on its own line");
    EXPECT(HEAD "  - conv2d: {filters: 3, kernel_size: 3, name: c1}\n" TAIL,
           "job.yaml:3:42: 'name' belongs beside the layer, not inside it: - {conv2d: {...}, "
           "name: c1}");
    EXPECT(HEAD "  - flatten\n" TAIL "checkpoint: {every: 500}\n",
           "job.yaml:7:21: 'every' needs a unit; write '500 epochs', '500 steps', '500 min' or "
           "'500 s'");
    EXPECT(HEAD "  - flatten\n" TAIL "freeze: [*_conv]\n",
           "job.yaml:7:10: '*' begins a YAML alias, and aliases are not allowed; if it is a "
           "pattern, quote it: \"*_conv\" (the same for '!')");
    EXPECT(HEAD "  - flatten\n" TAIL "freeze: [*.conv*, dense]\n",
           "job.yaml:7:10: '*' begins a YAML alias, and aliases are not allowed; if it is a "
           "pattern, quote it: \"*.conv*\" (the same for '!')");
    EXPECT(HEAD "  - flatten\n" TAIL "freeze: [!base.conv]\n",
           "job.yaml:7:10: '!' begins a YAML tag, and tags are not allowed; if it is a pattern, "
           "quote it: \"!base.conv\" (the same for '*')");
    EXPECT("data: {root: ${DLTRAIN_DATA:-data}/mnist, train: {idx: {x: a}}}\n",
           "job.yaml:1:14: a value with ${...} must be quoted inside { } or [ ]: "
           "\"${DLTRAIN_DATA:-data}/mnist\"");
    unsetenv("DL_TEST_NONE");
    EXPECT("data:\n  root: ${DL_TEST_NONE}\n  train: {idx: {x: a}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:2:9: the environment variable DL_TEST_NONE is not set and has no default; "
           "set it, or write ${DL_TEST_NONE:-/path}");
    EXPECT(HEAD "  - flatten\n" TAIL "checkpoint: {best: val_accuracy}\n",
           "job.yaml:7:20: 'val_accuracy' is never logged: data has no validation part; add one, "
           "for example validation: {random: 0.1}, or use accuracy");
    EXPECT_SET(HEAD "  - {dense: 2, name: hidden}\n" TAIL, "model.hiden.dense.units=3",
               "--set model.hiden.dense.units: no 'model.hiden.dense.units' in this job; did you "
               "mean 'model.hidden.dense.units'? (dltrain plan prints every path)");
}

static void all_errors_in_one_go(void) {
    EXPECT_ALL("data:\n"
               "  train: {idx: {x: a}, frist: 3}\n"
               "  prepare: [{scale: fast}, {one_hott: 3}]\n"
               "model:\n"
               "  - {dense: {units: 0}, nam: a}\n"
               "  - conv2d: 3\n"
               "epochs: 1.5\n"
               "bach_size: 3\n"
               "shuffle: false\n",
               "job.yaml:2:24: 'frist' is not a key beside a source; did you mean 'first'?\n"
               "job.yaml:3:21: 'by' cannot be 'fast'; write a number\n"
               "job.yaml:3:29: 'one_hott' is not a step; did you mean 'one_hot'? (dltrain help "
               "steps)\n"
               "job.yaml:5:21: 'units' cannot be '0'; write a whole number of at least 1\n"
               "job.yaml:5:25: 'nam' is not a key beside a layer; did you mean 'name'?\n"
               "job.yaml:6:13: layer conv2d takes no lone value; name its arguments: conv2d: "
               "{filters: ..., kernel_size: ...}\n"
               "job.yaml:7:9: 'epochs' cannot be '1.5'; write a whole number of at least 0\n"
               "job.yaml:8:1: 'bach_size' is not a key of the job; did you mean 'batch_size'?\n"
               "job.yaml:9:1: 'shuffle' is not a key of the job; it is a key of data\n"
               "job.yaml: 9 errors\n");
}

static void yaml_is_bounded(void) {
    char deep[400] = "data: ";
    for (int i = 0; i < 70; i++)
        strcat(deep, "[");
    EXPECT(deep, "job.yaml:1:70: more than 64 levels of lists and maps; write it flatter");
    char nested[2000] = "data: {train: {idx: {x: a}}}\n" TAIL "model: [";
    for (int i = 0; i < 35; i++)
        strcat(nested, "{bidirectional: ");
    strcat(nested, "flatten");
    for (int i = 0; i < 35; i++)
        strcat(nested, "}");
    strcat(nested, "]\n");
    EXPECT(nested, "job.yaml:1:1: spelled out with all defaults the job is larger than a job file "
                   "may be (1 MiB, 100000 values, 64 levels); write it smaller");
    size_t large = (1 << 20) + 1;
    char *text = malloc(large);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, '#', large);
    expect_of(text, large, NULL, 0,
              "job.yaml: larger than 1 MiB; move data into a file of its own\n"
              "job.yaml: 1 error\n",
              __FILE__, __LINE__);
    size_t used = (size_t)sprintf(text, "data: [");
    while (used < 300000) {
        memcpy(text + used, "1, ", 3);
        used += 3;
    }
    memset(text + used, '1', 2);
    memcpy(text + used, "\n", 2);
    for (int i = 0; i < 20000; i++) {
        memcpy(text + used, "1, ", 3);
        used += 3;
    }
    expect_of(text, used, NULL, 0,
              "job.yaml:1:300002: more than 100000 values; move data into a file of its own\n"
              "job.yaml: 1 error\n",
              __FILE__, __LINE__);
    free(text);
}

static void yaml_is_refused(void) {
    EXPECT("data: &a {train: {idx: {x: a}}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:7: '&' begins a YAML anchor, and anchors are not allowed; write the value "
           "out at each place, or quote it if it is text");
    EXPECT("data: {train: {idx: {x: !!str a}}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:25: '!' begins a YAML tag, and tags are not allowed; if it is a pattern, "
           "quote it: \"!!str\" (the same for '*')");
    EXPECT("data: {train: {idx: {x: a}}}\nmodel: [flatten]\n" TAIL "<<: 3\n",
           "job.yaml:6:1: '<<' is a YAML merge key, and merging is not allowed; write the keys "
           "out");
    EXPECT("data: {train: {idx: {x: a}}}\nmodel: [flatten]\n" TAIL "zzzzz: 3\n",
           "job.yaml:6:1: 'zzzzz' is not a key of the job; there are version, name, description, "
           "output, seed, repeat, constants, device, precision, tf32, kernels, "
           "steps_per_execution, ... (dltrain help)");
    EXPECT("a: 1\n---\nb: 2\n", "job.yaml:2:1: a second document begins; a file holds one job");
    EXPECT("", "job.yaml:1:1: nothing is in it; a job has at least data and model");
    EXPECT("- a\n", "job.yaml:1:1: a job is a map of keys; begin with 'data:' and 'model:'");
    EXPECT("data: {x: 1\nmodel: 2\n",
           "job.yaml:2:6: this is not YAML: did not find expected ',' or '}'; close the bracket or "
           "brace, and quote text with , [ ] { } in it");
    EXPECT("\tdata: 1\n",
           "job.yaml:1:1: this is not YAML: found character that cannot start any token; indent "
           "with blanks, never tabs; quote text that begins with a special character");
    EXPECT("? [a]\n: b\n", "job.yaml:1:3: a key must be a plain word, not a list or map; quote "
                           "${...} and braces that are meant as text");
    EXPECT("name: a\xff\n", "job.yaml: byte 7 is not UTF-8 text; save the file as plain UTF-8");
    EXPECT(HEAD "  - flatten\n" TAIL "description: \"a\\0b\"\n",
           "job.yaml:7:14: the text has a NUL character in it; leave it out");
    EXPECT(HEAD "  - flatten\n" TAIL "description: \"a${b\"\n",
           "job.yaml:7:14: '${b' is no variable; write ${NAME} or ${NAME:-default}");
    EXPECT(HEAD "  - flatten\n" TAIL "description: \"${DL_TEST_NONE:-$}{b}\"\n",
           "job.yaml:7:14: the value still has ${ in it after the variables were put in; set them "
           "to plain text");
}

static void items(void) {
    EXPECT(HEAD "  - {name: a}\n" TAIL, "job.yaml:3:5: this item names no layer; write one, for "
                                        "example dense (dltrain help layers)");
    EXPECT(HEAD "  - {dense: 3, units: 4}\n" TAIL,
           "job.yaml:3:16: 'units' is not a key beside a layer; it belongs inside: dense: {units: "
           "...}");
    EXPECT(HEAD "  - {flatten: 3}\n" TAIL,
           "job.yaml:3:15: layer flatten takes no arguments; write it alone: flatten");
    EXPECT(HEAD "  - flatten\nepochs: 1\nloss: mse\noptimizer: {sgd: 1, rmsprop: 1}\n",
           "job.yaml:6:12: this item names two optimizers, 'sgd' and 'rmsprop'; keep one");
    EXPECT(HEAD "  - rmsprop\n" TAIL, "job.yaml:3:5: 'rmsprop' is not a layer; it is an optimizer");
    EXPECT(HEAD "  - conv2d: {filters: 3}\n" TAIL,
           "job.yaml:3:5: layer conv2d lacks 'kernel_size'; add kernel_size: a whole number of at "
           "least 1, or a list, each entry a whole number of at least 1");
    EXPECT(HEAD "  dense: 3\n" TAIL,
           "job.yaml:3:3: 'model' cannot be a map; write a list of layers");
    EXPECT(HEAD "  -\n" TAIL,
           "job.yaml:3:4: 'model' has no value; write a layer, or leave the entry out");
    EXPECT_ALL(HEAD "  - bidirectional: {layr: {dense: 3}, merge_mode: sum}\n" TAIL,
               "job.yaml:3:5: layer bidirectional lacks 'layer'; add layer: a layer\n"
               "job.yaml:3:21: 'layr' is not an argument of layer bidirectional; did you mean "
               "'layer'?\njob.yaml: 2 errors\n");
}

static void values(void) {
    EXPECT(HEAD "  - conv2d: {filters: 1, kernel_size: 1, padding: smae}\n" TAIL,
           "job.yaml:3:51: 'padding' cannot be 'smae'; write valid or same");
    EXPECT(HEAD "  - conv2d: {filters: 1, kernel_size: 1, padding: 3}\n" TAIL,
           "job.yaml:3:51: 'padding' cannot be '3'; write valid or same");
    EXPECT(HEAD "  - dropout: 1.5\n" TAIL,
           "job.yaml:3:14: 'rate' cannot be '1.5'; write a number from 0 to 1");
    EXPECT(HEAD "  - dense: {units: 3, use_bias: yes}\n" TAIL,
           "job.yaml:3:33: 'use_bias' cannot be 'yes'; write true or false");
    EXPECT(HEAD "  - dense: {units: 3, activation: reluu}\n" TAIL,
           "job.yaml:3:35: 'reluu' is not an activation; did you mean 'relu'? (dltrain help "
           "activations)");
    EXPECT(HEAD "  - lambda: x + 1\n" TAIL,
           "job.yaml:3:13: 'expr' cannot be 'x + 1'; write an expression in quotes");
    EXPECT(HEAD "  - {dense: 3, name: a b}\n" TAIL,
           "job.yaml:3:22: 'name' cannot be 'a b'; write a name (letters, digits and _)");
    EXPECT(HEAD "  - {dense: 3, name: a.b}\n" TAIL,
           "job.yaml:3:22: 'name' cannot be 'a.b'; write a name (letters, digits and _)");
    EXPECT(HEAD "  - {dense: 3, name: }\n" TAIL,
           "job.yaml:3:16: 'name' has no value; write a name (letters, digits and _), or leave "
           "the key out");
    EXPECT(HEAD "  - flatten\n" TAIL "checkpoint: {every: 25MiB}\n",
           "job.yaml:7:21: 'every' cannot be '25MiB'; write a number with its unit: epochs, "
           "steps, min or s, or a list, each entry a number with its unit: epochs, steps, min or "
           "s");
    EXPECT(HEAD "  - flatten\n" TAIL "seed: 0x10\n",
           "job.yaml:7:7: 'seed' cannot be '0x10'; write a whole number of at least 0");
    EXPECT(HEAD "  - flatten\n" TAIL "constants: {a: nan}\n",
           "job.yaml:7:16: 'a' cannot be 'nan'; write a number");
    EXPECT(HEAD "  - flatten\n" TAIL "constants: {a: 1/0}\n",
           "job.yaml:7:16: 'a' cannot be '1/0'; write a number");
    EXPECT(HEAD "  - flatten\n" TAIL "name: ../x\n",
           "job.yaml:7:7: 'name' cannot be '../x'; write a name (letters, digits, '_', '-' and "
           "'.')");
    EXPECT("data: {train: {idx: {x: a}, first: 1.5}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:36: 'first' cannot be '1.5'; write a count (1000) or a share (0.2)");
    EXPECT("data: {train: {idx: {x: a}, rows: 5..2}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:35: 'rows' cannot be '5..2'; write a range (2..31, or 5.. for an open end)");
}

static void keras_words(void) {
    EXPECT(HEAD "  - flatten\n" TAIL "validation_split: 0.2\n",
           "job.yaml:7:1: 'validation_split' is not a key of the job; here it is a key of data: "
           "validation: {last: 0.2}");
    EXPECT(HEAD "  - flatten\nepochs: 1\nloss: mse\noptimizer: {sgd: {lr: 0.1}}\n",
           "job.yaml:6:19: 'lr' is not an argument of optimizer sgd; write learning_rate: 0.1");
    EXPECT(HEAD "  - flatten\nepochs: 1\nloss: mse\noptimizer: {sgd: {decay: 1e-6}}\n",
           "job.yaml:6:19: 'decay' is not an argument of optimizer sgd; write schedule: "
           "{inverse_time_decay: {decay_rate: 1e-6, decay_steps: 1 step}}");
    EXPECT(HEAD "  - dense: {units: 3, input_shape: [4]}\n" TAIL,
           "job.yaml:3:23: 'input_shape' is not an argument of layer dense; the data say the "
           "shape, else begin with a layer: input");
    EXPECT(HEAD "  - flatten\nepochs: 1\nloss: mean_squared_error\noptimizer: sgd\n",
           "job.yaml:5:7: 'mean_squared_error' is not a loss; write mse");
    EXPECT(HEAD "  - flatten\n" TAIL "metrics: [acc]\n",
           "job.yaml:7:11: 'acc' is not a metric; write accuracy");
    EXPECT(HEAD "  - flatten\n" TAIL "callbacks: [{model_checkpoint: {save_best_only: true}}]\n",
           "job.yaml:7:14: 'model_checkpoint' is not a callback; here it is the top-level key: "
           "checkpoint: {best: val_loss}");
    EXPECT("data: {train: {idx: {x: a}}, prepare: [{rescale: 1/255}]}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:41: 'rescale' is not a step; here it is a step of data.prepare: - scale: "
           "1/255");
}

static void rules(void) {
    EXPECT(HEAD "  - flatten\n" TAIL "steps: 3\n",
           "job.yaml:7:1: 'steps' and 'epochs' are both given; keep one");
    EXPECT(HEAD "  - flatten\nloss: mse\noptimizer: sgd\n",
           "job.yaml:1:1: the job lacks 'epochs' or 'steps'; add one, for example epochs: 10 (0 "
           "only evaluates)");
    EXPECT(HEAD "  - flatten\nloss: mse\nepochs: 1\n",
           "job.yaml:1:1: the job lacks 'optimizer', which training needs; add optimizer: sgd");
    EXPECT("data: {test: {idx: {x: a}}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:7: data has nothing to train on; add train or source");
    EXPECT("data: {train: {idx: {x: a}}, test: {first: 3, last: 3}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:47: 'last' and 'first' both cut test; keep one");
    EXPECT("data: {train: {idx: {x: a}}, validation: {from: test}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:49: data has no 'test' to cut validation from; add one");
    EXPECT("data: {train: {idx: {x: a}}, test: {from: test}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:43: test cannot be cut from itself; write from: source or from: train");
    EXPECT("data: {train: {idxx: {x: a}}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:16: 'idxx' is not a source; did you mean 'idx'? (dltrain help sources)");
    EXPECT("data: {train: {idx: {x: a}}, test: {frist: 3, keep: true}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:37: 'frist' is not a key of cut; did you mean 'first'?");
    EXPECT(HEAD "  - flatten\nloss: {a: mse, b: mae}\noptimizer: sgd\nepochs: 1\n"
                "loss_weights: {a: 1, bb: 2}\n",
           "job.yaml:7:22: 'bb' is not a term of the loss; name the terms: loss: {bb: ...}");
    EXPECT(HEAD "  - flatten\nloss: {smooth: msee, b: mae}\noptimizer: sgd\nepochs: 1\n",
           "job.yaml:4:16: 'msee' is not a loss; did you mean 'mse'? (dltrain help losses)");
}

static void sets(void) {
    static const char text[] = HEAD "  - {dense: 2, name: hidden}\n" TAIL;
    EXPECT_SET(text, "epochs", "--set: 'epochs' is not PATH=VALUE; write --set epochs=3");
    EXPECT_SET(text, "epochs=x",
               "--set epochs: 'epochs' cannot be 'x'; write a whole number of at least 0");
    EXPECT_SET(text, "optimizer.sgd.lr=3",
               "--set optimizer.sgd.lr: no 'optimizer.sgd.lr' in this job; write learning_rate: 3");
    EXPECT_SET(text, "epochs=[1",
               "--set epochs: this is not YAML: did not find expected ',' or ']'; close the "
               "bracket or brace, and quote text with , [ ] { } in it");
    EXPECT_SET(text, "model..x=3",
               "--set model..x: 'model..x' is no path; its parts are joined by one dot");
    EXPECT_SET(text, "epochs=none",
               "job.yaml:1:1: the job lacks 'epochs' or 'steps'; add one, for example epochs: 10 "
               "(0 only evaluates)");
    EXPECT_SET(text, "model.hidden={dense: 3, nam: b}",
               "--set model.hidden: 'nam' is not a key beside a layer; did you mean 'name'?");
    EXPECT_SET(text, "data.validation.lsat=0.2",
               "--set data.validation.lsat: 'lsat' is not a source; there are idx, values, csv "
               "(dltrain help sources)");
    /* What was wrong in the file stays wrong with a set beside it. */
    EXPECT_SET(HEAD "  - {dense: 2, nam: hidden}\n" TAIL, "epochs=3",
               "job.yaml:3:16: 'nam' is not a key beside a layer; did you mean 'name'?");
    EXPECT_SET(HEAD "  - {dense: {units: 2, unit: 3}}\n" TAIL, "epochs=3",
               "job.yaml:3:24: 'unit' is not an argument of layer dense; did you mean 'units'?");
}

/* A source of a later version is told as one, also with what may stand beside it. */
static void unknown_sources(void) {
    EXPECT("data: {train: {cifar: [a.bin], first: 1000}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:16: 'cifar' is not a source; there are idx, values, csv (dltrain help "
           "sources)");
    EXPECT("data: {train: {idx: {x: a}}, test: {first: 3, frmo: train}}\nmodel: [flatten]\n" TAIL,
           "job.yaml:1:47: 'frmo' is not a key of cut; did you mean 'from'?");
}

static void many_errors_are_cut(void) {
    char text[8192] = "data: {train: {idx: {x: a}}}\nmodel:\n";
    for (int i = 0; i < 150; i++)
        strcat(text, "  - dense: 0\n");
    strcat(text, TAIL);
    dl_job *job = NULL;
    CHECK_FAILS(dl_job_read_text(&job, "job.yaml", text, strlen(text), &test_vocabulary, NULL, 0),
                DL_BAD_JOB, "job.yaml:3:12: 'units' cannot be '0'");
    CU_ASSERT(dl_job_errors(job) > 100);
    dl_job_close(job);
}

static void files(void) {
    dl_job *job = NULL;
    CHECK_FAILS(dl_job_read(&job, "/nowhere/job.yaml", &test_vocabulary, NULL, 0), DL_NO_INPUT,
                "/nowhere/job.yaml: cannot be opened: No such file or directory");
    dl_job_close(job);
    CHECK_FAILS(dl_job_read(&job, "/tmp", &test_vocabulary, NULL, 0), DL_NO_INPUT, "is a folder");
    dl_job_close(job);
}

static void warnings(void) {
    static const char text[] = HEAD "  - {dense: 1}\n" TAIL;
    dl_job *job = NULL;
    CHECK_OK(dl_job_read_text(&job, "job.yaml", text, strlen(text), &test_vocabulary, NULL, 0));
    dl_job_warn(job, dl_at(dl_get(dl_job_root(job), "model"), 0), "'%s' has no activation",
                "dense");
    CU_ASSERT_EQUAL(dl_job_warnings(job), 1);
    CU_ASSERT_EQUAL(dl_job_errors(job), 0);
    char *got = NULL;
    size_t size;
    FILE *stream = open_memstream(&got, &size);
    dl_job_complain(job, stream);
    fclose(stream);
    CU_ASSERT_STRING_EQUAL(got, "job.yaml:3:5: warning: 'dense' has no activation\n");
    free(got);
    dl_job_close(job);
}

/* A wrong row is a defect that is named. */
static void wrong_rows(void) {
    static const struct {
        dl_key key;
        const char *part;
    } list[] = {
        {{"a", "integer", "1", "h"}, "no such type"},
        {{"a", "item lyer", "1", "h"}, "no such family or table"},
        {{"a", "int 1..", "0", "h"}, "the default '0' is not of its type"},
        {{"a", "list int", "[]", "h"}, "'of' is missing"},
        {{"a", "list of (int or bool", "[]", "h"}, "')' is missing"},
        {{"a", "int 1.. 2", "1", "h"}, "something follows"},
        {{"a", "word x||y", "x", "h"}, "words are joined"},
        {{"a", "int", "1", ""}, "has no help"},
    };
    for (int i = 0; i < DL_COUNT(list); i++) {
        dl_table root = {"job", &list[i].key, 1, 0};
        dl_vocabulary v = {.root = &root};
        CHECK_FAILS(dl_vocabulary_check(&v), DL_INTERNAL, list[i].part);
    }
}

void suite_job_errors(void) {
    CU_pSuite suite = CU_add_suite("job errors", NULL, NULL);
    CU_add_test(suite, "documented messages", documented_messages);
    CU_add_test(suite, "all errors in one go", all_errors_in_one_go);
    CU_add_test(suite, "YAML is bounded", yaml_is_bounded);
    CU_add_test(suite, "YAML is refused", yaml_is_refused);
    CU_add_test(suite, "items", items);
    CU_add_test(suite, "values", values);
    CU_add_test(suite, "Keras words", keras_words);
    CU_add_test(suite, "rules", rules);
    CU_add_test(suite, "--set", sets);
    CU_add_test(suite, "unknown sources", unknown_sources);
    CU_add_test(suite, "many errors are cut", many_errors_are_cut);
    CU_add_test(suite, "files", files);
    CU_add_test(suite, "warnings", warnings);
    CU_add_test(suite, "wrong rows", wrong_rows);
}
