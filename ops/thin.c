/* See thin.h. The few samples are widened into the workspace first, rows of zeros behind them. */
#include "ops/thin.h"

#include "ops/cells.h"
#include "ops/thin_kernels.h"
#include "runtime/expr/expr.h"

static int samples_of(int64_t count) {
    return count <= 4 ? 4 : count <= 8 ? 8 : 16;
}

bool dl_thin_fits(const dl_prepare *what, dl_thin *out) {
    const dl_matmul_attributes *attributes = what->attributes;
    const dl_type *a = what->input[0], *b = what->input[1], *y = what->output[0];
    enum { FEW = 16, LARGE = 1 << 20 /* below this the weights stay in a cache */ };
    *out = (dl_thin){.half_a = a->dtype == DL_BF16,
                     .half_b = b->dtype == DL_BF16,
                     .half_y = y->dtype == DL_BF16,
                     .bias = what->inputs == 3,
                     .relu = attributes->epilogue == DL_EPILOGUE_RELU};
    dl_matmul_sizes(attributes, a, b, &out->m, &out->k, &out->n);
    bool plain_y = !out->half_y && !out->bias && !out->relu;
    if (dl_isa_used() < DL_ISA_AVX512)
        return false;
    if (!attributes->transpose_a && out->m <= FEW && out->k * out->n >= LARGE && !out->half_b)
        out->form = attributes->transpose_b ? DL_THIN_TURNED : DL_THIN_PLAIN;
    else if (attributes->transpose_a && !attributes->transpose_b && out->k <= FEW &&
             out->m * out->n >= LARGE && plain_y)
        out->form = DL_THIN_OUTER;
    out->samples = samples_of(out->form == DL_THIN_OUTER ? out->k : out->m);
    return out->form != DL_THIN_NONE;
}

/* Floats of the two widened operands, or of one and the sums. */
static int64_t first_floats(const dl_thin *t) {
    return (t->samples * (t->form == DL_THIN_OUTER ? t->m : t->k) + 15) / 16 * 16;
}

size_t dl_thin_workspace(const dl_thin *t) {
    return sizeof(float) * (size_t)(first_floats(t) + t->samples * t->n);
}

static void widen(const void *from, bool half, int64_t count, int64_t padded, float *to) {
    for (int64_t i = 0; i < count; i++)
        to[i] = dl_cell(from, i, half);
    for (int64_t i = count; i < padded; i++)
        to[i] = 0.0f;
}

/* Bias, relu (which lets NaN through) and the type, from the sums of some columns. */
static void finish(const dl_thin *t, const float *sum, const float *bias, int64_t first,
                   int64_t last, void *y) {
    for (int64_t m = 0; m < t->m; m++)
        for (int64_t n = first; n < last; n++) {
            float value = sum[m * t->n + n] + (bias ? bias[n] : 0.0f);
            dl_put_cell(y, m * t->n + n, t->half_y, t->relu && value <= 0.0f ? 0.0f : value);
        }
}

typedef struct thin_call {
    const dl_thin *thin;
    const dl_run *run;
    float *a, *second; /* second: the sums, or for an outer product b */
} thin_call;

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void run_columns(void *argument, int64_t first, int64_t last) {
    const thin_call *call = argument;
    const dl_thin *t = call->thin;
    int64_t begin = first * DL_THIN_COLUMNS, end = least(last * DL_THIN_COLUMNS, t->n);
    if (t->form == DL_THIN_PLAIN)
        dl_thin_plain(t, call->a, call->run->in[1], begin, end, call->second);
    else
        dl_thin_turned(t, call->a, call->run->in[1], begin, end, call->second);
    finish(t, call->second, t->bias ? call->run->in[2] : NULL, begin, end, call->run->out[0]);
}

static void run_rows(void *argument, int64_t first, int64_t last) {
    const thin_call *call = argument;
    const dl_thin *t = call->thin;
    dl_thin_outer(t, call->a, call->second, first * DL_THIN_ROWS, least(last * DL_THIN_ROWS, t->m),
                  call->run->out[0]);
}

void dl_thin_run(const dl_thin *t, const dl_run *run) {
    float *a = run->workspace;
    thin_call call = {t, run, a, a + first_floats(t)};
    int64_t wide = t->form == DL_THIN_OUTER ? t->m : t->k;
    int64_t few = t->form == DL_THIN_OUTER ? t->k : t->m;
    widen(run->in[0], t->half_a, few * wide, t->samples * wide, a);
    if (t->form == DL_THIN_OUTER) {
        widen(run->in[1], t->half_b, few * t->n, t->samples * t->n, call.second);
        dl_team_range(run->team, (t->m + DL_THIN_ROWS - 1) / DL_THIN_ROWS, 1, run_rows, &call);
    } else {
        dl_team_range(run->team, (t->n + DL_THIN_COLUMNS - 1) / DL_THIN_COLUMNS, 1, run_columns,
                      &call);
    }
}
