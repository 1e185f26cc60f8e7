/* See shim.h. */
#include "tests/unit/shim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/memory.h"
#include "tests/unit/check.h"

void beside_program(const char *file, char path[PATH_MAX]) {
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    CU_ASSERT_FATAL(length > 0);
    path[length] = '\0';
    char *name = strrchr(path, '/') + 1;
    CU_ASSERT_FATAL(strlen(file) < (size_t)(path + PATH_MAX - name));
    strcpy(name, file);
}

dl_device *shim_open(const char *test) {
    char path[PATH_MAX];
    dl_device *device = NULL;
    bool given = getenv("DLTRAIN_CUDA_LIBRARY") != NULL;
    beside_program("libdl_cuda_shim.so", path);
    if (!given && access(path, R_OK) != 0) {
        check_skip(test, "libdl_cuda_shim.so is not built");
        return NULL;
    }
    if (!given)
        setenv("DLTRAIN_CUDA_LIBRARY", path, 1);
    CHECK_OK(dl_device_open_cuda(0, &device));
    if (!given)
        unsetenv("DLTRAIN_CUDA_LIBRARY");
    return device;
}

static void *symbol_of(const dl_device *device, const char *name) {
    Dl_info from;
    void *library = dladdr((const void *)device->table, &from)
                        ? dlopen(from.dli_fname, RTLD_NOW | RTLD_NOLOAD)
                        : NULL;
    return library ? dlsym(library, name) : NULL;
}

bool shim_find(const dl_device *device, const char *name, const char *test, void *function) {
    void *symbol = symbol_of(device, name);
    memcpy(function, &symbol, sizeof symbol);
    if (!symbol && symbol_of(device, "shim_calls")) {
        fprintf(stderr, "\n  the shim has no %s", name);
        CU_FAIL("a function of the shim");
    } else if (!symbol)
        check_skip(test, "only the host that plays a GPU can do this");
    return symbol != NULL;
}

bool shim_streams_of(const dl_device *device, const char *test, shim_streams *out) {
    return shim_find(device, "shim_order", test, &out->order) &&
           shim_find(device, "shim_waits", test, &out->waits) &&
           shim_find(device, "shim_leave_out_wait", test, &out->leave_out_wait);
}

bool shim_goes_wrong(const shim_streams *streams, long wait, bool (*same)(const void *argument),
                     const void *argument) {
    static const struct {
        int kind;
        unsigned seed;
    } orders[] = {{SHIM_LATE, 0}, {SHIM_EARLY, 0}, {SHIM_ANY, 1}, {SHIM_ANY, 2}, {SHIM_ANY, 3}};
    bool wrong = false;
    for (int i = 0; i < DL_COUNT(orders) && !wrong; i++) {
        streams->order(orders[i].kind, orders[i].seed);
        streams->leave_out_wait(wait);
        wrong = !same(argument);
        streams->leave_out_wait(0);
    }
    streams->order(SHIM_LATE, 0);
    return wrong;
}

bool shim_faults_of(const dl_device *device, const char *test, shim_faults *out) {
    return shim_find(device, "shim_fail_call", test, &out->fail_call) &&
           shim_find(device, "shim_count_calls_of", test, &out->count_calls_of) &&
           shim_find(device, "shim_calls", test, &out->calls) &&
           shim_find(device, "shim_failed", test, &out->failed) &&
           shim_find(device, "shim_held", test, &out->held);
}

shim_lack_fn shim_lack_of(const dl_device *device, const char *test) {
    shim_lack_fn lack;
    shim_find(device, "shim_cublaslt_lack", test, &lack);
    return lack;
}
