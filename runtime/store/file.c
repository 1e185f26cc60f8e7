/* Checked system calls on files, with the faults that the tests ask for. See file.h. */
#include "runtime/store/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/hash.h"
#include "runtime/base/memory.h"

static _Thread_local struct {
    uint64_t made, failing;
    int error;
    bool lasting;
} faults;

uint64_t dl_file_fail_after(uint64_t n, int error, bool lasting) {
    uint64_t made = faults.made;
    faults.made = 0;
    faults.failing = n;
    faults.error = error;
    faults.lasting = lasting;
    return made;
}

/* Whether this call is one that a test wants to fail; errno is set then. */
static bool faulty(void) {
    faults.made++;
    if (faults.failing == 0 || faults.made < faults.failing ||
        (faults.made > faults.failing && !faults.lasting))
        return false;
    errno = faults.error;
    return true;
}

static dl_status cannot(const char *what, const char *path) {
    return dl_fail(DL_NO_WRITE, "cannot %s '%s': %s", what, path, strerror(errno));
}

dl_status dl_path_join(char path[DL_PATH_MAX], const char *folder, const char *name) {
    int length = snprintf(path, DL_PATH_MAX, "%s/%s", folder, name);
    if (length < 0 || length >= DL_PATH_MAX)
        return dl_fail(DL_NO_WRITE, "the path '%.80s.../%.80s' is too long", folder, name);
    return DL_OK;
}

dl_status dl_file_create(const char *path, mode_t mode, int *fd) {
    *fd = faulty() ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    return *fd < 0 ? cannot("create", path) : DL_OK;
}

dl_status dl_file_append(const char *path, mode_t mode, int *fd) {
    *fd = faulty() ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, mode);
    return *fd < 0 ? cannot("open", path) : DL_OK;
}

dl_status dl_file_write(int fd, const char *path, const void *bytes, size_t count) {
    const char *at = bytes;
    while (count > 0) {
        ssize_t written = faulty() ? -1 : write(fd, at, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return cannot("write", path);
        at += written;
        count -= (size_t)written;
    }
    return DL_OK;
}

dl_status dl_file_sync(int fd, const char *path) {
    return faulty() || fsync(fd) != 0 ? cannot("flush", path) : DL_OK;
}

dl_status dl_file_truncate(const char *path, int64_t bytes) {
    return faulty() || truncate(path, (off_t)bytes) != 0 ? cannot("shorten", path) : DL_OK;
}

dl_status dl_file_close(int fd, const char *path) {
    int result = close(fd);
    return faulty() || (result != 0 && errno != EINTR) ? cannot("close", path) : DL_OK;
}

dl_status dl_file_rename(const char *from, const char *to) {
    if (faulty() || rename(from, to) != 0)
        return dl_fail(DL_NO_WRITE, "cannot rename '%s' to '%s': %s", from, to, strerror(errno));
    return DL_OK;
}

dl_status dl_file_rename_new(const char *from, const char *to) {
    bool failed = faulty();
    if (!failed && renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) != 0) {
        struct stat info;
        failed = true;
        if (errno == EINVAL || errno == ENOSYS) { /* a file system without this */
            if (lstat(to, &info) == 0)
                errno = EEXIST;
            else
                failed = rename(from, to) != 0;
        }
    }
    if (failed)
        return dl_fail(DL_NO_WRITE, "cannot rename '%s' to '%s': %s", from, to, strerror(errno));
    return DL_OK;
}

dl_status dl_file_swap(const char *a, const char *b, bool *swapped) {
    *swapped = !faulty() && renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0;
    if (*swapped || errno == EINVAL || errno == ENOSYS)
        return DL_OK;
    return dl_fail(DL_NO_WRITE, "cannot put '%s' in the place of '%s': %s", a, b, strerror(errno));
}

dl_status dl_file_remove(const char *path) {
    return faulty() || (unlink(path) != 0 && errno != ENOENT) ? cannot("remove", path) : DL_OK;
}

static dl_status parent_of(const char *path, char parent[DL_PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 1;
    if (length >= DL_PATH_MAX)
        return dl_fail(DL_NO_WRITE, "the path '%.80s...' is too long", path);
    memcpy(parent, slash ? path : ".", length);
    parent[length] = '\0';
    if (length == 0)
        memcpy(parent, "/", 2);
    return DL_OK;
}

dl_status dl_file_may_replace(const char *path) {
    char parent[DL_PATH_MAX];
    DL_TRY(parent_of(path, parent));
    return access(parent, W_OK | X_OK) != 0 ? cannot("write", path) : DL_OK;
}

dl_status dl_file_replace(const char *path, mode_t mode, const void *bytes, size_t count) {
    char parent[DL_PATH_MAX], aside[DL_PATH_MAX];
    DL_TRY(parent_of(path, parent));
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int length = snprintf(aside, sizeof aside, "%s/.tmp-%s-%ld", parent, name, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof aside)
        return dl_fail(DL_NO_WRITE, "the path '%.80s...' is too long", path);
    unlink(aside); /* of a process that died and had our number */
    int fd;
    dl_status status = DL_OK;
    DL_TRY(dl_file_create(aside, mode, &fd));
    status = dl_file_write(fd, path, bytes, count);
    if (status == DL_OK)
        status = dl_file_sync(fd, path);
    if (status == DL_OK)
        status = dl_file_close(fd, path);
    else
        close(fd);
    if (status == DL_OK)
        status = dl_file_rename(aside, path);
    if (status != DL_OK) {
        unlink(aside);
        return status;
    }
    return dl_folder_sync(parent);
}

dl_status dl_folder_make(const char *path, mode_t mode) {
    char part[DL_PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return dl_fail(DL_NO_WRITE, "'%.80s' is no path for a folder", path);
    memcpy(part, path, length + 1);
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char end = *at;
        *at = '\0';
        struct stat info;
        if (stat(part, &info) != 0) {
            if (faulty() || (mkdir(part, mode) != 0 && errno != EEXIST))
                return cannot("make folder", part);
        } else if (!S_ISDIR(info.st_mode)) {
            return dl_fail(DL_NO_WRITE, "cannot make folder '%s': '%s' is a file", path, part);
        }
        *at = end;
        if (end == '\0')
            return DL_OK;
    }
}

dl_status dl_folder_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cannot("open folder", path);
    /* Some network file systems cannot flush folders; they answer EINVAL. */
    bool failed = faulty() || (fsync(fd) != 0 && errno != EINVAL);
    dl_status status = failed ? cannot("flush folder", path) : DL_OK;
    close(fd);
    return status;
}

dl_status dl_folder_remove(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? DL_OK : cannot("open folder", path);
    DIR *folder = fdopendir(fd);
    if (!folder) {
        dl_status status = cannot("read folder", path);
        close(fd);
        return status;
    }
    dl_status status = DL_OK;
    for (struct dirent *entry; status == DL_OK && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (faulty() || unlinkat(fd, entry->d_name, 0) != 0)
            status = dl_fail(DL_NO_WRITE, "cannot remove '%s/%s': %s", path, entry->d_name,
                             strerror(errno));
    }
    closedir(folder);
    if (status == DL_OK && (faulty() || rmdir(path) != 0))
        status = cannot("remove folder", path);
    return status;
}

dl_status dl_file_open(const char *path, int *fd, int64_t *bytes) {
    struct stat info;
    /* O_NONBLOCK: a pipe in the place of the file must not make us wait. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*fd < 0)
        return dl_fail(DL_NO_INPUT, "cannot open '%s': %s", path, strerror(errno));
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(*fd);
        *fd = -1;
        return dl_fail(DL_NO_INPUT, "'%s' is not a file", path);
    }
    *bytes = (int64_t)info.st_size;
    return DL_OK;
}

dl_status dl_file_read_at(int fd, const char *path, int64_t offset, void *bytes, size_t count) {
    char *at = bytes;
    while (count > 0) {
        ssize_t got = pread(fd, at, count, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return dl_fail(DL_NO_INPUT, "cannot read '%s': %s", path, strerror(errno));
        if (got == 0)
            return dl_fail(DL_NO_INPUT, "'%s' ends too early, at byte %lld", path,
                           (long long)offset);
        at += got;
        offset += got;
        count -= (size_t)got;
    }
    return DL_OK;
}

dl_status dl_file_read(const char *path, int64_t most, char **bytes, size_t *count) {
    int fd;
    int64_t size;
    dl_status status;
    *bytes = NULL;
    DL_TRY(dl_file_open(path, &fd, &size));
    if (size > most) {
        status = dl_fail(DL_NO_INPUT, "'%s' has %lld bytes, more than the %lld that it may have",
                         path, (long long)size, (long long)most);
        goto out;
    }
    char *block = dl_alloc((size_t)size + 1);
    if (!block) {
        status = dl_fail_memory((size_t)size + 1);
        goto out;
    }
    status = dl_file_read_at(fd, path, 0, block, (size_t)size);
    if (status != DL_OK) {
        dl_free(block);
        goto out;
    }
    *bytes = block;
    *count = (size_t)size;
out:
    close(fd);
    return status;
}

dl_status dl_file_digest(int fd, const char *path, int64_t bytes, uint64_t *digest) {
    char *block = dl_alloc(DL_DIGEST_BLOCK);
    if (!block)
        return dl_fail_memory(DL_DIGEST_BLOCK);
    dl_status status = DL_OK;
    uint64_t sum = 0;
    for (int64_t at = 0; at < bytes; at += DL_DIGEST_BLOCK) {
        size_t part = bytes - at < DL_DIGEST_BLOCK ? (size_t)(bytes - at) : DL_DIGEST_BLOCK;
        DL_GOTO(out, dl_file_read_at(fd, path, at, block, part));
        sum = dl_hash(block, part, sum);
    }
    *digest = sum;
out:
    dl_free(block);
    return status;
}
