/* Source `csv`: columns of a table as fields. A field of several columns is a row of float32. A
 * lone column is one value a sample: whole numbers (int32), numbers (float32), or text, whose
 * different values are labels in alphabetical order. The table is read twice: rows are counted,
 * then kept. */
#include "runtime/data/csv.h"
#include "runtime/data/set.h"
#include "runtime/data/table.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { UNKNOWN_YET, NUMBERS, TEXT, DISTINCT = 256 };

typedef struct column_field {
    dl_pick pick;
    const char *key;
    float *number;     /* [rows][pick.count] */
    int32_t *whole;    /* of a lone column */
    const char **text; /* of a lone column */
    int form;          /* of a lone column */
    bool fractions;    /* some number is not whole, or unknown */
    const char *distinct[DISTINCT];
    int distincts;
    const char *missing; /* the first unknown cell: "FILE:3:7" */
} column_field;

typedef struct table {
    dl_set *set;
    const dl_node *item;
    dl_csv csv;
    dl_bytes bytes;
    char separator;
    const char *file;
    dl_columns columns;
    bool header;
    column_field *field;
    int fields;
    int *where;              /* [conditions] columns */
    const char **where_text; /* [conditions] */
    int conditions;
    int64_t rows;
} table;

static bool same_cell(const char *a, const char *b) {
    double x, y;
    return strcmp(a, b) == 0 || (dl_csv_number(a, &x) && dl_csv_number(b, &y) && x == y);
}

static bool is_missing(const table *t, const char *cell) {
    const dl_node *missing = dl_given(t->item, "missing");
    double number;
    if (!cell[strspn(cell, " \t")] || (dl_csv_number(cell, &number) && isnan(number)))
        return true;
    if (missing && missing->kind == DL_NODE_SCALAR)
        return same_cell(cell, missing->text);
    for (DL_EACH(child, missing))
        if (same_cell(cell, child->text))
            return true;
    return false;
}

static const char *place_of(const table *t, int column) {
    const dl_cell *cell = &t->csv.cell[column];
    return dl_arena_format(&t->set->arena, "%s:%d:%d", t->file, cell->line, cell->column);
}

/* "'Location'" or "2" */
static const char *name_of(const table *t, int column) {
    if (t->columns.name)
        return dl_arena_format(&t->set->arena, "'%s'", t->columns.name[column]);
    return dl_arena_format(&t->set->arena, "%d", column);
}

/* What to write so that the column is left out: "fields: {x: {all_but: [Price, Location]}}". */
static dl_status not_a_number(const table *t, const column_field *f, int column) {
    const dl_node *others =
        f->pick.node->kind == DL_NODE_MAP ? dl_get(f->pick.node, "all_but") : NULL;
    const char *list = "", *name = name_of(t, column), *place = place_of(t, column);
    dl_arena *arena = &t->set->arena;
    if (f->pick.lone)
        return dl_fail(DL_BAD_JOB,
                       "%s: '%s' in column %s is not a number, but cells above are; if it means "
                       "that the value is unknown, say missing: %s",
                       place, dl_csv_cell(&t->csv, column), name, dl_csv_cell(&t->csv, column));
    for (DL_EACH(child, others && others->kind == DL_NODE_LIST ? others : NULL))
        list = list ? dl_arena_format(arena, "%s%s, ", list, child->text) : NULL;
    if (others && others->kind == DL_NODE_SCALAR)
        list = dl_arena_format(arena, "%s, ", others->text);
    if (!list || !name || !place)
        return dl_fail_memory(64);
    size_t quotes = t->columns.name ? 1 : 0; /* as one writes it in a job */
    return dl_fail(
        DL_BAD_JOB,
        "%s: '%s' in column %s is not a number; leave the column out: fields: {%s: {all_but: "
        "[%s%.*s]}}",
        place, dl_csv_cell(&t->csv, column), name, f->key, list, (int)(strlen(name) - 2 * quotes),
        name + quotes);
}

/* Texts of labels: few different ones are kept once. */
static const char *keep_text(const table *t, column_field *f, const char *text) {
    for (int i = 0; i < f->distincts; i++)
        if (strcmp(f->distinct[i], text) == 0)
            return f->distinct[i];
    const char *copy = dl_arena_text(&t->set->arena, text);
    if (copy && f->distincts < DISTINCT)
        f->distinct[f->distincts++] = copy;
    return copy;
}

static dl_status keep_lone(table *t, column_field *f, int64_t row, const char *cell, bool missing) {
    double number = NAN;
    bool is_number = missing || dl_csv_number(cell, &number);
    if (!missing && f->form == UNKNOWN_YET)
        f->form = is_number ? NUMBERS : TEXT;
    if (f->form == TEXT) {
        f->text[row] = keep_text(t, f, cell);
        return f->text[row] ? DL_OK : dl_fail_memory(strlen(cell));
    }
    if (!is_number)
        return not_a_number(t, f, f->pick.column[0]);
    bool whole = !isnan(number) && fabs(number) <= INT32_MAX && number == floor(number) &&
                 !strpbrk(cell, ".eE");
    f->fractions |= !whole;
    f->whole[row] = whole ? (int32_t)number : 0;
    f->number[row] = (float)number;
    return DL_OK;
}

static dl_status keep_field(table *t, column_field *f, int64_t row) {
    for (int i = 0; i < f->pick.count; i++) {
        int column = f->pick.column[i];
        const char *cell = dl_csv_cell(&t->csv, column);
        bool missing = is_missing(t, cell);
        double number = NAN;
        if (missing && !f->missing) {
            f->missing = place_of(t, column);
            if (!f->missing)
                return dl_fail_memory(64);
        }
        if (f->pick.lone) {
            DL_TRY(keep_lone(t, f, row, cell, missing));
            continue;
        }
        if (!missing && !dl_csv_number(cell, &number))
            return not_a_number(t, f, column);
        f->number[row * f->pick.count + i] = (float)number;
    }
    return DL_OK;
}

/* Whether `where` and drop_missing let the row through. */
static bool wanted(const table *t) {
    for (int i = 0; i < t->conditions; i++)
        if (!same_cell(dl_csv_cell(&t->csv, t->where[i]), t->where_text[i]))
            return false;
    if (!dl_bool(t->item, "drop_missing"))
        return true;
    for (int i = 0; i < t->fields; i++)
        for (int j = 0; j < t->field[i].pick.count; j++)
            if (is_missing(t, dl_csv_cell(&t->csv, t->field[i].pick.column[j])))
                return false;
    return true;
}

/* One way through the file: counts the rows, or keeps them. */
static dl_status pass(table *t, bool keep) {
    bool found = true;
    int64_t row = 0;
    dl_csv_close(&t->csv);
    dl_csv_open(&t->csv, t->bytes.at, t->bytes.count, t->separator, t->file);
    if (t->header)
        DL_TRY(dl_csv_next(&t->csv, &found));
    for (;;) {
        DL_TRY(dl_csv_next(&t->csv, &found));
        if (!found)
            break;
        if (t->csv.cells != t->columns.count)
            return dl_fail(DL_NO_INPUT, "%s:%d: this row has %d cells, but the first has %d",
                           t->file, t->csv.cell[0].line, t->csv.cells, t->columns.count);
        if (!wanted(t))
            continue;
        for (int i = 0; keep && i < t->fields; i++)
            DL_TRY(keep_field(t, &t->field[i], row));
        row++;
    }
    t->rows = row;
    return DL_OK;
}

/* The first row: how many columns there are, and their names if it is a header. */
static dl_status read_header(table *t) {
    const dl_node *header = dl_get(t->item, "header");
    bool found, numbers = false;
    double number;
    dl_csv_open(&t->csv, t->bytes.at, t->bytes.count, t->separator, t->file);
    DL_TRY(dl_csv_next(&t->csv, &found));
    if (!found)
        return dl_fail(DL_NO_INPUT, "%s is empty", t->file);
    t->columns = (dl_columns){.file = t->file, .count = t->csv.cells, .arena = &t->set->arena};
    for (int i = 0; i < t->csv.cells; i++)
        numbers |= dl_csv_number(dl_csv_cell(&t->csv, i), &number);
    t->header = header->value == DL_VALUE_BOOL ? header->number != 0 : !numbers;
    if (!t->header)
        return DL_OK;
    t->columns.name = DL_NEW_N(&t->set->arena, const char *, t->csv.cells);
    for (int i = 0; t->columns.name && i < t->csv.cells; i++) {
        t->columns.name[i] = dl_arena_text(&t->set->arena, dl_csv_cell(&t->csv, i));
        if (!t->columns.name[i])
            return dl_fail_memory(64);
    }
    return t->columns.name ? DL_OK : dl_fail_memory(64);
}

static dl_status pick_all(table *t) {
    const dl_node *fields = dl_get(t->item, "fields"), *where = dl_given(t->item, "where");
    t->field = DL_NEW_N(&t->set->arena, column_field, fields->count);
    t->where = DL_NEW_N(&t->set->arena, int, where ? where->count : 0);
    t->where_text = DL_NEW_N(&t->set->arena, const char *, where ? where->count : 0);
    if (!t->field || !t->where || !t->where_text)
        return dl_fail_memory(sizeof(column_field) * (size_t)fields->count);
    for (DL_EACH(node, fields)) {
        t->field[t->fields].key = node->key;
        DL_TRY(dl_columns_pick(&t->columns, node, &t->field[t->fields++].pick));
    }
    for (DL_EACH(node, where)) {
        t->where_text[t->conditions] = node->text;
        DL_TRY(dl_column_find(&t->columns, node, node->key, false, &t->where[t->conditions++]));
    }
    return DL_OK;
}

static dl_status take_memory(table *t) {
    if (t->rows > DL_MAX_SAMPLES)
        return dl_fail(DL_BAD_JOB, "%s has %" PRId64 " rows, more than %" PRId64, t->file, t->rows,
                       DL_MAX_SAMPLES);
    for (int i = 0; i < t->fields; i++) {
        column_field *f = &t->field[i];
        f->number = dl_set_take(t->set, t->rows * f->pick.count, sizeof *f->number);
        f->whole = f->pick.lone ? dl_set_take(t->set, t->rows, sizeof *f->whole) : NULL;
        f->text = f->pick.lone ? dl_set_take(t->set, t->rows, sizeof *f->text) : NULL;
        if (!f->number || (f->pick.lone && (!f->whole || !f->text)))
            return DL_NO_MEMORY;
    }
    return DL_OK;
}

static dl_status add_field(table *t, column_field *f) {
    dl_array array = {.name = f->key, .node = f->pick.node, .file = t->file, .missing = f->missing};
    if (f->pick.lone && f->form == TEXT) {
        if (f->missing)
            return dl_fail(DL_BAD_JOB,
                           "%s: the label of this row is unknown; say drop_missing: true",
                           f->missing);
        DL_TRY(dl_set_labels(t->set, f->text, t->rows, &array));
    } else if (f->pick.lone) {
        array.type = DL_SCALAR(f->fractions ? DL_F32 : DL_I32);
        array.values = f->fractions ? (const void *)f->number : f->whole;
    } else {
        const char **name = DL_NEW_N(&t->set->arena, const char *, f->pick.count);
        if (!name)
            return dl_fail_memory(64);
        for (int i = 0; t->columns.name && i < f->pick.count; i++)
            name[i] = t->columns.name[f->pick.column[i]];
        array.type = DL_TYPE(DL_F32, f->pick.count);
        array.values = f->number;
        array.column = t->columns.name ? name : NULL;
    }
    return dl_set_add(t->set, &array, t->rows, NULL);
}

static dl_status read_table(table *t) {
    DL_TRY(read_header(t));
    DL_TRY(pick_all(t));
    DL_TRY(pass(t, false));
    DL_TRY(take_memory(t));
    DL_TRY(pass(t, true));
    for (int i = 0; i < t->fields; i++)
        DL_TRY(add_field(t, &t->field[i]));
    return DL_OK;
}

static dl_status open_csv(dl_set *set, const dl_node *item) {
    const dl_node *path = dl_get(item, "file"), *separator = dl_get(item, "separator");
    table t = {.set = set, .item = item, .file = path->text};
    t.separator = separator->text[0];
    if (strcmp(separator->text, "whitespace") == 0)
        t.separator = ' ';
    else if (strcmp(separator->text, "tab") == 0)
        t.separator = '\t';
    else if (strlen(separator->text) != 1 || strchr("\"\r\n", t.separator))
        return dl_fail_at(separator, DL_BAD_JOB, "a separator is one character, tab or whitespace");
    DL_TRY(dl_set_text(set, path, &t.bytes));
    const char *slash = strrchr(t.file, '/');
    t.file = slash ? slash + 1 : t.file;
    dl_status status = read_table(&t);
    dl_csv_close(&t.csv);
    return status;
}

const dl_source dl_source_csv = {open_csv};
