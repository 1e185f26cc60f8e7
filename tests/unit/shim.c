/* See shim.h. */
#include "tests/unit/shim.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/check.h"

bool shim_is_given(void) {
    return getenv("DLTRAIN_CUDA_LIBRARY") != NULL;
}

dl_device *shim_open(const char *test) {
    char folder[PATH_MAX], path[PATH_MAX + 32];
    dl_device *device = NULL;
    if (shim_is_given()) {
        CHECK_OK(dl_device_open_cuda(0, &device));
        return device;
    }
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    folder[length > 0 ? length : 0] = '\0';
    snprintf(path, sizeof path, "%.*s/libdl_cuda_shim.so", (int)(strrchr(folder, '/') - folder),
             folder);
    if (access(path, R_OK) != 0) {
        check_skip(test, "libdl_cuda_shim.so is not built");
        return NULL;
    }
    setenv("DLTRAIN_CACHE", "", 1); /* engines are chosen, not found */
    setenv("DLTRAIN_CUDA_LIBRARY", path, 1);
    CHECK_OK(dl_device_open_cuda(0, &device));
    unsetenv("DLTRAIN_CUDA_LIBRARY");
    return device;
}

/* The library is open already. */
static void *find(const dl_device *device, const char *name) {
    Dl_info from;
    void *library = dladdr((const void *)device->table, &from)
                        ? dlopen(from.dli_fname, RTLD_NOW | RTLD_NOLOAD)
                        : NULL;
    return library ? dlsym(library, name) : NULL;
}

bool shim_streams_of(const dl_device *device, shim_streams *out) {
    void *symbol[] = {find(device, "shim_order"), find(device, "shim_waits"),
                      find(device, "shim_leave_out_wait")};
    memcpy(&out->order, &symbol[0], sizeof out->order);
    memcpy(&out->waits, &symbol[1], sizeof out->waits);
    memcpy(&out->leave_out_wait, &symbol[2], sizeof out->leave_out_wait);
    return out->order && out->waits && out->leave_out_wait;
}

shim_lack_fn shim_lack_of(const dl_device *device) {
    void *symbol = find(device, "shim_cublaslt_lack");
    shim_lack_fn lack;
    memcpy(&lack, &symbol, sizeof lack);
    return lack;
}
