/* Run folders: new, resumed, refused, moved aside, locked; nothing of an earlier run is lost. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

#include "runtime/base/memory.h"
#include "runtime/store/json.h"
#include "runtime/store/run_folder.h"
#include "tests/unit/check.h"

static char output[64];
static char warning[1024];

static void collect(void *arg, const char *text) {
    (void)arg;
    snprintf(warning, sizeof warning, "%s", text);
}

static void enter(void) {
    snprintf(output, sizeof output, "/tmp/dl-run-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(output));
}

static void leave(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", output);
    CU_ASSERT_EQUAL(system(command), 0);
}

static dl_status open_run(dl_run_folder *folder, const char *job, bool fresh) {
    return dl_run_folder_open(folder, output, "mnist", job, fresh, collect, NULL);
}

static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", output, name);
    CHECK_OK(dl_file_replace(path, 0666, text, strlen(text)));
}

static bool has(const char *name, const char *text) {
    char path[256];
    char *bytes;
    size_t count;
    snprintf(path, sizeof path, "%s/%s", output, name);
    if (dl_file_read(path, 100000, &bytes, &count) != DL_OK)
        return false;
    bool same = strcmp(bytes, text) == 0;
    dl_free(bytes);
    return same;
}

static void test_resume(void) {
    dl_run_folder folder;
    enter();
    CHECK_OK(open_run(&folder, "a: 1\nb: 2\n", false));
    CU_ASSERT_FALSE(folder.resumed);
    CU_ASSERT(has("mnist/job.yaml", "a: 1\nb: 2\n"));
    put("mnist/log.csv", "epoch\r\n");
    dl_run_folder_close(&folder);
    dl_run_folder_close(&folder);
    CHECK_OK(open_run(&folder, "a: 1\nb: 2\n", false));
    CU_ASSERT(folder.resumed);
    dl_run_folder_close(&folder);
    CHECK_FAILS(open_run(&folder, "a: 1\nb: 3\n", false), DL_BAD_JOB,
                "line 2 of its job.yaml was 'b: 2', is 'b: 3'");
    CHECK_FAILS(open_run(&folder, "a: 1\nb: 2\nc: 1\n", false), DL_BAD_JOB, "was '', is 'c: 1'");
    CHECK_FAILS(open_run(&folder, "a: 1\nb: 2", false), DL_BAD_JOB, "line 2");
    char *text;
    CHECK_OK(dl_run_folder_job(output, "mnist", &text));
    CU_ASSERT_STRING_EQUAL(text, "a: 1\nb: 2\n");
    dl_free(text);
    leave();
}

static void test_fresh(void) {
    dl_run_folder folder;
    enter();
    CHECK_OK(open_run(&folder, "one", true)); /* nothing to move */
    dl_run_folder_close(&folder);
    CHECK_OK(open_run(&folder, "two", true));
    CU_ASSERT_FALSE(folder.resumed);
    CU_ASSERT_PTR_NOT_NULL(strstr(warning, "mnist.1"));
    dl_run_folder_close(&folder);
    CHECK_OK(open_run(&folder, "three", true));
    CU_ASSERT(has("mnist.1/job.yaml", "one") && has("mnist.2/job.yaml", "two") &&
              has("mnist/job.yaml", "three"));
    dl_run_folder other; /* a living run is not pulled away */
    CHECK_FAILS(open_run(&other, "four", true), DL_NO_WRITE, "in use by another run: process");
    CU_ASSERT(has("mnist/job.yaml", "three"));
    dl_run_folder_close(&folder);
    leave();
}

static void test_refusals(void) {
    static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "../x"};
    dl_run_folder folder;
    enter();
    for (int i = 0; i < DL_COUNT(names); i++)
        CHECK_FAILS(dl_run_folder_open(&folder, output, names[i], "job", false, NULL, NULL),
                    DL_BAD_JOB, "cannot name a folder");
    char path[128];
    snprintf(path, sizeof path, "%s/mnist", output);
    mkdir(path, 0777);
    put("mnist/thesis.txt", "mine");
    CHECK_FAILS(open_run(&folder, "job", false), DL_NO_WRITE, "is no run of dltrain");
    CU_ASSERT(has("mnist/thesis.txt", "mine"));
    CHECK_OK(open_run(&folder, "job", true));
    CU_ASSERT(has("mnist.1/thesis.txt", "mine"));
    dl_run_folder_close(&folder);
    put("file", "x");
    snprintf(path, sizeof path, "%s/file", output);
    CHECK_FAILS(dl_run_folder_open(&folder, path, "run", "job", false, NULL, NULL), DL_NO_WRITE,
                "is a file");
    leave();
}

static void test_lock(void) {
    dl_run_folder folder;
    enter();
    int ready[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        char answer = open_run(&folder, "job", false) == DL_OK ? 'y' : 'n';
        if (write(ready[1], &answer, 1) == 1)
            pause();
        _exit(0);
    }
    char answer = 0, want[64];
    CU_ASSERT_EQUAL(read(ready[0], &answer, 1), 1);
    CU_ASSERT_EQUAL(answer, 'y');
    snprintf(want, sizeof want, "process %ld on this host", (long)child);
    CHECK_FAILS(open_run(&folder, "job", false), DL_NO_WRITE, want);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_OK(open_run(&folder, "job", false)); /* the lock died with it */
    /* The same, held from elsewhere. */
    char path[128];
    snprintf(path, sizeof path, "%s/mnist/.lock", output);
    FILE *words = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(words);
    fputs("far-away 77 2026-01-01T00:00:00Z\n", words);
    fclose(words);
    dl_run_folder other;
    CHECK_FAILS(open_run(&other, "job", false), DL_NO_WRITE,
                "on another host: process 77 on far-away");
    dl_run_folder_close(&folder);
    close(ready[0]);
    close(ready[1]);
    leave();
}

static void test_status(void) {
    dl_run_folder folder;
    enter();
    CHECK_OK(open_run(&folder, "job", false));
    dl_run_status status = {.state = "stopped",
                            .epoch = 3,
                            .step = 1407,
                            .exit_code = 75,
                            .message = "signal 15 \"TERM\" \x80\n"};
    CHECK_OK(dl_run_folder_status(&folder, &status));
    char path[128];
    char *text;
    size_t count;
    json_t *root;
    snprintf(path, sizeof path, "%s/mnist/status.json", output);
    CHECK_OK(dl_file_read(path, 10000, &text, &count));
    CHECK_OK(dl_json_read(path, text, count, &root));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(root, "step")), 1407);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(root, "state")), "stopped");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(root, "message")),
                           "signal 15 \"TERM\" ?\n");
    json_decref(root);
    dl_file_fail_after(1, ENOSPC, true);
    CHECK_FAILS(dl_run_folder_status(&folder, &status), DL_NO_WRITE, "No space left");
    dl_file_fail_after(0, 0, false);
    CU_ASSERT(has("mnist/status.json", text));
    dl_free(text);
    dl_run_folder_close(&folder);
    leave();
}

/* Whatever fails while the old run is moved aside, the old run is whole somewhere. */
static void test_faults(void) {
    for (uint64_t n = 1;; n++) {
        dl_run_folder folder;
        enter();
        CHECK_OK(open_run(&folder, "old", false));
        dl_run_folder_close(&folder);
        dl_file_fail_after(n, EIO, true);
        dl_status status = open_run(&folder, "new", true);
        bool fired = dl_file_fail_after(0, 0, false) >= n;
        CU_ASSERT(status == DL_NO_WRITE || !fired);
        CU_ASSERT(has("mnist/job.yaml", "old") || has("mnist.1/job.yaml", "old"));
        dl_run_folder_close(&folder);
        leave();
        if (!fired) {
            CHECK_OK(status);
            CU_ASSERT(n > 5);
            break;
        }
    }
}

void suite_run_folder(void) {
    CU_pSuite suite = CU_add_suite("run folder", NULL, NULL);
    CU_add_test(suite, "begin and resume", test_resume);
    CU_add_test(suite, "fresh moves aside", test_fresh);
    CU_add_test(suite, "refusals", test_refusals);
    CU_add_test(suite, "one run at a time", test_lock);
    CU_add_test(suite, "status.json", test_status);
    CU_add_test(suite, "every fault of the disk", test_faults);
}
