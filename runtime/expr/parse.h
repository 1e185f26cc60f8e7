/* What parse.c (the grammar) and parse_words.c (names, functions, their arguments) share: the state
 * of a parse. A function that fails returns NULL with the status and the message in the parser. */
#ifndef DL_EXPR_PARSE_H
#define DL_EXPR_PARSE_H

#include "runtime/expr/internal.h"

typedef struct dl_parser {
    dl_exprs *set;
    const char *text, *at;
    const dl_expr_scope *scope;
    int randoms; /* uniform() and normal() so far */
    int depth;
    const dl_expr **binding;
    int bindings;
    dl_status status;
} dl_parser;

/* The first error stays. `at`: the character that the message names. */
const dl_expr *dl_parse_fail(dl_parser *p, const char *at, const char *text);
const dl_expr *dl_parse_made(dl_parser *p, const dl_expr *e); /* NULL: no memory */
const dl_expr *dl_parse_make(dl_parser *p, dl_expr_kind kind, const dl_expr *a, const dl_expr *b,
                             const dl_expr *c);
const dl_expr *dl_parse_const(dl_parser *p, float value);
void dl_parse_space(dl_parser *p);
bool dl_parse_take(dl_parser *p, const char *symbol); /* if it stands here */
/* Says what stands here instead of what the grammar wants. */
const dl_expr *dl_parse_unexpected(dl_parser *p, const char *wanted);

const dl_expr *dl_parse_expression(dl_parser *p); /* parse.c */
const dl_expr *dl_parse_name(dl_parser *p);       /* parse_words.c: a name or a call */

static inline bool dl_is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static inline bool dl_is_digit(char c) {
    return c >= '0' && c <= '9';
}
static inline bool dl_is_name(char c) {
    return dl_is_letter(c) || dl_is_digit(c);
}

#endif
