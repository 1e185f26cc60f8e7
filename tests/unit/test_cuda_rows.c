/* Rows on CUDA, on the host that plays the GPU (shim.h): each sample of each row, and shapes of the
 * device's own: tiles, vectors and what does not fit them, many digits, many pieces. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/check.h"
#include "tests/unit/device_rows.h"
#include "tests/unit/shim.h"

#define ONE(row, text, made, ...)                                                                  \
    {                                                                                              \
        .name = text, .op = &dl_op_##row, .attributes = made, .inputs = 1, .input = {__VA_ARGS__}, \
        .fill = {FILL_LABELS}, .limit = {100}, .reference = device_row_exact                       \
    }
#define TRANSPOSED(text, type, ...) \
    ONE(transpose, text, (&(const dl_transpose_attributes){{__VA_ARGS__}}), type)
#define REDUCED(text, kind_, axes_, type)                                                        \
    ONE(reduce, text, (&(const dl_reduce_attributes){.kind = DL_REDUCE_##kind_, .axes = axes_}), \
        type)
#define LIST(...) \
    { __VA_ARGS__ }
#define SLICED(text, begin_, size_, type) \
    ONE(slice, text, (&(const dl_slice_attributes){.begin = begin_, .size = size_}), type)
#define PADDED(text, before_, after_, type) \
    ONE(pad, text,                          \
        (&(const dl_pad_attributes){.before = before_, .after = after_, .value = 2.5f}), type)
#define SPREAD(text, type, ...) \
    ONE(broadcast, text, (&(const dl_broadcast_attributes){F32(__VA_ARGS__)}), type)
#define LOOKED_UP(text, rows, width, count)                                                      \
    {                                                                                            \
        .name = text, .op = &dl_op_gather, .inputs = 2, .input = {F32(rows, width), I32(count)}, \
        .fill = {FILL_SIGNED, FILL_LABELS}, .limit = {0, rows}, .reference = device_row_exact    \
    }
/* Numbers small enough that any order of addition is exact. */
#define SCATTERED(text, rows, width, count, most)                                            \
    {                                                                                        \
        .name = text, .op = &dl_op_gather_gradient,                                          \
        .attributes = &(const dl_gather_gradient_attributes){F32(rows, width)}, .inputs = 2, \
        .input = {F32(count, width), I32(count)}, .fill = {FILL_LABELS, FILL_LABELS},        \
        .limit = {9, most}, .reference = device_row_exact                                    \
    }

static const op_sample samples[] = {
    TRANSPOSED("tiles, 3 x 70 x 45", F32(3, 70, 45), 0, 2, 1),
    TRANSPOSED("tiles of bytes", U8(2, 33, 65), 0, 2, 1),
    TRANSPOSED("tiles of int32", I32(40, 3, 37), 2, 1, 0),
    TRANSPOSED("channels first", F32(2, 9, 11, 32), 0, 3, 1, 2),
    TRANSPOSED("rows stay whole", F32(3, 5, 7, 16), 0, 2, 1, 3),
    TRANSPOSED("rows of 3 stay whole", F32(4, 5, 6, 3), 2, 0, 1, 3),
    TRANSPOSED("six axes", F32(2, 3, 2, 3, 2, 5), 5, 3, 1, 0, 2, 4),
    TRANSPOSED("bytes, side by side", U8(6, 2, 32), 1, 0, 2),
    SLICED("in lines of 16", LIST(2, 16), LIST(3, 32), F32(8, 64)),
    SLICED("off its line", LIST(2, 15), LIST(3, 32), F32(8, 64)),
    SLICED("of a middle axis", LIST(0, 2, 0), LIST(5, 3, 12), F32(5, 7, 12)),
    SLICED("of bytes", LIST(1, 4), LIST(6, 8), U8(7, 16)),
    PADDED("around images", LIST(0, 1, 1, 0), LIST(0, 1, 1, 0), F32(2, 5, 6, 16)),
    PADDED("around images, uneven", LIST(0, 3, 2, 0), LIST(0, 0, 1, 0), F32(2, 5, 6, 3)),
    PADDED("every axis", LIST(1, 2, 3), LIST(3, 2, 1), F32(2, 3, 4)),
    PADDED("nothing", LIST(0, 0), LIST(0, 0), F32(3, 8)),
    SPREAD("rows of 64", F32(1, 64), 33, 64),
    SPREAD("columns of 64", F32(33, 1), 33, 64),
    SPREAD("columns of 63", F32(33, 1), 33, 63),
    SPREAD("rows and columns", F32(4, 1, 8, 1), 4, 5, 8, 4),
    ONE(cast, "1003 bytes", NULL, U8(1003)),
    ONE(cast, "1003 numbers", NULL, I32(17, 59)),
    {.name = "widths of 16, 48 and 5",
     .op = &dl_op_concatenate,
     .attributes = &(const dl_concatenate_attributes){1},
     .inputs = 3,
     .input = {F32(7, 16), F32(7, 48), F32(7, 5)},
     .fill = {FILL_SIGNED, FILL_SIGNED, FILL_SIGNED},
     .reference = device_row_exact},
    {.name = "rows, widths of 16 and 48",
     .op = &dl_op_concatenate,
     .attributes = &(const dl_concatenate_attributes){2},
     .inputs = 2,
     .input = {F32(3, 5, 16), F32(3, 5, 48)},
     .fill = {FILL_SIGNED, FILL_SIGNED},
     .reference = device_row_exact},
    REDUCED("a sum in pieces", SUM, 1, F32(300007)),
    REDUCED("a sum in pieces, in fours", SUM, 1, F32(300000)),
    REDUCED("rows in pieces", SUM, 2, F32(3, 50000)),
    REDUCED("columns in pieces", SUM, 1, F32(20000, 12)),
    REDUCED("columns in pieces, odd", SUM, 1, F32(20000, 5)),
    REDUCED("middle axis in pieces", MAX, 2, F32(2, 9000, 8)),
    REDUCED("many rows", SUM, 2, F32(3000, 33)),
    REDUCED("many columns", MAX, 1, F32(33, 3000)),
    REDUCED("three runs in pieces", SUM, 21, F32(7, 2, 700, 2, 40)),
    LOOKED_UP("wide rows", 40, 64, 500),
    LOOKED_UP("rows of 3", 40, 3, 500),
    SCATTERED("one row takes nearly all", 300, 8, 5000, 2),
    SCATTERED("rows of 3", 300, 3, 5000, 300),
    SCATTERED("two digits", 3000, 4, 2500, 3000),
    SCATTERED("three digits, most rows stay 0", 70000, 4, 300, 70000),
    SCATTERED("one row", 1, 4, 100, 1),
    SCATTERED("one position", 5, 4, 1, 5),
    SCATTERED("a border on every piece", 4, 4, 128, 4),
};

static bool has_kernel(const dl_device *device, const dl_op *op) {
    const dl_kernel *kernel = device->kernel(op->name);
    return kernel && kernel->run;
}

/* DLTRAIN_TEST_ROW=NAME looks at that row's samples alone, -NAME at all others: what one of them
 * does to a GPU may end all that comes after it. */
static bool chosen(const dl_op *op) {
    const char *row = getenv("DLTRAIN_TEST_ROW");
    return !row || (row[0] == '-' ? strcmp(row + 1, op->name) != 0 : strcmp(row, op->name) == 0);
}

/* Of all rows where op is NULL. Returns how many there were. */
static int check_samples(dl_device *device, const dl_op *op) {
    int checked = 0;
    for (int t = 0; t < SAMPLE_TABLES; t++) {
        const op_sample_table *table = op_sample_tables[t];
        if (table->fill)
            table->fill();
        for (int i = 0; i < table->count; i++) {
            const op_sample *sample = &table->sample[i];
            if (has_kernel(device, sample->op) && (!op || sample->op == op) && chosen(sample->op)) {
                device_row_check(device, sample);
                checked++;
            }
        }
    }
    return checked;
}

static void test_samples(void) {
    dl_device *device = shim_open("cuda_rows");
    if (device)
        CU_ASSERT(check_samples(device, NULL) > 0);
    dl_device_close(device);
}

/* What kernels of our own do where cuBLASLt has no algorithm with the epilogue that a row wants. */
static void test_epilogues(void) {
    const struct {
        const dl_op *op;
        int lacking;
    } rows[] = {{&dl_op_matmul_relu, SHIM_RELU_AND_MASK},
                {&dl_op_matmul_relu_gradient, SHIM_MASKED},
                {&dl_op_matmul_relu_gradient, SHIM_MASKED_AND_SUMMED},
                {&dl_op_matmul_sums, SHIM_SUMS_OF_A},
                {&dl_op_matmul_sums, SHIM_SUMS_OF_B}};
    static const char test[] = "cuda_rows, epilogues that are not there";
    bool going = true;
    for (int r = 0; r < DL_COUNT(rows) && going; r++) {
        dl_device *device = shim_open(test); /* asks anew */
        shim_lack_fn lack = device ? shim_lack_of(device, test) : NULL;
        going = lack != NULL;
        if (going) {
            lack(rows[r].lacking);
            check_samples(device, rows[r].op);
            CU_ASSERT(lack(0) > 0 || !chosen(rows[r].op));
        }
        dl_device_close(device);
    }
}

static void test_shapes(void) {
    dl_device *device = shim_open("cuda_rows, shapes of the device's own");
    for (int i = 0; device && i < DL_COUNT(samples); i++)
        if (chosen(samples[i].op))
            device_row_check(device, &samples[i]);
    dl_device_close(device);
}

static void test_every_row(void) {
    dl_device *device = shim_open("cuda_rows, every row");
    const dl_op_table *table = dl_ops();
    for (int i = 0; device && i < table->count; i++)
        if (table->op[i]->cpu.run && !has_kernel(device, table->op[i])) {
            fprintf(stderr, "\n  %s has no CUDA kernel", table->op[i]->name);
            CU_FAIL("a row without a CUDA kernel");
        }
    dl_device_close(device);
}

#define BAD_IDS(row, made, first)                                                \
    {                                                                            \
        .name = "bad ids", .op = &dl_op_##row, .attributes = made, .inputs = 2,  \
        .input = {F32(first, 4), I32(5)}, .given = {[1] = GIVEN(0, 2, 7, 1, 0)}, \
        .reference = device_row_exact                                            \
    }

static const op_sample bad[] = {
    BAD_IDS(gather, NULL, 3),
    BAD_IDS(gather_gradient, (&(const dl_gather_gradient_attributes){F32(3, 4)}), 5),
    {.name = "bad label",
     .op = &dl_op_softmax_cross_entropy,
     .attributes = &(const dl_cross_entropy_attributes){0},
     .inputs = 2,
     .input = {F32(5, 3), I32(5)},
     .given = {[1] = GIVEN(0, 2, 7, 1, 0)},
     .reference = device_row_exact},
    {.name = "bad label in a loss with its gradient",
     .op = &dl_op_softmax_loss,
     .attributes = &(const dl_softmax_loss_attributes){{0}, {1}},
     .inputs = 3,
     .input = {F32(5, 3), I32(5), F32(5)},
     .given = {[1] = GIVEN(0, 2, 7, 1, 0)},
     .reference = device_row_exact}};

static void test_faults(void) {
    dl_device *device = shim_open("cuda_rows, faults");
    for (int i = 0; device && i < DL_COUNT(bad); i++) {
        dl_fault fault = {0};
        device_row_fault(device, &bad[i], 41, &fault);
        CU_ASSERT_EQUAL(fault.node, 42);
        CU_ASSERT_EQUAL(fault.kind, i < 2 ? DL_FAULT_ID : DL_FAULT_LABEL);
        CU_ASSERT_EQUAL(fault.value, 7);
        CU_ASSERT_EQUAL(fault.bound, 3);
    }
    dl_device_close(device);
}

void suite_cuda_rows(void);
void suite_cuda_rows(void) {
    CU_pSuite suite = CU_add_suite("cuda_rows", NULL, NULL);
    CU_add_test(suite, "samples against CPU kernels and references", test_samples);
    CU_add_test(suite, "products whose epilogues cuBLASLt does not have", test_epilogues);
    CU_add_test(suite, "shapes of the device's own", test_shapes);
    CU_add_test(suite, "every row has a kernel", test_every_row);
    CU_add_test(suite, "bad data is told of", test_faults);
}
