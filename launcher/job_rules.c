/* What one row cannot say: keys that need or exclude each other. Runs on a tree without errors and
 * looks for keys that a vocabulary may lack, so everything is asked for with dl_given. */
#include <string.h>

#include "launcher/job_inner.h"

static void default_name(dl_job *job) {
    dl_node *name = (dl_node *)dl_get(job->root, "name");
    if (!name || name->kind != DL_NODE_ABSENT)
        return;
    static const dl_form label = {.kind = DL_FORM_LABEL};
    dl_node made = *name;
    made.kind = DL_NODE_SCALAR;
    made.text = job->path_name;
    if (dl_form_read(&label, &made))
        *name = made;
    else
        dl_job_error_at(job, job->root,
                        "'%s' cannot name a run; add name: WORD (letters, digits, '_', '-', '.')",
                        dl_job_clip(job, job->path_name));
}

/* epochs xor steps, and what training needs. */
static void check_length(dl_job *job) {
    const dl_node *root = job->root;
    const dl_node *epochs = dl_given(root, "epochs"), *steps = dl_given(root, "steps");
    if (!dl_get(root, "epochs") || !dl_get(root, "steps"))
        return;
    if (epochs && steps)
        dl_job_error_key(job, steps, "'steps' and 'epochs' are both given; keep one");
    else if (!epochs && !steps)
        dl_job_error_at(job, root,
                        "the job lacks 'epochs' or 'steps'; add one, for example "
                        "epochs: 10 (0 only evaluates)");
    bool trains = (epochs && epochs->integer > 0) || (steps && steps->integer > 0);
    static const char *const needed[] = {"loss", "optimizer"};
    for (int i = 0; trains && i < DL_COUNT(needed); i++)
        if (dl_get(root, needed[i]) && !dl_given(root, needed[i]))
            dl_job_error_at(job, root, "the job lacks '%s', which training needs; add %s: %s",
                            needed[i], needed[i], i == 0 ? "mse" : "sgd");
    const dl_node *data = dl_given(root, "data");
    if (trains && data && !dl_given(data, "source") && !dl_given(data, "train"))
        dl_job_error_at(job, data, "data has nothing to train on; add train or source");
    if (!trains && data && !dl_given(data, "source") && !dl_given(data, "train") &&
        !dl_given(data, "validation") && !dl_given(data, "test"))
        dl_job_error_at(job, data, "data has no part; add train, validation or test");
}

/* Statistics of a rank are another result on another number of ranks. */
static void check_statistics(dl_job *job) {
    const dl_node *statistics = dl_given(job->root, "batch_statistics");
    const dl_node *level = dl_given(job->root, "reproducible");
    if (statistics && level && strcmp(statistics->text, "rank") == 0 &&
        strcmp(level->text, "any_ranks") == 0)
        dl_job_error_at(
            job, statistics,
            "batch_statistics: rank depends on the number of ranks, which reproducible: "
            "any_ranks rules out; write global or shard");
}

/* One way of cutting, from something that is there. */
static void check_part(dl_job *job, const dl_node *data, const char *name) {
    static const char *const ways[] = {"first", "last", "random", "rows", "folds"};
    const dl_node *part = dl_given(data, name), *first = NULL;
    if (!part)
        return;
    for (int i = 0; i < DL_COUNT(ways); i++) {
        const dl_node *way = dl_given(part, ways[i]);
        if (way && first)
            dl_job_error_key(job, way, "'%s' and '%s' both cut %s; keep one", way->key, first->key,
                             name);
        first = first ? first : way;
    }
    const dl_node *from = dl_given(part, "from");
    if (!from || part->kind != DL_NODE_MAP)
        return;
    if (strcmp(from->text, name) == 0)
        dl_job_error_at(job, from, "%s cannot be cut from itself; write from: source or from: %s",
                        name, strcmp(name, "train") == 0 ? "test" : "train");
    else if (!dl_given(data, from->text) &&
             !(strcmp(from->text, "train") == 0 && dl_given(data, "source")))
        dl_job_error_at(job, from, "data has no '%s' to cut %s from; add one", from->text, name);
}

static void check_data(dl_job *job) {
    const dl_node *data = dl_given(job->root, "data");
    check_part(job, data, "train");
    check_part(job, data, "validation");
    check_part(job, data, "test");
}

/* loss_weights names terms of the loss. */
static void check_weights(dl_job *job) {
    const dl_node *loss = dl_given(job->root, "loss");
    const dl_node *weights = dl_given(job->root, "loss_weights");
    if (!loss || !weights)
        return;
    for (DL_EACH(weight, weights)) {
        if (loss->kind == DL_NODE_MAP && dl_get(loss, weight->key))
            continue;
        const char *names[64];
        int count = 0;
        for (const dl_node *term = loss->kind == DL_NODE_MAP ? loss->first : NULL;
             term && count < DL_COUNT(names); term = term->next)
            names[count++] = term->key;
        const char *near = dl_nearest(weight->key, names, count);
        if (near)
            dl_job_error_key(job, weight, "'%s' is not a term of the loss; did you mean '%s'?",
                             dl_job_clip(job, weight->key), dl_job_clip(job, near));
        else
            dl_job_error_key(job, weight,
                             "'%s' is not a term of the loss; name the terms: loss: {%s: ...}",
                             dl_job_clip(job, weight->key), dl_job_clip(job, weight->key));
    }
}

/* A monitored val_ needs validation. */
static void check_monitor(dl_job *job, const dl_node *monitor) {
    const dl_node *data = dl_given(job->root, "data");
    if (!monitor || monitor->kind != DL_NODE_SCALAR || !data || !dl_get(data, "validation") ||
        strncmp(monitor->text, "val_", 4) != 0 || dl_given(data, "validation"))
        return;
    dl_job_error_at(job, monitor,
                    "'%s' is never logged: data has no validation part; add one, for example "
                    "validation: {random: 0.1}, or use %s",
                    dl_job_clip(job, monitor->text), dl_job_clip(job, monitor->text + 4));
}

void dl_job_rules(dl_job *job) {
    default_name(job);
    check_length(job);
    check_statistics(job);
    check_data(job);
    check_weights(job);
    const dl_node *callbacks = dl_given(job->root, "callbacks");
    for (DL_EACH(callback, callbacks))
        check_monitor(job, dl_given(callback, "monitor"));
    check_monitor(job, dl_given(dl_given(job->root, "checkpoint"), "best"));
}
