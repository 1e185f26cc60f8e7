/* Between conv.c and its kernels. */
#ifndef DL_OPS_CONV_H
#define DL_OPS_CONV_H

#include "ops/window.h"

/* All sizes from attributes and the types of x and w; also checks that they fit each other. */
dl_status dl_conv_sizes(const dl_conv_attributes *attributes, const dl_type *x, const dl_type *w,
                        dl_window_sizes *sizes);

dl_status dl_conv_prepare(const dl_prepare *what, dl_prepared *out);
dl_status dl_conv_direct_input_prepare(const dl_prepare *what, dl_prepared *out);
dl_status dl_conv_direct_weight_prepare(const dl_prepare *what, dl_prepared *out);
void dl_conv_pack(const void *state, int input, const void *from, void *to, dl_team *team);
dl_status dl_conv_run(const void *state, const dl_run *run);
void dl_conv_release(void *state);

/* conv_input_cpu.c */
dl_status dl_conv_input_prepare(const dl_prepare *what, dl_prepared *out);
void dl_conv_input_pack(const void *state, int input, const void *from, void *to, dl_team *team);
dl_status dl_conv_input_run(const void *state, const dl_run *run);
void dl_conv_input_release(void *state);

/* conv_weight_cpu.c: which of two ways the gradient of weights goes. */
dl_status dl_conv_weight_prepare(const dl_prepare *what, dl_prepared *out);
dl_status dl_conv_weight_run(const void *state, const dl_run *run);
void dl_conv_weight_release(void *state);

#endif
