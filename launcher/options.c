/* Reading the command line against the table of verbs. A first word that is no verb is a job to
 * train. */
#include "launcher/options.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/base/schema.h"

const dl_verb dl_verbs[] = {
    {"train", "JOB", "train (or resume) the job; 'dltrain JOB' is the same", 1, 1, true},
    {"eval", "RUN", "evaluate a finished run again, --set may change its data", 1, 1, true},
    {"predict", "RUN INPUT", "outputs of a run for samples of a file (.npy, .npz, IDX, .csv)", 2, 2,
     true},
    {"plan", "JOB", "what would happen: resolved job, layers, memory, batches, communication", 1, 1,
     false},
    {"bench", "JOB", "measure the job's step: samples/s, what its time goes into, share of peak", 1,
     1, true},
    {"help", "[KEY]", "explain a key, a layer, a loss, ...; 'help layers' lists all layers", 0, 1,
     false},
};
const int dl_verb_count = DL_COUNT(dl_verbs);

void dl_options_help(FILE *file) {
    fputs("dltrain trains the network that a YAML job describes, on one rank or many.\n\n"
          "  dltrain JOB.yaml                  train on this process\n"
          "  mpirun -np 4 dltrain JOB.yaml     train on 4 ranks: same result, less time\n\n"
          "Verbs:\n",
          file);
    for (int i = 0; i < dl_verb_count; i++)
        fprintf(file, "  %-8s %-10s %s\n", dl_verbs[i].name, dl_verbs[i].arguments,
                dl_verbs[i].help);
    fputs(
        "\nOptions:\n"
        "  --set KEY=VALUE   change a key of the job, as often as needed: --set batch_size=64\n"
        "                    --set optimizer.rmsprop.learning_rate=0.01 --set model.dropout=none\n"
        "  --fresh           start over; the earlier run is moved aside, never deleted\n"
        "  --ranks N         plan: for N ranks\n"
        "  --graph           plan: print the nodes of the step as well\n"
        "  --device cuda:sm_90  plan: for a GPU of that compute capability, here or not\n"
        "  --output FILE     predict: write .npy here (default: a table on standard output)\n"
        "  --steps N         bench: steps of a repetition (default: a second's worth)\n"
        "  --warmup N        bench: steps before the first (default: half a second's worth)\n"
        "  --repeat N        bench: repetitions, of which the median is told (default: 5)\n"
        "  --rate            bench: samples/s alone, nothing timed inside: quicker, to compare\n"
        "  --json FILE       bench: all that it prints, and more, for programs\n"
        "  --trace FILE      bench: the first 20 steps for chrome://tracing or ui.perfetto.dev\n"
        "  --synthetic FIELDS  bench: made-up samples in place of files that are not there:\n"
        "                    --synthetic '{x: {shape: [28, 28]}, y: {classes: 10}}'\n"
        "  --json-schema     help: the job language as a JSON Schema, for editors\n"
        "  --version         versions of dltrain and of the libraries it runs on\n"
        "  --help            this text\n\n"
        "Environment: DLTRAIN_DATA (root of data in the jobs shipped), DLTRAIN_THREADS (threads a\n"
        "rank; default: the cores of the host divided among its ranks).\n\n"
        "Exit codes: 0 done, 1 training failed, 2 bad command line or job, 66 absent or damaged\n"
        "input, 69 device unavailable, 73 cannot write, 75 stopped by a signal with a checkpoint\n"
        "saved (run again to go on), 130 second interrupt.\n\n"
        "A first job to try: jobs/quickstart.yaml\n",
        file);
}

static const dl_verb *find_verb(const char *word) {
    for (int i = 0; i < dl_verb_count; i++)
        if (strcmp(dl_verbs[i].name, word) == 0)
            return &dl_verbs[i];
    return NULL;
}

/* The value of "--name VALUE" or "--name=VALUE"; NULL if this word is another option. */
static const char *value_of(const char *name, int *at, int count, char **words) {
    size_t length = strlen(name);
    if (strncmp(words[*at], name, length) != 0)
        return NULL;
    if (words[*at][length] == '=')
        return words[*at] + length + 1;
    if (words[*at][length] != '\0')
        return NULL;
    return *at + 1 < count ? words[++*at] : "";
}

static dl_status read_number(const char *name, const char *what, int most, const char *value,
                             int *out) {
    char *end;
    long number = strtol(value, &end, 10);
    if (*value == '\0' || *end != '\0' || number < 1 || number > most)
        return dl_fail(DL_BAD_JOB, "%s needs a number of %s, not '%s'", name, what, value);
    *out = (int)number;
    return DL_OK;
}

static dl_status read_option(dl_options *options, int *at, int count, char **words) {
    static const char *const known[] = {"--set",    "--fresh",       "--ranks",     "--graph",
                                        "--output", "--json-schema", "--help",      "--version",
                                        "--device", "--steps",       "--warmup",    "--repeat",
                                        "--json",   "--trace",       "--synthetic", "--rate"};
    const struct {
        const char *name, *what;
        int most, *to;
    } numbers[] = {{"--ranks", "ranks", 100000, &options->ranks},
                   {"--steps", "steps", 10000000, &options->steps},
                   {"--warmup", "steps", 10000000, &options->warmup},
                   {"--repeat", "repetitions", 10000, &options->repeat}};
    const struct {
        const char *name, *what;
        const char **to;
    } texts[] = {
        {"--output", "a file", &options->output},
        {"--device", "a GPU to plan for: cuda:sm_90", &options->device},
        {"--json", "a file", &options->json},
        {"--trace", "a file", &options->trace},
        {"--synthetic", "fields: '{x: {shape: [28, 28]}, y: {classes: 10}}'", &options->synthetic}};
    const char *word = words[*at], *value;
    for (int i = 0; i < DL_COUNT(numbers); i++)
        if ((value = value_of(numbers[i].name, at, count, words)))
            return read_number(numbers[i].name, numbers[i].what, numbers[i].most, value,
                               numbers[i].to);
    for (int i = 0; i < DL_COUNT(texts); i++)
        if ((value = value_of(texts[i].name, at, count, words))) {
            *texts[i].to = value;
            return *value ? DL_OK
                          : dl_fail(DL_BAD_JOB, "%s needs %s", texts[i].name, texts[i].what);
        }
    if (strcmp(word, "--fresh") == 0)
        options->fresh = true;
    else if (strcmp(word, "--graph") == 0)
        options->graph = true;
    else if (strcmp(word, "--rate") == 0)
        options->rate = true;
    else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        options->help = true;
    else if (strcmp(word, "--version") == 0)
        options->version = true;
    else if (strcmp(word, "--json-schema") == 0)
        options->json_schema = true;
    else if ((value = value_of("--set", at, count, words))) {
        if (!strchr(value, '='))
            return dl_fail(DL_BAD_JOB, "--set needs KEY=VALUE, for example --set batch_size=64");
        if (options->set_count == DL_MAX_SETS)
            return dl_fail(DL_BAD_JOB, "more than %d --set options", DL_MAX_SETS);
        options->sets[options->set_count++] = value;
    } else {
        const char *near = dl_nearest(word, known, DL_COUNT(known));
        return dl_fail(DL_BAD_JOB, "'%s' is not an option%s%s%s; see dltrain --help", word,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return DL_OK;
}

/* An option of one verb says nothing to another. */
static dl_status check_options(const dl_options *options) {
    const struct {
        const char *name, *verb, *instead;
        bool given;
    } of_one[] = {
        {"--device", "plan", "; --set device=cuda says where to compute", options->device != NULL},
        {"--graph", "plan", "", options->graph},
        {"--output", "predict", "", options->output != NULL},
        {"--json", "bench", "", options->json != NULL},
        {"--ranks", "plan", "; mpirun -np N starts N ranks", options->ranks > 0},
        {"--steps", "bench", "; --set epochs=none --set steps=N is a training of N",
         options->steps > 0},
        {"--warmup", "bench", "", options->warmup > 0},
        {"--repeat", "bench", "; --set repeat=N trains N times", options->repeat > 0},
        {"--rate", "bench", "", options->rate},
        {"--trace", "bench", "", options->trace != NULL},
        {"--synthetic", "bench", "", options->synthetic != NULL}};
    for (int i = 0; i < DL_COUNT(of_one); i++)
        if (of_one[i].given && strcmp(of_one[i].verb, options->verb->name) != 0)
            return dl_fail(DL_BAD_JOB, "%s is for dltrain %s, not for dltrain %s%s", of_one[i].name,
                           of_one[i].verb, options->verb->name, of_one[i].instead);
    if (options->rate && options->trace)
        return dl_fail(DL_BAD_JOB, "--rate times nothing inside a step that --trace could show; "
                                   "leave one of them out");
    return DL_OK;
}

dl_status dl_options_read(dl_options *options, int count, char **words) {
    memset(options, 0, sizeof *options);
    int arguments = 0;
    for (int at = 1; at < count; at++) {
        const char *word = words[at];
        if (word[0] == '-' && word[1] != '\0') {
            DL_TRY(read_option(options, &at, count, words));
            continue;
        }
        if (!options->verb && arguments == 0) {
            options->verb = find_verb(word);
            if (options->verb)
                continue;
            options->verb = &dl_verbs[0];
        }
        if (arguments == 2)
            return dl_fail(DL_BAD_JOB, "'%s' is one argument too many; see dltrain --help", word);
        options->argument[arguments++] = word;
    }
    if (options->help || options->version)
        return DL_OK;
    if (!options->verb && options->json_schema)
        options->verb = find_verb("help");
    if (!options->verb)
        return dl_fail(DL_BAD_JOB,
                       "which job? dltrain JOB.yaml trains one, jobs/quickstart.yaml is "
                       "a first one to try; see dltrain --help");
    if (arguments < options->verb->min_arguments || arguments > options->verb->max_arguments)
        return dl_fail(DL_BAD_JOB, "dltrain %s takes %s; see dltrain --help", options->verb->name,
                       options->verb->arguments);
    return check_options(options);
}
