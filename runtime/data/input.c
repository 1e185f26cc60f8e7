/* Samples from outside the job (dltrain predict): a set of their own beside those of the job, so
 * that classes, parts and learned constants stay those of the training. See data.h. */
#include "runtime/data/inner.h"

#include <inttypes.h>

static dl_status check_numbers(const dl_data *data, const dl_chain *chain, const dl_array *array) {
    if (array->label || chain->map[0])
        return dl_fail_at(array->node, DL_BAD_JOB, "field '%s' holds labels, which cannot be input",
                          chain->field.name);
    if (!chain->one_hot && chain->field.type.dtype == DL_F32)
        return DL_OK;
    if (!dl_is_integer(array->type.dtype))
        return dl_fail_at(array->node, DL_BAD_JOB,
                          "field '%s' holds fractions, but the run was "
                          "trained with whole numbers",
                          chain->field.name);
    int64_t most = chain->one_hot ? chain->one_hot - 1 : INT32_MAX;
    int64_t least = chain->one_hot ? 0 : INT32_MIN;
    int64_t count = data->set[data->sets].count * dl_type_count(&array->type);
    for (int64_t i = 0; i < count; i++) {
        int64_t number = dl_whole_number(array, i);
        if (number < least || number > most)
            return dl_fail_at(
                array->node, DL_BAD_JOB,
                "sample %" PRId64 " of field '%s' is %" PRId64 ", outside %" PRId64 " to %" PRId64,
                i / dl_type_count(&array->type), chain->field.name, number, least, most);
    }
    return DL_OK;
}

static dl_status join(dl_data *data, const dl_array *array) {
    char here[DL_SHAPE_TEXT], there[DL_SHAPE_TEXT];
    int index = dl_data_field_index(data, array->name);
    if (index < 0)
        return dl_fail_at(array->node, DL_BAD_JOB, "the run has no field '%s'", array->name);
    dl_chain *chain = &data->chain[index];
    dl_type have = dl_sample_type(array), want = dl_sample_type(chain->array[0]);
    if (!dl_same_shape(&have, &want))
        return dl_fail_at(array->node, DL_BAD_JOB,
                          "samples have shape %s, but the run was trained with %s",
                          dl_shape_text(&have, false, here), dl_shape_text(&want, false, there));
    DL_TRY(check_numbers(data, chain, array));
    if (array->missing && !chain->filled)
        return dl_fail_at(array->node, DL_BAD_JOB,
                          "%s: a value is unknown, and the run has no step fill_missing for it",
                          array->missing);
    chain->array[data->sets] = array;
    return dl_stored_plan(data, chain);
}

static dl_status take_all(dl_data *data) {
    dl_part *part = &data->part[DL_PART_INPUT];
    const dl_set *set = &data->set[data->sets];
    part->sample = dl_alloc(sizeof *part->sample * (size_t)set->count);
    if (!part->sample)
        return dl_fail_memory(sizeof *part->sample * (size_t)set->count);
    for (int64_t i = 0; i < set->count; i++)
        part->sample[i] = (uint32_t)i;
    part->set = data->sets;
    part->count = set->count;
    part->node = set->item;
    return DL_OK;
}

dl_status dl_data_open_input(dl_data *data, const dl_node *item) {
    dl_set *set = &data->set[data->sets];
    DL_TRY(dl_set_open(set, item, data->node, data->seed));
    dl_status status = DL_OK;
    for (int i = 0; i < set->arrays && status == DL_OK; i++)
        status = join(data, &set->array[i]);
    if (status == DL_OK)
        status = take_all(data);
    if (status == DL_OK)
        return DL_OK;
    for (int i = 0; i < data->chains; i++)
        data->chain[i].array[data->sets] = NULL;
    dl_set_close(set);
    return status;
}

bool dl_data_input_has(const dl_data *data, int field) {
    return data->part[DL_PART_INPUT].count > 0 && data->chain[field].array[data->sets] != NULL;
}
