/* See run_folder.h. */
#include "runtime/store/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/memory.h"
#include "runtime/store/json.h"

enum { JOB_MOST = 16 << 20, OWNER_TEXT = 320, ASIDE_MOST = 100000 };

static void host_name(char text[256]) {
    if (gethostname(text, 255) != 0)
        memcpy(text, "unknown", 8);
    text[255] = '\0';
}

static void time_text(char text[32]) {
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* "HOST PID SINCE", as the holder wrote it; false if nobody did, or ended in order. */
static bool read_owner(int fd, char host[256], long *pid, char since[32]) {
    char text[OWNER_TEXT];
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    if (got <= 0)
        return false;
    text[got] = '\0';
    return sscanf(text, "%255s %ld %31s", host, pid, since) == 3;
}

static dl_status held(const char *path, int fd) {
    char host[256], here[256], since[32];
    long pid;
    host_name(here);
    if (!read_owner(fd, host, &pid, since))
        return dl_fail(DL_NO_WRITE, "'%s' is in use by another run", path);
    if (strcmp(host, here) != 0)
        return dl_fail(DL_NO_WRITE,
                       "'%s' is in use by a run on another host: process %ld on %s, since %s; if "
                       "that run has ended, remove '%s/.lock'",
                       path, pid, host, since, path);
    return dl_fail(DL_NO_WRITE, "'%s' is in use by another run: process %ld on this host, since %s",
                   path, pid, since);
}

/* Where the file system has no locks, the words in the file must do. */
static dl_status take_by_words(const char *path, int fd) {
    char host[256], here[256], since[32];
    long pid;
    host_name(here);
    if (!read_owner(fd, host, &pid, since))
        return DL_OK;
    bool dead = strcmp(host, here) == 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
    return dead ? DL_OK : held(path, fd);
}

static dl_status lock(const char *path, int *out) {
    char file[DL_PATH_MAX], host[256], since[32], owner[OWNER_TEXT];
    DL_TRY(dl_path_join(file, path, ".lock"));
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return dl_fail(DL_NO_WRITE, "cannot open '%s': %s", file, strerror(errno));
    dl_status status = DL_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        status = errno == EWOULDBLOCK ? held(path, fd) : take_by_words(path, fd);
    struct stat locked, named;
    if (status == DL_OK && (fstat(fd, &locked) != 0 || stat(file, &named) != 0 ||
                            locked.st_ino != named.st_ino || locked.st_dev != named.st_dev))
        status = dl_fail(DL_NO_WRITE, "'%s' was moved while this run was starting; start it again",
                         path);
    if (status == DL_OK) {
        host_name(host);
        time_text(since);
        int length = snprintf(owner, sizeof owner, "%s %ld %s\n", host, (long)getpid(), since);
        if (ftruncate(fd, 0) != 0)
            status = dl_fail(DL_NO_WRITE, "cannot write '%s': %s", file, strerror(errno));
        else
            status = dl_file_write(fd, file, owner, (size_t)length);
    }
    if (status != DL_OK) {
        close(fd);
        return status;
    }
    *out = fd;
    return DL_OK;
}

static void unlock(int *fd) {
    if (*fd <= 0)
        return;
    if (ftruncate(*fd, 0) != 0) {
        /* The words stay; the lock itself goes with the file handle. */
    }
    close(*fd);
    *fd = 0;
}

/* Whether nothing but the lock and unfinished files of ours is in the folder. */
static bool is_empty(const char *path) {
    bool empty = true;
    DIR *listing = opendir(path);
    if (!listing)
        return false;
    for (struct dirent *entry; (entry = readdir(listing));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, ".lock") != 0 && strncmp(entry->d_name, ".tmp-", 5) != 0)
            empty = false;
    closedir(listing);
    return empty;
}

/* runs/NAME becomes runs/NAME.1, or the next number that is free. */
static dl_status move_aside(const char *path, const char *output, dl_warn_fn warn, void *arg) {
    char aside[DL_PATH_MAX], text[3 * DL_PATH_MAX];
    for (int i = 1; i < ASIDE_MOST; i++) {
        if (snprintf(aside, sizeof aside, "%s.%d", path, i) >= (int)sizeof aside)
            return dl_fail(DL_NO_WRITE, "the path '%.80s...' is too long", path);
        struct stat info;
        if (lstat(aside, &info) == 0)
            continue;
        DL_TRY(dl_file_rename_new(path, aside));
        DL_TRY(dl_folder_sync(output));
        snprintf(text, sizeof text, "the old run '%s' is now '%s'", path, aside);
        if (warn)
            warn(arg, text);
        return DL_OK;
    }
    return dl_fail(DL_NO_WRITE, "'%s' has been moved aside too often; remove old ones", path);
}

/* Names the first line in which two texts differ. */
static dl_status another_job(const char *path, const char *old, const char *now) {
    int line = 1;
    while (true) {
        size_t a = strcspn(old, "\n"), b = strcspn(now, "\n");
        if (a != b || memcmp(old, now, a) != 0 || old[a] != now[b])
            return dl_fail(DL_BAD_JOB,
                           "%s was begun with another job: line %d of its job.yaml was '%.*s', is "
                           "'%.*s'; give this one another name, or start over with --fresh",
                           path, line, (int)(a < 200 ? a : 200), old, (int)(b < 200 ? b : 200),
                           now);
        if (old[a] == '\0')
            return DL_OK; /* equal: not reached by our caller */
        old += a + 1;
        now += b + 1;
        line++;
    }
}

dl_status dl_run_folder_job(const char *output, const char *name, char **text) {
    char path[DL_PATH_MAX], file[DL_PATH_MAX];
    size_t count;
    *text = NULL;
    DL_TRY(dl_path_join(path, output, name));
    DL_TRY(dl_path_join(file, path, "job.yaml"));
    return dl_file_read(file, JOB_MOST, text, &count);
}

static dl_status enter(dl_run_folder *folder, const char *output, const char *name,
                       const char *job) {
    char file[DL_PATH_MAX];
    char *old;
    struct stat info;
    DL_TRY(dl_path_join(file, folder->path, "job.yaml"));
    if (lstat(file, &info) != 0) {
        if (!is_empty(folder->path))
            return dl_fail(DL_NO_WRITE,
                           "'%s' is there and is no run of dltrain (it has no job.yaml); give this "
                           "run another name, or start over with --fresh to move it aside",
                           folder->path);
        DL_TRY(dl_file_replace(file, 0666, job, strlen(job)));
        return dl_folder_sync(output);
    }
    DL_TRY(dl_run_folder_job(output, name, &old));
    folder->resumed = strcmp(old, job) == 0;
    dl_status status = folder->resumed ? DL_OK : another_job(folder->path, old, job);
    dl_free(old);
    return status;
}

dl_status dl_run_folder_open(dl_run_folder *folder, const char *output, const char *name,
                             const char *job, bool fresh, dl_warn_fn warn, void *arg) {
    *folder = (dl_run_folder){.resumed = false};
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') || strlen(name) > 200)
        return dl_fail(DL_BAD_JOB,
                       "'%.220s' cannot name a folder for the run; it may not be "
                       "empty, begin with '.', contain '/' or be very long",
                       name);
    DL_TRY(dl_path_join(folder->path, output, name));
    DL_TRY(dl_path_join(folder->checkpoints, folder->path, "checkpoints"));
    DL_TRY(dl_folder_make(folder->path, 0777));
    DL_TRY(lock(folder->path, &folder->lock));
    dl_status status = DL_OK;
    if (fresh && !is_empty(folder->path)) {
        /* Locked until it has moved: a run that is alive is not pulled away. */
        DL_GOTO(fail, move_aside(folder->path, output, warn, arg));
        unlock(&folder->lock);
        DL_GOTO(fail, dl_folder_make(folder->path, 0777));
        DL_GOTO(fail, lock(folder->path, &folder->lock));
    }
    DL_GOTO(fail, enter(folder, output, name, job));
    return DL_OK;
fail:
    dl_run_folder_close(folder);
    return status;
}

dl_status dl_run_folder_rewrite(const dl_run_folder *folder, const char *job) {
    char file[DL_PATH_MAX];
    DL_TRY(dl_path_join(file, folder->path, "job.yaml"));
    return dl_file_replace(file, 0666, job, strlen(job));
}

void dl_run_folder_close(dl_run_folder *folder) {
    unlock(&folder->lock);
}

dl_status dl_run_folder_status(const dl_run_folder *folder, const dl_run_status *status) {
    char file[DL_PATH_MAX], text[16384], host[256], quoted_host[600], state[128], message[4400],
        when[32];
    DL_TRY(dl_path_join(file, folder->path, "status.json"));
    host_name(host);
    time_text(when);
    dl_json_quote(quoted_host, sizeof quoted_host, host);
    dl_json_quote(state, sizeof state, status->state);
    dl_json_quote(message, sizeof message, status->message ? status->message : "");
    int length = snprintf(text, sizeof text,
                          "{\n \"state\": %s,\n \"epoch\": %" PRId64 ",\n \"step\": %" PRId64
                          ",\n \"exit_code\": %d,\n \"message\": %s,\n \"time\": \"%s\",\n "
                          "\"host\": %s,\n \"process\": %ld",
                          state, status->epoch, status->step, status->exit_code, message, when,
                          quoted_host, (long)getpid());
    if (status->weights)
        length += snprintf(text + length, sizeof text - (size_t)length, ",\n \"weights\": \"%s\"",
                           status->weights);
    for (int i = 0; i < status->value_count; i++) {
        char name[128], value[64];
        dl_json_quote(name, sizeof name, status->name[i]);
        dl_repr(value, sizeof value, status->value[i]);
        const char *quote = isfinite(status->value[i]) ? "" : "\"";
        length += snprintf(text + length, sizeof text - (size_t)length, ",\n %s: %s%s%s", name,
                           quote, value, quote);
    }
    length += snprintf(text + length, sizeof text - (size_t)length, "\n}\n");
    return dl_file_replace(file, 0666, text, (size_t)length);
}
