/* Products of matrices, sample by sample: samples of the row and shapes that do not fit. */
#include <CUnit/Basic.h>
#include <math.h>

#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"

static const dl_sample_matmul_attributes plain, ta = {.transpose_a = true},
                                                tb = {.transpose_b = true},
                                                tab = {.transpose_a = true, .transpose_b = true};

static void reference(const op_sample *sample, const dl_type *type, const double *const *in,
                      double *const *out, double *const *bound, bool *const *kink) {
    const dl_sample_matmul_attributes *attributes = sample->attributes;
    bool a = attributes->transpose_a, b = attributes->transpose_b;
    int64_t m = type[0].dim[1], n = type[0].dim[2], k = sample->input[0].dim[a ? 1 : 2];
    (void)kink;
    for (int64_t s = 0; s < type[0].dim[0]; s++)
        for (int64_t row = 0; row < m; row++)
            for (int64_t column = 0; column < n; column++) {
                double sum = 0, size = 0;
                for (int64_t i = 0; i < k; i++) {
                    double term = in[0][s * m * k + (a ? i * m + row : row * k + i)] *
                                  in[1][s * k * n + (b ? column * k + i : i * n + column)];
                    sum += term;
                    size += fabs(term);
                }
                out[0][(s * m + row) * n + column] = sum;
                if (bound)
                    bound[0][(s * m + row) * n + column] = (double)(k + 2) * size;
            }
}

#define SAMPLE(text, attributes_, a, b)                                                      \
    {                                                                                        \
        .name = text, .op = &dl_op_sample_matmul, .attributes = &(attributes_), .inputs = 2, \
        .input = {a, b}, .reference = reference, .differentiable = 3                         \
    }
#define TYPE(...) F32(__VA_ARGS__)

static const op_sample samples[] = {
    {.name = "by hand",
     .op = &dl_op_sample_matmul,
     .attributes = &plain,
     .inputs = 2,
     .input = {F32(2, 1, 2), F32(2, 2, 2)},
     .given = {GIVEN(1, 2, 3, 4), GIVEN(1, 0, 2, 1, 0, 1, 1, 1)},
     .expected = {GIVEN(5, 2, 4, 7)},
     .reference = reference,
     .differentiable = 3},
    SAMPLE("plain", plain, TYPE(3, 4, 5), TYPE(3, 5, 7)),
    SAMPLE("one sample", plain, TYPE(1, 2, 3), TYPE(1, 3, 1)),
    SAMPLE("first transposed", ta, TYPE(2, 6, 3), TYPE(2, 6, 5)),
    SAMPLE("second transposed", tb, TYPE(2, 3, 6), TYPE(2, 5, 6)),
    SAMPLE("both transposed", tab, TYPE(2, 4, 3), TYPE(2, 5, 4)),
};

const op_sample_table op_samples_products = {samples, DL_COUNT(samples), NULL};

static void test_forward(void) {
    op_samples_forward(&op_samples_products);
}

static void test_gradient(void) {
    op_samples_gradient(&op_samples_products);
}

static void test_messages(void) {
    static const dl_type pairs[][2] = {
        {F32(2, 3, 4), F32(2, 3, 4)}, {F32(2, 3, 4), F32(1, 4, 4)}, {F32(2, 12), F32(2, 4, 3)}};
    for (int i = 0; i < DL_COUNT(pairs); i++) {
        dl_type y;
        const dl_type *const input[] = {&pairs[i][0], &pairs[i][1]};
        dl_infer infer = {.attributes = &plain, .inputs = 2, .input = input, .output = &y};
        CHECK_FAILS(dl_op_sample_matmul.infer(&infer), DL_BAD_JOB, "cannot join");
    }
}

void suite_ops_products(void);
void suite_ops_products(void) {
    CU_pSuite suite = CU_add_suite("ops_products", NULL, NULL);
    CU_add_test(suite, "kernel against the reference", test_forward);
    CU_add_test(suite, "gradients against central differences", test_gradient);
    CU_add_test(suite, "shapes that do not fit", test_messages);
}
