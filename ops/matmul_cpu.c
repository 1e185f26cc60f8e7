/* The matrix product on oneDNN, or for large weights and few samples our own (thin.h). oneDNN
 * copies b into blocks of its own in every run; a variable that is read several times between two
 * updates (shards one after another, evaluation) is packed once instead: the copy costs 105 us for
 * 784 x 512 and saves 60 us a run (oneDNN 2.6, one core with AVX-512). Runs may be shared by
 * threads or counted over all ranks, so the bound stands above the two that pay on one thread. A
 * float32 variable under bfloat16 activations is packed always: that converts it. */
#include "ops/dnnl.h"
#include "ops/matmul.h"
#include "ops/repack.h"
#include "ops/thin.h"
#include "runtime/base/memory.h"

enum { PACK_FROM = 4 }; /* runs between two updates */

typedef struct state {
    dl_thin thin; /* if its form says so, the product is that, and nothing below is set */
    dl_dnnl *product;
    dl_repack *packing; /* of b; NULL: b is read as it lies */
    size_t packed;      /* bytes of packed b; the scratch of packing follows */
    bool each_run;      /* b is no variable, but must be converted: in each run, in the workspace */
    bool bias;
} state;

static dl_dnnl_tensor matrix(int64_t rows, int64_t columns, bool transposed) {
    return (dl_dnnl_tensor){.rank = 2,
                            .dim = {rows, columns},
                            .stride = {transposed ? 1 : columns, transposed ? rows : 1}};
}

dl_status dl_matmul_prepare(const dl_prepare *what, dl_prepared *out) {
    const dl_matmul_attributes *attributes = what->attributes;
    dl_status status;
    int64_t m, k, n;
    dl_matmul_sizes(attributes, what->input[0], what->input[1], &m, &k, &n);
    dl_dnnl_tensor a = matrix(m, k, attributes->transpose_a);
    dl_dnnl_tensor b = matrix(k, n, attributes->transpose_b), y = matrix(m, n, false);
    a.dtype = what->input[0]->dtype;
    b.dtype = what->input[1]->dtype;
    y.dtype = what->output[0]->dtype;
    dl_dnnl_tensor bias = matrix(1, n, false), asked = b;
    bool converts = a.dtype != b.dtype;
    asked.dtype = a.dtype;
    asked.any = converts || (what->constant[1] && what->runs >= PACK_FROM);
    state *made = dl_alloc(sizeof *made);
    if (!made)
        return dl_fail_memory(sizeof *made);
    if (dl_thin_fits(what, &made->thin)) {
        out->workspace = dl_thin_workspace(&made->thin);
        out->state = made;
        return DL_OK;
    }
    made->bias = what->inputs == 3;
    DL_GOTO(failed,
            dl_dnnl_matmul(&made->product, what->threads, &a, &asked, made->bias ? &bias : NULL, &y,
                           attributes->epilogue == DL_EPILOGUE_RELU));
    if (asked.any && !dl_dnnl_lies_as(made->product, DL_DNNL_B, &b)) {
        DL_GOTO(failed, dl_repack_to(&made->packing, &b, made->product, DL_DNNL_B));
        made->packed = dl_whole_lines(dl_dnnl_bytes(made->product, DL_DNNL_B));
        made->each_run = !what->constant[1];
        if (!made->each_run)
            out->packed_bytes[1] = made->packed + dl_repack_scratch(made->packing);
    }
    out->workspace = dl_dnnl_scratch(made->product);
    if (made->each_run) {
        size_t packing = dl_repack_scratch(made->packing);
        out->workspace = made->packed + (packing > out->workspace ? packing : out->workspace);
    }
    out->state = made;
    return DL_OK;
failed:
    dl_matmul_release(made);
    return status;
}

void dl_matmul_pack(const void *state_of_b, int input, const void *from, void *to, dl_team *team) {
    (void)input;
    const state *made = state_of_b;
    dl_repack_pack(made->packing, from, to, made->packed, team);
}

dl_status dl_matmul_run(const void *state_of_run, const dl_run *run) {
    const state *made = state_of_run;
    if (made->thin.form != DL_THIN_NONE) {
        dl_thin_run(&made->thin, run);
        return DL_OK;
    }
    void *memory[DL_DNNL_ARGUMENTS] = {[DL_DNNL_A] = dl_dnnl_input(run->in[0]),
                                       [DL_DNNL_B] = dl_dnnl_input(run->in[1]),
                                       [DL_DNNL_PRODUCT] = run->out[0],
                                       [DL_DNNL_PRODUCT_BIAS] =
                                           made->bias ? dl_dnnl_input(run->in[2]) : NULL};
    if (!made->each_run)
        return dl_dnnl_run(made->product, memory, run->workspace);
    char *scratch = (char *)run->workspace + made->packed;
    DL_TRY(dl_repack_run(made->packing, run->in[1], run->workspace, scratch, run->team));
    memory[DL_DNNL_B] = run->workspace;
    return dl_dnnl_run(made->product, memory, scratch);
}

void dl_matmul_release(void *state_to_free) {
    state *made = state_to_free;
    dl_repack_free(made->packing);
    dl_dnnl_free(made->product);
    dl_free(made);
}
