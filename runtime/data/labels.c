/* Labels: which fields are, the union of the text labels of all sets, data.classes (which filters
 * and numbers anew before parts are cut), and counting. See inner.h. */
#include "runtime/data/inner.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool is_text(const dl_chain *chain) {
    return chain->array[0]->label != NULL;
}

/* Lowest and highest stored number of a field over all sets. */
static void stored_range(const dl_data *data, const dl_chain *chain, int64_t *low, int64_t *high) {
    *low = INT64_MAX;
    *high = INT64_MIN;
    for (int set = 0; set < data->sets; set++) {
        int64_t count = data->set[set].count * dl_type_count(&chain->array[set]->type);
        for (int64_t i = 0; i < count; i++) {
            int64_t number = dl_whole_number(chain->array[set], i);
            *low = number < *low ? number : *low;
            *high = number > *high ? number : *high;
        }
    }
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Text labels of all sets in one alphabetical list; maps from each set's own. */
static dl_status join_texts(dl_data *data, dl_chain *chain) {
    int total = 0, labels = 0;
    for (int set = 0; set < data->sets; set++) {
        if (!chain->array[set]->label)
            return dl_fail_at(chain->array[set]->node, DL_BAD_JOB,
                              "'%s' holds numbers here, but text elsewhere in the data",
                              chain->field.name);
        total += chain->array[set]->labels;
    }
    const char **name = DL_NEW_N(&data->arena, const char *, total);
    if (!name)
        return dl_fail_memory(sizeof *name * (size_t)total);
    for (int set = 0, at = 0; set < data->sets; set++)
        for (int i = 0; i < chain->array[set]->labels; i++)
            name[at++] = chain->array[set]->label[i];
    qsort(name, (size_t)total, sizeof *name, compare_texts);
    for (int i = 0; i < total; i++)
        if (labels == 0 || strcmp(name[i], name[labels - 1]) != 0)
            name[labels++] = name[i];
    for (int set = 0; set < data->sets; set++) {
        const dl_array *array = chain->array[set];
        int32_t *map = DL_NEW_N(&data->arena, int32_t, array->labels);
        if (!map)
            return dl_fail_memory(sizeof *map * (size_t)array->labels);
        for (int i = 0; i < array->labels; i++)
            map[i] = (int32_t)((const char **)bsearch(&array->label[i], name, (size_t)labels,
                                                      sizeof *name, compare_texts) -
                               name);
        chain->map[set] = map;
    }
    chain->field.class_name = name;
    chain->field.classes = labels;
    return DL_OK;
}

dl_chain *dl_labels_chain(dl_data *data) {
    dl_chain *only = NULL;
    int y = dl_data_field_index(data, "y");
    if (y >= 0)
        return data->chain[y].label ? &data->chain[y] : NULL;
    for (int i = 0; i < data->chains; i++)
        if (data->chain[i].label) {
            if (only)
                return NULL;
            only = &data->chain[i];
        }
    return only;
}

/* Where the old labels of a job's list lie among those of the data. */
typedef struct relabel {
    dl_chain *chain;
    int64_t low, high; /* of stored numbers; of text labels: 0 .. labels - 1 */
    int32_t *to;       /* [high - low + 1], -1: in no list */
} relabel;

static dl_status give(relabel *r, const dl_node *old, int32_t class) {
    const dl_data_field *field = &r->chain->field;
    int64_t number = -1;
    if (is_text(r->chain)) {
        const char *const *found = bsearch(&old->text, field->class_name, (size_t)field->classes,
                                           sizeof *field->class_name, compare_texts);
        const char *near = dl_nearest(old->text, field->class_name, field->classes);
        if (!found && near)
            return dl_fail_at(old, DL_BAD_JOB,
                              "'%s' is not a label of field '%s'; did you mean '%s'?", old->text,
                              field->name, near);
        if (!found)
            return dl_fail_at(old, DL_BAD_JOB,
                              "'%s' is not a label of field '%s'; it has %d, from '%s' to '%s'",
                              old->text, field->name, field->classes, field->class_name[0],
                              field->class_name[field->classes - 1]);
        number = found - field->class_name;
    } else {
        char *end;
        number = strtoll(old->text, &end, 10);
        if (*end || !*old->text || number < r->low || number > r->high)
            return dl_fail_at(old, DL_BAD_JOB,
                              "'%s' is not a label of field '%s'; its labels run from %" PRId64
                              " to %" PRId64,
                              old->text, field->name, r->low, r->high);
    }
    if (r->to[number - r->low] >= 0)
        return dl_fail_at(old, DL_BAD_JOB, "label '%s' is given to two classes; keep one",
                          old->text);
    r->to[number - r->low] = class;
    return DL_OK;
}

static dl_status read_classes(dl_data *data, const dl_node *classes, relabel *r) {
    const char **name = DL_NEW_N(&data->arena, const char *, classes->count);
    const dl_node *others = NULL;
    int32_t class = 0, other_class = 0;
    if (!name)
        return dl_fail_memory(sizeof *name * (size_t)classes->count);
    for (DL_EACH(child, classes)) {
        name[class] = classes->kind == DL_NODE_LIST ? child->text : child->key;
        if (child->kind == DL_NODE_LIST) {
            for (DL_EACH(old, child))
                DL_TRY(give(r, old, class));
        } else if (classes->kind == DL_NODE_LIST) {
            DL_TRY(give(r, child, class));
        } else if (others) {
            return dl_fail_at(child, DL_BAD_JOB, "only one class can be the others");
        } else {
            others = child;
            other_class = class;
        }
        class ++;
    }
    for (int64_t i = 0; others && i <= r->high - r->low; i++)
        if (r->to[i] < 0)
            r->to[i] = other_class;
    r->chain->field.class_name = name;
    r->chain->field.classes = class;
    return DL_OK;
}

/* Samples whose label has a class; composes the new numbers into the maps. */
static dl_status filter(dl_data *data, relabel *r) {
    dl_chain *chain = r->chain;
    for (int s = 0; s < data->sets; s++) {
        dl_set *set = &data->set[s];
        int32_t *old = chain->map[s];
        if (old) {
            for (int i = 0; i < chain->array[s]->labels; i++)
                old[i] = r->to[old[i]];
        } else {
            chain->map[s] = r->to;
            chain->map_low = (int32_t)r->low;
        }
        set->kept = dl_alloc(sizeof *set->kept * (size_t)set->count);
        if (!set->kept)
            return dl_fail_memory(sizeof *set->kept * (size_t)set->count);
        set->kept_count = 0;
        for (int64_t i = 0; i < set->count; i++)
            if (dl_label_at(chain, s, i) >= 0)
                set->kept[set->kept_count++] = (uint32_t)i;
    }
    return DL_OK;
}

static dl_status apply_classes(dl_data *data, const dl_node *classes) {
    relabel r = {.chain = NULL};
    for (int i = 0; i < data->chains && !r.chain; i++) {
        dl_chain *chain = &data->chain[i];
        bool named = strcmp(chain->field.name, "y") == 0;
        if (named && (is_text(chain) || (chain->array[0]->type.rank == 0 &&
                                         dl_is_integer(chain->array[0]->type.dtype))))
            r.chain = chain;
    }
    r.chain = r.chain ? r.chain : dl_labels_chain(data);
    if (!r.chain)
        return dl_fail_at(classes, DL_BAD_JOB,
                          "classes needs labels: a field y of whole numbers or of text");
    r.high = r.chain->field.classes - 1;
    if (!is_text(r.chain))
        stored_range(data, r.chain, &r.low, &r.high);
    if (r.high - r.low >= DL_MAX_LABELS || r.low < INT32_MIN || r.high > INT32_MAX)
        return dl_fail_at(classes, DL_BAD_JOB,
                          "'%s' holds numbers from %" PRId64 " to %" PRId64 ", which are no labels",
                          r.chain->field.name, r.low, r.high);
    r.to = DL_NEW_N(&data->arena, int32_t, r.high - r.low + 1);
    if (!r.to)
        return dl_fail_memory(sizeof *r.to * (size_t)(r.high - r.low + 1));
    memset(r.to, -1, sizeof *r.to * (size_t)(r.high - r.low + 1));
    r.chain->label = true;
    r.chain->field.type.dtype = DL_I32;
    DL_TRY(read_classes(data, classes, &r));
    return filter(data, &r);
}

dl_status dl_labels_open(dl_data *data) {
    for (int i = 0; i < data->chains; i++) {
        dl_chain *chain = &data->chain[i];
        bool integer = true;
        for (int set = 0; set < data->sets; set++)
            integer &= dl_is_integer(chain->array[set]->type.dtype);
        chain->field.type.dtype = DL_F32;
        if (is_text(chain)) {
            DL_TRY(join_texts(data, chain));
            chain->label = true;
            chain->field.type.dtype = DL_I32;
            continue;
        }
        if (!integer)
            continue;
        int64_t low, high;
        dl_dtype dtype = chain->array[0]->type.dtype;
        /* Bytes and sound are measurements; wider whole numbers in rows are words of a vocabulary.
         */
        if (chain->field.type.rank > 0 && (dtype == DL_U8 || dtype == DL_I8 || dtype == DL_I16))
            continue;
        stored_range(data, chain, &low, &high);
        if (chain->field.type.rank == 0)
            chain->label = low >= 0 && high < DL_MAX_LABELS;
        if (chain->label || (chain->field.type.rank > 0 && low >= INT32_MIN && high <= INT32_MAX))
            chain->field.type.dtype = DL_I32;
    }
    const dl_node *classes = dl_given(data->node, "classes");
    return classes ? apply_classes(data, classes) : DL_OK;
}

dl_status dl_labels_count(dl_data *data) {
    for (int i = 0; i < data->chains; i++) {
        dl_chain *chain = &data->chain[i];
        dl_data_field *field = &chain->field;
        if (!chain->label)
            continue;
        field->min_label = INT_MAX;
        field->max_label = -1;
        for (int p = 0; p < DL_PARTS; p++)
            for (int64_t j = 0; j < data->part[p].count; j++) {
                int32_t label = dl_label_at(chain, data->part[p].set, data->part[p].sample[j]);
                field->min_label = label < field->min_label ? label : field->min_label;
                field->max_label = label > field->max_label ? label : field->max_label;
            }
        if (!field->class_name)
            field->classes = field->max_label + 1;
        int64_t *count = DL_NEW_N(&data->arena, int64_t, field->classes + 1);
        if (!count)
            return dl_fail_memory(sizeof *count * (size_t)field->classes);
        const dl_part *train = &data->part[DL_PART_TRAIN];
        for (int64_t j = 0; j < train->count; j++)
            count[dl_label_at(chain, train->set, train->sample[j])]++;
        field->class_count = count;
    }
    return DL_OK;
}
