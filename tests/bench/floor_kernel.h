/* One bare primitive of oneDNN, v2 and v3: made for a layer and a direction in one of several forms
 * (layouts, the type of weight gradients, matmul or inner product), with what it reads and writes.
 * Independent of dltrain's own use of the library (ops/dnnl*.c). Scratch memory is the caller's. */
#ifndef DL_BENCH_FLOOR_KERNEL_H
#define DL_BENCH_FLOOR_KERNEL_H

#include <oneapi/dnnl/dnnl.h>

#include "tests/bench/floor_list.h"

typedef enum kernel_direction {
    FORWARD,
    BACKWARD_DATA,
    BACKWARD_WEIGHTS,
    DIRECTIONS
} kernel_direction;

/* Where the memory of an argument is: activations and gradients flow from kernel to kernel as in a
 * step, weights and their gradients belong to the kernel, `kept` to the layer (pooling's maxima,
 * statistics), scratch to all. */
typedef enum kernel_place {
    PLACE_X,
    PLACE_Y,
    PLACE_DX,
    PLACE_DY,
    PLACE_OWN,
    PLACE_KEPT,
    PLACE_SCRATCH
} kernel_place;

enum { KERNEL_ARGUMENTS = 12, KERNEL_FORMS = 6 };

typedef struct kernel {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    int arguments;
    kernel_place place[KERNEL_ARGUMENTS];
    size_t bytes[KERNEL_ARGUMENTS];
    bool weights[KERNEL_ARGUMENTS]; /* to be filled as weights are */
    dnnl_exec_arg_t argument[KERNEL_ARGUMENTS];
} kernel;

/* Whether a direction of a layer is work at all: pooling has no weights. */
bool kernel_exists(const bench_layer *layer, kernel_direction direction);
/* Form `form` (0 ..); false when there is no such form or the library cannot. `hint` is the desc of
 * the layer's forward kernel for pooling and normalisation, whose backward kernel depends on it. */
bool kernel_make(kernel *out, const bench_layer *layer, kernel_direction direction, int form,
                 bool bf16, const kernel *forward);
void kernel_put(kernel *kernel, int argument, void *memory); /* KERNEL_ARGUMENTS entries */
bool kernel_run(const kernel *kernel);
void kernel_free(kernel *kernel);
/* Multiplications and additions. */
double kernel_flops(const bench_layer *layer);

#endif
