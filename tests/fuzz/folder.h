/* A folder for the files of a fuzz target that reads them by name: in memory where the system has
 * such a place, one for each process, removed at its end. */
#ifndef DL_FUZZ_FOLDER_H
#define DL_FUZZ_FOLDER_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/store/file.h"

static char fuzz_folder_path[64];
static pid_t fuzz_folder_owner;

static inline void fuzz_folder_remove(void) {
    if (getpid() == fuzz_folder_owner && dl_folder_remove(fuzz_folder_path) != DL_OK)
        fprintf(stderr, "%s\n", dl_message());
}

static inline const char *fuzz_folder(void) {
    if (*fuzz_folder_path)
        return fuzz_folder_path;
    snprintf(fuzz_folder_path, sizeof fuzz_folder_path, "%s/dltrain-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(fuzz_folder_path))
        abort();
    fuzz_folder_owner = getpid();
    atexit(fuzz_folder_remove);
    return fuzz_folder_path;
}

/* Path of the file NAME in the folder, which has these bytes now. */
static inline const char *fuzz_put(const char *name, const void *bytes, size_t count) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, bytes, count) != (ssize_t)count || close(file) != 0)
        abort();
    return path;
}

#endif
