/* See csv.h. */
#include "runtime/data/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/memory.h"

void dl_csv_open(dl_csv *csv, const uint8_t *at, size_t count, char separator, const char *name) {
    *csv = (dl_csv){
        .at = at, .end = count ? at + count : at, .name = name, .separator = separator, .line = 1};
    if (count >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
        csv->at += 3;
    csv->line_start = csv->at;
}

void dl_csv_close(dl_csv *csv) {
    dl_free(csv->text);
    dl_free(csv->cell);
    csv->text = NULL;
    csv->cell = NULL;
}

static dl_status put(dl_csv *csv, char c) {
    if (csv->used == csv->capacity) {
        size_t capacity = csv->capacity ? csv->capacity * 2 : 1024;
        if (capacity > DL_CSV_ROW_BYTES)
            return dl_fail(DL_NO_INPUT, "%s:%d: a row is longer than %d bytes; is a quote missing?",
                           csv->name, csv->line, DL_CSV_ROW_BYTES);
        char *grown = dl_realloc(csv->text, capacity);
        if (!grown)
            return dl_fail_memory(capacity);
        csv->text = grown;
        csv->capacity = capacity;
    }
    csv->text[csv->used++] = c;
    return DL_OK;
}

static dl_status begin_cell(dl_csv *csv) {
    if (csv->cells == csv->cell_capacity) {
        int capacity = csv->cell_capacity ? csv->cell_capacity * 2 : 64;
        if (capacity > DL_CSV_CELLS)
            return dl_fail(DL_NO_INPUT, "%s:%d: a row has more than %d cells", csv->name, csv->line,
                           DL_CSV_CELLS);
        dl_cell *grown = dl_realloc(csv->cell, sizeof *grown * (size_t)capacity);
        if (!grown)
            return dl_fail_memory(sizeof *grown * (size_t)capacity);
        csv->cell = grown;
        csv->cell_capacity = capacity;
    }
    csv->cell[csv->cells++] = (dl_cell){
        .offset = csv->used, .line = csv->line, .column = (int)(csv->at - csv->line_start) + 1};
    return DL_OK;
}

static bool at_end_of_line(const dl_csv *csv) {
    return csv->at == csv->end || *csv->at == '\n' || *csv->at == '\r';
}

static bool at_separator(const dl_csv *csv) {
    if (csv->separator == ' ')
        return *csv->at == ' ' || *csv->at == '\t';
    return *csv->at == (uint8_t)csv->separator;
}

static void next_line(dl_csv *csv) {
    if (csv->at < csv->end && *csv->at == '\r')
        csv->at++;
    if (csv->at < csv->end && *csv->at == '\n')
        csv->at++;
    csv->line++;
    csv->line_start = csv->at;
}

/* After the opening quote, to behind the closing one. */
static dl_status read_quoted(dl_csv *csv) {
    int line = csv->line;
    for (; csv->at < csv->end; csv->at++) {
        if (*csv->at == '"') {
            csv->at++;
            if (csv->at == csv->end || *csv->at != '"')
                return DL_OK;
        }
        if (*csv->at == '\n') {
            csv->line++;
            csv->line_start = csv->at + 1;
        }
        if (*csv->at == 0)
            break;
        DL_TRY(put(csv, (char)*csv->at));
    }
    return dl_fail(DL_NO_INPUT, "%s:%d: a quote begins here and never ends", csv->name, line);
}

static dl_status read_cell(dl_csv *csv) {
    DL_TRY(begin_cell(csv));
    if (csv->at < csv->end && *csv->at == '"') {
        csv->at++;
        DL_TRY(read_quoted(csv));
        if (!at_end_of_line(csv) && !at_separator(csv))
            return dl_fail(DL_NO_INPUT, "%s:%d:%d: text follows the end of a quote", csv->name,
                           csv->line, (int)(csv->at - csv->line_start) + 1);
    }
    while (!at_end_of_line(csv) && !at_separator(csv)) {
        if (*csv->at == 0)
            return dl_fail(DL_NO_INPUT, "%s:%d: a zero byte; this is no text", csv->name,
                           csv->line);
        DL_TRY(put(csv, (char)*csv->at));
        csv->at++;
    }
    return put(csv, '\0');
}

static void skip_blanks(dl_csv *csv) {
    while (csv->at < csv->end && (*csv->at == ' ' || *csv->at == '\t'))
        csv->at++;
}

/* Whether nothing but blanks stands in this line. */
static bool empty_line(const dl_csv *csv) {
    const uint8_t *at = csv->at;
    while (at < csv->end && (*at == ' ' || *at == '\t') && (char)*at != csv->separator)
        at++;
    if (csv->separator == ' ')
        while (at < csv->end && (*at == ' ' || *at == '\t'))
            at++;
    return at == csv->end || *at == '\n' || *at == '\r';
}

dl_status dl_csv_next(dl_csv *csv, bool *found) {
    csv->used = 0;
    csv->cells = 0;
    *found = false;
    while (csv->at < csv->end && empty_line(csv)) {
        skip_blanks(csv);
        if (csv->at < csv->end)
            next_line(csv);
    }
    if (csv->at == csv->end)
        return DL_OK;
    bool blanks = csv->separator == ' ';
    if (blanks)
        skip_blanks(csv);
    for (;;) {
        DL_TRY(read_cell(csv));
        if (blanks)
            skip_blanks(csv);
        if (at_end_of_line(csv))
            break;
        if (!blanks)
            csv->at++;
    }
    if (csv->at < csv->end)
        next_line(csv);
    *found = true;
    return DL_OK;
}

bool dl_csv_number(const char *text, double *number) {
    while (*text == ' ' || *text == '\t')
        text++;
    size_t digits = strspn(text, "+-.0123456789eE");
    size_t blanks = strspn(text + digits, " \t");
    if (digits == 0 && strncasecmp(text, "nan", 3) == 0 && !text[3]) {
        *number = NAN;
        return true;
    }
    if (digits == 0 || text[digits + blanks] != '\0')
        return false;
    char *end;
    *number = strtod(text, &end);
    return end == text + digits && isfinite(*number);
}
