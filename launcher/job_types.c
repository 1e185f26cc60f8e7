/* The mini language of type texts (schema.h), parsed, put into words, and single values read by it.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/job_inner.h"

enum { FORM_DEPTH = 8, FORM_WORDS = 64 };

const dl_family *dl_family_of(const dl_vocabulary *vocabulary, const char *name) {
    for (int i = 0; i < vocabulary->family_count; i++)
        if (strcmp(vocabulary->families[i]->name, name) == 0)
            return vocabulary->families[i];
    return NULL;
}

const dl_table *dl_table_of(const dl_vocabulary *vocabulary, const char *name) {
    for (int i = 0; i < vocabulary->table_count; i++)
        if (strcmp(vocabulary->tables[i]->name, name) == 0)
            return vocabulary->tables[i];
    return NULL;
}

const dl_key *dl_key_of(const dl_key *keys, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

const dl_word *dl_word_of(const dl_family *family, const char *name) {
    for (int i = 0; i < family->word_count; i++)
        if (strcmp(family->words[i].name, name) == 0)
            return &family->words[i];
    return NULL;
}

/* Single values. */

/* digits, digits '.' digits, with an exponent: what JSON, C and people agree on; no inf, nan or
 * hex. */
static bool read_decimal(const char **at, double *out) {
    const char *start = *at, *p = start;
    int digits = 0;
    if (*p == '-' || *p == '+')
        p++;
    for (; isdigit((unsigned char)*p); p++)
        digits++;
    if (*p == '.' && p[1] != '.')
        for (p++; isdigit((unsigned char)*p); p++)
            digits++;
    if (digits == 0)
        return false;
    if ((*p == 'e' || *p == 'E') && isdigit((unsigned char)p[p[1] == '-' || p[1] == '+' ? 2 : 1]))
        for (p += 2; isdigit((unsigned char)*p); p++)
            ;
    *out = strtod(start, NULL); /* reads the same characters, all of them */
    *at = p;
    return isfinite(*out);
}

/* 3, 1e-3, 1/255 */
static bool read_number(const char **at, double *out) {
    if (!read_decimal(at, out))
        return false;
    if (**at != '/')
        return true;
    double below;
    (*at)++;
    if (!read_decimal(at, &below) || below == 0)
        return false;
    *out /= below;
    return isfinite(*out);
}

static bool whole_number(const char *text, double *out) {
    return read_number(&text, out) && *text == '\0';
}

static bool read_int(const char *text, int64_t *out) {
    const char *p = text;
    if (*p == '-' || *p == '+')
        p++;
    size_t digits = strspn(p, "0123456789");
    if (digits == 0 || p[digits] != '\0' || digits > 18)
        return false;
    *out = strtoll(text, NULL, 10);
    return true;
}

static bool is_identifier(const char *text, bool dots) {
    if (!isalpha((unsigned char)*text) && *text != '_')
        return false;
    for (const char *p = text + 1; *p; p++) {
        bool dot = dots && *p == '.' && (isalnum((unsigned char)p[1]) || p[1] == '_');
        if (!isalnum((unsigned char)*p) && *p != '_' && !dot)
            return false;
    }
    return true;
}

static bool is_label(const char *text) {
    if (!isalnum((unsigned char)*text) && *text != '_')
        return false;
    return strlen(text) <= 128 && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"
                                                    "UVWXYZ0123456789_.-")] == '\0';
}

/* "epoch" for "epochs" too. */
static bool same_unit(const char *text, const char *unit) {
    size_t length = strlen(unit);
    if (strcmp(text, unit) == 0)
        return true;
    return length > 2 && unit[length - 1] == 's' && strlen(text) == length - 1 &&
           strncmp(text, unit, length - 1) == 0;
}

static bool read_quantity(const dl_form *form, dl_node *node) {
    const char *at = node->text;
    double number;
    if (!read_number(&at, &number) || number < 0)
        return false;
    while (*at == ' ')
        at++;
    for (int i = 0; i < form->word_count; i++)
        if (same_unit(at, form->words[i])) {
            node->number = number;
            node->integer = number < 9e18 ? (int64_t)number : INT64_MAX;
            node->unit = form->words[i];
            return true;
        }
    return false;
}

static bool read_amount(dl_node *node) {
    int64_t count;
    double share;
    if (read_int(node->text, &count)) {
        if (count < 0)
            return false;
        node->integer = count;
        node->number = (double)count;
        node->unit = "count";
        return true;
    }
    if (!whole_number(node->text, &share) || share < 0 || share > 1)
        return false;
    node->number = share;
    node->unit = "share";
    return true;
}

static bool read_range(const dl_form *form, dl_node *node) {
    const char *at = node->text;
    double low, high = INFINITY;
    if (!read_number(&at, &low) || strncmp(at, "..", 2) != 0)
        return false;
    at += 2;
    if (*at && (!read_number(&at, &high) || *at))
        return false;
    if (high < low || low < form->low || (isfinite(form->high) && high > form->high))
        return false;
    node->number = low;
    node->number2 = high;
    return true;
}

static bool within(const dl_form *form, double number) {
    return number >= form->low && number <= form->high;
}

bool dl_form_has_word(const dl_form *form, const char *word) {
    for (; form; form = form->next) {
        if (form->kind == DL_FORM_ITEM && dl_word_of(form->family, word))
            return true;
        for (int i = 0; form->kind == DL_FORM_WORD && i < form->word_count; i++)
            if (strcmp(form->words[i], word) == 0)
                return true;
    }
    return false;
}

bool dl_form_read(const dl_form *form, dl_node *node) {
    static const dl_scalar_kind kinds[DL_FORM_SCALARS] = {
        [DL_FORM_INT] = DL_VALUE_INT,         [DL_FORM_NUMBER] = DL_VALUE_NUMBER,
        [DL_FORM_BOOL] = DL_VALUE_BOOL,       [DL_FORM_WORD] = DL_VALUE_WORD,
        [DL_FORM_IDENTIFIER] = DL_VALUE_NAME, [DL_FORM_NAME] = DL_VALUE_NAME,
        [DL_FORM_LABEL] = DL_VALUE_NAME,      [DL_FORM_TEXT] = DL_VALUE_TEXT,
        [DL_FORM_PATH] = DL_VALUE_TEXT,       [DL_FORM_PATTERN] = DL_VALUE_TEXT,
        [DL_FORM_EXPR] = DL_VALUE_EXPR,       [DL_FORM_QUANTITY] = DL_VALUE_QUANTITY,
        [DL_FORM_AMOUNT] = DL_VALUE_AMOUNT,   [DL_FORM_RANGE] = DL_VALUE_RANGE,
    };
    const char *text = node->text;
    bool good = false;
    if (form->kind >= DL_FORM_SCALARS)
        return false;
    node->number = node->number2 = 0;
    node->integer = 0;
    node->unit = NULL;
    switch (form->kind) {
    case DL_FORM_INT:
        good = read_int(text, &node->integer) && within(form, (double)node->integer);
        node->number = (double)node->integer;
        break;
    case DL_FORM_NUMBER:
        good = whole_number(text, &node->number) && within(form, node->number);
        if (good && fabs(node->number) < 9e18)
            node->integer = (int64_t)node->number;
        break;
    case DL_FORM_BOOL:
        node->number = strcmp(text, "true") == 0;
        node->integer = (int64_t)node->number;
        good = node->number != 0 || strcmp(text, "false") == 0;
        break;
    case DL_FORM_WORD:
        for (int i = 0; i < form->word_count; i++)
            good |= strcmp(text, form->words[i]) == 0;
        break;
    case DL_FORM_IDENTIFIER:
        good = is_identifier(text, false);
        break;
    case DL_FORM_NAME:
        good = is_identifier(text, true);
        break;
    case DL_FORM_LABEL:
        good = is_label(text);
        break;
    case DL_FORM_TEXT:
        good = true;
        break;
    case DL_FORM_PATH:
    case DL_FORM_PATTERN:
        good = *text != '\0';
        break;
    case DL_FORM_EXPR:
        good = node->quoted && *text;
        break;
    case DL_FORM_QUANTITY:
        good = read_quantity(form, node);
        break;
    case DL_FORM_AMOUNT:
        good = read_amount(node);
        break;
    case DL_FORM_RANGE:
        good = read_range(form, node);
        break;
    default:
        break;
    }
    if (good)
        node->value = kinds[form->kind];
    return good;
}

/* The type text itself. */

typedef struct parser {
    dl_job *job;
    const char *type, *at;
    int depth;
    bool failed;
} parser;

static dl_form *fail(parser *p, const char *what) {
    if (!p->failed && !p->job->out_of_memory)
        p->job->failure = dl_fail(DL_INTERNAL, "type text '%s': %s at character %d", p->type, what,
                                  (int)(p->at - p->type) + 1);
    p->failed = true;
    return NULL;
}

/* The next token: a parenthesis, a bracket, or what stands up to a blank or one of these. */
static size_t token(parser *p) {
    while (*p->at == ' ')
        p->at++;
    if (*p->at && strchr("()[]", *p->at))
        return 1;
    return strcspn(p->at, " ()[]");
}

static bool accept(parser *p, const char *word) {
    size_t length = token(p);
    if (length != strlen(word) || strncmp(p->at, word, length) != 0)
        return false;
    p->at += length;
    return true;
}

static char *take_name(parser *p) {
    size_t length = token(p);
    if (length == 0 || strchr("()[]", *p->at)) {
        fail(p, "a name is missing");
        return NULL;
    }
    char *name = dl_job_copy(p->job, p->at, length);
    p->at += length;
    return name;
}

/* a|b|c */
static bool take_words(parser *p, dl_form *form) {
    char *all = take_name(p);
    const char **words = dl_job_take(p->job, sizeof(char *) * FORM_WORDS);
    if (!all || !words)
        return false;
    form->words = words;
    for (char *rest = all, *one; (one = strsep(&rest, "|"));) {
        if (form->word_count == FORM_WORDS || !*one)
            return fail(p, "words are joined by one '|'"), false;
        words[form->word_count++] = one;
    }
    return true;
}

/* An optional LOW..HIGH; either side may be open. */
static bool take_bounds(parser *p, dl_form *form) {
    size_t length = token(p);
    const char *at = p->at;
    if (!isdigit((unsigned char)*at) && *at != '-' && *at != '.')
        return true;
    if (strncmp(at, "..", 2) != 0 && !read_number(&at, &form->low))
        return fail(p, "a bound is no number"), false;
    if (strncmp(at, "..", 2) != 0)
        return fail(p, "bounds are LOW..HIGH"), false;
    at += 2;
    if (at < p->at + length && !read_number(&at, &form->high))
        return fail(p, "a bound is no number"), false;
    p->at += length;
    return true;
}

static dl_form *take_form(parser *p);
static dl_form *take_forms(parser *p);

static dl_form *take_of(parser *p, dl_form *form, bool wants_of) {
    if (wants_of && !accept(p, "of"))
        return fail(p, "'of' is missing");
    if (++p->depth > FORM_DEPTH)
        return fail(p, "too deep");
    if (accept(p, "(")) {
        form->element = take_forms(p);
        if (form->element && !accept(p, ")"))
            return fail(p, "')' is missing");
    } else {
        form->element = take_form(p);
    }
    p->depth--;
    return form->element ? form : NULL;
}

static dl_form *take_named(parser *p, dl_form *form) {
    char *name = take_name(p);
    if (!name)
        return NULL;
    if (form->kind == DL_FORM_KEYS)
        form->table = dl_table_of(p->job->vocabulary, name);
    else
        form->family = dl_family_of(p->job->vocabulary, name);
    return form->table || form->family ? form : fail(p, "no such family or table, before this");
}

static dl_form *take_form(parser *p) {
    static const struct {
        const char *name;
        dl_form_kind kind;
    } list[] = {
        {"int", DL_FORM_INT},       {"number", DL_FORM_NUMBER},
        {"bool", DL_FORM_BOOL},     {"word", DL_FORM_WORD},
        {"name", DL_FORM_NAME},     {"identifier", DL_FORM_IDENTIFIER},
        {"label", DL_FORM_LABEL},   {"text", DL_FORM_TEXT},
        {"path", DL_FORM_PATH},     {"pattern", DL_FORM_PATTERN},
        {"expr", DL_FORM_EXPR},     {"quantity", DL_FORM_QUANTITY},
        {"amount", DL_FORM_AMOUNT}, {"range", DL_FORM_RANGE},
        {"item", DL_FORM_ITEM},     {"items", DL_FORM_ITEMS},
        {"keys", DL_FORM_KEYS},     {"list", DL_FORM_LIST},
        {"map", DL_FORM_MAP},       {"any", DL_FORM_ANY},
    };
    dl_form *form = dl_job_take(p->job, sizeof *form);
    if (!form)
        return NULL;
    form->low = -INFINITY;
    form->high = INFINITY;
    if (accept(p, "[")) {
        form->kind = DL_FORM_LIST;
        form->element = take_forms(p);
        if (form->element && !accept(p, "]"))
            return fail(p, "']' is missing");
        return form->element ? form : NULL;
    }
    int i = 0;
    while (i < DL_COUNT(list) && !accept(p, list[i].name))
        i++;
    if (i == DL_COUNT(list))
        return fail(p, "no such type");
    form->kind = list[i].kind;
    switch (form->kind) {
    case DL_FORM_INT:
    case DL_FORM_NUMBER:
    case DL_FORM_RANGE:
        return take_bounds(p, form) ? form : NULL;
    case DL_FORM_WORD:
    case DL_FORM_QUANTITY:
        return take_words(p, form) ? form : NULL;
    case DL_FORM_ITEM:
    case DL_FORM_ITEMS:
    case DL_FORM_KEYS:
        return take_named(p, form);
    case DL_FORM_LIST:
    case DL_FORM_MAP:
        return take_of(p, form, true);
    default:
        return form;
    }
}

static dl_form *take_forms(parser *p) {
    dl_form *first = NULL, **last = &first;
    do {
        *last = take_form(p);
        if (!*last)
            return NULL;
        last = &(*last)->next;
    } while (accept(p, "or"));
    return first;
}

dl_form *dl_form_parse(dl_job *job, const char *type) {
    size_t slot = ((uintptr_t)type >> 3) * 2654435761U % DL_JOB_FORMS;
    if (job->forms[slot].type == type)
        return job->forms[slot].form;
    parser p = {.job = job, .type = type, .at = type};
    dl_form *form = take_forms(&p);
    if (form && token(&p) != 0)
        return fail(&p, "something follows");
    if (form) {
        job->forms[slot].type = type;
        job->forms[slot].form = form;
    }
    return form;
}
