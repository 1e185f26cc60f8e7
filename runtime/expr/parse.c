/* Texts to expressions: a recursive descent over the grammar of job.md 2.1.7, loosest first:
 *
 *   or;  and;  not;  < <= > >= == != (one, no chains);  + -;  * /;  unary -;  ** (to the right)
 *
 * An operand is a number, a name, a call or a parenthesis. Before the expression may stand bindings
 * "t0 = ...; t1 = ...;", which text.c writes where subexpressions are shared, and uniform(7) names
 * its stream 7. A message says the character, from 1. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/schema.h"
#include "runtime/expr/internal.h"

enum { WORD_SPACE = 48, NUMBER_SPACE = 64, ARGUMENTS = 8, STREAM_SPACE = 512 };

typedef struct parser {
    dl_exprs *set;
    const char *text, *at;
    const dl_expr_name *names;
    int name_count;
    const char *stream_name;
    int randoms; /* uniform() and normal() so far */
    int depth;
    const dl_expr **binding;
    int bindings;
    dl_status status;
} parser;

/* Words of the language that are no operation of their own. */
static const struct {
    const char *name;
    int arity;
} macros[] = {{"square", 1}, {"relu", 1}, {"softplus", 1}, {"clip", 3}};
static const struct {
    const char *name;
    float value;
} constants[] = {{"pi", 3.14159265358979f}, {"inf", __builtin_inff()}, {"nan", __builtin_nanf("")}};

static const dl_expr *parse_or(parser *p);
static const dl_expr *parse_unary(parser *p);

/* The first error stays. */
static const dl_expr *fail(parser *p, const char *at, const char *text) {
    if (p->status == DL_OK)
        p->status = dl_fail(DL_BAD_JOB, "character %d: %s", (int)(at - p->text) + 1, text);
    return NULL;
}

static const dl_expr *made(parser *p, const dl_expr *e) {
    if (!e && p->status == DL_OK)
        p->status = dl_fail_memory(sizeof(dl_expr_node));
    return e;
}

static const dl_expr *make(parser *p, dl_expr_kind kind, const dl_expr *a, const dl_expr *b,
                           const dl_expr *c) {
    return p->status == DL_OK ? made(p, dl_expr_make(p->set, kind, a, b, c)) : NULL;
}

static const dl_expr *number(parser *p, float value) {
    return made(p, dl_expr_const(p->set, value));
}

static void skip_space(parser *p) {
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')
        p->at++;
}

static bool is_letter(char c) {
    return isalpha((unsigned char)c) || c == '_';
}
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_name(char c) {
    return is_letter(c) || is_digit(c);
}

/* Takes `symbol` if it stands here. */
static bool take(parser *p, const char *symbol) {
    skip_space(p);
    size_t length = strlen(symbol);
    if (strncmp(p->at, symbol, length) != 0 || (is_letter(symbol[0]) && is_name(p->at[length])))
        return false;
    p->at += length;
    return true;
}

static bool enter(parser *p) {
    if (p->depth == DL_EXPR_TEXT_DEPTH) {
        char text[96];
        snprintf(text, sizeof text, "nested more than %d deep", DL_EXPR_TEXT_DEPTH);
        fail(p, p->at, text);
        return false;
    }
    p->depth++;
    return true;
}

/* What stands here instead of what the grammar wants. */
static const dl_expr *unexpected(parser *p, const char *wanted) {
    char text[160];
    unsigned char c = (unsigned char)*p->at;
    if (c == '\0')
        snprintf(text, sizeof text, "the expression ends where %s should follow", wanted);
    else if (c < 32 || c > 126)
        snprintf(text, sizeof text, "byte 0x%02x where %s should stand", c, wanted);
    else
        snprintf(text, sizeof text, "'%c' where %s should stand", c, wanted);
    return fail(p, p->at, text);
}

static const dl_expr *parse_number(parser *p) {
    const char *start = p->at, *end = start;
    while (is_digit(*end))
        end++;
    if (*end == '.')
        end++;
    while (is_digit(*end))
        end++;
    if (*end == 'e' || *end == 'E') {
        const char *exponent = end + 1 + (end[1] == '-' || end[1] == '+');
        if (!is_digit(*exponent))
            return fail(p, exponent, "an exponent needs digits, as in 1e-3");
        for (end = exponent; is_digit(*end); end++)
            ;
    }
    char copy[NUMBER_SPACE];
    if (end - start >= NUMBER_SPACE)
        return fail(p, start, "a number of more than 63 characters");
    memcpy(copy, start, (size_t)(end - start));
    copy[end - start] = '\0';
    float value = strtof(copy, NULL);
    if (value > 3.402823466e38f)
        return fail(p, start, "the number is too large for 32-bit arithmetic");
    if (is_name(*end) || *end == '.')
        return fail(p, end,
                    *end == '.' ? "a second point in a number"
                                : "a name right after a number; to multiply, write *");
    p->at = end;
    return number(p, value);
}

static const char *read_word(parser *p, char word[WORD_SPACE]) {
    const char *end = p->at;
    while (is_name(*end) || (*end == '.' && is_letter(end[1]))) /* vgg.block5_conv3 */
        end++;
    int length = (int)(end - p->at);
    snprintf(word, WORD_SPACE, "%.*s", length < WORD_SPACE - 1 ? length : WORD_SPACE - 1, p->at);
    p->at = end;
    return end;
}

static bool same(const char *name, const char *start, const char *end) {
    return strncmp(name, start, (size_t)(end - start)) == 0 && name[end - start] == '\0';
}

/* Says that `word` is unknown, with the nearest that would do. */
static const dl_expr *unknown(parser *p, const char *at, const char *word, bool call) {
    int count = 0, space = DL_EXPR_KINDS + DL_COUNT(macros) + DL_COUNT(constants) + p->name_count;
    const char **known = dl_alloc(sizeof *known * (size_t)space);
    if (!known)
        return made(p, NULL);
    if (call) {
        for (int i = 0; i < DL_EXPR_KINDS; i++)
            if (dl_expr_word[i][0])
                known[count++] = dl_expr_word[i];
        for (int i = 0; i < DL_COUNT(macros); i++)
            known[count++] = macros[i].name;
    } else {
        for (int i = 0; i < p->name_count; i++)
            known[count++] = p->names[i].name;
        known[count++] = constants[0].name; /* pi; inf and nan are of printed texts */
    }
    const char *near = dl_nearest(word, known, count);
    char text[512];
    int length = snprintf(text, sizeof text, "'%s' is not a %s", word,
                          call ? "function" : "name known here");
    if (near)
        snprintf(text + length, sizeof text - (size_t)length, "; did you mean '%s'?", near);
    else if (!call && p->name_count > 0 && p->name_count <= 12) {
        length += snprintf(text + length, sizeof text - (size_t)length, "; known are");
        for (int i = 0; i < p->name_count && length < (int)sizeof text - 64; i++)
            length += snprintf(text + length, sizeof text - (size_t)length, "%s %.40s",
                               i ? "," : "", p->names[i].name);
    }
    dl_free(known);
    return fail(p, at, text);
}

static const dl_expr *apply_macro(parser *p, const char *name, const dl_expr *const *a) {
    const dl_expr *x = a[0];
    if (strcmp(name, "square") == 0)
        return make(p, DL_EXPR_MUL, x, x, NULL);
    if (strcmp(name, "relu") == 0)
        return make(p, DL_EXPR_MAX, x, number(p, 0.0f), NULL);
    if (strcmp(name, "clip") == 0)
        return make(p, DL_EXPR_MIN, make(p, DL_EXPR_MAX, x, a[1], NULL), a[2], NULL);
    /* softplus: max(x, 0) + log1p(exp(-|x|)) neither overflows nor loses small values. -|x| is
     * written as min(-x, x), whose slope at 0 makes the whole one's 1/2. */
    const dl_expr *negative = make(p, DL_EXPR_NEG, x, NULL, NULL);
    const dl_expr *e = make(p, DL_EXPR_EXP, make(p, DL_EXPR_MIN, negative, x, NULL), NULL, NULL);
    const dl_expr *rest = make(p, DL_EXPR_LOG1P, e, NULL, NULL);
    return make(p, DL_EXPR_ADD, make(p, DL_EXPR_MAX, x, number(p, 0.0f), NULL), rest, NULL);
}

static const dl_expr *parse_random(parser *p, dl_expr_kind kind) {
    uint32_t stream;
    skip_space(p);
    if (is_digit(*p->at)) {
        char *end;
        const char *start = p->at;
        unsigned long long given = strtoull(start, &end, 10);
        if (given > UINT32_MAX)
            return fail(p, start, "a stream is a number below 4294967296");
        stream = (uint32_t)given;
        p->at = end;
    } else {
        char name[STREAM_SPACE];
        snprintf(name, sizeof name, "%s/%d", p->stream_name ? p->stream_name : "", p->randoms++);
        stream = dl_stream(name);
    }
    if (!take(p, ")"))
        return unexpected(p, "')'");
    return made(p, dl_expr_random(p->set, kind, stream));
}

static const dl_expr *parse_call(parser *p, const char *at, const char *word) {
    int arity = -1, kind = -1;
    bool macro = false;
    for (int i = 0; i < DL_EXPR_KINDS; i++)
        if (dl_expr_word[i][0] && strcmp(dl_expr_word[i], word) == 0)
            kind = i, arity = dl_expr_arity[i];
    for (int i = 0; i < DL_COUNT(macros); i++)
        if (strcmp(macros[i].name, word) == 0)
            macro = true, arity = macros[i].arity;
    if (arity < 0)
        return unknown(p, at, word, true);
    if (kind == DL_EXPR_UNIFORM || kind == DL_EXPR_NORMAL)
        return parse_random(p, (dl_expr_kind)kind);
    const dl_expr *argument[ARGUMENTS] = {NULL};
    int count = 0;
    if (!take(p, ")")) {
        do {
            if (count == ARGUMENTS)
                return fail(p, p->at, "more than 8 arguments");
            argument[count] = parse_or(p);
            if (!argument[count++])
                return NULL;
        } while (take(p, ","));
        if (!take(p, ")"))
            return unexpected(p, "',' or ')'");
    }
    bool many = kind == DL_EXPR_MIN || kind == DL_EXPR_MAX;
    if (many ? count < 2 : count != arity) {
        char text[128];
        snprintf(text, sizeof text, "%s takes %d argument%s%s, not %d", word, arity,
                 arity == 1 ? "" : "s", many ? " or more" : "", count);
        return fail(p, at, text);
    }
    if (macro)
        return apply_macro(p, word, argument);
    const dl_expr *result =
        make(p, (dl_expr_kind)kind, argument[0], argument[1], many ? NULL : argument[2]);
    for (int i = 2; many && i < count; i++)
        result = make(p, (dl_expr_kind)kind, result, argument[i], NULL);
    return result;
}

static const dl_expr *parse_name(parser *p) {
    char word[WORD_SPACE];
    const char *start = p->at, *end = read_word(p, word);
    if (take(p, "("))
        return parse_call(p, start, word);
    if (word[0] == 't' && is_digit(word[1]) && p->bindings) {
        char *rest;
        unsigned long index = strtoul(word + 1, &rest, 10);
        if (*rest == '\0' && index < (unsigned long)p->bindings)
            return p->binding[index];
    }
    for (int i = 0; i < p->name_count; i++)
        if (same(p->names[i].name, start, end))
            return made(p, p->names[i].expr);
    for (int i = 0; i < DL_COUNT(constants); i++)
        if (same(constants[i].name, start, end))
            return number(p, constants[i].value);
    bool function = false;
    for (int i = 0; i < DL_EXPR_KINDS; i++)
        function = function || (dl_expr_word[i][0] && same(dl_expr_word[i], start, end));
    for (int i = 0; i < DL_COUNT(macros); i++)
        function = function || same(macros[i].name, start, end);
    if (function) {
        char text[160];
        snprintf(text, sizeof text, "%s is a function; its arguments go in parentheses: %s(...)",
                 word, word);
        return fail(p, start, text);
    }
    return unknown(p, start, word, false);
}

static const dl_expr *parse_operand(parser *p) {
    skip_space(p);
    if (is_digit(*p->at) || (*p->at == '.' && is_digit(p->at[1])))
        return parse_number(p);
    if (is_letter(*p->at))
        return parse_name(p);
    if (!take(p, "("))
        return unexpected(p, "a number, a name or '('");
    const dl_expr *inner = parse_or(p);
    if (inner && !take(p, ")"))
        return unexpected(p, "')'");
    return inner;
}

static const dl_expr *parse_power(parser *p) {
    const dl_expr *base = parse_operand(p);
    if (!base || !take(p, "**"))
        return base;
    return make(p, DL_EXPR_POW, base, parse_unary(p), NULL); /* -2 may follow: x ** -2 */
}

static const dl_expr *parse_unary(parser *p) {
    if (!enter(p))
        return NULL;
    const dl_expr *result;
    if (take(p, "-"))
        result = make(p, DL_EXPR_NEG, parse_unary(p), NULL, NULL);
    else
        result = parse_power(p);
    p->depth--;
    return result;
}

static const dl_expr *parse_product(parser *p) {
    const dl_expr *left = parse_unary(p);
    while (left) {
        if (take(p, "*"))
            left = make(p, DL_EXPR_MUL, left, parse_unary(p), NULL);
        else if (take(p, "/"))
            left = make(p, DL_EXPR_DIV, left, parse_unary(p), NULL);
        else
            return left;
    }
    return NULL;
}

static const dl_expr *parse_sum(parser *p) {
    const dl_expr *left = parse_product(p);
    while (left) {
        if (take(p, "+"))
            left = make(p, DL_EXPR_ADD, left, parse_product(p), NULL);
        else if (take(p, "-"))
            left = make(p, DL_EXPR_SUB, left, parse_product(p), NULL);
        else
            return left;
    }
    return NULL;
}

static const dl_expr *parse_comparison(parser *p) {
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
        if (!take(p, rows[i].symbol))
            continue;
        if (compared)
            return fail(p, at, "comparisons do not chain; write a < b and b < c");
        const dl_expr *right = parse_sum(p);
        result = rows[i].swap ? make(p, rows[i].kind, right, result, NULL)
                              : make(p, rows[i].kind, result, right, NULL);
        if (rows[i].negate)
            result = make(p, DL_EXPR_NOT, result, NULL, NULL);
        compared = true;
        i = -1; /* look for another, which is an error */
    }
    return result;
}

static const dl_expr *parse_not(parser *p) {
    if (!take(p, "not"))
        return parse_comparison(p);
    if (!enter(p))
        return NULL;
    const dl_expr *result = make(p, DL_EXPR_NOT, parse_not(p), NULL, NULL);
    p->depth--;
    return result;
}

static const dl_expr *parse_and(parser *p) {
    const dl_expr *left = parse_not(p);
    while (left && take(p, "and"))
        left = make(p, DL_EXPR_AND, left, parse_not(p), NULL);
    return left;
}

static const dl_expr *parse_or(parser *p) {
    if (!enter(p))
        return NULL;
    const dl_expr *left = parse_and(p);
    while (left && take(p, "or"))
        left = make(p, DL_EXPR_OR, left, parse_and(p), NULL);
    p->depth--;
    return left;
}

/* "t0 = ...; t1 = ...;" before the expression. */
static bool parse_bindings(parser *p) {
    for (;;) {
        char name[16];
        const char *start = p->at;
        snprintf(name, sizeof name, "t%d", p->bindings);
        if (!take(p, name) || !take(p, "=") || *p->at == '=') {
            p->at = start;
            return true;
        }
        if (p->bindings == DL_EXPR_TEXT_BINDINGS) {
            fail(p, start, "too many bindings");
            return false;
        }
        if (!p->binding)
            p->binding = dl_alloc(sizeof(dl_expr *) * DL_EXPR_TEXT_BINDINGS);
        const dl_expr *bound = p->binding ? parse_or(p) : made(p, NULL);
        if (!bound)
            return false;
        if (!take(p, ";")) {
            unexpected(p, "';'");
            return false;
        }
        p->binding[p->bindings++] = bound;
    }
}

/* What people of other languages write, once the expression is over too early. */
static void fail_rest(parser *p) {
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
            fail(p, p->at, rows[i].text);
            return;
        }
    unexpected(p, "an operator or the end");
}

dl_status dl_expr_parse(dl_exprs *set, const char *text, const dl_expr_name *names, int count,
                        const char *stream_name, const dl_expr **out) {
    parser p = {.set = set,
                .text = text,
                .at = text,
                .names = names,
                .name_count = count,
                .stream_name = stream_name};
    *out = NULL;
    if (strnlen(text, DL_EXPR_TEXT_LENGTH + 1) > DL_EXPR_TEXT_LENGTH)
        return dl_fail(DL_BAD_JOB, "character 1: the expression is longer than %d characters",
                       DL_EXPR_TEXT_LENGTH);
    const dl_expr *result = parse_bindings(&p) ? parse_or(&p) : NULL;
    if (result) {
        skip_space(&p);
        if (*p.at)
            fail_rest(&p);
    }
    dl_free(p.binding);
    if (p.status == DL_OK)
        *out = result;
    return p.status;
}
