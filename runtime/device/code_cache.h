/* Compiled texts on disk, by content: $DLTRAIN_CACHE, else $XDG_CACHE_HOME/dltrain, else
 * ~/.cache/dltrain; DLTRAIN_CACHE= (empty) keeps none. A file is written aside and renamed, and
 * checked when it is read; what is damaged is made again. That it cannot be written is no error. */
#ifndef DL_DEVICE_CODE_CACHE_H
#define DL_DEVICE_CODE_CACHE_H

#include <stdint.h>

#include "runtime/device/nvrtc.h"

/* The text for one architecture, made by one version of the compiler. */
typedef struct dl_code_key {
    uint64_t word[2];
} dl_code_key;
dl_code_key dl_code_key_of(const char *text, int architecture, int compiler);

/* False: it is not there. The code is the caller's; dl_nvrtc_code_free. */
bool dl_code_cache_get(dl_code_key key, dl_nvrtc_code *code);
void dl_code_cache_put(dl_code_key key, const dl_nvrtc_code *code);

#endif
