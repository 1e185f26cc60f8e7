/* dltrain --version: what runs, and from which files. */
#include <dlfcn.h>
#include <hdf5.h>
#include <stdio.h>
#include <yaml.h>
#include <zlib.h>

#include "comm/comm.h"
#include "launcher/verbs.h"
#include "ops/dnnl.h"
#include "runtime/expr/expr.h"

/* The file of the library that holds a function of it. */
static const char *file_of(const void *function) {
    Dl_info info;
    return function && dladdr(function, &info) && info.dli_fname ? info.dli_fname : "";
}

void dl_print_version(FILE *file) {
    char text[256];
    unsigned major, minor, release;
    H5get_libversion(&major, &minor, &release);
    fprintf(file, "dltrain %s, kernels for %s\n", DL_VERSION, dl_isa_name(dl_isa_here()));
    fprintf(file, "  oneDNN   %s  %s\n", dl_dnnl_version(), dl_dnnl_path());
    fprintf(file, "  MPI      %s\n", dl_comm_library(text, sizeof text));
    fprintf(file, "  HDF5     %u.%u.%u  %s\n", major, minor, release,
            file_of((const void *)(uintptr_t)H5get_libversion));
    fprintf(file, "  libyaml  %s  %s\n", yaml_get_version_string(),
            file_of((const void *)(uintptr_t)yaml_get_version_string));
    fprintf(file, "  zlib     %s  %s\n", zlibVersion(),
            file_of((const void *)(uintptr_t)zlibVersion));
}
