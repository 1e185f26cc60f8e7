/* Emitted entries without a GPU: the CPU program that the text was made of, which has its bits
 * (tests/unit/test_emit.c). Stands in for runtime/device/module_cuda.c. */
#include "runtime/base/memory.h"
#include "runtime/device/device_cuda.h"
#include "runtime/expr/program.h"

struct dl_cuda_entry {
    dl_expr_program *program;
    dl_expr_access access[DL_EXPR_MAX_INPUTS];
    int64_t sample_elements;
    int inputs; /* of a part */
    bool built;
    dl_cuda_entry *next;
};

struct dl_cuda_module {
    dl_cuda_entry *entries;
};

dl_status dl_cuda_module_open(dl_cuda *cuda) {
    cuda->module = dl_alloc(sizeof *cuda->module);
    return cuda->module ? DL_OK : dl_fail_memory(sizeof *cuda->module);
}

void dl_cuda_module_close(dl_cuda_module *module) {
    while (module && module->entries) {
        dl_cuda_entry *entry = module->entries;
        module->entries = entry->next;
        dl_expr_program_free(entry->program);
        dl_free(entry);
    }
    dl_free(module);
}

dl_status dl_cuda_entry_want(dl_cuda *cuda, const dl_expr_entry *what, dl_cuda_entry **out) {
    dl_cuda_entry *entry = dl_alloc(sizeof *entry);
    if (!entry) {
        dl_expr_program_free(what->program);
        return dl_fail_memory(sizeof *entry);
    }
    entry->program = what->program;
    for (int i = 0; i < DL_EXPR_MAX_INPUTS; i++)
        entry->access[i] = what->access ? what->access[i] : dl_expr_part_access(what->single, i);
    entry->sample_elements = what->access ? what->sample_elements : 1;
    entry->inputs = what->inputs;
    entry->next = cuda->module->entries;
    cuda->module->entries = entry;
    *out = entry;
    return DL_OK;
}

dl_status dl_cuda_module_build(dl_cuda *cuda) {
    for (dl_cuda_entry *entry = cuda->module->entries; entry; entry = entry->next)
        entry->built = true;
    return DL_OK;
}

typedef struct launch {
    const dl_cuda_entry *entry;
    dl_kernel_call call;
} launch;

static void run(const void *argument) {
    const launch *l = argument;
    const float *in[DL_EXPR_MAX_INPUTS];
    float *out[DL_EXPR_MAX_OUTPUTS];
    for (int i = 0; i < DL_EXPR_MAX_INPUTS && i < DL_KERNEL_INPUTS; i++)
        in[i] = l->call.in[i];
    for (int i = 0; i < DL_EXPR_MAX_OUTPUTS && i < DL_KERNEL_OUTPUTS; i++)
        out[i] = l->call.out[i];
    dl_expr_run(l->entry->program, in, l->entry->access, out, l->call.count, 0, l->call.count,
                (const dl_random *)(const void *)l->call.random, l->entry->sample_elements);
}

dl_status dl_cuda_entry_launch(const dl_cuda *cuda, const dl_cuda_entry *entry,
                               const dl_kernel_call *call) {
    launch l = {entry, *call};
    if (!entry->built)
        return dl_fail(DL_INTERNAL, "an entry was not built");
    return dl_cuda_check(shim_submit(cuda->stream, run, &l, sizeof l), "cudaLaunchKernel");
}

typedef struct parts_launch {
    const dl_cuda_entry *entry;
    dl_kernel_parts parts;
} parts_launch;

static void run_parts(const void *argument) {
    const parts_launch *l = argument;
    const dl_cuda_entry *entry = l->entry;
    uint64_t chunks = 0;
    for (const uint64_t *w = l->parts.word; chunks < l->parts.chunks;) {
        const float *in[DL_EXPR_MAX_INPUTS];
        float *out[DL_EXPR_MAX_OUTPUTS];
        dl_expr_access access[DL_EXPR_MAX_INPUTS];
        int64_t count = (int64_t)w[1];
        int outputs = entry->program->outputs;
        for (int i = 0; i < entry->inputs; i++) {
            in[i] = (const float *)w[2 + i];
            access[i] = (dl_expr_access){1, entry->access[i].mod == 1 ? 1 : count};
        }
        for (int o = 0; o < outputs; o++)
            out[o] = (float *)w[2 + entry->inputs + o];
        dl_expr_run(entry->program, in, access, out, count, 0, count, NULL, 1);
        chunks = w[0];
        w += 2 + entry->inputs + outputs;
    }
}

dl_status dl_cuda_entry_launch_parts(const dl_cuda *cuda, const dl_cuda_entry *entry,
                                     const dl_kernel_parts *parts) {
    parts_launch l = {entry, *parts};
    if (!entry->built)
        return dl_fail(DL_INTERNAL, "an entry was not built");
    return dl_cuda_check(shim_submit(cuda->stream, run_parts, &l, sizeof l), "cudaLaunchKernel");
}
