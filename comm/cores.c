/* Dividing a host's processors among its ranks. What the user allows is the mask of the launcher
 * above this process (its own binding of this rank set aside), further limited by the container's
 * share of time. See cores.h. */
#include "comm/cores.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/device/comm.h"

/* Name and parent of a process, from /proc/PID/stat: "PID (NAME) STATE PARENT ...". */
static bool process_parent(int pid, char name[64], int *parent) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    char *open = strchr(text, '('), *shut = strrchr(text, ')');
    if (!open || !shut || sscanf(shut + 1, " %*c %d", parent) != 1)
        return false;
    snprintf(name, 64, "%.*s", (int)(shut - open - 1), open + 1);
    return true;
}

static bool is_launcher(const char *name) {
    static const char *const names[] = {
        "mpirun", "orterun", "mpiexec",         "orted",         "prterun",
        "prted",  "prte",    "hydra_pmi_proxy", "mpiexec.hydra",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* The mask of the launcher that started this process, perhaps through shells. */
static bool launcher_mask(cpu_set_t *mask) {
    char name[64];
    int pid = getppid(), parent = 0;
    for (int depth = 0; depth < 16 && pid > 0 && process_parent(pid, name, &parent); depth++) {
        if (is_launcher(name))
            return sched_getaffinity(pid, sizeof *mask, mask) == 0;
        pid = parent;
    }
    return false;
}

/* All that the container's cpuset allows: ask for everything, see what was given, go back. */
static bool container_mask(cpu_set_t *mask) {
    cpu_set_t before, all;
    CPU_ZERO(&all);
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        CPU_SET(i, &all);
    if (sched_getaffinity(0, sizeof before, &before) != 0 ||
        sched_setaffinity(0, sizeof all, &all) != 0)
        return false;
    bool got = sched_getaffinity(0, sizeof *mask, mask) == 0;
    return sched_setaffinity(0, sizeof before, &before) == 0 && got;
}

static bool read_number(const char *path, const char *format, long long *first, long long *second) {
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    int found = fscanf(file, format, first, second);
    fclose(file);
    return found == (second ? 2 : 1);
}

/* Processors' worth of time that the control group allows, rounded up; 0: no limit. */
static int time_quota(void) {
    long long quota = 0, period = 0;
    bool found = read_number("/sys/fs/cgroup/cpu.max", "%lld %lld", &quota, &period) ||
                 (read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "%lld", &quota, NULL) &&
                  read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "%lld", &period, NULL));
    if (!found || quota <= 0 || period <= 0) /* "max" and -1 say that there is none */
        return 0;
    return (int)((quota + period - 1) / period);
}

static int topology(int processor, const char *what) {
    char path[128];
    long long value = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", processor, what);
    return read_number(path, "%lld", &value, NULL) ? (int)value : -1;
}

static int by_place(const void *a, const void *b) {
    const dl_processor *x = a, *y = b;
    if (x->package != y->package)
        return x->package < y->package ? -1 : 1;
    if (x->core != y->core)
        return x->core < y->core ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static bool new_core(const dl_processor *processors, int i) {
    return i == 0 || processors[i].package != processors[i - 1].package ||
           processors[i].core != processors[i - 1].core;
}

void dl_cores_divide(dl_processor *processors, int count, int quota, int local_rank, int local_size,
                     int threads, dl_cores *out) {
    *out = (dl_cores){
        .local_rank = local_rank, .local_size = local_size, .allowed = count, .quota = quota};
    CPU_ZERO(&out->mask);
    qsort(processors, (size_t)count, sizeof *processors, by_place);
    int cores = 0;
    for (int i = 0; i < count; i++)
        cores += new_core(processors, i);
    bool whole_cores = cores >= local_size, share = count < local_size;
    int units = whole_cores ? cores : count, first = 0, last = units;
    if (!share)
        dl_leaf_range(units, local_rank, local_size, &first, &last);
    for (int i = 0, unit = -1; i < count; i++) {
        unit += whole_cores ? new_core(processors, i) : 1;
        if (unit >= first && unit < last) {
            CPU_SET((size_t)processors[i].number, &out->mask);
            out->processors++;
        }
    }
    int able = share ? 1 : last - first;
    if (quota > 0) {
        int quota_first, quota_last;
        dl_leaf_range(quota, local_rank, local_size, &quota_first, &quota_last);
        int allowed = quota_last > quota_first ? quota_last - quota_first : 1;
        able = able < allowed ? able : allowed;
    }
    out->threads = threads > 0 ? threads : able;
    out->owned = !share && (quota == 0 || quota >= local_size) && out->threads <= out->processors;
}

/* Whether Slurm has given this task processors of its own. */
static bool bound_by_slurm(void) {
    const char *type = getenv("SLURM_CPU_BIND_TYPE");
    return getenv("SLURM_LOCALID") && type && type[0] != '\0' && strcmp(type, "none") != 0;
}

static dl_status wanted_in_environment(int *threads) {
    const char *text = getenv("DLTRAIN_THREADS");
    if (!text || text[0] == '\0')
        return DL_OK;
    char *end;
    long value = strtol(text, &end, 10);
    if (*end != '\0' || value < 1 || value > 4096)
        return dl_fail(DL_BAD_JOB,
                       "DLTRAIN_THREADS is '%s'; set it to a number of threads from 1 up", text);
    *threads = (int)value;
    return DL_OK;
}

dl_status dl_cores_plan(int local_rank, int local_size, int wanted_threads, dl_cores *out) {
    dl_processor processors[CPU_SETSIZE];
    cpu_set_t mask;
    int count = 0;
    DL_TRY(wanted_in_environment(&wanted_threads));
    bool own = bound_by_slurm();
    bool launched = getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE");
    bool found = launched && (launcher_mask(&mask) || container_mask(&mask));
    if (!found && sched_getaffinity(0, sizeof mask, &mask) != 0)
        return dl_fail(DL_UNAVAILABLE, "could not learn this host's processors: %s",
                       strerror(errno));
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET((size_t)i, &mask)) {
            int package = topology(i, "physical_package_id"), core = topology(i, "core_id");
            processors[count++] = (dl_processor){i, package, core < 0 ? i : core};
        }
    if (count == 0)
        return dl_fail(DL_UNAVAILABLE, "this process is allowed no processor");
    dl_cores_divide(processors, count, time_quota(), own ? 0 : local_rank, own ? 1 : local_size,
                    wanted_threads, out);
    out->local_rank = local_rank;
    out->local_size = local_size;
    return DL_OK;
}

void dl_cores_restart(const dl_cores *cores, char **argv) {
    cpu_set_t bound;
    if (getenv("DLTRAIN_RESTARTED"))
        return;
    bool chosen = getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"); /* by the user: it stays */
    bool spins = !chosen && (!cores->owned || cores->threads > 1);
    bool narrow = cores->owned && sched_getaffinity(0, sizeof bound, &bound) == 0 &&
                  CPU_COUNT(&bound) < cores->threads;
    if (!spins && !narrow)
        return;
    if (setenv("DLTRAIN_RESTARTED", "1", 1) != 0 ||
        (spins && !cores->owned && setenv("OMP_WAIT_POLICY", "passive", 1) != 0) ||
        (spins && cores->owned && setenv("GOMP_SPINCOUNT", "1000", 1) != 0) ||
        (narrow && sched_setaffinity(0, sizeof cores->mask, &cores->mask) != 0))
        return;
    fflush(NULL);
    execv("/proc/self/exe", argv);
    /* No /proc: the run is only slower for it. Our own waiting is passive all the same. */
}

dl_status dl_cores_take(const dl_cores *cores) {
    if (sched_setaffinity(0, sizeof cores->mask, &cores->mask) != 0)
        return dl_fail(DL_UNAVAILABLE, "could not bind to %d processors: %s", cores->processors,
                       strerror(errno));
    return DL_OK;
}

/* "0-3,8" */
static void mask_text(const cpu_set_t *mask, char *text, size_t bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < CPU_SETSIZE && used + 24 < bytes; i++) {
        if (!CPU_ISSET((size_t)i, mask))
            continue;
        int last = i;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET((size_t)last + 1, mask))
            last++;
        int length = last > i
                         ? snprintf(text + used, bytes - used, "%s%d-%d", used ? "," : "", i, last)
                         : snprintf(text + used, bytes - used, "%s%d", used ? "," : "", i);
        used += (size_t)length;
        i = last;
    }
}

const char *dl_cores_text(const dl_cores *cores, char *text) {
    char list[256], limit[64] = "";
    mask_text(&cores->mask, list, sizeof list);
    if (cores->quota > 0)
        snprintf(limit, sizeof limit, " (time of %d)", cores->quota);
    snprintf(text, DL_CORES_TEXT,
             "%d thread%s on processor%s %s of %d%s (rank %d of %d here), waits %s", cores->threads,
             cores->threads == 1 ? "" : "s", cores->processors == 1 ? "" : "s", list,
             cores->allowed, limit, cores->local_rank, cores->local_size,
             cores->owned ? "actively" : "passively");
    return text;
}
