/* The base room: status and messages, memory, shapes, Philox, hash; and proof that the comparators
 * of check.h fail when they must. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/base/hash.h"
#include "runtime/base/memory.h"
#include "runtime/base/philox.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"
#include "tests/unit/check.h"

static void test_messages(void) {
    CU_ASSERT_STRING_EQUAL(dl_status_name(DL_NO_INPUT), "NO_INPUT");
    CU_ASSERT_STRING_EQUAL(dl_status_text(DL_NO_MEMORY), "out of memory");
    CU_ASSERT_EQUAL(dl_fail(DL_BAD_JOB, "%d errors", 3), DL_BAD_JOB);
    CU_ASSERT_STRING_EQUAL(dl_message(), "3 errors");
    CU_ASSERT_EQUAL(dl_fail_prefix(DL_FAILED, "rank %d: ", 1), DL_FAILED);
    CU_ASSERT_STRING_EQUAL(dl_message(), "rank 1: 3 errors");
    dl_fail(DL_FAILED, "again: %s", dl_message());
    CU_ASSERT_STRING_EQUAL(dl_message(), "again: rank 1: 3 errors");

    char longer[2 * DL_MESSAGE_MAX];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    dl_fail(DL_FAILED, "%s", longer);
    CU_ASSERT_EQUAL(strlen(dl_message()), DL_MESSAGE_MAX - 1);
    dl_fail_prefix(DL_FAILED, "ab");
    CU_ASSERT_EQUAL(strlen(dl_message()), DL_MESSAGE_MAX - 1);
    CU_ASSERT_EQUAL(strncmp(dl_message(), "abxx", 4), 0);
    CU_ASSERT_EQUAL(dl_fail_memory(77), DL_NO_MEMORY);
    CU_ASSERT_PTR_NOT_NULL(strstr(dl_message(), "77 bytes"));
}

static void test_alloc(void) {
    uint64_t before = dl_alloc_count();
    unsigned char *block = dl_alloc(1000);
    CU_ASSERT_EQUAL(dl_alloc_count(), before + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(block);
    CU_ASSERT_EQUAL((uintptr_t)block % 64, 0);
    for (int i = 0; i < 1000; i++) {
        CU_ASSERT_EQUAL(block[i], 0);
        block[i] = (unsigned char)i;
    }
    block = dl_realloc(block, 5000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(block);
    CU_ASSERT_EQUAL((uintptr_t)block % 64, 0);
    CU_ASSERT_EQUAL(block[999], 999 % 256);
    block = dl_realloc(block, 10);
    CU_ASSERT_PTR_NOT_NULL_FATAL(block);
    CU_ASSERT_EQUAL(block[9], 9);
    CU_ASSERT_EQUAL(dl_alloc_count(), before + 3);
    dl_free(block);
    dl_free(NULL);
    /* Large ones come in another way; used memory that is given back must not come out again. */
    for (size_t bytes = 1 << 19; bytes <= (size_t)1 << 23; bytes = 2 * bytes + 1)
        for (int again = 0; again < 2; again++) {
            unsigned char *large = dl_alloc(bytes);
            CU_ASSERT_PTR_NOT_NULL_FATAL(large);
            CU_ASSERT_EQUAL((uintptr_t)large % 64, 0);
            size_t used = 0;
            for (size_t i = 0; i < bytes; i++)
                used += large[i] != 0;
            CU_ASSERT_EQUAL(used, 0);
            memset(large, 7, bytes);
            large = dl_realloc(large, bytes + bytes / 2);
            CU_ASSERT_PTR_NOT_NULL_FATAL(large);
            CU_ASSERT_EQUAL((uintptr_t)large % 64, 0);
            CU_ASSERT(large[0] == 7 && large[bytes - 1] == 7);
            dl_free(large);
        }
    void *none = dl_alloc(0);
    CU_ASSERT_PTR_NOT_NULL(none);
    dl_free(none);
    CU_ASSERT_PTR_NULL(dl_alloc(SIZE_MAX - 10));
}

static void test_failing(void) {
    dl_alloc_fail_after(2);
    void *first = dl_alloc(8), *second = dl_alloc(8), *third = dl_alloc(8);
    CU_ASSERT_PTR_NOT_NULL(first);
    CU_ASSERT_PTR_NULL(second);
    CU_ASSERT_PTR_NOT_NULL(third);
    dl_alloc_fail_after(1);
    CU_ASSERT_PTR_NULL(dl_realloc(first, 100)); /* and the old block is still ours */
    dl_free(first);
    dl_free(third);
    dl_alloc_fail_after(1);
    dl_alloc_fail_after(0);
    first = dl_alloc(8);
    CU_ASSERT_PTR_NOT_NULL(first);
    dl_free(first);
}

static void *many_allocations(void *arg) {
    for (int i = 0; i < 10000; i++)
        dl_free(dl_alloc(16));
    return arg;
}

static void test_alloc_threads(void) {
    pthread_t thread[4];
    uint64_t before = dl_alloc_count();
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread[i], NULL, many_allocations, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    CU_ASSERT_EQUAL(dl_alloc_count(), before + 40000);
}

static void test_arena(void) {
    dl_arena arena = {0};
    char *text = dl_arena_text(&arena, "dense");
    char *formatted = dl_arena_format(&arena, "%s_%d", text, 12);
    CU_ASSERT_STRING_EQUAL(formatted, "dense_12");
    for (size_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
        unsigned char *block = dl_arena_alloc(&arena, bytes);
        CU_ASSERT_PTR_NOT_NULL_FATAL(block);
        CU_ASSERT_EQUAL((uintptr_t)block % 16, 0);
        CU_ASSERT_EQUAL(block[0], 0);
        CU_ASSERT_EQUAL(block[bytes - 1], 0);
        memset(block, 0xff, bytes);
    }
    CU_ASSERT_STRING_EQUAL(text, "dense");
    CU_ASSERT_STRING_EQUAL(formatted, "dense_12");
    CU_ASSERT(arena.used > 100000);
    dl_alloc_fail_after(1);
    CU_ASSERT_PTR_NULL(dl_arena_alloc(&arena, 1 << 20));
    CU_ASSERT_PTR_NULL(dl_arena_alloc(&arena, SIZE_MAX - 3));
    dl_arena_free(&arena);
    CU_ASSERT_EQUAL(arena.used, 0);
    CU_ASSERT_PTR_NOT_NULL(DL_NEW_N(&arena, double, 3));
    dl_arena_free(&arena);
}

static void test_types(void) {
    char text[DL_SHAPE_TEXT];
    dl_type image = DL_TYPE(DL_F32, 64, 28, 28, 1), scalar = DL_SCALAR(DL_F64);
    CU_ASSERT_EQUAL(dl_type_count(&image), 64 * 28 * 28);
    CU_ASSERT_EQUAL(dl_type_bytes(&image), 64 * 28 * 28 * 4);
    CU_ASSERT_EQUAL(dl_type_count(&scalar), 1);
    CU_ASSERT_EQUAL(dl_type_bytes(&scalar), 8);
    CU_ASSERT_STRING_EQUAL(dl_shape_text(&image, true, text), "(None, 28, 28, 1)");
    CU_ASSERT_STRING_EQUAL(dl_shape_text(&image, false, text), "(64, 28, 28, 1)");
    CU_ASSERT_STRING_EQUAL(dl_shape_text(&scalar, false, text), "()");
    dl_type vector = DL_TYPE(DL_F32, 10);
    CU_ASSERT_STRING_EQUAL(dl_shape_text(&vector, false, text), "(10,)");
    CU_ASSERT_STRING_EQUAL(dl_shape_text(&vector, true, text), "(None,)");
    dl_type widest =
        DL_TYPE(DL_F32, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN);
    CU_ASSERT(strlen(dl_shape_text(&widest, false, text)) < DL_SHAPE_TEXT);

    dl_type other = image;
    CU_ASSERT(dl_same_type(&image, &other));
    other.dtype = DL_BF16;
    CU_ASSERT(dl_same_shape(&image, &other));
    CU_ASSERT_FALSE(dl_same_type(&image, &other));
    other.dim[3] = 3;
    CU_ASSERT_FALSE(dl_same_shape(&image, &other));
    CU_ASSERT_FALSE(dl_same_shape(&image, &scalar));
    CU_ASSERT_EQUAL(dl_dtype_bytes(DL_F16), 2);
    CU_ASSERT_STRING_EQUAL(dl_dtype_text(DL_I64), "int64");
}

/* The three philox4x32 lines of 10 rounds in Random123's tests/kat_vectors. */
static void test_philox(void) {
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } vector[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < DL_COUNT(vector); i++) {
        uint32_t word[4];
        dl_philox(vector[i].counter, vector[i].key, word);
        CU_ASSERT_EQUAL(memcmp(word, vector[i].want, sizeof word), 0);
    }
}

static void test_random_word(void) {
    uint64_t seed = 0x1122334455667788u;
    const uint32_t counter[4] = {dl_stream("dense"), 5, 6, 7}, key[2] = {0x55667788, 0x11223344};
    uint32_t word[4];
    dl_philox(counter, key, word);
    for (uint32_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(dl_random_word(seed, dl_stream("dense"), 5, 6, 28 + i), word[i]);
    CU_ASSERT_NOT_EQUAL(dl_stream("dense"), dl_stream("dense_1"));
    CU_ASSERT_EQUAL(dl_unit_float(0), 0.0f);
    CU_ASSERT_EQUAL(dl_unit_float(0xffffffffu), 1.0f - 0x1p-24f);
    CU_ASSERT_EQUAL(dl_bounded(0xffffffffu, 10), 9);
    CU_ASSERT_EQUAL(dl_bounded(0, 10), 0);
}

/* Values of libxxhash 0.8.1 for bytes (7 i + 3) mod 256, seeds 0 and 2654435761. */
static void test_hash(void) {
    static const struct {
        size_t count;
        uint64_t want, want_seeded;
    } vector[] = {
        {0, 0xef46db3751d8e999u, 0xac75fda2929b17efu},
        {1, 0x1f25c8d0bc1f4bb6u, 0x79cf94f5ace37fe1u},
        {3, 0x31d2363f52e564c9u, 0x96d2a5e583ddd738u},
        {4, 0x9bb64b7d66ee9fdau, 0x4a862fbb4b73776eu},
        {7, 0x9a7b149959ce60d8u, 0xddc5cf71d37a6368u},
        {8, 0xdab99d95c6f90092u, 0xc6e75e2cbd8e07eeu},
        {14, 0xc7f1d4d0acfa5a14u, 0x51341a138b098941u},
        {31, 0xa2aa5f33cc4a6119u, 0x381822f33376d6b6u},
        {32, 0x23c3c17ef790fd97u, 0x9abd315470ac276au},
        {33, 0x50a7cfc7ba588784u, 0x72cdd3262f467933u},
        {63, 0x5e3e54b431c7493cu, 0x634da7d265979e61u},
        {64, 0x0eb64b3ef6eeb01fu, 0xbcb3847d70525180u},
        {101, 0xbad4d3bf033bda4cu, 0x6c892ceebbc660aau},
    };
    unsigned char bytes[101];
    for (int i = 0; i < DL_COUNT(bytes); i++)
        bytes[i] = (unsigned char)(7 * i + 3);
    for (int i = 0; i < DL_COUNT(vector); i++) {
        CU_ASSERT_EQUAL(dl_hash(bytes, vector[i].count, 0), vector[i].want);
        CU_ASSERT_EQUAL(dl_hash(bytes, vector[i].count, 2654435761u), vector[i].want_seeded);
    }
    CU_ASSERT_EQUAL(dl_hash_text("abc", 0), 0x44bc2cf5ad770999u);
    CU_ASSERT_EQUAL(dl_hash_text("Nobody inspects the spammish repetition", 0),
                    0xfbcea83c8a378bf1u);
}

static void test_clock(void) {
    double first = dl_seconds(), second = dl_seconds();
    CU_ASSERT(second >= first && second - first < 5.0);
    CU_ASSERT(dl_wall_seconds() > 1.5e9);
}

static void test_comparators(void) {
    char text[CHECK_TEXT];
    const float want[3] = {1.0f, 2.0f, 3.0f};
    float got[3] = {1.0f, 2.0f, 3.0f};
    CU_ASSERT(check_close(got, want, 3, 0.0, 0.0, text));
    CU_ASSERT_STRING_EQUAL(text, "");
    got[1] = 2.001f;
    CU_ASSERT(check_close(got, want, 3, 0.01, 0.0, text));
    CU_ASSERT(check_close(got, want, 3, 0.0, 0.01, text));
    CU_ASSERT_FALSE(check_close(got, want, 3, 1e-4, 1e-4, text));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "[1] of 3: got 2.00099993, want 2"));
    CU_ASSERT_FALSE(check_bits(got, want, 3, text));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "[1] of 3: got 2.00099993"));

    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        float one[1] = {bad[i]}, zero[1] = {0.0f};
        CU_ASSERT_FALSE(check_close(one, zero, 1, 1e30, 1e30, text)); /* wrong result */
        CU_ASSERT_FALSE(check_close(zero, one, 1, 1e30, 1e30, text)); /* wrong expectation */
        CU_ASSERT_FALSE(check_bits(one, zero, 1, text));
        CU_ASSERT(check_close(one, one, 1, 0.0, 0.0, text));
        double wide[1] = {(double)bad[i]}, nothing[1] = {0.0};
        CU_ASSERT_FALSE(check_close_double(wide, nothing, 1, 1e300, 1e30, text));
        CU_ASSERT_FALSE(check_close_double(nothing, wide, 1, 1e300, 1e30, text));
        CU_ASSERT(check_close_double(wide, wide, 1, 0.0, 0.0, text));
    }
    CU_ASSERT_FALSE(check_close(bad + 1, bad + 2, 1, 1e30, 1e30, text)); /* inf against -inf */
    const float zeros[2] = {0.0f, -0.0f};
    CU_ASSERT_FALSE(check_bits(zeros, zeros + 1, 1, text));
    CU_ASSERT(check_close(zeros, zeros + 1, 1, 0.0, 0.0, text));
}

void suite_base(void) {
    CU_pSuite suite = CU_add_suite("base", NULL, NULL);
    CU_add_test(suite, "status and messages", test_messages);
    CU_add_test(suite, "allocation", test_alloc);
    CU_add_test(suite, "the n-th allocation fails", test_failing);
    CU_add_test(suite, "allocations are counted on all threads", test_alloc_threads);
    CU_add_test(suite, "arena", test_arena);
    CU_add_test(suite, "types and shapes", test_types);
    CU_add_test(suite, "Philox known answers", test_philox);
    CU_add_test(suite, "Philox packing", test_random_word);
    CU_add_test(suite, "XXH64", test_hash);
    CU_add_test(suite, "clock", test_clock);
    CU_add_test(suite, "comparators fail when they must", test_comparators);
}
