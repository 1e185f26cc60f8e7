/* Samples on a device (launcher/device_data.h): which fit; rows taken by number, whatever their
 * bytes allow. Whole programs with them: test_together.c, tests/runs/shim.sh. */
#include <CUnit/Basic.h>
#include <string.h>

#include "launcher/device_data.h"
#include "runtime/base/memory.h"
#include "runtime/base/philox.h"
#include "tests/unit/check.h"
#include "tests/unit/shim.h"

static void test_fits(void) {
    const size_t gib = (size_t)1 << 30;
    CU_ASSERT(dl_device_data_fits(gib, 0, 8 * gib));
    CU_ASSERT(!dl_device_data_fits(gib + 1, 0, 8 * gib));
    CU_ASSERT(dl_device_data_fits(2 * gib, 0, 100 * gib));
    CU_ASSERT(!dl_device_data_fits(2 * gib + 1, 0, 100 * gib));
    CU_ASSERT(dl_device_data_fits(gib, gib, 100 * gib));
    CU_ASSERT(!dl_device_data_fits(gib + 1, gib, 100 * gib));
    CU_ASSERT(dl_device_data_fits(0, 2 * gib, 0));
    CU_ASSERT(!dl_device_data_fits(1, 3 * gib, 100 * gib));
    CU_ASSERT(!dl_device_data_fits(SIZE_MAX, 0, SIZE_MAX));
}

enum { ROWS = 23, COUNT = 41, WIDEST = 5000, BEHIND = 16 };

static bool take(dl_device *device, size_t bytes, const uint8_t *table, const uint32_t *number,
                 uint8_t *out) {
    void *there[3] = {NULL};
    const size_t size[] = {ROWS * bytes, COUNT * sizeof *number, COUNT * bytes + BEHIND};
    bool good = true;
    for (int i = 0; i < 3; i++)
        good = good && CHECK_OK(device->table->allocate(device, size[i], &there[i]));
    good = good && CHECK_OK(device->table->copy(device, there[0], table, size[0])) &&
           CHECK_OK(device->table->copy(device, there[1], number, size[1])) &&
           CHECK_OK(device->table->take(device, there[2], there[0], there[1], COUNT, bytes)) &&
           CHECK_OK(device->table->copy(device, out, there[2], size[2])) &&
           CHECK_OK(device->table->wait(device));
    for (int i = 0; i < 3; i++)
        device->table->release(device, there[i]);
    return good;
}

static void test_take(void) {
    static const size_t widths[] = {1, 3, 4, 12, 16, 40, 48, 784, 1025, 4096, WIDEST};
    dl_device *device = shim_open("device_data, rows");
    uint8_t *table = dl_alloc(ROWS * WIDEST), *out = dl_alloc(COUNT * WIDEST + BEHIND);
    uint32_t number[COUNT];
    for (uint32_t i = 0; i < ROWS * WIDEST; i++)
        table[i] = (uint8_t)dl_random_word(1, 0, 0, 0, i);
    for (uint32_t i = 0; i < COUNT; i++)
        number[i] = dl_random_word(2, 0, 0, 0, i) % ROWS;
    number[0] = ROWS - 1;
    for (int w = 0; w < DL_COUNT(widths) && device; w++) {
        static const uint8_t nothing[BEHIND];
        size_t bytes = widths[w];
        if (!take(device, bytes, table, number, out))
            break;
        for (size_t i = 0; i < COUNT; i++)
            CU_ASSERT_EQUAL(memcmp(out + i * bytes, table + number[i] * bytes, bytes), 0);
        CU_ASSERT_EQUAL(memcmp(out + COUNT * bytes, nothing, BEHIND), 0);
    }
    dl_free(table);
    dl_free(out);
    dl_device_close(device);
}

void suite_device_data(void);
void suite_device_data(void) {
    CU_pSuite suite = CU_add_suite("device_data", NULL, NULL);
    CU_add_test(suite, "what fits", test_fits);
    CU_add_test(suite, "rows by number", test_take);
}
