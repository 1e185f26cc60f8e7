/* Kernel choices: as a table, on disk, as a file that may be cut or changed, and over ranks, which
 * must not differ. What cuDNN makes of its answers is in test_cudnn.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/single.h"
#include "runtime/base/hash.h"
#include "runtime/base/memory.h"
#include "runtime/device/choices.h"
#include "tests/unit/check.h"
#include "tests/unit/forked.h"

static char folder[] = "/tmp/dltrain-choices-XXXXXX";
static const char card[] = "a card, sm_90", other_card[] = "another, sm_80";
static const char library[] = "cuDNN 9.19.0";

static dl_choices *table(const char *device) {
    dl_choices *choices = NULL;
    CHECK_OK(dl_choices_open(&choices, device));
    return choices;
}

static void add(dl_choices *choices, const char *key, const char *answer, double seconds) {
    CHECK_OK(dl_choices_add(
        choices,
        &(dl_choice){
            .library = library, .key = key, .answer = answer, .seconds = seconds, .unkept = true}));
}

/* "" where there is none. */
static const char *answer_of(dl_choices *choices, const char *of, const char *key) {
    const char *answer = NULL;
    CHECK_OK(dl_choices_find(choices, of, key, &answer));
    return answer ? answer : "";
}

static void test_table(void) {
    dl_choices *choices = table(card);
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "conv 1"), "");
    for (int i = 0; i < 200; i++) {
        char key[32], answer[32];
        snprintf(key, sizeof key, "conv %d", i);
        snprintf(answer, sizeof answer, "way 0 eng%d", i % 50);
        add(choices, key, answer, 0);
    }
    add(choices, "conv 7", "way 1 eng3", 1e-6);
    CU_ASSERT_EQUAL(choices->count, 200);
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "conv 7"), "way 1 eng3");
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "conv 199"), "way 0 eng49");
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "conv"), "");
    CU_ASSERT_STRING_EQUAL(answer_of(choices, "cuDNN 9.20.0", "conv 7"), "");
    const dl_choice lines = {.library = library, .key = "a\nb", .answer = "c"};
    CHECK_FAILS(dl_choices_add(choices, &lines), DL_INTERNAL, "no line of text");
    dl_choices_close(choices);
}

/* By card, version, key and whether it was timed. */
static void test_disk(void) {
    dl_choices *choices = table(card), *again;
    const dl_choice made = {
        .library = library, .key = "conv 1", .answer = "way 0 eng1_k2=5", .seconds = 2e-5};
    CHECK_OK(dl_choices_add(choices, &made));
    dl_choices_close(choices);
    again = table(card);
    CU_ASSERT_STRING_EQUAL(answer_of(again, library, "conv 1"), "way 0 eng1_k2=5");
    CU_ASSERT_EQUAL(again->list[0].seconds, 2e-5);
    CU_ASSERT_FALSE(again->list[0].given);
    CU_ASSERT_STRING_EQUAL(answer_of(again, library, "conv 2"), "");
    CU_ASSERT_STRING_EQUAL(answer_of(again, "cuDNN 9.20.0", "conv 1"), "");
    dl_choices_close(again);
    again = table(other_card);
    CU_ASSERT_STRING_EQUAL(answer_of(again, library, "conv 1"), "");
    dl_choices_close(again);
    again = table(card);
    again->timed = true;
    CU_ASSERT_STRING_EQUAL(answer_of(again, library, "conv 1"), "");
    dl_choices_close(again);
}

static void test_closed(void) {
    const char *answer;
    dl_choices *choices = table(card);
    add(choices, "conv 1", "way 0 eng1", 0);
    choices->closed = true;
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "conv 1"), "way 0 eng1");
    CHECK_FAILS(dl_choices_find(choices, library, "conv 2", &answer), DL_BAD_JOB,
                "rank 0 has chosen no kernel of cuDNN 9.19.0 to compute conv 2;");
    CHECK_FAILS(dl_choices_find(choices, "cuDNN 9.20.0", "conv 1", &answer), DL_BAD_JOB,
                "conv 1, but one of cuDNN 9.19.0;");
    CHECK_FAILS(dl_choices_refuse(choices, "conv 1"), DL_BAD_JOB, "way 0 eng1, cannot be had");
    choices->closed = false;
    CHECK_OK(dl_choices_refuse(choices, "conv 1"));
    dl_choices_close(choices);
}

/* ---- as a file ---- */

static char *sample_text(void) {
    dl_choices *choices = table(card);
    char *text = NULL;
    add(choices, "conv 1", "way 0 eng1_k2=5", 1.25e-5);
    add(choices, "conv 2", "way 1 eng2", 0);
    add(choices, "product 3", "algo1_tile2: 1 2 3", 3e-3);
    add(choices, "product 4", "algo1", 1e300); /* no time */
    CHECK_OK(dl_choices_write(choices, &text));
    dl_choices_close(choices);
    return text;
}

static void test_file(void) {
    dl_choices *choices = table(card), *foreign_to = table(other_card);
    char *text = sample_text(), *again = NULL;
    bool foreign = true;
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "cuDNN 9.19.0\tway 0 eng1_k2=5\t12.50 us\tconv 1\n"));
    add(choices, "conv 2", "way 0 eng9", 0); /* what is there stays */
    CHECK_OK(dl_choices_read(choices, text, "the file", &foreign));
    CU_ASSERT_FALSE(foreign);
    CU_ASSERT_EQUAL(choices->count, 4);
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "conv 1"), "way 0 eng1_k2=5");
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "conv 2"), "way 0 eng9");
    CU_ASSERT_STRING_EQUAL(answer_of(choices, library, "product 3"), "algo1_tile2: 1 2 3");
    CU_ASSERT_TRUE(choices->list[1].given && !choices->list[0].given);
    CHECK_OK(dl_choices_read(foreign_to, text, "the file", &foreign));
    CU_ASSERT_TRUE(foreign);
    CU_ASSERT_EQUAL(foreign_to->count, 0);
    dl_choices_close(choices);
    choices = table(card);
    CHECK_OK(dl_choices_read(choices, text, "the file", &foreign));
    CHECK_OK(dl_choices_write(choices, &again));
    CU_ASSERT_STRING_EQUAL(text, again);
    dl_free(again);
    dl_free(text);
    dl_choices_close(choices);
    dl_choices_close(foreign_to);
}

static void refused(dl_choices *choices, const char *text, size_t at) {
    bool foreign = false;
    dl_status status = dl_choices_read(choices, text, "the file", &foreign);
    if (status != DL_NO_INPUT || choices->count != 0)
        printf("\n    at %zu: status %d, %d choices\n", at, (int)status, choices->count);
    CU_ASSERT(status == DL_NO_INPUT && choices->count == 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(dl_message(), "the file is damaged"));
}

/* Cut at any place, changed at any place: nothing of it is taken. */
static void test_damage(void) {
    dl_choices *choices = table(card);
    char *text = sample_text();
    size_t length = strlen(text);
    for (size_t at = 0; at < length; at++) {
        char kept = text[at];
        text[at] = '\0';
        refused(choices, text, at);
        text[at] = (char)(kept ^ 1);
        refused(choices, text, at);
        text[at] = kept;
    }
    dl_free(text);
    dl_choices_close(choices);
}

/* Whose last line says that it is whole, written by somebody else. */
static void test_forged(void) {
    static const struct {
        const char *lines;
        int count;
    } bad[] = {{"cuDNN\tway 0\tconv\n", 1},
               {"cuDNN\tway 0\t1 us\t\n", 1},
               {"cuDNN\tway 0\t1 ms\tconv\n", 1},
               {"cuDNN\tway 0\t-1 us\tconv\n", 1},
               {"cuDNN\tway 0\tnan us\tconv\n", 1},
               {"cuDNN\tway 0\tinf us\tconv\n", 1},
               {"cuDNN\tway 0\t1e300 us\tconv\n", 1},
               {"cuDNN\t\t1 us\tconv\n", 1},
               {"\tway 0\t1 us\tconv\n", 1},
               {"cuDNN\tway 0\t1 us\tconv\tmore\n", 1},
               {"cuDNN\tway 0\t1 us\tconv\n", 2},
               {"cuDNN\tway 0\t1 us\tconv\n", 0},
               {"cuDNN\tway 0\t1 us\tconv\n", 2147483647},
               {"cuDNN\tway 0\t1 us\tconv\n", -1},
               {"\n", 1}};
    dl_choices *choices = table(card);
    for (int i = 0; i < DL_COUNT(bad); i++) {
        char text[256];
        int length =
            snprintf(text, sizeof text, "kernel choices 1\ncard\t%s\n%s", card, bad[i].lines);
        snprintf(text + length, sizeof text - (size_t)length, "end\t%d\t%016llx\n", bad[i].count,
                 (unsigned long long)dl_hash(text, (size_t)length, 0));
        refused(choices, text, (size_t)i);
    }
    dl_choices_close(choices);
}

static void test_memory(void) {
    char *text = sample_text();
    uint64_t held = dl_alloc_held();
    bool foreign;
    dl_status status = DL_NO_MEMORY;
    for (uint64_t n = 1; status != DL_OK && n < 100; n++) {
        dl_choices *choices = table(card);
        dl_alloc_fail_after(n);
        status = dl_choices_read(choices, text, "the file", &foreign);
        dl_alloc_fail_after(0);
        CU_ASSERT(status == DL_OK || status == DL_NO_MEMORY);
        dl_choices_close(choices);
        CU_ASSERT_EQUAL(dl_alloc_held(), held);
    }
    CU_ASSERT_EQUAL(status, DL_OK);
    dl_free(text);
}

/* ---- over ranks ---- */

#define EXPECT(code, condition)                    \
    do {                                           \
        if (!(condition)) {                        \
            fprintf(stderr, "%s\n", dl_message()); \
            return code;                           \
        }                                          \
    } while (0)

/* Rank 0 chooses, the others take exactly that; a choice of their own is found. */
static int rank_takes(dl_comm *comm) {
    dl_choices *choices = table(card);
    const char *answer;
    if (comm->rank == 0)
        for (int i = 0; i < 300; i++) {
            char key[200];
            snprintf(key, sizeof key, "conv %d of many words %0100d", i, i);
            add(choices, key, "way 0 eng1", 1e-6);
        }
    choices->closed = comm->rank > 0;
    EXPECT(1, dl_choices_spread(choices, comm) == DL_OK && choices->count == 300);
    EXPECT(2, dl_choices_same(choices, comm) == DL_OK);
    EXPECT(3, dl_choices_find(choices, library, choices->list[299].key, &answer) == DL_OK &&
                  strcmp(answer, "way 0 eng1") == 0);
    /* Not all ranks have all shapes. */
    if (comm->rank == 1)
        add(choices, "conv alone", "way 0 eng5", 0);
    EXPECT(4, dl_choices_same(choices, comm) == DL_OK);
    if (comm->rank != 0)
        add(choices, "conv of two", comm->rank == 1 ? "way 0 eng6" : "way 0 eng7", 0);
    dl_status same = dl_choices_same(choices, comm);
    EXPECT(5, comm->size < 3 ? same == DL_OK
                             : same == DL_UNAVAILABLE && strstr(dl_message(), "conv of two"));
    dl_choices_close(choices);
    return 0;
}

/* Other cards may choose otherwise, unless rank 0 chooses for them. */
static int rank_is_other(dl_comm *comm) {
    dl_choices *choices = table(comm->rank == 0 ? card : other_card);
    add(choices, "conv 1", comm->rank == 0 ? "way 0 eng1" : "way 0 eng2", 0);
    EXPECT(1, dl_choices_same(choices, comm) == DL_OK);
    EXPECT(2, dl_choices_spread(choices, comm) == DL_OK);
    EXPECT(3, choices->count == 1);
    choices->closed = comm->rank > 0;
    EXPECT(4, dl_choices_spread(choices, comm) == DL_BAD_JOB);
    EXPECT(5, strstr(dl_message(), "rank 1: this rank's card is another, sm_80"));
    dl_choices_close(choices);
    return 0;
}

static void test_ranks(void) {
    static const int fine[3] = {0};
    dl_comm *comm = NULL;
    CHECK_OK(dl_single_open(&comm));
    CU_ASSERT_EQUAL(rank_takes(comm), 0);
    dl_comm_close(comm);
    run_forked(2, rank_takes, fine);
    run_forked(3, rank_takes, fine);
    run_forked(2, rank_is_other, fine);
}

static int begin(void) {
    return mkdtemp(folder) ? setenv("DLTRAIN_CACHE", folder, 1) : 1;
}

static int end(void) {
    char command[128];
    setenv("DLTRAIN_CACHE", "", 1);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

void suite_choices(void);
void suite_choices(void) {
    CU_pSuite suite = CU_add_suite("choices", begin, end);
    CU_add_test(suite, "a table", test_table);
    CU_add_test(suite, "kept on disk", test_disk);
    CU_add_test(suite, "of another rank", test_closed);
    CU_add_test(suite, "a file", test_file);
    CU_add_test(suite, "a damaged file", test_damage);
    CU_add_test(suite, "a forged file", test_forged);
    CU_add_test(suite, "no memory", test_memory);
    CU_add_test(suite, "over ranks", test_ranks);
}
