/* The message buffer of each thread, and the texts of the status codes. See status.h. */
#include "runtime/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[DL_MESSAGE_MAX];

const char *dl_status_name(dl_status status) {
    switch (status) {
#define X(name, code, text) \
    case DL_##name:         \
        return #name;
        DL_STATUS_LIST(X)
#undef X
    }
    return "UNKNOWN";
}

const char *dl_status_text(dl_status status) {
    switch (status) {
#define X(name, code, text) \
    case DL_##name:         \
        return text;
        DL_STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

dl_status dl_fail(dl_status status, const char *format, ...) {
    /* Formatted aside, because an argument may be the old message itself. */
    char text[DL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    memcpy(message, text, strlen(text) + 1);
    return status;
}

dl_status dl_fail_prefix(dl_status status, const char *format, ...) {
    char text[DL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    size_t prefix = strlen(text), rest = strlen(message);
    if (rest > sizeof text - 1 - prefix)
        rest = sizeof text - 1 - prefix;
    memcpy(text + prefix, message, rest);
    text[prefix + rest] = '\0';
    memcpy(message, text, prefix + rest + 1);
    return status;
}

const char *dl_message(void) {
    return message;
}

dl_status dl_fail_memory(size_t bytes) {
    return dl_fail(DL_NO_MEMORY, "out of memory: could not allocate %zu bytes", bytes);
}
