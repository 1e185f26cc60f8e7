/* A device beside the host: memory, streams of work, recordings of it, kernels. The CPU is
 * not one: it runs plans itself (runtime/exec/run.c). The one there is, CUDA, lives in
 * libdl_cuda.so, which is opened when a GPU is asked for or seen (open.c).
 *
 * Everything but allocation and waiting only enqueues: in order in a stream, and between streams as
 * marks say. What fails on the device later is returned by a later call, at the latest by `wait`.
 * One thread at a time. */
#ifndef DL_DEVICE_DEVICE_H
#define DL_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/type.h"
#include "runtime/device/comm.h"

/* Work goes to the compute stream unless it is turned to another; kernels run there only. */
typedef enum dl_work_stream {
    DL_STREAM_COMPUTE,
    DL_STREAM_SUMS,   /* sums over leaves and ranks, beside it */
    DL_STREAM_COPIES, /* to and from the host */
    DL_STREAMS
} dl_work_stream;

struct dl_kernel; /* runtime/graph/op.h */

typedef struct dl_device dl_device;
typedef struct dl_recording dl_recording;
typedef struct dl_mark dl_mark;

/* What a kernel met in its data that ends the run: the first to write `node` is told. On the
 * device; cleared by whoever reads it. */
typedef enum dl_fault_kind { DL_FAULT_LABEL = 1, DL_FAULT_ID } dl_fault_kind;
typedef struct dl_fault {
    int32_t node; /* 1 + position of the node in its program; 0: none */
    int32_t kind;
    int64_t value, bound; /* value is outside 0 .. bound - 1 */
} dl_fault;

/* A sum over the leaves of all ranks, made by their devices (comm.h). */
typedef struct dl_device_sum {
    float *const *leaf; /* this rank's; the sum comes into the first, which there always is */
    int held;           /* how many of them the run has */
    int leaves;         /* over all ranks */
    int64_t count;      /* floats; there is memory for dl_device_sum_stride of them */
    float *room;        /* of sum_room bytes; along the tree only */
    bool along_tree;    /* the bits of comm.h's tree on any ranks; else those of these ranks */
} dl_device_sum;

/* Floats of a leaf's buffer: every rank's part of them begins on a 256-byte line. */
static inline int64_t dl_device_sum_stride(int64_t count, int ranks) {
    int64_t line = 64 * (int64_t)ranks;
    return (count + line - 1) / line * line;
}

typedef struct dl_device_table {
    /* Zeroed device memory on a 256-byte line; page-locked host memory. */
    dl_status (*allocate)(dl_device *device, size_t bytes, void **out);
    void (*release)(dl_device *device, void *memory); /* NULL is allowed */
    dl_status (*allocate_host)(dl_device *device, size_t bytes, void **out);
    void (*release_host)(dl_device *device, void *memory);
    dl_status (*room)(dl_device *device, size_t *bytes); /* device memory that is free */
    /* Either side may be host memory; if that is not page-locked, the call waits for the copy. */
    dl_status (*copy)(dl_device *device, void *to, const void *from, size_t bytes);
    dl_status (*fill)(dl_device *device, void *to, int byte, size_t bytes);
    /* Row number[i] of the table, of `bytes` each, becomes row i of `to`, for i < count. All of it
     * on the device. */
    dl_status (*take)(dl_device *device, void *to, const void *table, const uint32_t *number,
                      int64_t count, size_t bytes);
    dl_status (*wait)(dl_device *device); /* until all is done, in all streams */
    /* Between record and recorded nothing runs; the recording is what was enqueued. It begins and
     * ends in the compute stream: others follow a mark of it, and it follows their last. */
    dl_status (*record)(dl_device *device);
    dl_status (*recorded)(dl_device *device, dl_recording **out);
    dl_status (*play)(dl_device *device, dl_recording *recording);
    void (*forget)(dl_device *device, dl_recording *recording); /* NULL is allowed */
    /* Copies, fills, takes, sums and marks go there from now on. */
    void (*turn_to)(dl_device *device, dl_work_stream stream);
    /* A place in a stream, set anew by every `mark`: await waits until all before it is done, what
     * is enqueued after follow runs after that. A timed one keeps when that was. */
    dl_status (*mark_open)(dl_device *device, bool timed, dl_mark **out);
    void (*mark_close)(dl_device *device, dl_mark *mark); /* NULL is allowed */
    dl_status (*mark)(dl_device *device, dl_mark *mark);
    dl_status (*await)(dl_device *device, dl_mark *mark);
    dl_status (*follow)(dl_device *device, dl_mark *mark);
    /* Between two timed marks that are done. */
    dl_status (*seconds)(dl_device *device, const dl_mark *from, const dl_mark *to, double *out);
    /* For so long what is enqueued from now on waits, so that the host gets ahead. */
    dl_status (*pause)(dl_device *device, double seconds);
    /* What the device can do at most: FLOP/s of large products of that precision, bytes/s read and
     * written by a large copy; 0 where its memory is too full to try. */
    dl_status (*peaks)(dl_device *device, dl_dtype dtype, bool tf32, double *flop, double *bytes);
    /* Ranks with a device each sum on them, once they have joined, which is collective; give_up,
     * after a failure on any rank, ends what waits for others. */
    dl_status (*join)(dl_device *device, dl_comm *comm);
    void (*give_up)(dl_device *device);
    /* Zeroed memory that is good to sum in; what else sums over at most so many leaves need of it
     * along the tree. */
    dl_status (*sum_allocate)(dl_device *device, size_t bytes, void **out);
    void (*sum_release)(dl_device *device, void *memory); /* NULL is allowed */
    size_t (*sum_room)(const dl_device *device, int64_t count, int leaves);
    dl_status (*sum)(dl_device *device, const dl_device_sum *sum);
    /* After kernels were prepared, before they run: compiles what they asked for together. */
    dl_status (*build)(dl_device *device);
    void (*close)(dl_device *device);
} dl_device_table;

struct dl_device {
    const dl_device_table *table;
    const struct dl_kernel *(*kernel)(const char *op); /* NULL: the op has none */
    char name[32];                                     /* "cuda:0"; imagined: "cuda:sm_90" */
    char text[160];                                    /* model, memory, versions */
    int architecture;                                  /* 90: compute capability 9.0 */
    uint8_t id[16];                                    /* of the card, which ranks may share */
    bool joined;                                       /* sums with other ranks' devices */
    bool imagined;                                     /* prepares, never runs: dltrain plan */
    struct dl_choices *choices;                        /* of kernels: choices.h; the device's */
    void *stream;                                      /* the compute stream, kernels' */
    /* float32 to DL_BF16 or DL_F16. */
    dl_status (*to_half)(dl_device *device, dl_dtype half, const float *from, void *to,
                         int64_t count);
};

/* What libdl_cuda.so exports as DL_CUDA_LIBRARY. */
#define DL_CUDA_LIBRARY "dl_cuda_library_of_this"
enum { DL_CUDA_LIBRARY_VERSION = 3 };
typedef struct dl_cuda_library {
    int version;
    /* GPUs that can be used; DL_UNAVAILABLE with the reason (driver absent, too old, none visible).
     */
    dl_status (*count)(int *out);
    dl_status (*open)(int index, dl_device **out);
    dl_status (*imagine)(int architecture, dl_device **out);
} dl_cuda_library;

/* DL_UNAVAILABLE with the reason: no library, no driver, driver too old, no visible GPU. Several
 * ranks of a host take GPU local_rank modulo their number. */
dl_status dl_device_open_cuda(int local_rank, dl_device **out);
/* Its kernels are prepared as for a GPU of that compute capability; needs neither GPU nor driver.
 */
dl_status dl_device_imagine_cuda(int architecture, dl_device **out);
void dl_device_close(dl_device *device); /* NULL is allowed */
/* The driver shows itself, or DLTRAIN_CUDA_LIBRARY names a library; costs none. */
bool dl_device_cuda_seen(void);

#endif
