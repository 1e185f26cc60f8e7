/* The folder of a run: OUTPUT/NAME/ with job.yaml (resolved), status.json, checkpoints/ and what
 * runtime/report writes. One process (rank 0) holds it, by a lock on OUTPUT/NAME/.lock that ends
 * with the process; old runs are moved aside (NAME.1, NAME.2, ...), never deleted. */
#ifndef DL_STORE_RUN_FOLDER_H
#define DL_STORE_RUN_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/store/file.h"

typedef struct dl_run_folder {
    char path[DL_PATH_MAX];        /* OUTPUT/NAME */
    char checkpoints[DL_PATH_MAX]; /* OUTPUT/NAME/checkpoints, not yet made */
    bool resumed;                  /* job.yaml was there and is the same */
    int lock;
} dl_run_folder;

/* Makes or enters the folder and locks it. `job` is the text of the resolved job: it is written for
 * a new run and compared for an old one.
 *   DL_BAD_JOB   the name is no name of a folder; or the run was begun with another job: the
 * message gives the first line that differs (dl_run_folder_job has the whole) DL_NO_WRITE  it
 * cannot be written, another run holds it (which, and on which host), or something that is no run
 * lies there `fresh` moves an old run aside first; a warning says where to. */
dl_status dl_run_folder_open(dl_run_folder *folder, const char *output, const char *name,
                             const char *job, bool fresh, dl_warn_fn warn, void *arg);
/* The same job, written otherwise: its job.yaml anew. */
dl_status dl_run_folder_rewrite(const dl_run_folder *folder, const char *job);
void dl_run_folder_close(dl_run_folder *folder); /* a zeroed or closed one is allowed */

/* The text of OUTPUT/NAME/job.yaml, a block of dl_alloc; DL_NO_INPUT if there is none. Needs no
 * lock. */
dl_status dl_run_folder_job(const char *output, const char *name, char **text);

/* Replaces status.json. */
typedef struct dl_run_status {
    const char *state; /* "running", "done", "failed", "stopped" */
    int64_t epoch, step;
    int exit_code;           /* meaningful unless running */
    const char *message;     /* for a person; NULL: none */
    const char *weights;     /* digest of the final weights; NULL: not yet */
    const char *const *name; /* [value_count] final values */
    const double *value;
    int value_count;
} dl_run_status;
dl_status dl_run_folder_status(const dl_run_folder *folder, const dl_run_status *status);

#endif
