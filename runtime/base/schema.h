/* The job as checked data, and the rows that describe it.
 *
 * Each room describes its own keys as rows (dl_key) and its own words as rows (dl_word) beside the
 * code that reads them; launcher/job collects the rows, and parsing, checking, --set, `dltrain
 * help`, the JSON Schema and the resolved job all come from them. After the check every key of a
 * map is there, with its default where the job gave none, so that the getters below cannot fail:
 * asking for a key that the row list lacks is a defect and ends in an assert.
 *
 * Type texts of a dl_key (alternatives joined by " or "):
 *   int | int 1.. | int 2..31           number | number 0..1 (3, 1e-3, 1/255, 0.2/128)
 *   bool                                 word valid|same
 *   identifier a new name, without dots  name       an identifier, dots go into models
 *   label      a file-name part          text, path, pattern
 *   expr       quoted expression         quantity epochs|steps|s|min ; quantity MiB ; ...
 *   amount     count (3) or share (0.2)  range      2..31 or 300001..
 *   item F     one item of family F      items F    list of items
 *   keys T     a map with the rows of table T (dl_table); a lone value where T has a main key
 *   list of X  (also [X]); a lone X is NOT taken for a list unless "X or list of X" says so
 *   map of X   any names to X            any        unchecked subtree (sources' nested values)
 * "or" binds weakest, parentheses group: "list of (int or list of int)". Of alternatives the first
 * that fits wins, and the node's `value` says which one it was.
 *
 * A word whose main key takes a map (a source's {field: FILE, ...}, the layer inside bidirectional)
 * is given that map directly: a map with none of the word's keys in it is the value of the main
 * key. */
#ifndef DL_BASE_SCHEMA_H
#define DL_BASE_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/status.h"

typedef struct dl_key {
    const char *name;
    const char *type; /* a type text as above */
    const char
        *value; /* default as it would stand in a job; NULL: required; "": absent unless given */
    const char *help; /* one line, with unit and source; lines behind it: for `dltrain help KEY` */
} dl_key;

/* What an item can be: dense, max_pooling2d, rmsprop, ... */
typedef struct dl_word {
    const char *name;
    const char *main; /* key that a lone value sets; NULL: takes none */
    const dl_key *keys;
    int key_count;
    const char *help;
    const void *impl; /* the room's own row: functions that build it */
} dl_word;

/* Words of one kind ("layers", "losses"), and the keys that stand beside an item of the kind. */
typedef struct dl_family {
    const char *name;   /* as in type texts: "layer" */
    const char *plural; /* as in `dltrain help layers` */
    const dl_word *words;
    int word_count;
    const dl_key *siblings;
    int sibling_count;
} dl_family;

/* A named row list for `keys T`. */
typedef struct dl_table {
    const char *name;
    const dl_key *keys;
    int key_count;
    const char *main; /* key that a lone value sets (repeat: 3); NULL: takes none */
} dl_table;

#define DL_KEYS(array) (array), (int)(sizeof(array) / sizeof((array)[0]))
#define DL_NO_KEYS     0, 0

typedef enum dl_node_kind {
    DL_NODE_ABSENT, /* optional and not given */
    DL_NODE_SCALAR,
    DL_NODE_LIST,
    DL_NODE_MAP,
    DL_NODE_ITEM /* word, with `args` (map) and `beside` (map) */
} dl_node_kind;

/* Which of its type's alternatives a scalar was read as. */
typedef enum dl_scalar_kind {
    DL_VALUE_NONE, /* no scalar, or inside `any` */
    DL_VALUE_INT,
    DL_VALUE_NUMBER,
    DL_VALUE_BOOL,
    DL_VALUE_WORD,
    DL_VALUE_NAME, /* identifier, name, label */
    DL_VALUE_TEXT, /* text, path, pattern */
    DL_VALUE_EXPR,
    DL_VALUE_QUANTITY,
    DL_VALUE_AMOUNT,
    DL_VALUE_RANGE
} dl_scalar_kind;

typedef struct dl_node {
    dl_node_kind kind;
    const char *key;          /* name in the parent map, else NULL */
    const char *file;         /* where it was written ("--set PATH" if there) ... */
    int line, column;         /* ... from 1; of a default: where its map stands; 0: --set */
    int key_line, key_column; /* of `key`, 0 without one */
    bool given;               /* by the user, not by a default */
    bool quoted;
    bool open; /* a map of any names, not of rows */
    dl_scalar_kind value;
    const char *text;    /* scalar, after ${...}; an item's word */
    const char *written; /* the text before ${...} was replaced; NULL: nothing was */
    double number;    /* value of int, number, bool (0/1), amount, quantity; low end of a range */
    double number2;   /* high end of a range; INFINITY if open */
    int64_t integer;  /* value of int, exactly */
    const char *unit; /* of a quantity: "steps"; of an amount: "count" or "share" */
    const dl_word *word;
    const dl_key *row; /* that describes this key; NULL in lists and in maps of any names */
    struct dl_node *args, *beside;
    struct dl_node *list; /* items that this item stands for (a network by name); NULL: itself */
    struct dl_node *first, *next; /* children of list and map, in order */
    int count;                    /* number of children */
} dl_node;

/* Child of a map or, for an item, of its arguments, then of what stands beside it. NULL: no such
 * key. */
const dl_node *dl_get(const dl_node *node, const char *key);
/* Same, NULL also when absent. */
const dl_node *dl_given(const dl_node *node, const char *key);
const dl_node *dl_at(const dl_node *list, int index);
int64_t dl_int(const dl_node *node, const char *key);
double dl_number(const dl_node *node, const char *key);
bool dl_bool(const dl_node *node, const char *key);
const char *dl_text(const dl_node *node, const char *key);          /* NULL when absent */
bool dl_is(const dl_node *node, const char *key, const char *word); /* text equals */
/* Ints of "int or list of int" spread to `count` (one int: repeated). false: wrong length. */
bool dl_ints(const dl_node *node, const char *key, int count, int64_t *out);

/* for (DL_EACH(child, parent)) ... */
#define DL_EACH(child, parent)                             \
    const dl_node *child = (parent) ? (parent)->first : 0; \
    child;                                                 \
    child = child->next

/* "FILE:LINE:COLUMN: ..." as the message of `status`; for checks that need more than the rows know
 * (shapes that do not meet, fields that do not exist). */
dl_status dl_fail_at(const dl_node *node, dl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The nearest of `names` (edit distance at most a third of the length, case aside), or NULL: for
 * "did you mean". */
const char *dl_nearest(const char *word, const char *const *names, int count);

#endif
