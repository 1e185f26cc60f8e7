/* Runs every suite (or those named on the command line); exit 1 if anything failed or nothing ran.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUITE(name) void suite_##name(void);
#include "suites.inc"
#undef SUITE

static int wanted(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return 1;
    return argc < 2;
}

int main(int argc, char **argv) {
    setenv("DLTRAIN_CACHE", "", 1); /* the same in every run: nothing is found on disk */
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
#define SUITE(name)                \
    if (wanted(#name, argc, argv)) \
        suite_##name();
#include "suites.inc"
#undef SUITE
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    /* Of suites that could not be set up, too. */
    unsigned run = CU_get_number_of_tests_run(), failed = CU_get_number_of_failure_records();
    if (run == 0)
        fprintf(stderr, "no test ran\n");
    CU_cleanup_registry();
    return run == 0 || failed != 0;
}
