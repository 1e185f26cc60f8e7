/* Whether a person's terminal shows what is printed. A launcher may give every process a
 * pseudo-terminal (Open MPI's mpirun does, also where its own output goes to a file or a pipe), so
 * the terminal asked is that of the nearest ancestor whose standard output is another one. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/report/sinks.h"

/* The fourth word of /proc/PID/stat; the second is in parentheses and may hold spaces. 0: unknown.
 */
static long parent_of(long pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *end = strrchr(text, ')');
    return end && strlen(end) > 4 ? strtol(end + 4, NULL, 10) : 0;
}

static bool started_by_launcher(void) {
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("PMIX_RANK");
}

int dl_terminal_open(FILE *out) {
    int fd = out ? fileno(out) : -1; /* -1 too for a stream in memory */
    struct stat ours, theirs;
    if (fd < 0 || !isatty(fd) || fstat(fd, &ours) != 0)
        return -1;
    if (!started_by_launcher())
        return dup(fd);
    for (long pid = parent_of(getpid()); pid > 1; pid = parent_of(pid)) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%ld/fd/1", pid);
        if (stat(path, &theirs) != 0)
            return -1;
        if (S_ISCHR(theirs.st_mode) && theirs.st_rdev == ours.st_rdev)
            continue;
        fd = S_ISCHR(theirs.st_mode) ? open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC) : -1;
        if (fd >= 0 && isatty(fd))
            return fd;
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return -1;
}
