/* Matrix products on cuBLASLt: matmul with bias and relu in its epilogue, and the product of each
 * sample as a batch. Under half activations float32 weights and biases are converted: variables
 * once an update (packed), anything else in each run. */
#include <string.h>

#include "ops/cublaslt_cuda.h"
#include "ops/kernels_cuda.h"
#include "ops/matmul.h"
#include "runtime/base/memory.h"

enum { INPUTS = 3 };

typedef struct state {
    dl_cuda *cuda;
    dl_lt *product;
    int inputs;
    dl_dtype half; /* what converted inputs become */
    int64_t count[INPUTS];
    bool converts[INPUTS]; /* in each run, in the workspace */
    size_t product_workspace;
} state;

static size_t rounded(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static void release(void *made) {
    dl_lt_close(((state *)made)->product);
    dl_free(made);
}

/* The inputs that do not have the type the product reads. */
static void plan_conversions(state *made, const dl_prepare *what, const dl_lt_product *p,
                             dl_prepared *out) {
    out->workspace = rounded(made->product_workspace);
    for (int i = 0; i < what->inputs; i++) {
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
            out->workspace += rounded(bytes);
    }
}

static dl_status open_product(const dl_prepare *what, const dl_lt_product *p, dl_prepared *out) {
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    made->cuda = dl_cuda_of(what->device);
    made->inputs = what->inputs;
    made->half = p->a;
    dl_status status = dl_lt_open(&made->product, made->cuda, p, &made->product_workspace);
    if (status != DL_OK) {
        release(made);
        return status;
    }
    plan_conversions(made, what, p, out);
    out->state = made;
    return DL_OK;
}

static dl_status prepare_matmul(const dl_prepare *what, dl_prepared *out) {
    const dl_matmul_attributes *attributes = what->attributes;
    dl_lt_product p = {.batch = 1,
                       .transpose_a = attributes->transpose_a,
                       .transpose_b = attributes->transpose_b,
                       .bias = what->inputs == 3,
                       .relu = attributes->epilogue == DL_EPILOGUE_RELU,
                       .tf32 = what->tf32,
                       .a = what->input[0]->dtype,
                       .y = what->output[0]->dtype};
    dl_matmul_sizes(attributes, what->input[0], what->input[1], &p.m, &p.k, &p.n);
    return open_product(what, &p, out);
}

static dl_status prepare_sample_matmul(const dl_prepare *what, dl_prepared *out) {
    const dl_sample_matmul_attributes *attributes = what->attributes;
    const dl_type *a = what->input[0], *y = what->output[0];
    dl_lt_product p = {.batch = y->dim[0],
                       .m = y->dim[1],
                       .n = y->dim[2],
                       .k = a->dim[attributes->transpose_a ? 1 : 2],
                       .transpose_a = attributes->transpose_a,
                       .transpose_b = attributes->transpose_b,
                       .tf32 = what->tf32,
                       .a = a->dtype,
                       .y = y->dtype};
    return open_product(what, &p, out);
}

/* An error of the launch is found again by the product that reads the copy. */
static void pack(const void *prepared, int input, const void *from, void *to, dl_team *team) {
    const state *made = prepared;
    (void)team;
    (void)dl_cuda_to_half(made->cuda, made->half, from, to, made->count[input]);
}

static dl_status run(const void *prepared, const dl_run *run) {
    const state *made = prepared;
    const void *in[INPUTS] = {NULL, NULL, NULL};
    memcpy(in, run->in, sizeof *in * (size_t)made->inputs);
    char *free_part = (char *)run->workspace + rounded(made->product_workspace);
    for (int i = 0; i < made->inputs; i++) {
        if (!made->converts[i])
            continue;
        DL_TRY(dl_cuda_to_half(made->cuda, made->half, in[i], free_part, made->count[i]));
        in[i] = free_part;
        free_part += rounded(2 * (size_t)made->count[i]);
    }
    return dl_lt_run(made->product, in[0], in[1], in[2], run->out[0], run->workspace);
}

const dl_kernel dl_cuda_matmul = {
    .prepare = prepare_matmul, .pack = pack, .run = run, .release = release};
const dl_kernel dl_cuda_sample_matmul = {
    .prepare = prepare_sample_matmul, .run = run, .release = release};
