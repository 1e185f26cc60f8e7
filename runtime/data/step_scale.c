/* Steps `scale` (x * by + offset) and `standardize` ((x - mean) / (std + epsilon), element by
 * element, in the population form; an element that never varies becomes 0, as in scikit-learn).
 * Division is by multiplication with the reciprocal, rounded once. */
#include "runtime/data/inner.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void run_affine(const dl_stage *stage, float *values, int64_t samples) {
    const float *by = stage->by, *offset = stage->offset;
    for (int64_t i = 0; i < samples; i++, values += stage->elements)
        for (int64_t j = 0; j < stage->elements; j++)
            values[j] = values[j] * by[j] + offset[j];
}

/* Subtracts first: a large mean must not cost the digits of a small deviation. */
static void run_standardize(const dl_stage *stage, float *values, int64_t samples) {
    const float *by = stage->by, *mean = stage->offset;
    for (int64_t i = 0; i < samples; i++, values += stage->elements)
        for (int64_t j = 0; j < stage->elements; j++)
            values[j] = (values[j] - mean[j]) * by[j];
}

static dl_status plan_scale(dl_data *data, const dl_node *node, dl_chain *chain) {
    float by = (float)dl_number(node, "by"), offset = (float)dl_number(node, "offset");
    DL_TRY(dl_chain_float(chain, node));
    chain->field.classes = chain->one_hot ? chain->field.classes : 0;
    if (!chain->scaled && !chain->one_hot && chain->stages == 0) {
        chain->by = by;
        chain->offset = offset;
        chain->scaled = true;
        return DL_OK;
    }
    dl_stage *stage = dl_chain_stage(data, chain, node);
    if (!stage)
        return DL_BAD_JOB;
    for (int64_t i = 0; i < stage->elements; i++) {
        stage->by[i] = by;
        stage->offset[i] = offset;
    }
    stage->kind = DL_PREPARE_SCALE;
    stage->run = run_affine;
    chain->stages++;
    return DL_OK;
}

/* Mean and sum of squared deviations of every element, updated sample by sample (Welford). */
typedef struct moments {
    int64_t elements;
    double samples, *mean, *squares;
} moments;

static void add_moments(void *argument, const float *values, int64_t samples) {
    moments *m = argument;
    for (int64_t i = 0; i < samples; i++, values += m->elements) {
        m->samples++;
        double share = 1 / m->samples;
        for (int64_t j = 0; j < m->elements; j++) {
            double before = (double)values[j] - m->mean[j];
            m->mean[j] += before * share;
            m->squares[j] += before * ((double)values[j] - m->mean[j]);
        }
    }
}

/* Numbers given in the job: one for all elements, one for each channel (the last dimension) or one
 * for each element. */
static dl_status given_numbers(const dl_node *node, int64_t elements, int64_t channels,
                               double *out) {
    if (node->kind != DL_NODE_LIST) {
        for (int64_t i = 0; i < elements; i++)
            out[i] = node->number;
        return DL_OK;
    }
    if (node->count != elements && node->count != channels)
        return dl_fail_at(node, DL_BAD_JOB,
                          "%s has %d numbers, but a sample has %" PRId64 " in %" PRId64 " channels",
                          node->key, node->count, elements, channels);
    int64_t i = 0;
    for (DL_EACH(child, node))
        out[i++] = child->number;
    for (; i < elements; i++)
        out[i] = out[i - node->count];
    return DL_OK;
}

/* Which elements `columns` means. */
static dl_status wanted_columns(const dl_node *node, const dl_chain *chain, int64_t elements,
                                bool *wanted) {
    const dl_node *columns = dl_given(node, "columns");
    memset(wanted, !columns, (size_t)elements);
    for (DL_EACH(column, columns)) {
        int64_t i = 0;
        if (column->value == DL_VALUE_INT) {
            i = column->integer;
        } else if (!chain->column) {
            return dl_fail_at(column, DL_BAD_JOB,
                              "field '%s' has no named columns; give numbers from 0",
                              chain->field.name);
        } else {
            while (i < elements && strcmp(chain->column[i], column->text) != 0)
                i++;
            const char *near = dl_nearest(column->text, chain->column, (int)elements);
            if (i == elements && near)
                return dl_fail_at(column, DL_BAD_JOB,
                                  "field '%s' has no column '%s'; did you mean '%s'?",
                                  chain->field.name, column->text, near);
        }
        if (i >= elements)
            return dl_fail_at(column, DL_BAD_JOB, "field '%s' has no column '%s'; it has %" PRId64,
                              chain->field.name, column->text, elements);
        wanted[i] = true;
    }
    return DL_OK;
}

static dl_status learn(dl_data *data, const dl_node *node, const dl_chain *chain, moments *m) {
    int64_t samples = 0;
    const dl_node *mean = dl_given(node, "mean"), *std = dl_given(node, "std");
    if (!mean != !std)
        return dl_fail_at(mean ? mean : std, DL_BAD_JOB,
                          "mean and std are given together or not at all");
    if (mean) {
        const dl_type *sample = &chain->field.type;
        int64_t channels = sample->rank ? sample->dim[sample->rank - 1] : 1;
        DL_TRY(given_numbers(mean, m->elements, channels, m->mean));
        DL_TRY(given_numbers(std, m->elements, channels, m->squares));
        return DL_OK;
    }
    DL_TRY(dl_chain_fit(data, node, chain, add_moments, m, &samples));
    for (int64_t i = 0; i < m->elements; i++)
        m->squares[i] = sqrt(m->squares[i] / (double)samples);
    return DL_OK;
}

static dl_status set_constants(dl_data *data, const dl_node *node, dl_chain *chain, dl_stage *stage,
                               moments *m, bool *wanted) {
    double epsilon = dl_number(node, "epsilon");
    DL_TRY(wanted_columns(node, chain, m->elements, wanted));
    DL_TRY(learn(data, node, chain, m));
    for (int64_t i = 0; i < m->elements; i++) {
        double std = m->squares[i] + epsilon;
        if (!isfinite(m->mean[i]) || !isfinite(std))
            return dl_fail_at(
                node, DL_BAD_JOB,
                "field '%s' has unknown or infinite values in element %" PRId64
                "; put fill_missing before standardize, or drop_missing in the source",
                chain->field.name, i);
        stage->by[i] = !wanted[i] ? 1 : std == 0 ? 1 : (float)(1 / std);
        stage->offset[i] = wanted[i] ? (float)m->mean[i] : 0;
    }
    return DL_OK;
}

static dl_status plan_standardize(dl_data *data, const dl_node *node, dl_chain *chain) {
    DL_TRY(dl_chain_float(chain, node));
    chain->field.classes = chain->one_hot ? chain->field.classes : 0;
    dl_stage *stage = dl_chain_stage(data, chain, node);
    if (!stage)
        return DL_BAD_JOB;
    moments m = {.elements = stage->elements};
    size_t n = (size_t)m.elements;
    m.mean = dl_alloc(sizeof *m.mean * n);
    m.squares = dl_alloc(sizeof *m.squares * n);
    bool *wanted = dl_alloc(n);
    dl_status status = m.mean && m.squares && wanted
                           ? set_constants(data, node, chain, stage, &m, wanted)
                           : dl_fail_memory(sizeof *m.mean * n);
    dl_free(wanted);
    dl_free(m.squares);
    dl_free(m.mean);
    stage->kind = DL_PREPARE_CENTRE;
    stage->run = run_standardize;
    chain->stages++;
    return status;
}

const dl_step dl_step_scale = {plan_scale}, dl_step_standardize = {plan_standardize};
