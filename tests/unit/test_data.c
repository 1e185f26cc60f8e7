/* Sources idx and synthetic, parts, steps, classes; real MNIST where there is one. */
#include <math.h>
#include <zlib.h>

#include "runtime/base/hash.h"
#include "tests/unit/data_job.h"

/* 6 images of 2 x 2 (bytes 0 .. 23) and 6 labels 0 1 2 0 1 2. */
static const uint8_t images[] = {0,  0,  8,  3,  0,  0,  0,  6,  0,  0,  0,  2, 0,  0,
                                 0,  2,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11,
                                 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 6, 0, 1, 2, 0, 1, 2};

static void write_small(void) {
    data_job_file("images", images, sizeof images);
    data_job_file("labels", labels, sizeof labels);
    char path[256];
    snprintf(path, sizeof path, "%s/images.gz", data_job_folder());
    gzFile gz = gzopen(path, "wb");
    CU_ASSERT_EQUAL(gzwrite(gz, images, sizeof images), (int)sizeof images);
    gzclose(gz);
}

static void test_idx(void) {
    data_job d;
    float x[8];
    int32_t y[6];
    write_small();
    CHECK_OK(data_job_open(
        &d,
        data_job_text("  train: {idx: {x: images.gz, y: labels}}\n"
                      "  test: {idx: {x: images, y: labels}, last: 2}\n"
                      "  prepare: [{reshape: [4]}, {scale: 1/2}, {scale: {by: 2, offset: 1}}]\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 6);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TEST), 2);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_VALIDATION), 0);
    CU_ASSERT_EQUAL(dl_data_field_count(d.data), 2);
    const dl_data_field *fx = dl_data_field_at(d.data, 0), *fy = dl_data_field_at(d.data, 1);
    dl_type want = DL_TYPE(DL_F32, 4), label = DL_SCALAR(DL_I32);
    CU_ASSERT(dl_same_type(&fx->type, &want));
    CU_ASSERT(dl_same_type(&fy->type, &label));
    CU_ASSERT(fy->classes == 3 && fx->classes == 0);
    CU_ASSERT(fy->class_count[0] == 2 && fy->class_count[2] == 2);
    CU_ASSERT(fy->min_label == 0 && fy->max_label == 2);
    dl_data_read(d.data, DL_PART_TRAIN, 0, (const uint32_t[]){5, 1}, 0, 2, x);
    CHECK_CLOSE(x, ((const float[]){21, 22, 23, 24, 5, 6, 7, 8}), 8, 0, 0);
    dl_data_read(d.data, DL_PART_TEST, 1, NULL, 0, 2, y);
    CU_ASSERT(y[0] == 1 && y[1] == 2);
    dl_data_read(d.data, DL_PART_TEST, 0, NULL, 1, 1, x);
    CU_ASSERT_EQUAL(x[0], 21);
    data_job_close(&d);
}

/* A file with a header of our choice. */
static void write_header(const char *name, uint8_t type, uint8_t rank, uint8_t samples,
                         size_t bytes) {
    uint8_t file[64] = {0, 0, type, rank, 0, 0, 0, samples};
    data_job_file(name, file, 4 + 4 * (size_t)rank + bytes);
}

static void test_idx_damaged(void) {
    write_small();
    data_job_file("short", images, sizeof images - 1);
    data_job_file("magic", "\x89PNG\r\n", 6);
    data_job_file("cut.gz", "\x1f\x8b\x08\x00", 4);
    data_job_file("empty", "", 0);
    uint8_t many[] = {0,   0,   8,   4,   255, 255, 255, 255, 255, 255,
                      255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    data_job_file("many", many, sizeof many);
    write_header("long", 8, 1, 3, 4);
    write_header("type", 7, 1, 3, 3);
    write_header("none", 8, 1, 0, 0);
    DATA_FAILS(data_job_text("  train: {idx: {x: short}}\n"), DL_NO_INPUT,
               "short is cut off: 6 samples need 40 bytes, but it has 39");
    DATA_FAILS(data_job_text("  train: {idx: {x: long}}\n"), DL_NO_INPUT,
               "job.yaml:3:20: long is too long: 3 samples need 11 bytes, but it has 12");
    DATA_FAILS(data_job_text("  train: {idx: {x: magic}}\n"), DL_NO_INPUT, "is no IDX file");
    DATA_FAILS(data_job_text("  train: {idx: {x: type}}\n"), DL_NO_INPUT, "element type 0x07");
    DATA_FAILS(data_job_text("  train: {idx: {x: cut.gz}}\n"), DL_NO_INPUT, "is cut off");
    DATA_FAILS(data_job_text("  train: {idx: {x: empty}}\n"), DL_NO_INPUT, "is no IDX file");
    DATA_FAILS(data_job_text("  train: {idx: {x: many}}\n"), DL_NO_INPUT,
               "more elements than can be");
    DATA_FAILS(data_job_text("  train: {idx: {x: none}}\n"), DL_BAD_JOB, "0 samples");
    DATA_FAILS(data_job_text("  train: {idx: {x: images, y: none}}\n"), DL_BAD_JOB,
               "'y' has 0 samples, but 'x' has 6");
    /* A packed file that is damaged in every single byte is refused or read as before, never worse.
     */
    char path[256];
    uint8_t packed[512];
    snprintf(path, sizeof path, "%s/images.gz", data_job_folder());
    FILE *file = fopen(path, "rb");
    size_t count = fread(packed, 1, sizeof packed, file);
    fclose(file);
    int refused = 0;
    for (size_t i = 10; i < count; i++) {
        data_job d;
        packed[i] ^= 0x15;
        data_job_file("flipped.gz", packed, count);
        packed[i] ^= 0x15;
        dl_status status = data_job_open(&d, data_job_text("  train: {idx: {x: flipped.gz}}\n"));
        refused += status == DL_NO_INPUT;
        CU_ASSERT(status == DL_OK || status == DL_NO_INPUT);
        data_job_close(&d);
    }
    CU_ASSERT_EQUAL(refused, (int)count - 10);
}

static void test_missing_file(void) {
    unsetenv("DLTRAIN_TEST_ROOT");
    DATA_FAILS(
        "  root: ${DLTRAIN_TEST_ROOT:-nowhere}/mnist\n"
        "  train: {idx: {x: train-images.gz}}\n",
        DL_NO_INPUT,
        "/nowhere/mnist/train-images.gz' (data.root is '${DLTRAIN_TEST_ROOT:-nowhere}/mnist', "
        "DLTRAIN_TEST_ROOT is not set)");
    DATA_FAILS("  root: nowhere\n  train: {idx: {x: a}}\n", DL_NO_INPUT,
               "job.yaml:3:20: no file '/");
    DATA_FAILS("  train: {idx: {x: /dev/null}}\n", DL_NO_INPUT, "not a file that can be read");
}

static void test_cuts(void) {
    data_job d;
    float x[12];
    write_small();
    CHECK_OK(data_job_open(&d, data_job_text("  source: {idx: {x: images, y: labels}}\n"
                                             "  test: {last: 0.3}\n"
                                             "  validation: {first: 1}\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TEST), 2); /* 1.8, rounded up */
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_VALIDATION), 1);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 3);
    dl_data_read(d.data, DL_PART_TEST, 0, NULL, 0, 2, x);
    CU_ASSERT(x[0] == 16 && x[4] == 20);
    dl_data_read(d.data, DL_PART_VALIDATION, 0, NULL, 0, 1, x);
    CU_ASSERT_EQUAL(x[0], 0);
    dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 0, 3, x);
    CU_ASSERT(x[0] == 4 && x[4] == 8 && x[8] == 12);
    data_job_close(&d);
    CHECK_OK(
        data_job_open(&d, data_job_text("  train: {idx: {x: images}, first: 4}\n"
                                        "  test: {idx: {x: images}}\n"
                                        "  validation: {from: test, rows: 1..2, keep: true}\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 4);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TEST), 6);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_VALIDATION), 2);
    dl_data_read(d.data, DL_PART_VALIDATION, 0, NULL, 0, 2, x);
    CU_ASSERT(x[0] == 4 && x[4] == 8);
    data_job_close(&d);
    CHECK_OK(data_job_open(&d, data_job_text("  source: {idx: {x: images, y: labels}}\n"
                                             "  test: {random: 3, stratify: true}\n")));
    int32_t y[3];
    dl_data_read(d.data, DL_PART_TEST, 1, NULL, 0, 3, y);
    CU_ASSERT(y[0] + y[1] + y[2] == 3 && y[0] * y[1] * y[2] == 0 && y[0] != y[1] && y[1] != y[2]);
    dl_data_read(d.data, DL_PART_TRAIN, 1, NULL, 0, 3, y);
    CU_ASSERT(y[0] != y[1] && y[1] != y[2] && y[0] != y[2]);
    data_job_close(&d);
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  test: {first: 7}\n"), DL_BAD_JOB,
               "first: 7 samples are wanted for test, but there are only 6");
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  test: {first: 6}\n"), DL_BAD_JOB,
               "train is left with 0 samples");
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  test: {rows: 4..6}\n"), DL_BAD_JOB,
               "rows 4..6 do not fit");
    DATA_FAILS(data_job_text("  source: {idx: {x: images}}\n  test: {rows: 0..2}\n"
                             "  validation: {rows: 2..3}\n"),
               DL_BAD_JOB, "1 of these samples are in another part already");
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  test: {random: 2, stratify: true}\n"),
               DL_BAD_JOB, "stratify needs labels");
    DATA_FAILS(data_job_text("  test: {first: 2}\n"), DL_BAD_JOB, "data has no samples");
    DATA_FAILS(data_job_text("  test: {idx: {x: images}}\n  validation: {first: 2}\n"), DL_BAD_JOB,
               "there is no source or train to cut validation from");
}

static void test_folds(void) {
    int seen[569] = {0}, total = 0;
    for (int form = 0; form < 4; form++) {
        memset(seen, 0, sizeof seen);
        total = 0;
        for (int fold = 0; fold < 5; fold++) {
            data_job d;
            char text[512];
            snprintf(text, sizeof text,
                     "  train: {synthetic: {kind: vectors, samples: 569, fields: {x: {shape: [3]}, "
                     "y: {classes: 2}}}}\n"
                     "  validation: {folds: 5, shuffle: %s, stratify: %s, remainder: %s}\n",
                     form & 1 ? "true" : "false", form & 2 ? "true" : "false",
                     form == 1 ? "drop" : "spread");
            CHECK_OK(data_job_open_with(&d, text, &(dl_data_options){.fold = fold}));
            CU_ASSERT_EQUAL(dl_data_folds(d.node), 5);
            int64_t held = dl_data_samples(d.data, DL_PART_VALIDATION);
            CU_ASSERT_EQUAL(held, form == 1 || fold == 4 ? 113 : 114);
            CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), (form == 1 ? 565 : 569) - held);
            float all[569][3], value[3];
            data_job whole;
            CHECK_OK(data_job_open(&whole,
                                   "  train: {synthetic: {kind: vectors, samples: 569, fields: "
                                   "{x: {shape: [3]}, y: {classes: 2}}}}\n"));
            dl_data_read(whole.data, DL_PART_TRAIN, 0, NULL, 0, 569, all);
            int64_t ones = dl_data_field_at(whole.data, 1)->class_count[1], here = 0;
            for (int64_t i = 0; i < held; i++) {
                int32_t label;
                dl_data_read(d.data, DL_PART_VALIDATION, 0, NULL, i, 1, value);
                dl_data_read(d.data, DL_PART_VALIDATION, 1, NULL, i, 1, &label);
                here += label;
                for (int j = 0; j < 569; j++)
                    if (memcmp(all[j], value, sizeof value) == 0) {
                        seen[j]++;
                        total++;
                        break;
                    }
            }
            if (form & 2)
                CU_ASSERT(here * 5 - ones < 5 && ones - here * 5 < 5);
            data_job_close(&whole);
            data_job_close(&d);
        }
        for (int j = 0; j < 569; j++)
            CU_ASSERT(seen[j] <= 1);
        CU_ASSERT_EQUAL(total, form == 1 ? 565 : 569);
    }
}

static void test_classes(void) {
    data_job d;
    int32_t y[6];
    write_small();
    CHECK_OK(data_job_open(&d, data_job_text("  train: {idx: {x: images, y: labels}}\n"
                                             "  classes: {rest: others, two: [2]}\n")));
    dl_data_read(d.data, DL_PART_TRAIN, 1, NULL, 0, 6, y);
    CU_ASSERT(y[0] == 0 && y[1] == 0 && y[2] == 1 && y[5] == 1);
    const dl_data_field *field = dl_data_field_at(d.data, 1);
    CU_ASSERT_EQUAL(field->classes, 2);
    CU_ASSERT_STRING_EQUAL(field->class_name[1], "two");
    CU_ASSERT(field->class_count[0] == 4 && field->class_count[1] == 2);
    data_job_close(&d);
    CHECK_OK(data_job_open(&d, data_job_text("  train: {idx: {x: images, y: labels}}\n"
                                             "  test: {first: 2}\n"
                                             "  classes: [2, 0]\n"
                                             "  prepare: [{one_hot, field: y}]\n")));
    float rows[4], x[4];
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 2);
    dl_data_read(d.data, DL_PART_TEST, 1, NULL, 0, 2, rows); /* labels 0 and 2: classes 1 and 0 */
    CHECK_BITS(rows, ((const float[]){0, 1, 1, 0}), 4);
    dl_data_read(d.data, DL_PART_TEST, 0, NULL, 1, 1, x);
    CU_ASSERT_EQUAL(x[0], 8);
    data_job_close(&d);
    DATA_FAILS(data_job_text("  train: {idx: {x: images, y: labels}}\n  classes: [0, 3]\n"),
               DL_BAD_JOB, "'3' is not a label of field 'y'; its labels run from 0 to 2");
    DATA_FAILS(data_job_text("  train: {idx: {x: images, y: labels}}\n  classes: [0, 0]\n"),
               DL_BAD_JOB, "two classes");
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  classes: [0, 1]\n"), DL_BAD_JOB,
               "classes needs labels");
}

static void test_steps(void) {
    data_job d;
    write_small();
    CHECK_OK(
        data_job_open(&d, data_job_text("  train: {idx: {x: images, y: labels}}\n"
                                        "  test: {last: 3}\n"
                                        "  prepare: [standardize, {one_hot: 4, field: y}]\n")));
    float x[12], y[12];
    /* Rows 0, 4, 8: mean 4, population deviation sqrt(32 / 3). */
    float unit = (float)(4 / sqrt(32.0 / 3));
    dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 0, 3, x);
    CHECK_CLOSE(x,
                ((const float[]){-unit, -unit, -unit, -unit, 0, 0, 0, 0, unit, unit, unit, unit}),
                12, 1e-6, 0);
    dl_data_read(d.data, DL_PART_TEST, 0, NULL, 0, 1, x);
    CHECK_CLOSE(x, ((const float[]){2 * unit}), 1, 1e-6, 0);
    dl_data_read(d.data, DL_PART_TRAIN, 1, NULL, 0, 3, y);
    CHECK_BITS(y, ((const float[]){1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}), 12);
    CU_ASSERT_EQUAL(dl_data_note_count(d.data), 0);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 1)->classes, 4);
    data_job_close(&d);
    CHECK_OK(data_job_open(
        &d, data_job_text("  train: {idx: {x: images}}\n"
                          "  test: {last: 3}\n"
                          "  prepare: [{standardize: {fit: source, columns: [0]}}]\n")));
    CU_ASSERT_EQUAL_FATAL(dl_data_note_count(d.data), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(dl_data_note(d.data, 0), "job.yaml:5:13: warning: "));
    dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 0, 1, x);
    CHECK_CLOSE(x, ((const float[]){(float)(-10 / sqrt(140.0 / 3)), 1, 2, 3}), 4, 1e-6, 0);
    data_job_close(&d);
    DATA_FAILS(data_job_text(
                   "  train: {idx: {x: images, y: labels}}\n  prepare: [{one_hot: 2, field: y}]\n"),
               DL_BAD_JOB, "labels: sample 2 of field 'y' is 2, outside the 2 classes");
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  prepare: [{reshape: [5]}]\n"),
               DL_BAD_JOB,
               "job.yaml:4:23: field 'x' has shape (2, 2), 4 values, and cannot become (5,)");
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  prepare: [{scale: 2, field: z}]\n"),
               DL_BAD_JOB, "the data has no field 'z'; it has x");
    DATA_FAILS(data_job_text("  train: {idx: {x: images}}\n  prepare: [one_hot]\n"), DL_BAD_JOB,
               "one_hot needs whole numbers");
}

/* Nearest centroid on the drawn digits: a problem that is neither trivial nor hopeless. */
static void test_digits(void) {
    enum { N = 3000, TRAIN = 2000, PIXELS = 784 };
    data_job d, e;
    float *x = dl_alloc(sizeof *x * N * PIXELS);
    int32_t y[N];
    double(*center)[PIXELS] = dl_alloc(sizeof *center * 10);
    int count[10] = {0}, right = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    CU_ASSERT_PTR_NOT_NULL_FATAL(center);
    const char *text = "  train: {synthetic: {kind: digits, samples: 3000}}\n"
                       "  prepare: [{scale: 1/255}]\n";
    CHECK_OK(data_job_open(&d, text));
    CHECK_OK(data_job_open_with(&e, text, &(dl_data_options){.seed_offset = 1}));
    dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 0, N, x);
    dl_data_read(d.data, DL_PART_TRAIN, 1, NULL, 0, N, y);
    for (int i = 0; i < TRAIN; i++) {
        count[y[i]]++;
        for (int j = 0; j < PIXELS; j++)
            center[y[i]][j] += (double)x[i * PIXELS + j];
    }
    for (int c = 0; c < 10; c++) {
        CU_ASSERT(count[c] > 150 && count[c] < 250);
        for (int j = 0; j < PIXELS; j++)
            center[c][j] /= count[c];
    }
    for (int i = TRAIN; i < N; i++) {
        int best = 0;
        double nearest = INFINITY;
        for (int c = 0; c < 10; c++) {
            double distance = 0;
            for (int j = 0; j < PIXELS; j++)
                distance += ((double)x[i * PIXELS + j] - center[c][j]) *
                            ((double)x[i * PIXELS + j] - center[c][j]);
            if (distance < nearest) {
                nearest = distance;
                best = c;
            }
        }
        right += best == y[i];
    }
    printf(" (nearest centroid %.3f) ", right / (double)(N - TRAIN));
    CU_ASSERT(right > (N - TRAIN) * 4 / 10 && right < (N - TRAIN) * 9 / 10);
    float *other = center[0] ? (float *)(void *)center : NULL; /* 784 * 10 doubles hold 20 images */
    dl_data_read(e.data, DL_PART_TRAIN, 0, NULL, 0, 1, other);
    CU_ASSERT_NOT_EQUAL(memcmp(other, x, sizeof *x * PIXELS), 0); /* another seed, other digits */
    data_job_close(&d);
    data_job_close(&e);
    dl_free(center);
    dl_free(x);
}

static void test_synthetic(void) {
    data_job d;
    CHECK_OK(data_job_open(
        &d,
        "  train: {synthetic: {kind: tokens, samples: 100, fields: {text: {vocabulary: 50, length: "
        "7}, answer: {classes: 5}}}}\n"
        "  test: {synthetic: {kind: tokens, samples: 10, fields: {text: {vocabulary: 50, length: "
        "7}, "
        "answer: {classes: 5}}}}\n"));
    dl_type text = DL_TYPE(DL_I32, 7);
    CU_ASSERT(dl_same_type(&dl_data_field_at(d.data, 0)->type, &text));
    int32_t words[7];
    for (int i = 0; i < 100; i++) {
        dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, i, 1, words);
        for (int j = 0; j < 7; j++)
            CU_ASSERT(words[j] >= 0 && words[j] < 50);
    }
    data_job_close(&d);
    static const char *const kinds[] = {"images", "vectors", "series"};
    for (int i = 0; i < 3; i++) {
        char job[256];
        snprintf(job, sizeof job, "  train: {synthetic: {kind: %s, samples: 20}}\n", kinds[i]);
        CHECK_OK(data_job_open(&d, job));
        float x[3072];
        dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 3, 1, x);
        int64_t n = dl_type_count(&dl_data_field_at(d.data, 0)->type);
        for (int64_t j = 0; j < n; j++)
            CU_ASSERT(fabsf(x[j]) < 20);
        data_job_close(&d);
    }
    DATA_FAILS("  train: {synthetic: {kind: images, samples: 2, fields: {x: {shapes: [2]}}}}\n",
               DL_BAD_JOB, "did you mean 'shape'?");
}

/* Bytes are the same pictures, rounded to 255ths; constants of standardize may be one a channel. */
static void test_synthetic_bytes(void) {
    static const char form[] = "  train: {synthetic: {kind: images, samples: 3, fields: {x: "
                               "{shape: [8, 6, 3], dtype: %s}, "
                               "y: {classes: 4}}}}\n"
                               "  prepare: [%s]\n";
    float x[2][144];
    char text[512];
    data_job d;
    snprintf(text, sizeof text, form, "float32", "{scale: 1}");
    CHECK_OK(data_job_open(&d, text));
    dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 2, 1, x[0]);
    data_job_close(&d);
    snprintf(text, sizeof text, form, "uint8",
             "{standardize: {mean: [10, 20, 30], std: [1, 2, 4]}}");
    CHECK_OK(data_job_open(&d, text));
    dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 2, 1, x[1]);
    data_job_close(&d);
    for (int i = 0; i < 144; i++) {
        float byte = x[1][i] * (float)(1 << i % 3) + (float)(10 * (i % 3 + 1));
        CU_ASSERT(fabsf(byte - 255 * x[0][i]) < 0.501f);
        CU_ASSERT(byte == floorf(byte));
    }
    DATA_FAILS("  train: {synthetic: {kind: vectors, samples: 2, fields: {x: {shape: [2], dtype: "
               "uint8}}}}\n",
               DL_BAD_JOB, "dtype: uint8 is for images");
    DATA_FAILS("  train: {synthetic: {kind: images, samples: 2, fields: {x: {shape: [9], dtype: "
               "uint8}}}}\n",
               DL_BAD_JOB, "dtype: uint8 is for images");
    DATA_FAILS("  train: {synthetic: {kind: images, samples: 2}}\n"
               "  prepare: [{standardize: {mean: [1, 2], std: 1}}]\n",
               DL_BAD_JOB, "mean has 2 numbers, but a sample has 3072 in 3 channels");
}

static void test_mnist(void) {
    const char *folder = data_job_real("real MNIST");
    if (!folder)
        return;
    data_job d;
    char text[1024];
    snprintf(text, sizeof text,
             "  root: %s/mnist\n"
             "  train: {idx: {x: train-images-idx3-ubyte.gz, y: train-labels-idx1-ubyte.gz}}\n"
             "  test: {idx: {x: t10k-images-idx3-ubyte.gz, y: t10k-labels-idx1-ubyte.gz}}\n"
             "  prepare: [{reshape: [784]}, {scale: 1/255}, {one_hot, field: y}]\n",
             folder);
    CHECK_OK(data_job_open(&d, text));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 60000);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TEST), 10000);
    const dl_data_field *y = dl_data_field_at(d.data, 1);
    CU_ASSERT(y->classes == 10 && y->class_count[1] == 6742 && y->class_count[5] == 5421);
    float rows[20];
    dl_data_read(d.data, DL_PART_TRAIN, 1, NULL, 0, 2, rows); /* 5, 0 */
    CU_ASSERT(rows[5] == 1 && rows[10] == 1);
    double sum = 0;
    float image[784];
    for (int i = 0; i < 60000; i++) {
        dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, i, 1, image);
        for (int j = 0; j < 784; j++)
            sum += (double)image[j];
    }
    CU_ASSERT_DOUBLE_EQUAL(sum / 60000 / 784, 0.1306604762, 1e-7);
    data_job_close(&d);
}

/* Every allocation fails once; nothing leaks or crashes, and the status is no memory. */
static void test_no_memory(void) {
    write_small();
    char text[1024];
    snprintf(text, sizeof text, "%s",
             data_job_text("  train: {idx: {x: images.gz, y: labels}}\n"
                           "  test: {random: 2, stratify: true}\n  classes: [1, 0]\n"
                           "  prepare: [standardize, {one_hot: 3, field: y}]\n"));
    data_job d;
    CHECK_OK(data_job_open(&d, text));
    const dl_node *node = d.node;
    for (uint64_t n = 1;; n++) {
        dl_data *again = NULL;
        dl_alloc_fail_after(n);
        dl_status status = dl_data_open(&again, node, &(dl_data_options){0});
        dl_alloc_fail_after(0);
        if (status == DL_OK) {
            CU_ASSERT(n > 12);
            dl_data_close(again);
            break;
        }
        CU_ASSERT_EQUAL(status, DL_NO_MEMORY);
        if (status != DL_NO_MEMORY)
            printf("%s\n", dl_message());
    }
    data_job_close(&d);
}

void suite_data(void) {
    CU_pSuite suite = CU_add_suite("data", NULL, data_job_clean);
    CU_add_test(suite, "idx files", test_idx);
    CU_add_test(suite, "damaged idx files", test_idx_damaged);
    CU_add_test(suite, "missing files", test_missing_file);
    CU_add_test(suite, "parts", test_cuts);
    CU_add_test(suite, "folds", test_folds);
    CU_add_test(suite, "classes", test_classes);
    CU_add_test(suite, "steps", test_steps);
    CU_add_test(suite, "drawn digits", test_digits);
    CU_add_test(suite, "other synthetic data", test_synthetic);
    CU_add_test(suite, "synthetic pictures of bytes", test_synthetic_bytes);
    CU_add_test(suite, "MNIST", test_mnist);
    CU_add_test(suite, "no memory", test_no_memory);
}
