/* The CUDA device that libdl_cuda_shim.so plays on the host (tests/shim): own kernels run as they
 * are, and what CUDA's libraries compute is computed plainly, as it was described to them. Where
 * DLTRAIN_CUDA_LIBRARY names another library, that one is opened and its GPU tested; what only the
 * shim can do is then said to be skipped. */
#ifndef DL_TESTS_SHIM_H
#define DL_TESTS_SHIM_H

#include <limits.h>

#include "runtime/device/device.h"

/* A file of this build, which lies beside the program of tests. */
void beside_program(const char *file, char path[PATH_MAX]);

/* NULL, and `test` said to be skipped with the reason, where the shim was not built. Close with
 * dl_device_close. */
dl_device *shim_open(const char *test);

/* *function (a pointer to one) is the shim's function of that name (tests/shim/cuda_runtime_api.h),
 * and the library stays open. False, and `test` said to be skipped: this library is no shim. */
bool shim_find(const dl_device *device, const char *name, const char *test, void *function);

/* What lets a test choose the order in which streams get on, and leave out the n-th wait from now
 * on. False as above. */
enum { SHIM_LATE, SHIM_EARLY, SHIM_ANY };
typedef struct shim_streams {
    void (*order)(int kind, unsigned seed);
    long (*waits)(void);
    void (*leave_out_wait)(long n);
} shim_streams;
bool shim_streams_of(const dl_device *device, const char *test, shim_streams *out);
/* Whether `same` fails in some order of streams without that wait (0: with all). */
bool shim_goes_wrong(const shim_streams *streams, long wait, bool (*same)(const void *argument),
                     const void *argument);

/* What lets calls fail: the n-th from now on (0: none) of those whose names begin so (NULL: of
 * all); how many there were; which one was it (NULL: not reached); what is not freed. False as
 * above. */
typedef struct shim_faults {
    void (*fail_call)(long n);
    void (*count_calls_of)(const char *beginning);
    long (*calls)(void);
    const char *(*failed)(void);
    long (*held)(void);
} shim_faults;
bool shim_faults_of(const dl_device *device, const char *test, shim_faults *out);

/* "shim_sent", for shim_find: copies from the host's memory so far, page-locked or other, and their
 * bytes. */
typedef void (*shim_sent_fn)(bool locked, long *copies, long *bytes);

/* Epilogues of cuBLASLt, as the bits of cublasLtEpilogue_t that those of a kind share, and what
 * lets the heuristics offer nothing for them (tests/shim/cublasLt.h). NULL: it is no shim. */
enum {
    SHIM_RELU_AND_MASK = 2 | 128,
    SHIM_MASKED = 8,
    SHIM_MASKED_AND_SUMMED = 8 | 16,
    SHIM_SUMS_OF_B = 256,
    SHIM_SUMS_OF_A = 512
};
typedef long (*shim_lack_fn)(int epilogue);
shim_lack_fn shim_lack_of(const dl_device *device, const char *test);

#endif
