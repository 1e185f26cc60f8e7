/* Every row of DL_OP_LIST has samples. The checks of the samples run in the
 * suites of their tables, test_ops_NAME.c. */
#include <CUnit/Basic.h>
#include <stdio.h>

#include "tests/unit/op_samples.h"

const op_sample_table *const op_sample_tables[SAMPLE_TABLES] = {
    &op_samples_dnnl,  &op_samples_reduce,     &op_samples_layout,   &op_samples_softmax,
    &op_samples_norm,  &op_samples_layer_norm, &op_samples_products, &op_samples_conv_norm,
    &op_samples_dense, &op_samples_residual,   &op_samples_norm_pool};

static bool sampled(const dl_op *op, bool gradient) {
    for (int t = 0; t < SAMPLE_TABLES; t++)
        for (int i = 0; i < op_sample_tables[t]->count; i++)
            if (op_sample_tables[t]->sample[i].op == op &&
                (!gradient || op_sample_tables[t]->sample[i].differentiable))
                return true;
    return false;
}

static bool by_hand(const dl_op *op) {
    for (int t = 0; t < SAMPLE_TABLES; t++)
        for (int i = 0; i < op_sample_tables[t]->count; i++)
            if (op_sample_tables[t]->sample[i].op == op &&
                op_sample_tables[t]->sample[i].expected[0])
                return true;
    return false;
}

static void want(bool there, const dl_op *op, const char *what) {
    if (!there)
        fprintf(stderr, "\n  row %s has no %s", op->name, what);
    CU_ASSERT_TRUE(there);
}

static void test_every_row(void) {
#define X(row)                                                                       \
    want(sampled(&dl_op_##row, false), &dl_op_##row, "sample");                      \
    want(by_hand(&dl_op_##row), &dl_op_##row, "sample with values derived by hand"); \
    if (dl_op_##row.grad)                                                            \
        want(sampled(&dl_op_##row, true), &dl_op_##row, "sample whose gradient is checked");
    DL_OP_LIST(X)
#undef X
}

static void test_names_once(void) {
    const dl_op_table *table = dl_ops();
    for (int i = 0; i < table->count; i++)
        CU_ASSERT_PTR_EQUAL(dl_op_find(table, table->op[i]->name), table->op[i]);
}

void suite_ops(void);
void suite_ops(void) {
    CU_pSuite suite = CU_add_suite("ops", NULL, NULL);
    CU_add_test(suite, "every row has samples", test_every_row);
    CU_add_test(suite, "names are unique", test_names_once);
}
