/* Shared anonymous files. See share.h. */
#include "comm/share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

dl_status dl_share_make(size_t bytes, int *fd, dl_share_name *name) {
    struct stat info;
    *fd = memfd_create("dltrain", MFD_CLOEXEC);
    if (*fd < 0 || ftruncate(*fd, (off_t)bytes) != 0 || fstat(*fd, &info) != 0) {
        int error = errno;
        dl_share_shut(*fd);
        *fd = -1;
        return dl_fail(DL_UNAVAILABLE, "could not make %zu bytes of shared memory: %s", bytes,
                       strerror(error));
    }
    *name = (dl_share_name){.pid = getpid(), .fd = *fd, .inode = (uint64_t)info.st_ino};
    return DL_OK;
}

dl_status dl_share_find(const dl_share_name *name, int *fd) {
    char path[64];
    struct stat info;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)name->pid, (int)name->fd);
    *fd = open(path, O_RDWR | O_CLOEXEC);
    if (*fd < 0)
        return dl_fail(DL_UNAVAILABLE, "could not open the shared memory %s of another rank: %s",
                       path, strerror(errno));
    if (fstat(*fd, &info) != 0 || (uint64_t)info.st_ino != name->inode) {
        dl_share_shut(*fd);
        *fd = -1;
        return dl_fail(DL_UNAVAILABLE,
                       "%s is not the shared memory of the other rank; do the ranks run in "
                       "different containers?",
                       path);
    }
    return DL_OK;
}

dl_status dl_share_reserve(int fd, size_t offset, size_t bytes) {
    if (bytes == 0)
        return DL_OK;
    int error;
    do
        error = fallocate(fd, 0, (off_t)offset, (off_t)bytes) == 0 ? 0 : errno;
    while (error == EINTR);
    if (error != 0)
        return dl_fail(DL_NO_MEMORY, "could not have %zu bytes of shared memory: %s", bytes,
                       strerror(error));
    return DL_OK;
}

dl_status dl_share_map(int fd, size_t bytes, void **out) {
    *out = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*out == MAP_FAILED) {
        *out = NULL;
        return dl_fail(DL_NO_MEMORY, "could not map %zu bytes of shared memory: %s", bytes,
                       strerror(errno));
    }
    madvise(*out, bytes, MADV_HUGEPAGE); /* where the host allows it; refusal costs only speed */
    return DL_OK;
}

void dl_share_unmap(void *map, size_t bytes) {
    if (map)
        munmap(map, bytes);
}

void dl_share_shut(int fd) {
    if (fd >= 0)
        close(fd);
}
