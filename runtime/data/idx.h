/* The header of an IDX file. See source_idx.c. */
#ifndef DL_DATA_IDX_H
#define DL_DATA_IDX_H

#include "runtime/base/status.h"
#include "runtime/base/type.h"

typedef struct dl_idx {
    dl_type type; /* of one sample */
    int64_t samples;
    size_t offset, bytes; /* where the elements begin, and how many bytes they are */
} dl_idx;

/* at[count]: the file, or as much as its header. DL_NO_INPUT: no IDX file, or damaged. */
dl_status dl_idx_read(const uint8_t *at, size_t count, dl_idx *idx, const char *name);
/* Whether a file of `count` bytes is exactly as long as its header says. */
dl_status dl_idx_check(const dl_idx *idx, size_t count, const char *name);

#endif
