/* Pooling over windows and over whole pictures. See layer.h; keys in layers.c. */
#include "models/layer.h"
#include "ops/ops.h"

static dl_value pool(dl_layer_build *build, int spatial, bool average) {
    dl_pool_attributes attributes = {.spatial = spatial, .average = average};
    if (!dl_layer_rank(build, spatial + 2, spatial + 2))
        return -1;
    dl_type x = dl_layer_type(build, 0);
    const char *strides = dl_given(build->node, "strides") ? "strides" : "pool_size";
    if (!dl_ints(build->node, "pool_size", spatial, attributes.kernel) ||
        !dl_ints(build->node, strides, spatial, attributes.stride))
        return dl_layer_fail(build, "pool_size and strides of %s are one number or %d",
                             build->node->word->name, spatial);
    for (int i = 0; i < spatial; i++) {
        if (dl_is(build->node, "padding", "same")) {
            dl_same_padding(x.dim[i + 1], attributes.kernel[i], attributes.stride[i], 1,
                            &attributes.before[i], &attributes.after[i]);
        } else if (x.dim[i + 1] < attributes.kernel[i]) {
            char text[DL_SHAPE_TEXT];
            return dl_layer_fail(build,
                                 "'%s' gives %s, too small for a pool_size of %lld; use padding: "
                                 "same or a smaller pool_size",
                                 build->input_name[0], dl_shape_text(&x, true, text),
                                 (long long)attributes.kernel[i]);
        }
    }
    return dl_pool(build->graph, build->input[0], &attributes);
}

dl_value dl_build_max_pooling1d(dl_layer_build *build) {
    return pool(build, 1, false);
}
dl_value dl_build_max_pooling2d(dl_layer_build *build) {
    return pool(build, 2, false);
}
dl_value dl_build_average_pooling1d(dl_layer_build *build) {
    return pool(build, 1, true);
}
dl_value dl_build_average_pooling2d(dl_layer_build *build) {
    return pool(build, 2, true);
}

static dl_value pool_all(dl_layer_build *build, int spatial, dl_reduction kind) {
    if (!dl_layer_rank(build, spatial + 2, spatial + 2))
        return -1;
    return dl_reduce(build->graph, build->input[0], kind, spatial == 1 ? 2u : 6u, false);
}

dl_value dl_build_global_max_pooling1d(dl_layer_build *build) {
    return pool_all(build, 1, DL_REDUCE_MAX);
}
dl_value dl_build_global_max_pooling2d(dl_layer_build *build) {
    return pool_all(build, 2, DL_REDUCE_MAX);
}
dl_value dl_build_global_average_pooling1d(dl_layer_build *build) {
    return pool_all(build, 1, DL_REDUCE_MEAN);
}
dl_value dl_build_global_average_pooling2d(dl_layer_build *build) {
    return pool_all(build, 2, DL_REDUCE_MEAN);
}
