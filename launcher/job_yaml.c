/* libyaml's events as raw nodes with line and column. Size, depth and number of nodes are bounded;
 * anchors, aliases, tags and merge keys are refused, duplicates reported; ${NAME} and
 * ${NAME:-default} are replaced in values. Next: job_check.c. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "launcher/job_inner.h"

enum { VALUE_BYTES = 65536 }; /* of a value after ${...} */

typedef struct frame {
    dl_node *parent, *last;
    dl_node *key; /* of a map: the key that waits for its value */
} frame;

typedef struct reader {
    dl_job *job;
    const char *file, *text;
    size_t length;
    const dl_node *place; /* all nodes stand there; NULL: where the text has them */
    bool given;
    yaml_parser_t parser;
    frame stack[DL_JOB_DEPTH + 1];
    int depth, nodes;
    dl_node *root;
    const dl_node *dollar; /* the last plain "$" inside braces: ${...} that wants quotes */
    bool stop;
} reader;

/* The source from a line and column (from 1) on; an empty text if there is no such place. */
static const char *source_at(const reader *r, int line, int column) {
    const char *at = r->text, *end = r->text + r->length;
    for (int i = 1; i < line && at; i++) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    for (int i = 1; at && i < column && at < end && *at != '\n'; i++)
        do
            at++;
        while (at < end && ((unsigned char)*at & 0xC0) == 0x80);
    return at ? at : end;
}

/* What stands there up to the end of the value: `,`, a bracket, a blank or a comment. With
 * `braces`, those of ${...} belong to it. */
static const char *source_word(const reader *r, int line, int column, bool braces) {
    const char *at = source_at(r, line, column), *end = r->text + r->length, *to = at;
    bool open = false;
    while (to < end && *to != '\n' && *to != '\r') {
        if (braces && *to == '{')
            open = true;
        else if (open && *to == '}')
            open = false;
        else if (!open && (strchr(",]} \t#", *to) && *to))
            break;
        to++;
    }
    return dl_job_clip(r->job, dl_job_copy(r->job, at, (size_t)(to - at)));
}

static void place_node(const reader *r, dl_node *node, yaml_mark_t mark) {
    node->file = r->file;
    node->given = r->given;
    node->line = r->place ? r->place->line : (int)mark.line + 1;
    node->column = r->place ? r->place->column : (int)mark.column + 1;
}

static dl_node *node_new(reader *r, dl_node_kind kind, yaml_mark_t mark) {
    dl_node *node = dl_job_take(r->job, sizeof *node);
    if (!node) {
        r->stop = true;
        return NULL;
    }
    node->kind = kind;
    place_node(r, node, mark);
    return node;
}

/* A value without a meaning, about which enough was said. */
static void poison(dl_node *node) {
    node->kind = DL_NODE_ABSENT;
    node->given = true;
}

/* Puts the node under its parent. */
static void attach(reader *r, dl_node *node) {
    if (++r->nodes > DL_JOB_NODES) {
        dl_job_error_at(r->job, node, "more than %d values; move data into a file of its own",
                        DL_JOB_NODES);
        r->stop = true;
        return;
    }
    if (r->depth == 0) {
        r->root = node;
        return;
    }
    frame *f = &r->stack[r->depth - 1];
    if (f->parent->kind == DL_NODE_MAP) {
        node->key = f->key->text;
        node->key_line = f->key->line;
        node->key_column = f->key->column;
        f->key = NULL;
    }
    if (f->last)
        f->last->next = node;
    else
        f->parent->first = node;
    f->last = node;
    f->parent->count++;
}

/* The name inside ${...}; NULL if it is none. *rest: the default after ":-", or NULL. */
static const char *variable_name(dl_job *job, const char *start, size_t length, const char **rest) {
    size_t n = 0;
    while (n < length && (isalnum((unsigned char)start[n]) || start[n] == '_'))
        n++;
    *rest = NULL;
    if (n == 0 || isdigit((unsigned char)start[0]))
        return NULL;
    if (n + 2 <= length && start[n] == ':' && start[n + 1] == '-')
        *rest = dl_job_copy(job, start + n + 2, length - n - 2);
    else if (n != length)
        return NULL;
    return dl_job_copy(job, start, n);
}

/* Replaces every ${...} of the node's text, or poisons it and says why. */
static void replace_variables(reader *r, dl_node *node) {
    dl_job *job = r->job;
    char out[VALUE_BYTES];
    size_t used = 0;
    const char *at = node->text;
    if (!strstr(at, "${"))
        return;
    while (*at) {
        const char *dollar = strstr(at, "${");
        const char *piece = at, *value = "";
        size_t length = dollar ? (size_t)(dollar - at) : strlen(at);
        at += length;
        if (dollar) {
            const char *close = strchr(dollar, '}'), *otherwise = NULL;
            const char *name =
                close ? variable_name(job, dollar + 2, (size_t)(close - dollar - 2), &otherwise)
                      : NULL;
            if (job->out_of_memory)
                return;
            if (!name) {
                dl_job_error_at(job, node, "'%s' is no variable; write ${NAME} or ${NAME:-default}",
                                dl_job_clip(job, dollar));
                poison(node);
                return;
            }
            value = getenv(name);
            if (otherwise && (!value || !*value))
                value = otherwise;
            if (!value) {
                const char *shown = dl_job_clip(job, name);
                dl_job_error_at(job, node,
                                "the environment variable %s is not set and has no default; set "
                                "it, or write ${%s:-/path}",
                                shown, shown);
                poison(node);
                return;
            }
            at = close + 1;
        }
        size_t more = strlen(value);
        if (used + length + more >= sizeof out) {
            dl_job_error_at(job, node, "the value is longer than %d bytes; shorten it",
                            VALUE_BYTES);
            poison(node);
            return;
        }
        memcpy(out + used, piece, length);
        memcpy(out + used + length, value, more);
        used += length + more;
    }
    out[used] = '\0';
    if (strstr(out, "${")) {
        dl_job_error_at(job, node,
                        "the value still has ${ in it after the variables were put "
                        "in; set them to plain text");
        poison(node);
        return;
    }
    node->written = node->text;
    node->text = dl_job_copy(job, out, used);
}

static void refuse_tag(reader *r, int line, int column) {
    dl_job_error(r->job, r->file, line, column,
                 "'!' begins a YAML tag, and tags are not allowed; if it is a pattern, quote it: "
                 "\"%s\" (the same for '*')",
                 r->place ? "!pattern" : source_word(r, line, column, false));
}

static void refuse_alias(reader *r, int line, int column) {
    dl_job_error(r->job, r->file, line, column,
                 "'*' begins a YAML alias, and aliases are not allowed; if it is a pattern, quote "
                 "it: \"%s\" (the same for '!')",
                 r->place ? "*pattern" : source_word(r, line, column, false));
}

static void refuse_braces(reader *r, int line, int column) {
    dl_job_error(r->job, r->file, line, column,
                 "a value with ${...} must be quoted inside { } or [ ]: \"%s\"",
                 r->place ? "${NAME}" : source_word(r, line, column, true));
}

/* Tag and anchor of a node that has them; true if either was refused. */
static bool refused(reader *r, dl_node *node, const yaml_char_t *anchor, const yaml_char_t *tag) {
    if (!anchor && !tag)
        return false;
    if (anchor)
        dl_job_error_at(r->job, node,
                        "'&' begins a YAML anchor, and anchors are not allowed; write the value "
                        "out at each place, or quote it if it is text");
    else
        refuse_tag(r, node->line, node->column);
    return true;
}

static bool wants_key(const reader *r) {
    const frame *f = r->depth > 0 ? &r->stack[r->depth - 1] : NULL;
    return f && f->parent->kind == DL_NODE_MAP && !f->key;
}

static void take_key(reader *r, dl_node *node) {
    if (strcmp(node->text, "<<") == 0 && !node->quoted)
        dl_job_error_at(r->job, node,
                        "'<<' is a YAML merge key, and merging is not allowed; write the keys out");
    else if (!*node->text)
        dl_job_error_at(r->job, node, "a key is empty; write its name before the ':'");
    r->stack[r->depth - 1].key = node;
}

static void take_scalar(reader *r, const yaml_event_t *event) {
    const char *bytes = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    dl_node *node = node_new(r, DL_NODE_SCALAR, event->start_mark);
    if (!node)
        return;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = dl_job_copy(r->job, bytes, length);
    if (!node->text)
        return;
    bool bad = refused(r, node, event->data.scalar.anchor, event->data.scalar.tag);
    if (strlen(node->text) != length) {
        dl_job_error_at(r->job, node, "the text has a NUL character in it; leave it out");
        bad = true;
    }
    if (!node->quoted && length > 0 && bytes[length - 1] == '$')
        r->dollar = node;
    if (wants_key(r)) {
        take_key(r, node);
        return;
    }
    if (bad)
        poison(node);
    else
        replace_variables(r, node);
    attach(r, node);
}

static void take_alias(reader *r, const yaml_event_t *event) {
    dl_node *node = node_new(r, DL_NODE_SCALAR, event->start_mark);
    if (!node)
        return;
    refuse_alias(r, node->line, node->column);
    node->text = "*";
    if (wants_key(r)) {
        take_key(r, node);
        return;
    }
    poison(node);
    attach(r, node);
}

static void take_start(reader *r, const yaml_event_t *event, dl_node_kind kind) {
    bool map = kind == DL_NODE_MAP;
    dl_node *node = node_new(r, kind, event->start_mark);
    if (!node)
        return;
    if (wants_key(r)) {
        dl_job_error_at(r->job, node,
                        "a key must be a plain word, not a list or map; quote ${...} "
                        "and braces that are meant as text");
        r->stop = true;
        return;
    }
    if (r->depth == DL_JOB_DEPTH) {
        dl_job_error_at(r->job, node, "more than %d levels of lists and maps; write it flatter",
                        DL_JOB_DEPTH);
        r->stop = true;
        return;
    }
    refused(r, node, map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor,
            map ? event->data.mapping_start.tag : event->data.sequence_start.tag);
    attach(r, node);
    r->stack[r->depth++] = (frame){.parent = node};
}

static int by_key(const void *a, const void *b) {
    const dl_node *x = *(dl_node *const *)a, *y = *(dl_node *const *)b;
    int order = strcmp(x->key, y->key);
    if (order != 0)
        return order;
    if (x->key_line != y->key_line)
        return x->key_line < y->key_line ? -1 : 1;
    return (x->key_column > y->key_column) - (x->key_column < y->key_column);
}

/* Reports every key that came before, and takes the later ones out. */
static void check_duplicates(reader *r, dl_node *map) {
    if (map->count < 2)
        return;
    dl_node **list = dl_alloc(sizeof(dl_node *) * (size_t)map->count);
    int count = 0;
    if (!list) {
        r->job->out_of_memory = r->stop = true;
        dl_fail_memory(sizeof(dl_node *) * (size_t)map->count);
        return;
    }
    for (dl_node *child = map->first; child; child = child->next)
        list[count++] = child;
    qsort(list, (size_t)count, sizeof *list, by_key);
    for (int first = 0, i = 1; i < count; i++) {
        if (strcmp(list[first]->key, list[i]->key) != 0) {
            first = i;
            continue;
        }
        dl_job_error_key(r->job, list[i], "'%s' is given twice, first at %d:%d; keep one",
                         dl_job_clip(r->job, list[i]->key), list[first]->key_line,
                         list[first]->key_column);
        list[i]->key = NULL;
    }
    dl_free(list);
    dl_node **at = &map->first;
    while (*at) {
        if ((*at)->key) {
            at = &(*at)->next;
        } else {
            *at = (*at)->next;
            map->count--;
        }
    }
}

static void take_end(reader *r) {
    frame *f = &r->stack[--r->depth];
    if (f->parent->kind == DL_NODE_MAP)
        check_duplicates(r, f->parent);
}

static const char *remedy(const char *problem) {
    static const struct {
        const char *problem, *remedy;
    } list[] = {
        {"mapping values are not allowed", "quote text that has ': ' in it, and look at the "
                                           "indentation of this line"},
        {"cannot start any token", "indent with blanks, never tabs; quote text that begins with a "
                                   "special character"},
        {"did not find expected ',' or", "close the bracket or brace, and quote text with , [ ] { "
                                         "} in it"},
        {"did not find expected '-' indicator", "indent the items of a list alike"},
        {"did not find expected key", "indent the keys of a map alike"},
        {"could not find expected ':'", "write 'key: value', with a blank after the colon"},
        {"unexpected end of stream", "close the quotation mark"},
        {"unknown escape character", "write a backslash twice, or use single quotes"},
    };
    for (int i = 0; i < DL_COUNT(list); i++)
        if (strstr(problem, list[i].problem))
            return list[i].remedy;
    return "look at quotes, brackets and indentation before this place";
}

static void syntax_error(reader *r) {
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "unreadable";
    const char *context = p->context ? p->context : "";
    yaml_mark_t mark = p->problem_mark, start = p->context_mark;
    int line = r->place ? r->place->line : (int)mark.line + 1;
    int column = r->place ? r->place->column : (int)mark.column + 1;
    if (p->error == YAML_MEMORY_ERROR) {
        r->job->out_of_memory = true;
        dl_fail(DL_NO_MEMORY, "out of memory while reading %s", r->file);
    } else if (p->error == YAML_READER_ERROR) {
        dl_job_error(r->job, r->file, 0, 0,
                     "byte %zu is not UTF-8 text; save the file as plain UTF-8", p->problem_offset);
    } else if (strstr(context, "alias")) {
        refuse_alias(r, r->place ? line : (int)start.line + 1,
                     r->place ? column : (int)start.column + 1);
    } else if (strstr(context, "a tag") || strstr(problem, "tag handle")) {
        bool scanned = strstr(context, "a tag") != NULL;
        refuse_tag(r, r->place ? line : (int)(scanned ? start.line : mark.line) + 1,
                   r->place ? column : (int)(scanned ? start.column : mark.column) + 1);
    } else if (r->dollar && strncmp(problem, "did not find expected", 21) == 0) {
        refuse_braces(r, r->dollar->line, r->dollar->column);
    } else {
        dl_job_error(r->job, r->file, line, column, "this is not YAML: %s; %s", problem,
                     remedy(problem));
    }
    r->stop = true;
}

static void take(reader *r, const yaml_event_t *event, int *documents) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents > 1) {
            dl_job_error(r->job, r->file, (int)event->start_mark.line + 1,
                         (int)event->start_mark.column + 1,
                         "a second document begins; a file holds one job");
            r->stop = true;
        }
        break;
    case YAML_SCALAR_EVENT:
        take_scalar(r, event);
        break;
    case YAML_ALIAS_EVENT:
        take_alias(r, event);
        break;
    case YAML_MAPPING_START_EVENT:
        take_start(r, event, DL_NODE_MAP);
        break;
    case YAML_SEQUENCE_START_EVENT:
        take_start(r, event, DL_NODE_LIST);
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        take_end(r);
        break;
    default:
        break;
    }
}

dl_node *dl_job_parse(dl_job *job, const char *file, const char *text, size_t length, bool given,
                      const dl_node *place) {
    reader r = {.job = job, .file = file, .text = text, .length = length, .given = given};
    r.place = place;
    if (length > DL_JOB_BYTES) {
        dl_job_error(job, file, 0, 0, "larger than 1 MiB; move data into a file of its own");
        return NULL;
    }
    if (!yaml_parser_initialize(&r.parser)) {
        job->out_of_memory = true;
        dl_fail(DL_NO_MEMORY, "out of memory while reading %s", file);
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
    int documents = 0, errors = job->errors;
    for (bool done = false; !done && !r.stop;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r.parser, &event)) {
            syntax_error(&r);
            break;
        }
        done = event.type == YAML_STREAM_END_EVENT;
        take(&r, &event, &documents);
        yaml_event_delete(&event);
        r.stop |= job->out_of_memory || job->errors > DL_JOB_ERRORS;
    }
    yaml_parser_delete(&r.parser);
    if (r.stop || job->out_of_memory)
        return NULL;
    if (!r.root && job->errors == errors)
        dl_job_error(job, file, place ? place->line : 1, place ? place->column : 1,
                     "nothing is in it; a job has at least data and model");
    return r.root;
}
