/* The planner: no two lives that meet share a byte, whatever the lives are; and it does reuse. */
#include <CUnit/Basic.h>
#include <stdbool.h>

#include "runtime/base/philox.h"
#include "runtime/graph/planner.h"

static int conflicts(const dl_lifetime *items, int count, size_t total) {
    int found = 0;
    for (int i = 0; i < count; i++) {
        found += items[i].offset % DL_PLAN_ALIGN != 0 || items[i].offset + items[i].bytes > total;
        for (int k = 0; k < i; k++) {
            bool meet = items[i].first <= items[k].last && items[k].first <= items[i].last;
            bool share = items[i].offset < items[k].offset + items[k].bytes &&
                         items[k].offset < items[i].offset + items[i].bytes;
            found += meet && share;
        }
    }
    return found;
}

static void test_random_lives(void) {
    for (uint32_t trial = 0; trial < 50; trial++) {
        dl_lifetime items[200];
        int count = 1 + (int)dl_bounded(dl_random_word(1, 2, 3, trial, 0), 200);
        for (int i = 0; i < count; i++) {
            uint32_t e = 4 * (uint32_t)i;
            int first = (int)dl_bounded(dl_random_word(7, 1, 1, trial, e), 100);
            items[i] = (dl_lifetime){
                .bytes = 1 + dl_bounded(dl_random_word(7, 1, 1, trial, e + 1), 5000),
                .first = first,
                .last = first + (int)dl_bounded(dl_random_word(7, 1, 1, trial, e + 2), 20)};
        }
        size_t total;
        CU_ASSERT_EQUAL(dl_plan_offsets(items, count, &total), DL_OK);
        CU_ASSERT_EQUAL(conflicts(items, count, total), 0);
    }
}

static void test_chain_takes_two(void) {
    dl_lifetime items[10];
    for (int i = 0; i < 10; i++)
        items[i] = (dl_lifetime){.bytes = 640, .first = i, .last = i + 1};
    size_t total;
    CU_ASSERT_EQUAL(dl_plan_offsets(items, 10, &total), DL_OK);
    CU_ASSERT_EQUAL(total, 2 * 640);
    CU_ASSERT_EQUAL(conflicts(items, 10, total), 0);
}

static void test_nothing(void) {
    size_t total = 1;
    CU_ASSERT_EQUAL(dl_plan_offsets(NULL, 0, &total), DL_OK);
    CU_ASSERT_EQUAL(total, 0);
}

void suite_planner(void);
void suite_planner(void) {
    CU_pSuite suite = CU_add_suite("planner", NULL, NULL);
    CU_add_test(suite, "random lives never conflict", test_random_lives);
    CU_add_test(suite, "a chain takes two buffers", test_chain_takes_two);
    CU_add_test(suite, "nothing to plan", test_nothing);
}
