/* A step that numbers pass on their way from a file to the model, in float32, each operation
 * rounded by itself. It may be done wherever the numbers are needed: by the reader, or by the
 * program that reads them as stored. */
#ifndef DL_BASE_PREPARE_STEP_H
#define DL_BASE_PREPARE_STEP_H

#include <stdint.h>

typedef enum dl_prepare_kind {
    DL_PREPARE_SCALE,  /* x * by + offset */
    DL_PREPARE_CENTRE, /* (x - offset) * by */
    DL_PREPARE_FILL,   /* by where x is no number, else x */
    DL_PREPARE_ONE_HOT /* a row of [period]: 1 where x is by, else 0 */
} dl_prepare_kind;

typedef struct dl_prepare_step {
    dl_prepare_kind kind;
    int64_t period;           /* element e of a sample takes constant e % period */
    const float *by, *offset; /* [period]; offset: of the first two kinds, else NULL */
} dl_prepare_step;

#endif
