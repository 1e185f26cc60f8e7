/* See patterns.h. */
#include "models/patterns.h"

#include <string.h>

/* Goes back to the last star alone, so that many stars cost no more than one. */
static bool glob(const char *pattern, const char *text, size_t length) {
    const char *end = text + length, *star = NULL, *after = NULL;
    while (text < end) {
        if (*pattern == '*') {
            star = ++pattern;
            after = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++after;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool dl_pattern_matches(const char *pattern, const char *name) {
    for (const char *end = name; *end; end++)
        if (*end == '.' && glob(pattern, name, (size_t)(end - name)))
            return true;
    return glob(pattern, name, strlen(name));
}
