/* Comparators of the unit tests. Each compares bits first, then asks !(error <= tolerance), so that
 * a NaN or an infinity on one side alone always fails. A failure prints index and both values and
 * fails the CUnit assertion of the line that called. */
#ifndef DL_TESTS_CHECK_H
#define DL_TESTS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <CUnit/CUnit.h>

#include "runtime/base/status.h"

/* |got - want| <= absolute + relative * |want| for every element. On the first that fails the text
 * (CHECK_TEXT bytes) says where and what; an empty text on success. */
enum { CHECK_TEXT = 256 };
bool check_close(const float *got, const float *want, int64_t count, double absolute,
                 double relative, char *text);
bool check_close_double(const double *got, const double *want, int64_t count, double absolute,
                        double relative, char *text);
/* Bit for bit; NaNs of equal bits are equal, 0 and -0 are not. */
bool check_bits(const float *got, const float *want, int64_t count, char *text);

/* Prints the failure under the assertion's own file and line. */
void check_report(bool passed, const char *text, const char *call, const char *file, int line);

#define CHECK_CLOSE(got, want, count, absolute, relative)                                      \
    do {                                                                                       \
        char check_text_[CHECK_TEXT];                                                          \
        bool check_passed_ =                                                                   \
            check_close((got), (want), (count), (absolute), (relative), check_text_);          \
        check_report(check_passed_, check_text_, #got " close to " #want, __FILE__, __LINE__); \
    } while (0)
#define CHECK_CLOSE_DOUBLE(got, want, count, absolute, relative)                               \
    do {                                                                                       \
        char check_text_[CHECK_TEXT];                                                          \
        bool check_passed_ =                                                                   \
            check_close_double((got), (want), (count), (absolute), (relative), check_text_);   \
        check_report(check_passed_, check_text_, #got " close to " #want, __FILE__, __LINE__); \
    } while (0)
#define CHECK_BITS(got, want, count)                                                          \
    do {                                                                                      \
        char check_text_[CHECK_TEXT];                                                         \
        bool check_passed_ = check_bits((got), (want), (count), check_text_);                 \
        check_report(check_passed_, check_text_, #got " bits of " #want, __FILE__, __LINE__); \
    } while (0)

/* The call returns DL_OK, else its message is printed; the call returns `status` and its message
 * contains `part`. */
#define CHECK_OK(call) check_status((call), DL_OK, "", #call, __FILE__, __LINE__)
#define CHECK_FAILS(call, status, part) \
    check_status((call), (status), (part), #call, __FILE__, __LINE__)
bool check_status(dl_status got, dl_status want, const char *part, const char *call,
                  const char *file, int line);

/* A test that cannot run here says so in a line of its own, which tests/run.sh counts. */
void check_skip(const char *test, const char *why);

#endif
