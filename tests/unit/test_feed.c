/* Feeds: every sample once a pass on any number of ranks, the same batches wherever one begins. */
#include <math.h>

#include "runtime/base/hash.h"
#include "tests/unit/data_job.h"

static void open_numbers(data_job *d, int samples, const char *shuffle) {
    char text[512];
    snprintf(
        text, sizeof text,
        "  train: {synthetic: {kind: vectors, samples: %d, fields: {x: {shape: [3]}, y: {classes: "
        "7}}}}\n  shuffle: %s\n",
        samples, shuffle);
    CHECK_OK(data_job_open(d, text));
}

static void test_each_once(void) {
    enum { N = 10001, B = 64 };
    static const int rank_counts[] = {1, 3, 8};
    static uint8_t seen[N];
    static uint32_t order[N], first_order[N];
    data_job d;
    open_numbers(&d, N, "true");
    for (int r = 0; r < 3; r++)
        for (int pass = 0; pass < 2; pass++) {
            memset(seen, 0, sizeof seen);
            for (int rank = 0; rank < rank_counts[r]; rank++) {
                dl_feed *feed = NULL;
                dl_feed_options options = {.part = DL_PART_TRAIN,
                                           .batch = B,
                                           .seed = 5,
                                           .leaves = 8,
                                           .rank = rank,
                                           .ranks = rank_counts[r]};
                options.first_step = pass * ((N + B - 1) / B);
                CHECK_OK(dl_feed_open(&feed, d.data, &options));
                CU_ASSERT_EQUAL(dl_feed_batches(feed), 157);
                for (int64_t step = 0; step < 157; step++) {
                    dl_batch batch;
                    float x[3];
                    int32_t y;
                    CHECK_OK(dl_feed_next(feed, &batch));
                    CU_ASSERT_EQUAL(batch.step, options.first_step + step);
                    CU_ASSERT_EQUAL(batch.samples, step == 156 ? N - 156 * B : B);
                    for (int64_t i = 0; i < batch.count; i++) {
                        seen[batch.sample[i]]++;
                        order[step * B + batch.first + i] = batch.sample[i];
                        dl_data_read(d.data, DL_PART_TRAIN, 0, &batch.sample[i], 0, 1, x);
                        dl_data_read(d.data, DL_PART_TRAIN, 1, &batch.sample[i], 0, 1, &y);
                        CU_ASSERT_EQUAL(memcmp(x, (const float *)batch.field[0] + 3 * i, sizeof x),
                                        0);
                        CU_ASSERT_EQUAL(((const int32_t *)batch.field[1])[i], y);
                    }
                    dl_feed_release(feed);
                }
                dl_feed_close(feed);
            }
            int wrong = 0;
            for (int i = 0; i < N; i++)
                wrong += seen[i] != 1;
            CU_ASSERT_EQUAL(wrong, 0);
            if (r == 0 && pass == 0)
                memcpy(first_order, order, sizeof order);
            CU_ASSERT_EQUAL(memcmp(first_order, order, sizeof order) == 0, pass == 0);
        }
    data_job_close(&d);
}

static void test_small_batches(void) {
    data_job d;
    open_numbers(&d, 5, "false");
    for (int rank = 0; rank < 8; rank++) { /* more ranks than samples: some hold none */
        dl_feed *feed = NULL;
        dl_feed_options options = {.part = DL_PART_TRAIN,
                                   .batch = 3,
                                   .order = DL_ORDER_FILE,
                                   .leaves = 8,
                                   .rank = rank,
                                   .ranks = 8,
                                   .end_step = 2};
        CHECK_OK(dl_feed_open(&feed, d.data, &options));
        dl_batch batch;
        CHECK_OK(dl_feed_next(feed, &batch));
        CU_ASSERT_EQUAL(batch.samples, 3);
        CU_ASSERT_EQUAL(batch.count, 3 * (rank + 1) / 8 - 3 * rank / 8);
        CU_ASSERT_EQUAL(batch.first, 3 * rank / 8);
        if (batch.count)
            CU_ASSERT_EQUAL(batch.sample[0], (uint32_t)batch.first);
        CHECK_OK(dl_feed_next(feed, &batch)); /* two at a time */
        CU_ASSERT_EQUAL(batch.samples, 2);
        CHECK_FAILS(dl_feed_next(feed, &batch), DL_INTERNAL, "no batch for step 2");
        dl_feed_release(feed);
        dl_feed_release(feed);
        for (int again = 0; again < 50; again++) { /* an evaluation after another */
            CHECK_OK(dl_feed_seek(feed, 0));
            for (int64_t step = 0; step < 2; step++) {
                CHECK_OK(dl_feed_next(feed, &batch));
                CU_ASSERT_EQUAL(batch.step, step);
                dl_feed_release(feed);
            }
        }
        dl_feed_close(feed);
    }
    data_job_close(&d);
}

/* The same stream of samples whether read in one go or resumed at any step; without allocations. */
static void test_resume(void) {
    static const char *const orders[] = {"true", "false", "with_replacement"};
    for (int o = 0; o < 3; o++) {
        data_job d;
        uint64_t hash[40];
        open_numbers(&d, 100, orders[o]);
        dl_feed *feed = NULL;
        dl_feed_options options = {.part = DL_PART_TRAIN,
                                   .batch = 32,
                                   .seed = 9,
                                   .order = dl_data_order(d.node),
                                   .leaves = 4,
                                   .rank = 1,
                                   .ranks = 2};
        CU_ASSERT_EQUAL(options.order, (dl_order)o);
        CHECK_OK(dl_feed_open(&feed, d.data, &options));
        uint64_t before = 0;
        for (int step = 0; step < 40; step++) {
            dl_batch batch;
            CHECK_OK(dl_feed_next(feed, &batch));
            if (o == 2)
                CU_ASSERT_EQUAL(batch.samples, 32);
            hash[step] = dl_hash(batch.field[0], sizeof(float) * 3 * (size_t)batch.count, 0);
            dl_feed_release(feed);
            if (step == 2)
                before = dl_alloc_count();
        }
        CU_ASSERT_EQUAL(dl_alloc_count(), before);
        dl_feed_close(feed);
        for (int begin = 0; begin < 40; begin += 7) {
            options.first_step = begin;
            CHECK_OK(dl_feed_open(&feed, d.data, &options));
            for (int step = begin; step < 40; step++) {
                dl_batch batch;
                CHECK_OK(dl_feed_next(feed, &batch));
                CU_ASSERT_EQUAL(dl_hash(batch.field[0], sizeof(float) * 3 * (size_t)batch.count, 0),
                                hash[step]);
                dl_feed_release(feed);
            }
            dl_feed_close(feed);
        }
        data_job_close(&d);
    }
}

/* Element `element` of what a program makes of stored numbers. */
static float prepared_at(const dl_data_field *field, const void *stored, int64_t element) {
    int64_t codes = 1;
    if (field->prepares > 0 && field->prepare[0].kind == DL_PREPARE_ONE_HOT)
        codes = field->prepare[0].period;
    int64_t from = element / codes;
    float x = field->stored.dtype == DL_U8 ? ((const uint8_t *)stored)[from]
                                           : ((const float *)stored)[from];
    for (int k = 0; k < field->prepares; k++) {
        const dl_prepare_step *p = &field->prepare[k];
        int64_t sample = element % dl_type_count(&field->type);
        float by = p->by[sample % p->period],
              offset = p->offset ? p->offset[sample % p->period] : 0;
        x = p->kind == DL_PREPARE_SCALE     ? x * by + offset
            : p->kind == DL_PREPARE_CENTRE  ? (x - offset) * by
            : p->kind == DL_PREPARE_ONE_HOT ? (float)(x == by)
            : isnan(x)                      ? by
                                            : x;
    }
    return x;
}

enum { STORED_SAMPLES = 50, STORED_ELEMENTS = 12 };

/* Two feeds, one of them with all fields as stored, in step. */
static void compare_stored(const dl_data *data, dl_order order) {
    dl_feed *feed[2] = {NULL, NULL};
    int wrong = 0, fields = dl_data_field_count(data);
    const bool stored[] = {true, true, true};
    for (int way = 0; way < 2; way++)
        CHECK_OK(dl_feed_open(&feed[way], data,
                              &(dl_feed_options){.part = DL_PART_TRAIN,
                                                 .batch = 8,
                                                 .order = order,
                                                 .leaves = 1,
                                                 .ranks = 1,
                                                 .stored = way ? stored : NULL}));
    for (int step = 0; step < 14; step++) {
        dl_batch batch[2];
        for (int way = 0; way < 2; way++)
            CHECK_OK(dl_feed_next(feed[way], &batch[way]));
        for (int f = 0; f < fields; f++) {
            const dl_data_field *field = dl_data_field_at(data, f);
            for (int64_t i = 0; i < batch[0].count * dl_type_count(&field->type); i++) {
                float x = prepared_at(field, batch[1].field[f], i);
                wrong += memcmp(&x, (const float *)batch[0].field[f] + i, sizeof x) != 0;
            }
        }
        dl_feed_release(feed[0]);
        dl_feed_release(feed[1]);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    dl_feed_close(feed[0]);
    dl_feed_close(feed[1]);
}

/* What is stored and the steps that go with it make what the reader makes of it. */
static void test_stored(void) {
    static const struct {
        const char *source, *steps;
        dl_dtype dtype;
        int64_t elements; /* of a sample as stored */
        int steps_left;
        int64_t period; /* of the last one */
        bool bytes;
    } cases[] = {
        {"idx: {x: x.idx}", "[]", DL_U8, 12, 0, 0, true},
        {"idx: {x: x.idx}", "[{scale: 1/255}]", DL_U8, 12, 1, 1, true},
        {"idx: {x: x.idx}", "[{scale: {by: -0.5, offset: 3}}, {scale: 7}]", DL_U8, 12, 2, 1, true},
        {"idx: {x: x.idx}", "[{reshape: [4, 3]}, {standardize: {mean: [1, 2, 3], std: [4, 5, 6]}}]",
         DL_U8, 12, 1, 3, true},
        {"idx: {x: x.idx}", "[{reshape: [4, 3]}, {standardize: {columns: [5]}}]", DL_U8, 12, 1, 12,
         true},
        {"idx: {x: x.idx}", "[{scale: 2}, standardize]", DL_U8, 12, 2, 12, true},
        {"idx: {x: x.idx}", "[{fill_missing: mean}, {scale: 2}]", DL_U8, 12, 1, 1, true},
        {"idx: {x: y.idx}", "[one_hot]", DL_U8, 1, 1, 7, false},
        {"idx: {x: y.idx}", "[{one_hot: 9}, {scale: {by: 3, offset: -1}}]", DL_U8, 1, 2, 1, false},
        {"idx: {x: y.idx}", "[{one_hot: 257}]", DL_F32, 1, 1, 257, false},
        {"idx: {x: y.idx}", "[{one_hot: 8}, {reshape: [2, 4]}, standardize]", DL_U8, 1, 2, 8,
         false},
        {"csv: {file: x.csv, fields: {x: 0..2}}", "[{fill_missing: mean}]", DL_F32, 3, 1, 3, false},
        {"csv: {file: x.csv, fields: {x: 0..2}}",
         "[{scale: {by: -2}}, {fill_missing: 7}, {standardize: {epsilon: 1}}]", DL_F32, 3, 3, 3,
         false},
        {"csv: {file: x.csv, fields: {x: 0..2}}", "[{fill_missing: 0}, {scale: -1}]", DL_F32, 3, 2,
         1, false},
        {"csv: {file: x.csv, fields: {x: 3}}", "[one_hot]", DL_U8, 1, 1, 3, false},
    };
    uint8_t x[16 + STORED_SAMPLES * STORED_ELEMENTS] = {0, 0, 8, 3, 0, 0, 0, STORED_SAMPLES,
                                                        0, 0, 0, 2, 0, 0, 0, 6};
    uint8_t y[8 + STORED_SAMPLES] = {0, 0, 8, 1, 0, 0, 0, STORED_SAMPLES};
    char csv[STORED_SAMPLES * 32] = "";
    for (int i = 0; i < STORED_SAMPLES * STORED_ELEMENTS; i++)
        x[16 + i] = (uint8_t)(i * 97 % 251 + i % 5);
    for (int i = 0; i < STORED_SAMPLES; i++) {
        static const char *const names[] = {"low", "middle", "high"};
        y[8 + i] = (uint8_t)(i * 5 % 7);
        size_t at = strlen(csv);
        snprintf(csv + at, sizeof csv - at, i % 3 ? "%d.5,-0,%d,%s\n" : "%d.25,,-%d,%s\n", i, i * i,
                 names[i % 7 % 3]);
    }
    data_job_file("x.idx", x, sizeof x);
    data_job_file("y.idx", y, sizeof y);
    data_job_file("x.csv", csv, strlen(csv));
    for (int c = 0; c < DL_COUNT(cases); c++) {
        data_job d;
        if (!CHECK_OK(data_job_open(&d, data_job_text("  train: {%s}\n  prepare: %s\n",
                                                      cases[c].source, cases[c].steps))))
            continue;
        const dl_data_field *field = dl_data_field_at(d.data, 0);
        CU_ASSERT_EQUAL(field->stored.dtype, cases[c].dtype);
        CU_ASSERT_EQUAL(dl_type_count(&field->stored), cases[c].elements);
        CU_ASSERT_EQUAL(field->bytes, cases[c].bytes);
        CU_ASSERT_EQUAL(field->prepares, cases[c].steps_left);
        if (cases[c].steps_left > 0)
            CU_ASSERT_EQUAL(field->prepare[field->prepares - 1].period, cases[c].period);
        compare_stored(d.data, DL_ORDER_FILE);
        compare_stored(d.data, DL_ORDER_SHUFFLED);
        data_job_close(&d);
    }
    data_job_clean();
}

static void test_no_memory(void) {
    data_job d;
    open_numbers(&d, 10, "true");
    for (uint64_t n = 1;; n++) {
        dl_feed *feed = NULL;
        dl_feed_options options = {.part = DL_PART_TRAIN, .batch = 4, .leaves = 1, .ranks = 1};
        dl_alloc_fail_after(n);
        dl_status status = dl_feed_open(&feed, d.data, &options);
        dl_alloc_fail_after(0);
        if (status == DL_OK) {
            dl_feed_close(feed);
            CU_ASSERT(n > 10);
            break;
        }
        CU_ASSERT_EQUAL(status, DL_NO_MEMORY);
    }
    data_job_close(&d);
}

void suite_feed(void) {
    CU_pSuite suite = CU_add_suite("feed", NULL, NULL);
    CU_add_test(suite, "each sample once on 1, 3 and 8 ranks", test_each_once);
    CU_add_test(suite, "small batches", test_small_batches);
    CU_add_test(suite, "resume", test_resume);
    CU_add_test(suite, "as stored", test_stored);
    CU_add_test(suite, "no memory", test_no_memory);
}
