/* Cards that plans are made for without having them (ops/cudnn_card_cuda.c): cuDNN takes what is
 * kept of each, and where there is a GPU of that name, cuDNN says the same of it. Where it does
 * not, the line as it should stand there is printed. */
#include <CUnit/Basic.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/device/device.h"
#include "runtime/store/json.h"
#include "tests/unit/check.h"
#include "tests/unit/shim.h"

enum { KEPT = 1024, SAID = 1 << 16 };
typedef dl_status (*card_fn)(int index, int architecture, char kept[KEPT], char *said,
                             int64_t room);

/* Of the library that is given, or of this build's. */
static card_fn find_card(const char *test) {
    char path[PATH_MAX];
    const char *given = getenv("DLTRAIN_CUDA_LIBRARY");
    beside_program("libdl_cuda.so", path);
    void *library = dlopen(given ? given : path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "dl_cudnn_card_here") : NULL;
    card_fn card;
    memcpy(&card, &symbol, sizeof card);
    bool shim = library && dlsym(library, "shim_calls");
    if (!card)
        check_skip(test, "libdl_cuda.so is not built, or its libraries not found");
    else if (shim)
        check_skip(test, "the shim has no cards");
    return shim ? NULL : card;
}

static json_t *parse(const char *text) {
    json_t *top = NULL;
    dl_json_setup();
    CHECK_OK(dl_json_read("the card", text, strlen(text), &top));
    return top;
}

static long long number(const json_t *card, const char *key) {
    return json_integer_value(json_object_get(card, key));
}

/* A line of the table. */
static void line_of(const json_t *card, char *text, size_t room) {
    snprintf(text, room, "{%lld, \"%s\", %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld},",
             number(card, "deviceVer") / 10, json_string_value(json_object_get(card, "deviceName")),
             number(card, "multiProcessorCount"), number(card, "maxSharedMemoryPerBlockOptin"),
             number(card, "l2CacheSize") / 1024, number(card, "maxCtasPerSM"),
             number(card, "maxThreadsPerSM"), number(card, "smClockRateKHz"),
             number(card, "memClockRateKHz"), number(card, "totalGlobalMem") >> 20);
}

/* What differs from host to host is no matter. */
static bool may_differ(const char *key) {
    return strcmp(key, "driverVer") == 0 || strcmp(key, "pciDeviceId") == 0 ||
           strcmp(key, "cudaDeviceId") == 0;
}

static bool same_value(const char *key, const json_t *value, const json_t *said) {
    if (strcmp(key, "totalGlobalMem") == 0) /* is kept in MiB */
        return json_integer_value(value) >> 20 == json_integer_value(said) >> 20;
    return json_equal(value, said);
}

/* How many of the kept properties the card does not have. */
static int differences(json_t *kept, const json_t *said) {
    const char *key;
    json_t *value;
    int count = 0;
    json_object_foreach(kept, key, value) {
        const json_t *theirs = json_object_get(said, key);
        if (may_differ(key) || same_value(key, value, theirs))
            continue;
        char *ours = json_dumps(value, JSON_ENCODE_ANY);
        char *other = theirs ? json_dumps(theirs, JSON_ENCODE_ANY) : NULL;
        fprintf(stderr, "\n  %s is kept as %s, the card has %s", key, ours, other ? other : "none");
        dl_free(ours);
        dl_free(other);
        count++;
    }
    return count;
}

static void test_kept(void) {
    static const int architecture[] = {75, 80, 86, 89, 90, 100, 120};
    card_fn card = find_card("cuda_card, as kept");
    static char kept[KEPT], said[SAID], line[512];
    for (int i = 0; card && i < DL_COUNT(architecture); i++) {
        if (!CHECK_OK(card(-1, architecture[i], kept, said, sizeof said)))
            continue;
        json_t *ours = parse(kept), *theirs = parse(said);
        CU_ASSERT_EQUAL(differences(ours, theirs), 0);
        CU_ASSERT_EQUAL(number(ours, "deviceVer"), 10 * architecture[i]);
        line_of(theirs, line, sizeof line);
        if (architecture[i] == 75)
            CU_ASSERT_STRING_EQUAL(
                line, "{75, \"Tesla T4\", 40, 65536, 4096, 16, 1024, 1590000, 5001000, 15102},");
        json_decref(ours);
        json_decref(theirs);
    }
}

static void test_here(void) {
    const char *test = "cuda_card, the card here";
    card_fn card = find_card(test);
    static char kept[KEPT], said[SAID], line[512];
    dl_device *device = NULL;
    if (!card)
        return;
    if (!getenv("DLTRAIN_CUDA_LIBRARY")) { /* others would find this library open in place of the
                                              shim */
        check_skip(test, "DLTRAIN_CUDA_LIBRARY names no library with a GPU to it");
        return;
    }
    if (!CHECK_OK(dl_device_open_cuda(0, &device)))
        return;
    if (CHECK_OK(card(0, device->architecture, kept, said, sizeof said))) {
        json_t *ours = parse(kept), *theirs = parse(said);
        const char *name = json_string_value(json_object_get(theirs, "deviceName"));
        line_of(theirs, line, sizeof line);
        fprintf(stderr, "\n  cuDNN says of this card: %s\n  which is %s", said, line);
        if (strcmp(name, json_string_value(json_object_get(ours, "deviceName"))) == 0)
            CU_ASSERT_EQUAL(differences(ours, theirs), 0);
        json_decref(ours);
        json_decref(theirs);
    }
    dl_device_close(device);
}

void suite_cuda_card(void);
void suite_cuda_card(void) {
    CU_pSuite suite = CU_add_suite("cuda_card", NULL, NULL);
    CU_add_test(suite, "cuDNN takes what is kept of cards", test_kept);
    CU_add_test(suite, "and says the same of the card here", test_here);
}
