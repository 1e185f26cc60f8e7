/* The few functions of NVRTC that a compilation takes, found by name in its library. The types are
 * spelled out here, so that building needs no CUDA headers. See nvrtc.h. */
#include "runtime/device/nvrtc.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"

typedef struct program *handle; /* nvrtcProgram */

enum { SUCCESS = 0, NO_MEMORY = 1, ARCHITECTURES = 256 };

/*  function  parameters; all return nvrtcResult, an int */
#define FUNCTION_LIST(X)                                                                     \
    X(Version, (int *, int *))                                                               \
    X(GetNumSupportedArchs, (int *))                                                         \
    X(GetSupportedArchs, (int *))                                                            \
    X(CreateProgram,                                                                         \
      (handle *, const char *, const char *, int, const char *const *, const char *const *)) \
    X(DestroyProgram, (handle *))                                                            \
    X(CompileProgram, (handle, int, const char *const *))                                    \
    X(GetPTXSize, (handle, size_t *))                                                        \
    X(GetPTX, (handle, char *))                                                              \
    X(GetCUBINSize, (handle, size_t *))                                                      \
    X(GetCUBIN, (handle, char *))                                                            \
    X(GetProgramLogSize, (handle, size_t *))                                                 \
    X(GetProgramLog, (handle, char *))

struct dl_nvrtc {
    void *library;
    char title[48];
    int architecture[ARCHITECTURES], architectures;
    const char *(*GetErrorString)(int);
#define X(function, parameters) int(*function) parameters;
    FUNCTION_LIST(X)
#undef X
};

static void *find_library(void) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
    const char *home = getenv("CUDA_HOME");
    const char *const folders[] = {"", home ? home : "", "/usr/local/cuda"};
    void *library = NULL;
    for (int f = 0; f < DL_COUNT(folders) && !library; f++)
        for (int n = 0; n < DL_COUNT(names) && !library; n++) {
            char path[4096];
            snprintf(path, sizeof path, "%s%s%s", folders[f], folders[f][0] ? "/lib64/" : "",
                     names[n]);
            library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        }
    return library;
}

/* ISO C has no way from what dlsym gives to a function but through the pointer's bytes. */
static bool find(const dl_nvrtc *nvrtc, const char *symbol, void *function) {
    void *found = dlsym(nvrtc->library, symbol);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static dl_status failed(const dl_nvrtc *nvrtc, const char *function, int result) {
    return dl_fail(result == NO_MEMORY ? DL_NO_MEMORY : DL_INTERNAL, "%s: nvrtc%s failed: %s",
                   nvrtc->title, function, nvrtc->GetErrorString(result));
}

#define CALL(function, ...)                           \
    do {                                              \
        int result_ = nvrtc->function(__VA_ARGS__);   \
        if (result_ != SUCCESS)                       \
            return failed(nvrtc, #function, result_); \
    } while (0)

static dl_status get_functions(dl_nvrtc *nvrtc) {
    int major, minor, count;
    const char *missing =
        find(nvrtc, "nvrtcGetErrorString", &nvrtc->GetErrorString) ? NULL : "nvrtcGetErrorString";
#define X(function, parameters)                            \
    if (!find(nvrtc, "nvrtc" #function, &nvrtc->function)) \
        missing = "nvrtc" #function;
    FUNCTION_LIST(X)
#undef X
    if (missing)
        return dl_fail(DL_UNAVAILABLE,
                       "the NVRTC library found here has no %s; install that of CUDA 12 or 13",
                       missing);
    CALL(Version, &major, &minor);
    snprintf(nvrtc->title, sizeof nvrtc->title, "NVRTC %d.%d", major, minor);
    CALL(GetNumSupportedArchs, &count);
    if (count > ARCHITECTURES)
        return dl_fail(DL_UNAVAILABLE, "%s knows %d architectures, more than the %d foreseen",
                       nvrtc->title, count, ARCHITECTURES);
    CALL(GetSupportedArchs, nvrtc->architecture);
    nvrtc->architectures = count;
    return DL_OK;
}

dl_status dl_nvrtc_open(dl_nvrtc **out) {
    dl_nvrtc *nvrtc = *out = NULL;
    void *library = find_library();
    if (!library)
        return dl_fail(DL_UNAVAILABLE,
                       "no libnvrtc.so here; install CUDA's nvrtc package, or set CUDA_HOME to the "
                       "folder that has lib64/libnvrtc.so");
    nvrtc = dl_alloc(sizeof *nvrtc);
    if (!nvrtc) {
        dlclose(library);
        return dl_fail_memory(sizeof *nvrtc);
    }
    nvrtc->library = library;
    snprintf(nvrtc->title, sizeof nvrtc->title, "NVRTC");
    dl_status status = get_functions(nvrtc);
    if (status != DL_OK) {
        dl_nvrtc_close(nvrtc);
        return status;
    }
    *out = nvrtc;
    return DL_OK;
}

void dl_nvrtc_close(dl_nvrtc *nvrtc) {
    if (!nvrtc)
        return;
    dlclose(nvrtc->library);
    dl_free(nvrtc);
}

const char *dl_nvrtc_name(const dl_nvrtc *nvrtc) {
    return nvrtc->title;
}

/* The architecture itself, or the greatest below it; 0: all are above. */
static int nearest(const dl_nvrtc *nvrtc, int architecture) {
    int found = 0;
    for (int i = 0; i < nvrtc->architectures; i++)
        if (nvrtc->architecture[i] <= architecture && nvrtc->architecture[i] > found)
            found = nvrtc->architecture[i];
    return found;
}

static dl_status take_log(const dl_nvrtc *nvrtc, handle program, dl_nvrtc_code *code) {
    size_t size = 0;
    CALL(GetProgramLogSize, program, &size);
    code->log = dl_alloc(size + 1);
    if (!code->log)
        return dl_fail_memory(size + 1);
    if (size > 0)
        CALL(GetProgramLog, program, code->log);
    return DL_OK;
}

static dl_status take_code(const dl_nvrtc *nvrtc, handle program, dl_nvrtc_code *code) {
    if (code->ptx)
        CALL(GetPTXSize, program, &code->size);
    else
        CALL(GetCUBINSize, program, &code->size);
    code->bytes = dl_alloc(code->size);
    if (!code->bytes)
        return dl_fail_memory(code->size);
    if (code->ptx)
        CALL(GetPTX, program, code->bytes);
    else
        CALL(GetCUBIN, program, code->bytes);
    return DL_OK;
}

static dl_status compile(const dl_nvrtc *nvrtc, handle program, const char *name, int target,
                         dl_nvrtc_code *code) {
    char architecture[48];
    const char *const options[] = {architecture,  "--std=c++17",     "--fmad=false",
                                   "--ftz=false", "--prec-div=true", "--prec-sqrt=true"};
    snprintf(architecture, sizeof architecture, "--gpu-architecture=%s_%d",
             code->ptx ? "compute" : "sm", target);
    int result = nvrtc->CompileProgram(program, DL_COUNT(options), options);
    DL_TRY(take_log(nvrtc, program, code));
    if (result != SUCCESS)
        return dl_fail(DL_INTERNAL, "%s: %s does not compile for %d.%d (%s):\n%s", nvrtc->title,
                       name, target / 10, target % 10, nvrtc->GetErrorString(result), code->log);
    return take_code(nvrtc, program, code);
}

dl_status dl_nvrtc_compile(dl_nvrtc *nvrtc, const char *name, const char *text, int architecture,
                           dl_nvrtc_code *code) {
    handle program = NULL;
    int target = nearest(nvrtc, architecture);
    *code = (dl_nvrtc_code){.ptx = target != architecture};
    if (target == 0)
        return dl_fail(DL_UNAVAILABLE,
                       "%s makes no code for compute capability %d.%d; install that of CUDA 12",
                       nvrtc->title, architecture / 10, architecture % 10);
    CALL(CreateProgram, &program, text, name, 0, NULL, NULL);
    dl_status status = compile(nvrtc, program, name, target, code);
    nvrtc->DestroyProgram(&program);
    if (status != DL_OK)
        dl_nvrtc_code_free(code);
    return status;
}

void dl_nvrtc_code_free(dl_nvrtc_code *code) {
    dl_free(code->bytes);
    dl_free(code->log);
    *code = (dl_nvrtc_code){.bytes = NULL};
}
