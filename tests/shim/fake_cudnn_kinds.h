/* The operations that the shim's cuDNN computes: their checks and arithmetic, listed in
 * fake_cudnn_run.cpp. */
#ifndef DL_SHIM_FAKE_CUDNN_KINDS_H
#define DL_SHIM_FAKE_CUDNN_KINDS_H

#include "tests/shim/fake_cudnn.h"

namespace shim_cudnn {

/* Of an operation's attribute; NULL: it is not set. */
inline const tensor *find_tensor(const graph &g, const operation &o, int name) {
    auto found = o.tensor.find(name);
    return found == o.tensor.end() ? nullptr : &g.tensors[(size_t)found->second];
}
inline const cells &value_of(const running &r, const operation &o, int name) {
    return r.value[(size_t)o.tensor.at(name)];
}
/* The operation's result, as its tensor holds it; nothing where the attribute is not set. */
void give(running *r, const operation &o, int name, const cells &result);

cudnnStatus_t check_conv(const graph &g, const operation &o);
void run_conv_forward(running *r, const operation &o);
void run_conv_data(running *r, const operation &o);
void run_conv_filter(running *r, const operation &o);

cudnnStatus_t check_pointwise(const graph &g, const operation &o);
void run_pointwise(running *r, const operation &o);

/* fake_cudnn_sums.cpp */
cudnnStatus_t check_stats(const graph &g, const operation &o);
void run_stats(running *r, const operation &o);
cudnnStatus_t check_reduction(const graph &g, const operation &o);
void run_reduction(running *r, const operation &o);
cudnnStatus_t check_finalize(const graph &g, const operation &o);
void run_finalize(running *r, const operation &o);
cudnnStatus_t check_weights(const graph &g, const operation &o);
void run_weights(running *r, const operation &o);

} // namespace shim_cudnn

#endif
