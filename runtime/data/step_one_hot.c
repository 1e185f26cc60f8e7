/* Step `one_hot`: a whole number k becomes a row of zeros with 1 at place k. */
#include "runtime/data/inner.h"

#include <inttypes.h>

/* The first number outside 0 .. classes-1 in any part, by file and sample. */
static dl_status check_inside(const dl_data *data, const dl_node *place, const dl_chain *chain,
                              int64_t classes) {
    int64_t elements = dl_type_count(&chain->array[0]->type);
    for (int p = 0; p < DL_PARTS; p++) {
        const dl_part *part = &data->part[p];
        for (int64_t i = 0; i < part->count * elements; i++) {
            int64_t sample = part->sample[i / elements];
            const dl_array *array = chain->array[part->set];
            int64_t number = chain->map[part->set]
                                 ? dl_label_at(chain, part->set, sample)
                                 : dl_whole_number(array, sample * elements + i % elements);
            if (number < 0 || number >= classes)
                return dl_fail_at(place, DL_BAD_JOB,
                                  "%s: sample %" PRId64 " of field '%s' is %" PRId64
                                  ", outside the %" PRId64 " classes of one_hot, 0 to %" PRId64,
                                  array->file ? array->file : dl_part_text((dl_part_name)p), sample,
                                  chain->field.name, number, classes, classes - 1);
        }
    }
    return DL_OK;
}

static int64_t seen(const dl_data *data, const dl_chain *chain) {
    int64_t elements = dl_type_count(&chain->array[0]->type), highest = 0;
    for (int p = 0; p < DL_PARTS; p++)
        for (int64_t i = 0; i < data->part[p].count * elements; i++) {
            int64_t number =
                dl_whole_number(chain->array[data->part[p].set],
                                data->part[p].sample[i / elements] * elements + i % elements);
            highest = number > highest ? number : highest;
        }
    return highest + 1;
}

static dl_status plan_one_hot(dl_data *data, const dl_node *node, dl_chain *chain) {
    const dl_node *given = dl_given(node, "classes");
    dl_type *type = &chain->field.type;
    if (type->dtype != DL_I32)
        return dl_fail_at(
            node, DL_BAD_JOB, "one_hot needs whole numbers from 0, but field '%s' holds %s",
            chain->field.name,
            dl_is_integer(chain->array[0]->type.dtype) ? "measurements" : "fractions");
    if (type->rank == DL_MAX_RANK - 1)
        return dl_fail_at(node, DL_BAD_JOB, "a sample has at most %d dimensions", DL_MAX_RANK - 1);
    int64_t classes = given          ? given->integer
                      : chain->label ? chain->field.classes
                                     : seen(data, chain);
    if (classes > DL_MAX_LABELS)
        return dl_fail_at(node, DL_BAD_JOB, "%" PRId64 " classes are too many for one_hot",
                          classes);
    DL_TRY(check_inside(data, given ? given : node, chain, classes));
    if (chain->label &&
        chain->field.classes != classes) { /* counts of classes that were not seen are 0 */
        int64_t *count = DL_NEW_N(&data->arena, int64_t, classes);
        const char **name = DL_NEW_N(&data->arena, const char *, classes);
        if (!count || !name)
            return dl_fail_memory(sizeof *count * (size_t)classes);
        for (int64_t i = 0; i < classes; i++) {
            bool had = i < chain->field.classes;
            count[i] = had ? chain->field.class_count[i] : 0;
            name[i] = had && chain->field.class_name ? chain->field.class_name[i] : "";
        }
        chain->field.class_count = count;
        chain->field.class_name = chain->field.class_name ? name : NULL;
        chain->field.classes = (int)classes;
    }
    type->dtype = DL_F32;
    type->dim[type->rank++] = classes;
    chain->one_hot = (int)classes;
    chain->column = NULL;
    return DL_OK;
}

const dl_step dl_step_one_hot = {plan_one_hot};
