/* The op table: structural rows, then those of op_list.h; and the fusions of fusions.h. */
#include "ops/ops.h"

#include "ops/fusions.h"
#include "runtime/graph/parts.h"

static const dl_op *const rows[] = {&dl_op_view, &dl_op_sum_leaves, &dl_op_pointwise,
                                    &dl_op_pointwise_parts,
#define X(row) &dl_op_##row,
                                    DL_OP_LIST(X)
#undef X
};

static const dl_fusion fusions[] = {
#define X(row) {#row, dl_fuse_##row},
    DL_FUSION_LIST(X)
#undef X
};

const dl_op_table *dl_ops(void) {
    static const dl_op_table table = {rows, DL_COUNT(rows), fusions, DL_COUNT(fusions)};
    return &table;
}
