/* The pointwise row on CUDA: the CPU program as emitted text (runtime/expr/emit.h), so that both
 * have the same bits. */
#include "ops/kernels_cuda.h"

#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/graph/parts.h"

typedef struct pointwise_state {
    const dl_cuda *cuda;
    dl_cuda_entry *entry;
    int64_t count;
    int inputs, outputs;
} pointwise_state;

/* Of the row's first inputs and outputs, in their types. */
static dl_status compile(const dl_prepare *what, const dl_expr *const *expr, int inputs,
                         int outputs, dl_expr_program **program) {
    dl_dtype input[DL_EXPR_MAX_INPUTS], output[DL_POINTWISE_MAX];
    for (int i = 0; i < inputs; i++)
        input[i] = what->input[i]->dtype;
    for (int i = 0; i < outputs; i++)
        output[i] = what->output[i]->dtype;
    DL_TRY(dl_expr_compile(expr, outputs, inputs, program));
    dl_status status = dl_expr_store(*program, input, output);
    if (status != DL_OK)
        dl_expr_program_free(*program);
    return status;
}

static dl_status make_entry(const dl_prepare *what, pointwise_state *state) {
    const dl_pointwise_attributes *attributes = what->attributes;
    int64_t sample = what->output[0]->rank > 0 ? state->count / what->output[0]->dim[0] : 1;
    dl_expr_program *program;
    DL_TRY(compile(what, attributes->output, what->inputs, attributes->outputs, &program));
    const dl_expr_entry entry = {.program = program,
                                 .access = attributes->access,
                                 .count = state->count,
                                 .sample_elements = sample};
    return dl_cuda_entry_want(dl_cuda_of(what->device), &entry, &state->entry);
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

/* ---- many parts ---- */

typedef struct parts_state {
    const dl_cuda *cuda;
    dl_cuda_entry *entry;
    int parts, inputs, outputs, at_once; /* of a launch */
    int64_t count[];
} parts_state;

static dl_status make_parts_entry(const dl_prepare *what, parts_state *state) {
    const dl_parts_attributes *attributes = what->attributes;
    const dl_pointwise_attributes *each = &attributes->each;
    dl_expr_program *program;
    int64_t most = 0;
    for (int p = 0; p < state->parts; p++) {
        state->count[p] = dl_type_count(what->output[p * each->outputs]);
        most = state->count[p] > most ? state->count[p] : most;
    }
    DL_TRY(compile(what, each->output, each->inputs, each->outputs, &program));
    const dl_expr_entry entry = {
        .program = program, .count = most, .inputs = each->inputs, .single = attributes->single};
    return dl_cuda_entry_want(dl_cuda_of(what->device), &entry, &state->entry);
}

static dl_status prepare_parts(const dl_prepare *what, dl_prepared *out) {
    const dl_parts_attributes *attributes = what->attributes;
    size_t bytes = sizeof(parts_state) + sizeof(int64_t) * (size_t)attributes->parts;
    parts_state *state = dl_alloc(bytes);
    if (!state)
        return dl_fail_memory(bytes);
    state->cuda = dl_cuda_of(what->device);
    state->parts = attributes->parts;
    state->inputs = attributes->each.inputs;
    state->outputs = attributes->each.outputs;
    state->at_once = DL_KERNEL_WORDS / (2 + state->inputs + state->outputs);
    dl_status status = make_parts_entry(what, state);
    if (status != DL_OK) {
        dl_free(state);
        return status;
    }
    out->state = state;
    return DL_OK;
}

static dl_status run_parts(const void *prepared, const dl_run *run) {
    const parts_state *state = prepared;
    dl_kernel_parts call;
    for (int p = 0; p < state->parts;) {
        uint64_t *word = call.word;
        call.chunks = 0;
        for (int n = 0; n < state->at_once && p < state->parts; n++, p++) {
            call.chunks += (uint64_t)((state->count[p] + DL_KERNEL_CHUNK - 1) / DL_KERNEL_CHUNK);
            *word++ = call.chunks;
            *word++ = (uint64_t)state->count[p];
            for (int i = 0; i < state->inputs; i++)
                *word++ = (uint64_t)(uintptr_t)run->in[p * state->inputs + i];
            for (int o = 0; o < state->outputs; o++)
                *word++ = (uint64_t)(uintptr_t)run->out[p * state->outputs + o];
        }
        DL_TRY(dl_cuda_entry_launch_parts(state->cuda, state->entry, &call));
    }
    return DL_OK;
}

const dl_kernel dl_cuda_pointwise_parts = {.prepare = prepare_parts, .run = run_parts};
