/* Status codes and error messages.
 *
 * Library code never ends the process: a function that can fail returns dl_status and leaves one
 * message for a person (what, where, why, what to do) in a buffer of the calling thread. The values
 * are the exit codes that job.md rule 5 documents, so that launcher/ has nothing to translate. */
#ifndef DL_BASE_STATUS_H
#define DL_BASE_STATUS_H

#include <stddef.h>

#define DL_STATUS_LIST(X)                                         \
    X(OK, 0, "done")                                              \
    X(FAILED, 1, "training failed")                               \
    X(BAD_JOB, 2, "bad command line or job")                      \
    X(NO_INPUT, 66, "absent or damaged input")                    \
    X(UNAVAILABLE, 69, "host or device unavailable")              \
    X(INTERNAL, 70, "a defect in dltrain")                        \
    X(NO_MEMORY, 71, "out of memory")                             \
    X(NO_WRITE, 73, "cannot write")                               \
    X(STOPPED, 75, "stopped by a signal with a checkpoint saved") \
    X(INTERRUPTED, 130, "second interrupt")

typedef enum dl_status {
#define X(name, code, text) DL_##name = code,
    DL_STATUS_LIST(X)
#undef X
} dl_status;

/* The one-word and the long form of a status; never NULL. */
const char *dl_status_name(dl_status status);
const char *dl_status_text(dl_status status);

/* Replaces this thread's message and returns `status`, for `return dl_fail(...)`. Longer messages
 * than DL_MESSAGE_MAX are cut at the end. */
enum { DL_MESSAGE_MAX = 4096 };
dl_status dl_fail(dl_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts text before this thread's message ("rank 1: ...") and returns `status`. */
dl_status dl_fail_prefix(dl_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* This thread's last message; empty if none. Valid until the thread's next dl_fail. */
const char *dl_message(void);

/* DL_NO_MEMORY with the number of bytes that could not be had. */
dl_status dl_fail_memory(size_t bytes);

/* Return on error; goto on error (the function has `dl_status status` and a reverse-order ladder).
 */
#define DL_TRY(call)                \
    do {                            \
        dl_status dl_try_ = (call); \
        if (dl_try_ != DL_OK)       \
            return dl_try_;         \
    } while (0)
#define DL_GOTO(label, call) \
    do {                     \
        status = (call);     \
        if (status != DL_OK) \
            goto label;      \
    } while (0)

#endif
