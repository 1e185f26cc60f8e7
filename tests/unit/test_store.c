/* Checkpoints: what comes back, what is refused, what survives. Every write-side call fails once in
 * turn, once as a single fault and once as the end of the process; every byte of every file is
 * damaged in turn; memory runs out at every allocation. */
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/memory.h"
#include "runtime/store/checkpoint.h"
#include "tests/unit/check.h"

static char folder[64];
static char warnings[8192];
static int warned;

static void collect(void *arg, const char *text) {
    (void)arg;
    warned++;
    snprintf(warnings, sizeof warnings, "%s", text);
}

static void enter(void) {
    snprintf(folder, sizeof folder, "/tmp/dl-store-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    warned = 0;
}

static void leave(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static float weight(int64_t step, int i) {
    return (float)(step * 1000 + i) * 0.37f;
}

/* A small checkpoint, all of whose values depend on the step. */
static dl_status save(int64_t step, int keep, bool best) {
    float kernel[15], bias[5];
    dl_checkpoint_writer *writer;
    dl_type matrix = DL_TYPE(DL_F32, 3, 5), vector = DL_TYPE(DL_F32, 5);
    for (int i = 0; i < 15; i++)
        kernel[i] = weight(step, i);
    for (int i = 0; i < 5; i++)
        bias[i] = weight(step, 100 + i);
    dl_status status = dl_checkpoint_begin(&writer, folder, step);
    if (status != DL_OK)
        return status;
    DL_GOTO(fail, dl_checkpoint_tensor(writer, "dense/kernel", &matrix, kernel));
    DL_GOTO(fail, dl_checkpoint_tensor(writer, "dense/bias", &vector, bias));
    DL_GOTO(fail, dl_checkpoint_int(writer, "epoch", step / 10));
    DL_GOTO(fail, dl_checkpoint_number(writer, "loss", 0.1 * (double)step));
    DL_GOTO(fail, dl_checkpoint_text(writer, "stage", "warm \"up\" \xc3\xbc\n"));
    return dl_checkpoint_commit(writer, keep, best);
fail:
    dl_checkpoint_abandon(writer);
    return status;
}

/* Whether an opened checkpoint holds what save(step) wrote. */
static bool holds(const dl_checkpoint *checkpoint, int64_t step) {
    float kernel[15], bias[5];
    dl_type matrix = DL_TYPE(DL_F32, 3, 5), vector = DL_TYPE(DL_F32, 5);
    int64_t epoch;
    double loss;
    const char *stage;
    if (checkpoint->step != step ||
        dl_checkpoint_read(checkpoint, "dense/kernel", &matrix, kernel) != DL_OK ||
        dl_checkpoint_read(checkpoint, "dense/bias", &vector, bias) != DL_OK ||
        dl_checkpoint_get_int(checkpoint, "epoch", &epoch) != DL_OK || epoch != step / 10 ||
        dl_checkpoint_get_number(checkpoint, "loss", &loss) != DL_OK ||
        loss != 0.1 * (double)step ||
        dl_checkpoint_get_text(checkpoint, "stage", &stage) != DL_OK ||
        strcmp(stage, "warm \"up\" \xc3\xbc\n") != 0)
        return false;
    for (int i = 0; i < 15; i++)
        if (kernel[i] != weight(step, i))
            return false;
    for (int i = 0; i < 5; i++)
        if (bias[i] != weight(step, 100 + i))
            return false;
    return true;
}

/* Step of the newest whole checkpoint, -1: none, -2: it does not hold what was written. */
static int64_t latest(void) {
    dl_checkpoint *checkpoint;
    if (!CHECK_OK(dl_checkpoint_latest(folder, &checkpoint, collect, NULL)))
        return -3;
    int64_t step = !checkpoint ? -1 : holds(checkpoint, checkpoint->step) ? checkpoint->step : -2;
    dl_checkpoint_close(checkpoint);
    return step;
}

static bool there(int64_t step) {
    char path[128];
    snprintf(path, sizeof path, "%s/step-%08" PRId64, folder, step);
    return access(path, F_OK) == 0;
}

static void test_round_trip(void) {
    enter();
    CU_ASSERT_EQUAL(latest(), -1);
    CHECK_OK(save(12, 2, false));
    CU_ASSERT_EQUAL(latest(), 12);
    dl_checkpoint *checkpoint;
    CHECK_OK(dl_checkpoint_latest(folder, &checkpoint, NULL, NULL));
    CU_ASSERT_PTR_NOT_NULL_FATAL(checkpoint);
    CU_ASSERT_EQUAL(checkpoint->tensor_count, 2);
    CU_ASSERT_EQUAL(checkpoint->tensor[1].offset % 64, 0);
    CU_ASSERT_STRING_EQUAL(checkpoint->tensor[0].name, "dense/kernel");
    float out[15];
    dl_type wrong = DL_TYPE(DL_F32, 5, 3);
    int64_t integer;
    double number;
    CHECK_FAILS(dl_checkpoint_read(checkpoint, "dense/kernel", &wrong, out), DL_NO_INPUT,
                "is float32 (3, 5), but float32 (5, 3) is wanted");
    CHECK_FAILS(dl_checkpoint_read(checkpoint, "nothing", &wrong, out), DL_NO_INPUT, "no tensor");
    CHECK_FAILS(dl_checkpoint_get_int(checkpoint, "loss", &integer), DL_NO_INPUT, "no integer");
    CHECK_FAILS(dl_checkpoint_get_number(checkpoint, "epoch", &number), DL_NO_INPUT, "no number");
    CU_ASSERT(dl_checkpoint_has(checkpoint, "stage"));
    CU_ASSERT_FALSE(dl_checkpoint_has(checkpoint, "other"));
    dl_checkpoint_close(checkpoint);
    leave();
}

/* Doubles and integers bit for bit, and a tensor longer than a digest block, of another type, empty
 * ones and scalars. */
static void test_values(void) {
    const double hard[] = {0.1,      -0.0,      DBL_MIN,   DBL_TRUE_MIN, DBL_MAX,
                           INFINITY, -INFINITY, 1.0 / 3.0, NAN,          -NAN};
    enter();
    size_t count = 700001;
    int64_t *big = dl_alloc(count * sizeof *big), *back = dl_alloc(count * sizeof *big);
    CU_ASSERT_PTR_NOT_NULL_FATAL(big);
    CU_ASSERT_PTR_NOT_NULL_FATAL(back);
    for (size_t i = 0; i < count; i++)
        big[i] = (int64_t)(i * 2654435761u);
    dl_type type = DL_TYPE(DL_I64, 700001), empty = DL_TYPE(DL_F32, 0, 4), one = DL_SCALAR(DL_F64);
    dl_checkpoint_writer *writer;
    CHECK_OK(dl_checkpoint_begin(&writer, folder, 0));
    CHECK_OK(dl_checkpoint_tensor(writer, "big", &type, big));
    CHECK_OK(dl_checkpoint_tensor(writer, "empty", &empty, big));
    CHECK_OK(dl_checkpoint_tensor(writer, "one", &one, &hard[7]));
    for (int i = 0; i < DL_COUNT(hard); i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        CHECK_OK(dl_checkpoint_number(writer, name, hard[i]));
    }
    CHECK_OK(dl_checkpoint_int(writer, "low", INT64_MIN));
    CHECK_OK(dl_checkpoint_int(writer, "high", INT64_MAX));
    CHECK_OK(dl_checkpoint_commit(writer, 1, false));

    dl_checkpoint *checkpoint;
    double value;
    int64_t integer;
    CHECK_OK(dl_checkpoint_latest(folder, &checkpoint, NULL, NULL));
    CU_ASSERT_PTR_NOT_NULL_FATAL(checkpoint);
    CHECK_OK(dl_checkpoint_read(checkpoint, "big", &type, back));
    CU_ASSERT_EQUAL(memcmp(big, back, count * sizeof *big), 0);
    CHECK_OK(dl_checkpoint_read(checkpoint, "empty", &empty, back));
    CHECK_OK(dl_checkpoint_read(checkpoint, "one", &one, &value));
    CU_ASSERT_EQUAL(value, 1.0 / 3.0);
    for (int i = 0; i < DL_COUNT(hard); i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        CHECK_OK(dl_checkpoint_get_number(checkpoint, name, &value));
        CU_ASSERT_EQUAL(memcmp(&value, &hard[i], sizeof value), 0);
    }
    CHECK_OK(dl_checkpoint_get_int(checkpoint, "low", &integer));
    CU_ASSERT_EQUAL(integer, INT64_MIN);
    CHECK_OK(dl_checkpoint_get_int(checkpoint, "high", &integer));
    CU_ASSERT_EQUAL(integer, INT64_MAX);
    dl_checkpoint_close(checkpoint);
    dl_free(big);
    dl_free(back);
    leave();
}

static void test_misuse(void) {
    dl_checkpoint_writer *writer;
    enter();
    CHECK_OK(dl_checkpoint_begin(&writer, folder, 3));
    CHECK_OK(dl_checkpoint_int(writer, "a", 1));
    CHECK_FAILS(dl_checkpoint_int(writer, "a", 2), DL_INTERNAL, "twice");
    CU_ASSERT_NOT_EQUAL(dl_checkpoint_text(writer, "b", "\xff\xfe"), DL_OK);
    CU_ASSERT_NOT_EQUAL(dl_checkpoint_int(writer, "\xff", 2), DL_OK);
    dl_checkpoint_abandon(writer);
    CU_ASSERT_EQUAL(rmdir(folder), 0); /* nothing is left */
    CHECK_FAILS(dl_checkpoint_begin(&writer, folder, -1), DL_INTERNAL, "step -1");
    mkdir(folder, 0700);
    leave();
}

static void test_rotation(void) {
    enter();
    CHECK_OK(save(1, 2, false));
    CHECK_OK(save(2, 2, true));
    CHECK_OK(save(3, 2, false));
    CHECK_OK(save(4, 2, false));
    CU_ASSERT(!there(1) && there(2) && there(3) && there(4));
    dl_checkpoint *best;
    CHECK_OK(dl_checkpoint_best(folder, &best, collect, NULL));
    CU_ASSERT_PTR_NOT_NULL_FATAL(best);
    CU_ASSERT(holds(best, 2));
    dl_checkpoint_close(best);
    CHECK_OK(save(5, 2, true));
    CU_ASSERT(!there(2) && !there(3) && there(4) && there(5));
    CHECK_OK(save(5, 1, false)); /* the same step again */
    CU_ASSERT(!there(4) && there(5));
    CU_ASSERT_EQUAL(latest(), 5);
    CHECK_OK(dl_checkpoint_best(folder, &best, collect, NULL));
    CU_ASSERT_PTR_NULL(best);
    CU_ASSERT_EQUAL(warned, 0);
    leave();
}

/* Flips a bit of byte `at`, or cuts the file there. */
static void damage(const char *file, long at, bool cut) {
    char path[160];
    snprintf(path, sizeof path, "%s/step-00000002/%s", folder, file);
    if (cut) {
        CU_ASSERT_EQUAL(truncate(path, at), 0);
        return;
    }
    int fd = open(path, O_RDWR);
    unsigned char byte;
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
    byte ^= (unsigned char)(1u << (at % 8));
    CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void test_every_byte(void) {
    static const char *const files[] = {"tensors.bin", "state.json", "manifest.json"};
    enter();
    CHECK_OK(save(1, 2, false));
    CHECK_OK(save(2, 2, false));
    for (int i = 0; i < 3; i++) {
        char path[160];
        struct stat info;
        snprintf(path, sizeof path, "%s/step-00000002/%s", folder, files[i]);
        CU_ASSERT_EQUAL_FATAL(stat(path, &info), 0);
        for (long at = 0; at < info.st_size; at++) {
            warned = 0;
            damage(files[i], at, false);
            if (latest() != 1 || warned != 1 || !strstr(warnings, "step-00000002"))
                CU_FAIL("a flipped bit was not noticed");
            damage(files[i], at, false); /* back */
        }
        CU_ASSERT_EQUAL(latest(), 2);
    }
    /* Cut a little shorter each time, then gone: never crashes, never taken for whole. */
    for (long left = 150; left >= 0; left -= 37) {
        damage("tensors.bin", left, true);
        CU_ASSERT_EQUAL(latest(), 1);
    }
    /* What is damaged is still there, and saving the step again keeps it under another name. */
    CU_ASSERT(there(2));
    CHECK_OK(save(2, 2, false));
    CU_ASSERT_EQUAL(latest(), 2);
    char path[160];
    snprintf(path, sizeof path, "%s/damaged-00000002.1", folder);
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/step-00000002/tensors.bin", folder);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(mkfifo(path, 0600), 0); /* must not wait for a writer */
    CU_ASSERT_EQUAL(latest(), 1);
    leave();
}

static void test_renamed(void) {
    char from[128], to[128];
    enter();
    CHECK_OK(save(1, 2, false));
    snprintf(from, sizeof from, "%s/step-00000001", folder);
    snprintf(to, sizeof to, "%s/step-00000009", folder);
    CU_ASSERT_EQUAL(rename(from, to), 0);
    CU_ASSERT_EQUAL(latest(), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(warnings, "another step than its name"));
    leave();
}

/* The n-th call that changes the disk fails: alone, and as the last thing that the process did. */
static void test_faults(void) {
    for (int lasting = 0; lasting < 2; lasting++)
        for (uint64_t n = 1;; n++) {
            enter();
            CHECK_OK(save(1, 1, false));
            dl_file_fail_after(n, n % 2 ? ENOSPC : EIO, lasting);
            dl_status status = save(2, 1, false);
            char message[256];
            snprintf(message, sizeof message, "%s", dl_message());
            bool fired = dl_file_fail_after(0, 0, false) >= n;
            int64_t found = latest();
            CU_ASSERT(found == 1 || found == 2);
            CU_ASSERT_EQUAL(warned, 0);
            if (fired && status != DL_OK) {
                CU_ASSERT_EQUAL(status, DL_NO_WRITE);
                CU_ASSERT(strstr(message, folder) && strstr(message, n % 2 ? "space" : "error"));
            } else if (!fired) {
                CHECK_OK(status);
            }
            if (status == DL_OK)
                CU_ASSERT_EQUAL(found, 2);
            CHECK_OK(save(3, 1, false)); /* and life goes on */
            CU_ASSERT_EQUAL(latest(), 3);
            CU_ASSERT(!there(2) && !there(1));
            leave();
            if (!fired) {
                CU_ASSERT(n > 20);
                break;
            }
        }
}

static void test_memory(void) {
    enter();
    CHECK_OK(save(1, 5, false));
    uint64_t n = 1;
    for (dl_status status = DL_NO_MEMORY; status != DL_OK && n < 1000; n++) {
        dl_alloc_fail_after(n);
        status = save(2, 5, false);
        dl_alloc_fail_after(0);
        CU_ASSERT(status == DL_OK || status == DL_NO_MEMORY);
    }
    CU_ASSERT(n > 10 && n < 1000);
    CU_ASSERT_EQUAL(latest(), 2);
    n = 1;
    for (dl_status status = DL_NO_MEMORY; status != DL_OK && n < 1000; n++) {
        dl_checkpoint *checkpoint;
        dl_alloc_fail_after(n);
        status = dl_checkpoint_latest(folder, &checkpoint, collect, NULL);
        dl_alloc_fail_after(0);
        CU_ASSERT(status == DL_OK || status == DL_NO_MEMORY);
        if (status == DL_OK)
            CU_ASSERT(checkpoint &&
                      checkpoint->step == 2); /* not the older one for want of memory */
        dl_checkpoint_close(checkpoint);
    }
    CU_ASSERT(n > 10 && n < 1000);
    CU_ASSERT_EQUAL(warned, 0);
    leave();
}

static void test_full_disk(void) {
    enter();
    if (mount("dl-test", folder, "tmpfs", 0, "size=256k") != 0) {
        check_skip("a full disk", strerror(errno));
        leave();
        return;
    }
    CHECK_OK(save(1, 2, false));
    float *values = dl_alloc(400000);
    dl_type type = DL_TYPE(DL_F32, 100000);
    dl_checkpoint_writer *writer;
    CU_ASSERT_PTR_NOT_NULL_FATAL(values);
    CHECK_OK(dl_checkpoint_begin(&writer, folder, 2));
    dl_status status = dl_checkpoint_tensor(writer, "big", &type, values);
    if (status == DL_OK) {
        CHECK_FAILS(dl_checkpoint_commit(writer, 2, false), DL_NO_WRITE, "No space left");
    } else {
        CHECK_FAILS(status, DL_NO_WRITE, "No space left");
        dl_checkpoint_abandon(writer);
    }
    CU_ASSERT_EQUAL(latest(), 1);
    CHECK_OK(save(3, 2, false)); /* the space came back */
    CU_ASSERT_EQUAL(latest(), 3);
    dl_free(values);
    CU_ASSERT_EQUAL(umount(folder), 0);
    leave();
}

void suite_store(void) {
    CU_pSuite suite = CU_add_suite("store", NULL, NULL);
    CU_add_test(suite, "a checkpoint comes back", test_round_trip);
    CU_add_test(suite, "values bit for bit", test_values);
    CU_add_test(suite, "misuse is refused", test_misuse);
    CU_add_test(suite, "the old ones go, the best stays", test_rotation);
    CU_add_test(suite, "every damaged byte is noticed", test_every_byte);
    CU_add_test(suite, "a folder of another step", test_renamed);
    CU_add_test(suite, "every fault of the disk", test_faults);
    CU_add_test(suite, "memory runs out", test_memory);
    CU_add_test(suite, "a full disk", test_full_disk);
}
