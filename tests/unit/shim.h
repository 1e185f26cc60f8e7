/* The CUDA device that libdl_cuda_shim.so plays on the host (tests/shim): own kernels run as they
 * are, and what CUDA's libraries compute is computed plainly, as it was described to them. */
#ifndef DL_TESTS_SHIM_H
#define DL_TESTS_SHIM_H

#include "runtime/device/device.h"

/* The library of this build; NULL, and `test` said to be skipped with the reason, where it was not
 * built. Close with dl_device_close. */
dl_device *shim_open(const char *test);

/* Whether DLTRAIN_CUDA_LIBRARY names another library: then that one is opened, and its GPU tested.
 */
bool shim_is_given(void);

/* What the shim lets a test choose (tests/shim/cuda_runtime_api.h): the order in which streams get
 * on, and to leave out the n-th wait from now on. False: this library is no shim. */
enum { SHIM_LATE, SHIM_EARLY, SHIM_ANY };
typedef struct shim_streams {
    void (*order)(int kind, unsigned seed);
    long (*waits)(void);
    void (*leave_out_wait)(long n);
} shim_streams;
bool shim_streams_of(const dl_device *device, shim_streams *out);

/* Epilogues of cuBLASLt, as the bits of cublasLtEpilogue_t that those of a kind share, and what
 * lets the heuristics offer nothing for them (tests/shim/cublasLt.h). NULL: this library is no
 * shim. */
enum {
    SHIM_RELU_AND_MASK = 2 | 128,
    SHIM_MASKED = 8,
    SHIM_MASKED_AND_SUMMED = 8 | 16,
    SHIM_SUMS_OF_B = 256,
    SHIM_SUMS_OF_A = 512
};
typedef long (*shim_lack_fn)(int epilogue);
shim_lack_fn shim_lack_of(const dl_device *device);

#endif
