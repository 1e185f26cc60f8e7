/* A compiled program: what compile.c makes and run.c runs. */
#ifndef DL_EXPR_PROGRAM_H
#define DL_EXPR_PROGRAM_H

#include "runtime/expr/internal.h"
#include "runtime/expr/lanes.h"

/* A slot holds one block of a value: an input, a constant or a result. Slots of inputs come first
 * (only of those that are read), then constants, then results. */
enum {
    DL_PROGRAM_FRAME = 12288, /* floats of all slots together: 48 KiB, on the stack */
    DL_PROGRAM_SLOTS = DL_PROGRAM_FRAME / DL_LANE_GROUP,
    DL_PROGRAM_STEPS = 4096
};

typedef struct dl_program_step {
    dl_lane lane; /* NULL: uniform or normal */
    dl_expr_kind kind;
    uint32_t stream;
    int16_t dst, a, b, c; /* slots; b, c: a where unused */
    bool own;             /* no other step writes dst: a value that never changes is made once */
} dl_program_step;

typedef struct dl_program_output {
    int slot; /* of its own */
    int step; /* that writes it */
} dl_program_output;

struct dl_expr_program {
    const dl_lanes *lanes;
    int inputs, outputs, constants, slots, steps, block;
    int input[DL_EXPR_MAX_INPUTS];     /* which input is in slot i */
    int last_read[DL_EXPR_MAX_INPUTS]; /* step that reads slot i last */
    dl_dtype from[DL_EXPR_MAX_INPUTS]; /* how input i lies in memory */
    dl_dtype to[DL_EXPR_MAX_OUTPUTS];  /* how output i does: DL_F32 or half */
    float *constant;
    dl_program_step *step;
    dl_program_output output[DL_EXPR_MAX_OUTPUTS];
};

/* uniform and normal for elements first .. of every sample, groups * DL_LANE_GROUP of them. */
void dl_program_random(const dl_lanes *lanes, dl_expr_kind kind, uint32_t stream,
                       const dl_random *random, int64_t sample_elements, int64_t first,
                       int64_t groups, float *dst);

#endif
