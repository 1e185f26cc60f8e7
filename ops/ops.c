/* The op table: structural rows, then those of op_list.h. */
#include "ops/ops.h"

static const dl_op *const rows[] = {&dl_op_view, &dl_op_sum_leaves, &dl_op_pointwise,
#define X(row) &dl_op_##row,
                                    DL_OP_LIST(X)
#undef X
};

const dl_op_table *dl_ops(void) {
    static const dl_op_table table = {rows, DL_COUNT(rows)};
    return &table;
}
