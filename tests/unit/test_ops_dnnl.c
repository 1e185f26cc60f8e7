/* Samples of matrix product, convolution and pooling (their references: op_references.c), what
 * those rows say to shapes that do not fit, and oneDNN's calls themselves. */
#include <CUnit/Basic.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "ops/dnnl.h"
#include "ops/pool.h"
#include "tests/unit/check.h"
#include "tests/unit/op_references.h"

static const dl_matmul_attributes plain, relu = {.epilogue = DL_EPILOGUE_RELU};
static const dl_matmul_attributes ta = {.transpose_a = true}, tb = {.transpose_b = true};
static const dl_matmul_attributes tab = {.transpose_a = true, .transpose_b = true};
static const dl_matmul_attributes tb_relu = {.transpose_b = true, .epilogue = DL_EPILOGUE_RELU};

#define ONES \
    { 1, 1 }
static const dl_conv_attributes one_d = {1, {1, 1}, ONES, {0, 0}, {0, 0}, 1, 0};
static const dl_conv_attributes causal = {1, {1, 1}, {2, 1}, {4, 0}, {0, 0}, 1, DL_EPILOGUE_RELU};
static const dl_conv_attributes strided_1d = {1, {3, 1}, ONES, {1, 0}, {2, 0}, 2, 0};
static const dl_conv_attributes valid = {2, ONES, ONES, {0, 0}, {0, 0}, 1, 0};
static const dl_conv_attributes valid_relu = {2, ONES, ONES, {0, 0}, {0, 0}, 1, DL_EPILOGUE_RELU};
static const dl_conv_attributes same = {2, ONES, ONES, {1, 1}, {1, 1}, 1, DL_EPILOGUE_RELU};
static const dl_conv_attributes same_even = {2, {2, 2}, ONES, {0, 0}, {1, 1}, 1, 0};
static const dl_conv_attributes lopsided = {2, {2, 1}, {1, 2}, {2, 0}, {1, 3}, 1, 0};
static const dl_conv_attributes grouped = {2, ONES, ONES, {1, 1}, {1, 1}, 4, 0};
static const dl_conv_attributes depthwise = {2, ONES, ONES, {1, 1}, {1, 1}, 3, 0};
static const dl_conv_attributes depthwise_16 = {2, {2, 2}, ONES, {0, 0}, {1, 1}, 16, 0};

#define CONV(text, attributes_, x, w)                                               \
    {                                                                               \
        .name = text, .op = &dl_op_conv, .attributes = &(attributes_), .inputs = 2, \
        .input = {x, w}, .reference = op_conv_reference, .differentiable = 3        \
    }
#define CONV_BIAS(text, attributes_, x, w, o)                                        \
    {                                                                                \
        .name = text, .op = &dl_op_conv, .attributes = &(attributes_), .inputs = 3,  \
        .input = {x, w, F32(o)}, .reference = op_conv_reference, .differentiable = 7 \
    }
#define CONV_INPUT(text, attributes_, dy, w)                                                       \
    {                                                                                              \
        .name = text, .op = &dl_op_conv_input_gradient, .attributes = &(attributes_), .inputs = 2, \
        .input = {dy, w}, .reference = op_conv_input_reference, .differentiable = 3                \
    }
#define CONV_WEIGHT(text, attributes_, x, dy)                                                     \
    {                                                                                             \
        .name = text, .op = &dl_op_conv_weight_gradient, .attributes = &(attributes_),            \
        .inputs = 2, .input = {x, dy}, .reference = op_conv_weight_reference, .differentiable = 3 \
    }

static const dl_conv_input_attributes dx_valid = {{2, ONES, ONES, {0, 0}, {0, 0}, 1, 0},
                                                  F32(1, 3, 3, 1)};
static const dl_conv_input_attributes dx_strided = {{2, {2, 2}, ONES, {0, 0}, {1, 1}, 1, 0},
                                                    F32(2, 8, 6, 5)};
static const dl_conv_input_attributes dx_grouped = {{2, ONES, {1, 2}, {1, 2}, {1, 2}, 2, 0},
                                                    F32(1, 5, 7, 4)};
static const dl_conv_input_attributes dx_1d = {{1, {2, 1}, ONES, {1, 0}, {0, 0}, 1, 0},
                                               F32(3, 9, 2)};
static const dl_conv_weight_attributes dw_valid = {{2, ONES, ONES, {0, 0}, {0, 0}, 1, 0},
                                                   F32(1, 2, 2, 1)};
static const dl_conv_weight_attributes dw_strided = {{2, {2, 2}, ONES, {0, 0}, {1, 1}, 1, 0},
                                                     F32(7, 3, 3, 5)};
static const dl_conv_weight_attributes dw_depthwise = {{2, ONES, ONES, {1, 1}, {1, 1}, 4, 0},
                                                       F32(8, 3, 3, 1)};
static const dl_conv_weight_attributes dw_1d = {{1, {1, 1}, {2, 1}, {4, 0}, {0, 0}, 1, 0},
                                                F32(4, 3, 2)};
static const dl_conv_input_attributes dx_skipping = {{2, {2, 3}, ONES, {0, 0}, {0, 0}, 1, 0},
                                                     F32(3, 7, 6, 5)};
static const dl_conv_input_attributes dx_skipping_1d = {{1, {2, 1}, ONES, {0, 0}, {0, 0}, 1, 0},
                                                        F32(3, 8, 4)};
/* With channels enough for patches in bfloat16 (conv_weight_cpu.c). */
static const dl_conv_weight_attributes dw_skipping = {{2, {2, 2}, ONES, {0, 0}, {0, 0}, 1, 0},
                                                      F32(5, 1, 1, 33)};
static const dl_conv_weight_attributes dw_patches = {{2, {2, 1}, ONES, {0, 2}, {1, 1}, 1, 0},
                                                     F32(6, 3, 4, 32)};
static const dl_conv_weight_attributes dw_dilated = {{2, ONES, {1, 2}, {1, 2}, {1, 2}, 1, 0},
                                                     F32(4, 3, 3, 35)};
static const dl_conv_weight_attributes dw_patches_1d = {{1, {3, 1}, ONES, {1, 0}, {0, 0}, 1, 0},
                                                        F32(7, 4, 34)};

static const dl_pool_attributes max_2 = {2, false, {2, 2}, {2, 2}, {0, 0}, {0, 0}};
static const dl_pool_attributes max_3 = {2, false, {3, 3}, {2, 2}, {0, 0}, {1, 1}};
static const dl_pool_attributes max_wide = {2, false, {16, 16}, {1, 1}, {0, 0}, {0, 0}};
static const dl_pool_attributes max_sparse = {2, false, {2, 1}, {3, 2}, {0, 0}, {0, 0}};
static const dl_pool_attributes max_1d = {1, false, {3, 0}, {2, 0}, {1, 0}, {1, 0}};
static const dl_pool_attributes average_2 = {2, true, {2, 2}, {2, 2}, {0, 0}, {0, 0}};
static const dl_pool_attributes average_3 = {2, true, {3, 3}, {2, 2}, {0, 0}, {1, 1}};
static const dl_pool_attributes average_1d = {1, true, {3, 0}, {1, 0}, {1, 0}, {1, 0}};
static const dl_pool_gradient_attributes dmax_2 = {{2, false, {2, 2}, {2, 2}, {0, 0}, {0, 0}},
                                                   F32(1, 4, 4, 1)};
static const dl_pool_gradient_attributes dmax_3 = {{2, false, {3, 3}, {1, 1}, {0, 0}, {0, 0}},
                                                   F32(2, 5, 6, 17)};
static const dl_pool_gradient_attributes dmax_16 = {{2, false, {3, 3}, {1, 1}, {0, 0}, {0, 0}},
                                                    F32(2, 5, 6, 16)};
static const dl_pool_gradient_attributes daverage_2 = {{2, true, {2, 2}, {2, 2}, {0, 0}, {0, 0}},
                                                       F32(1, 4, 4, 1)};
static const dl_pool_gradient_attributes daverage_3 = {{2, true, {3, 3}, {2, 2}, {0, 0}, {1, 1}},
                                                       F32(2, 6, 6, 3)};

#define MATMUL(text, attributes_, a, b)                                               \
    {                                                                                 \
        .name = text, .op = &dl_op_matmul, .attributes = &(attributes_), .inputs = 2, \
        .input = {a, b}, .reference = op_matmul_reference, .differentiable = 3        \
    }
#define MATMUL_BIAS(text, attributes_, a, b, n)                                        \
    {                                                                                  \
        .name = text, .op = &dl_op_matmul, .attributes = &(attributes_), .inputs = 3,  \
        .input = {a, b, F32(n)}, .reference = op_matmul_reference, .differentiable = 7 \
    }
#define POOL(text, row, attributes_, x, function)                                                  \
    {                                                                                              \
        .name = text, .op = &dl_op_##row, .attributes = &(attributes_), .inputs = 1, .input = {x}, \
        .reference = function, .differentiable = 1                                                 \
    }

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_matmul,
     .attributes = &relu,
     .inputs = 3,
     .input = {F32(2, 2), F32(2, 2), F32(2)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(5, 6, 7, 8), GIVEN(-20, 0)},
     .expected = {GIVEN(0, 22, 23, 50)},
     .reference = op_matmul_reference,
     .differentiable = 7},
    MATMUL("plain, odd sizes", plain, F32(3, 5), F32(5, 7)),
    MATMUL("a transposed", ta, F32(5, 3), F32(5, 7)),
    MATMUL("b transposed", tb, F32(3, 5), F32(7, 5)),
    MATMUL("both transposed", tab, F32(5, 3), F32(7, 5)),
    MATMUL("one row", plain, F32(1, 64), F32(64, 1)),
    MATMUL_BIAS("dense of 33 with relu", tb_relu, F32(9, 70), F32(33, 70), 33),
    MATMUL_BIAS("dense of 10", tb, F32(16, 64), F32(10, 64), 10),

    {.name = "by hand",
     .op = &dl_op_conv,
     .attributes = &valid,
     .inputs = 3,
     .input = {F32(1, 3, 3, 1), F32(1, 2, 2, 1), F32(1)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, 8, 9), GIVEN(1, 2, 3, 4), GIVEN(1)},
     .expected = {GIVEN(38, 48, 68, 78)},
     .reference = op_conv_reference,
     .differentiable = 7},
    CONV_BIAS("one channel, 3x3, relu", valid_relu, F32(2, 8, 9, 1), F32(32, 3, 3, 1), 32),
    CONV_BIAS("64 channels, same, relu", same, F32(1, 5, 5, 64), F32(64, 3, 3, 64), 64),
    CONV("28 to 14: stride 2, 0 above and 1 below", same_even, F32(1, 28, 28, 2), F32(3, 3, 3, 2)),
    CONV("odd sizes, stride 2x1, dilation 1x2, padding on one side", lopsided, F32(2, 7, 5, 3),
         F32(5, 3, 3, 3)),
    CONV("1x1", valid, F32(3, 4, 5, 7), F32(6, 1, 1, 7)),
    CONV("4 groups", grouped, F32(2, 5, 6, 8), F32(12, 3, 3, 2)),
    CONV("depthwise", depthwise, F32(2, 5, 6, 3), F32(3, 3, 3, 1)),
    CONV("depthwise, 2 filters a channel", depthwise, F32(2, 5, 6, 3), F32(6, 3, 3, 1)),
    CONV("depthwise of 16, stride 2", depthwise_16, F32(1, 8, 8, 16), F32(16, 3, 3, 1)),
    CONV("1 dimension", one_d, F32(2, 11, 3), F32(5, 4, 3)),
    CONV_BIAS("causal, dilation 2, relu", causal, F32(2, 9, 4), F32(6, 3, 4), 6),
    CONV("1 dimension, stride 3, 2 groups, 1 before and 2 after", strided_1d, F32(1, 10, 4),
         F32(6, 3, 2)),

    {.name = "by hand",
     .op = &dl_op_conv_input_gradient,
     .attributes = &dx_valid,
     .inputs = 2,
     .input = {F32(1, 2, 2, 1), F32(1, 2, 2, 1)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(1, 2, 3, 4)},
     .expected = {GIVEN(1, 4, 4, 6, 20, 16, 9, 24, 16)},
     .reference = op_conv_input_reference,
     .differentiable = 3},
    CONV_INPUT("stride 2, same", dx_strided, F32(2, 4, 3, 7), F32(7, 3, 3, 5)),
    CONV_INPUT("2 groups, dilation 1x2", dx_grouped, F32(1, 5, 7, 6), F32(6, 3, 3, 2)),
    CONV_INPUT("1 dimension, stride 2", dx_1d, F32(3, 4, 4), F32(4, 3, 2)),

    {.name = "by hand",
     .op = &dl_op_conv_weight_gradient,
     .attributes = &dw_valid,
     .inputs = 2,
     .input = {F32(1, 3, 3, 1), F32(1, 2, 2, 1)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, 8, 9), GIVEN(1, 2, 3, 4)},
     .expected = {GIVEN(37, 47, 67, 77)},
     .reference = op_conv_weight_reference,
     .differentiable = 3},
    CONV_WEIGHT("stride 2, same", dw_strided, F32(2, 8, 6, 5), F32(2, 4, 3, 7)),
    CONV_WEIGHT("depthwise, 2 filters a channel", dw_depthwise, F32(2, 6, 5, 4), F32(2, 6, 5, 8)),
    CONV_WEIGHT("1 dimension, causal, dilation 2", dw_1d, F32(2, 9, 2), F32(2, 9, 4)),
    CONV_INPUT("1x1, stride 2 by 3", dx_skipping, F32(3, 4, 2, 6), F32(6, 1, 1, 5)),
    CONV_INPUT("1 dimension, 1, stride 2", dx_skipping_1d, F32(3, 4, 7), F32(7, 1, 4)),
    CONV_WEIGHT("1x1, stride 2, 33 channels", dw_skipping, F32(3, 7, 6, 33), F32(3, 4, 3, 5)),
    CONV_WEIGHT("3x4, stride 2 by 1, 32 channels", dw_patches, F32(2, 8, 6, 32), F32(2, 4, 6, 6)),
    CONV_WEIGHT("dilation 2 along rows, 35 channels", dw_dilated, F32(2, 5, 7, 35),
                F32(2, 5, 7, 4)),
    CONV_WEIGHT("1 dimension, stride 3, 34 channels", dw_patches_1d, F32(3, 9, 34), F32(3, 3, 7)),

    {.name = "by hand",
     .op = &dl_op_max_pool,
     .attributes = &max_2,
     .inputs = 1,
     .input = {F32(1, 4, 4, 1)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)},
     .expected = {GIVEN(6, 8, 14, 16)},
     .reference = op_max_pool_reference,
     .differentiable = 1},
    POOL("3x3, stride 2, same", max_pool, max_3, F32(2, 8, 6, 17), op_max_pool_reference),
    POOL("3x3, stride 2, 16 channels", max_pool, max_3, F32(2, 8, 6, 16), op_max_pool_reference),
    POOL("window of 256 cells, 8 channels", max_pool, max_wide, F32(1, 17, 16, 8),
         op_max_pool_reference),
    POOL("window of 256 cells", max_pool, max_wide, F32(1, 17, 16, 3), op_max_pool_reference),
    POOL("3x3, stride 2, 70 channels", max_pool, max_3, F32(1, 7, 9, 70), op_max_pool_reference),
    POOL("stride beyond the window", max_pool, max_sparse, F32(2, 9, 8, 3), op_max_pool_reference),
    POOL("1 dimension", max_pool, max_1d, F32(2, 9, 5), op_max_pool_reference),
    {.name = "by hand",
     .op = &dl_op_average_pool,
     .attributes = &average_2,
     .inputs = 1,
     .input = {F32(1, 4, 4, 1)},
     .given = {GIVEN(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)},
     .expected = {GIVEN(3.5, 5.5, 11.5, 13.5)},
     .reference = op_average_pool_reference,
     .differentiable = 1},
    POOL("3x3, stride 2, same: padding is not counted", average_pool, average_3, F32(2, 8, 6, 17),
         op_average_pool_reference),
    POOL("1 dimension", average_pool, average_1d, F32(2, 9, 5), op_average_pool_reference),
    {.name = "by hand",
     .op = &dl_op_max_pool_gradient,
     .attributes = &dmax_2,
     .inputs = 2,
     .input = {F32(1, 2, 2, 1), U8(1, 2, 2, 1)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(3, 0, 1, 2)},
     .expected = {GIVEN(0, 0, 2, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 4, 0)},
     .reference = op_max_gradient_reference},
    {.name = "windows that overlap",
     .op = &dl_op_max_pool_gradient,
     .attributes = &dmax_3,
     .inputs = 2,
     .input = {F32(2, 3, 4, 17), U8(2, 3, 4, 17)},
     .fill = {FILL_SIGNED, FILL_LABELS},
     .limit = {0, 9},
     .reference = op_max_gradient_reference},
    {.name = "windows that overlap, 16 channels",
     .op = &dl_op_max_pool_gradient,
     .attributes = &dmax_16,
     .inputs = 2,
     .input = {F32(2, 3, 4, 16), U8(2, 3, 4, 16)},
     .fill = {FILL_SIGNED, FILL_LABELS},
     .limit = {0, 9},
     .reference = op_max_gradient_reference},
    {.name = "by hand",
     .op = &dl_op_average_pool_gradient,
     .attributes = &daverage_2,
     .inputs = 1,
     .input = {F32(1, 2, 2, 1)},
     .given = {GIVEN(4, 8, 12, 16)},
     .expected = {GIVEN(1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4)},
     .reference = op_average_gradient_reference,
     .differentiable = 1},
    POOL("3x3, stride 2, same", average_pool_gradient, daverage_3, F32(2, 3, 3, 3),
         op_average_gradient_reference),
};

const op_sample_table op_samples_dnnl = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_dnnl);
}

static void test_gradient(void) {
    op_samples_gradient(&op_samples_dnnl);
}

static void test_no_memory(void) {
    op_samples_no_memory(&op_samples_dnnl);
}

static void test_sizes(void) {
    CU_ASSERT_EQUAL(dl_conv_size(28, 3, 1, 1, 0, 0), 26);
    CU_ASSERT_EQUAL(dl_conv_size(28, 3, 2, 1, 0, 1), 14);
    CU_ASSERT_EQUAL(dl_conv_size(10, 3, 1, 4, 0, 0), 2);
    CU_ASSERT_EQUAL(dl_conv_size(5, 3, 1, 2, 0, 0), 1);
    CU_ASSERT_EQUAL(dl_conv_size(4, 3, 1, 2, 0, 0), 0);
    static const int64_t cases[][6] = {/* size, kernel, stride, dilation, before, after */
                                       {28, 3, 2, 1, 0, 1}, {28, 3, 1, 1, 1, 1},
                                       {5, 2, 1, 1, 0, 1},  {5, 5, 2, 1, 2, 2},
                                       {7, 3, 1, 2, 2, 2},  {6, 1, 2, 1, 0, 0}};
    for (int i = 0; i < DL_COUNT(cases); i++) {
        int64_t before, after;
        const int64_t *c = cases[i];
        dl_same_padding(c[0], c[1], c[2], c[3], &before, &after);
        CU_ASSERT_EQUAL(before, c[4]);
        CU_ASSERT_EQUAL(after, c[5]);
        CU_ASSERT_EQUAL(dl_conv_size(c[0], c[1], c[2], c[3], before, after),
                        (c[0] + c[2] - 1) / c[2]);
    }
}

static dl_status infer(const dl_op *op, const void *attributes, int inputs, dl_type a, dl_type b,
                       dl_type c) {
    const dl_type *input[] = {&a, &b, &c};
    dl_type output[2];
    dl_infer request = {
        .attributes = attributes, .inputs = inputs, .input = input, .output = output};
    return op->infer(&request);
}

static void test_messages(void) {
    const dl_type none = {0};
    CHECK_FAILS(
        infer(&dl_op_matmul, &tb, 2, DL_TYPE(DL_F32, 8, 784), DL_TYPE(DL_F32, 10, 512), none),
        DL_BAD_JOB, "784 values meet 512");
    CHECK_FAILS(
        infer(&dl_op_matmul, &tb, 2, DL_TYPE(DL_F32, 8, 28, 28), DL_TYPE(DL_F32, 10, 28), none),
        DL_BAD_JOB, "(8, 28, 28)");
    CHECK_FAILS(infer(&dl_op_conv, &valid, 2, DL_TYPE(DL_F32, 8, 28, 28),
                      DL_TYPE(DL_F32, 32, 3, 3, 1), none),
                DL_BAD_JOB, "(None, height, width, channels), but it gets (None, 28, 28)");
    CHECK_FAILS(infer(&dl_op_conv, &valid, 2, DL_TYPE(DL_F32, 8, 3, 3, 4),
                      DL_TYPE(DL_F32, 32, 5, 5, 4), none),
                DL_BAD_JOB,
                "a window of 5 x 5 does not fit into an input of shape (None, 3, 3, 4)");
    CHECK_FAILS(infer(&dl_op_conv, &grouped, 2, DL_TYPE(DL_F32, 8, 8, 8, 6),
                      DL_TYPE(DL_F32, 8, 3, 3, 2), none),
                DL_BAD_JOB, "groups: 4");
    CHECK_FAILS(infer(&dl_op_max_pool, &max_2, 1, DL_TYPE(DL_F32, 8, 1, 8, 6), none, none),
                DL_BAD_JOB, "max_pooling2d: a window of 2 x 2 does not fit");
}

/* A call made for one thread count refuses another instead of running with it. */
static void test_thread_count(void) {
    dl_dnnl_tensor square = {.rank = 2, .dim = {4, 4}, .stride = {4, 1}};
    float a[16] = {0}, b[16] = {0}, y[16];
    dl_dnnl *call;
    int before = omp_get_max_threads();
    if (!CHECK_OK(dl_dnnl_matmul(&call, 2, &square, &square, NULL, &square, false)))
        return;
    CU_ASSERT_EQUAL(omp_get_max_threads(), before);
    void *scratch = dl_alloc(dl_dnnl_scratch(call));
    CU_ASSERT_PTR_NOT_NULL_FATAL(scratch);
    void *const memory[DL_DNNL_ARGUMENTS] = {a, b, y};
    omp_set_num_threads(1);
    CHECK_FAILS(dl_dnnl_run(call, memory, scratch), DL_INTERNAL, "made for 2 threads");
    omp_set_num_threads(2);
    CHECK_OK(dl_dnnl_run(call, memory, scratch));
    omp_set_num_threads(before);
    dl_free(scratch);
    dl_dnnl_free(call);
}

static void test_maximum_of_nan(void) {
    const dl_type x_type = F32(1, 2, 4, 1), y_type = F32(1, 1, 2, 1), place_type = U8(1, 1, 2, 1);
    const dl_type *input[] = {&x_type}, *output[] = {&y_type, &place_type};
    const float x[] = {1, 2, NAN, 4, 3, 3, 5, 6};
    float y[2];
    uint8_t place[2];
    dl_prepare what = {.attributes = &max_2,
                       .inputs = 1,
                       .outputs = 2,
                       .input = input,
                       .output = output,
                       .threads = 1};
    dl_prepared prepared = {0};
    if (!CHECK_OK(dl_op_max_pool.cpu.prepare(&what, &prepared)))
        return;
    const void *in[] = {x};
    void *out[] = {y, place};
    dl_run run = {.in = in, .out = out};
    CHECK_OK(dl_op_max_pool.cpu.run(prepared.state, &run));
    CU_ASSERT_EQUAL(y[0], 3.0f);
    CU_ASSERT_EQUAL(place[0], 2); /* of equal values the first */
    CU_ASSERT_TRUE(isnan(y[1]));
    CU_ASSERT_EQUAL(place[1], 0);
    out[1] = NULL; /* evaluation: nobody reads the places */
    y[0] = 0;
    CHECK_OK(dl_op_max_pool.cpu.run(prepared.state, &run));
    CU_ASSERT_EQUAL(y[0], 3.0f);
    dl_free(prepared.state);
}

static void test_library(void) {
    CU_ASSERT_TRUE(dl_dnnl_version()[0] >= '2' && dl_dnnl_version()[1] == '.');
    CU_ASSERT_PTR_NOT_NULL(strstr(dl_dnnl_path(), "dnnl"));
}

void suite_ops_dnnl(void);
void suite_ops_dnnl(void) {
    CU_pSuite suite = CU_add_suite("ops_dnnl", NULL, NULL);
    CU_add_test(suite, "kernels against references", test_forward);
    CU_add_test(suite, "gradients against central differences", test_gradient);
    CU_add_test(suite, "kernels without memory", test_no_memory);
    CU_add_test(suite, "output sizes and same padding", test_sizes);
    CU_add_test(suite, "shapes that do not fit", test_messages);
    CU_add_test(suite, "another thread count is refused", test_thread_count);
    CU_add_test(suite, "a maximum over a NaN, over equal values", test_maximum_of_nan);
    CU_add_test(suite, "version and path", test_library);
}
