/* Step `fill_missing`: a number in the place of unknown values (NaN; empty cells and `missing` of
 * csv), for each element its mean, median or most frequent value (the smallest of equals, as in
 * scikit-learn). */
#include "runtime/data/inner.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void run_fill(const dl_stage *stage, float *values, int64_t samples) {
    for (int64_t i = 0; i < samples; i++, values += stage->elements)
        for (int64_t j = 0; j < stage->elements; j++)
            if (isnan(values[j]))
                values[j] = stage->by[j];
}

/* All known values, element by element. */
typedef struct table {
    int64_t elements, samples, capacity;
    float *value; /* [elements][capacity] */
    int64_t *known;
} table;

static void add_rows(void *argument, const float *values, int64_t samples) {
    table *t = argument;
    for (int64_t i = 0; i < samples; i++, values += t->elements)
        for (int64_t j = 0; j < t->elements; j++)
            if (!isnan(values[j]) && t->known[j] < t->capacity)
                t->value[j * t->capacity + t->known[j]++] = values[j];
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float summary(float *value, int64_t count, const char *by) {
    double sum = 0;
    if (strcmp(by, "mean") == 0) {
        for (int64_t i = 0; i < count; i++)
            sum += (double)value[i];
        return (float)(sum / (double)count);
    }
    qsort(value, (size_t)count, sizeof *value, compare);
    if (strcmp(by, "median") == 0)
        return (float)(((double)value[(count - 1) / 2] + (double)value[count / 2]) / 2);
    int64_t best = 0, longest = 0;
    for (int64_t i = 0, first = 0; i < count; i++) {
        if (value[i] > value[first])
            first = i;
        if (i - first + 1 > longest) {
            longest = i - first + 1;
            best = first;
        }
    }
    return value[best];
}

static dl_status learn(dl_data *data, const dl_node *node, dl_chain *chain, dl_stage *stage,
                       table *t) {
    int64_t samples = 0;
    DL_TRY(dl_chain_fit(data, node, chain, add_rows, t, &samples));
    for (int64_t j = 0; j < t->elements; j++) {
        if (t->known[j] == 0)
            return dl_fail_at(node, DL_BAD_JOB,
                              "element %" PRId64 " of field '%s' has no known value to learn from",
                              j, chain->field.name);
        stage->by[j] = summary(t->value + j * t->capacity, t->known[j], dl_text(node, "by"));
    }
    return DL_OK;
}

static dl_status plan_fill(dl_data *data, const dl_node *node, dl_chain *chain) {
    const dl_node *by = dl_get(node, "by");
    DL_TRY(dl_chain_float(chain, node));
    dl_stage *stage = dl_chain_stage(data, chain, node);
    if (!stage)
        return DL_BAD_JOB;
    stage->kind = DL_PREPARE_FILL;
    stage->run = run_fill;
    chain->filled = true;
    dl_status status = DL_OK;
    if (by->value == DL_VALUE_NUMBER) {
        for (int64_t j = 0; j < stage->elements; j++)
            stage->by[j] = (float)by->number;
    } else {
        table t = {.elements = stage->elements};
        for (int i = 0; i < data->sets; i++)
            t.capacity += data->set[i].count;
        size_t n = (size_t)t.elements;
        t.value = n <= SIZE_MAX / 8 / (size_t)t.capacity
                      ? dl_alloc(sizeof *t.value * n * (size_t)t.capacity)
                      : NULL;
        t.known = dl_alloc(sizeof *t.known * n);
        status = t.value && t.known ? learn(data, node, chain, stage, &t)
                                    : dl_fail_memory(sizeof *t.value * n * (size_t)t.capacity);
        dl_free(t.known);
        dl_free(t.value);
    }
    chain->stages++;
    return status;
}

const dl_step dl_step_fill_missing = {plan_fill};
