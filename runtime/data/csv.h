/* Rows of a table of text (RFC 4180): quoted cells, doubled quotes, line ends of any system. See
 * csv.c; source_csv.c makes fields of them. */
#ifndef DL_DATA_CSV_H
#define DL_DATA_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

enum { DL_CSV_CELLS = 1 << 16, DL_CSV_ROW_BYTES = 1 << 24 };

typedef struct dl_cell {
    size_t offset;    /* of its text in the row */
    int line, column; /* where it begins in the file, from 1 */
} dl_cell;

typedef struct dl_csv {
    const uint8_t *at, *end, *line_start;
    const char *name; /* of the file, for messages */
    char separator;   /* ' ': any run of blanks and tabs */
    int line;         /* of `at` */
    /* The last row read. */
    char *text; /* its cells, each ended by 0 */
    size_t used, capacity;
    dl_cell *cell;
    int cells, cell_capacity;
} dl_csv;

void dl_csv_open(dl_csv *csv, const uint8_t *at, size_t count, char separator, const char *name);
void dl_csv_close(dl_csv *csv);
/* The next row that is not empty; *found = false at the end. DL_NO_INPUT: damaged (a quote that
 * never ends, zero bytes). */
dl_status dl_csv_next(dl_csv *csv, bool *found);
static inline const char *dl_csv_cell(const dl_csv *csv, int index) {
    return csv->text + csv->cell[index].offset;
}
/* Decimal numbers, blanks around them allowed; no hexadecimal, no infinities. "nan" gives NaN. */
bool dl_csv_number(const char *text, double *number);

#endif
