/* Which columns of a table each field means: the argument `fields` of source csv. See table.c. */
#ifndef DL_DATA_TABLE_H
#define DL_DATA_TABLE_H

#include "runtime/base/memory.h"
#include "runtime/base/schema.h"

typedef struct dl_columns {
    const char *file;
    const char **name; /* [count]; NULL: no header */
    int count;
    dl_arena *arena;
} dl_columns;

typedef struct dl_pick {
    const dl_node *node;
    int *column;
    int count;
    bool lone; /* one column by itself: one value a sample, numbers or labels */
} dl_pick;

/* The column that a name or a number from 0 means. */
dl_status dl_column_find(const dl_columns *columns, const dl_node *node, const char *text,
                         bool number, int *out);
/* name, number, range a..b, a list of these, or {all_but: [...]} */
dl_status dl_columns_pick(const dl_columns *columns, const dl_node *node, dl_pick *pick);

#endif
