/* Element types, shapes. A dl_type says all that memory for a tensor depends on: element type and
 * dimensions, row-major, channels last. Dimension 0 of what flows from the data is the sample. */
#ifndef DL_BASE_TYPE_H
#define DL_BASE_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*        name  bytes  text (as NumPy says it) */
#define DL_DTYPE_LIST(X)   \
    X(F32, 4, "float32")   \
    X(F64, 8, "float64")   \
    X(F16, 2, "float16")   \
    X(BF16, 2, "bfloat16") \
    X(I8, 1, "int8")       \
    X(U8, 1, "uint8")      \
    X(I16, 2, "int16")     \
    X(U16, 2, "uint16")    \
    X(I32, 4, "int32")     \
    X(I64, 8, "int64")

typedef enum dl_dtype {
#define X(name, bytes, text) DL_##name,
    DL_DTYPE_LIST(X)
#undef X
        DL_DTYPE_COUNT
} dl_dtype;

/* The two that activations may have in place of float32: `precision` of a job chooses. */
static inline bool dl_is_half(dl_dtype dtype) {
    return dtype == DL_BF16 || dtype == DL_F16;
}

size_t dl_dtype_bytes(dl_dtype dtype);
const char *dl_dtype_text(dl_dtype dtype);

enum { DL_MAX_RANK = 6 };

typedef struct dl_type {
    dl_dtype dtype;
    int rank; /* 0: a scalar */
    int64_t dim[DL_MAX_RANK];
} dl_type;

dl_type dl_type_make(dl_dtype dtype, int rank, const int64_t *dim);
#define DL_TYPE(dtype, ...)                                                          \
    dl_type_make((dtype), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
                 (const int64_t[]){__VA_ARGS__})
#define DL_SCALAR(dtype) dl_type_make((dtype), 0, NULL)

/* Number of elements (1 for a scalar), bytes; equality of shape, of shape and element type. */
int64_t dl_type_count(const dl_type *type);
size_t dl_type_bytes(const dl_type *type);
bool dl_same_shape(const dl_type *a, const dl_type *b);
bool dl_same_type(const dl_type *a, const dl_type *b);

/* "(None, 28, 28, 1)" as Keras prints it when batch is true (dimension 0 shown as None), else
 * "(28, 28, 1)". `text` holds DL_SHAPE_TEXT bytes; returns text. */
enum { DL_SHAPE_TEXT = 160 };
const char *dl_shape_text(const dl_type *type, bool batch, char *text);

#endif
