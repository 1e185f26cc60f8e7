/* Samples of op rows: what test_ops.c checks for every row of DL_OP_LIST. A row without a sample
 * fails the suite.
 *
 * A sample says a row, attributes, inputs and a naive reference in double, written for clarity:
 * loops over the definition, sharing nothing with the row. The tables stand in test_ops_NAME.c, one
 * a family, and are listed in test_ops.c. For each sample the suite checks, with 1 thread, 2
 * threads and a side team, forward    every float output against the reference, tolerance from
 * arithmetic; expected values, bit for bit; equal bits on a second run, with any number of threads,
 * with packed inputs, and from two workers on one prepared state gradient   (rows with grad,
 * samples with differentiable != 0) dl_gradients + exec against central differences of the
 * reference: single elements of each input, and one direction that moves all. */
#ifndef DL_TESTS_OP_SAMPLES_H
#define DL_TESTS_OP_SAMPLES_H

#include "ops/ops.h"

enum { SAMPLE_INPUTS = 10, SAMPLE_OUTPUTS = 3 };

/* Types in a static table: F32(5, 7) is float32 [5, 7]. */
#define SAMPLE_RANK(...) (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
#define F32(...)                                                                  \
    {                                                                             \
        .dtype = DL_F32, .rank = SAMPLE_RANK(__VA_ARGS__), .dim = { __VA_ARGS__ } \
    }
#define I32(...)                                                                  \
    {                                                                             \
        .dtype = DL_I32, .rank = SAMPLE_RANK(__VA_ARGS__), .dim = { __VA_ARGS__ } \
    }
#define U8(...)                                                                  \
    {                                                                            \
        .dtype = DL_U8, .rank = SAMPLE_RANK(__VA_ARGS__), .dim = { __VA_ARGS__ } \
    }
#define GIVEN(...) ((const float[]){__VA_ARGS__})

typedef enum sample_fill {
    FILL_SIGNED,   /* float32, -2 .. 2 */
    FILL_POSITIVE, /* float32, 0.5 .. 1.5 */
    FILL_LABELS,   /* int32 or uint8, 0 .. limit-1 */
    FILL_ROWS      /* float32, positive, each row of the last axis sums to 1 */
} sample_fill;

typedef struct op_sample op_sample;

/* Fills out[o] (room for the elements of each output, as inferred into type[o]). bound[o] is, for
 * each element, the error that is allowed in units of float32's epsilon: of a sum of n products
 * about (n + 2) * sum |a||b|. kink[o][e] = true where a derivative jumps within about 1e-3 of the
 * inputs (relu near 0, two maxima nearly equal): those elements get no weight in the gradient
 * check. bound and kink are NULL when not wanted; kink comes false, bound zero. Outputs that are
 * not float32 are not compared and stay unset. */
typedef void (*sample_reference)(const op_sample *sample, const dl_type *type,
                                 const double *const *in, double *const *out, double *const *bound,
                                 bool *const *kink);

struct op_sample {
    const char *name; /* what is special: "3x3, stride 2, same" */
    const dl_op *op;
    const void *attributes; /* every byte set: static const, or NULL where the row has none */
    int inputs;
    dl_type input[SAMPLE_INPUTS];
    sample_fill fill[SAMPLE_INPUTS];
    int limit[SAMPLE_INPUTS];              /* of FILL_LABELS */
    const float *given[SAMPLE_INPUTS];     /* in place of a fill */
    const float *expected[SAMPLE_OUTPUTS]; /* hand-derived, exact; NULL: the reference alone */
    sample_reference reference;
    unsigned differentiable;   /* bit i: check the gradient of input i */
    unsigned gradient_of;      /* bit o: of output o; 0: of the first */
    unsigned rounded;          /* bit i: the kernel rounds float32 input i to half */
    double gradient_tolerance; /* relative with floor 1; 0: 1e-4 */
};

typedef struct op_sample_table {
    const op_sample *sample;
    int count;
    int (*fill)(void); /* or NULL: makes what is given, before the samples are used */
} op_sample_table;

extern const op_sample_table op_samples_dnnl;     /* test_ops_dnnl.c: matmul, conv, pool */
extern const op_sample_table op_samples_reduce;   /* test_ops_reduce.c */
extern const op_sample_table op_samples_products; /* test_ops_products.c: sample by sample */
extern const op_sample_table op_samples_layout;   /* test_ops_layout.c: moves, gather, cast */
extern const op_sample_table op_samples_softmax;  /* test_ops_softmax.c */
extern const op_sample_table op_samples_norm;     /* test_ops_norm.c */
extern const op_sample_table op_samples_layer_norm;
extern const op_sample_table op_samples_conv_norm; /* test_ops_conv_norm.c: rows for devices */
extern const op_sample_table op_samples_dense;     /* test_ops_dense.c: the same */
extern const op_sample_table op_samples_norm_pool; /* the same */
extern const op_sample_table op_samples_residual;  /* the same */
enum { SAMPLE_TABLES = 11 };
extern const op_sample_table *const op_sample_tables[SAMPLE_TABLES]; /* all of them: test_ops.c */

/* Run the checks of one table's samples as CUnit assertions: the tests of a family's suite. */
void op_samples_forward(const op_sample_table *table);
void op_samples_gradient(const op_sample_table *table);
void op_samples_gradient_on(struct dl_device *device, const op_sample_table *table);
/* The forward checks once more, with bfloat16 where the row takes it: rounded inputs, the same
 * reference, and half a unit of the 8 bits more where the result is bfloat16. Weights that the row
 * converts as it packs come in both types. Returns how many were run. */
int op_samples_half(const op_sample_table *table);
/* The sample with bfloat16 or float16, with or without weights in it; false where that is no other
 * sample. */
bool op_sample_halved(const op_sample *sample, dl_dtype half, bool weights, op_sample *out);
/* prepare with its 1st, 2nd, ... allocation failing (leaks show under ASan). */
void op_samples_no_memory(const op_sample_table *table);

#endif
