/* NVIDIA's run-time compiler: text of runtime/expr/emit.h to code for one architecture. The library
 * is opened when it is asked for, never linked; it needs neither a GPU nor a driver. Any thread,
 * one at a time for a dl_nvrtc. */
#ifndef DL_DEVICE_NVRTC_H
#define DL_DEVICE_NVRTC_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/status.h"

typedef struct dl_nvrtc dl_nvrtc;

/* Looks where the loader does, then in $CUDA_HOME and /usr/local/cuda. DL_UNAVAILABLE: there is
 * none. */
dl_status dl_nvrtc_open(dl_nvrtc **out);
void dl_nvrtc_close(dl_nvrtc *nvrtc);             /* NULL is allowed */
const char *dl_nvrtc_name(const dl_nvrtc *nvrtc); /* "NVRTC 13.0" */

typedef struct dl_nvrtc_code { /* the caller's; dl_nvrtc_code_free */
    char *bytes;               /* a cubin, or PTX that the driver compiles further */
    size_t size;
    bool ptx;
    char *log; /* what the compiler said; empty if nothing */
} dl_nvrtc_code;

/* Compiles for compute capability `architecture` (90: 9.0), rounding as IEEE says: no contraction,
 * exact division and root, denormals kept. Machine code where this NVRTC knows the architecture,
 * PTX of the nearest before it where it does not; DL_UNAVAILABLE where it knows none. `name` is the
 * text's in messages. A text that does not compile is DL_INTERNAL, with the compiler's words. */
dl_status dl_nvrtc_compile(dl_nvrtc *nvrtc, const char *name, const char *text, int architecture,
                           dl_nvrtc_code *code);
void dl_nvrtc_code_free(dl_nvrtc_code *code);

#endif
