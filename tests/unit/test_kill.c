/* A process that saves checkpoints is killed (SIGKILL) at any moment: the newest whole checkpoint
 * is never older than the last one that the process was told is safe, and nothing is damaged. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/store/checkpoint.h"
#include "tests/unit/check.h"

enum { ROUNDS = 30, VALUES = 100000 };

static void fill(float *values, int64_t step) {
    for (int i = 0; i < VALUES; i++)
        values[i] = (float)(step * 7 + i % 1000);
}

static dl_status save(const char *folder, float *values, int64_t step) {
    const dl_type type = DL_TYPE(DL_F32, VALUES);
    dl_checkpoint_writer *writer;
    fill(values, step);
    DL_TRY(dl_checkpoint_begin(&writer, folder, step));
    dl_status status = dl_checkpoint_tensor(writer, "weights", &type, values);
    if (status == DL_OK)
        status = dl_checkpoint_int(writer, "square", step * step);
    if (status == DL_OK)
        return dl_checkpoint_commit(writer, 2, step % 5 == 0);
    dl_checkpoint_abandon(writer);
    return status;
}

/* Saves one after another until it is killed; *safe is the last one that was committed. */
static void save_forever(const char *folder, float *values, int64_t step, volatile int64_t *safe) {
    for (;; step++) {
        if (save(folder, values, step) != DL_OK) {
            fprintf(stderr, "%s\n", dl_message());
            _exit(1);
        }
        *safe = step;
    }
}

static void count_warning(void *count, const char *text) {
    printf("%s\n", text);
    ++*(int *)count;
}

/* The newest checkpoint is whole, and its values are those of its step. */
static int64_t newest_step(const char *folder, float *values, float *want) {
    const dl_type type = DL_TYPE(DL_F32, VALUES);
    dl_checkpoint *checkpoint;
    int warnings = 0;
    int64_t square = -1, step = -1;
    if (!CHECK_OK(dl_checkpoint_latest(folder, &checkpoint, count_warning, &warnings)))
        return -1;
    CU_ASSERT_EQUAL(warnings, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(checkpoint);
    step = checkpoint->step;
    CHECK_OK(dl_checkpoint_get_int(checkpoint, "square", &square));
    CHECK_OK(dl_checkpoint_read(checkpoint, "weights", &type, values));
    fill(want, step);
    CU_ASSERT_EQUAL(square, step * step);
    CU_ASSERT_EQUAL(memcmp(values, want, VALUES * sizeof *want), 0);
    dl_checkpoint_close(checkpoint);
    return step;
}

/* Names in the folder; checkpoints are counted apart. */
static int list(const char *folder, int *checkpoints) {
    int others = 0;
    DIR *listing = opendir(folder);
    *checkpoints = 0;
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            *checkpoints += dl_checkpoint_step_of(entry->d_name) >= 0;
            others += dl_checkpoint_step_of(entry->d_name) < 0;
        }
    if (listing)
        closedir(listing);
    return others;
}

static void test_kill(void) {
    char folder[] = "/tmp/dltests-kill-XXXXXX", command[64];
    volatile int64_t *safe =
        mmap(NULL, sizeof *safe, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    float *values = dl_alloc(VALUES * sizeof *values), *want = dl_alloc(VALUES * sizeof *want);
    CU_ASSERT_FATAL(safe != MAP_FAILED && values && want && mkdtemp(folder));
    double started = dl_seconds();
    CHECK_OK(save(folder, values, 0));
    /* How long a process may live: every moment of a save, or of the one after, is among them. */
    unsigned int longest = (unsigned int)((dl_seconds() - started) * 1.5e6) + 1000;
    longest = longest < 500000 ? longest : 500000;
    *safe = 0;
    unsigned int random = 1;
    int64_t step = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = fork();
        if (child == 0)
            save_forever(folder, values, step + 1, safe);
        CU_ASSERT_FATAL(child > 0);
        /* Every other one gets to save something first, however slow the disk. */
        for (int i = 0; round % 2 && *safe == step && i < 10000; i++)
            usleep(1000);
        usleep((useconds_t)((unsigned int)rand_r(&random) % longest));
        kill(child, SIGKILL);
        int result = 0;
        CU_ASSERT_EQUAL(waitpid(child, &result, 0), child);
        CU_ASSERT(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
        step = newest_step(folder, values, want);
        CU_ASSERT(step == *safe || step == *safe + 1); /* killed between placing and saying so */
        *safe = step;
    }
    printf("    %d processes killed, %lld checkpoints saved\n", ROUNDS, (long long)step);
    CU_ASSERT(step >= ROUNDS / 2); /* they were killed at work */
    /* What the killed ones left behind goes with the next that lives. */
    int checkpoints;
    CHECK_OK(save(folder, values, step + 1));
    CU_ASSERT_EQUAL(list(folder, &checkpoints), 0);
    CU_ASSERT(checkpoints == 2 || checkpoints == 3); /* and the best */
    munmap((void *)(uintptr_t)safe, sizeof *safe);
    dl_free(want);
    dl_free(values);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

void suite_kill(void) {
    CU_pSuite suite = CU_add_suite("kill", NULL, NULL);
    CU_add_test(suite, "killed while it saves", test_kill);
}
