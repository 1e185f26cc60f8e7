/* Comparators of the unit tests; test_base.c proves that they can fail. See check.h. */
#include "tests/unit/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool close_enough(double got, double want, double absolute, double relative) {
    double error = fabs(got - want);
    return error <= absolute + relative * fabs(want) && !isinf(want); /* false for a NaN */
}

bool check_close(const float *got, const float *want, int64_t count, double absolute,
                 double relative, char *text) {
    text[0] = '\0';
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&got[i], &want[i], sizeof *got) == 0)
            continue;
        if (!close_enough((double)got[i], (double)want[i], absolute, relative)) {
            snprintf(text, CHECK_TEXT, "[%" PRId64 "] of %" PRId64 ": got %.9g, want %.9g", i,
                     count, (double)got[i], (double)want[i]);
            return false;
        }
    }
    return true;
}

bool check_close_double(const double *got, const double *want, int64_t count, double absolute,
                        double relative, char *text) {
    text[0] = '\0';
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&got[i], &want[i], sizeof *got) == 0)
            continue;
        if (!close_enough(got[i], want[i], absolute, relative)) {
            snprintf(text, CHECK_TEXT, "[%" PRId64 "] of %" PRId64 ": got %.17g, want %.17g", i,
                     count, got[i], want[i]);
            return false;
        }
    }
    return true;
}

bool check_bits(const float *got, const float *want, int64_t count, char *text) {
    text[0] = '\0';
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0) {
            uint32_t got_bits, want_bits;
            memcpy(&got_bits, &got[i], sizeof got_bits);
            memcpy(&want_bits, &want[i], sizeof want_bits);
            snprintf(text, CHECK_TEXT,
                     "[%" PRId64 "] of %" PRId64 ": got %.9g (%08x), want %.9g (%08x)", i, count,
                     (double)got[i], got_bits, (double)want[i], want_bits);
            return false;
        }
    return true;
}

void check_report(bool passed, const char *text, const char *call, const char *file, int line) {
    if (!passed)
        printf("\n    %s:%d: %s: %s", file, line, call, text);
    CU_assertImplementation(passed ? CU_TRUE : CU_FALSE, (unsigned)line, call, file, "", CU_FALSE);
}

bool check_status(dl_status got, dl_status want, const char *part, const char *call,
                  const char *file, int line) {
    char text[CHECK_TEXT * 2] = "";
    bool passed = got == want && strstr(got == DL_OK ? "" : dl_message(), part);
    if (!passed)
        snprintf(text, sizeof text, "got %s (%.200s), want %s (...%.100s...)", dl_status_name(got),
                 got == DL_OK ? "" : dl_message(), dl_status_name(want), part);
    check_report(passed, text, call, file, line);
    return passed;
}

void check_skip(const char *test, const char *why) {
    printf("\nskipped %s: %s\n", test, why);
}
