/* A step that numbers pass on their way from a file to the model, in float32, each operation
 * rounded by itself: y = x * by + offset, or (x - offset) * by. Steps that are of this form alone
 * may be done wherever the numbers are needed: by the reader, or by the program that reads bytes.
 */
#ifndef DL_BASE_AFFINE_H
#define DL_BASE_AFFINE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct dl_affine {
    bool centred;             /* (x - offset) * by */
    int64_t period;           /* element e of a sample takes constant e % period */
    const float *by, *offset; /* [period] */
} dl_affine;

#endif
