/* Products around a relu, for devices (fusions.h): matmul_relu also says where its result is above
 * 0, a bit each, and matmul_relu_gradient is the product that gives the gradient of such a result,
 * stopped where the bit is 0, with its sum over the rows, the gradient of the bias. On the CPU: the
 * kernel of matmul and a loop, which nobody runs but tests. */
#include <string.h>

#include "ops/cells.h"
#include "ops/fusions.h"
#include "ops/links.h"
#include "ops/ops.h"

/* Of a row of the mask: whole groups of 128 bits. */
static int64_t mask_bytes(int64_t columns) {
    return (columns + 127) / 128 * 16;
}

static dl_status infer_relu(const dl_infer *infer) {
    const dl_matmul_attributes *attributes = infer->attributes;
    DL_TRY(dl_op_matmul.infer(infer));
    const dl_type *y = &infer->output[0];
    if (attributes->epilogue != DL_EPILOGUE_RELU || attributes->transpose_a)
        return dl_fail(DL_INTERNAL, "matmul_relu is a relu of rows of samples");
    infer->output[1] = DL_TYPE(DL_U8, y->dim[0], mask_bytes(y->dim[1]));
    return DL_OK;
}

static dl_status infer_gradient(const dl_infer *infer) {
    const dl_matmul_relu_gradient_attributes *attributes = infer->attributes;
    dl_infer product = *infer;
    product.attributes = &attributes->product;
    product.inputs = 2;
    DL_TRY(dl_op_matmul.infer(&product));
    const dl_type *dx = &infer->output[0], *y = infer->input[2], *mask = infer->input[3];
    dl_type bits = DL_TYPE(DL_U8, dx->dim[0], mask_bytes(dx->dim[1]));
    if (!dl_same_type(dx, y) || !dl_same_type(mask, &bits))
        return dl_fail(DL_INTERNAL, "the gradient of a relu is not of its shape");
    if (attributes->outputs == 2)
        infer->output[1] = DL_TYPE(DL_F32, dx->dim[1]);
    return DL_OK;
}

typedef struct state {
    dl_links links; /* first: the product */
    int64_t rows, columns;
    bool half, sums;
} state;

static dl_status prepare(const dl_prepare *what, const dl_matmul_attributes *attributes, int inputs,
                         bool sums, dl_prepared *out) {
    const dl_link product = {&dl_op_matmul, attributes, inputs, {0, 1, 2}, what->inputs};
    DL_TRY(dl_links_prepare(what, &product, 1, sizeof(state), out));
    state *made = out->state;
    made->rows = what->output[0]->dim[0];
    made->columns = what->output[0]->dim[1];
    made->half = what->output[0]->dtype == DL_BF16;
    made->sums = sums;
    return DL_OK;
}

static dl_status prepare_relu(const dl_prepare *what, dl_prepared *out) {
    return prepare(what, what->attributes, what->inputs, false, out);
}

static dl_status prepare_gradient(const dl_prepare *what, dl_prepared *out) {
    const dl_matmul_relu_gradient_attributes *attributes = what->attributes;
    return prepare(what, &attributes->product, 2, attributes->outputs == 2, out);
}

static dl_status run_relu(const void *prepared, const dl_run *run) {
    const state *made = prepared;
    int64_t columns = made->columns, bytes = mask_bytes(columns);
    DL_TRY(dl_links_run(made, run));
    uint8_t *mask = run->out[1];
    memset(mask, 0, (size_t)(made->rows * bytes));
    for (int64_t row = 0; row < made->rows; row++)
        for (int64_t c = 0; c < columns; c++)
            if (dl_cell(run->out[0], row * columns + c, made->half) > 0)
                mask[row * bytes + c / 8] |= (uint8_t)(1u << c % 8);
    return DL_OK;
}

static dl_status run_gradient(const void *prepared, const dl_run *run) {
    const state *made = prepared;
    int64_t columns = made->columns, bytes = mask_bytes(columns);
    DL_TRY(dl_links_run(made, run));
    const uint8_t *mask = run->in[3];
    for (int64_t row = 0; row < made->rows; row++)
        for (int64_t c = 0; c < columns; c++)
            if (!(mask[row * bytes + c / 8] >> c % 8 & 1))
                dl_put_cell(run->out[0], row * columns + c, made->half, 0);
    if (made->sums)
        dl_cells_row_sum(run->out[0], made->half, made->rows, columns, run->out[1]);
    return DL_OK;
}

static double flop_of_gradient(const dl_prepare *what) {
    dl_prepare product = *what;
    product.attributes = &((const dl_matmul_relu_gradient_attributes *)what->attributes)->product;
    return dl_op_matmul.flop(&product);
}

static double flop_of_relu(const dl_prepare *what) {
    return dl_op_matmul.flop(what);
}

const dl_op dl_op_matmul_relu = {.name = "matmul_relu",
                                 .min_inputs = 2,
                                 .max_inputs = 3,
                                 .outputs = 2,
                                 .attribute_bytes = sizeof(dl_matmul_attributes),
                                 .infer = infer_relu,
                                 .half = 3,
                                 .packs_half = 2,
                                 .deterministic = true,
                                 .flop = flop_of_relu,
                                 .cpu = {.prepare = prepare_relu,
                                         .pack = dl_links_pack,
                                         .run = run_relu,
                                         .release = dl_links_release}};

const dl_op dl_op_matmul_relu_gradient = {.name = "matmul_relu_gradient",
                                          .min_inputs = 4,
                                          .max_inputs = 4,
                                          .outputs = -1,
                                          .attribute_bytes =
                                              sizeof(dl_matmul_relu_gradient_attributes),
                                          .infer = infer_gradient,
                                          .half = 7,
                                          .packs_half = 2,
                                          .mixes_samples = true,
                                          .deterministic = true,
                                          .flop = flop_of_gradient,
                                          .cpu = {.prepare = prepare_gradient,
                                                  .pack = dl_links_pack,
                                                  .run = run_gradient,
                                                  .release = dl_links_release}};

static bool plain_product(const dl_graph *graph, dl_value value) {
    const dl_graph_node *node = dl_producer(graph, value);
    const dl_matmul_attributes *attributes = node ? node->attributes : NULL;
    return node && node->op == &dl_op_matmul && node->inputs == 2 && !attributes->transpose_a &&
           attributes->epilogue == DL_EPILOGUE_NONE;
}

/* y with its mask: the node that makes y, if it makes one already, else one in its place. -1: y is
 * no such product. */
static dl_value with_mask(dl_fuse *fuse, dl_value y) {
    const dl_graph_node *node = dl_producer(fuse->graph, y);
    if (!node || (node->op != &dl_op_matmul && node->op != &dl_op_matmul_relu))
        return -1;
    const dl_matmul_attributes *attributes = node->attributes;
    if (attributes->epilogue != DL_EPILOGUE_RELU || attributes->transpose_a ||
        dl_type_of(fuse->graph, y)->dtype != dl_type_of(fuse->graph, node->input[0])->dtype)
        return -1;
    if (node->op == &dl_op_matmul_relu)
        return y;
    const char *scope = fuse->graph->scope;
    fuse->graph->scope = node->name;
    dl_value made =
        dl_graph_add(fuse->graph, &dl_op_matmul_relu, attributes, node->input, node->inputs);
    fuse->graph->scope = scope;
    dl_fuse_map(fuse, y, made);
    return made;
}

void dl_fuse_matmul_relu_gradient(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    dl_value y, dx;
    if (!dl_fuse_is_relu_gradient(fuse, node, &y, &dx) || fuse->readers[dx] != 1 ||
        !plain_product(graph, dx))
        return;
    const dl_graph_node product = *dl_producer(graph, dx);
    if (dl_type_of(graph, product.input[0])->dtype != dl_type_of(graph, y)->dtype)
        return;
    dl_value sum = dl_fuse_row_sum(fuse, node->output);
    dl_value made = with_mask(fuse, y);
    if (made < 0)
        return;
    dl_matmul_relu_gradient_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(&attributes.product, product.attributes, sizeof attributes.product);
    attributes.outputs = sum >= 0 ? 2 : 1;
    dl_value inputs[] = {product.input[0], product.input[1], made, made + 1};
    made = dl_graph_add(graph, &dl_op_matmul_relu_gradient, &attributes, inputs, 4);
    dl_fuse_map(fuse, node->output, made);
    if (sum >= 0)
        dl_fuse_map(fuse, sum, made + 1);
}
