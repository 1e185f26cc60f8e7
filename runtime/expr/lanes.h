/* The loops of CPU programs, one table for each instruction set. lanes_ISA.c each include
 * lanes.inc, which CMake compiles with other flags; the bits are the same. Next: program.c, which
 * runs them. */
#ifndef DL_EXPR_LANES_H
#define DL_EXPR_LANES_H

#include "runtime/expr/expr.h"

/* All loops work on whole groups of so many elements. */
enum { DL_LANE_GROUP = 16, DL_LANE_BLOCK = 256 };

/* dst[i] = operation(a[i], b[i], c[i]) for groups * DL_LANE_GROUP elements; dst may be a, b or c.
 */
typedef void (*dl_lane)(float *dst, const float *a, const float *b, const float *c, int64_t groups);

/* dl_philox for counters (stream, step, sample[i], quad[i]); the words of counter i at words[4 i].
 */
typedef void (*dl_lane_philox)(uint32_t *words, uint32_t stream, uint32_t step,
                               const uint32_t *sample, const uint32_t *quad, int count,
                               uint64_t seed);

/* Words to numbers, one by one (uniform) or in neighbouring pairs (normal). */
typedef void (*dl_lane_words)(float *dst, const uint32_t *word, int64_t groups);

/* Normal numbers of elements whose pair is (first[i], second[i]); odd[i]: it is the second of it.
 */
typedef void (*dl_lane_normal)(float *dst, const uint32_t *first, const uint32_t *second,
                               const uint32_t *odd, int64_t groups);

/* bfloat16 or float16 to float32 and back, bytes to float32, `count` of them. */
typedef void (*dl_lane_widen)(float *dst, const uint16_t *src, int64_t count);
typedef void (*dl_lane_narrow)(uint16_t *dst, const float *src, int64_t count);
typedef void (*dl_lane_bytes)(float *dst, const uint8_t *src, int64_t count);

typedef struct dl_lanes {
    dl_lane plain[DL_EXPR_KINDS];  /* leaves: NULL */
    dl_lane output[DL_EXPR_KINDS]; /* same, any NaN stored as 0x7fc00000; INPUT: copies a */
    dl_lane_philox philox;
    dl_lane_words uniform, pairs;
    dl_lane_normal normal;
    dl_lane_widen from_bf16, from_f16;
    dl_lane_narrow to_bf16, to_f16;
    dl_lane_bytes bytes;
} dl_lanes;

extern const dl_lanes dl_lanes_portable, dl_lanes_avx2, dl_lanes_avx512;

#endif
