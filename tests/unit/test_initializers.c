/* Initial values: keyed in Keras's order, the right spread and bounds, exact forms. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/initializers.h"
#include "runtime/base/philox.h"
#include "tests/unit/model.h"

/* Opens one layer and gives a weight in Keras's order; the caller's memory. */
static bool weight_of(const char *layer, const dl_field *field, const char *name, float *out) {
    char yaml[512];
    model m;
    snprintf(yaml, sizeof yaml, "model:\n  - %s\n", layer);
    bool good = model_open(&m, yaml, field, 1);
    if (good) {
        const dl_variable *v = dl_variables_find(dl_network_variables(m.network), name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(v);
        dl_to_keras(v, model_weight(&m, name), out);
    }
    model_close(&m);
    return good;
}

/* Element e in Keras's order is word e of (seed, stream of the weight's name). */
static void test_key_order(void) {
    const dl_field field = FLOATS("x", 3), image = FLOATS("x", 5, 5, 2);
    float got[72], want[72];
    if (weight_of("dense: 4", &field, "dense/kernel", got)) {
        float limit = (float)sqrt(6.0 / 7);
        for (uint32_t e = 0; e < 12; e++)
            want[e] =
                -limit +
                2 * limit * dl_unit_float(dl_random_word(1, dl_stream("dense/kernel"), 0, 0, e));
        CHECK_CLOSE(got, want, 12, 1e-6, 0);
    }
    if (weight_of("conv2d: {filters: 4, kernel_size: 3}", &image, "conv2d/kernel", got)) {
        float limit = (float)sqrt(6.0 / (9 * 2 + 9 * 4));
        for (uint32_t e = 0; e < 72; e++)
            want[e] =
                -limit +
                2 * limit * dl_unit_float(dl_random_word(1, dl_stream("conv2d/kernel"), 0, 0, e));
        CHECK_CLOSE(got, want, 72, 1e-6, 0);
    }
}

/* Keras's order and the canonical one are the same numbers in two orders. */
static void test_orders(void) {
    dl_variable v = {.type = DL_TYPE(DL_F32, 2, 3, 4), .keras_order = {1, 2, 0}};
    float canonical[24], keras[24], back[24];
    for (int i = 0; i < 24; i++)
        canonical[i] = (float)i;
    dl_to_keras(&v, canonical, keras);
    for (int o = 0; o < 2; o++)
        for (int k = 0; k < 3; k++)
            for (int c = 0; c < 4; c++)
                CU_ASSERT_EQUAL(keras[(k * 4 + c) * 2 + o], canonical[(o * 3 + k) * 4 + c]);
    dl_from_keras(&v, keras, back);
    CHECK_BITS(back, canonical, 24);
}

enum { WIDE = 300, OUT = 200, MANY = WIDE * OUT };

static void check_spread(const char *initializer, double stddev, double bound) {
    const dl_field field = FLOATS("x", WIDE);
    static float w[MANY];
    char layer[256];
    snprintf(layer, sizeof layer, "dense: {units: %d, kernel_initializer: %s}", OUT, initializer);
    if (!weight_of(layer, &field, "dense/kernel", w))
        return;
    double sum = 0, squares = 0, most = 0;
    for (int i = 0; i < MANY; i++) {
        sum += (double)w[i];
        squares += (double)w[i] * (double)w[i];
        most = fmax(most, fabs((double)w[i]));
    }
    double mean = sum / MANY, deviation = sqrt(squares / MANY - mean * mean);
    bool good = fabs(mean) < 0.02 * stddev && fabs(deviation / stddev - 1) < 0.01 &&
                most <= bound * 1.000001 && most > 0.9 * fmin(bound, 3 * stddev);
    if (!good)
        printf("\n    %s: mean %g, deviation %g (want %g), greatest %g (bound %g)", initializer,
               mean, deviation, stddev, most, bound);
    CU_ASSERT(good);
}

static void test_spread(void) {
    double average = (WIDE + OUT) / 2.0, cut = 2 / 0.87962566103423978;
    check_spread("glorot_uniform", sqrt(1 / average), sqrt(3 / average));
    check_spread("glorot_normal", sqrt(1 / average), cut * sqrt(1 / average));
    check_spread("he_normal", sqrt(2.0 / WIDE), cut * sqrt(2.0 / WIDE));
    check_spread("he_uniform", sqrt(2.0 / WIDE), sqrt(6.0 / WIDE));
    check_spread("lecun_normal", sqrt(1.0 / WIDE), cut * sqrt(1.0 / WIDE));
    check_spread("lecun_uniform", sqrt(1.0 / WIDE), sqrt(3.0 / WIDE));
    check_spread("{random_normal: 0.2}", 0.2, 1.2);
    check_spread("{random_uniform: {minval: -0.3, maxval: 0.3}}", 0.3 / sqrt(3), 0.3);
    check_spread("{variance_scaling: {scale: 3, mode: fan_out, distribution: uniform}}",
                 sqrt(3.0 / OUT), sqrt(9.0 / OUT));
}

static void test_forms(void) {
    const dl_field field = FLOATS("x", 2), wide = FLOATS("x", 6);
    float w[36];
    if (weight_of("dense: {units: 2, kernel_initializer: {constant: [[6, 10], [11, 7]]}}", &field,
                  "dense/kernel", w))
        CHECK_BITS(w, ((float[]){6, 10, 11, 7}), 4);
    if (weight_of("dense: {units: 2, bias_initializer: {constant: -1.5}}", &field, "dense/bias", w))
        CHECK_BITS(w, ((float[]){-1.5f, -1.5f}), 2);
    if (weight_of("dense: {units: 3, kernel_initializer: identity}", &field, "dense/kernel", w))
        CHECK_BITS(w, ((float[]){1, 0, 0, 0, 1, 0}), 6);
    model m;
    CHECK_FAILS(model_try(&m,
                          "model:\n  - dense: {units: 2, kernel_initializer: {constant: [1, 2]}}\n",
                          &field, 1, NULL) == DL_OK &&
                        dl_network_allocate(m.network) == DL_OK
                    ? dl_network_initialize(m.network, 1)
                    : DL_OK,
                DL_BAD_JOB, "has not as many numbers as 'dense/kernel' (2, 2)");
    model_close(&m);
    /* 6 x 4: orthonormal columns times the gain. */
    if (weight_of("dense: {units: 4, kernel_initializer: {orthogonal: 2}}", &wide, "dense/kernel",
                  w))
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                double dot = 0;
                for (int k = 0; k < 6; k++)
                    dot += (double)w[k * 4 + i] * (double)w[k * 4 + j];
                CU_ASSERT(fabs(dot - (i == j ? 4 : 0)) < 1e-5);
            }
}

void suite_initializers(void) {
    CU_pSuite suite = CU_add_suite("initializers", NULL, NULL);
    CU_add_test(suite, "keyed in Keras's order", test_key_order);
    CU_add_test(suite, "two orders of elements", test_orders);
    CU_add_test(suite, "spread and bounds", test_spread);
    CU_add_test(suite, "exact forms", test_forms);
}
