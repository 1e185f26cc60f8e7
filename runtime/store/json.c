/* See json.h. */
#include "runtime/store/json.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"

/* The library does not always say that it was memory that failed it. */
static _Thread_local bool exhausted;

static void *allocate(size_t bytes) {
    void *block = dl_alloc(bytes);
    if (!block)
        exhausted = true;
    return block;
}

static void set_memory(void) {
    json_set_alloc_funcs(allocate, dl_free);
}

void dl_json_setup(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_memory);
}

dl_status dl_json_read(const char *path, const char *text, size_t count, json_t **out) {
    dl_json_setup();
    json_error_t error;
    exhausted = false;
    *out = json_loadb(text, count, JSON_REJECT_DUPLICATES, &error);
    if (*out && !exhausted)
        return DL_OK;
    if (exhausted) {
        json_decref(*out);
        *out = NULL;
        return dl_fail_memory(count);
    }
    return dl_fail(DL_NO_INPUT, "%s:%d:%d: %s", path, error.line, error.column, error.text);
}

dl_status dl_json_write(const json_t *value, size_t front, char **text, size_t *count) {
    const size_t flags = JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY;
    size_t length = json_dumpb(value, NULL, 0, flags);
    char *block = length > 0 ? dl_alloc(front + length + 2) : NULL;
    if (!block || json_dumpb(value, block + front, length, flags) != length) {
        dl_free(block);
        return dl_fail_memory(front + length + 2);
    }
    block[front + length] = '\n';
    *text = block;
    *count = front + length + 1;
    return DL_OK;
}

/* Bytes of the UTF-8 character at `at`, 0 if it is none. */
static size_t utf8_length(const unsigned char *at) {
    size_t length = at[0] < 0x80   ? 1
                    : at[0] < 0xc2 ? 0
                    : at[0] < 0xe0 ? 2
                    : at[0] < 0xf0 ? 3
                    : at[0] < 0xf5 ? 4
                                   : 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return length;
}

size_t dl_json_quote(char *out, size_t room, const char *text) {
    size_t used = 0;
    if (room < 3) {
        if (room > 0)
            out[0] = '\0';
        return 0;
    }
    out[used++] = '"';
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        char piece[8];
        size_t length = utf8_length(at), step = length ? length : 1, size = length;
        if (*at == '"' || *at == '\\')
            size = (size_t)snprintf(piece, sizeof piece, "\\%c", *at);
        else if (*at < 0x20)
            size = (size_t)snprintf(piece, sizeof piece, "\\u%04x", *at);
        else if (length == 0)
            size = (size_t)snprintf(piece, sizeof piece, "?");
        else
            memcpy(piece, at, length);
        if (used + size + 2 > room)
            break;
        memcpy(out + used, piece, size);
        used += size;
        at += step;
    }
    out[used++] = '"';
    out[used] = '\0';
    return used;
}

int dl_repr(char *text, size_t room, double value) {
    if (isnan(value))
        return snprintf(text, room, "nan");
    if (isinf(value))
        return snprintf(text, room, value < 0 ? "-inf" : "inf");
    int length = 0, digits = 1;
    for (; digits <= 17; digits++) {
        length = snprintf(text, room, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value)
            break;
    }
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int after = digits - 1 - exponent;
        length = snprintf(text, room, "%.*f", after > 0 ? after : 1, value);
    }
    return length;
}
