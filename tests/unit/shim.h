/* The CUDA device that libdl_cuda_shim.so plays on the host (tests/shim): own kernels run as they
 * are, rows of CUDA's libraries with their CPU kernels. */
#ifndef DL_TESTS_SHIM_H
#define DL_TESTS_SHIM_H

#include "runtime/device/device.h"

/* The library of this build; NULL, and `test` said to be skipped with the reason, where it was not
 * built. Close with dl_device_close. */
dl_device *shim_open(const char *test);

/* Whether DLTRAIN_CUDA_LIBRARY names another library: then that one is opened, and its GPU tested.
 */
bool shim_is_given(void);

#endif
