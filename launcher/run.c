/* See run.h. One training lives in the run's folder; of several, each has a folder of its own
 * inside, and one that is finished is not trained again when the job is started again. */
#include "launcher/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "launcher/keeper.h"
#include "launcher/watch.h"

typedef struct tally { /* running sums over trainings */
    dl_values sum, squares;
    int count;
} tally;

static void add_result(tally *t, const dl_values *values) {
    for (int i = 0; i < values->count; i++) {
        double value = values->value[i];
        double sum = t->count ? dl_values_get(&t->sum, values->name[i]) : 0;
        double squares = t->count ? dl_values_get(&t->squares, values->name[i]) : 0;
        dl_values_set(&t->sum, "", values->name[i], sum + value);
        dl_values_set(&t->squares, "", values->name[i], squares + value * value);
    }
    t->count++;
}

/* The standard error: the standard deviation, of the form that repeat.spread names, over root n. */
static void summarise(const tally *t, bool of_sample, dl_run_result *result) {
    result->trainings = t->count;
    result->mean = t->sum;
    result->spread = t->sum;
    for (int i = 0; i < t->sum.count; i++) {
        double n = t->count, mean = t->sum.value[i] / n;
        double freedom = of_sample ? n - 1 : n;
        double variance = n > 1 ? (t->squares.value[i] - n * mean * mean) / freedom : 0;
        result->mean.value[i] = mean;
        result->spread.value[i] = variance > 0 ? sqrt(variance / n) : 0;
    }
}

typedef struct plan_of_runs {
    int repeats, folds;
    bool seeds_model, seeds_data, of_sample;
} plan_of_runs;

static void count_runs(const dl_node *job, plan_of_runs *plan) {
    const dl_node *repeat = dl_given(job, "repeat");
    plan->repeats = repeat ? (int)dl_int(repeat, "times") : 1;
    plan->seeds_model = !repeat || !dl_is(repeat, "seeds", "data");
    plan->seeds_data = repeat && !dl_is(repeat, "seeds", "model");
    plan->of_sample = repeat && dl_is(repeat, "spread", "sample");
    plan->folds = dl_data_folds(dl_get(job, "data"));
}

/* The folder is claimed once all is known to fit: a job that does not leaves no trace. */
static dl_status train_one(dl_job *job, dl_comm *comm, const dl_run_options *options,
                           const plan_of_runs *plan, int repeat, int fold, dl_folder **held,
                           dl_train_result *result) {
    const dl_node *root = dl_job_root(job);
    char folder[DL_PATH_MAX], label[64] = "";
    bool several = plan->repeats * plan->folds > 1;
    if (plan->repeats > 1)
        snprintf(label, sizeof label, "repeat-%d", repeat + 1);
    if (plan->folds > 1)
        snprintf(label + strlen(label), sizeof label - strlen(label), "%sfold-%d",
                 plan->repeats > 1 ? "-" : "", fold + 1);
    snprintf(folder, sizeof folder, "%s%s%s", options->folder, several ? "/" : "", label);
    dl_session session;
    uint64_t seed = (uint64_t)dl_int(root, "seed");
    dl_session_options opening = {.seed = seed + (uint64_t)(plan->seeds_model ? repeat : 0),
                                  .data_seed_offset = (uint64_t)(plan->seeds_data ? repeat : 0),
                                  .fold = fold,
                                  .threads = options->threads};
    DL_TRY(dl_session_open(&session, root, comm, &opening));
    dl_train_options training = {
        .folder = folder, .label = several ? label : NULL, .first = repeat == 0 && fold == 0};
    dl_status status = dl_comm_agree(comm, dl_watch_check(&session));
    if (status == DL_OK && !*held)
        status = dl_folder_claim(held, job, comm, options);
    if (status == DL_OK)
        status = dl_train(&session, &training, result);
    dl_session_close(&session);
    return status;
}

dl_status dl_run_job(dl_job *job, dl_comm *comm, const dl_run_options *options,
                     dl_run_result *result) {
    plan_of_runs plan;
    count_runs(dl_job_root(job), &plan);
    tally all;
    memset(&all, 0, sizeof all);
    memset(result, 0, sizeof *result);
    dl_folder *folder = NULL;
    dl_status status = DL_OK;
    for (int repeat = 0; repeat < plan.repeats && status == DL_OK; repeat++)
        for (int fold = 0; fold < plan.folds && status == DL_OK; fold++) {
            dl_train_result one = {.epochs = 0};
            status = train_one(job, comm, options, &plan, repeat, fold, &folder, &one);
            result->epochs = one.epochs;
            result->steps = one.steps;
            if (status != DL_OK)
                break;
            add_result(&all, &one.final);
            result->samples_per_second = one.samples_per_second;
            result->weights = one.weights;
        }
    if (status == DL_OK)
        summarise(&all, plan.of_sample, result);
    if (folder)
        dl_folder_release(folder, status, result);
    return status;
}
