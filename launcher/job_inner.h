/* What the files of the job reader share. Memory: everything lies in the arena of the job; a
 * function that returns NULL has run out of memory, which is then noted in the job. Errors go to
 * the list of diagnostics and reading goes on, so that all errors of a file come in one go. */
#ifndef DL_LAUNCHER_JOB_INNER_H
#define DL_LAUNCHER_JOB_INNER_H

#include "launcher/job.h"
#include "runtime/base/memory.h"

enum {
    DL_JOB_BYTES = 1 << 20,
    DL_JOB_DEPTH = 64,
    DL_JOB_NODES = 100000,
    DL_JOB_ERRORS = 100, /* told in full; more are counted */
    DL_JOB_PARTS = 64,   /* of a path */
    DL_JOB_FORMS = 1024, /* type texts kept parsed */
    DL_JOB_MEMORY = 256 << 20
};

typedef struct dl_diagnostic {
    struct dl_diagnostic *next;
    const char *file, *text;
    int line, column;
    bool warning;
} dl_diagnostic;

struct dl_form;

struct dl_job {
    dl_arena arena;
    struct {
        const char *type;
        struct dl_form *form;
    } forms[DL_JOB_FORMS]; /* by address of the type text */
    const dl_vocabulary *vocabulary;
    const char *file;
    const char *path_name; /* stem of the file: default of `name` */
    dl_node *root;
    dl_diagnostic *first;
    int errors, warnings;
    bool out_of_memory;
    dl_status failure; /* other than DL_BAD_JOB */
    const char *text;  /* resolved, once asked for */
};

/* job.c: counted memory of the job; texts cut to what a message can bear, without control
 * characters. */
void *dl_job_take(dl_job *job, size_t bytes);
char *dl_job_copy(dl_job *job, const char *text, size_t length);
const char *dl_job_clip(dl_job *job, const char *text);
void dl_job_error(dl_job *job, const char *file, int line, int column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* At the value; at the key where there is one. */
void dl_job_error_at(dl_job *job, const dl_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void dl_job_error_key(dl_job *job, const dl_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* job_yaml.c. One YAML document as raw nodes (scalars, lists, maps), or NULL if no tree can be had.
 * `given` marks the nodes; place = NULL takes lines from the text, else all get the place's. What
 * was refused inside (an alias, an unset variable) is left as DL_NODE_ABSENT with given = true. */
dl_node *dl_job_parse(dl_job *job, const char *file, const char *text, size_t length, bool given,
                      const dl_node *place);

/* job_types.c. A type text, parsed. */
typedef enum dl_form_kind {
    DL_FORM_INT,
    DL_FORM_NUMBER,
    DL_FORM_BOOL,
    DL_FORM_WORD,
    DL_FORM_IDENTIFIER,
    DL_FORM_NAME,
    DL_FORM_LABEL,
    DL_FORM_TEXT,
    DL_FORM_PATH,
    DL_FORM_PATTERN,
    DL_FORM_EXPR,
    DL_FORM_QUANTITY,
    DL_FORM_AMOUNT,
    DL_FORM_RANGE,
    DL_FORM_SCALARS, /* the kinds above are read from one scalar */
    DL_FORM_ITEM,
    DL_FORM_ITEMS,
    DL_FORM_KEYS,
    DL_FORM_LIST,
    DL_FORM_MAP,
    DL_FORM_ANY
} dl_form_kind;

typedef struct dl_form {
    dl_form_kind kind;
    double low, high;         /* of int, number, range; -INFINITY and INFINITY if open */
    const char *const *words; /* of word; units of quantity */
    int word_count;
    const dl_family *family; /* of item, items */
    const dl_table *table;   /* of keys */
    struct dl_form *element; /* of list, map: its alternatives */
    struct dl_form *next;    /* the next alternative */
} dl_form;

/* NULL and an error of kind DL_INTERNAL if the text is no type: a defect of the rows. */
dl_form *dl_form_parse(dl_job *job, const char *type);
/* "a whole number from 1, or auto" */
const char *dl_form_text(dl_job *job, const dl_form *form);
/* Whether the scalar has the form; fills number, unit, ... of `node` if so. */
bool dl_form_read(const dl_form *form, dl_node *node);
/* Whether `none` is a value of its own here. */
bool dl_form_has_word(const dl_form *form, const char *word);
const dl_family *dl_family_of(const dl_vocabulary *vocabulary, const char *name);
const dl_table *dl_table_of(const dl_vocabulary *vocabulary, const char *name);
const dl_key *dl_key_of(const dl_key *keys, int count, const char *name);
const dl_word *dl_word_of(const dl_family *family, const char *name);

/* job_fit.c: how well a node fits one alternative. */
enum { DL_FIT_NEVER, DL_FIT_KIND, DL_FIT_PART, DL_FIT_NEAR, DL_FIT_WELL };
int dl_form_fit(const dl_form *form, const dl_node *node);
bool dl_node_is_empty(const dl_node *node); /* `key:` with nothing after it */
/* Whether a map after `word:` is the value of its main key, as in bidirectional: {lstm: 32}. */
bool dl_word_main_map(dl_job *job, const dl_word *word, const dl_node *value);
const char *dl_word_nearest(const dl_family *family, const char *text);

/* job_check.c. A checked copy of a raw or already checked tree; where something is wrong the part
 * is left raw. Checking a checked tree gives the same tree. */
dl_node *dl_job_check(dl_job *job, const dl_node *raw);
/* The default of a row, checked, at this place. */
dl_node *dl_job_default(dl_job *job, const dl_key *key, const dl_node *place);

/* job_words.c: a value that has none of the forms; and the rest of "'x' is not a ..." after the
 * semicolon; never NULL but without memory.
 */
void dl_job_wrong_value(dl_job *job, const dl_form *forms, const dl_node *raw, const char *label);
const char *dl_job_no_argument(dl_job *job, const dl_family *family, const dl_word *word,
                               const dl_node *key);
const char *dl_job_no_key(dl_job *job, const dl_table *table, const dl_node *key);
const char *dl_job_no_word(dl_job *job, const dl_family *family, const char *word,
                           const dl_node *value);
const char *dl_job_no_sibling(dl_job *job, const dl_family *family, const dl_word *word,
                              const dl_node *key);
/* Where a word of Keras's has its home here, with the value that it was given; NULL: not in the
 * list. */
const char *dl_job_keras(dl_job *job, const char *where, const char *key, const dl_node *value);
/* "layer", "a layer", "an optimizer" */
const char *dl_job_a(dl_job *job, const char *noun);

/* job_paths.c: applies PATH=VALUE to a checked tree (errors go to the diagnostics). */
void dl_job_set(dl_job *job, dl_node *root, const char *set);

/* job_rules.c: what one row cannot say. */
void dl_job_rules(dl_job *job);

/* job_expand.c: fills `list` of items that stand for lists of layers. */
void dl_job_expand(dl_job *job, dl_node *node);

/* job_resolved.c */
const char *dl_node_print(dl_job *job, const dl_node *root);
/* Whether the text is within the bounds of a job file, so that a run can be resumed from it. */
bool dl_node_reads_back(const dl_node *root, const char *text);

#endif
