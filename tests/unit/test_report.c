/* The report: golden bytes of TensorBoard records, Keras's log.csv, metrics.jsonl, resuming, the
 * progress lines, and that a step allocates nothing. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/memory.h"
#include "runtime/report/sinks.h"
#include "runtime/store/json.h"
#include "tests/unit/check.h"

static char folder[64];

static void enter(void) {
    snprintf(folder, sizeof folder, "/tmp/dl-report-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
}

static void leave(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void hex(const unsigned char *bytes, size_t count, char *text) {
    for (size_t i = 0; i < count; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
}

/* Decoded by protoc and read by TensorBoard when the vectors were made. */
static void test_golden(void) {
    unsigned char record[640];
    char text[1300];
    static const unsigned char zeros[32];
    CU_ASSERT_EQUAL(dl_crc32c("123456789", 9), 0xe3069283u);
    CU_ASSERT_EQUAL(dl_crc32c(zeros, 32), 0x8a9136aau);
    hex(record, dl_event_version(record, 1700000000.0), text);
    CU_ASSERT_STRING_EQUAL(text,
                           "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e"
                           "743a32eced8f9d");
    hex(record, dl_event_scalar(record, 1700000001.0, 3, "epoch_loss", 0.25f), text);
    CU_ASSERT_STRING_EQUAL(text,
                           "200000000000000029eda9500900004040fc54d94110032a130a110a0a65706f63"
                           "685f6c6f7373150000803e04d7dfe3");
}

static void test_repr(void) {
    static const struct {
        double value;
        const char *want; /* as Python 3 prints it */
    } sample[] = {{0.1, "0.1"},
                  {1, "1.0"},
                  {0.0, "0.0"},
                  {-2.5, "-2.5"},
                  {1e-5, "1e-05"},
                  {0.0001, "0.0001"},
                  {1e16, "1e+16"},
                  {123456789012345.6, "123456789012345.6"},
                  {1e15, "1000000000000000.0"},
                  {1.0 / 3, "0.3333333333333333"},
                  {0.2568481266498566, "0.2568481266498566"},
                  {NAN, "nan"},
                  {-INFINITY, "-inf"},
                  {5e-324, "5e-324"}};
    for (int i = 0; i < DL_COUNT(sample); i++) {
        char text[64];
        dl_repr(text, sizeof text, sample[i].value);
        CU_ASSERT_STRING_EQUAL(text, sample[i].want);
    }
}

static char *slurp(const char *name) {
    char path[256];
    char *text = NULL;
    size_t count;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(dl_file_read(path, 1 << 20, &text, &count));
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    return text;
}

static dl_report *open_report(int64_t epochs, int64_t steps, FILE *out) {
    dl_report *report;
    dl_report_options options = {.folder = folder,
                                 .out = out,
                                 .epochs = 5,
                                 .steps_per_epoch = 10,
                                 .first_epoch = epochs,
                                 .first_step = steps};
    CHECK_OK(dl_report_open(&report, &options));
    CU_ASSERT_PTR_NOT_NULL_FATAL(report);
    return report;
}

static void test_files(void) {
    enter();
    dl_report *report = open_report(0, 0, NULL);
    dl_report_value values[] = {{"loss", 0.5, 0}, {"accuracy", 0.25, 0}, {"val_loss", NAN, 0}};
    CHECK_OK(dl_report_epoch(report, 0, 10, values, 3));
    values[0].value = 0.375;
    CHECK_OK(dl_report_epoch(report, 1, 20, values, 2));
    CHECK_OK(dl_report_epoch(report, 2, 30, values, 2));
    dl_report_close(report);
    char *text = slurp("log.csv");
    CU_ASSERT_STRING_EQUAL(text, "epoch,accuracy,loss,val_loss\r\n0,0.25,0.5,nan\r\n"
                                 "1,0.25,0.375,NA\r\n2,0.25,0.375,NA\r\n");
    dl_free(text);

    /* Resumed after two epochs: the third is written again, once; a torn line is gone. */
    char path[128];
    snprintf(path, sizeof path, "%s/log.csv", folder);
    FILE *torn = fopen(path, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(torn);
    fputs("3,0.2", torn);
    fclose(torn);
    report = open_report(2, 20, NULL);
    dl_report_value other[] = {{"loss", 0.125, 0}, {"accuracy", 0.75, 0}, {"val_accuracy", 1, 0}};
    CHECK_OK(dl_report_epoch(report, 2, 30, other, 3));
    dl_report_close(report);
    text = slurp("log.csv");
    CU_ASSERT_STRING_EQUAL(text,
                           "epoch,accuracy,loss,val_loss,val_accuracy\r\n"
                           "0,0.25,0.5,nan,NA\r\n1,0.25,0.375,NA,NA\r\n2,0.75,0.125,NA,1.0\r\n");
    dl_free(text);

    text = slurp("metrics.jsonl");
    int lines = 0;
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1, lines++) {
        json_t *root;
        CHECK_OK(dl_json_read("metrics.jsonl", at, (size_t)(end - at), &root));
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(root, "epoch")), lines);
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(root, "step")), 10 * (lines + 1));
        CU_ASSERT(json_real_value(json_object_get(root, "time")) > 1.5e9);
        if (lines == 0)
            CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(root, "val_loss")), "NaN");
        if (lines == 2)
            CU_ASSERT_EQUAL(json_real_value(json_object_get(root, "loss")), 0.125);
        json_decref(root);
    }
    CU_ASSERT_EQUAL(lines, 3);
    dl_free(text);
    leave();
}

/* Every frame of every event file has right sums; the second file begins where the first is cut. */
static void test_events(void) {
    enter();
    dl_report_value values[] = {{"loss", 0.5, 0}, {"val_loss", 0.75, 0}};
    for (int round = 0; round < 2; round++) {
        dl_report *report = open_report(round, 10 * round, NULL);
        CHECK_OK(dl_report_epoch(report, round, 10 * round + 10, values, 2));
        dl_report_close(report);
    }
    static const char *const parts[] = {"train", "validation"};
    for (int i = 0; i < 2; i++) {
        char path[128];
        int files = 0, records = 0;
        struct dirent **names;
        snprintf(path, sizeof path, "%s/tensorboard/%s", folder, parts[i]);
        int count = scandir(path, &names, NULL, alphasort);
        for (int j = 0; j < count; j++) {
            if (strstr(names[j]->d_name, "tfevents")) {
                char name[400];
                char *bytes;
                size_t size;
                snprintf(name, sizeof name, "%s/%.250s", path, names[j]->d_name);
                CHECK_OK(dl_file_read(name, 1 << 20, &bytes, &size));
                for (size_t at = 0; at < size; records++) {
                    uint64_t length;
                    uint32_t sum;
                    memcpy(&length, bytes + at, 8);
                    CU_ASSERT_FATAL(at + 16 + length <= size);
                    memcpy(&sum, bytes + at + 12 + length, 4);
                    uint32_t crc = dl_crc32c(bytes + at + 12, length);
                    CU_ASSERT_EQUAL(sum, (crc >> 15 | crc << 17) + 0xa282ead8u);
                    at += 16 + length;
                }
                files++;
                dl_free(bytes);
            }
            free(names[j]);
        }
        free(names);
        CU_ASSERT_EQUAL(files, 2);
        CU_ASSERT_EQUAL(records, 2 + 3); /* version, value; version, start, value */
    }
    leave();
}

static void test_progress(void) {
    enter();
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    dl_report *report = open_report(0, 0, out);
    dl_report_value step = {"loss", 2, 32};
    CHECK_OK(dl_report_begin(report, 0, 0));
    uint64_t before = dl_alloc_count();
    for (int i = 0; i < 1000; i++)
        CHECK_OK(dl_report_step(report, 32, &step, 1));
    CU_ASSERT_EQUAL(dl_alloc_count(), before);
    CHECK_OK(dl_report_line(report, "a checkpoint is saved"));
    dl_report_value end[] = {{"loss", 0.25654, 0}, {"learning_rate", 1e-5, 0}};
    CHECK_OK(dl_report_epoch(report, 0, 10, end, 2));
    dl_report_close(report);
    fclose(out);
    /* Not a terminal: one line an epoch, none within it for 30 s. */
    CU_ASSERT_EQUAL(strncmp(shown, "a checkpoint is saved\nEpoch 1/5 - ", 34), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "samples/s - loss: 0.2565 - learning_rate: 1.0000e-05\n"));
    CU_ASSERT_PTR_NULL(strchr(shown, '\r'));
    free(shown);
    leave();
}

/* On a terminal: the line is rewritten, with the mean of the epoch weighted by samples. */
static void test_terminal(void) {
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    static dl_progress progress;
    progress = (dl_progress){.out = out, .terminal = true, .screen = -1, .epochs = 2, .steps = 4};
    dl_progress_begin(&progress, 1, 0);
    dl_report_value values[] = {{"loss", 1, 30}, {"accuracy", 0.5, 30}};
    CHECK_OK(dl_progress_step(&progress, 30, values, 2));
    progress.shown = -1e9; /* long ago */
    progress.left = 1;
    values[0] = (dl_report_value){"loss", 2, 10};
    values[1] = (dl_report_value){"accuracy", 0.5, 10};
    CHECK_OK(dl_progress_step(&progress, 10, values, 2));
    fflush(out);
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "\rEpoch 2/2 - 2/4 [===============>..............] - "));
    CU_ASSERT_PTR_NOT_NULL(strstr(shown, "samples/s - loss: 1.2500 - accuracy: 0.5000\033[K"));
    size_t before = size;
    progress.left = 1;
    CHECK_OK(dl_progress_step(&progress, 10, values, 2)); /* too soon to be shown */
    fflush(out);
    CU_ASSERT_EQUAL(size, before);
    fclose(out);
    free(shown);
}

static void test_faults(void) {
    enter();
    dl_report *report = open_report(0, 0, NULL);
    dl_report_value values[] = {{"loss", 0.5, 0}};
    dl_file_fail_after(2, ENOSPC, true);
    CHECK_FAILS(dl_report_epoch(report, 0, 10, values, 1), DL_NO_WRITE, "No space left");
    dl_file_fail_after(0, 0, false);
    dl_report_close(report);
    report = open_report(0, 0, NULL);
    for (uint64_t n = 1;; n++) {
        dl_alloc_fail_after(n);
        dl_status status = dl_report_epoch(report, 0, 10, values, 1);
        dl_alloc_fail_after(0);
        if (status == DL_OK)
            break;
        CU_ASSERT_EQUAL_FATAL(status, DL_NO_MEMORY);
    }
    dl_report_close(report);
    CHECK_OK(dl_report_begin(NULL, 0, 0)); /* a rank that does not report */
    CHECK_OK(dl_report_step(NULL, 1, values, 1));
    CHECK_OK(dl_report_epoch(NULL, 0, 1, values, 1));
    dl_report_close(NULL);
    FILE *full = fopen("/dev/full", "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(full);
    report = open_report(0, 0, full);
    CHECK_FAILS(dl_report_line(report, "text"), DL_NO_WRITE, "cannot write the progress");
    dl_report_close(report);
    fclose(full);
    leave();
}

void suite_report(void) {
    CU_pSuite suite = CU_add_suite("report", NULL, NULL);
    CU_add_test(suite, "golden records", test_golden);
    CU_add_test(suite, "numbers as Python prints them", test_repr);
    CU_add_test(suite, "log.csv and metrics.jsonl, resumed", test_files);
    CU_add_test(suite, "event files", test_events);
    CU_add_test(suite, "progress in a log", test_progress);
    CU_add_test(suite, "progress on a terminal", test_terminal);
    CU_add_test(suite, "faults", test_faults);
}
