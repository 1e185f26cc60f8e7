/* The gradient of a dense layer's weights with that of its bias, for devices (fusions.h): a product
 * contracted over the samples, and beside it the sum over them of one of its two matrices. On the
 * CPU: the kernel of matmul and a loop, which nobody runs but tests. */
#include <string.h>

#include "ops/cells.h"
#include "ops/fusions.h"
#include "ops/links.h"
#include "ops/ops.h"

static dl_status infer(const dl_infer *infer) {
    const dl_matmul_sums_attributes *attributes = infer->attributes;
    dl_infer product = *infer;
    product.attributes = &attributes->product;
    DL_TRY(dl_op_matmul.infer(&product));
    if (!(attributes->of_b ? !attributes->product.transpose_b : attributes->product.transpose_a) ||
        attributes->product.epilogue != DL_EPILOGUE_NONE)
        return dl_fail(DL_INTERNAL, "matmul_sums adds up the rows that the product adds up");
    infer->output[1] = DL_TYPE(DL_F32, infer->input[attributes->of_b ? 1 : 0]->dim[1]);
    return DL_OK;
}

typedef struct state {
    dl_links links; /* first: the product */
    int input;      /* what is summed */
    int64_t rows, columns;
    bool half;
} state;

static dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_matmul_sums_attributes *attributes = what->attributes;
    const dl_link product = {&dl_op_matmul, &attributes->product, 2, {0, 1}, what->inputs};
    int input = attributes->of_b ? 1 : 0;
    const dl_type *summed = what->input[input];
    dl_prepare here = *what;
    here.constant[input] = false; /* a packed copy could not be summed */
    DL_TRY(dl_links_prepare(&here, &product, 1, sizeof(state), out));
    state *made = out->state;
    made->input = input;
    made->rows = summed->dim[0];
    made->columns = summed->dim[1];
    made->half = summed->dtype == DL_BF16;
    return DL_OK;
}

static dl_status run(const void *prepared, const dl_run *run) {
    const state *made = prepared;
    dl_cells_row_sum(run->in[made->input], made->half, made->rows, made->columns, run->out[1]);
    return dl_links_run(made, run);
}

static double flop(const dl_prepare *what) {
    dl_prepare product = *what;
    product.attributes = &((const dl_matmul_sums_attributes *)what->attributes)->product;
    return dl_op_matmul.flop(&product);
}

const dl_op dl_op_matmul_sums = {
    .name = "matmul_sums",
    .min_inputs = 2,
    .max_inputs = 2,
    .outputs = 2,
    .attribute_bytes = sizeof(dl_matmul_sums_attributes),
    .infer = infer,
    .half = 3,
    .mixes_samples = true,
    .deterministic = true,
    .flop = flop,
    .cpu = {.prepare = prepare, .pack = dl_links_pack, .run = run, .release = dl_links_release}};

void dl_fuse_matmul_sums(dl_fuse *fuse, const dl_graph_node *node) {
    const dl_matmul_attributes *product = node->attributes;
    if (node->op != &dl_op_matmul || node->inputs != 2 || !product->transpose_a ||
        product->epilogue != DL_EPILOGUE_NONE)
        return;
    for (int of_b = 0; of_b < 2; of_b++) {
        dl_value sum = of_b && product->transpose_b ? -1 : dl_fuse_row_sum(fuse, node->input[of_b]);
        if (sum < 0)
            continue;
        dl_matmul_sums_attributes attributes;
        memset(&attributes, 0, sizeof attributes);
        memcpy(&attributes.product, product, sizeof attributes.product);
        attributes.of_b = of_b;
        dl_value made = dl_graph_add(fuse->graph, &dl_op_matmul_sums, &attributes, node->input, 2);
        dl_fuse_map(fuse, node->output, made);
        dl_fuse_map(fuse, sum, made + 1);
        return;
    }
}
