/* Feeds: every sample once a pass on any number of ranks, the same batches wherever one begins. */
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

static float affine_at(const dl_affine *a, float x, int64_t element) {
    float by = a->by[element % a->period], offset = a->offset[element % a->period];
    return a->centred ? (x - offset) * by : x * by + offset;
}

/* Bytes as stored and the steps that go with them make what the reader makes of them. */
static void test_bytes(void) {
    enum { SAMPLES = 50, ELEMENTS = 12, BATCH = 8 };
    static const struct {
        const char *steps;
        int affines; /* -1: not to be had as stored */
        int64_t period;
    } cases[] = {{"[]", 0, 0},
                 {"[{scale: 1/255}]", 1, 1},
                 {"[{scale: {by: -0.5, offset: 3}}, {scale: 7}]", 2, 1},
                 {"[{reshape: [4, 3]}, {standardize: {mean: [1, 2, 3], std: [4, 5, 6]}}]", 1, 3},
                 {"[{reshape: [4, 3]}, {standardize: {columns: [5]}}]", 1, 12},
                 {"[{scale: 2}, standardize]", 2, 12},
                 {"[{fill_missing: mean}, {scale: 2}]", -1, 0}};
    uint8_t file[8 + 8 + SAMPLES * ELEMENTS] = {0, 0, 8, 3, 0, 0, 0, SAMPLES,
                                                0, 0, 0, 2, 0, 0, 0, 6};
    for (int i = 0; i < SAMPLES * ELEMENTS; i++)
        file[16 + i] = (uint8_t)(i * 97 % 251 + i % 5);
    const char *path = data_job_file("x.idx", file, sizeof file);
    for (int c = 0; c < DL_COUNT(cases); c++) {
        data_job d;
        if (!CHECK_OK(data_job_open(&d, data_job_text("  train: {idx: {x: %s}}\n  prepare: %s\n",
                                                      path, cases[c].steps))))
            continue;
        const dl_data_field *field = dl_data_field_at(d.data, 0);
        CU_ASSERT_EQUAL(field->bytes, cases[c].affines >= 0);
        CU_ASSERT_EQUAL(field->affines, cases[c].affines < 0 ? 0 : cases[c].affines);
        if (cases[c].affines > 0)
            CU_ASSERT_EQUAL(field->affine[cases[c].affines - 1].period, cases[c].period);
        for (int order = 0; order < 2; order++) {
            dl_feed *feed[2] = {NULL, NULL};
            int wrong = 0;
            for (int bytes = 0; bytes < 2; bytes++) {
                dl_feed_options options = {.part = DL_PART_TRAIN,
                                           .batch = BATCH,
                                           .order = order ? DL_ORDER_FILE : DL_ORDER_SHUFFLED,
                                           .leaves = 1,
                                           .ranks = 1,
                                           .bytes = bytes};
                CHECK_OK(dl_feed_open(&feed[bytes], d.data, &options));
            }
            for (int step = 0; step < 14; step++) {
                dl_batch batch[2];
                for (int bytes = 0; bytes < 2; bytes++)
                    CHECK_OK(dl_feed_next(feed[bytes], &batch[bytes]));
                for (int64_t i = 0; i < batch[0].count * ELEMENTS && field->bytes; i++) {
                    float x = ((const uint8_t *)batch[1].field[0])[i];
                    for (int k = 0; k < field->affines; k++)
                        x = affine_at(&field->affine[k], x, i % ELEMENTS);
                    wrong += memcmp(&x, (const float *)batch[0].field[0] + i, sizeof x) != 0;
                }
                dl_feed_release(feed[0]);
                dl_feed_release(feed[1]);
            }
            CU_ASSERT_EQUAL(wrong, 0);
            dl_feed_close(feed[0]);
            dl_feed_close(feed[1]);
        }
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
    CU_add_test(suite, "bytes as stored", test_bytes);
    CU_add_test(suite, "no memory", test_no_memory);
}
