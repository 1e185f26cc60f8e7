/* Texts to expressions: a recursive descent over the grammar of job.md 2.1.7, loosest first:
 *
 *   or;  and;  not;  < <= > >= == != (one, no chains);  + -;  * /;  unary -;  ** (to the right)
 *
 * An operand is a number, a name, a call or a parenthesis; names and calls are in parse_words.c.
 * Before the expression may stand bindings "t0 = ...; t1 = ...;", which text.c writes where
 * subexpressions are shared. A message says the character, from 1. */
#include "runtime/expr/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_SPACE = 64 };

static const dl_expr *parse_unary(dl_parser *p);

const dl_expr *dl_parse_fail(dl_parser *p, const char *at, const char *text) {
    if (p->status == DL_OK)
        p->status = dl_fail(DL_BAD_JOB, "character %d: %s", (int)(at - p->text) + 1, text);
    return NULL;
}

const dl_expr *dl_parse_made(dl_parser *p, const dl_expr *e) {
    if (!e && p->status == DL_OK)
        p->status = dl_fail_memory(sizeof(dl_expr_node));
    return e;
}

const dl_expr *dl_parse_make(dl_parser *p, dl_expr_kind kind, const dl_expr *a, const dl_expr *b,
                             const dl_expr *c) {
    return p->status == DL_OK ? dl_parse_made(p, dl_expr_make(p->set, kind, a, b, c)) : NULL;
}

const dl_expr *dl_parse_const(dl_parser *p, float value) {
    return dl_parse_made(p, dl_expr_const(p->set, value));
}

void dl_parse_space(dl_parser *p) {
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')
        p->at++;
}

bool dl_parse_take(dl_parser *p, const char *symbol) {
    dl_parse_space(p);
    size_t length = strlen(symbol);
    if (strncmp(p->at, symbol, length) != 0 ||
        (dl_is_letter(symbol[0]) && dl_is_name(p->at[length])))
        return false;
    p->at += length;
    return true;
}

static bool enter(dl_parser *p) {
    if (p->depth == DL_EXPR_TEXT_DEPTH) {
        char text[96];
        snprintf(text, sizeof text, "nested more than %d deep", DL_EXPR_TEXT_DEPTH);
        dl_parse_fail(p, p->at, text);
        return false;
    }
    p->depth++;
    return true;
}

const dl_expr *dl_parse_unexpected(dl_parser *p, const char *wanted) {
    char text[160];
    unsigned char c = (unsigned char)*p->at;
    if (c == '\0')
        snprintf(text, sizeof text, "the expression ends where %s should follow", wanted);
    else if (c < 32 || c > 126)
        snprintf(text, sizeof text, "byte 0x%02x where %s should stand", c, wanted);
    else
        snprintf(text, sizeof text, "'%c' where %s should stand", c, wanted);
    return dl_parse_fail(p, p->at, text);
}

static const dl_expr *parse_number(dl_parser *p) {
    const char *start = p->at, *end = start;
    while (dl_is_digit(*end))
        end++;
    if (*end == '.')
        end++;
    while (dl_is_digit(*end))
        end++;
    if (*end == 'e' || *end == 'E') {
        const char *exponent = end + 1 + (end[1] == '-' || end[1] == '+');
        if (!dl_is_digit(*exponent))
            return dl_parse_fail(p, exponent, "an exponent needs digits, as in 1e-3");
        for (end = exponent; dl_is_digit(*end); end++)
            ;
    }
    char copy[NUMBER_SPACE];
    if (end - start >= NUMBER_SPACE)
        return dl_parse_fail(p, start, "a number of more than 63 characters");
    memcpy(copy, start, (size_t)(end - start));
    copy[end - start] = '\0';
    float value = strtof(copy, NULL);
    if (value > 3.402823466e38f)
        return dl_parse_fail(p, start, "the number is too large for 32-bit arithmetic");
    if (dl_is_name(*end) || *end == '.')
        return dl_parse_fail(p, end,
                             *end == '.' ? "a second point in a number"
                                         : "a name right after a number; to multiply, write *");
    p->at = end;
    return dl_parse_const(p, value);
}

static const dl_expr *parse_operand(dl_parser *p) {
    dl_parse_space(p);
    if (dl_is_digit(*p->at) || (*p->at == '.' && dl_is_digit(p->at[1])))
        return parse_number(p);
    if (dl_is_letter(*p->at))
        return dl_parse_name(p);
    if (!dl_parse_take(p, "("))
        return dl_parse_unexpected(p, "a number, a name or '('");
    const dl_expr *inner = dl_parse_expression(p);
    if (inner && !dl_parse_take(p, ")"))
        return dl_parse_unexpected(p, "')'");
    return inner;
}

static const dl_expr *parse_power(dl_parser *p) {
    const dl_expr *base = parse_operand(p);
    if (!base || !dl_parse_take(p, "**"))
        return base;
    return dl_parse_make(p, DL_EXPR_POW, base, parse_unary(p), NULL); /* -2 may follow: x ** -2 */
}

static const dl_expr *parse_unary(dl_parser *p) {
    if (!enter(p))
        return NULL;
    const dl_expr *result;
    if (dl_parse_take(p, "-"))
        result = dl_parse_make(p, DL_EXPR_NEG, parse_unary(p), NULL, NULL);
    else
        result = parse_power(p);
    p->depth--;
    return result;
}

static const dl_expr *parse_product(dl_parser *p) {
    const dl_expr *left = parse_unary(p);
    while (left) {
        if (dl_parse_take(p, "*"))
            left = dl_parse_make(p, DL_EXPR_MUL, left, parse_unary(p), NULL);
        else if (dl_parse_take(p, "/"))
            left = dl_parse_make(p, DL_EXPR_DIV, left, parse_unary(p), NULL);
        else
            return left;
    }
    return NULL;
}

static const dl_expr *parse_sum(dl_parser *p) {
    const dl_expr *left = parse_product(p);
    while (left) {
        if (dl_parse_take(p, "+"))
            left = dl_parse_make(p, DL_EXPR_ADD, left, parse_product(p), NULL);
        else if (dl_parse_take(p, "-"))
            left = dl_parse_make(p, DL_EXPR_SUB, left, parse_product(p), NULL);
        else
            return left;
    }
    return NULL;
}

static const dl_expr *parse_comparison(dl_parser *p) {
    static const struct {
        const char *symbol;
        dl_expr_kind kind;
        bool swap, negate;
    } rows[] = {{"<=", DL_EXPR_LESS_EQUAL, false, false}, {">=", DL_EXPR_LESS_EQUAL, true, false},
                {"==", DL_EXPR_EQUAL, false, false},      {"!=", DL_EXPR_EQUAL, false, true},
                {"<", DL_EXPR_LESS, false, false},        {">", DL_EXPR_LESS, true, false}};
    const dl_expr *result = parse_sum(p);
    bool compared = false;
    for (int i = 0; result && i < DL_COUNT(rows); i++) {
        const char *at = p->at;
        if (!dl_parse_take(p, rows[i].symbol))
            continue;
        if (compared)
            return dl_parse_fail(p, at, "comparisons do not chain; write a < b and b < c");
        const dl_expr *right = parse_sum(p);
        result = rows[i].swap ? dl_parse_make(p, rows[i].kind, right, result, NULL)
                              : dl_parse_make(p, rows[i].kind, result, right, NULL);
        if (rows[i].negate)
            result = dl_parse_make(p, DL_EXPR_NOT, result, NULL, NULL);
        compared = true;
        i = -1; /* look for another, which is an error */
    }
    return result;
}

static const dl_expr *parse_not(dl_parser *p) {
    if (!dl_parse_take(p, "not"))
        return parse_comparison(p);
    if (!enter(p))
        return NULL;
    const dl_expr *result = dl_parse_make(p, DL_EXPR_NOT, parse_not(p), NULL, NULL);
    p->depth--;
    return result;
}

static const dl_expr *parse_and(dl_parser *p) {
    const dl_expr *left = parse_not(p);
    while (left && dl_parse_take(p, "and"))
        left = dl_parse_make(p, DL_EXPR_AND, left, parse_not(p), NULL);
    return left;
}

const dl_expr *dl_parse_expression(dl_parser *p) {
    if (!enter(p))
        return NULL;
    const dl_expr *left = parse_and(p);
    while (left && dl_parse_take(p, "or"))
        left = dl_parse_make(p, DL_EXPR_OR, left, parse_and(p), NULL);
    p->depth--;
    return left;
}

/* "t0 = ...; t1 = ...;" before the expression. */
static bool parse_bindings(dl_parser *p) {
    for (;;) {
        char name[16];
        const char *start = p->at;
        snprintf(name, sizeof name, "t%d", p->bindings);
        if (!dl_parse_take(p, name) || !dl_parse_take(p, "=") || *p->at == '=') {
            p->at = start;
            return true;
        }
        if (p->bindings == DL_EXPR_TEXT_BINDINGS) {
            dl_parse_fail(p, start, "too many bindings");
            return false;
        }
        if (!p->binding)
            p->binding = dl_alloc(sizeof(dl_expr *) * DL_EXPR_TEXT_BINDINGS);
        const dl_expr *bound = p->binding ? dl_parse_expression(p) : dl_parse_made(p, NULL);
        if (!bound)
            return false;
        if (!dl_parse_take(p, ";")) {
            dl_parse_unexpected(p, "';'");
            return false;
        }
        p->binding[p->bindings++] = bound;
    }
}

/* What people of other languages write, once the expression is over too early. */
static void fail_rest(dl_parser *p) {
    static const struct {
        const char *symbol, *text;
    } rows[] = {{"^", "'^' is not an operator; a power is a ** b"},
                {"&", "'&' is not an operator; write and"},
                {"|", "'|' is not an operator; write or"},
                {"!", "'!' is not an operator; write not"},
                {"=", "'=' does not compare; write =="},
                {"?", "'?' is not an operator; write where(condition, a, b)"},
                {")", "')' without its '('"},
                {",", "',' outside the arguments of a function"}};
    for (int i = 0; i < DL_COUNT(rows); i++)
        if (*p->at == rows[i].symbol[0]) {
            dl_parse_fail(p, p->at, rows[i].text);
            return;
        }
    dl_parse_unexpected(p, "an operator or the end");
}

dl_status dl_expr_parse_in(dl_exprs *set, const char *text, const dl_expr_scope *scope,
                           const dl_expr **out) {
    dl_parser p = {.set = set, .text = text, .at = text, .scope = scope};
    *out = NULL;
    if (strnlen(text, DL_EXPR_TEXT_LENGTH + 1) > DL_EXPR_TEXT_LENGTH)
        return dl_fail(DL_BAD_JOB, "character 1: the expression is longer than %d characters",
                       DL_EXPR_TEXT_LENGTH);
    const dl_expr *result = parse_bindings(&p) ? dl_parse_expression(&p) : NULL;
    if (result) {
        dl_parse_space(&p);
        if (*p.at)
            fail_rest(&p);
    }
    dl_free(p.binding);
    if (p.status == DL_OK)
        *out = result;
    return p.status;
}

dl_status dl_expr_parse(dl_exprs *set, const char *text, const dl_expr_name *names, int count,
                        const char *stream_name, const dl_expr **out) {
    dl_expr_scope scope = {.names = names, .count = count, .stream_name = stream_name};
    return dl_expr_parse_in(set, text, &scope, out);
}
