/* See floor_kernel.h. v3 makes a primitive's descriptor in one call where v2 fills in an operation
 * first, and keeps memory descriptors behind handles. */
#include "tests/bench/floor_kernel.h"

#include <stdio.h>
#include <string.h>

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout_ref;
#define REF(made)  (made)
#define DROP(made) dnnl_memory_desc_destroy(made)
#else
typedef const dnnl_memory_desc_t *layout_ref;
#define REF(made)  (&(made))
#define DROP(made) (void)(made)
#endif

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static bool start(void) {
    return engine ||
           (dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success &&
            dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success);
}

/* Descriptions of the tensors of one kernel while it is made. */
enum { X, W, Y, BIAS, TENSORS };
typedef struct tensors {
    dnnl_memory_desc_t made[TENSORS];
    bool there[TENSORS];
} tensors;

static layout_ref ref(const tensors *t, int which) {
    return t->there[which] ? REF(t->made[which]) : NULL;
}

static bool describe(tensors *t, int which, int rank, const int64_t *dim, dnnl_data_type_t type,
                     dnnl_format_tag_t tag) {
#if DNNL_VERSION_MAJOR >= 3
    t->there[which] =
        dnnl_memory_desc_create_with_tag(&t->made[which], rank, dim, type, tag) == dnnl_success;
#else
    t->there[which] =
        dnnl_memory_desc_init_by_tag(&t->made[which], rank, dim, type, tag) == dnnl_success;
#endif
    return t->there[which];
}

static void forget(tensors *t) {
    for (int i = 0; i < TENSORS; i++)
        if (t->there[i])
            DROP(t->made[i]);
}

/* What a call makes: its descriptor, and the arguments by name and place. */
typedef struct recipe {
    const bench_layer *layer;
    kernel_direction direction;
    const tensors *t;
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t hint;
} recipe;

#if DNNL_VERSION_MAJOR < 3
static dnnl_status_t finish_v2(dnnl_status_t status, const void *operation, const recipe *r,
                               dnnl_primitive_desc_t *out) {
    return status == dnnl_success
               ? dnnl_primitive_desc_create(out, operation, r->attributes, engine, r->hint)
               : status;
}
#endif

static void dilations(const bench_layer *layer, dnnl_dims_t out) {
    for (int i = 0; i < 2; i++)
        out[i] = layer->dilation[i] - 1; /* oneDNN counts none as 0 */
}

static dnnl_status_t conv_desc(const recipe *r, dnnl_primitive_desc_t *out) {
    const bench_layer *l = r->layer;
    layout_ref x = ref(r->t, X), w = ref(r->t, W), y = ref(r->t, Y), bias = ref(r->t, BIAS);
    dnnl_dims_t d;
    dilations(l, d);
#if DNNL_VERSION_MAJOR >= 3
    if (r->direction == FORWARD)
        return dnnl_convolution_forward_primitive_desc_create(
            out, engine, dnnl_forward_training, dnnl_convolution_direct, x, w, bias, y, l->stride,
            d, l->before, l->after, r->attributes);
    if (r->direction == BACKWARD_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(
            out, engine, dnnl_convolution_direct, x, w, y, l->stride, d, l->before, l->after,
            r->hint, r->attributes);
    return dnnl_convolution_backward_weights_primitive_desc_create(
        out, engine, dnnl_convolution_direct, x, w, bias, y, l->stride, d, l->before, l->after,
        r->hint, r->attributes);
#else
    dnnl_convolution_desc_t op;
    dnnl_status_t status;
    if (r->direction == FORWARD)
        status = dnnl_dilated_convolution_forward_desc_init(&op, dnnl_forward_training,
                                                            dnnl_convolution_direct, x, w, bias, y,
                                                            l->stride, d, l->before, l->after);
    else if (r->direction == BACKWARD_DATA)
        status = dnnl_dilated_convolution_backward_data_desc_init(
            &op, dnnl_convolution_direct, x, w, y, l->stride, d, l->before, l->after);
    else
        status = dnnl_dilated_convolution_backward_weights_desc_init(
            &op, dnnl_convolution_direct, x, w, bias, y, l->stride, d, l->before, l->after);
    return finish_v2(status, &op, r, out);
#endif
}

static dnnl_status_t inner_desc(const recipe *r, dnnl_primitive_desc_t *out) {
    layout_ref x = ref(r->t, X), w = ref(r->t, W), y = ref(r->t, Y), bias = ref(r->t, BIAS);
#if DNNL_VERSION_MAJOR >= 3
    if (r->direction == FORWARD)
        return dnnl_inner_product_forward_primitive_desc_create(out, engine, dnnl_forward_training,
                                                                x, w, bias, y, r->attributes);
    if (r->direction == BACKWARD_DATA)
        return dnnl_inner_product_backward_data_primitive_desc_create(out, engine, x, w, y, r->hint,
                                                                      r->attributes);
    return dnnl_inner_product_backward_weights_primitive_desc_create(out, engine, x, w, bias, y,
                                                                     r->hint, r->attributes);
#else
    dnnl_inner_product_desc_t op;
    dnnl_status_t status;
    if (r->direction == FORWARD)
        status = dnnl_inner_product_forward_desc_init(&op, dnnl_forward_training, x, w, bias, y);
    else if (r->direction == BACKWARD_DATA)
        status = dnnl_inner_product_backward_data_desc_init(&op, x, w, y);
    else
        status = dnnl_inner_product_backward_weights_desc_init(&op, x, w, bias, y);
    return finish_v2(status, &op, r, out);
#endif
}

/* X · W = Y, whatever they stand for. */
static dnnl_status_t matmul_desc(const recipe *r, dnnl_primitive_desc_t *out) {
    layout_ref a = ref(r->t, X), b = ref(r->t, W), y = ref(r->t, Y), bias = ref(r->t, BIAS);
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(out, engine, a, b, bias, y, r->attributes);
#else
    dnnl_matmul_desc_t op;
    return finish_v2(dnnl_matmul_desc_init(&op, a, b, bias, y), &op, r, out);
#endif
}

static dnnl_status_t pool_desc(const recipe *r, dnnl_primitive_desc_t *out) {
    const bench_layer *l = r->layer;
    layout_ref x = ref(r->t, X), y = ref(r->t, Y);
    dnnl_alg_kind_t kind = l->average ? dnnl_pooling_avg_exclude_padding : dnnl_pooling_max;
    dnnl_dims_t d;
    dilations(l, d);
#if DNNL_VERSION_MAJOR >= 3
    if (r->direction == FORWARD)
        return dnnl_pooling_forward_primitive_desc_create(out, engine, dnnl_forward_training, kind,
                                                          x, y, l->stride, l->kernel, d, l->before,
                                                          l->after, r->attributes);
    return dnnl_pooling_backward_primitive_desc_create(out, engine, kind, x, y, l->stride,
                                                       l->kernel, d, l->before, l->after, r->hint,
                                                       r->attributes);
#else
    dnnl_pooling_v2_desc_t op;
    dnnl_status_t status =
        r->direction == FORWARD
            ? dnnl_pooling_v2_forward_desc_init(&op, dnnl_forward_training, kind, x, y, l->stride,
                                                l->kernel, d, l->before, l->after)
            : dnnl_pooling_v2_backward_desc_init(&op, kind, x, y, l->stride, l->kernel, d,
                                                 l->before, l->after);
    return finish_v2(status, &op, r, out);
#endif
}

static dnnl_status_t norm_desc(const recipe *r, dnnl_primitive_desc_t *out) {
    layout_ref x = ref(r->t, X), y = ref(r->t, Y);
    unsigned flags = dnnl_use_scale | dnnl_use_shift;
    if (r->layer->relu)
        flags |= dnnl_fuse_norm_relu;
#if DNNL_VERSION_MAJOR >= 3
    if (r->direction == FORWARD)
        return dnnl_batch_normalization_forward_primitive_desc_create(
            out, engine, dnnl_forward_training, x, y, 1e-3f, flags, r->attributes);
    return dnnl_batch_normalization_backward_primitive_desc_create(
        out, engine, dnnl_backward, x, y, x, 1e-3f, flags, r->hint, r->attributes);
#else
    (void)y;
    dnnl_batch_normalization_desc_t op;
    dnnl_status_t status =
        r->direction == FORWARD
            ? dnnl_batch_normalization_forward_desc_init(&op, dnnl_forward_training, x, 1e-3f,
                                                         flags)
            : dnnl_batch_normalization_backward_desc_init(&op, dnnl_backward, x, x, 1e-3f, flags);
    return finish_v2(status, &op, r, out);
#endif
}

/* ---- from a layer to tensors and a call ---- */

static bool describe_conv(tensors *t, const bench_layer *l, kernel_direction direction, bool plain,
                          dnnl_data_type_t type, dnnl_data_type_t gradient) {
    const dnnl_dims_t x = {l->n, l->channels, l->in[0], l->in[1]};
    const dnnl_dims_t y = {l->n, l->filters, l->out[0], l->out[1]};
    const dnnl_dims_t w = {l->filters, l->channels, l->kernel[0], l->kernel[1]};
    const dnnl_dims_t grouped = {l->groups, l->filters / l->groups, l->channels / l->groups,
                                 l->kernel[0], l->kernel[1]};
    const dnnl_dims_t bias = {l->filters};
    dnnl_format_tag_t tag = plain ? dnnl_nhwc : dnnl_format_tag_any;
    dnnl_data_type_t weights = direction == BACKWARD_WEIGHTS ? gradient : type;
    bool ok = describe(t, X, 4, x, type, tag) && describe(t, Y, 4, y, type, tag) &&
              describe(t, W, l->groups > 1 ? 5 : 4, l->groups > 1 ? grouped : w, weights,
                       dnnl_format_tag_any);
    if (ok && l->bias && direction != BACKWARD_DATA)
        ok = describe(t, BIAS, 1, bias, dnnl_f32, dnnl_a);
    return ok;
}

static bool describe_inner(tensors *t, const bench_layer *l, kernel_direction direction,
                           dnnl_data_type_t type, dnnl_data_type_t gradient) {
    const dnnl_dims_t x = {l->n, l->channels}, w = {l->filters, l->channels};
    const dnnl_dims_t y = {l->n, l->filters}, bias = {l->filters};
    bool ok =
        describe(t, X, 2, x, type, dnnl_format_tag_any) &&
        describe(t, Y, 2, y, type, dnnl_format_tag_any) &&
        describe(t, W, 2, w, direction == BACKWARD_WEIGHTS ? gradient : type, dnnl_format_tag_any);
    if (ok && l->bias && direction != BACKWARD_DATA)
        ok = describe(t, BIAS, 1, bias, dnnl_f32, dnnl_a);
    return ok;
}

/* Products: y = x w + bias; dx = dy w'; dw = x' dy, or with `turned` dw' = dy' x. */
static bool describe_product(tensors *t, const bench_layer *l, kernel_direction direction,
                             bool turned, dnnl_data_type_t type, dnnl_data_type_t gradient) {
    const int64_t n = l->n, k = l->channels, u = l->filters;
    const int64_t sizes[][3] = {{n, k, u}, {n, u, k}, {k, n, u}, {u, n, k}};
    const int64_t *s = sizes[direction == BACKWARD_WEIGHTS && turned ? 3 : direction];
    const dnnl_dims_t a = {s[0], s[1]}, b = {s[1], s[2]}, y = {s[0], s[2]}, bias = {1, u};
    bool weights = direction == BACKWARD_WEIGHTS;
    bool ok = describe(t, X, 2, a, type, weights ? dnnl_ba : dnnl_ab) &&
              describe(t, W, 2, b, type, weights ? dnnl_ab : dnnl_format_tag_any) &&
              describe(t, Y, 2, y, weights ? gradient : type, dnnl_ab);
    if (ok && l->bias && direction == FORWARD)
        ok = describe(t, BIAS, 2, bias, dnnl_f32, dnnl_ab);
    return ok;
}

static bool describe_space(tensors *t, const bench_layer *l, dnnl_format_tag_t tag,
                           dnnl_data_type_t type) {
    const dnnl_dims_t x = {l->n, l->channels, l->in[0], l->in[1]};
    const dnnl_dims_t y = {l->n, l->filters, l->out[0], l->out[1]};
    return describe(t, X, 4, x, type, tag) && describe(t, Y, 4, y, type, tag);
}

static void add(kernel *k, int id, kernel_place place, bool weights) {
    layout_ref md = dnnl_primitive_desc_query_md(k->desc, dnnl_query_exec_arg_md, id);
    size_t bytes = md ? dnnl_memory_desc_get_size(md) : 0;
    dnnl_memory_t memory = NULL;
    if (bytes == 0 || dnnl_memory_create(&memory, md, engine, DNNL_MEMORY_NONE) != dnnl_success)
        return;
    int i = k->arguments++;
    k->place[i] = place;
    k->bytes[i] = bytes;
    k->weights[i] = weights;
    k->argument[i] = (dnnl_exec_arg_t){id, memory};
}

static void add_arguments(kernel *k, const bench_layer *l, kernel_direction direction, bool product,
                          bool turned) {
    bool forward = direction == FORWARD, data = direction == BACKWARD_DATA;
    if (product) {
        add(k, DNNL_ARG_SRC, forward ? PLACE_X : data || turned ? PLACE_DY : PLACE_X, false);
        add(k, DNNL_ARG_WEIGHTS,
            direction != BACKWARD_WEIGHTS ? PLACE_OWN
            : turned                      ? PLACE_X
                                          : PLACE_DY,
            direction != BACKWARD_WEIGHTS);
        add(k, DNNL_ARG_DST, forward ? PLACE_Y : data ? PLACE_DX : PLACE_OWN, false);
        add(k, DNNL_ARG_BIAS, PLACE_OWN, false);
    } else if (l->kind == LAYER_CONV || l->kind == LAYER_DENSE) {
        add(k, data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, data ? PLACE_DX : PLACE_X, false);
        add(k, direction == BACKWARD_WEIGHTS ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, PLACE_OWN,
            direction != BACKWARD_WEIGHTS);
        add(k, forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, forward ? PLACE_Y : PLACE_DY, false);
        if (l->bias && !data)
            add(k, forward ? DNNL_ARG_BIAS : DNNL_ARG_DIFF_BIAS, PLACE_OWN, false);
    } else if (l->kind == LAYER_POOL) {
        add(k, forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC, forward ? PLACE_X : PLACE_DX, false);
        add(k, forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, forward ? PLACE_Y : PLACE_DY, false);
        add(k, DNNL_ARG_WORKSPACE, PLACE_KEPT, false);
    } else {
        add(k, DNNL_ARG_SRC, PLACE_X, false);
        add(k, forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, forward ? PLACE_Y : PLACE_DY, false);
        if (!forward)
            add(k, DNNL_ARG_DIFF_SRC, PLACE_DX, false);
        add(k, DNNL_ARG_WORKSPACE, PLACE_KEPT, false);
        add(k, DNNL_ARG_MEAN, PLACE_OWN, true);
        add(k, DNNL_ARG_VARIANCE, PLACE_OWN, true);
        add(k, DNNL_ARG_SCALE, PLACE_OWN, true);
        if (forward || DNNL_VERSION_MAJOR < 3) /* v2 wants it backward, too */
            add(k, DNNL_ARG_SHIFT, PLACE_OWN, true);
        if (!forward) {
            add(k, DNNL_ARG_DIFF_SCALE, PLACE_OWN, false);
            add(k, DNNL_ARG_DIFF_SHIFT, PLACE_OWN, false);
        }
    }
    add(k, DNNL_ARG_SCRATCHPAD, PLACE_SCRATCH, false);
}

static dnnl_primitive_attr_t make_attributes(bool relu) {
    dnnl_primitive_attr_t attributes = NULL;
    if (dnnl_primitive_attr_create(&attributes) != dnnl_success)
        return NULL;
    dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    dnnl_post_ops_t after = NULL;
    if (relu && dnnl_post_ops_create(&after) == dnnl_success) {
#if DNNL_VERSION_MAJOR >= 3
        dnnl_post_ops_append_eltwise(after, dnnl_eltwise_relu, 0.0f, 0.0f);
#else
        dnnl_post_ops_append_eltwise(after, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
#endif
        dnnl_primitive_attr_set_post_ops(attributes, after);
        dnnl_post_ops_destroy(after);
    }
    return attributes;
}

bool kernel_exists(const bench_layer *layer, kernel_direction direction) {
    if (direction == BACKWARD_DATA)
        return layer->inner || layer->kind == LAYER_NORM;
    if (direction == BACKWARD_WEIGHTS)
        return layer->kind == LAYER_CONV || layer->kind == LAYER_DENSE;
    return true;
}

/* Forms of a convolution: layouts any or channels last; of a dense layer: inner product, product,
 * and for weights the product turned; each with weight gradients of float32, then bf16 where that
 * is the precision. Of pooling and normalisation: channels last, then blocks of 16 channels. */
bool kernel_make(kernel *out, const bench_layer *l, kernel_direction direction, int form, bool bf16,
                 const kernel *forward) {
    typedef dnnl_status_t (*desc_fn)(const recipe *r, dnnl_primitive_desc_t *desc);
    memset(out, 0, sizeof *out);
    bool typed = bf16 && direction == BACKWARD_WEIGHTS;
    int which = typed ? form / 2 : form;
    dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t gradient = typed && form % 2 ? dnnl_bf16 : dnnl_f32;
    tensors t = {.there = {false}};
    desc_fn desc = NULL;
    bool ok = false, product = l->kind == LAYER_DENSE && which > 0;
    if (!start() || which > (product && direction == BACKWARD_WEIGHTS ? 2 : 1))
        return false;
    if (l->kind == LAYER_CONV) {
        ok = describe_conv(&t, l, direction, which == 1, type, gradient);
        desc = conv_desc;
    } else if (product) {
        ok = describe_product(&t, l, direction, which == 2, type, gradient);
        desc = matmul_desc;
    } else if (l->kind == LAYER_DENSE) {
        ok = describe_inner(&t, l, direction, type, gradient);
        desc = inner_desc;
    } else {
        ok = describe_space(&t, l, which ? dnnl_nChw16c : dnnl_nhwc, type);
        desc = l->kind == LAYER_POOL ? pool_desc : norm_desc;
    }
    recipe r = {.layer = l,
                .direction = direction,
                .t = &t,
                .attributes =
                    make_attributes(l->relu && direction == FORWARD && l->kind != LAYER_NORM)};
    bool paired = l->kind == LAYER_POOL || l->kind == LAYER_NORM;
    dnnl_primitive_desc_t hint = NULL;
    if (ok && direction != FORWARD && !product && !paired) {
        /* The library wants a forward descriptor of the same sizes, of any layout. */
        tensors any = {.there = {false}};
        recipe before = {
            .layer = l, .direction = FORWARD, .t = &any, .attributes = make_attributes(false)};
        ok = (l->kind == LAYER_CONV ? describe_conv(&any, l, FORWARD, which == 1, type, gradient)
                                    : describe_inner(&any, l, FORWARD, type, gradient)) &&
             desc(&before, &hint) == dnnl_success;
        forget(&any);
        dnnl_primitive_attr_destroy(before.attributes);
    }
    r.hint = direction != FORWARD && paired ? forward->desc : hint;
    ok = ok && r.attributes && desc(&r, &out->desc) == dnnl_success &&
         dnnl_primitive_create(&out->primitive, out->desc) == dnnl_success;
    if (ok)
        add_arguments(out, l, direction, product, which == 2);
    forget(&t);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    if (r.attributes)
        dnnl_primitive_attr_destroy(r.attributes);
    if (!ok)
        kernel_free(out);
    return ok;
}

void kernel_put(kernel *k, int argument, void *memory) {
    dnnl_memory_set_data_handle(k->argument[argument].memory, memory);
}

bool kernel_run(const kernel *k) {
    return dnnl_primitive_execute(k->primitive, stream, k->arguments, k->argument) ==
               dnnl_success &&
           dnnl_stream_wait(stream) == dnnl_success;
}

void kernel_free(kernel *k) {
    for (int i = 0; i < k->arguments; i++)
        dnnl_memory_destroy(k->argument[i].memory);
    if (k->primitive)
        dnnl_primitive_destroy(k->primitive);
    if (k->desc)
        dnnl_primitive_desc_destroy(k->desc);
    memset(k, 0, sizeof *k);
}

double kernel_flops(const bench_layer *l) {
    double n = 2.0 * (double)l->n * (double)l->filters * (double)l->channels;
    if (l->kind == LAYER_CONV)
        return n / (double)l->groups *
               (double)(l->out[0] * l->out[1] * l->kernel[0] * l->kernel[1]);
    return l->kind == LAYER_DENSE ? n : 0;
}
