/* The pointwise row on CUDA: the CPU program as emitted text (runtime/expr/emit.h), so that both
 * have the same bits. */
#include "ops/kernels_cuda.h"

#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/graph/graph.h"

typedef struct pointwise_state {
    const dl_cuda *cuda;
    dl_cuda_entry *entry;
    int64_t count;
    int inputs, outputs;
} pointwise_state;

static dl_status make_entry(const dl_prepare *what, pointwise_state *state) {
    const dl_pointwise_attributes *attributes = what->attributes;
    dl_dtype input[DL_EXPR_MAX_INPUTS], output[DL_POINTWISE_MAX];
    for (int i = 0; i < what->inputs; i++)
        input[i] = what->input[i]->dtype;
    for (int i = 0; i < what->outputs; i++)
        output[i] = what->output[i]->dtype;
    int64_t sample = what->output[0]->rank > 0 ? state->count / what->output[0]->dim[0] : 1;
    dl_expr_program *program = NULL;
    DL_TRY(dl_expr_compile(attributes->output, attributes->outputs, what->inputs, &program));
    dl_status status = dl_expr_store(program, input, output);
    if (status != DL_OK) {
        dl_expr_program_free(program);
        return status;
    }
    return dl_cuda_entry_want(dl_cuda_of(what->device), program, attributes->access, state->count,
                              sample, &state->entry);
}

static dl_status prepare_pointwise(const dl_prepare *what, dl_prepared *out) {
    pointwise_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->cuda = dl_cuda_of(what->device);
    state->count = dl_type_count(what->output[0]);
    state->inputs = what->inputs;
    state->outputs = what->outputs;
    dl_status status = make_entry(what, state);
    if (status != DL_OK) {
        dl_free(state);
        return status;
    }
    out->state = state;
    return DL_OK;
}

static dl_status run_pointwise(const void *prepared, const dl_run *run) {
    const pointwise_state *state = prepared;
    dl_kernel_call call = {.count = state->count,
                           .random = (const dl_kernel_random *)(const void *)run->random};
    memcpy(call.in, run->in, sizeof *call.in * (size_t)state->inputs);
    memcpy(call.out, run->out, sizeof *call.out * (size_t)state->outputs);
    return dl_cuda_entry_launch(state->cuda, state->entry, &call);
}

const dl_kernel dl_cuda_pointwise = {.prepare = prepare_pointwise, .run = run_pointwise};
