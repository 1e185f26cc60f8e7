/* oneDNN, v2 and v3: the one place that calls it. Rows describe tensors as dimensions and strides
 * and get calls; no oneDNN type leaves dnnl.c (running), dnnl_make.c (making) and dnnl_call.h.
 *
 * A call is a primitive made for a stated number of threads and runs under exactly that OpenMP
 * setting (dl_team sets it; another one is DL_INTERNAL). Any number of threads may run one call at
 * a time: each run borrows one of the call's sets of memory objects, whose handles are changed only
 * when the pointers are not those of the set's last run. Scratch memory is the caller's. Tensors
 * are float32 or bfloat16; a product of bfloat16 is added up in float32, and written as its
 * output's tensor says. */
#ifndef DL_OPS_DNNL_H
#define DL_OPS_DNNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/type.h"
#include "runtime/expr/expr.h"

enum { DL_DNNL_RANK = 12 /* DNNL_MAX_NDIMS: oneDNN takes arrays of this */, DL_DNNL_ARGUMENTS = 4 };

typedef struct dl_dnnl dl_dnnl;

typedef struct dl_dnnl_tensor {
    int rank; /* 0: absent */
    int64_t dim[DL_DNNL_RANK];
    int64_t stride[DL_DNNL_RANK]; /* in elements */
    bool any;                     /* oneDNN chooses the layout; strides are not read */
    dl_dtype dtype;               /* DL_F32 (0) or DL_BF16 */
} dl_dnnl_tensor;

/* Arguments of each kind of call, in the order in which dl_dnnl_run takes their memory. */
enum { DL_DNNL_A, DL_DNNL_B, DL_DNNL_PRODUCT, DL_DNNL_PRODUCT_BIAS }; /* matmul */
enum { DL_DNNL_X, DL_DNNL_W, DL_DNNL_Y, DL_DNNL_BIAS };               /* convolution */
enum { DL_DNNL_POOL_X, DL_DNNL_POOL_Y };                              /* pooling */
enum { DL_DNNL_FROM, DL_DNNL_TO };                                    /* reorder */

/* y [m, n] = a [m, k] · b [k, n] + bias [1, n] (NULL: none), then relu if asked. */
dl_status dl_dnnl_matmul(dl_dnnl **out, int threads, const dl_dnnl_tensor *a,
                         const dl_dnnl_tensor *b, const dl_dnnl_tensor *bias,
                         const dl_dnnl_tensor *y, bool relu);

typedef enum dl_dnnl_direction {
    DL_DNNL_FORWARD,
    DL_DNNL_BACKWARD_DATA,
    DL_DNNL_BACKWARD_WEIGHTS
} dl_dnnl_direction;

/* Two spatial dimensions. Dilation as Keras counts it: 1 is none. */
typedef struct dl_dnnl_window {
    int64_t kernel[DL_DNNL_RANK], stride[DL_DNNL_RANK], dilation[DL_DNNL_RANK];
    int64_t before[DL_DNNL_RANK], after[DL_DNNL_RANK];
} dl_dnnl_window;

/* x [n, c, h, w], w [o, c, kh, kw] or with groups [g, o/g, c/g, kh, kw], y [n, o, h, w], bias [o]
 * or NULL (forward alone, as relu): logical order, strides say the layout. The direction says which
 * is written. */
dl_status dl_dnnl_conv(dl_dnnl **out, int threads, dl_dnnl_direction direction,
                       const dl_dnnl_tensor *x, const dl_dnnl_tensor *w, const dl_dnnl_tensor *y,
                       const dl_dnnl_tensor *bias, const dl_dnnl_window *window, bool relu);

/* Averages that do not count padding: forward writes y, backward (data) writes x, its gradient. */
dl_status dl_dnnl_average_pool(dl_dnnl **out, int threads, dl_dnnl_direction direction,
                               const dl_dnnl_tensor *x, const dl_dnnl_tensor *y,
                               const dl_dnnl_window *window);

/* Copies a tensor into the layout that `call` wants for an argument, or out of it. */
dl_status dl_dnnl_reorder_to(dl_dnnl **out, const dl_dnnl_tensor *from, const dl_dnnl *call,
                             int argument);
dl_status dl_dnnl_reorder_from(dl_dnnl **out, const dl_dnnl *call, int argument,
                               const dl_dnnl_tensor *to);

/* A layout in blocks: index i of an axis adds (i / B) * stride to an element's place, B being the
 * product of the axis's blocks, and i % B lies inside of a block of block[0] x block[1] x ...,
 * the last of them contiguous, each a digit of the axis axis[k]. */
typedef struct dl_dnnl_blocks {
    int rank, inner;
    int64_t padded[DL_DNNL_RANK], stride[DL_DNNL_RANK];
    int64_t block[DL_DNNL_RANK], axis[DL_DNNL_RANK];
    dl_dtype dtype;
} dl_dnnl_blocks;
/* false: the argument lies in a way that this cannot say, or is neither float32 nor bfloat16. */
bool dl_dnnl_blocks_of(const dl_dnnl *call, int argument, dl_dnnl_blocks *out);

/* Whether an argument lies as `tensor` says; bytes it takes; bytes of scratch of a run (64-byte
 * aligned). */
bool dl_dnnl_lies_as(const dl_dnnl *call, int argument, const dl_dnnl_tensor *tensor);
size_t dl_dnnl_bytes(const dl_dnnl *call, int argument);
size_t dl_dnnl_scratch(const dl_dnnl *call);

/* memory[i] is argument i; entries of absent arguments are not read. */
dl_status dl_dnnl_run(const dl_dnnl *call, void *const *memory, void *scratch);
/* oneDNN takes inputs by pointers that are not const. */
static inline void *dl_dnnl_input(const void *memory) {
    return (void *)(uintptr_t)memory;
}
void dl_dnnl_free(dl_dnnl *call); /* NULL is allowed */

/* What multiplies bfloat16 here, ascending. oneDNN would also imitate it on lesser processors, more
 * slowly than float32; that is no use to anybody. */
typedef enum dl_bf16_kernels { DL_BF16_NONE, DL_BF16_AVX512, DL_BF16_AMX } dl_bf16_kernels;
dl_bf16_kernels dl_bf16_of_cpu(void); /* of the processor, whatever oneDNN is held to */
dl_bf16_kernels dl_dnnl_bf16(void);   /* what oneDNN will use; after this there is no limiting */
const char *dl_bf16_text(dl_bf16_kernels kernels); /* "AMX" */

/* Before the first call: at most these instructions, when another rank has no others. */
dl_status dl_dnnl_limit(dl_isa isa, dl_bf16_kernels bf16);
/* For --version: "2.6.3 (OpenMP)" and the file that the library was loaded from. */
const char *dl_dnnl_version(void);
const char *dl_dnnl_path(void);

#endif
