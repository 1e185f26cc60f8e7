/* Kernels of .cu files on the host: a launch runs its blocks one after another and the threads of a
 * block one after another (DL_LAUNCH), or, where threads meet at barriers or shuffle
 * (DL_LAUNCH_TEAM), as fibers that take turns at each meeting. */
#ifndef DL_SHIM_CUDA_RUNTIME_H
#define DL_SHIM_CUDA_RUNTIME_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

#include "tests/shim/cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __shared__   static thread_local /* blocks follow one another */
#define __align__(n) alignas(n)
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uchar4 {
    unsigned char x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
extern thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
enum { warpSize = 32 };

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
/* Fiber side of shuffles: leaves `mine` for the warp, returns what lane `from` left. */
uint64_t shim_exchange(uint64_t mine, int from);
unsigned shim_ballot(bool mine);
int shim_lane();

template <class T> T shim_shuffle(T value, int from) {
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    word = shim_exchange(word, from);
    std::memcpy(&value, &word, sizeof value);
    return value;
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    return shim_shuffle(value, shim_lane() ^ mask);
}
template <class T> T __shfl_down_sync(unsigned, T value, unsigned delta) {
    int from = shim_lane() + (int)delta;
    return shim_shuffle(value, from < warpSize ? from : shim_lane());
}
template <class T> T __shfl_sync(unsigned, T value, int lane) {
    return shim_shuffle(value, lane);
}
inline unsigned __ballot_sync(unsigned, int mine) {
    return shim_ballot(mine != 0);
}
template <class T> T __ldg(const T *from) {
    return *from;
}
inline int atomicCAS(int *at, int compare, int value) {
    int old = *at;
    *at = old == compare ? value : old;
    return old;
}
template <class T> T atomicAdd(T *at, T more) {
    T old = *at;
    *at = old + more;
    return old;
}
inline void __threadfence() {}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((uint64_t)a * b >> 32);
}
inline int __popc(unsigned word) {
    return __builtin_popcount(word);
}
/* Round to nearest, uncontracted: what -ffp-contract=off does to the plain operators. */
inline float __fmaf_rn(float a, float b, float c) {
    return std::fmaf(a, b, c);
}
inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}
inline float __fsqrt_rn(float a) {
    return std::sqrt(a);
}
inline float __uint_as_float(unsigned word) {
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}
inline unsigned __float_as_uint(float value) {
    unsigned word;
    std::memcpy(&word, &value, sizeof word);
    return word;
}

enum { SHIM_MOST_THREADS = 1024 /* of a block */ };
/* All blocks of a launch, now; shim_launch puts that on the stream. */
void shim_run_grid(dim3 grid, dim3 block, size_t shared, bool as_team,
                   const std::function<void()> &thread);
void shim_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, bool team,
                 std::function<void()> thread);
void *shim_shared_memory();

#define DL_SHIM_LAUNCH(team, kernel, blocks, threads, shared, stream, ...)      \
    (shim_launch((cudaStream_t)(stream), (blocks), (threads), (shared), (team), \
                 [shim_args = std::make_tuple(__VA_ARGS__)]() {                 \
                     std::apply([](auto... a) { kernel(a...); }, shim_args);    \
                 }),                                                            \
     dl_cuda_check(cudaGetLastError(), #kernel))
#define DL_LAUNCH(...)        DL_SHIM_LAUNCH(false, __VA_ARGS__)
#define DL_LAUNCH_TEAM(...)   DL_SHIM_LAUNCH(true, __VA_ARGS__)
#define DL_SHARED(type, name) type *name = (type *)shim_shared_memory()

#endif
