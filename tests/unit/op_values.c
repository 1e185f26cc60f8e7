/* Filling samples. Numbers come from Philox keyed by the sample's name: the same in every run, but
 * for DLTRAIN_TEST_SEED. */
#include "tests/unit/op_values.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/expr/math.h"
#include "tests/unit/check.h"

static uint64_t seed(void) {
    const char *given = getenv("DLTRAIN_TEST_SEED");
    return given ? strtoull(given, NULL, 10) : 2021;
}

static double unit(uint32_t stream, int64_t element) {
    return (double)dl_unit_float(dl_random_word(seed(), stream, 0, 0, (uint32_t)element));
}

double op_values_random(const op_values *values, const char *purpose, int64_t element) {
    uint32_t stream = dl_stream(values->sample->name) ^ dl_stream(purpose);
    return 2 * unit(stream, element) - 1;
}

static double fill_one(const op_sample *sample, int i, uint32_t stream, int64_t element) {
    double u = unit(stream, element);
    if (sample->given[i])
        return (double)sample->given[i][element];
    switch (sample->fill[i]) {
    case FILL_SIGNED:
        return (double)(float)(4 * u - 2);
    case FILL_POSITIVE:
    case FILL_ROWS:
        return (double)(float)(0.5 + u);
    case FILL_LABELS:
        return (double)(int)(u * sample->limit[i]);
    }
    return 0;
}

static void store(const dl_type *type, void *memory, int64_t element, double value) {
    if (type->dtype == DL_F32)
        ((float *)memory)[element] = (float)value;
    else if (type->dtype == DL_I32)
        ((int32_t *)memory)[element] = (int32_t)value;
    else if (type->dtype == DL_U8)
        ((uint8_t *)memory)[element] = (uint8_t)value;
    else if (type->dtype == DL_BF16)
        ((uint16_t *)memory)[element] = dl_m_to_bf16((float)value);
    else if (type->dtype == DL_F16)
        ((uint16_t *)memory)[element] = dl_m_to_f16((float)value);
    else
        CU_FAIL_FATAL("a sample with an element type that the harness does not fill");
}

float op_values_cell(dl_dtype dtype, const void *memory, int64_t element) {
    uint16_t half = dtype == DL_F32 ? 0 : ((const uint16_t *)memory)[element];
    return dtype == DL_BF16  ? dl_m_from_bf16(half)
           : dtype == DL_F16 ? dl_m_from_f16(half)
                             : ((const float *)memory)[element];
}

float op_values_round(dl_dtype dtype, float value) {
    return dtype == DL_BF16  ? dl_m_from_bf16(dl_m_to_bf16(value))
           : dtype == DL_F16 ? dl_m_from_f16(dl_m_to_f16(value))
                             : value;
}

double op_values_unit(dl_dtype dtype) {
    return dtype == DL_BF16 ? 0x1p-8 : dtype == DL_F16 ? 0x1p-11 : 0;
}

/* The type that the sample has in place of float32, if in any input. */
static dl_dtype half_of(const op_sample *sample) {
    for (int i = 0; i < sample->inputs; i++)
        if (dl_is_half(sample->input[i].dtype))
            return sample->input[i].dtype;
    return DL_BF16;
}

static void fill_input(op_values *values, int i) {
    const op_sample *sample = values->sample;
    const dl_type *type = &sample->input[i];
    int64_t count = dl_type_count(type), row = type->rank ? type->dim[type->rank - 1] : 1;
    char purpose[32];
    snprintf(purpose, sizeof purpose, "input %d", i);
    uint32_t stream = dl_stream(sample->name) ^ dl_stream(purpose);
    values->in[i] = dl_alloc(dl_type_bytes(type));
    values->exact[i] = dl_alloc(sizeof(double) * (size_t)count);
    CU_ASSERT_PTR_NOT_NULL_FATAL(values->in[i]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(values->exact[i]);
    for (int64_t e = 0; e < count; e++)
        values->exact[i][e] = fill_one(sample, i, stream, e);
    if (sample->fill[i] == FILL_ROWS && !sample->given[i])
        for (int64_t first = 0; first < count; first += row) {
            double sum = 0;
            for (int64_t e = first; e < first + row; e++)
                sum += values->exact[i][e];
            for (int64_t e = first; e < first + row; e++)
                values->exact[i][e] = (double)(float)(values->exact[i][e] / sum);
        }
    for (int64_t e = 0; e < count; e++) {
        store(type, values->in[i], e, values->exact[i][e]);
        dl_dtype kept = sample->rounded >> i & 1 ? half_of(sample) : type->dtype;
        if (dl_is_half(kept))
            values->exact[i][e] = (double)op_values_round(kept, (float)values->exact[i][e]);
    }
}

/* A half result is off by its rounding more, a float16 result by half of its least number, 2^-24,
 * at least. Gradients of overlapping windows are added up in half. */
static double allowed(const dl_op *op, const dl_type *type, double bound, double want) {
    if (!dl_is_half(type->dtype))
        return bound * (double)FLT_EPSILON;
    bool windows = op == &dl_op_max_pool_gradient || op == &dl_op_average_pool_gradient;
    double rounding = op_values_unit(type->dtype);
    double sums = windows ? rounding : (double)FLT_EPSILON;
    return bound * sums + (want + bound * sums) * rounding + (type->dtype == DL_F16 ? 0x1p-25 : 0);
}

void op_values_init(op_values *values, const op_sample *sample) {
    const dl_op *op = sample->op;
    const dl_type *input[SAMPLE_INPUTS];
    memset(values, 0, sizeof *values);
    values->sample = sample;
    for (int i = 0; i < sample->inputs; i++) {
        input[i] = &sample->input[i];
        fill_input(values, i);
    }
    values->outputs = op->outputs < 0 ? *(const int *)sample->attributes : op->outputs;
    CU_ASSERT_FATAL(values->outputs <= SAMPLE_OUTPUTS);
    dl_infer infer = {.attributes = sample->attributes,
                      .inputs = sample->inputs,
                      .input = input,
                      .output = values->type};
    if (op->infer(&infer) != DL_OK) {
        fprintf(stderr, "\n  %s, %s: %s", op->name, sample->name, dl_message());
        CU_FAIL_FATAL("a sample whose shapes do not fit");
    }
    for (int o = 0; o < values->outputs; o++) {
        size_t count = (size_t)dl_type_count(&values->type[o]);
        values->want[o] = dl_alloc(sizeof(double) * count);
        values->bound[o] = dl_alloc(sizeof(double) * count);
        values->kink[o] = dl_alloc(sizeof(bool) * count);
        CU_ASSERT_FATAL(values->want[o] && values->bound[o] && values->kink[o]);
    }
    sample->reference(sample, values->type, (const double *const *)values->exact, values->want,
                      values->bound, values->kink);
    for (int o = 0; o < values->outputs; o++)
        for (int64_t e = 0; e < dl_type_count(&values->type[o]); e++)
            values->bound[o][e] =
                allowed(op, &values->type[o], values->bound[o][e], fabs(values->want[o][e]));
}

void op_values_fini(op_values *values) {
    for (int i = 0; i < SAMPLE_INPUTS; i++) {
        dl_free(values->in[i]);
        dl_free(values->exact[i]);
    }
    for (int o = 0; o < SAMPLE_OUTPUTS; o++) {
        dl_free(values->want[o]);
        dl_free(values->bound[o]);
        dl_free(values->kink[o]);
    }
}

void op_values_reference(const op_values *values, const double *const *in, double *const *out) {
    for (int o = 0; o < values->outputs; o++)
        memset(out[o], 0, sizeof(double) * (size_t)dl_type_count(&values->type[o]));
    values->sample->reference(values->sample, values->type, in, out, NULL, NULL);
}
