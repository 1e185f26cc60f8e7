/* Train, validation and test: which samples of which set. test, validation and train are cut in
 * this order from pools of samples (source, train, test); what is cut leaves its pool unless
 * `keep`. A part that is cut at random keeps the order in which it was drawn, so that cutting it
 * again takes a mixture. */
#include "runtime/data/cut.h"

#include <string.h>

static dl_status fill_pool(dl_data *data, int set, dl_pool *to)
{
    const dl_set *from = &data->set[set];
    *to = (dl_pool){set, NULL, from->kept ? from->kept_count : from->count};
    to->sample = dl_alloc(sizeof *to->sample * (size_t)to->count);
    if (!to->sample)
        return dl_fail_memory(sizeof *to->sample * (size_t)to->count);
    for (int64_t i = 0; i < to->count; i++)
        to->sample[i] = from->kept ? from->kept[i] : (uint32_t)i;
    return DL_OK;
}

enum { SOURCE = DL_PARTS, POOLS };

/* The pool that a cut takes from: as `from` says, else source if given, else train. */
static dl_status pool_for(const dl_data *data, const dl_node *cut_node, dl_pool *pools,
                          const char *name, dl_pool **out)
{
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

static dl_status fill_parts(dl_data *data, dl_pool *pools)
{
    static const dl_part_name order[] = {DL_PART_TEST, DL_PART_VALIDATION, DL_PART_TRAIN};
    for (int i = 0; i < data->sets; i++) {
        int which = SOURCE;
        for (int p = 0; p < DL_PARTS; p++)
            if (strcmp(data->set_name[i], dl_part_text((dl_part_name)p)) == 0)
                which = p;
        dl_pool all;
        DL_TRY(fill_pool(data, i, &all));
        dl_status status = dl_cut(data, data->set[i].item, data->set_name[i], &all, &pools[which]);
        dl_free(all.sample);
        DL_TRY(status);
    }
    for (int i = 0; i < DL_PARTS; i++) {
        const char *name = dl_part_text(order[i]);
        const dl_node *node = dl_given(data->node, name);
        data->part[order[i]].node = node ? node : data->node;
        if (node && node->kind != DL_NODE_ITEM) {
            dl_pool *from = NULL;
            DL_TRY(pool_for(data, node, pools, name, &from));
            DL_TRY(dl_cut(data, node, name, from, &pools[order[i]]));
        } else if (!node && order[i] == DL_PART_TRAIN && pools[SOURCE].set >= 0) {
            pools[DL_PART_TRAIN] = pools[SOURCE];
            pools[SOURCE] = (dl_pool){.set = -1};
        }
    }
    return DL_OK;
}

dl_status dl_parts_cut(dl_data *data)
{
    dl_pool pools[POOLS];
    for (int i = 0; i < POOLS; i++)
        pools[i] = (dl_pool){.set = -1};
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
