/* Names and functions in the text of an expression: those of the language, and those that the
 * caller's scope brings. uniform(7) names its stream 7. See parse.h; the grammar is in parse.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/schema.h"
#include "runtime/expr/parse.h"

enum { WORD_SPACE = 48, ARGUMENTS = 8, STREAM_SPACE = 512 };

/* Words of the language that are no operation of their own. */
static const struct {
    const char *name;
    int arity;
} macros[] = {{"square", 1}, {"relu", 1}, {"softplus", 1}, {"clip", 3}};
static const struct {
    const char *name;
    float value;
} constants[] = {{"pi", 3.14159265358979f}, {"inf", __builtin_inff()}, {"nan", __builtin_nanf("")}};

const char *dl_expr_function_name(int index, int *arity) {
    for (int kind = 0; kind < DL_EXPR_KINDS; kind++)
        if (dl_expr_word[kind][0] && index-- == 0) {
            *arity = dl_expr_arity[kind];
            return dl_expr_word[kind];
        }
    if (index < 0 || index >= DL_COUNT(macros))
        return NULL;
    *arity = macros[index].arity;
    return macros[index].name;
}

static const char *read_word(dl_parser *p, char word[WORD_SPACE]) {
    const char *end = p->at;
    while (dl_is_name(*end) || (*end == '.' && dl_is_letter(end[1]))) /* vgg.block5_conv3 */
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
static const dl_expr *unknown(dl_parser *p, const char *at, const char *word, bool call) {
    const dl_expr_scope *scope = p->scope;
    int count = 0, space = DL_EXPR_KINDS + DL_COUNT(macros) + DL_COUNT(constants);
    const char **known =
        dl_alloc(sizeof *known * (size_t)(space + scope->count + scope->function_count));
    if (!known)
        return dl_parse_made(p, NULL);
    if (call) {
        for (int i = 0; i < DL_EXPR_KINDS; i++)
            if (dl_expr_word[i][0])
                known[count++] = dl_expr_word[i];
        for (int i = 0; i < DL_COUNT(macros); i++)
            known[count++] = macros[i].name;
        for (int i = 0; i < scope->function_count; i++)
            known[count++] = scope->functions[i].name;
    } else {
        for (int i = 0; i < scope->count; i++)
            known[count++] = scope->names[i].name;
        known[count++] = constants[0].name; /* pi; inf and nan are of printed texts */
    }
    const char *near = dl_nearest(word, known, count);
    char text[512];
    int length = snprintf(text, sizeof text, "'%s' is %s", word,
                          call           ? "not a function"
                          : scope->kinds ? scope->kinds
                                         : "not a name known here");
    if (near)
        snprintf(text + length, sizeof text - (size_t)length, "; did you mean '%s'?", near);
    else if (!call && scope->count > 0 && scope->count <= 12) {
        length += snprintf(text + length, sizeof text - (size_t)length, "; known are");
        for (int i = 0; i < scope->count && length < (int)sizeof text - 64; i++)
            length += snprintf(text + length, sizeof text - (size_t)length, "%s %.40s",
                               i ? "," : "", scope->names[i].name);
    }
    dl_free(known);
    return dl_parse_fail(p, at, text);
}

static const dl_expr *apply_macro(dl_parser *p, const char *name, const dl_expr *const *a) {
    const dl_expr *x = a[0];
    if (strcmp(name, "square") == 0)
        return dl_parse_make(p, DL_EXPR_MUL, x, x, NULL);
    if (strcmp(name, "relu") == 0)
        return dl_parse_make(p, DL_EXPR_MAX, x, dl_parse_const(p, 0.0f), NULL);
    if (strcmp(name, "clip") == 0)
        return dl_parse_make(p, DL_EXPR_MIN, dl_parse_make(p, DL_EXPR_MAX, x, a[1], NULL), a[2],
                             NULL);
    /* softplus: max(x, 0) + log1p(exp(-|x|)) neither overflows nor loses small values. -|x| is
     * written as min(-x, x), whose slope at 0 makes the whole one's 1/2. */
    const dl_expr *negative = dl_parse_make(p, DL_EXPR_NEG, x, NULL, NULL);
    const dl_expr *e =
        dl_parse_make(p, DL_EXPR_EXP, dl_parse_make(p, DL_EXPR_MIN, negative, x, NULL), NULL, NULL);
    const dl_expr *rest = dl_parse_make(p, DL_EXPR_LOG1P, e, NULL, NULL);
    return dl_parse_make(p, DL_EXPR_ADD,
                         dl_parse_make(p, DL_EXPR_MAX, x, dl_parse_const(p, 0.0f), NULL), rest,
                         NULL);
}

static const dl_expr *parse_random(dl_parser *p, const char *at, dl_expr_kind kind) {
    uint32_t stream;
    if (p->scope->no_random)
        return dl_parse_fail(p, at, p->scope->no_random);
    dl_parse_space(p);
    if (dl_is_digit(*p->at)) {
        char *end;
        const char *start = p->at;
        unsigned long long given = strtoull(start, &end, 10);
        if (given > UINT32_MAX)
            return dl_parse_fail(p, start, "a stream is a number below 4294967296");
        stream = (uint32_t)given;
        p->at = end;
    } else {
        char name[STREAM_SPACE];
        snprintf(name, sizeof name, "%s/%d", p->scope->stream_name ? p->scope->stream_name : "",
                 p->randoms++);
        stream = dl_stream(name);
    }
    if (!dl_parse_take(p, ")"))
        return dl_parse_unexpected(p, "')'");
    return dl_parse_made(p, dl_expr_random(p->set, kind, stream));
}

/* Up to the ')'; -1 after an error. */
static int parse_arguments(dl_parser *p, const dl_expr *argument[ARGUMENTS]) {
    int count = 0;
    if (dl_parse_take(p, ")"))
        return 0;
    do {
        if (count == ARGUMENTS) {
            dl_parse_fail(p, p->at, "more than 8 arguments");
            return -1;
        }
        argument[count] = dl_parse_expression(p);
        if (!argument[count++])
            return -1;
    } while (dl_parse_take(p, ","));
    if (dl_parse_take(p, ")"))
        return count;
    dl_parse_unexpected(p, "',' or ')'");
    return -1;
}

static const dl_expr *fail_count(dl_parser *p, const char *at, const char *word, int takes,
                                 bool more, int count) {
    char text[128];
    snprintf(text, sizeof text, "%s takes %d argument%s%s, not %d", word, takes,
             takes == 1 ? "" : "s", more ? " or more" : "", count);
    return dl_parse_fail(p, at, text);
}

/* What the caller's scope gave or said. */
static const dl_expr *from_scope(dl_parser *p, const char *at, dl_status status,
                                 const dl_expr *result) {
    if (status == DL_OK)
        return dl_parse_made(p, result);
    if (status == DL_BAD_JOB) {
        char text[DL_MESSAGE_MAX];
        snprintf(text, sizeof text, "%s", dl_message());
        return dl_parse_fail(p, at, text);
    }
    p->status = status;
    return NULL;
}

static const dl_expr *call_scope(dl_parser *p, const char *at, int index) {
    const dl_expr_scope *scope = p->scope;
    const dl_expr *argument[ARGUMENTS] = {NULL}, *result = NULL;
    int count = parse_arguments(p, argument), takes = scope->functions[index].arity;
    if (count < 0)
        return NULL;
    if (count != takes)
        return fail_count(p, at, scope->functions[index].name, takes, false, count);
    dl_status status = scope->call(scope->argument, index, argument, &result);
    return from_scope(p, at, status, result);
}

static const dl_expr *parse_call(dl_parser *p, const char *at, const char *word) {
    int arity = -1, kind = -1;
    bool macro = false;
    for (int i = 0; i < p->scope->function_count; i++)
        if (strcmp(p->scope->functions[i].name, word) == 0)
            return call_scope(p, at, i);
    for (int i = 0; i < DL_EXPR_KINDS; i++)
        if (dl_expr_word[i][0] && strcmp(dl_expr_word[i], word) == 0)
            kind = i, arity = dl_expr_arity[i];
    for (int i = 0; i < DL_COUNT(macros); i++)
        if (strcmp(macros[i].name, word) == 0)
            macro = true, arity = macros[i].arity;
    if (arity < 0)
        return unknown(p, at, word, true);
    if (kind == DL_EXPR_UNIFORM || kind == DL_EXPR_NORMAL)
        return parse_random(p, at, (dl_expr_kind)kind);
    const dl_expr *argument[ARGUMENTS] = {NULL};
    int count = parse_arguments(p, argument);
    if (count < 0)
        return NULL;
    bool many = kind == DL_EXPR_MIN || kind == DL_EXPR_MAX;
    if (many ? count < 2 : count != arity)
        return fail_count(p, at, word, arity, many, count);
    if (macro)
        return apply_macro(p, word, argument);
    const dl_expr *result =
        dl_parse_make(p, (dl_expr_kind)kind, argument[0], argument[1], many ? NULL : argument[2]);
    for (int i = 2; many && i < count; i++)
        result = dl_parse_make(p, (dl_expr_kind)kind, result, argument[i], NULL);
    return result;
}

const dl_expr *dl_parse_name(dl_parser *p) {
    char word[WORD_SPACE];
    const char *start = p->at, *end = read_word(p, word);
    if (dl_parse_take(p, "("))
        return parse_call(p, start, word);
    if (word[0] == 't' && dl_is_digit(word[1]) && p->bindings) {
        char *rest;
        unsigned long index = strtoul(word + 1, &rest, 10);
        if (*rest == '\0' && index < (unsigned long)p->bindings)
            return p->binding[index];
    }
    for (int i = 0; i < p->scope->count; i++) {
        const dl_expr_name *name = &p->scope->names[i];
        if (!same(name->name, start, end))
            continue;
        const dl_expr *found = name->expr;
        dl_status status = found ? DL_OK : p->scope->find(p->scope->argument, i, &found);
        return from_scope(p, start, status, found);
    }
    for (int i = 0; i < DL_COUNT(constants); i++)
        if (same(constants[i].name, start, end))
            return dl_parse_const(p, constants[i].value);
    bool function = false;
    for (int i = 0; i < DL_EXPR_KINDS; i++)
        function = function || (dl_expr_word[i][0] && same(dl_expr_word[i], start, end));
    for (int i = 0; i < DL_COUNT(macros); i++)
        function = function || same(macros[i].name, start, end);
    for (int i = 0; i < p->scope->function_count; i++)
        function = function || same(p->scope->functions[i].name, start, end);
    if (function) {
        char text[160];
        snprintf(text, sizeof text, "%s is a function; its arguments go in parentheses: %s(...)",
                 word, word);
        return dl_parse_fail(p, start, text);
    }
    return unknown(p, start, word, false);
}
