/* What the files of this room share: a node as it is kept, and walking nodes in order of id. A
 * dl_expr handed out is always the first member of a dl_expr_node. Next: exprs.c. */
#ifndef DL_EXPR_INTERNAL_H
#define DL_EXPR_INTERNAL_H

#include "runtime/expr/expr.h"

typedef struct dl_expr_node {
    dl_expr expr;
    struct dl_exprs *set;
    struct dl_expr_node *bucket; /* next of the same hash */
    uint64_t inputs;             /* bit i: input i; inputs from 63 on share bit 63 */
    bool random;
    int height; /* longest path to a leaf */
} dl_expr_node;

struct dl_exprs {
    dl_arena *arena;
    dl_expr_node **node; /* by id */
    int count, capacity;
    dl_expr_node **table; /* capacity of a power of two */
    int table_size;
};

extern const int dl_expr_arity[DL_EXPR_KINDS];
extern const char *const dl_expr_word[DL_EXPR_KINDS];

static inline const dl_expr_node *dl_expr_node_of(const dl_expr *expr) {
    return (const dl_expr_node *)(const void *)expr;
}

/* The operation on numbers, with the bits that a program gives. */
float dl_expr_apply(dl_expr_kind kind, float a, float b, float c);

/* Marks what `root` depends on, itself included: mark[id] = 1, for ids up to root's. */
void dl_expr_mark(const dl_expr *root, unsigned char *mark);

/* Bounds of texts: nesting of parentheses and operators, characters, bindings "t0 = ...;". */
enum { DL_EXPR_TEXT_DEPTH = 200, DL_EXPR_TEXT_LENGTH = 1 << 20, DL_EXPR_TEXT_BINDINGS = 4096 };

#endif
