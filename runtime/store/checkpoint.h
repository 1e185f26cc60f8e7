/* Checkpoints: FOLDER/step-00000123/ with
 *
 *   tensors.bin    the values of all tensors, each at a multiple of 64 bytes, row-major
 *   state.json     named integers, doubles (hexadecimal, so that bits come back) and texts
 *   manifest.json  the step, whether it is the best so far, size and digest (file.h) of both files,
 *                  the table of tensors; its first line has the digest of its own other lines
 *
 * It is written aside, flushed, read back and compared, and only then renamed into place; the old
 * ones go last. So a process that dies at any moment leaves the checkpoint before or the new one.
 * The newest is found by looking, not by a pointer: the highest step whose digests are right. One
 * writer at a time (run_folder.h holds the lock). Nothing here knows the number of ranks. */
#ifndef DL_STORE_CHECKPOINT_H
#define DL_STORE_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/memory.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"
#include "runtime/store/file.h"

/* Writing. Tensors are on their way to the disk when the call returns: `data` may change then.
 * Names are UTF-8 and given once (DL_INTERNAL otherwise). After a failed call only abandon is of
 * use; the checkpoints that were there are untouched. */
typedef struct dl_checkpoint_writer dl_checkpoint_writer;

dl_status dl_checkpoint_begin(dl_checkpoint_writer **out, const char *folder, int64_t step);
dl_status dl_checkpoint_tensor(dl_checkpoint_writer *writer, const char *name, const dl_type *type,
                               const void *data);
dl_status dl_checkpoint_int(dl_checkpoint_writer *writer, const char *name, int64_t value);
dl_status dl_checkpoint_number(dl_checkpoint_writer *writer, const char *name, double value);
dl_status dl_checkpoint_text(dl_checkpoint_writer *writer, const char *name, const char *value);

/* Makes the checkpoint real, then removes all older ones but the `keep` newest (this one counts, at
 * least 1) and the newest that was committed as `best`. Frees the writer in any case. DL_NO_WRITE:
 * nothing was saved, unless the message says that it is only an old one that could not go. */
dl_status dl_checkpoint_commit(dl_checkpoint_writer *writer, int keep, bool best);
void dl_checkpoint_abandon(dl_checkpoint_writer *writer); /* NULL is allowed */

/* Reading. An opened checkpoint has been read once and compared with its digests. */
typedef struct dl_checkpoint_entry {
    const char *name;
    dl_type type;
    int64_t offset; /* in tensors.bin */
} dl_checkpoint_entry;

typedef struct dl_checkpoint {
    dl_arena arena;
    const char *path;
    int64_t step;
    bool best;
    dl_checkpoint_entry *tensor; /* in the order of writing */
    int tensor_count;
    void *state; /* values by name */
    int fd;      /* of tensors.bin */
} dl_checkpoint;

/* The newest whole checkpoint; *out is NULL and the result DL_OK when there is none. One that does
 * not verify is left where it is and named to `warn` (which may be NULL). */
dl_status dl_checkpoint_latest(const char *folder, dl_checkpoint **out, dl_warn_fn warn, void *arg);
/* The newest whole one that was committed as best, same rules. */
dl_status dl_checkpoint_best(const char *folder, dl_checkpoint **out, dl_warn_fn warn, void *arg);
/* The checkpoint in folder `path`; DL_NO_INPUT with what is wrong. */
dl_status dl_checkpoint_open(const char *path, dl_checkpoint **out);
void dl_checkpoint_close(dl_checkpoint *checkpoint); /* NULL is allowed */

const dl_checkpoint_entry *dl_checkpoint_find(const dl_checkpoint *checkpoint, const char *name);
/* Values of the tensor, which must be of this type. */
dl_status dl_checkpoint_read(const dl_checkpoint *checkpoint, const char *name, const dl_type *type,
                             void *data);
/* DL_NO_INPUT when there is no such value or it is of another kind. */
dl_status dl_checkpoint_get_int(const dl_checkpoint *checkpoint, const char *name, int64_t *value);
dl_status dl_checkpoint_get_number(const dl_checkpoint *checkpoint, const char *name,
                                   double *value);
dl_status dl_checkpoint_get_text(const dl_checkpoint *checkpoint, const char *name,
                                 const char **value); /* lives as long as the checkpoint */
bool dl_checkpoint_has(const dl_checkpoint *checkpoint, const char *name);

/* For the writer: reads the digest line and the JSON of a manifest; a json_t in *manifest. */
dl_status dl_checkpoint_manifest(const char *path, void **manifest);
/* Step of a folder name like step-00000123, or -1. */
int64_t dl_checkpoint_step_of(const char *name);

#endif
