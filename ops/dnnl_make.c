/* Making oneDNN's primitives. v3 describes a primitive in one call where v2 fills in an operation
 * descriptor first; each describe_ function says both. Every primitive is made under the thread
 * count it will run with, and takes its scratch memory from the caller. */
#include <omp.h>
#include <string.h>
#include <unistd.h>

#include "ops/dnnl_call.h"
#include "runtime/base/memory.h"

static dnnl_status_t make_layout(layout *out, const dl_dnnl_tensor *tensor) {
    dnnl_data_type_t type = tensor->dtype == DL_BF16 ? dnnl_bf16 : dnnl_f32;
#if DNNL_VERSION_MAJOR >= 3
    if (tensor->any)
        return dnnl_memory_desc_create_with_tag(out, tensor->rank, tensor->dim, type,
                                                dnnl_format_tag_any);
    return dnnl_memory_desc_create_with_strides(out, tensor->rank, tensor->dim, type,
                                                tensor->stride);
#else
    if (tensor->any)
        return dnnl_memory_desc_init_by_tag(out, tensor->rank, tensor->dim, type,
                                            dnnl_format_tag_any);
    return dnnl_memory_desc_init_by_strides(out, tensor->rank, tensor->dim, type, tensor->stride);
#endif
}

static void drop_layout(layout made) {
#if DNNL_VERSION_MAJOR >= 3
    dnnl_memory_desc_destroy(made);
#else
    (void)made;
#endif
}

/* Layouts of a call's tensors while it is made; absent ones stay empty. */
typedef struct layouts {
    layout made[DL_DNNL_ARGUMENTS];
    layout_ref ref[DL_DNNL_ARGUMENTS];
} layouts;

static void drop_layouts(layouts *all) {
    for (int i = 0; i < DL_DNNL_ARGUMENTS; i++)
        if (all->ref[i])
            drop_layout(all->made[i]);
}

static dnnl_status_t make_layouts(layouts *all, const dl_dnnl_tensor *const *tensors, int count) {
    memset(all, 0, sizeof *all);
    for (int i = 0; i < count; i++) {
        if (!tensors[i])
            continue;
        dnnl_status_t status = make_layout(&all->made[i], tensors[i]);
        if (status != dnnl_success) {
            drop_layouts(all);
            return status;
        }
        all->ref[i] = REF(all->made[i]);
    }
    return dnnl_success;
}

bool dl_dnnl_lies_as(const dl_dnnl *call, int argument, const dl_dnnl_tensor *tensor) {
    layout made;
    if (make_layout(&made, tensor) != dnnl_success)
        return false;
    bool same = dnnl_memory_desc_equal(call->layout[argument], REF(made)) != 0;
    drop_layout(made);
    return same;
}

#if DNNL_VERSION_MAJOR >= 3
static bool ask(layout_ref md, dnnl_query_t what, void *out) {
    return dnnl_memory_desc_query(md, what, out) == dnnl_success;
}

static bool copy_dims(layout_ref md, dnnl_query_t what, int count, int64_t *out) {
    dnnl_dims_t *dims = NULL;
    if (count > 0 && (!ask(md, what, (void *)&dims) || !dims))
        return false;
    for (int i = 0; i < count; i++)
        out[i] = (*dims)[i];
    return true;
}

bool dl_dnnl_blocks_of(const dl_dnnl *call, int argument, dl_dnnl_blocks *out) {
    layout_ref md = call->layout[argument];
    dnnl_format_kind_t kind;
    dnnl_data_type_t type;
    dnnl_dim_t offset = 0;
    dnnl_dims_t shift = {0};
    int32_t rank = 0, inner = 0;
    memset(out, 0, sizeof *out);
    if (!ask(md, dnnl_query_format_kind, &kind) || kind != dnnl_blocked ||
        !ask(md, dnnl_query_data_type, &type) || !ask(md, dnnl_query_ndims_s32, &rank) ||
        !ask(md, dnnl_query_inner_nblks_s32, &inner) ||
        !ask(md, dnnl_query_submemory_offset_s64, &offset) || offset != 0 ||
        !copy_dims(md, dnnl_query_padded_offsets, rank, shift) ||
        !copy_dims(md, dnnl_query_padded_dims, rank, out->padded) ||
        !copy_dims(md, dnnl_query_strides, rank, out->stride) ||
        !copy_dims(md, dnnl_query_inner_blks, inner, out->block) ||
        !copy_dims(md, dnnl_query_inner_idxs, inner, out->axis))
        return false;
    for (int i = 0; i < rank; i++)
        if (shift[i] != 0)
            return false;
    out->rank = rank;
    out->inner = inner;
    out->dtype = type == dnnl_bf16 ? DL_BF16 : DL_F32;
    return type == dnnl_bf16 || type == dnnl_f32;
}
#else
bool dl_dnnl_blocks_of(const dl_dnnl *call, int argument, dl_dnnl_blocks *out) {
    layout_ref md = call->layout[argument];
    const dnnl_blocking_desc_t *blocking = &md->format_desc.blocking;
    memset(out, 0, sizeof *out);
    if (md->format_kind != dnnl_blocked || md->extra.flags != 0 || md->offset0 != 0 ||
        (md->data_type != dnnl_bf16 && md->data_type != dnnl_f32))
        return false;
    out->rank = md->ndims;
    out->inner = blocking->inner_nblks;
    out->dtype = md->data_type == dnnl_bf16 ? DL_BF16 : DL_F32;
    for (int i = 0; i < md->ndims; i++) {
        if (md->padded_offsets[i] != 0)
            return false;
        out->padded[i] = md->padded_dims[i];
        out->stride[i] = blocking->strides[i];
    }
    for (int k = 0; k < blocking->inner_nblks; k++) {
        out->block[k] = blocking->inner_blks[k];
        out->axis[k] = blocking->inner_idxs[k];
    }
    return true;
}
#endif

/* How a primitive descriptor is made; `hint` is that of the forward call or NULL. */
typedef dnnl_status_t (*describe_fn)(dnnl_engine_t engine, const void *recipe, const layouts *all,
                                     dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t hint,
                                     dnnl_primitive_desc_t *out);

static dnnl_status_t make_attributes(bool relu, dnnl_primitive_attr_t *out) {
    *out = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (status != dnnl_success || !relu)
        return status;
    dnnl_post_ops_t after = NULL;
    status = dnnl_post_ops_create(&after);
#if DNNL_VERSION_MAJOR >= 3
    if (status == dnnl_success)
        status = dnnl_post_ops_append_eltwise(after, dnnl_eltwise_relu, 0.0f, 0.0f);
#else
    if (status == dnnl_success)
        status = dnnl_post_ops_append_eltwise(after, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
#endif
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*out, after);
    if (after)
        dnnl_post_ops_destroy(after);
    return status;
}

static dl_status make_slots(dl_dnnl *call) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    call->slots = processors > MAX_SLOTS / 2   ? MAX_SLOTS
                  : processors < MIN_SLOTS / 2 ? MIN_SLOTS
                                               : (int)(2 * processors);
    call->slot = dl_alloc(sizeof *call->slot * (size_t)call->slots);
    return call->slot ? DL_OK : dl_fail_memory(sizeof *call->slot * (size_t)call->slots);
}

/* From the primitive descriptor, which the call then owns, to a call that is ready. */
static dl_status finish(dl_dnnl **out, const char *what, int threads, dnnl_primitive_desc_t desc,
                        const int *id, int arguments) {
    dl_status status = DL_OK;
    dl_dnnl *call = dl_alloc(sizeof *call);
    if (!call) {
        dnnl_primitive_desc_destroy(desc);
        return dl_fail_memory(sizeof *call);
    }
    call->what = what;
    call->threads = threads;
    call->desc = desc;
    call->arguments = arguments;
    for (int i = 0; i < arguments; i++) {
        call->id[i] = id[i];
        if (id[i])
            call->layout[i] = dnnl_primitive_desc_query_md(desc, dnnl_query_exec_arg_md, id[i]);
        if (id[i] && !call->layout[i]) {
            status = dl_fail(DL_INTERNAL, "oneDNN %s does not tell a layout of %s",
                             dl_dnnl_version(), what);
            goto failed_call;
        }
    }
    call->layout[DL_DNNL_ARGUMENTS] =
        dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    if (call->layout[DL_DNNL_ARGUMENTS])
        call->scratch = dnnl_memory_desc_get_size(call->layout[DL_DNNL_ARGUMENTS]);
    dnnl_status_t made = dnnl_primitive_create(&call->primitive, desc);
    if (made != dnnl_success) {
        call->primitive = NULL;
        status = dl_dnnl_failed(made, "make", what);
        goto failed_call;
    }
    DL_GOTO(failed_call, make_slots(call));
    *out = call;
    return DL_OK;
failed_call:
    dl_dnnl_free(call);
    return status;
}

/* The forward descriptor that oneDNN wants as a hint for a backward one. There all tensors have the
 * type of the first, also where a weight gradient of bfloat16 is float32. */
static dnnl_status_t describe_hint(describe_fn hint_of, dnnl_engine_t engine, const void *recipe,
                                   const dl_dnnl_tensor *const *tensors,
                                   dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out) {
    dl_dnnl_tensor alike[DL_DNNL_ARGUMENTS];
    const dl_dnnl_tensor *given[DL_DNNL_ARGUMENTS] = {NULL};
    layouts all;
    for (int i = 0; i < DL_DNNL_ARGUMENTS; i++)
        if (tensors[i]) {
            alike[i] = *tensors[i];
            alike[i].dtype = tensors[0]->dtype;
            given[i] = &alike[i];
        }
    dnnl_status_t status = make_layouts(&all, given, DL_DNNL_ARGUMENTS);
    if (status != dnnl_success)
        return status;
    status = hint_of(engine, recipe, &all, attributes, NULL, out);
    drop_layouts(&all);
    return status;
}

/* Makes a call under the stated number of threads. backward: hint_of makes the forward descriptor.
 */
static dl_status make(dl_dnnl **out, const char *what, int threads, describe_fn describe,
                      describe_fn hint_of, const void *recipe, const dl_dnnl_tensor *const *tensors,
                      bool relu, const int *id, int arguments) {
    *out = NULL;
    dnnl_engine_t engine;
    DL_TRY(dl_dnnl_engine(&engine));
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    layouts all;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL, hint = NULL;
    dl_status status;
    dnnl_status_t made = make_layouts(&all, tensors, DL_DNNL_ARGUMENTS);
    if (made != dnnl_success) {
        status = dl_dnnl_failed(made, "describe the tensors of", what);
        goto restored;
    }
    made = make_attributes(relu, &attributes);
    if (made == dnnl_success && hint_of)
        made = describe_hint(hint_of, engine, recipe, tensors, attributes, &hint);
    if (made == dnnl_success)
        made = describe(engine, recipe, &all, attributes, hint, &desc);
    if (made == dnnl_success)
        status = finish(out, what, threads, desc, id, arguments);
    else
        status = dl_dnnl_failed(made, "make", what);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    drop_layouts(&all);
restored:
    omp_set_num_threads(before);
    return status;
}

#if DNNL_VERSION_MAJOR < 3
/* The second half of what v3 does in one call; `status` is the first half's. */
static dnnl_status_t from_operation(dnnl_status_t status, const void *operation,
                                    dnnl_engine_t engine, dnnl_primitive_attr_t attributes,
                                    dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out) {
    return status == dnnl_success
               ? dnnl_primitive_desc_create(out, operation, attributes, engine, hint)
               : status;
}
#endif

static dnnl_status_t describe_matmul(dnnl_engine_t engine, const void *recipe, const layouts *all,
                                     dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t hint,
                                     dnnl_primitive_desc_t *out) {
    (void)recipe;
    (void)hint;
    layout_ref a = all->ref[DL_DNNL_A], b = all->ref[DL_DNNL_B];
    layout_ref bias = all->ref[DL_DNNL_PRODUCT_BIAS], y = all->ref[DL_DNNL_PRODUCT];
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(out, engine, a, b, bias, y, attributes);
#else
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_matmul_desc_init(&operation, a, b, bias, y);
    return from_operation(status, &operation, engine, attributes, NULL, out);
#endif
}

dl_status dl_dnnl_matmul(dl_dnnl **out, int threads, const dl_dnnl_tensor *a,
                         const dl_dnnl_tensor *b, const dl_dnnl_tensor *bias,
                         const dl_dnnl_tensor *y, bool relu) {
    const dl_dnnl_tensor *tensors[DL_DNNL_ARGUMENTS] = {a, b, y, bias};
    const int id[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, bias ? DNNL_ARG_BIAS : 0};
    return make(out, "a matrix product", threads, describe_matmul, NULL, NULL, tensors, relu, id,
                DL_DNNL_ARGUMENTS);
}

/* oneDNN counts a dilation of 1 as 0. */
typedef struct conv_recipe {
    const dl_dnnl_window *window;
    dnnl_dims_t dilation;
} conv_recipe;

static dnnl_status_t describe_conv(dnnl_engine_t engine, const void *recipe, const layouts *all,
                                   dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t hint,
                                   dnnl_primitive_desc_t *out) {
    (void)hint;
    const conv_recipe *conv = recipe;
    const dl_dnnl_window *window = conv->window;
    layout_ref x = all->ref[DL_DNNL_X], w = all->ref[DL_DNNL_W], y = all->ref[DL_DNNL_Y];
    layout_ref bias = all->ref[DL_DNNL_BIAS];
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_training, dnnl_convolution_direct, x, w, bias, y, window->stride,
        conv->dilation, window->before, window->after, attributes);
#else
    dnnl_convolution_desc_t operation;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &operation, dnnl_forward_training, dnnl_convolution_direct, x, w, bias, y, window->stride,
        conv->dilation, window->before, window->after);
    return from_operation(status, &operation, engine, attributes, NULL, out);
#endif
}

static dnnl_status_t describe_conv_data(dnnl_engine_t engine, const void *recipe,
                                        const layouts *all, dnnl_primitive_attr_t attributes,
                                        dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out) {
    const conv_recipe *conv = recipe;
    const dl_dnnl_window *window = conv->window;
    layout_ref x = all->ref[DL_DNNL_X], w = all->ref[DL_DNNL_W], y = all->ref[DL_DNNL_Y];
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_backward_data_primitive_desc_create(
        out, engine, dnnl_convolution_direct, x, w, y, window->stride, conv->dilation,
        window->before, window->after, hint, attributes);
#else
    dnnl_convolution_desc_t operation;
    dnnl_status_t status = dnnl_dilated_convolution_backward_data_desc_init(
        &operation, dnnl_convolution_direct, x, w, y, window->stride, conv->dilation,
        window->before, window->after);
    return from_operation(status, &operation, engine, attributes, hint, out);
#endif
}

static dnnl_status_t describe_conv_weights(dnnl_engine_t engine, const void *recipe,
                                           const layouts *all, dnnl_primitive_attr_t attributes,
                                           dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out) {
    const conv_recipe *conv = recipe;
    const dl_dnnl_window *window = conv->window;
    layout_ref x = all->ref[DL_DNNL_X], w = all->ref[DL_DNNL_W], y = all->ref[DL_DNNL_Y];
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_backward_weights_primitive_desc_create(
        out, engine, dnnl_convolution_direct, x, w, NULL, y, window->stride, conv->dilation,
        window->before, window->after, hint, attributes);
#else
    dnnl_convolution_desc_t operation;
    dnnl_status_t status = dnnl_dilated_convolution_backward_weights_desc_init(
        &operation, dnnl_convolution_direct, x, w, NULL, y, window->stride, conv->dilation,
        window->before, window->after);
    return from_operation(status, &operation, engine, attributes, hint, out);
#endif
}

dl_status dl_dnnl_conv(dl_dnnl **out, int threads, dl_dnnl_direction direction,
                       const dl_dnnl_tensor *x, const dl_dnnl_tensor *w, const dl_dnnl_tensor *y,
                       const dl_dnnl_tensor *bias, const dl_dnnl_window *window, bool relu) {
    static const int ids[][3] = {
        [DL_DNNL_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
        [DL_DNNL_BACKWARD_DATA] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
        [DL_DNNL_BACKWARD_WEIGHTS] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
    static const describe_fn describe[] = {[DL_DNNL_FORWARD] = describe_conv,
                                           [DL_DNNL_BACKWARD_DATA] = describe_conv_data,
                                           [DL_DNNL_BACKWARD_WEIGHTS] = describe_conv_weights};
    static const char *const what[] = {"a convolution", "a convolution's input gradient",
                                       "a convolution's weight gradient"};
    const dl_dnnl_tensor *tensors[DL_DNNL_ARGUMENTS] = {x, w, y, bias};
    const int id[] = {ids[direction][0], ids[direction][1], ids[direction][2],
                      bias ? DNNL_ARG_BIAS : 0};
    conv_recipe recipe = {.window = window,
                          .dilation = {window->dilation[0] - 1, window->dilation[1] - 1}};
    return make(out, what[direction], threads, describe[direction],
                direction == DL_DNNL_FORWARD ? NULL : describe_conv, &recipe, tensors, relu, id,
                DL_DNNL_ARGUMENTS);
}

static dnnl_status_t describe_pool(dnnl_engine_t engine, const void *recipe, const layouts *all,
                                   dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t hint,
                                   dnnl_primitive_desc_t *out) {
    (void)hint;
    const dl_dnnl_window *window = recipe;
    const dnnl_dims_t dilation = {0, 0};
    layout_ref x = all->ref[DL_DNNL_POOL_X], y = all->ref[DL_DNNL_POOL_Y];
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_pooling_forward_primitive_desc_create(
        out, engine, dnnl_forward_training, dnnl_pooling_avg_exclude_padding, x, y, window->stride,
        window->kernel, dilation, window->before, window->after, attributes);
#else
    dnnl_pooling_v2_desc_t operation;
    dnnl_status_t status = dnnl_pooling_v2_forward_desc_init(
        &operation, dnnl_forward_training, dnnl_pooling_avg_exclude_padding, x, y, window->stride,
        window->kernel, dilation, window->before, window->after);
    return from_operation(status, &operation, engine, attributes, NULL, out);
#endif
}

static dnnl_status_t describe_pool_back(dnnl_engine_t engine, const void *recipe,
                                        const layouts *all, dnnl_primitive_attr_t attributes,
                                        dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out) {
    const dl_dnnl_window *window = recipe;
    const dnnl_dims_t dilation = {0, 0};
    layout_ref x = all->ref[DL_DNNL_POOL_X], y = all->ref[DL_DNNL_POOL_Y];
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_pooling_backward_primitive_desc_create(
        out, engine, dnnl_pooling_avg_exclude_padding, x, y, window->stride, window->kernel,
        dilation, window->before, window->after, hint, attributes);
#else
    dnnl_pooling_v2_desc_t operation;
    dnnl_status_t status = dnnl_pooling_v2_backward_desc_init(
        &operation, dnnl_pooling_avg_exclude_padding, x, y, window->stride, window->kernel,
        dilation, window->before, window->after);
    return from_operation(status, &operation, engine, attributes, hint, out);
#endif
}

dl_status dl_dnnl_average_pool(dl_dnnl **out, int threads, dl_dnnl_direction direction,
                               const dl_dnnl_tensor *x, const dl_dnnl_tensor *y,
                               const dl_dnnl_window *window) {
    bool forward = direction == DL_DNNL_FORWARD;
    const dl_dnnl_tensor *tensors[DL_DNNL_ARGUMENTS] = {x, y};
    const int id[] = {forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC,
                      forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST};
    return make(out, "an average pooling", threads, forward ? describe_pool : describe_pool_back,
                forward ? NULL : describe_pool, window, tensors, false, id, 2);
}

static dl_status reorder_layouts(dl_dnnl **out, int threads, layout_ref from, layout_ref to) {
    *out = NULL;
    dnnl_engine_t engine;
    DL_TRY(dl_dnnl_engine(&engine));
    static const int id[] = {DNNL_ARG_FROM, DNNL_ARG_TO};
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    dl_status status;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t made = make_attributes(false, &attributes);
    if (made == dnnl_success)
        made = dnnl_reorder_primitive_desc_create(&desc, from, engine, to, engine, attributes);
    if (made == dnnl_success)
        status = finish(out, "a reorder", threads, desc, id, 2);
    else
        status = dl_dnnl_failed(made, "make", "a reorder");
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    omp_set_num_threads(before);
    return status;
}

static dl_status reorder(dl_dnnl **out, const dl_dnnl *call, int argument,
                         const dl_dnnl_tensor *plain, bool back) {
    layout made;
    *out = NULL;
    dnnl_status_t status = make_layout(&made, plain);
    if (status != dnnl_success)
        return dl_dnnl_failed(status, "describe the tensors of", "a reorder");
    layout_ref blocks = call->layout[argument];
    dl_status result = back ? reorder_layouts(out, call->threads, blocks, REF(made))
                            : reorder_layouts(out, call->threads, REF(made), blocks);
    drop_layout(made);
    return result;
}

dl_status dl_dnnl_reorder_to(dl_dnnl **out, const dl_dnnl_tensor *from, const dl_dnnl *call,
                             int argument) {
    return reorder(out, call, argument, from, false);
}

dl_status dl_dnnl_reorder_from(dl_dnnl **out, const dl_dnnl *call, int argument,
                               const dl_dnnl_tensor *to) {
    return reorder(out, call, argument, to, true);
}
