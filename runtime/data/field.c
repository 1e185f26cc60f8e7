/* From the arrays of the sets to one chain a field, and the steps of `prepare` planned onto them.
 */
#include "runtime/data/inner.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* "x, y" */
static const char *names_of(dl_data *data) {
    const char *text = "";
    for (int i = 0; i < data->chains && text; i++)
        text =
            dl_arena_format(&data->arena, "%s%s%s", text, i ? ", " : "", data->chain[i].field.name);
    return text ? text : "";
}

static const dl_array *array_of(const dl_set *set, const char *name) {
    for (int i = 0; i < set->arrays; i++)
        if (strcmp(set->array[i].name, name) == 0)
            return &set->array[i];
    return NULL;
}

/* Whole numbers in a lone column, (None, 1), are one a sample as well: Keras's label files are so.
 */
dl_type dl_sample_type(const dl_array *array) {
    if (array->type.rank == 1 && array->type.dim[0] == 1 && dl_is_integer(array->type.dtype))
        return DL_SCALAR(array->type.dtype);
    return array->type;
}

static dl_status open_chain(dl_data *data, dl_chain *chain, const dl_array *first) {
    char text[DL_SHAPE_TEXT], other[DL_SHAPE_TEXT];
    chain->field.name = first->name;
    chain->field.type = dl_sample_type(first);
    chain->by = 1;
    chain->column = first->column;
    chain->array = DL_NEW_N(&data->arena, const dl_array *, data->sets + 1);
    chain->map = DL_NEW_N(&data->arena, int32_t *, data->sets + 1);
    if (!chain->array || !chain->map)
        return dl_fail_memory(sizeof(void *) * 8);
    for (int i = 0; i < data->sets; i++) {
        const dl_array *array = array_of(&data->set[i], first->name);
        if (!array)
            return dl_fail_at(data->set[i].item, DL_BAD_JOB,
                              "%s has no field '%s', which %s has; give all parts the same fields",
                              data->set_name[i], first->name, data->set_name[0]);
        dl_type type = dl_sample_type(array);
        if (!dl_same_shape(&type, &chain->field.type))
            return dl_fail_at(array->node, DL_BAD_JOB,
                              "field '%s' has shape %s in %s, but %s in %s", first->name,
                              dl_shape_text(&type, false, text), data->set_name[i],
                              dl_shape_text(&chain->field.type, false, other), data->set_name[0]);
        chain->array[i] = array;
    }
    return DL_OK;
}

dl_status dl_fields_open(dl_data *data) {
    data->chains = data->set[0].arrays;
    data->chain = DL_NEW_N(&data->arena, dl_chain, data->chains);
    if (!data->chain)
        return dl_fail_memory(sizeof(dl_chain) * (size_t)data->chains);
    for (int i = 0; i < data->chains; i++)
        DL_TRY(open_chain(data, &data->chain[i], &data->set[0].array[i]));
    for (int i = 1; i < data->sets; i++)
        for (int j = 0; j < data->set[i].arrays; j++)
            if (dl_data_field_index(data, data->set[i].array[j].name) < 0)
                return dl_fail_at(data->set[i].array[j].node, DL_BAD_JOB,
                                  "field '%s' is missing in %s; give all parts the same fields",
                                  data->set[i].array[j].name, data->set_name[0]);
    return DL_OK;
}

dl_status dl_chain_float(dl_chain *chain, const dl_node *node) {
    if (chain->array[0]->label && !chain->one_hot)
        return dl_fail_at(
            node, DL_BAD_JOB,
            "%s works on numbers, but field '%s' holds labels that are text; turn them "
            "into rows with {one_hot, field: %s} first",
            node->text, chain->field.name, chain->field.name);
    chain->field.type.dtype = DL_F32;
    return DL_OK;
}

dl_stage *dl_chain_stage(dl_data *data, dl_chain *chain, const dl_node *node) {
    if (chain->stages == DL_MAX_STAGES) {
        dl_fail_at(node, DL_BAD_JOB, "field '%s' has more than %d steps", chain->field.name,
                   DL_MAX_STAGES);
        return NULL;
    }
    dl_stage *stage = &chain->stage[chain->stages];
    int64_t elements = dl_type_count(&chain->field.type);
    float *constants = DL_NEW_N(&data->arena, float, 2 * elements);
    if (!constants) {
        dl_fail_memory(sizeof(float) * 2 * (size_t)elements);
        return NULL;
    }
    *stage = (dl_stage){.elements = elements, .by = constants, .offset = constants + elements};
    return stage;
}

static dl_status fit_part(const dl_chain *chain, int set, const uint32_t *sample, int64_t count,
                          dl_fit_fn fn, void *argument, float *values, int64_t block) {
    for (int64_t first = 0; first < count; first += block) {
        int64_t here = count - first < block ? count - first : block;
        dl_chain_read(chain, set, sample ? sample + first : NULL, first, here, values);
        fn(argument, values, here);
    }
    return DL_OK;
}

dl_status dl_chain_fit(dl_data *data, const dl_node *node, const dl_chain *chain, dl_fit_fn fn,
                       void *argument, int64_t *samples) {
    const dl_part *train = &data->part[DL_PART_TRAIN];
    int64_t elements = dl_type_count(&chain->field.type), seen = 0;
    int64_t block = DL_BLOCK_FLOATS / elements > 0 ? DL_BLOCK_FLOATS / elements : 1;
    float *values = dl_alloc(sizeof *values * (size_t)(block * elements));
    if (!values)
        return dl_fail_memory(sizeof *values * (size_t)(block * elements));
    if (dl_is(node, "fit", "training") && train->count == 0) {
        dl_free(values);
        return dl_fail_at(node, DL_BAD_JOB,
                          "%s learns its constants from train, which has no samples; give them",
                          node->text);
    }
    if (dl_is(node, "fit", "training")) {
        fit_part(chain, train->set, train->sample, train->count, fn, argument, values, block);
        seen = train->count;
    }
    for (int i = 0; i < data->sets && !dl_is(node, "fit", "training"); i++) {
        const dl_set *set = &data->set[i];
        int64_t count = set->kept ? set->kept_count : set->count;
        if (dl_is(node, "fit", "source") && i != train->set)
            continue;
        fit_part(chain, i, set->kept, count, fn, argument, values, block);
        seen += count;
    }
    dl_free(values);
    *samples = seen;
    if (seen > train->count)
        return dl_data_add_note(data, node,
                                "the constants of this step are learned from more than train, so "
                                "they know something of the samples that measure it");
    return DL_OK;
}

static dl_status plan(dl_data *data, const dl_node *node, const char *name) {
    const dl_step *step = node->word->impl;
    int index = dl_data_field_index(data, name);
    const dl_node *place = dl_given(node, "field");
    if (index < 0)
        return dl_fail_at(place && place->given ? place : node, DL_BAD_JOB,
                          "the data has no field '%s'; it has %s: say which one %s works on: "
                          "field: NAME",
                          name, names_of(data), node->text);
    return step->plan(data, node, &data->chain[index]);
}

/* No unknown value may reach the model: one of them makes the loss NaN. */
static dl_status check_known(dl_data *data) {
    for (int i = 0; i < data->chains; i++)
        for (int set = 0; set < data->sets; set++) {
            const dl_array *array = data->chain[i].array[set];
            if (array->missing && !data->chain[i].filled)
                return dl_fail_at(
                    array->node, DL_BAD_JOB,
                    "%s: a value of field '%s' is unknown; add the step {fill_missing: "
                    "mean, field: %s}, or drop_missing: true to the source",
                    array->missing, array->name, array->name);
        }
    return DL_OK;
}

dl_status dl_steps_plan(dl_data *data) {
    for (DL_EACH(node, dl_given(data->node, "prepare"))) {
        const dl_node *field = dl_get(node, "field");
        if (field && field->kind == DL_NODE_LIST) {
            for (DL_EACH(name, field))
                DL_TRY(plan(data, node, name->text));
        } else {
            DL_TRY(plan(data, node, dl_text(node, "field")));
        }
    }
    return check_known(data);
}
