/* Every op that is not structural: attributes and a builder each. The row and its kernels are in
 * the file named beside it; op_list.h lists the rows; ../runtime/graph/op.h says what a row is.
 *
 * Activations are channels last: x [n, spatial..., c]. Weights are canonical: [output, kernel...,
 * input]. All values float32 unless said; labels int32. Builders return the first output, -1 after
 * an error. */
#ifndef DL_OPS_OPS_H
#define DL_OPS_OPS_H

#include "runtime/graph/graph.h"

/* X(row) for each: dl_op_matmul, dl_op_conv, ... */
#include "ops/op_list.h"
#define X(row) extern const dl_op dl_op_##row;
DL_OP_LIST(X)
#undef X
const dl_op_table *dl_ops(void); /* structural rows included */

/* What a library kernel can apply on its way out; its gradient needs the output alone. oneDNN's
 * relu makes 0 of a NaN (as max(x, 0) does in hardware): that a run went wrong shows in gradients,
 * not surely in the loss. */
typedef enum dl_epilogue { DL_EPILOGUE_NONE, DL_EPILOGUE_RELU } dl_epilogue;

/* ---- matmul.c: oneDNN ---- */

/* y [m, n] = epilogue(a · b + bias); a [m, k] (or [k, m] transposed), b [k, n] (or [n, k]), bias
 * [n] or -1. */
typedef struct dl_matmul_attributes {
    bool transpose_a, transpose_b;
    dl_epilogue epilogue;
} dl_matmul_attributes;
dl_value dl_matmul(dl_graph *graph, dl_value a, dl_value b, dl_value bias,
                   const dl_matmul_attributes *attributes);

/* ---- matmul_relu.c, matmul_sums.c: what fusions make of products on a device ---- */

/* matmul_relu: relu(a · b + bias), attributes of matmul; and uint8 [m, 16 * ceil(n / 128)], bit
 * c % 8 of byte c / 8 of a row: element c is above 0.
 * matmul_relu_gradient: inputs a, b, and the outputs y and mask of a matmul_relu; outputs a · b, 0
 * where y is not above 0, and its sum over the rows [n] if `outputs` is 2. */
typedef struct dl_matmul_relu_gradient_attributes {
    int outputs;
    dl_matmul_attributes product;
} dl_matmul_relu_gradient_attributes;
/* Outputs: op(a) · op(b), and the sum over the rows of a (transposed), or of b (not transposed). */
typedef struct dl_matmul_sums_attributes {
    dl_matmul_attributes product;
    bool of_b;
} dl_matmul_sums_attributes;

/* ---- sample_matmul.c: own ---- */

/* y [n, m, p] = op(a) · op(b), sample by sample: a [n, m, k] (or [n, k, m] transposed), b [n, k, p]
 * (or [n, p, k]). */
typedef struct dl_sample_matmul_attributes {
    bool transpose_a, transpose_b;
} dl_sample_matmul_attributes;
dl_value dl_sample_matmul(dl_graph *graph, dl_value a, bool transpose_a, dl_value b,
                          bool transpose_b);

/* ---- conv.c: oneDNN ---- */

/* 1 or 2 spatial dimensions ([0] alone for one). Padding is explicit: TensorFlow's `same` puts the
 * odd cell after. groups = c for depthwise, w [c * multiplier, kernel..., 1]. */
typedef struct dl_conv_attributes {
    int spatial;
    int64_t stride[2], dilation[2], before[2], after[2], groups;
    dl_epilogue epilogue;
} dl_conv_attributes;
/* x [n, s..., c], w [o, k..., c / groups], bias [o] or -1. */
dl_value dl_conv(dl_graph *graph, dl_value x, dl_value w, dl_value bias,
                 const dl_conv_attributes *attributes);
/* dx of shape x_type from dy and w: also the forward of a transposed convolution. */
typedef struct dl_conv_input_attributes {
    dl_conv_attributes conv;
    dl_type x; /* float32, [n, s..., c] */
} dl_conv_input_attributes;
dl_value dl_conv_input_gradient(dl_graph *graph, dl_value dy, dl_value w,
                                const dl_conv_input_attributes *attributes);
/* dw of shape w from x and dy. */
typedef struct dl_conv_weight_attributes {
    dl_conv_attributes conv;
    dl_type w;
} dl_conv_weight_attributes;
dl_value dl_conv_weight_gradient(dl_graph *graph, dl_value x, dl_value dy,
                                 const dl_conv_weight_attributes *attributes);
/* Output size of one dimension, and Keras's padding as explicit padding. */
int64_t dl_conv_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t before,
                     int64_t after);
void dl_same_padding(int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                     int64_t *before, int64_t *after);

/* ---- relu_gradient.c: what fusions make of gradients that stop at a relu ---- */

/* relu_gradient: inputs dx and y of one type; outputs dx, 0 where y is not above 0, and its sum
 * over all but the last axis [c].
 * conv_relu_gradient: inputs dy, w of a conv_input_gradient, and y of its output's type; outputs
 * relu_gradient of that, with the sum if `outputs` is 2. */
typedef struct dl_conv_relu_gradient_attributes {
    int outputs;
    dl_conv_input_attributes conv;
} dl_conv_relu_gradient_attributes;

/* ---- pool.c: the average on oneDNN, the maximum own ---- */

typedef struct dl_pool_attributes {
    int spatial;
    bool average; /* padding cells are not counted, as TensorFlow does */
    int64_t kernel[2], stride[2], before[2], after[2];
} dl_pool_attributes;
dl_value dl_pool(dl_graph *graph, dl_value x, const dl_pool_attributes *attributes);

/* ---- reduce.c: "reduce", "broadcast"; their attributes and dl_reduce_to are in graph.h ---- */

/* Fixed order of addition whatever the number of threads. Ties of max share the gradient equally.
 */
dl_value dl_reduce(dl_graph *graph, dl_value x, dl_reduction kind, uint32_t axes, bool keep);
/* NumPy broadcasting to `type`; its gradient is a reduction. */
dl_value dl_broadcast(dl_graph *graph, dl_value x, dl_type type);

/* ---- layout.c ---- */

typedef struct dl_transpose_attributes {
    int permutation[DL_MAX_RANK]; /* axis of x for each axis of y */
} dl_transpose_attributes;
dl_value dl_transpose(dl_graph *graph, dl_value x, const int *permutation);
typedef struct dl_concatenate_attributes {
    int axis;
} dl_concatenate_attributes;
dl_value dl_concatenate(dl_graph *graph, const dl_value *x, int count, int axis);
typedef struct dl_slice_attributes {
    int64_t begin[DL_MAX_RANK], size[DL_MAX_RANK];
} dl_slice_attributes;
dl_value dl_slice(dl_graph *graph, dl_value x, const int64_t *begin, const int64_t *size);
dl_value dl_pad(dl_graph *graph, dl_value x, const int64_t *before, const int64_t *after,
                float value);
dl_value dl_cast(dl_graph *graph, dl_value x,
                 dl_dtype dtype); /* int32 or uint8 to float32; no gradient */
/* rows: table [v, d], ids int32 [...] gives [..., d]; an id outside 0..v-1 is a run error that
 * names it. Its gradient adds in order of position, the same bits for any threads. */
typedef struct dl_gather_gradient_attributes {
    dl_type table;
} dl_gather_gradient_attributes;
dl_value dl_gather(dl_graph *graph, dl_value table, dl_value ids);

/* ---- softmax.c ---- */

dl_value dl_softmax(dl_graph *graph, dl_value x); /* over the last axis */
/* Outputs: loss [..] per row of logits [.., c], and the probabilities [.., c]. target: int32 [..]
 * labels or float32
 * [.., c]; label_smoothing as Keras (float targets alone). A label outside 0..c-1 is a run error.
 */
typedef struct dl_cross_entropy_attributes {
    float smoothing;
} dl_cross_entropy_attributes;
dl_value dl_softmax_cross_entropy(dl_graph *graph, dl_value logits, dl_value target,
                                  float label_smoothing);
/* 1 where the target's class is among the k greatest of prediction [.., c] (ties: lowest index
 * first), else 0. */
typedef struct dl_in_top_k_attributes {
    int k;
} dl_in_top_k_attributes;
dl_value dl_in_top_k(dl_graph *graph, dl_value prediction, dl_value target, int k);
/* softmax_loss.c: logits, target and the gradient of the loss [..] to the loss [..], the gradient
 * of the logits [.., c], and the top-k hit [..] of their probabilities (k 0: nobody asks). */
typedef struct dl_softmax_loss_attributes {
    dl_cross_entropy_attributes cross_entropy;
    dl_in_top_k_attributes top;
} dl_softmax_loss_attributes;

/* ---- norm.c ---- */

/* Sum over all axes but the last of x, or of (x - center)^2 when center [c] is given: [c]. */
dl_value dl_channel_sum(dl_graph *graph, dl_value x, dl_value center);
/* y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis; gamma, beta may be
 * -1. With `statistics_of_x`, mean and variance [c] are those of x over `count` (a shared or
 * per-shard scalar value: the number of averaged cells) and the gradient of x goes through them as
 * well: summed over all shards when `global`. Without it (inference, frozen) they are constants. */
typedef struct dl_batch_norm_attributes {
    float epsilon;
    bool statistics_of_x, global, has_gamma, has_beta;
    dl_epilogue epilogue; /* of dl_batch_norm_relu ... */
    bool has_residual;    /* ... and what it adds to y, of the shape of x, comes behind x */
} dl_batch_norm_attributes;
dl_value dl_batch_norm(dl_graph *graph, dl_value x, dl_value mean, dl_value variance,
                       dl_value gamma, dl_value beta, dl_value count,
                       const dl_batch_norm_attributes *attributes);
/* relu(y) where y is the output of a batch normalisation, or of its sum with another value of the
 * same shape: the kernels of the normalisation then do it all on their way. A NaN
 * stays one. -1, and no error, where y is anything else. */
dl_value dl_batch_norm_relu(dl_graph *graph, dl_value y);
/* ---- residual.c: for devices; where a block of convolutions and its shortcut meet ---- */

/* residual: relu(batch_norm(x) + shortcut), the shortcut normalised as well if said so; channels in
 * eights. Inputs x, shortcut, mean, variance[, gamma][, beta] of x, then those of the shortcut.
 * Outputs y and, where `outputs` is 2, uint8 [n, ..., c / 8]: bit i % 8 of byte i / 8: element i of
 * y is above 0. */
typedef struct dl_residual_attributes {
    int outputs;
    bool normalised; /* the shortcut */
    struct {
        float epsilon;
        bool has_gamma, has_beta;
    } norm[2];
} dl_residual_attributes;
/* residual_sums: the gradient of that as far as its column sums. Inputs those bits, x, two values
 * whose sum dy is, mean, variance, and of a normalised shortcut: itself, its mean, variance.
 * Outputs d: dy, 0 where the bit is; batch_norm_sums(d, x), then (d, shortcut), in a row. */
typedef struct dl_residual_sums_attributes {
    bool normalised;
    float epsilon[2];
} dl_residual_sums_attributes;

/* ---- moments.c: for devices ---- */

typedef struct dl_moment_squares_attributes {
    int64_t rows; /* of x: summands of a channel */
} dl_moment_squares_attributes;

/* ---- conv_norm.c: for devices; between a convolution and the normalisations beside it ---- */

/* What a convolution takes is relu(batch_norm(x)), when `normalised`; its rows then have mean,
 * variance[, gamma][, beta] behind their other inputs. */
typedef struct dl_conv_norm_attributes {
    dl_conv_attributes conv;
    bool normalised, has_gamma, has_beta;
    float epsilon;
} dl_conv_norm_attributes;
typedef struct dl_conv_norm_gradient_attributes {
    dl_conv_norm_attributes norm; /* normalised */
    dl_type made;                 /* the weights, or the x, whose gradient it is */
} dl_conv_norm_gradient_attributes;

/* ---- layer_norm.c ---- */

/* Over the last axis of each row; gamma, beta [c] may be -1. */
typedef struct dl_layer_norm_attributes {
    float epsilon;
    bool has_gamma, has_beta;
} dl_layer_norm_attributes;
dl_value dl_layer_norm(dl_graph *graph, dl_value x, dl_value gamma, dl_value beta, float epsilon);

#endif
