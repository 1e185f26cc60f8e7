/* Step `reshape`: new dimensions for the same elements; nothing moves. */
#include "runtime/data/inner.h"

static dl_status plan_reshape(dl_data *data, const dl_node *node, dl_chain *chain) {
    const dl_node *shape = dl_get(node, "shape");
    dl_type from = chain->field.type, to = {.dtype = from.dtype};
    int64_t count = dl_type_count(&from), known;
    int open = -1, sizes = shape->kind == DL_NODE_LIST ? shape->count : 1;
    char text[DL_SHAPE_TEXT], other[DL_SHAPE_TEXT];
    (void)data;
    if (sizes > DL_MAX_RANK - 1)
        return dl_fail_at(shape, DL_BAD_JOB, "a sample has at most %d dimensions", DL_MAX_RANK - 1);
    for (int i = 0; i < sizes; i++) {
        const dl_node *size = shape->kind == DL_NODE_LIST ? dl_at(shape, i) : shape;
        if (size->integer == 0 || (size->integer < 0 && open >= 0))
            return dl_fail_at(size, DL_BAD_JOB, "dimensions are at least 1; one of them may be -1");
        open = size->integer < 0 ? i : open;
        to.dim[to.rank++] = size->integer < 0 ? 1 : size->integer;
    }
    if (!dl_product(to.dim, to.rank, &known))
        known = 0;
    if (open >= 0 && known > 0 && count % known == 0)
        to.dim[open] = count / known;
    if (known == 0 || dl_type_count(&to) != count)
        return dl_fail_at(shape, DL_BAD_JOB,
                          "field '%s' has shape %s, %lld values, and cannot become %s",
                          chain->field.name, dl_shape_text(&from, false, text), (long long)count,
                          dl_shape_text(&to, false, other));
    chain->field.type = to;
    chain->column = NULL;
    return DL_OK;
}

const dl_step dl_step_reshape = {plan_reshape};
