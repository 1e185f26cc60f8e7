/* The row of an op: all there is to know about one kind of node. Rows live in ops/, one family a
 * file with its kernels beside it; ops/op_list.h lists them once. No switch anywhere asks for an
 * op's kind. */
#ifndef DL_GRAPH_OP_H
#define DL_GRAPH_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/philox.h"
#include "runtime/base/status.h"
#include "runtime/base/team.h"
#include "runtime/base/type.h"

struct dl_graph;
struct dl_device; /* runtime/device/device.h */

/* infer: pure; shapes in, shapes out. Errors by dl_fail(DL_BAD_JOB, "...") with Keras-like shape
 * texts; the graph puts the place in the job before them. */
typedef struct dl_infer {
    const void *attributes;
    int inputs;
    const dl_type *const *input;
    dl_type *output; /* [outputs] */
} dl_infer;

/* grad: appends ordinary nodes. dy[k] is the gradient of output k (-1: none reaches it); set dx[i]
 * for every input i with need[i] (leave it -1 where the gradient is zero). */
typedef struct dl_grad {
    struct dl_graph *graph;
    const void *attributes;
    int inputs;
    const int *input; /* values */
    int output;       /* first output value */
    const int *dy;
    const bool *need;
    int *dx;
} dl_grad;

enum { DL_MAX_PACKED = 8 };

/* What a kernel is prepared for. One prepared state serves any number of instances at a time: run
 * does not write to it. */
typedef struct dl_prepare {
    const void *attributes;
    int inputs, outputs;
    const dl_type *const *input;
    const dl_type *const *output;
    const char *name;             /* of the node: stream of random numbers, messages */
    int threads;                  /* the kernel will run with exactly so many */
    bool constant[DL_MAX_PACKED]; /* input i is a variable: may be packed */
    int runs; /* between two changes of the variables: leaves of a batch on this rank, or under
                 any_ranks over all, so that what is decided by it does not depend on the number of
                 ranks; INT_MAX where the program changes none */
    struct dl_device *device; /* NULL: the CPU */
    int position;             /* of the node in its program: what a device's fault names */
    bool tf32;                /* a device may round the factors of float32 products to TF32 */
} dl_prepare;

typedef struct dl_prepared {
    void *state;                        /* from dl_alloc, or NULL */
    size_t workspace;                   /* bytes of 64-byte aligned scratch that run needs */
    const char *text;                   /* of state: how it is computed, for people; or NULL */
    size_t packed_bytes[DL_MAX_PACKED]; /* not 0 for an input with constant[i]: run gets, in place
                                           of input i, a copy made by kernel->pack whenever the
                                           variables have changed */
    uint32_t packed_half; /* bit i: that copy is input i as half, element by element, and so may be
                             what a device keeps of the parameters in half (DL_SLAB_HALF) */
} dl_prepared;

typedef struct dl_run {
    const void *const *in;
    void *const *out;
    void *workspace;
    dl_team *team;           /* NULL: this thread alone */
    const dl_random *random; /* seed, step, position of sample 0 of this shard */
    int part, parts; /* parts > 0, elementwise rows alone: only the elements of dl_part_range */
    /* On a device run only enqueues; all pointers, `random` too, are the device's. */
    void *stream;           /* cudaStream_t */
    struct dl_fault *fault; /* where a kernel tells of bad data */
} dl_run;

/* What part `part` of `parts` is of `count` elements: whole pages of float32, which are no other
 * processor's, but for the last. */
static inline void dl_part_range(int64_t count, int part, int parts, int64_t *first,
                                 int64_t *last) {
    enum { ALIGN = 1024 };
    int64_t blocks = (count + ALIGN - 1) / ALIGN;
    *first = blocks * part / parts * ALIGN;
    *last = blocks * (part + 1) / parts * ALIGN;
    if (*last > count)
        *last = count;
}

/* Of a device: release must do with what state holds; pack and run only enqueue. */
typedef struct dl_kernel {
    dl_status (*prepare)(const dl_prepare *what,
                         dl_prepared *out); /* NULL: no state, no workspace */
    void (*pack)(const void *state, int input, const void *from, void *to, dl_team *team);
    dl_status (*run)(const void *state, const dl_run *run);
    void (*release)(void *state); /* NULL: dl_free */
} dl_kernel;

/* Parts of a workspace begin at whole lines of 256 bytes, as memory of a device does. */
static inline size_t dl_whole_lines(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

/* For dl_op.half: all inputs together; each for itself, as it comes. */
#define DL_HALF_ALL  0x7fffffffu
#define DL_HALF_EACH 0xffffffffu

typedef struct dl_op {
    const char *name;
    int min_inputs, max_inputs; /* max -1: any number */
    int outputs;                /* -1: attributes begin with an int that says how many */
    size_t attribute_bytes;
    dl_status (*infer)(const dl_infer *infer);
    void (*grad)(dl_grad *grad); /* NULL: not differentiable */
    uint32_t in_place;           /* bit i: output 0 may take the memory of input i (same bytes) */
    /* Half: bfloat16 or float16, whichever the graph's precision is. Bit i: input i may be half
     * (the last bit: all that follow too); every other floating-point input is float32. The marked
     * ones are half together, if one of them is, or if the row `seeks_half`, has an input per shard
     * and is built where the graph's precision is half. dl_graph_add casts what is of the other
     * type, but for shared inputs (weights) with a bit in packs_half: those stay float32, and the
     * kernel converts them as it packs them. */
    uint32_t half, packs_half;
    bool seeks_half;
    bool writes_f32;    /* from half too, where its output is read by a cast to float32 alone */
    bool mixes_samples; /* an output sample depends on other samples of the shard */
    bool deterministic; /* same bits for the same inputs, threads and instruction set */
    double (*flop)(const dl_prepare *what); /* of the products of matrices that it is; NULL: none,
                                               its work is counted in bytes */
    dl_kernel cpu;
} dl_op;

struct dl_fusion; /* fuse.h */

typedef struct dl_op_table {
    const dl_op *const *op;
    int count;
    const struct dl_fusion *fusion; /* tried in this order */
    int fusions;
} dl_op_table;

const dl_op *dl_op_find(const dl_op_table *table, const char *name); /* NULL: none */

#endif
