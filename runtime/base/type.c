/* Element types and shapes. See type.h. */
#include "runtime/base/type.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    size_t bytes;
    const char *text;
} dtypes[DL_DTYPE_COUNT] = {
#define X(name, bytes, text) {bytes, text},
    DL_DTYPE_LIST(X)
#undef X
};

size_t dl_dtype_bytes(dl_dtype dtype) {
    return dtypes[dtype].bytes;
}

const char *dl_dtype_text(dl_dtype dtype) {
    return dtypes[dtype].text;
}

dl_type dl_type_make(dl_dtype dtype, int rank, const int64_t *dim) {
    dl_type type = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++)
        type.dim[i] = dim[i];
    return type;
}

int64_t dl_type_count(const dl_type *type) {
    int64_t count = 1;
    for (int i = 0; i < type->rank; i++)
        count *= type->dim[i];
    return count;
}

size_t dl_type_bytes(const dl_type *type) {
    return (size_t)dl_type_count(type) * dl_dtype_bytes(type->dtype);
}

bool dl_same_shape(const dl_type *a, const dl_type *b) {
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

bool dl_same_type(const dl_type *a, const dl_type *b) {
    return a->dtype == b->dtype && dl_same_shape(a, b);
}

const char *dl_shape_text(const dl_type *type, bool batch, char *text) {
    char *at = text, *end = text + DL_SHAPE_TEXT;
    *at++ = '(';
    for (int i = 0; i < type->rank; i++) {
        const char *separator = i > 0 ? ", " : "";
        int length = batch && i == 0
                         ? snprintf(at, (size_t)(end - at), "None")
                         : snprintf(at, (size_t)(end - at), "%s%" PRId64, separator, type->dim[i]);
        at += length; /* 6 dimensions of at most 22 characters fit */
    }
    /* As Python writes a tuple of one. */
    memcpy(at, type->rank == 1 ? ",)" : ")", type->rank == 1 ? 3 : 2);
    return text;
}
