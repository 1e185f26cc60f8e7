/* Choosing an engine for what was described in one or several ways: as it was chosen before, else
 * the first that cuDNN's heuristics propose and that keeps our promises, or the fastest of a few.
 * See cudnn_call_cuda.h. */
#include <stdio.h>
#include <string.h>

#include "ops/cudnn_call_cuda.h"
#include "runtime/base/memory.h"
#include "runtime/device/trial_cuda.h"

/* More than an engine may take: others do without, and a step has one workspace for all. */
static const int64_t most_workspace = (int64_t)256 << 20;
enum { MOST_CONFIGS = 64, MOST_NOTES = 32, MOST_CANDIDATES = 8 };

typedef struct candidate {
    int way;
    dl_cudnn_plan plan;
    char answer[CUDNN_ANSWER]; /* empty: it cannot be told */
} candidate;

/* What was found so far, and why engines were not taken. */
typedef struct search {
    dl_cudnn *const *way;
    int ways, most; /* candidates of a way, no more */
    candidate found[MOST_CANDIDATES];
    int count;
    int rounds, random, large, failed;
    char last[160];
} search;

void dl_cudnn_drop(dl_cudnn_plan *plan) {
    if (plan->plan)
        cudnnBackendDestroyDescriptor(plan->plan);
    if (plan->config)
        cudnnBackendDestroyDescriptor(plan->config);
    *plan = (dl_cudnn_plan){.config = NULL};
}

/* ---- one engine ---- */

/* Whether the engine keeps our promises. */
static dl_status read_notes(const dl_cudnn *call, cudnnBackendDescriptor_t config, int64_t *index,
                            bool *fits, search *s) {
    cudnnBackendDescriptor_t engine = NULL;
    cudnnBackendNumericalNote_t note[MOST_NOTES];
    int64_t count = 0, got = 0;
    bool random = false, rounds = false;
    dl_status status;
    DL_TRY(dl_cudnn_check(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine),
                          "cudnnBackendCreateDescriptor"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &got,
                                                          &engine),
                                 "cudnnBackendGetAttribute"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX,
                                                          CUDNN_TYPE_INT64, 1, &got, index),
                                 "cudnnBackendGetAttribute"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                          CUDNN_TYPE_NUMERICAL_NOTE, MOST_NOTES,
                                                          &count, note),
                                 "cudnnBackendGetAttribute"));
    for (int64_t i = 0; i < count && i < MOST_NOTES; i++) {
        random = random || note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        rounds = rounds || note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
                 note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
                 note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6 ||
                 note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13 ||
                 (call->exact && note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    }
    s->random += random;
    s->rounds += rounds && !random;
    *fits = !random && !rounds;
done:
    cudnnBackendDestroyDescriptor(engine);
    return status;
}

static cudnnStatus_t read_number(cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name,
                                 int64_t *out) {
    int64_t got = 0;
    *out = 0;
    return cudnnBackendGetAttribute(from, name, CUDNN_TYPE_INT64, 1, &got, out);
}

static void refuse(search *s, cudnnStatus_t status) {
    char words[100] = "";
    s->failed++;
    cudnnGetLastErrorString(words, sizeof words);
    snprintf(s->last, sizeof s->last, "%.50s: %.99s", cudnnGetErrorString(status), words);
}

static cudnnStatus_t make_plan(const dl_cudnn *call, cudnnBackendDescriptor_t config,
                               cudnnBackendDescriptor_t *out) {
    const dl_cudnn_guest *guest = call->guest;
    *out = NULL;
    cudnnStatus_t status =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, out);
    if (status == CUDNN_STATUS_SUCCESS)
        status = guest->handle
                     ? cudnnBackendSetAttribute(*out, CUDNN_ATTR_EXECUTION_PLAN_HANDLE,
                                                CUDNN_TYPE_HANDLE, 1, &guest->handle)
                     : cudnnBackendSetAttribute(*out, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                                CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &guest->imagined);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(*out, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
    return status == CUDNN_STATUS_SUCCESS ? cudnnBackendFinalize(*out) : status;
}

/* Finalises the engine's plan; takes config and returns true if it serves. */
static bool try_plan(const dl_cudnn *call, cudnnBackendDescriptor_t config, int64_t engine,
                     dl_cudnn_plan *out, search *s) {
    cudnnBackendDescriptor_t plan;
    cudnnStatus_t status = make_plan(call, config, &plan);
    bool unloaded = status == CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER && call->guest->imagined;
    int64_t workspace = 0;
    if (status == CUDNN_STATUS_SUCCESS) /* an unknown size is none that will do */
        status = read_number(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, &workspace);
    else if (unloaded) /* only planned for */
        (void)read_number(config, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, &workspace);
    if ((status == CUDNN_STATUS_SUCCESS || unloaded) && workspace <= most_workspace) {
        *out = (dl_cudnn_plan){.config = config,
                               .plan = plan,
                               .engine = engine,
                               .workspace = (size_t)workspace,
                               .unloaded = unloaded};
        return true;
    }
    if (workspace > most_workspace)
        s->large++;
    else
        refuse(s, status);
    if (plan)
        cudnnBackendDestroyDescriptor(plan);
    return false;
}

bool dl_cudnn_try(const dl_cudnn *call, cudnnBackendDescriptor_t config, dl_cudnn_plan *out) {
    search s = {.count = 0};
    int64_t engine = 0;
    bool fits = false;
    return read_notes(call, config, &engine, &fits, &s) == DL_OK && fits &&
           try_plan(call, config, engine, out, &s);
}

/* ---- candidates ---- */

static bool is_full(const search *s, int way) {
    int count = 0;
    for (int i = 0; i < s->count; i++)
        count += s->found[i].way == way;
    return s->count == MOST_CANDIDATES || count == s->most || (s->most == 1 && s->count == 1);
}

/* The heuristics of another mode may propose the same. */
static bool is_new(const search *s, const candidate *c) {
    for (int i = 0; i < s->count; i++)
        if (*c->answer && strcmp(s->found[i].answer, c->answer) == 0)
            return false;
    return true;
}

static dl_status try_configs(search *s, int way, cudnnBackendDescriptor_t *config, int64_t count) {
    for (int64_t i = 0; i < count && !is_full(s, way); i++) {
        candidate c = {.way = way, .plan = {.config = config[i]}};
        bool fits = false;
        DL_TRY(read_notes(s->way[way], config[i], &c.plan.engine, &fits, s));
        if (!fits)
            continue;
        if (!dl_cudnn_answer(&c.plan, way, c.answer))
            c.answer[0] = '\0';
        if (!is_new(s, &c) || !try_plan(s->way[way], config[i], c.plan.engine, &c.plan, s))
            continue;
        config[i] = NULL; /* the candidate's */
        s->found[s->count++] = c;
    }
    return DL_OK;
}

/* What the heuristics propose for a way in that mode, tried in their order. */
static dl_status ask(search *s, int way, cudnnBackendHeurMode_t mode) {
    cudnnBackendDescriptor_t heuristics = NULL, config[MOST_CONFIGS] = {NULL};
    const dl_cudnn *call = s->way[way];
    int64_t count = 0;
    dl_status status;
    DL_TRY(dl_cudnn_check(
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics),
        "cudnnBackendCreateDescriptor"));
    cudnnStatus_t asked =
        cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &call->graph);
    if (asked == CUDNN_STATUS_SUCCESS)
        asked = cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE,
                                         CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (asked == CUDNN_STATUS_SUCCESS && call->guest->imagined)
        asked = cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                         CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &call->guest->imagined);
    if (asked == CUDNN_STATUS_SUCCESS)
        asked = cudnnBackendFinalize(heuristics);
    if (asked != CUDNN_STATUS_SUCCESS) { /* they know no engine for it */
        refuse(s, asked);
        cudnnBackendDestroyDescriptor(heuristics);
        return DL_OK;
    }
    for (int i = 0; i < MOST_CONFIGS; i++)
        DL_GOTO(done, dl_cudnn_check(cudnnBackendCreateDescriptor(
                                         CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]),
                                     "cudnnBackendCreateDescriptor"));
    DL_GOTO(done, dl_cudnn_check(cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                          CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                          MOST_CONFIGS, &count, config),
                                 "cudnnBackendGetAttribute"));
    status = try_configs(s, way, config, count < MOST_CONFIGS ? count : MOST_CONFIGS);
done:
    for (int i = 0; i < MOST_CONFIGS; i++)
        if (config[i])
            cudnnBackendDestroyDescriptor(config[i]);
    cudnnBackendDestroyDescriptor(heuristics);
    return status;
}

/* Engines to fall back to are slow: they are candidates where there are no others. */
static dl_status find_candidates(search *s) {
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B,
                                                   CUDNN_HEUR_MODE_FALLBACK};
    for (int w = 0; w < s->ways; w++)
        if (dl_cudnn_complete(s->way[w]) != DL_OK) {
            s->failed++;
            snprintf(s->last, sizeof s->last, "%.150s", dl_message());
        }
    for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
        if (modes[m] == CUDNN_HEUR_MODE_FALLBACK && s->count > 0)
            break;
        for (int w = 0; w < s->ways; w++)
            if (s->way[w]->status == DL_OK && !is_full(s, w))
                DL_TRY(ask(s, w, modes[m]));
    }
    return DL_OK;
}

/* ---- timing ---- */

typedef struct timed_call {
    const dl_cudnn *call;
    const dl_cudnn_plan *plan;
} timed_call;

static dl_status run_timed(const void *argument, void *const *memory, void *workspace,
                           void *spare) {
    const timed_call *t = argument;
    DL_TRY(dl_cudnn_run_plan(t->call, t->plan, memory, workspace));
    return t->call->follow ? t->call->follow(t->call->follow_argument, memory, spare) : DL_OK;
}

/* The ways have the same tensors in memory, by number, but for their sizes: a weight's may be of
 * another type. */
static void size_memory(const search *s, size_t bytes[CUDNN_TENSORS], size_t *workspace) {
    for (int w = 0; w < s->ways; w++)
        for (int i = 0; i < s->way[w]->tensors; i++)
            if (!s->way[w]->inner[i] && s->way[w]->bytes[i] > bytes[i])
                bytes[i] = s->way[w]->bytes[i];
    for (int i = 0; i < s->count; i++)
        if (s->found[i].plan.workspace > *workspace)
            *workspace = s->found[i].plan.workspace;
}

/* The fastest candidate; the first where none could be timed. */
static int time_candidates(const search *s, double *seconds) {
    size_t bytes[CUDNN_TENSORS] = {0}, workspace = 0;
    int best = 0;
    dl_trial *trial;
    *seconds = 0;
    size_memory(s, bytes, &workspace);
    if (dl_trial_open(&trial, s->way[0]->cuda, bytes, CUDNN_TENSORS, workspace) != DL_OK)
        return best;
    for (int i = 0; i < s->count; i++) {
        timed_call t = {s->way[s->found[i].way], &s->found[i].plan};
        if (*s->found[i].answer && dl_trial_better(trial, run_timed, &t, seconds))
            best = i;
    }
    dl_trial_close(trial);
    return best;
}

/* ---- choosing ---- */

static dl_status no_engine(const search *s) {
    size_t version = cudnnGetVersion();
    const dl_device *device = &s->way[0]->cuda->device;
    int seen = s->random + s->rounds + s->large + s->failed;
    int major = (int)(version / 10000), minor = (int)(version / 100 % 100);
    if (seen == 0)
        return dl_fail(DL_UNAVAILABLE, "cuDNN %d.%d has no engine for it on %s%s", major, minor,
                       device->name,
                       s->way[0]->dtype[0] == DL_BF16 && device->architecture < 80
                           ? "; bfloat16 needs compute capability 8.0 or more: say precision: fp32"
                           : "");
    return dl_fail(DL_UNAVAILABLE,
                   "cuDNN %d.%d has no engine for it on %s that keeps dltrain's promises: %d are "
                   "not deterministic, %d round what they multiply, %d want more than %lld MiB of "
                   "workspace, %d do not serve%s%s%s",
                   major, minor, device->name, s->random, s->rounds, s->large,
                   (long long)(most_workspace >> 20), s->failed, *s->last ? " (" : "", s->last,
                   *s->last ? ")" : "");
}

static dl_status choose_anew(dl_cudnn *const *way, int count, const char *key, int *which) {
    dl_choices *choices = way[0]->cuda->device.choices;
    bool timed = choices->timed && way[0]->guest->handle;
    search s = {.way = way, .ways = count, .most = timed ? MOST_CANDIDATES / count : 1};
    double seconds = 0;
    int best = 0;
    dl_status status = find_candidates(&s);
    if (status == DL_OK && s.count == 0) {
        DL_TRY(dl_choices_add(choices, &(dl_choice){.library = way[0]->guest->library,
                                                    .key = key,
                                                    .answer = DL_CHOICE_NONE,
                                                    .unkept = true}));
        status = no_engine(&s);
    }
    if (status == DL_OK) {
        if (timed)
            best = time_candidates(&s, &seconds);
        candidate *c = &s.found[best];
        if (*c->answer)
            status = dl_choices_add(choices, &(dl_choice){.library = way[0]->guest->library,
                                                          .key = key,
                                                          .answer = c->answer,
                                                          .seconds = seconds});
        *which = c->way;
        way[c->way]->chosen = c->plan;
        c->plan = (dl_cudnn_plan){.config = NULL};
    }
    for (int i = 0; i < s.count; i++)
        dl_cudnn_drop(&s.found[i].plan);
    return status;
}

static dl_status choose(dl_cudnn *const *way, int count, const char *key, int *which) {
    dl_choices *choices = way[0]->cuda->device.choices;
    const char *answer;
    DL_TRY(dl_choices_find(choices, way[0]->guest->library, key, &answer));
    if (answer && strcmp(answer, DL_CHOICE_NONE) == 0)
        return no_engine(&(search){.way = way});
    if (answer && dl_cudnn_recall(way, count, answer, which))
        return DL_OK;
    if (answer)
        DL_TRY(dl_choices_refuse(choices, key));
    return choose_anew(way, count, key, which);
}

dl_status dl_cudnn_choose(dl_cudnn **way, int count, dl_cudnn **out, int *which) {
    char *key = dl_cudnn_key(way, count);
    dl_status status = key ? choose(way, count, key, which) : dl_fail_memory(CUDNN_KEY);
    dl_free(key);
    *out = status == DL_OK ? way[*which] : NULL;
    for (int w = 0; w < count; w++)
        if (way[w] != *out)
            dl_cudnn_free(way[w]);
    if (*out) {
        const dl_cudnn_plan *p = &(*out)->chosen;
        snprintf((*out)->text, sizeof(*out)->text, "cuDNN engine %lld%s, %.2f MiB",
                 (long long)p->engine, p->unloaded ? " (its code not loaded: no driver)" : "",
                 (double)p->workspace / (1 << 20));
    }
    return status;
}

/* ---- with the call, or without ---- */

static const char with[] = "with", without_it[] = "without";

static char *question(dl_cudnn *call) {
    char *key = dl_cudnn_key(&call, 1);
    size_t bytes = key ? strlen(key) + sizeof "used " : 0;
    char *text = key ? dl_alloc(bytes) : NULL;
    if (text)
        snprintf(text, bytes, "used %s", key);
    dl_free(key);
    return text;
}

dl_status dl_cudnn_settled(dl_cudnn *call, bool *settled, bool *without) {
    dl_choices *choices = call->cuda->device.choices;
    const char *answer = NULL;
    *settled = !choices->timed || !call->guest->handle;
    *without = false;
    if (*settled)
        return DL_OK;
    char *key = question(call);
    dl_status status = key ? dl_choices_find(choices, call->guest->library, key, &answer)
                           : dl_fail_memory(CUDNN_KEY);
    dl_free(key);
    *settled = answer && (strcmp(answer, with) == 0 || strcmp(answer, without_it) == 0);
    *without = *settled && strcmp(answer, without_it) == 0;
    return status;
}

dl_status dl_cudnn_settle(dl_cudnn *call, bool without, double seconds) {
    char *key = question(call);
    if (!key)
        return dl_fail_memory(CUDNN_KEY);
    dl_status status = dl_choices_add(
        call->cuda->device.choices, &(dl_choice){.library = call->guest->library,
                                                 .key = key,
                                                 .answer = without ? without_it : with,
                                                 .seconds = seconds,
                                                 .unkept = seconds <= 0}); /* not timed: no room */
    dl_free(key);
    return status;
}
