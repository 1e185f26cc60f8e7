/* Compiled texts on disk: what is put comes back, and nothing else does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/memory.h"
#include "runtime/device/code_cache.h"
#include "tests/unit/check.h"

static char folder[] = "/tmp/dltrain-cache-XXXXXX";

static dl_nvrtc_code sample(void) {
    static char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    return (dl_nvrtc_code){.bytes = bytes, .size = sizeof bytes, .ptx = true};
}

static void path_of(dl_code_key key, char path[300]) {
    snprintf(path, 300, "%s/deep/er/%016llx%016llx.code", folder, (unsigned long long)key.word[0],
             (unsigned long long)key.word[1]);
}

static void test_round_trip(void) {
    dl_code_key key = dl_code_key_of("text", 90, 13000);
    dl_nvrtc_code code = sample(), got;
    CU_ASSERT_FALSE(dl_code_cache_get(key, &got));
    dl_code_cache_put(key, &code);
    CU_ASSERT_FATAL(dl_code_cache_get(key, &got));
    CU_ASSERT_EQUAL(got.size, code.size);
    CU_ASSERT_TRUE(got.ptx);
    CU_ASSERT_EQUAL(memcmp(got.bytes, code.bytes, code.size), 0);
    dl_nvrtc_code_free(&got);
    const dl_code_key others[] = {dl_code_key_of("texu", 90, 13000),
                                  dl_code_key_of("text", 80, 13000),
                                  dl_code_key_of("text", 90, 12080)};
    for (int i = 0; i < DL_COUNT(others); i++)
        CU_ASSERT_FALSE(dl_code_cache_get(others[i], &got));
}

/* Every byte that is changed, and every end that is missing, is found. */
static void test_damage(void) {
    dl_code_key key = dl_code_key_of("damage", 90, 13000);
    dl_nvrtc_code code = sample(), got;
    char path[300];
    path_of(key, path);
    const long places[] = {0, 9, 20, 26, 33, 60, 2000, 5000};
    for (int i = 0; i < DL_COUNT(places); i++) {
        dl_code_cache_put(key, &code);
        FILE *file = fopen(path, "r+b");
        CU_ASSERT_FATAL(file != NULL);
        fseek(file, places[i], SEEK_SET);
        int byte = fgetc(file);
        fseek(file, places[i], SEEK_SET);
        fputc(byte ^ 0x55, file);
        fclose(file);
        CU_ASSERT_FALSE(dl_code_cache_get(key, &got));
        dl_code_cache_put(key, &code);
        CU_ASSERT_EQUAL(truncate(path, places[i]), 0);
        CU_ASSERT_FALSE(dl_code_cache_get(key, &got));
    }
    dl_code_cache_put(key, &code); /* made again */
    CU_ASSERT_FATAL(dl_code_cache_get(key, &got));
    dl_nvrtc_code_free(&got);
}

static void test_off(void) {
    dl_code_key key = dl_code_key_of("off", 90, 13000);
    dl_nvrtc_code code = sample(), got;
    setenv("DLTRAIN_CACHE", "", 1);
    dl_code_cache_put(key, &code);
    CU_ASSERT_FALSE(dl_code_cache_get(key, &got));
    setenv("DLTRAIN_CACHE", "/proc/no/such", 1); /* cannot be made */
    dl_code_cache_put(key, &code);
    CU_ASSERT_FALSE(dl_code_cache_get(key, &got));
}

static int begin(void) {
    char deep[64];
    if (!mkdtemp(folder))
        return 1;
    snprintf(deep, sizeof deep, "%s/deep/er", folder);
    return setenv("DLTRAIN_CACHE", deep, 1);
}

static int end(void) {
    char command[128];
    setenv("DLTRAIN_CACHE", "", 1);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

void suite_code_cache(void);
void suite_code_cache(void) {
    CU_pSuite suite = CU_add_suite("code_cache", begin, end);
    CU_add_test(suite, "what is put comes back", test_round_trip);
    CU_add_test(suite, "damage is found", test_damage);
    CU_add_test(suite, "none is kept unless there is a place", test_off);
}
