/* What the rows that are not a library's do at their edges: numbers outside the classes, NaN,
 * losses that are small beside their logits, and sums whose sizes lie around a block's border.
 * Kernels are called as exec calls them, with 1 and 2 threads. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/ops.h"
#include "runtime/base/philox.h"
#include "tests/unit/check.h"

enum { MOST_INPUTS = 3, MOST_OUTPUTS = 2, LARGEST = 70000 };

typedef struct call {
    const dl_op *op;
    const void *attributes;
    int inputs;
    dl_type type[MOST_INPUTS];
    const void *in[MOST_INPUTS];
    void *out[MOST_OUTPUTS];
} call;

static dl_status run_call(const call *c, int threads) {
    const dl_type *in[MOST_INPUTS], *out[MOST_OUTPUTS];
    dl_type made[MOST_OUTPUTS];
    dl_prepared prepared = {0};
    dl_team *team = NULL;
    void *workspace = NULL;
    dl_status status = DL_OK;
    for (int i = 0; i < c->inputs; i++)
        in[i] = &c->type[i];
    for (int o = 0; o < c->op->outputs; o++)
        out[o] = &made[o];
    dl_infer infer = {c->attributes, c->inputs, in, made};
    dl_prepare what = {.attributes = c->attributes,
                       .inputs = c->inputs,
                       .outputs = c->op->outputs,
                       .input = in,
                       .output = out,
                       .name = "edge",
                       .threads = threads,
                       .runs = 1};
    DL_GOTO(done, c->op->infer(&infer));
    DL_GOTO(done, c->op->cpu.prepare(&what, &prepared));
    DL_GOTO(done, dl_team_open(&team, DL_TEAM_LONE, threads));
    workspace = dl_alloc(prepared.workspace);
    if (!workspace) {
        status = dl_fail_memory(prepared.workspace);
        goto done;
    }
    dl_run run = {.in = c->in, .out = c->out, .workspace = workspace, .team = team};
    status = c->op->cpu.run(prepared.state, &run);
done:
    dl_free(workspace);
    dl_team_close(team);
    dl_free(prepared.state);
    return status;
}

static void test_outside_the_classes(void) {
    static float x[20], loss[2], p[20];
    int32_t label[2] = {3, 12}, below[2] = {-1, 3}, top[2] = {9, 10};
    const float smoothing = 0;
    const int k = 1;
    call c = {&dl_op_softmax_cross_entropy,
              &smoothing,
              2,
              {DL_TYPE(DL_F32, 2, 10), DL_TYPE(DL_I32, 2)},
              {x, label},
              {loss, p}};
    CHECK_FAILS(run_call(&c, 1), DL_BAD_JOB, "label 12 is outside 0..9");
    c.in[1] = below;
    CHECK_FAILS(run_call(&c, 2), DL_BAD_JOB, "label -1 is outside 0..9");
    c.op = &dl_op_in_top_k;
    c.attributes = &k;
    c.in[1] = top;
    CHECK_FAILS(run_call(&c, 1), DL_BAD_JOB, "label 10 is outside 0..9");
    call rows = {&dl_op_gather, NULL, 2, {DL_TYPE(DL_F32, 5, 2), DL_TYPE(DL_I32, 2)},
                 {x, label},    {p}};
    CHECK_FAILS(run_call(&rows, 1), DL_BAD_JOB, "number 12 is outside 0..4");
    rows.in[1] = below;
    CHECK_FAILS(run_call(&rows, 2), DL_BAD_JOB, "number -1 is outside 0..4");
}

/* Against log(1 + e^-10 + e^-11), for logits of any size: what rounding the sum of exponentials
 * leaves. */
static void test_small_losses(void) {
    static const float logits[] = {20, 10, 9, 1000, 990, 989, -300, -310, -311};
    static const float target[] = {1, 0, 0, 1, 0, 0, 1, 0, 0};
    static const int32_t label[] = {0, 0, 0};
    double exact = log1p(exp(-10) + exp(-11));
    const float want[] = {(float)exact, (float)exact, (float)exact}, smoothing = 0;
    float loss[3], p[9];
    call c = {&dl_op_softmax_cross_entropy,
              &smoothing,
              2,
              {DL_TYPE(DL_F32, 3, 3), DL_TYPE(DL_I32, 3)},
              {logits, label},
              {loss, p}};
    CHECK_OK(run_call(&c, 1));
    CHECK_CLOSE(loss, want, 3, 0x1p-23, 0);
    c.type[1] = c.type[0];
    c.in[1] = target;
    CHECK_OK(run_call(&c, 1));
    CHECK_CLOSE(loss, want, 3, 0x1p-23, 0);
}

static const int64_t sizes[] = {1, 15, 16, 17, 1000, 4095, 4096, 4097, LARGEST};

/* A sum of n terms along 16 lanes, a tree, and blocks in double: at most 4096 / 16 + 4 + 1
 * roundings. */
static void test_sums_of_every_size(void) {
    static float x[LARGEST];
    for (int i = 0; i < LARGEST; i++)
        x[i] = 2 * dl_unit_float(dl_random_word(3, 1, 0, 0, (uint32_t)i)) - 1;
    for (int kind = DL_REDUCE_SUM; kind <= DL_REDUCE_SUM_ABS; kind++)
        for (int s = 0; s < DL_COUNT(sizes); s++) {
            int64_t n = sizes[s];
            double want = kind == DL_REDUCE_MAX ? -2 : 0, size = 0;
            for (int64_t i = 0; i < n; i++) {
                double v = (double)x[i];
                if (kind == DL_REDUCE_MAX)
                    want = v > want ? v : want;
                else
                    want += kind == DL_REDUCE_SUM_SQUARES ? v * v
                            : kind == DL_REDUCE_SUM_ABS   ? fabs(v)
                                                          : v;
                size += kind == DL_REDUCE_SUM_SQUARES ? v * v : fabs(v);
            }
            if (kind == DL_REDUCE_MEAN) {
                want /= (double)n;
                size /= (double)n;
            }
            dl_reduce_attributes attributes;
            memset(&attributes, 0, sizeof attributes);
            attributes.kind = (dl_reduction)kind;
            attributes.axes = 1;
            float one = NAN, two = NAN, exact = (float)want;
            call c = {&dl_op_reduce, &attributes, 1, {DL_TYPE(DL_F32, n)}, {x}, {&one}};
            CHECK_OK(run_call(&c, 1));
            c.out[0] = &two;
            CHECK_OK(run_call(&c, 2));
            CHECK_BITS(&two, &one, 1);
            CHECK_CLOSE(&one, &exact, 1, kind == DL_REDUCE_MAX ? 0 : 263 * 0x1p-24 * size, 0);
        }
}

/* The greatest and a NaN are found at every place of short and of long rows; so a softmax with a
 * NaN is NaN throughout. */
static void test_max_at_every_place(void) {
    static float x[50];
    dl_reduce_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.kind = DL_REDUCE_MAX;
    attributes.axes = 1;
    for (int64_t n = 1; n <= DL_COUNT(x); n++)
        for (int64_t at = 0; at < n; at++) {
            float y = 0, p[DL_COUNT(x)], want = 3;
            for (int64_t i = 0; i < n; i++)
                x[i] = -1 - (float)i;
            call c = {&dl_op_reduce, &attributes, 1, {DL_TYPE(DL_F32, n)}, {x}, {&y}};
            x[at] = want;
            CHECK_OK(run_call(&c, 1));
            CHECK_BITS(&y, &want, 1);
            x[at] = NAN;
            CHECK_OK(run_call(&c, 1));
            CU_ASSERT_TRUE(isnan(y));
            call soft = {&dl_op_softmax, NULL, 1, {DL_TYPE(DL_F32, n)}, {x}, {p}};
            CHECK_OK(run_call(&soft, 1));
            for (int64_t i = 0; i < n; i++)
                CU_ASSERT_TRUE(isnan(p[i]));
        }
}

void suite_ops_edges(void);
void suite_ops_edges(void) {
    CU_pSuite suite = CU_add_suite("ops_edges", NULL, NULL);
    CU_add_test(suite, "a label or number outside the classes is named", test_outside_the_classes);
    CU_add_test(suite, "small losses beside large logits", test_small_losses);
    CU_add_test(suite, "sums of every size", test_sums_of_every_size);
    CU_add_test(suite, "the greatest and a NaN at every place", test_max_at_every_place);
}
