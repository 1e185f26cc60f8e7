/* Matrix products on cuBLASLt: matmul with bias and relu in its epilogue, the rows of matmul_relu.c
 * and matmul_sums.c, and the product of each sample as a batch. What an epilogue could do but
 * cuBLASLt has no algorithm for, kernels of our own do behind a plainer product. Under half
 * activations float32 weights and biases are converted: variables once an update (packed), anything
 * else in each run. */
#include <string.h>

#include "ops/cublaslt_cuda.h"
#include "ops/kernels_cuda.h"
#include "ops/matmul.h"
#include "runtime/base/memory.h"

enum { INPUTS = 3, WAYS = 3, OF_Y = -1 };

typedef struct state {
    dl_cuda *cuda;
    dl_lt *product;
    int operands;  /* inputs that the product reads */
    dl_dtype half; /* what converted inputs become */
    int64_t count[INPUTS];
    bool converts[INPUTS]; /* in each run, in the workspace */
    size_t product_workspace;
    dl_lt_epilogue wanted, done; /* by the row; by the product */
    int summed;                  /* input, or OF_Y */
    dl_type sum;                 /* its type */
} state;

typedef struct asked {
    dl_lt_product product;
    dl_lt_epilogue wanted, way[WAYS]; /* down to what cuBLASLt surely has */
    int ways, summed;
} asked;

static void release(void *made) {
    dl_lt_close(((state *)made)->product);
    dl_free(made);
}

/* The inputs that do not have the type the product reads. */
static void plan_conversions(state *made, const dl_prepare *what, const dl_lt_product *p,
                             dl_prepared *out) {
    out->workspace = dl_whole_lines(made->product_workspace);
    for (int i = 0; i < made->operands; i++) {
        dl_dtype wanted = i < 2 ? p->a : p->y;
        made->count[i] = dl_type_count(what->input[i]);
        size_t bytes = (size_t)made->count[i] * dl_dtype_bytes(wanted);
        if (what->input[i]->dtype == wanted)
            continue;
        made->converts[i] = !what->constant[i];
        if (what->constant[i]) {
            out->packed_bytes[i] = bytes;
            out->packed_half |= 1u << i;
        } else
            out->workspace += dl_whole_lines(bytes);
    }
}

static dl_status open_product(const dl_prepare *what, const asked *ask, dl_prepared *out) {
    dl_lt_product way[WAYS];
    state *made = dl_alloc(sizeof *made);
    int which;
    if (!made)
        return dl_fail_memory(sizeof *made);
    for (int i = 0; i < ask->ways; i++) {
        way[i] = ask->product;
        way[i].epilogue = ask->way[i];
    }
    made->cuda = dl_cuda_of(what->device);
    made->operands = way->bias ? 3 : 2;
    made->half = way->a;
    dl_status status =
        dl_lt_open(&made->product, made->cuda, way, ask->ways, &which, &made->product_workspace);
    if (status != DL_OK) {
        release(made);
        return status;
    }
    made->wanted = ask->wanted;
    made->done = ask->way[which];
    made->summed = ask->summed;
    made->sum = ask->summed == OF_Y ? *what->output[0] : *what->input[ask->summed];
    if (made->done != made->wanted && made->wanted >= DL_LT_MASKED_SUMS) {
        size_t sums = dl_cuda_row_sum_workspace(&made->sum);
        if (sums > made->product_workspace)
            made->product_workspace = sums;
    }
    plan_conversions(made, what, way, out);
    out->state = made;
    return DL_OK;
}

static dl_lt_product product_of(const dl_prepare *what, const dl_matmul_attributes *attributes) {
    dl_lt_product p = {.batch = 1,
                       .transpose_a = attributes->transpose_a,
                       .transpose_b = attributes->transpose_b,
                       .bias = what->inputs == 3,
                       .tf32 = what->tf32,
                       .a = what->input[0]->dtype,
                       .y = what->output[0]->dtype};
    dl_matmul_sizes(attributes, what->input[0], what->input[1], &p.m, &p.k, &p.n);
    return p;
}

static dl_status prepare_matmul(const dl_prepare *what, dl_prepared *out) {
    const dl_matmul_attributes *attributes = what->attributes;
    dl_lt_epilogue wanted = attributes->epilogue == DL_EPILOGUE_RELU ? DL_LT_RELU : DL_LT_NONE;
    const asked ask = {.product = product_of(what, attributes),
                       .wanted = wanted,
                       .way = {wanted},
                       .ways = 1,
                       .summed = OF_Y};
    return open_product(what, &ask, out);
}

static dl_status prepare_relu(const dl_prepare *what, dl_prepared *out) {
    const asked ask = {.product = product_of(what, what->attributes),
                       .wanted = DL_LT_RELU_MASK,
                       .way = {DL_LT_RELU_MASK, DL_LT_RELU},
                       .ways = 2,
                       .summed = OF_Y};
    return open_product(what, &ask, out);
}

/* Sums beside a half gradient would be half, too. */
static dl_status prepare_relu_gradient(const dl_prepare *what, dl_prepared *out) {
    const dl_matmul_relu_gradient_attributes *attributes = what->attributes;
    bool sums = attributes->outputs == 2;
    asked ask = {.product = product_of(what, &attributes->product),
                 .wanted = sums ? DL_LT_MASKED_SUMS : DL_LT_MASKED,
                 .summed = OF_Y};
    if (sums && ask.product.y == DL_F32)
        ask.way[ask.ways++] = DL_LT_MASKED_SUMS;
    ask.way[ask.ways++] = DL_LT_MASKED;
    ask.way[ask.ways++] = DL_LT_NONE;
    return open_product(what, &ask, out);
}

static dl_status prepare_sums(const dl_prepare *what, dl_prepared *out) {
    const dl_matmul_sums_attributes *attributes = what->attributes;
    dl_lt_epilogue wanted = attributes->of_b ? DL_LT_SUMS_OF_B : DL_LT_SUMS_OF_A;
    int summed = attributes->of_b ? 1 : 0;
    const asked ask = {.product = product_of(what, &attributes->product),
                       .wanted = wanted,
                       .way = {wanted, DL_LT_NONE},
                       .ways = 2,
                       .summed = summed};
    dl_prepare here = *what;
    here.constant[summed] = false; /* a packed copy could not be summed */
    return open_product(&here, &ask, out);
}

static dl_status prepare_sample_matmul(const dl_prepare *what, dl_prepared *out) {
    const dl_sample_matmul_attributes *attributes = what->attributes;
    const dl_type *a = what->input[0], *y = what->output[0];
    const asked ask = {.product = {.batch = y->dim[0],
                                   .m = y->dim[1],
                                   .n = y->dim[2],
                                   .k = a->dim[attributes->transpose_a ? 1 : 2],
                                   .transpose_a = attributes->transpose_a,
                                   .transpose_b = attributes->transpose_b,
                                   .tf32 = what->tf32,
                                   .a = a->dtype,
                                   .y = y->dtype},
                       .way = {DL_LT_NONE},
                       .ways = 1,
                       .summed = OF_Y};
    return open_product(what, &ask, out);
}

/* An error of the launch is found again by the product that reads the copy. */
static void pack(const void *prepared, int input, const void *from, void *to, dl_team *team) {
    const state *made = prepared;
    (void)team;
    (void)dl_cuda_to_half(made->cuda, made->half, from, to, made->count[input]);
}

static dl_status multiply(const state *made, const dl_run *run, dl_lt_memory *memory) {
    const void *in[INPUTS] = {NULL, NULL, NULL};
    memcpy(in, run->in, sizeof *in * (size_t)made->operands);
    char *free_part = (char *)run->workspace + dl_whole_lines(made->product_workspace);
    for (int i = 0; i < made->operands; i++) {
        if (!made->converts[i])
            continue;
        DL_TRY(dl_cuda_to_half(made->cuda, made->half, in[i], free_part, made->count[i]));
        in[i] = free_part;
        free_part += dl_whole_lines(2 * (size_t)made->count[i]);
    }
    memory->a = in[0];
    memory->b = in[1];
    memory->bias = in[2];
    memory->y = run->out[0];
    memory->workspace = run->workspace;
    return dl_lt_run(made->product, memory);
}

static dl_status run(const void *prepared, const dl_run *run) {
    return multiply(prepared, run, &(dl_lt_memory){0});
}

static dl_status run_relu(const void *prepared, const dl_run *run) {
    const state *made = prepared;
    DL_TRY(multiply(made, run, &(dl_lt_memory){.mask = run->out[1]}));
    if (made->done == made->wanted)
        return DL_OK;
    return dl_cuda_relu_mask(made->cuda, run->out[0], &made->sum, run->out[1]);
}

static dl_status run_relu_gradient(const void *prepared, const dl_run *run) {
    const state *made = prepared;
    bool sums = made->wanted == DL_LT_MASKED_SUMS;
    const void *y = made->done == DL_LT_NONE ? run->in[2] : NULL; /* where it is still to stop */
    dl_lt_memory memory = {.mask = (void *)(uintptr_t)run->in[3],
                           .sums = sums ? run->out[1] : NULL};
    DL_TRY(multiply(made, run, &memory));
    if (made->done == made->wanted)
        return DL_OK;
    if (!sums)
        return dl_cuda_relu_stop(made->cuda, run->out[0], y, &made->sum, run->out[0]);
    return dl_cuda_row_sum(made->cuda, run->out[0], y, &made->sum, run->out[0], run->workspace,
                           run->out[1]);
}

static dl_status run_sums(const void *prepared, const dl_run *run) {
    const state *made = prepared;
    DL_TRY(multiply(made, run, &(dl_lt_memory){.sums = run->out[1]}));
    if (made->done == made->wanted)
        return DL_OK;
    return dl_cuda_row_sum(made->cuda, run->in[made->summed], NULL, &made->sum, NULL,
                           run->workspace, run->out[1]);
}

const dl_kernel dl_cuda_matmul = {
    .prepare = prepare_matmul, .pack = pack, .run = run, .release = release};
const dl_kernel dl_cuda_matmul_relu = {
    .prepare = prepare_relu, .pack = pack, .run = run_relu, .release = release};
const dl_kernel dl_cuda_matmul_relu_gradient = {
    .prepare = prepare_relu_gradient, .pack = pack, .run = run_relu_gradient, .release = release};
const dl_kernel dl_cuda_matmul_sums = {
    .prepare = prepare_sums, .pack = pack, .run = run_sums, .release = release};
const dl_kernel dl_cuda_sample_matmul = {
    .prepare = prepare_sample_matmul, .run = run, .release = release};
