/* What the files of the fake CUDA share: fake_cuda.cpp counts calls and holds memory,
 * fake_streams.cpp runs what was enqueued, fake_blocks.cpp runs kernels. */
#ifndef DL_SHIM_FAKE_CUDA_H
#define DL_SHIM_FAKE_CUDA_H

#include "tests/shim/cuda_runtime.h"

#define CALL(error)              \
    if (shim_fails_in(__func__)) \
    return (error)

cudaError_t shim_mend(); /* what went wrong since the last time (shim_break) */
/* Work that returns whether it is done: until then what comes after it in its stream waits. */
void shim_enqueue_work(cudaStream_t stream, std::function<bool()> work);
template <class Work> void shim_enqueue(cudaStream_t stream, Work work) {
    shim_enqueue_work(stream, [work]() mutable {
        work();
        return true;
    });
}
void shim_enqueue_launch(cudaStream_t stream, std::function<void()> work); /* counts one */
void shim_run(cudaStream_t stream); /* all that it was given */
void shim_run_all();
bool shim_captures(cudaStream_t stream);

#endif
