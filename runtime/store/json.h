/* JSON through jansson, with its memory counted as ours and its limits set: duplicate keys refused,
 * depth bounded by the library (2048). Next: checkpoint.c and run_folder.c, which use it. */
#ifndef DL_STORE_JSON_H
#define DL_STORE_JSON_H

#include <stddef.h>

#include <jansson.h>

#include "runtime/base/status.h"

/* Must run before any other call of jansson; cheap when repeated. */
void dl_json_setup(void);

/* The value in `text`; `path` is for the message of DL_NO_INPUT. */
dl_status dl_json_read(const char *path, const char *text, size_t count, json_t **out);

/* Indented text of a value and a last line end, in a block of dl_alloc, `front` free bytes before
 * it. */
dl_status dl_json_write(const json_t *value, size_t front, char **text, size_t *count);

/* JSON text of `text` with its quotes, cut to fit; what is not UTF-8 becomes '?'. Returns the
 * length. */
size_t dl_json_quote(char *out, size_t room, const char *text);

/* A double as Python's repr prints it: shortest digits that read back, "1.0", "1e-05", "nan".
 * Returns the length. */
int dl_repr(char *text, size_t room, double value);

#endif
