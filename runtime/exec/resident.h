/* Variables on a device: the slabs that all programs of a run share there. The host's copy is the
 * one that is initialised, saved and restored; each side is brought up to date when it is looked
 * at: variables->version counts changes, and each side knows which version it holds. Where layers
 * compute in half, the device also holds the parameters rounded (DL_SLAB_HALF): a program that
 * assigns parameters there assigns these too (half_copy.h). */
#ifndef DL_EXEC_RESIDENT_H
#define DL_EXEC_RESIDENT_H

#include "runtime/device/device.h"
#include "runtime/graph/variables.h"

typedef struct dl_resident {
    dl_device *device;
    dl_variables *variables;
    void *slab[DL_SLABS_THERE];
    uint64_t here, there; /* versions on the host, on the device; 0: none */
    int held;             /* runs that a program has begun and the device has not got yet */
} dl_resident;

/* `variables` are laid out and allocated; both arguments stay the caller's and outlive it. */
dl_status dl_resident_open(dl_resident **out, dl_device *device, dl_variables *variables);
void dl_resident_close(dl_resident *resident); /* NULL is allowed */

/* Before work on the device: what the host has changed goes there (enqueued). */
dl_status dl_resident_push(dl_resident *resident);
/* A program on the device has changed the variables. */
void dl_resident_changed(dl_resident *resident);
/* Before the host reads or changes variables: waits for the device and brings what is newer there.
 * NULL: there is no device, nothing to do. */
dl_status dl_resident_fetch(dl_resident *resident);

#endif
