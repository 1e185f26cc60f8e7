/* libdl_cuda.so, opened once and kept: CUDA's libraries do not like to be unloaded. It lies beside
 * the program, in ../lib/dltrain of it, or where the loader looks; DLTRAIN_CUDA_LIBRARY names
 * another file. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/device/device.h"

static void *open_at(const char *folder, const char *file, char *why, size_t size) {
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s%s", folder, file);
    if (folder[0] == '/' && access(path, R_OK) != 0)
        return NULL; /* not there is no reason; not loadable is one */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library && (folder[0] || !*why))
        snprintf(why, size, "%s", dlerror());
    return library;
}

static void *open_library(char *why, size_t size) {
    const char *given = getenv("DLTRAIN_CUDA_LIBRARY");
    if (given)
        return open_at("", given, why, size);
    char folder[PATH_MAX], beside[PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    void *library = NULL;
    if (length > 0) {
        folder[length] = '\0';
        *(strrchr(folder, '/') + 1) = '\0';
        library = open_at(folder, "libdl_cuda.so", why, size);
        snprintf(beside, sizeof beside, "%s../lib/dltrain/", folder);
        if (!library)
            library = open_at(beside, "libdl_cuda.so", why, size);
    }
    return library ? library : open_at("", "libdl_cuda.so", why, size);
}

static dl_status library_of(const dl_cuda_library **out) {
    static const dl_cuda_library *found;
    if (!found) {
        char why[512] = "";
        void *library = open_library(why, sizeof why);
        const dl_cuda_library *table = library ? dlsym(library, DL_CUDA_LIBRARY) : NULL;
        if (!table)
            return dl_fail(
                DL_UNAVAILABLE,
                "no GPU can be used: %s; build dltrain where CMake finds the CUDA toolkit, "
                "cuDNN and NCCL, put their folders into LD_LIBRARY_PATH, or say device: "
                "cpu",
                *why ? why : "libdl_cuda.so is of another version");
        if (table->version != DL_CUDA_LIBRARY_VERSION)
            return dl_fail(DL_UNAVAILABLE,
                           "no GPU can be used: libdl_cuda.so is of another version than dltrain; "
                           "install both from one build");
        found = table;
    }
    *out = found;
    return DL_OK;
}

dl_status dl_device_open_cuda(int local_rank, dl_device **out) {
    const dl_cuda_library *library;
    int count;
    *out = NULL;
    DL_TRY(library_of(&library));
    DL_TRY(library->count(&count));
    return library->open(local_rank % count, out);
}

dl_status dl_device_imagine_cuda(int architecture, dl_device **out) {
    const dl_cuda_library *library;
    *out = NULL;
    DL_TRY(library_of(&library));
    return library->imagine(architecture, out);
}

void dl_device_close(dl_device *device) {
    if (device)
        device->table->close(device);
}

bool dl_device_cuda_seen(void) {
    return getenv("DLTRAIN_CUDA_LIBRARY") || access("/dev/nvidiactl", R_OK) == 0;
}
