/* Files that survive a crash: written aside, flushed, renamed into place, their folder flushed.
 *
 * Every call that changes the disk goes through here, is checked, and fails with DL_NO_WRITE, the
 * path and the system's reason; so do the tests' faults (dl_file_fail_after). Reading is bounded:
 * regular files only, no links followed, no more bytes than the caller allows (DL_NO_INPUT).
 * Next: checkpoint.h, run_folder.h. */
#ifndef DL_STORE_FILE_H
#define DL_STORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/status.h"

enum { DL_PATH_MAX = 4096 };

/* Receives a warning for a person; `text` lives until the call returns. */
typedef void (*dl_warn_fn)(void *arg, const char *text);

/* path = "folder/name"; DL_NO_WRITE when it does not fit. */
dl_status dl_path_join(char path[DL_PATH_MAX], const char *folder, const char *name);

/* Opens a new file for writing (DL_NO_WRITE if there is one), or an old or new one for appending.
 */
dl_status dl_file_create(const char *path, mode_t mode, int *fd);
dl_status dl_file_append(const char *path, mode_t mode, int *fd);
dl_status dl_file_write(int fd, const char *path, const void *bytes, size_t count);
dl_status dl_file_sync(int fd, const char *path);
dl_status dl_file_truncate(const char *path, int64_t bytes);
/* Closes in any case and reports what close says. */
dl_status dl_file_close(int fd, const char *path);
dl_status dl_file_rename(const char *from, const char *to);
/* As rename, but DL_NO_WRITE if `to` is there (also an empty folder). */
dl_status dl_file_rename_new(const char *from, const char *to);
/* Changes places of two names in one step, where the file system can (*swapped says so). */
dl_status dl_file_swap(const char *a, const char *b, bool *swapped);
dl_status dl_file_remove(const char *path); /* a file; absent is fine */

/* The whole of a small file, atomically: readers see the old bytes or the new ones. */
dl_status dl_file_replace(const char *path, mode_t mode, const void *bytes, size_t count);
/* Whether that could work, asked before the work for it begins: DL_NO_WRITE if its folder is absent
 * or not ours to write in. */
dl_status dl_file_may_replace(const char *path);

/* The folder and those above it; flushes the names that a rename or a creation changed; removes a
 * folder and the files in it (not folders inside: nothing of ours has them). */
dl_status dl_folder_make(const char *path, mode_t mode);
dl_status dl_folder_sync(const char *path);
dl_status dl_folder_remove(const char *path);

/* Opens a regular file for reading and says how long it is; reads one of at most `most` bytes into
 * a block of dl_alloc, closed by a zero byte that `count` leaves out. */
dl_status dl_file_open(const char *path, int *fd, int64_t *bytes);
dl_status dl_file_read(const char *path, int64_t most, char **bytes, size_t *count);
/* Exactly `count` bytes at `offset`, else DL_NO_INPUT. */
dl_status dl_file_read_at(int fd, const char *path, int64_t offset, void *bytes, size_t count);

/* Digest of a stream: XXH64 of each block of 1 MiB (the last may be shorter), seeded with the
 * digest of the blocks before it; 0 to begin with. */
enum { DL_DIGEST_BLOCK = 1 << 20 };
dl_status dl_file_digest(int fd, const char *path, int64_t bytes, uint64_t *digest);

/* Tests: the n-th call from now on that changes the disk fails with `error` (an errno), and, if
 * `lasting`, all after it, as if the process had died there; n = 0 ends this. Returns how many such
 * calls were made since the last time. */
uint64_t dl_file_fail_after(uint64_t n, int error, bool lasting);

#endif
