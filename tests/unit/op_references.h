/* Between op_references.c and the table of test_ops_dnnl.c. */
#ifndef DL_TESTS_OP_REFERENCES_H
#define DL_TESTS_OP_REFERENCES_H

#include "tests/unit/op_samples.h"

/* All are sample_reference functions. */
void op_matmul_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                         double *const *out, double *const *bound, bool *const *kink);
void op_conv_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                       double *const *out, double *const *bound, bool *const *kink);
void op_conv_input_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                             double *const *out, double *const *bound, bool *const *kink);
void op_conv_weight_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                              double *const *out, double *const *bound, bool *const *kink);
void op_max_pool_reference(const op_sample *sample, const dl_type *type, const double *const *in,
                           double *const *out, double *const *bound, bool *const *kink);
void op_average_pool_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink);
void op_average_gradient_reference(const op_sample *sample, const dl_type *type,
                                   const double *const *in, double *const *out,
                                   double *const *bound, bool *const *kink);
void op_max_gradient_reference(const op_sample *sample, const dl_type *type,
                               const double *const *in, double *const *out, double *const *bound,
                               bool *const *kink);

#endif
