/* What `dltrain bench` measures, and how it says so: bench_run.c runs the steps, bench_print.c and
 * bench_json.c tell, bench_trace.c writes the spans. verb_bench.c is the story. */
#ifndef DL_LAUNCHER_BENCH_H
#define DL_LAUNCHER_BENCH_H

#include "launcher/batches.h"
#include "launcher/job.h"

typedef struct dl_bench_options {
    int64_t steps, warmup; /* of a repetition; before all (-1: as many as take a while) */
    int repeat;
    bool rate;         /* samples/s alone: no parts, no rows, no peak */
    const char *trace; /* file, or NULL: spans are kept only for it */
} dl_bench_options;

/* The way to the first step. */
typedef enum dl_bench_stage {
    DL_BENCH_LOADED, /* libraries, cores, other ranks */
    DL_BENCH_OPENED, /* job, data, network */
    DL_BENCH_READY,  /* kernels, weights, reading ahead */
    DL_BENCH_BEGUN,  /* the first step */
    DL_BENCH_STAGES
} dl_bench_stage;
extern const char *const dl_bench_stage_name[DL_BENCH_STAGES];

/* Means over the steps of one rank in which parts were timed, in seconds. input + part[] + other is
 * step; other, the work of the loop itself, is what is left. On a device a step is what the device
 * makes of it, by its own clock, and input is in its compute. */
typedef struct dl_bench_rank {
    double step, input, part[DL_RUN_PARTS], other;
    double reading;                /* of a batch, on a thread of its own */
    double peak;                   /* FLOP/s that this rank's threads, or device, can reach */
    double bandwidth;              /* bytes/s that its device can; 0: not known */
    double memory;                 /* most bytes of this process in memory, until the last step */
    double start[DL_BENCH_STAGES]; /* seconds of the process, and most bytes, at a stage's end */
    double start_memory[DL_BENCH_STAGES];
    double origin; /* of its clock: when all ranks left the same barrier */
} dl_bench_rank;

/* A row of the profile, a step: seconds of threads as the mean over ranks, the rest of all ranks.
 */
typedef struct dl_bench_row {
    const char *op, *name;
    double seconds, calls, flop, bytes;
} dl_bench_row;

typedef struct dl_bench {
    dl_session *session;
    const dl_bench_options *options;
    dl_exec *exec;
    dl_batches batches;
    int metrics_output;
    int64_t done;              /* steps so far */
    int64_t steps, warmup;     /* as measured */
    int64_t profiled_steps;    /* in which every node was timed */
    double *step;              /* [repeat] seconds of a step, hooks off, of the slowest rank */
    double *rate;              /* [repeat] samples/s */
    double loss;               /* of the last batch */
    double reading;            /* seconds of the last batches */
    dl_bench_rank mine, *rank; /* [size] */
    dl_bench_row *row;         /* [rows] nodes and what is around them, in running order */
    int rows;
    double profiled, flop; /* seconds of a step with every node timed; FLOP of a step, all ranks */
    dl_exec_span *loop;    /* for the trace, what is around the runs: slot is one of below */
    int loops, loop_capacity;
} dl_bench;
enum { DL_BENCH_STEP, DL_BENCH_INPUT, DL_BENCH_READING, DL_BENCH_LOOP_SLOTS };

/* Call at the end of each stage, in order, until dl_bench_run. */
void dl_bench_mark(dl_bench *bench, dl_bench_stage stage);

/* Collective. A zeroed bench with session and options is measured; close it in any case. */
dl_status dl_bench_run(dl_bench *bench);
void dl_bench_close(dl_bench *bench);

/* Median, least and most of `count` values. */
typedef struct dl_spread {
    double median, least, most;
} dl_spread;
dl_spread dl_spread_of(const double *value, int count);

/* Rows with the same op (or layer) together, the longest first; out[bench->rows]. */
int dl_bench_group(const dl_bench *bench, bool by_op, dl_bench_row *out);
/* Of the ranks' parts: the mean. */
dl_bench_rank dl_bench_mean(const dl_bench *bench);

dl_status dl_bench_print(const dl_bench *bench);
dl_status dl_bench_write_json(const dl_bench *bench, const char *path);
dl_status dl_bench_write_trace(dl_bench *bench, const char *path); /* collective; rank 0 writes */

#endif
