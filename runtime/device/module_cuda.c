/* Emitted entries on a device: text collected while programs are prepared, compiled by NVRTC in one
 * piece a build, loaded, found by name. Entries that an earlier build made stay. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/device/code_cache.h"
#include "runtime/device/device_cuda.h"

struct dl_cuda_entry {
    char name[DL_EXPR_ENTRY];
    cudaKernel_t kernel; /* of a device that is here */
    bool built;
    dl_cuda_entry *next;
};

typedef struct loaded {
    cudaLibrary_t library;
    struct loaded *next;
} loaded;

struct dl_cuda_module {
    dl_expr_source *source; /* of what is not yet built */
    dl_cuda_entry *entries;
    loaded *libraries;
    dl_nvrtc *nvrtc;
};

dl_status dl_cuda_module_open(dl_cuda *cuda) {
    cuda->module = dl_alloc(sizeof *cuda->module);
    return cuda->module ? DL_OK : dl_fail_memory(sizeof *cuda->module);
}

void dl_cuda_module_close(dl_cuda_module *module) {
    if (!module)
        return;
    while (module->entries) {
        dl_cuda_entry *entry = module->entries;
        module->entries = entry->next;
        dl_free(entry);
    }
    while (module->libraries) {
        loaded *one = module->libraries;
        module->libraries = one->next;
        cudaLibraryUnload(one->library);
        dl_free(one);
    }
    dl_expr_source_close(module->source);
    dl_nvrtc_close(module->nvrtc);
    dl_free(module);
}

/* The entry of that name, made if there is none. */
static dl_status keep(dl_cuda_module *module, const char name[DL_EXPR_ENTRY], dl_cuda_entry **out) {
    for (dl_cuda_entry *entry = module->entries; entry; entry = entry->next)
        if (strcmp(entry->name, name) == 0) {
            *out = entry;
            return DL_OK;
        }
    dl_cuda_entry *entry = dl_alloc(sizeof *entry);
    if (!entry)
        return dl_fail_memory(sizeof *entry);
    memcpy(entry->name, name, DL_EXPR_ENTRY);
    entry->next = module->entries;
    module->entries = entry;
    *out = entry;
    return DL_OK;
}

dl_status dl_cuda_entry_want(dl_cuda *cuda, const dl_expr_entry *what, dl_cuda_entry **out) {
    dl_cuda_module *module = cuda->module;
    char name[DL_EXPR_ENTRY];
    dl_status status = module->source ? DL_OK : dl_expr_source_open(&module->source);
    if (status == DL_OK)
        status = dl_expr_source_add(module->source, what, name);
    dl_expr_program_free(what->program);
    return status == DL_OK ? keep(module, name, out) : status;
}

static dl_status load(dl_cuda_module *module, const dl_nvrtc_code *code) {
    loaded *one = dl_alloc(sizeof *one);
    if (!one)
        return dl_fail_memory(sizeof *one);
    dl_status status =
        dl_cuda_check(cudaLibraryLoadData(&one->library, code->bytes, NULL, NULL, 0, NULL, NULL, 0),
                      "cudaLibraryLoadData");
    if (status != DL_OK) {
        dl_free(one);
        return status;
    }
    one->next = module->libraries;
    module->libraries = one;
    for (dl_cuda_entry *entry = module->entries; entry; entry = entry->next)
        if (!entry->built)
            DL_CUDA_TRY(cudaLibraryGetKernel, &entry->kernel, one->library, entry->name);
    return DL_OK;
}

/* From the cache, or compiled for it. */
static dl_status code_of(dl_cuda *cuda, const char *text, dl_nvrtc_code *code) {
    int version = 0;
    DL_CUDA_TRY(cudaRuntimeGetVersion, &version);
    dl_code_key key = dl_code_key_of(text, cuda->device.architecture, version);
    if (dl_code_cache_get(key, code))
        return DL_OK;
    if (!cuda->module->nvrtc)
        DL_TRY(dl_nvrtc_open(&cuda->module->nvrtc));
    DL_TRY(dl_nvrtc_compile(cuda->module->nvrtc, "elementwise", text, cuda->device.architecture,
                            code));
    dl_code_cache_put(key, code);
    return DL_OK;
}

dl_status dl_cuda_module_build(dl_cuda *cuda) {
    dl_cuda_module *module = cuda->module;
    bool wanted = false;
    for (dl_cuda_entry *entry = module->entries; entry; entry = entry->next)
        wanted = wanted || !entry->built;
    if (!wanted)
        return DL_OK;
    dl_nvrtc_code code;
    DL_TRY(code_of(cuda, dl_expr_source_text(module->source), &code));
    dl_status status = cuda->device.imagined ? DL_OK : load(module, &code);
    dl_nvrtc_code_free(&code);
    DL_TRY(status);
    for (dl_cuda_entry *entry = module->entries; entry; entry = entry->next)
        entry->built = true;
    dl_expr_source_close(module->source);
    module->source = NULL;
    return DL_OK;
}

enum { THREADS = 256 };

static dl_status launch(const dl_cuda *cuda, const dl_cuda_entry *entry, int64_t blocks,
                        const void *argument) {
    int64_t most = 32 * (int64_t)cuda->processors;
    void *arguments[] = {(void *)(uintptr_t)argument};
    if (!entry->kernel)
        return dl_fail(DL_INTERNAL, "entry %s was not built", entry->name);
    DL_CUDA_TRY(cudaLaunchKernel, (const void *)entry->kernel,
                (struct dim3){(unsigned)(blocks < most ? blocks : most), 1, 1},
                (struct dim3){THREADS, 1, 1}, arguments, 0, cuda->stream);
    return DL_OK;
}

dl_status dl_cuda_entry_launch(const dl_cuda *cuda, const dl_cuda_entry *entry,
                               const dl_kernel_call *call) {
    return call->count ? launch(cuda, entry, (call->count + THREADS - 1) / THREADS, call) : DL_OK;
}

dl_status dl_cuda_entry_launch_parts(const dl_cuda *cuda, const dl_cuda_entry *entry,
                                     const dl_kernel_parts *parts) {
    return parts->chunks ? launch(cuda, entry, (int64_t)parts->chunks, parts) : DL_OK;
}
