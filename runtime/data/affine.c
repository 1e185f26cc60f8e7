/* Fields that may be had as stored: all files hold bytes, and every step is affine
 * (runtime/base/affine.h). See data.h; the program that reads such a field does its steps. */
#include "runtime/data/inner.h"

#include <string.h>

static bool has_bytes(const dl_data *data, const dl_chain *chain) {
    bool bytes = chain->field.type.dtype == DL_F32 && chain->field.type.rank > 0 && !chain->label &&
                 !chain->one_hot && !chain->filled;
    for (int set = 0; set < data->sets; set++)
        bytes = bytes && chain->array[set]->type.dtype == DL_U8 && !chain->map[set];
    for (int i = 0; i < chain->stages; i++)
        bytes = bytes && chain->stage[i].form != DL_STAGE_OTHER;
    return bytes;
}

/* Bits, so that a constant that is no number repeats too. */
static bool repeats(const float *values, int64_t period, int64_t count) {
    return memcmp(values, values + period, sizeof *values * (size_t)(count - period)) == 0;
}

/* One constant for all elements, one for each channel, or one for each element. */
static int64_t period_of(const dl_stage *stage, int64_t channels) {
    const int64_t periods[] = {1, channels};
    for (int i = 0; i < DL_COUNT(periods); i++)
        if (repeats(stage->by, periods[i], stage->elements) &&
            repeats(stage->offset, periods[i], stage->elements))
            return periods[i];
    return stage->elements;
}

static dl_status plan_chain(dl_data *data, dl_chain *chain) {
    dl_affine *affine = DL_NEW_N(&data->arena, dl_affine, chain->stages + 1);
    if (!affine)
        return dl_fail_memory(sizeof *affine * (size_t)(chain->stages + 1));
    const dl_type *type = &chain->field.type;
    int count = 0;
    if (chain->scaled)
        affine[count++] = (dl_affine){.period = 1, .by = &chain->by, .offset = &chain->offset};
    for (int i = 0; i < chain->stages; i++) {
        const dl_stage *stage = &chain->stage[i];
        affine[count++] = (dl_affine){.centred = stage->form == DL_STAGE_CENTRED,
                                      .period = period_of(stage, type->dim[type->rank - 1]),
                                      .by = stage->by,
                                      .offset = stage->offset};
    }
    chain->field.bytes = true;
    chain->field.affine = affine;
    chain->field.affines = count;
    return DL_OK;
}

dl_status dl_bytes_plan(dl_data *data) {
    for (int i = 0; i < data->chains; i++)
        if (has_bytes(data, &data->chain[i]))
            DL_TRY(plan_chain(data, &data->chain[i]));
    return DL_OK;
}
