/* Kernel choices of a training (runtime/device/choices.h): made before the first step, the same on
 * all ranks, kept in RUN/kernels.txt and in every checkpoint, so that a run goes on with them
 * whatever a clock would say then. On the CPU there are none. All calls are collective but
 * dl_kernels_text and dl_kernels_restore, which rank 0 makes alone. */
#ifndef DL_LAUNCHER_KERNELS_H
#define DL_LAUNCHER_KERNELS_H

#include "launcher/session.h"

/* What the job asks for, when the device is open. */
void dl_kernels_begin(dl_session *session);

/* The variants of a program for batches of `batch` and, if not 0, `last` samples. Where kernels are
 * timed rank 0 goes first, for the shapes of all ranks, and the others take what it has chosen.
 * `opened`: the status of opening exec, agreed upon here. New choices are written to the folder. */
dl_status dl_kernels_prepare(dl_session *session, dl_exec *exec, dl_status opened, int64_t batch,
                             int64_t last);

/* Text for a checkpoint (dl_free), NULL: none; and from one, whose choices go before those of
 * the folder. */
dl_status dl_kernels_text(const dl_session *session, char **text);
dl_status dl_kernels_restore(dl_session *session, const char *text, const char *name);
/* The choices of `folder`'s run and those restored, to all ranks; new ones are written there from
 * now on if `keep`. */
dl_status dl_kernels_open(dl_session *session, const char *folder, bool keep);

#endif
