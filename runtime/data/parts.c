/* Train, validation and test: which samples of which set. test, validation and train are cut in
 * this order from pools of samples (source, train, test); what is cut leaves its pool unless
 * `keep`. A part that is cut at random keeps the order in which it was drawn, so that cutting it
 * again takes a mixture. */
#include "runtime/data/inner.h"
#include "runtime/data/order.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "runtime/base/philox.h"

/* Samples still to be had; `set` -1: there is no such pool. */
typedef struct pool {
    int set;
    uint32_t *sample;
    int64_t count;
} pool;

/* How a cut, or what stands beside a source, takes from a pool. */
typedef struct cutter {
    dl_data *data;
    const dl_node *node; /* the cut, or the item */
    const char *name;    /* "validation" */
    pool *from;
    bool *taken;     /* [from->count] */
    uint32_t *visit; /* [from->count] order in which samples are looked at */
    uint32_t *out;
    int64_t count;
} cutter;

static const dl_node *way_of(const dl_node *node) {
    static const char *const ways[] = {"first", "last", "random", "rows", "folds"};
    for (int i = 0; i < DL_COUNT(ways); i++) {
        const dl_node *way = dl_given(node, ways[i]);
        if (way)
            return way;
    }
    return NULL;
}

static bool flag(const dl_node *node, const char *key) {
    const dl_node *found = dl_given(node, key);
    return found && found->number != 0;
}

static void take(cutter *c, int64_t position) {
    c->taken[position] = true;
    c->out[c->count++] = c->from->sample[position];
}

/* A share is rounded up, as Keras's validation_split and scikit-learn's test_size are. */
static dl_status amount_of(const cutter *c, const dl_node *way, int64_t *amount) {
    int64_t have = c->from->count;
    bool share = way->unit && strcmp(way->unit, "share") == 0;
    double wanted = share ? ceil(way->number * (double)have * (1 - 1e-12)) : way->number;
    if (wanted > (double)have)
        return dl_fail_at(way, DL_BAD_JOB,
                          "%s: %.0f samples are wanted for %s, but there are only %" PRId64,
                          way->key, wanted, c->name, have);
    *amount = (int64_t)wanted;
    return DL_OK;
}

/* Shares `amount` among classes in proportion to `have`: largest remainders, earlier classes first.
 */
static void share_out(int64_t amount, int64_t total, const int64_t *have, int classes,
                      int64_t *quota) {
    int64_t given = 0;
    for (int i = 0; i < classes; i++) {
        quota[i] = (int64_t)((__int128)amount * have[i] / total);
        given += quota[i];
    }
    for (; given < amount; given++) {
        int best = -1;
        int64_t best_left = -1;
        for (int i = 0; i < classes; i++) {
            int64_t left = (int64_t)((__int128)amount * have[i] - (__int128)quota[i] * total);
            if (quota[i] < have[i] && left > best_left) {
                best = i;
                best_left = left;
            }
        }
        quota[best]++;
    }
}

/* The label of each position of the pool, for stratify. */
static dl_status labels_of(cutter *c, const dl_node *place, int32_t **label, int *classes) {
    const dl_chain *chain = dl_labels_chain(c->data);
    if (!chain)
        return dl_fail_at(place, DL_BAD_JOB,
                          "stratify needs labels: a field y of whole numbers or of text");
    *label = dl_alloc(sizeof **label * (size_t)c->from->count);
    if (!*label)
        return dl_fail_memory(sizeof **label * (size_t)c->from->count);
    *classes = 0;
    for (int64_t i = 0; i < c->from->count; i++) {
        (*label)[i] = dl_label_at(chain, c->from->set, c->from->sample[i]);
        *classes = (*label)[i] >= *classes ? (*label)[i] + 1 : *classes;
    }
    return DL_OK;
}

/* Takes `amount` in the order of visit, at most its quota of each class. */
static dl_status take_stratified(cutter *c, int64_t amount) {
    int32_t *label;
    int classes;
    DL_TRY(labels_of(c, dl_get(c->node, "stratify"), &label, &classes));
    int64_t *have = dl_alloc(sizeof *have * 2 * (size_t)(classes + 1));
    if (have) {
        int64_t *quota = have + classes;
        for (int64_t i = 0; i < c->from->count; i++)
            have[label[i]]++;
        share_out(amount, c->from->count, have, classes, quota);
        for (int64_t i = 0; i < c->from->count; i++)
            if (quota[label[c->visit[i]]]-- > 0)
                take(c, c->visit[i]);
    }
    dl_free(have);
    dl_free(label);
    return have ? DL_OK : dl_fail_memory(sizeof *have);
}

static void reverse(uint32_t *values, int64_t count) {
    for (int64_t i = 0; i < count / 2; i++) {
        uint32_t value = values[i];
        values[i] = values[count - 1 - i];
        values[count - 1 - i] = value;
    }
}

static void visit_in_order(cutter *c) {
    for (int64_t i = 0; i < c->from->count; i++)
        c->visit[i] = (uint32_t)i;
}

static void visit_at_random(cutter *c) {
    char name[64] = "data cut ";
    strncat(name, c->name, sizeof name - strlen(name) - 1);
    dl_permute(c->visit, c->from->count, c->data->seed, dl_stream(name), 0);
}

static dl_status cut_amount(cutter *c, const dl_node *way) {
    int64_t amount = 0;
    DL_TRY(amount_of(c, way, &amount));
    if (strcmp(way->key, "random") == 0)
        visit_at_random(c);
    else
        visit_in_order(c);
    bool last = strcmp(way->key, "last") == 0;
    if (last)
        reverse(c->visit, c->from->count);
    if (flag(c->node, "stratify") && amount > 0) {
        DL_TRY(take_stratified(c, amount));
    } else {
        for (int64_t i = 0; i < amount; i++)
            take(c, c->visit[i]);
    }
    if (last)
        reverse(c->out, c->count);
    return DL_OK;
}

/* The number of a sample among those that data.classes leaves. */
static int64_t row_of(const dl_set *set, uint32_t sample) {
    if (!set->kept)
        return sample;
    int64_t low = 0, high = set->kept_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (set->kept[middle] < sample)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static dl_status cut_rows(cutter *c, const dl_node *way) {
    const dl_set *set = &c->data->set[c->from->set];
    double rows = (double)(set->kept ? set->kept_count : set->count), end = way->number2;
    if (way->number >= rows || (isfinite(end) && end >= rows))
        return dl_fail_at(way, DL_BAD_JOB, "rows %s do not fit: there are %.0f, from 0 to %.0f",
                          way->text, rows, rows - 1);
    end = isfinite(end) ? end : rows - 1;
    for (int64_t i = 0; i < c->from->count; i++) {
        double row = (double)row_of(set, c->from->sample[i]);
        if (row >= way->number && row <= end)
            take(c, i);
    }
    if ((double)c->count != end - way->number + 1)
        return dl_fail_at(way, DL_BAD_JOB,
                          "rows %s: %.0f of these samples are in another part already; parts must "
                          "not overlap (or say keep: true there)",
                          way->text, end - way->number + 1 - (double)c->count);
    return DL_OK;
}

/* Orders visit by class, so that dealing it out stratifies. Counting sort, stable. */
static dl_status visit_by_class(cutter *c) {
    int32_t *label;
    int classes;
    DL_TRY(labels_of(c, dl_get(c->node, "stratify"), &label, &classes));
    int64_t n = c->from->count, *start = dl_alloc(sizeof *start * (size_t)(classes + 1));
    uint32_t *sorted = dl_alloc(sizeof *sorted * (size_t)n);
    bool good = start && sorted;
    if (good) {
        for (int64_t i = 0; i < n; i++)
            start[label[i] + 1]++;
        for (int i = 0; i < classes; i++)
            start[i + 1] += start[i];
        for (int64_t i = 0; i < n; i++)
            sorted[start[label[c->visit[i]]]++] = c->visit[i];
        memcpy(c->visit, sorted, sizeof *sorted * (size_t)n);
    }
    dl_free(sorted);
    dl_free(start);
    dl_free(label);
    return good ? DL_OK : dl_fail_memory(sizeof *sorted * (size_t)n);
}

/* Fold f of k: a block of the visiting order; stratified: every k-th. Samples left over go to the
 * first folds one each, or nowhere (drop). */
static dl_status cut_fold(cutter *c, const dl_node *way) {
    int64_t k = way->integer, fold = c->data->fold, n = c->from->count;
    bool drop = dl_given(c->node, "remainder") && dl_is(c->node, "remainder", "drop");
    bool stratify = flag(c->node, "stratify");
    if (k > n)
        return dl_fail_at(way, DL_BAD_JOB,
                          "%" PRId64 " folds of %" PRId64 " samples leave some empty", k, n);
    if (fold < 0 || fold >= k)
        return dl_fail(DL_INTERNAL, "fold %" PRId64 " of %" PRId64, fold, k);
    if (flag(c->node, "shuffle"))
        visit_at_random(c);
    else
        visit_in_order(c);
    if (stratify)
        DL_TRY(visit_by_class(c));
    int64_t dealt = drop ? n / k * k : n, size = dealt / k, extra = dealt % k;
    int64_t first = fold * size + (fold < extra ? fold : extra);
    int64_t end = first + size + (fold < extra);
    for (int64_t i = 0; i < dealt; i++)
        if (stratify ? i % k == fold : (i >= first && i < end))
            take(c, c->visit[i]);
    for (int64_t i = dealt; i < n; i++)
        c->taken[c->visit[i]] = true;
    return DL_OK;
}

static dl_status cut_how(cutter *c) {
    const dl_node *way = way_of(c->node);
    if (way && strcmp(way->key, "rows") == 0)
        return cut_rows(c, way);
    if (way && strcmp(way->key, "folds") == 0)
        return cut_fold(c, way);
    if (way)
        return cut_amount(c, way);
    for (int64_t i = 0; i < c->from->count; i++)
        take(c, i);
    return DL_OK;
}

static dl_status cut(dl_data *data, const dl_node *node, const char *name, pool *from, pool *to) {
    size_t n = (size_t)from->count;
    cutter c = {.data = data, .node = node, .name = name, .from = from};
    c.taken = dl_alloc(n);
    c.visit = dl_alloc(n * sizeof *c.visit);
    c.out = dl_alloc(n * sizeof *c.out);
    dl_status status = c.taken && c.visit && c.out ? cut_how(&c) : dl_fail_memory(9 * n);
    if (status == DL_OK && c.count == 0)
        status = dl_fail_at(node, DL_BAD_JOB, "%s gets 0 samples (of %" PRId64 " to be had)", name,
                            from->count);
    if (status == DL_OK) {
        bool keep = flag(node, "keep");
        int64_t left = 0;
        for (int64_t i = 0; i < from->count; i++)
            if (keep || !c.taken[i])
                from->sample[left++] = from->sample[i];
        from->count = left;
        *to = (pool){from->set, c.out, c.count};
        c.out = NULL;
    }
    dl_free(c.out);
    dl_free(c.visit);
    dl_free(c.taken);
    return status;
}

static dl_status fill_pool(dl_data *data, int set, pool *to) {
    const dl_set *from = &data->set[set];
    *to = (pool){set, NULL, from->kept ? from->kept_count : from->count};
    to->sample = dl_alloc(sizeof *to->sample * (size_t)to->count);
    if (!to->sample)
        return dl_fail_memory(sizeof *to->sample * (size_t)to->count);
    for (int64_t i = 0; i < to->count; i++)
        to->sample[i] = from->kept ? from->kept[i] : (uint32_t)i;
    return DL_OK;
}

enum { SOURCE = DL_PARTS, POOLS };

/* The pool that a cut takes from: as `from` says, else source if given, else train. */
static dl_status pool_for(const dl_data *data, const dl_node *cut_node, pool *pools,
                          const char *name, pool **out) {
    const dl_node *from = dl_given(cut_node, "from");
    int which = pools[SOURCE].set >= 0 ? SOURCE : DL_PART_TRAIN;
    if (from)
        which = strcmp(from->text, "source") == 0  ? SOURCE
                : strcmp(from->text, "train") == 0 ? DL_PART_TRAIN
                                                   : DL_PART_TEST;
    /* train, where it is the rest of source, is source still. */
    if (which == DL_PART_TRAIN && pools[which].set < 0 && !dl_given(data->node, "train"))
        which = SOURCE;
    if (pools[which].set < 0)
        return dl_fail_at(from ? from : cut_node, DL_BAD_JOB,
                          "there is no %s to cut %s from; add one to data",
                          from ? from->text : "source or train", name);
    *out = &pools[which];
    return DL_OK;
}

static dl_status fill_parts(dl_data *data, pool *pools) {
    static const dl_part_name order[] = {DL_PART_TEST, DL_PART_VALIDATION, DL_PART_TRAIN};
    for (int i = 0; i < data->sets; i++) {
        int which = SOURCE;
        for (int p = 0; p < DL_PARTS; p++)
            if (strcmp(data->set_name[i], dl_part_text((dl_part_name)p)) == 0)
                which = p;
        pool all;
        DL_TRY(fill_pool(data, i, &all));
        dl_status status = cut(data, data->set[i].item, data->set_name[i], &all, &pools[which]);
        dl_free(all.sample);
        DL_TRY(status);
    }
    for (int i = 0; i < DL_PARTS; i++) {
        const char *name = dl_part_text(order[i]);
        const dl_node *node = dl_given(data->node, name);
        data->part[order[i]].node = node ? node : data->node;
        if (node && node->kind != DL_NODE_ITEM) {
            pool *from = NULL;
            DL_TRY(pool_for(data, node, pools, name, &from));
            DL_TRY(cut(data, node, name, from, &pools[order[i]]));
        } else if (!node && order[i] == DL_PART_TRAIN && pools[SOURCE].set >= 0) {
            pools[DL_PART_TRAIN] = pools[SOURCE];
            pools[SOURCE] = (pool){.set = -1};
        }
    }
    return DL_OK;
}

dl_status dl_parts_cut(dl_data *data) {
    pool pools[POOLS];
    for (int i = 0; i < POOLS; i++)
        pools[i] = (pool){.set = -1};
    dl_status status = fill_parts(data, pools);
    for (int p = 0; p < DL_PARTS; p++) {
        data->part[p].set = pools[p].set;
        data->part[p].sample = pools[p].sample;
        data->part[p].count = pools[p].count;
        if (status == DL_OK && pools[p].set >= 0 && pools[p].count == 0)
            status = dl_fail_at(data->part[p].node, DL_BAD_JOB,
                                "%s is left with 0 samples after the other parts were cut from it",
                                dl_part_text((dl_part_name)p));
    }
    dl_free(pools[SOURCE].sample);
    return status;
}
