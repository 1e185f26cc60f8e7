/* What reading and writing HDF5 share: setting the library up, and its errors as our message. */
#ifndef DL_STORE_H5_H
#define DL_STORE_H5_H

#include <stdbool.h>

#include <hdf5.h>

#include "runtime/base/status.h"
#include "runtime/base/type.h"

/* Before any other call: no exit handler (it crashes after a full disk), no plug-ins, no printing.
 */
void dl_h5_setup(void);

/* `status` with "cannot WHAT 'NAME' in 'PATH'" and the innermost reason that the library noted. */
dl_status dl_h5_fail(dl_status status, const char *what, const char *name, const char *path);

/* Moves `from` of shape `type` to `to`, whose axis i is axis order[i] of `from`; `back` is the
 * inverse (to a tensor of shape `type`). */
void dl_h5_transpose(const dl_type *type, const int *order, bool back, const float *from,
                     float *to);

#endif
