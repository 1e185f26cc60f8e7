/* See cells.h. */
#include "ops/cells.h"

#include "runtime/base/clones.h"

enum { PIECE = 2048 };

DL_CLONES static void widen(const uint16_t *restrict x, int64_t count, float *restrict y) {
    for (int64_t i = 0; i < count; i++)
        y[i] = dl_m_from_bf16(x[i]);
}

float dl_cells_sum(const void *x, bool half, int64_t count, dl_term term) {
    float wide[DL_SUM_BLOCK];
    if (!half)
        return dl_block_sum(x, count, term);
    widen(x, count, wide);
    return dl_block_sum(wide, count, term);
}

float dl_cells_max(const void *x, bool half, int64_t count) {
    float wide[DL_SUM_BLOCK];
    if (!half)
        return dl_block_max(x, count);
    widen(x, count, wide);
    return dl_block_max(wide, count);
}

/* A piece of a matrix of bfloat16: whole rows, or a part of one row where it is longer than that.
 */
typedef struct piece {
    int64_t first, columns; /* of the columns */
    int64_t row, rows;
} piece;

/* The next piece, column ranges outermost; begins with all zero. */
static bool next_piece(piece *p, int64_t rows, int64_t columns) {
    p->row += p->rows;
    if (p->row == rows) {
        p->first += p->columns;
        p->row = 0;
    }
    if (p->first == columns)
        return false;
    p->columns = columns - p->first < PIECE ? columns - p->first : PIECE;
    p->rows = columns > PIECE ? 1 : PIECE / columns;
    if (p->rows > rows - p->row)
        p->rows = rows - p->row;
    return true;
}

static const float *widened(const void *x, const piece *p, int64_t columns, float *wide) {
    widen((const uint16_t *)x + p->row * columns + p->first, p->rows * p->columns, wide);
    return wide;
}

void dl_cells_column_max(const void *x, bool half, int64_t rows, int64_t columns, float *most) {
    float wide[PIECE], part[PIECE];
    if (!half) {
        dl_column_max(x, rows, columns, most);
        return;
    }
    for (piece p = {0, 0, 0, 0}; next_piece(&p, rows, columns);) {
        dl_column_max(widened(x, &p, columns, wide), p.rows, p.columns, part);
        for (int64_t c = 0; c < p.columns; c++) {
            float *to = &most[p.first + c];
            if (p.row == 0 || part[c] != part[c] || part[c] > *to)
                *to = *to != *to && p.row > 0 ? *to : part[c];
        }
    }
}

void dl_cells_row_sum(const void *x, bool half, int64_t rows, int64_t columns, float *sum) {
    for (int64_t c = 0; c < columns; c++) {
        double all = 0;
        for (int64_t row = 0; row < rows; row++)
            all += (double)dl_cell(x, row * columns + c, half);
        sum[c] = (float)all;
    }
}
