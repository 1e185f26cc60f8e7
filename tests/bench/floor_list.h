/* What the layers of a job ask of a library in one training step: convolutions, dense layers,
 * pooling, batch normalisation, with the sizes of one rank's share of a batch. floor_list.c reads
 * them from the forward pass of the job's network; what the step does backward follows from them
 * (floor.c) and is not taken from dltrain's own gradients. */
#ifndef DL_BENCH_FLOOR_LIST_H
#define DL_BENCH_FLOOR_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "launcher/options.h"
#include "runtime/base/status.h"

typedef enum layer_kind { LAYER_CONV, LAYER_DENSE, LAYER_POOL, LAYER_NORM } layer_kind;

typedef int64_t bench_dims[12]; /* oneDNN takes arrays of this; two are in use */

/* Dense: channels inputs, filters outputs. Dilation 1 is none. */
typedef struct bench_layer {
    layer_kind kind;
    char name[64];
    int64_t n, channels, filters, groups;
    bench_dims in, out, kernel, stride, dilation, before, after;
    bool bias, relu, average;
    bool inner; /* a layer before it has weights, so that the gradient of x is needed */
    int x, y;   /* numbers of the values read and written: the same number is the same memory */
} bench_layer;

typedef struct bench_list {
    bench_layer *layer;
    int count, values;
    int64_t batch; /* of all ranks */
} bench_list;

/* Of rank 0 of `ranks`. The job is read as dltrain reads it, --set included. */
dl_status bench_list_open(bench_list *out, const dl_options *options, int ranks);
void bench_list_close(bench_list *list);

#endif
