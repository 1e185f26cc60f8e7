/* ops/sums.c once more, for one instruction set: defines dl_block_sum_SET and so on. Included after
 * SET is defined and a target pragma stands; test_ops_bits.c compares. */
#define SUMS_JOIN_(name, set) name##_##set
#define SUMS_JOIN(name, set)  SUMS_JOIN_(name, set)

#define DL_BASE_CLONES_H /* no clones: this file is one */
#define DL_CLONES
#define dl_block_sum      SUMS_JOIN(dl_block_sum, SET)
#define dl_block_max      SUMS_JOIN(dl_block_max, SET)
#define dl_fold           SUMS_JOIN(dl_fold, SET)
#define dl_repeat         SUMS_JOIN(dl_repeat, SET)
#define dl_column_sum     SUMS_JOIN(dl_column_sum, SET)
#define dl_column_product SUMS_JOIN(dl_column_product, SET)
#define dl_column_max     SUMS_JOIN(dl_column_max, SET)
#include "ops/sums.c"
