/* Layers that move or rename elements: flatten, reshape, permute, zero_padding2d. See layer.h. */
#include "models/layer.h"
#include "ops/ops.h"

dl_value dl_build_flatten(dl_layer_build *build) {
    dl_type type = dl_layer_type(build, 0);
    int64_t samples = type.dim[0];
    return dl_reshape(build->graph, build->input[0],
                      DL_TYPE(DL_F32, samples, dl_type_count(&type) / samples));
}

dl_value dl_build_reshape(dl_layer_build *build) {
    dl_type from = dl_layer_type(build, 0), to = {.dtype = DL_F32, .rank = 1};
    int64_t count = dl_type_count(&from) / from.dim[0], known = 1;
    int open = 0;
    to.dim[0] = from.dim[0];
    const dl_node *shape = dl_get(build->node, "target_shape");
    char text[DL_SHAPE_TEXT], other[DL_SHAPE_TEXT];
    for (DL_EACH(size, shape)) {
        if (to.rank == DL_MAX_RANK)
            return dl_layer_fail(build, "a shape has at most %d dimensions", DL_MAX_RANK - 1);
        to.dim[to.rank] = size->integer;
        if (size->integer == -1) {
            open = open ? -1 : to.rank;
            if (open < 0)
                return dl_layer_fail(build, "only one dimension of target_shape can be -1");
        } else if (size->integer < 1) {
            return dl_layer_fail(build, "a dimension of target_shape is at least 1, or -1");
        } else {
            known =
                known > count ? known : known * size->integer; /* past count it is wrong anyway */
        }
        to.rank++;
    }
    if (open)
        to.dim[open] = known > 0 && count % known == 0 ? count / known : 0;
    if (dl_type_count(&to) != dl_type_count(&from))
        return dl_layer_fail(build, "reshape cannot make %s of '%s' %s",
                             dl_shape_text(&to, true, text), build->input_name[0],
                             dl_shape_text(&from, true, other));
    return dl_reshape(build->graph, build->input[0], to);
}

dl_value dl_build_permute(dl_layer_build *build) {
    dl_type type = dl_layer_type(build, 0);
    const dl_node *dims = dl_get(build->node, "dims");
    int order[DL_MAX_RANK] = {0};
    unsigned seen = 1;
    bool good = dims->count == type.rank - 1;
    for (int i = 0; good && i < dims->count; i++) {
        int64_t axis = dl_at(dims, i)->integer;
        good = axis >= 1 && axis < type.rank && !(seen >> axis & 1u);
        seen |= good ? 1u << axis : 0;
        order[i + 1] = (int)axis;
    }
    char text[DL_SHAPE_TEXT];
    if (!good)
        return dl_layer_fail(build,
                             "dims must name each of the %d dimensions of '%s' %s once, from 1",
                             type.rank - 1, build->input_name[0], dl_shape_text(&type, true, text));
    return dl_transpose(build->graph, build->input[0], order);
}

/* 1, [1, 2] (height, width) or [[1, 2], [3, 4]] (top, bottom; left, right). */
dl_value dl_build_zero_padding2d(dl_layer_build *build) {
    if (!dl_layer_rank(build, 4, 4))
        return -1;
    const dl_node *padding = dl_get(build->node, "padding");
    int64_t before[4] = {0}, after[4] = {0};
    if (padding->kind == DL_NODE_LIST && padding->count != 2)
        return dl_layer_fail(
            build, "padding is one number, [height, width] or [[top, bottom], [left, right]]");
    for (int i = 0; i < 2; i++) {
        const dl_node *side = padding->kind == DL_NODE_LIST ? dl_at(padding, i) : padding;
        if (side->kind == DL_NODE_LIST && side->count != 2)
            return dl_layer_fail(
                build, "padding is one number, [height, width] or [[top, bottom], [left, right]]");
        before[i + 1] = side->kind == DL_NODE_LIST ? dl_at(side, 0)->integer : side->integer;
        after[i + 1] = side->kind == DL_NODE_LIST ? dl_at(side, 1)->integer : side->integer;
    }
    return dl_pad(build->graph, build->input[0], before, after, 0.0f);
}
