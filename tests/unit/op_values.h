/* Memory of one sample: inputs as the kernel and as the reference see them, outputs. Between
 * test_ops.c (the suite), op_forward.c and op_gradient.c. */
#ifndef DL_TESTS_OP_VALUES_H
#define DL_TESTS_OP_VALUES_H

#include "tests/unit/op_samples.h"

typedef struct op_values {
    const op_sample *sample;
    int outputs;
    dl_type type[SAMPLE_OUTPUTS];  /* of the outputs */
    void *in[SAMPLE_INPUTS];       /* as the input's dtype */
    double *exact[SAMPLE_INPUTS];  /* the same numbers */
    double *want[SAMPLE_OUTPUTS];  /* reference */
    double *bound[SAMPLE_OUTPUTS]; /* allowed error, absolute */
    bool *kink[SAMPLE_OUTPUTS];
} op_values;

/* Infers, fills, computes the reference. Ends the test on a defect of the sample itself. */
void op_values_init(op_values *values, const op_sample *sample);
void op_values_fini(op_values *values);
/* Element of a float32, bfloat16 or float16 array; a number as such an array would keep it. */
float op_values_cell(dl_dtype dtype, const void *memory, int64_t element);
float op_values_round(dl_dtype dtype, float value);
/* What rounding to it changes a number by, at most and relative to it: half a unit of the 8 bits of
 * bfloat16 or the 11 of float16; 0 for others. */
double op_values_unit(dl_dtype dtype);
/* The reference at other inputs: out has the outputs' sizes, zeroed here. */
void op_values_reference(const op_values *values, const double *const *in, double *const *out);
/* Uniform in -1 .. 1, a function of (sample, purpose, element). */
double op_values_random(const op_values *values, const char *purpose, int64_t element);

#endif
