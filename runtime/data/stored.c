/* Fields as stored: what reading finds, with the steps that are then left to do. See data.h; the
 * program that reads such a field does them. */
#include "runtime/data/inner.h"

#include <string.h>

static bool all_bytes(const dl_data *data, const dl_chain *chain) {
    for (int set = 0; set <= data->sets; set++) /* the last one: the input, if there is any */
        if (chain->map[set] || (chain->array[set] && chain->array[set]->type.dtype != DL_U8))
            return false;
    return chain->field.type.rank > 0 && !chain->label && !chain->one_hot;
}

/* Bits, so that a constant that is no number repeats too. */
static bool repeats(const float *values, int64_t period, int64_t count) {
    return memcmp(values, values + period, sizeof *values * (size_t)(count - period)) == 0;
}

/* One constant for all elements, one for each channel, or one for each element. */
static int64_t period_of(const dl_stage *stage, const dl_type *type) {
    const int64_t periods[] = {1, type->rank ? type->dim[type->rank - 1] : 1};
    for (int i = 0; i < DL_COUNT(periods); i++)
        if (repeats(stage->by, periods[i], stage->elements) &&
            repeats(stage->offset, periods[i], stage->elements))
            return periods[i];
    return stage->elements;
}

/* Whole numbers, each of which becomes a row: the last dimension of the field, or, where a reshape
 * has cut rows, one of their own. */
static dl_type codes_type(const dl_chain *chain) {
    enum { BYTE = 256 };
    dl_type type = chain->field.type;
    if (type.dim[type.rank - 1] == chain->one_hot)
        type.dim[type.rank - 1] = 1;
    else
        type = DL_TYPE(DL_F32, dl_type_count(&type) / chain->one_hot, 1);
    type.dtype = chain->one_hot <= BYTE ? DL_U8 : DL_F32; /* which holds 2^24 of them */
    return type;
}

static dl_status plan_codes(dl_data *data, const dl_chain *chain, dl_prepare_step *step) {
    float *codes = DL_NEW_N(&data->arena, float, chain->one_hot);
    if (!codes)
        return dl_fail_memory(sizeof *codes * (size_t)chain->one_hot);
    for (int i = 0; i < chain->one_hot; i++)
        codes[i] = (float)i;
    *step = (dl_prepare_step){DL_PREPARE_ONE_HOT, chain->one_hot, codes, NULL};
    return DL_OK;
}

dl_status dl_stored_plan(dl_data *data, dl_chain *chain) {
    dl_data_field *field = &chain->field;
    dl_prepare_step *step = DL_NEW_N(&data->arena, dl_prepare_step, chain->stages + 2);
    if (!step)
        return dl_fail_memory(sizeof *step * (size_t)(chain->stages + 2));
    field->stored = field->type;
    field->prepare = step;
    field->prepares = 0;
    field->bytes = false;
    if (field->type.dtype != DL_F32) /* whole numbers: there are no steps on them */
        return DL_OK;
    field->bytes = all_bytes(data, chain);
    if (field->bytes)
        field->stored.dtype = DL_U8;
    if (chain->one_hot) {
        field->stored = codes_type(chain);
        DL_TRY(plan_codes(data, chain, &step[field->prepares++]));
    }
    if (chain->scaled)
        step[field->prepares++] =
            (dl_prepare_step){DL_PREPARE_SCALE, 1, &chain->by, &chain->offset};
    for (int i = 0; i < chain->stages; i++) {
        const dl_stage *stage = &chain->stage[i];
        bool fills = stage->kind == DL_PREPARE_FILL;
        if (!fills || !field->bytes) /* no byte is unknown */
            step[field->prepares++] = (dl_prepare_step){stage->kind, period_of(stage, &field->type),
                                                        stage->by, fills ? NULL : stage->offset};
    }
    return DL_OK;
}
