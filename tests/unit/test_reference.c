/* Networks against Keras 2 and PyTorch: every layer, activation, loss, metric, optimizer, schedule
 * and regularizer of the vocabulary, through the job reader, the network's programs and their
 * execution. The cases and the scripts that made them are in tests/reference/; reference.c reads
 * them.
 *
 * The references were computed in float64 (but for a few of batch normalisation, said below) and
 * rounded, so a difference is float32 rounding here: a sum of n terms is off by about sqrt(n) 6e-8
 * of its terms' size, and values pass through some five such sums of up to 100 terms forward and
 * backward. That is 3e-6 of the greatest value; 1e-5 leaves a factor of three, and a wrong formula
 * is off by far more. Small elements of a tensor carry the error of its large ones, so errors are
 * measured against the tensor's greatest magnitude; after ten steps, against the greatest change.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/single.h"
#include "launcher/job.h"
#include "launcher/verbs.h"
#include "models/initializers.h"
#include "models/network.h"
#include "ops/ops.h"
#include "runtime/exec/exec.h"
#include "tests/unit/check.h"
#include "tests/unit/reference.h"
#include "tests/unit/runs.h"

enum { STEPS = 10, MAX_FIELDS = 8, MAX_METRICS = 16 };
static const double tolerance = 1e-5;

/* A gradient is read from a step of plain descent: so long a step that the weight itself does not
 * blur it, by a power of two, which rounds nothing. */
static const double long_step = 0x1p30;

/* How the same batch is computed: in one piece on one and two threads, and cut into pieces of
 * unequal size that run side by side. */
typedef struct manner {
    const char *name;
    dl_team_form form;
    int threads, leaves;
} manner;

typedef struct trial {
    const reference_case *c;
    const manner *manner;
    dl_comm *comm;
    dl_team *team;
    dl_job *job;
    dl_network *network;
    dl_field field[MAX_FIELDS];
    int fields;
    float rate, step, samples;
} trial;

/* Errors name the case; a good case says nothing. */
static void report(const trial *t, bool passed, const char *what, const char *name,
                   const char *text) {
    char line[CHECK_TEXT + 256];
    snprintf(line, sizeof line, "%s (%s): %s %s: %s", t->c->name, t->manner->name, what, name,
             text);
    check_report(passed, line, "reference", __FILE__, __LINE__);
}

static double greatest(const reference_entry *entry) {
    const float *values = entry->data;
    double most = 0;
    for (int64_t i = 0; i < dl_type_count(&entry->type); i++)
        most = fmax(most, fabs((double)values[i]));
    return most;
}

/* What ten steps changed, and the rounding of each to the spacing of float32. */
static double change(const reference_entry *before, const reference_entry *after) {
    const float *w = before->data, *next = after->data;
    double most = 0;
    for (int64_t i = 0; i < dl_type_count(&after->type); i++)
        most = fmax(most, fabs((double)next[i] - (double)w[i]));
    return tolerance * most + STEPS * 0x1p-24 * fmax(greatest(before), greatest(after));
}

/* The gradient of a bias before batch normalisation is 0, a sum of terms that cancel: no gradient
 * is held to less than a share of the greatest. */
static double greatest_gradient(const reference_case *c) {
    double most = 0;
    for (int i = 0; i < c->entries; i++)
        if (c->entry[i].key == REFERENCE_GRADIENT)
            most = fmax(most, greatest(&c->entry[i]));
    return most;
}

static void compare(const trial *t, const char *what, const reference_entry *want, const float *got,
                    double error) {
    char text[CHECK_TEXT];
    bool passed = check_close(got, want->data, dl_type_count(&want->type), error, 0, text);
    report(t, passed, what, want->name, text);
}

static bool fails(const trial *t, dl_status status, const char *what) {
    report(t, status == DL_OK, what, "", status == DL_OK ? "" : dl_message());
    return status != DL_OK;
}

static dl_status open_trial(trial *t, const char *set) {
    char text[8192];
    snprintf(text, sizeof text, "data: {train: {idx: {x: none}}}\nsteps: %d\n%s", STEPS, t->c->job);
    DL_TRY(dl_job_read_text(&t->job, t->c->name, text, strlen(text), dl_job_vocabulary(), &set,
                            set != NULL));
    t->fields = 0;
    for (int i = 0; i < t->c->entries; i++) {
        const reference_entry *entry = &t->c->entry[i];
        if (entry->key != REFERENCE_INPUT)
            continue;
        if (t->fields == MAX_FIELDS)
            return dl_fail(DL_INTERNAL, "too many fields");
        t->field[t->fields++] = (dl_field){
            .name = entry->name,
            .type = dl_type_make(entry->type.dtype, entry->type.rank - 1, entry->type.dim + 1),
            .classes = entry->classes};
    }
    DL_TRY(dl_network_open(&t->network, dl_job_root(t->job), t->field, t->fields, dl_ops()));
    DL_TRY(dl_network_allocate(t->network));
    DL_TRY(dl_network_initialize(t->network, 1));
    dl_network_set_steps_per_epoch(t->network, t->c->steps_per_epoch);
    const dl_variables *variables = dl_network_variables(t->network);
    int loaded = 0, given = 0;
    for (int i = 0; i < variables->count; i++) {
        const dl_variable *v = variables->list[i];
        if (strcmp(v->name, "class_weight/table") == 0)
            continue;
        const reference_entry *entry = reference_find(t->c, REFERENCE_WEIGHT, v->name);
        dl_type type = dl_keras_type(v);
        if (!entry || !dl_same_shape(&type, &entry->type))
            return dl_fail(DL_INTERNAL, "the reference has no weight '%s' of this shape", v->name);
        dl_from_keras(v, entry->data, dl_variable_data(variables, v));
        loaded++;
    }
    dl_network_variables(t->network)->version++;
    for (int i = 0; i < t->c->entries; i++)
        given += t->c->entry[i].key == REFERENCE_WEIGHT;
    return loaded == given ? DL_OK : dl_fail(DL_INTERNAL, "%d weights of %d found", loaded, given);
}

static void close_trial(trial *t) {
    dl_network_close(t->network);
    dl_job_close(t->job);
    t->network = NULL;
    t->job = NULL;
}

static dl_status open_program(trial *t, dl_exec **exec, const char *name, dl_build_fn build,
                              bool training) {
    dl_exec_options options = {.name = name,
                               .ops = dl_ops(),
                               .variables = dl_network_variables(t->network),
                               .comm = t->comm,
                               .team = t->team,
                               .leaves = t->manner->leaves,
                               .training = training,
                               .memory = DL_MEMORY_POISONED,
                               .build = build,
                               .argument = t->network};
    DL_TRY(dl_exec_open(exec, &options));
    DL_TRY(dl_exec_prepare(*exec, t->c->samples));
    DL_TRY(dl_exec_connect(*exec));
    const struct {
        const char *name;
        const float *at;
    } scalar[] = {{"learning_rate", &t->rate}, {"step", &t->step}, {"samples", &t->samples}};
    t->samples = (float)t->c->samples;
    for (int i = 0; i < t->c->entries; i++) {
        const reference_entry *entry = &t->c->entry[i];
        int input = entry->key == REFERENCE_INPUT ? dl_exec_input(*exec, entry->name) : -1;
        if (input >= 0)
            dl_exec_bind_input(*exec, input, entry->data);
    }
    for (int i = 0; i < DL_COUNT(scalar); i++)
        if (dl_exec_input(*exec, scalar[i].name) >= 0)
            dl_exec_bind_input(*exec, dl_exec_input(*exec, scalar[i].name), scalar[i].at);
    return DL_OK;
}

static dl_status run_step(trial *t, dl_exec *exec, int step, double rate) {
    t->rate = (float)rate;
    t->step = (float)(step + 1);
    dl_random random = {.seed = 1, .step = (uint32_t)step};
    return dl_exec_run(exec, t->c->samples, &random);
}

static void check_predictions(trial *t) {
    dl_exec *exec = NULL;
    float *memory[MAX_FIELDS] = {NULL};
    int outputs = dl_network_output_count(t->network), given = 0;
    for (int i = 0; i < t->c->entries; i++)
        given += t->c->entry[i].key == REFERENCE_OUTPUT;
    report(t, outputs == given && outputs <= MAX_FIELDS, "outputs", "", "another number of them");
    if (fails(t, open_program(t, &exec, "prediction", dl_network_prediction, false), "prediction"))
        goto close;
    for (int i = 0; i < outputs && i < MAX_FIELDS; i++) {
        const char *name = dl_network_output_name(t->network, i);
        const reference_entry *want = reference_find(t->c, REFERENCE_OUTPUT, name);
        report(t, want != NULL, "output", name, "the reference has none");
        if (!want || !(memory[i] = dl_alloc(dl_type_bytes(&want->type))))
            goto close;
        dl_type type = dl_network_output_type(t->network, i);
        type.dim[0] = t->c->samples;
        report(t, dl_same_shape(&type, &want->type), "output", name, "another shape");
        dl_exec_bind_output(exec, dl_exec_output(exec, name), memory[i]);
    }
    if (fails(t, run_step(t, exec, 0, 0), "prediction"))
        goto close;
    for (int i = 0; i < outputs && i < MAX_FIELDS; i++) {
        const char *name = dl_network_output_name(t->network, i);
        const reference_entry *want = reference_find(t->c, REFERENCE_OUTPUT, name);
        compare(t, "output", want, memory[i], tolerance * greatest(want));
    }
close:
    for (int i = 0; i < MAX_FIELDS; i++)
        dl_free(memory[i]);
    dl_exec_close(exec);
}

/* Loss and metrics of the run just made. They are means of numbers near 1, and a loss may be near
 * 0: the error is held against no less than 1. */
static void check_metrics(trial *t, dl_exec *exec, reference_key key, const char *what) {
    double sums[MAX_METRICS], values[MAX_METRICS];
    int count = dl_network_metric_count(t->network), given = 0;
    const float *result = dl_exec_result(exec, dl_exec_output(exec, "metrics"));
    report(t, count <= MAX_METRICS, what, "", "too many metrics");
    for (int i = 0; i < dl_network_sum_count(t->network) && i < MAX_METRICS; i++)
        sums[i] = (double)result[i];
    dl_network_metric_values(t->network, sums, (double)t->c->samples, values);
    for (int i = 0; i < t->c->entries; i++)
        given += t->c->entry[i].key == key;
    report(t, given == count, what, "", "another number of metrics");
    for (int i = 0; i < count; i++) {
        const char *name = dl_network_metric_name(t->network, i);
        const reference_entry *want = reference_find(t->c, key, name);
        report(t, want != NULL, what, name, "the reference has none");
        char text[CHECK_TEXT];
        if (want)
            report(t,
                   check_close_double(&values[i], &want->number, 1,
                                      tolerance * fmax(1, fabs(want->number)), 0, text),
                   what, name, text);
    }
}

static void check_evaluation(trial *t) {
    dl_exec *exec = NULL;
    if (!fails(t, open_program(t, &exec, "evaluation", dl_network_evaluation, false),
               "evaluation") &&
        !fails(t, run_step(t, exec, 0, 0), "evaluation"))
        check_metrics(t, exec, REFERENCE_EVALUATION, "evaluation");
    dl_exec_close(exec);
}

/* Every variable against the reference: the weights after ten steps, or the gradients that one long
 * step tells. */
static void check_variables(trial *t, bool gradients) {
    const dl_variables *variables = dl_network_variables(t->network);
    reference_key key = gradients ? REFERENCE_GRADIENT : REFERENCE_AFTER;
    int found = 0, given = 0;
    for (int i = 0; i < variables->count; i++) {
        const dl_variable *v = variables->list[i];
        const reference_entry *want = reference_find(t->c, key, v->name);
        const reference_entry *before = reference_find(t->c, REFERENCE_WEIGHT, v->name);
        if (!want || !before)
            continue;
        found++;
        int64_t count = dl_type_count(&v->type);
        float *got = dl_alloc(sizeof(float) * (size_t)count);
        if (!got)
            continue;
        dl_to_keras(v, dl_variable_data(variables, v), got);
        const float *w = before->data;
        for (int64_t e = 0; gradients && e < count; e++)
            got[e] = (float)(((double)w[e] - (double)got[e]) / long_step);
        if (gradients)
            compare(t, "gradient", want, got,
                    tolerance * fmax(greatest(want), greatest_gradient(t->c) / 8));
        else
            compare(t, "after ten steps", want, got, change(before, want));
        dl_free(got);
    }
    for (int i = 0; i < t->c->entries; i++)
        given += t->c->entry[i].key == key;
    report(t, found == given, gradients ? "gradient" : "after", "", "not all were found");
}

static void check_gradients(trial *t) {
    dl_exec *exec = NULL;
    if (!fails(t, open_program(t, &exec, "step", dl_network_step, true), "gradient step") &&
        !fails(t, run_step(t, exec, 0, long_step), "gradient step"))
        check_variables(t, true);
    dl_exec_close(exec);
}

static void check_steps(trial *t) {
    dl_exec *exec = NULL;
    if (fails(t, open_program(t, &exec, "step", dl_network_step, true), "step"))
        goto close;
    for (int i = 0; i < STEPS; i++) {
        double rate = dl_network_learning_rate(t->network, i, STEPS,
                                               dl_network_base_learning_rate(t->network));
        if (fails(t, run_step(t, exec, i, rate), "step"))
            goto close;
        if (i == 0)
            check_metrics(t, exec, REFERENCE_TRAINING, "training");
    }
    check_variables(t, false);
close:
    dl_exec_close(exec);
}

static void run_case(trial *t) {
    if (!fails(t, open_trial(t, NULL), "job")) {
        check_predictions(t);
        check_evaluation(t);
        check_steps(t);
    }
    close_trial(t);
    if (!fails(t, open_trial(t, "optimizer=sgd"), "job"))
        check_gradients(t);
    close_trial(t);
}

static void run_file(const char *stem, const manner *how) {
    dl_arena arena = {0};
    reference_case *list = NULL;
    int count = 0;
    trial t = {.manner = how};
    if (CHECK_OK(reference_read(&arena, stem, &list, &count)) &&
        CHECK_OK(dl_single_open(&t.comm)) &&
        CHECK_OK(dl_team_open(&t.team, how->form, how->threads)))
        for (int i = 0; i < count; i++) {
            t.c = &list[i];
            run_case(&t);
        }
    dl_team_close(t.team);
    dl_comm_close(t.comm);
    dl_arena_free(&arena);
}

#define REFERENCES DL_SOURCE_DIR "/tests/reference/"
static const char *const stems[] = {REFERENCES "keras", REFERENCES "torch"};
static const manner one_thread = {"one thread", DL_TEAM_LONE, 1, 1},
                    two_threads = {"two threads", DL_TEAM_LONE, 2, 1},
                    in_pieces = {"in pieces", DL_TEAM_SIDE, 2, 3};

void reference_run_each(void) {
    run_file(stems[0], &one_thread);
    run_file(stems[1], &one_thread);
}

static void test_keras(void) {
    run_file(stems[0], &one_thread);
}
static void test_keras_two_threads(void) {
    run_file(stems[0], &two_threads);
}
static void test_keras_in_pieces(void) {
    run_file(stems[0], &in_pieces);
}
static void test_torch(void) {
    run_file(stems[1], &one_thread);
}
static void test_torch_in_pieces(void) {
    run_file(stems[1], &in_pieces);
}

/* Marks the words that a job uses. */
static void mark(const dl_node *node, const dl_word **used, int *count, int capacity) {
    for (; node; node = node->next) {
        bool known = !node->word || *count == capacity;
        for (int i = 0; i < *count && !known; i++)
            known = used[i] == node->word;
        if (!known)
            used[(*count)++] = node->word;
        mark(node->first, used, count, capacity);
        mark(node->args, used, count, capacity);
        mark(node->beside, used, count, capacity);
    }
}

/* Whole networks are held by test_zoo.c, a job's own formulas by test_user_expr.c. */
static bool held_elsewhere(const dl_word *word) {
    static const char *const names[] = {"vgg16", "resnet50", "expr"};
    bool held = false;
    for (int i = 0; i < DL_COUNT(names); i++)
        held = held || strcmp(names[i], word->name) == 0;
    return held;
}

/* A word without a case fails, so that a new one brings its reference along. */
static void test_every_word_has_a_case(void) {
    static const char *const families[] = {"layer",     "activation", "loss",       "metric",
                                           "optimizer", "schedule",   "regularizer"};
    enum { CAPACITY = 512 };
    const dl_word *used[CAPACITY];
    int marked = 0, checked = 0;
    for (int s = 0; s < DL_COUNT(stems); s++) {
        dl_arena arena = {0};
        reference_case *list = NULL;
        int count = 0;
        CHECK_OK(reference_read(&arena, stems[s], &list, &count));
        for (int i = 0; i < count; i++) {
            trial t = {.c = &list[i], .manner = &one_thread};
            if (open_trial(&t, NULL) == DL_OK) {
                const dl_node *root = dl_job_root(t.job);
                static const char *const keys[] = {"model", "models", "loss", "metrics",
                                                   "optimizer"};
                for (int k = 0; k < DL_COUNT(keys); k++)
                    if (dl_given(root, keys[k])) {
                        dl_node one = *dl_given(root, keys[k]);
                        one.next = NULL;
                        mark(&one, used, &marked, CAPACITY);
                    }
            }
            close_trial(&t);
        }
        dl_arena_free(&arena);
    }
    const dl_vocabulary *vocabulary = dl_job_vocabulary();
    for (int f = 0; f < vocabulary->family_count; f++) {
        const dl_family *family = vocabulary->families[f];
        bool wanted = false;
        for (int i = 0; i < DL_COUNT(families) && !wanted; i++)
            wanted = strcmp(families[i], family->name) == 0;
        for (int w = 0; wanted && w < family->word_count; w++, checked++) {
            bool found = held_elsewhere(&family->words[w]);
            for (int i = 0; i < marked && !found; i++)
                found = used[i] == &family->words[w];
            if (!found)
                printf("\n    no case for %s %s", family->name, family->words[w].name);
            CU_ASSERT(found);
        }
    }
    CU_ASSERT(checked > 80); /* the families were there under these names */
}

static void write_file(const char *path, const char *text, size_t length) {
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(text, 1, length, file);
        fclose(file);
    }
}

/* The reader refuses what it does not know, and numbers too few or too many. */
static void test_reader_refuses(void) {
    static const struct {
        const char *text, *part;
        size_t bytes;
    } list[] = {
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 2 1\nweihgt w 1\nend\n", "'weihgt'", 12},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 2 1\nend\n", "left over", 12},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 2 2\nend\n", "not enough", 12},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 3 1\n", "too early", 12},
        {"#\ncase a\njob 1\nloss: mse\nend\n", "no job or no input", 0},
        {"#\ncase a\njob 1\nloss: mse\ntraining loss nan\n", "no number", 0},
        {"#\nend\n", "unknown", 0},
        {"#\ncase a\njob 2\nloss: mse\n", "ends inside", 0},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 3 1\nend\n", "", 12},
    };
    char stem[] = "/tmp/dltrain_reference_XXXXXX", path[64];
    int file = mkstemp(stem);
    CU_ASSERT_FATAL(file >= 0);
    close(file);
    for (int i = 0; i < DL_COUNT(list); i++) {
        dl_arena arena = {0};
        reference_case *cases = NULL;
        int count = 0;
        static const char zeros[16];
        snprintf(path, sizeof path, "%s.txt", stem);
        write_file(path, list[i].text, strlen(list[i].text));
        snprintf(path, sizeof path, "%s.f32", stem);
        write_file(path, zeros, list[i].bytes);
        dl_status want = *list[i].part ? DL_NO_INPUT : DL_OK;
        CHECK_FAILS(reference_read(&arena, stem, &cases, &count), want, list[i].part);
        dl_arena_free(&arena);
    }
    unlink(path);
    snprintf(path, sizeof path, "%s.txt", stem);
    unlink(path);
    unlink(stem);
}

void suite_reference(void) {
    CU_pSuite suite = CU_add_suite("reference", NULL, NULL);
    CU_add_test(suite, "reader refuses", test_reader_refuses);
    CU_add_test(suite, "every word has a case", test_every_word_has_a_case);
    CU_add_test(suite, "keras", test_keras);
    CU_add_test(suite, "keras, two threads", test_keras_two_threads);
    CU_add_test(suite, "keras, in pieces", test_keras_in_pieces);
    CU_add_test(suite, "torch", test_torch);
    CU_add_test(suite, "torch, in pieces", test_torch_in_pieces);
}
