/* Running programs: the bits of a step do not depend on the memory plan, on the form of the team,
 * nor on packing; a step allocates nothing; leaves add up; a refusal ends the run with its message.
 */
#include <math.h>
#include <string.h>

#include "comm/single.h"
#include "ops/ops.h"
#include "runtime/base/clock.h"
#include "runtime/exec/exec.h"
#include "tests/unit/check.h"

enum { FEATURES = 5, HIDDEN = 7, CLASSES = 3, BATCH = 37, STEPS = 4 };

typedef struct model {
    dl_variables variables;
    const dl_variable *w1, *b1, *gamma, *w2;
    bool global; /* normalise hidden values over the whole batch: collectives inside */
} model;

static const dl_variable *want(model *m, const char *name, dl_type type) {
    dl_variable like = {.name = name, .type = type, .slab = DL_SLAB_PARAMETER};
    dl_variable *made = NULL;
    CHECK_OK(dl_variables_want(&m->variables, &like, &made));
    return made;
}

static void open_model(model *m, bool global) {
    memset(m, 0, sizeof *m);
    dl_variables_init(&m->variables);
    m->global = global;
    m->w1 = want(m, "w1", DL_TYPE(DL_F32, HIDDEN, FEATURES));
    m->b1 = want(m, "b1", DL_TYPE(DL_F32, HIDDEN));
    m->gamma = want(m, "gamma", DL_TYPE(DL_F32, HIDDEN));
    m->w2 = want(m, "w2", DL_TYPE(DL_F32, CLASSES, HIDDEN));
    dl_variables_layout(&m->variables, 0, 0);
    CHECK_OK(dl_variables_allocate(&m->variables));
    for (int64_t i = 0; i < m->variables.length[DL_SLAB_PARAMETER]; i++)
        m->variables.slab[DL_SLAB_PARAMETER][i] =
            dl_unit_float(dl_random_word(3, 1, 0, 0, (uint32_t)i)) - 0.5f;
}

static dl_value normalise(model *m, dl_graph *g, dl_value h, dl_value samples) {
    dl_value sum = dl_channel_sum(g, h, -1);
    sum = dl_sum_part(g, dl_sum_leaves(g, &sum, 1, "mean"), 0);
    dl_value mean = dl_map(g, "x0 / x1", (dl_value[]){sum, samples}, 2);
    dl_value squares = dl_channel_sum(g, h, mean);
    squares = dl_sum_part(g, dl_sum_leaves(g, &squares, 1, "variance"), 0);
    dl_value variance = dl_map(g, "x0 / x1", (dl_value[]){squares, samples}, 2);
    dl_batch_norm_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.epsilon = 1e-3f;
    attributes.statistics_of_x = attributes.global = attributes.has_gamma = true;
    return dl_batch_norm(g, h, mean, variance, dl_graph_variable(g, m->gamma), -1, samples,
                         &attributes);
}

static dl_status build_step(void *argument, dl_graph *g) {
    model *m = argument;
    dl_value x = dl_graph_input(g, "x", DL_TYPE(DL_F32, g->samples, FEATURES), false);
    dl_value y = dl_graph_input(g, "y", DL_TYPE(DL_I32, g->samples), false);
    dl_value samples = dl_graph_input(g, "samples", DL_SCALAR(DL_F32), true);
    dl_value wrt[4] = {dl_graph_variable(g, m->w2), dl_graph_variable(g, m->gamma),
                       dl_graph_variable(g, m->b1), dl_graph_variable(g, m->w1)};
    dl_matmul_attributes relu = {.transpose_b = true, .epilogue = DL_EPILOGUE_RELU};
    dl_matmul_attributes plain = {.transpose_b = true};
    g->scope = "hidden";
    dl_value h = dl_matmul(g, x, wrt[3], wrt[2], &relu);
    if (m->global)
        h = normalise(m, g, h, samples);
    else
        h = dl_map(g, "x0 * x1", (dl_value[]){h, wrt[1]}, 2);
    h = dl_map(g, "where(uniform() < 0.25, 0, x / 0.75)", &h, 1);
    g->scope = "output";
    dl_value logits = dl_matmul(g, h, wrt[0], -1, &plain);
    dl_value loss = dl_softmax_cross_entropy(g, logits, y, 0.0f);
    dl_value total = dl_reduce(g, loss, DL_REDUCE_SUM, 1, false);
    dl_value mean = dl_map(g, "x0 / x1", (dl_value[]){total, samples}, 2);
    dl_value gradient[5];
    DL_TRY(dl_gradients(g, mean, -1, wrt, 4, gradient));
    gradient[4] = total;
    dl_value sum = dl_sum_leaves(g, gradient, 5, "gradients");
    for (int i = 0; i < 4; i++) {
        dl_value part = dl_sum_part(g, sum, i);
        dl_graph_assign(g, wrt[i], dl_map(g, "x0 - 0.5 * x1", (dl_value[]){wrt[i], part}, 2));
    }
    dl_graph_output_add(g, "loss", dl_sum_part(g, sum, 4));
    return dl_graph_status(g);
}

typedef struct setting {
    dl_team_form form;
    int threads, leaves;
    dl_memory_mode memory;
    bool global;
} setting;

typedef struct outcome {
    float weights[256];
    int64_t count;
    float loss[STEPS];
    uint64_t allocations; /* of all steps but the first */
    /* measured */
    double seconds, parts, nodes, flop; /* of all steps; of threads: nodes */
    int64_t products, spans;            /* matrix products run; spans kept */
    int loose;                          /* spans that lie neither in nor beside an earlier one */
} outcome;

/* Spans come in the order of their ends; of those before, each lies within or ends before it
 * begins. */
static int count_loose(const dl_exec_span *span, int count) {
    int loose = 0;
    for (int i = 1; i < count; i++) {
        double end = span[i].start + span[i].seconds;
        for (int k = 0; k < i; k++) {
            double before = span[k].start + span[k].seconds;
            bool within = span[k].start >= span[i].start && before <= end + 1e-9;
            loose += !within && before > span[i].start + 1e-9;
        }
        loose += !(span[i].seconds >= 0);
    }
    return loose;
}

static void take_measures(const dl_exec *exec, outcome *out) {
    for (int i = 0; i < dl_exec_slot_count(exec); i++) {
        dl_exec_slot slot;
        dl_exec_slot_at(exec, i, &slot);
        CU_ASSERT_PTR_NOT_NULL(slot.op);
        CU_ASSERT_PTR_NOT_NULL(slot.name);
        if (slot.part)
            out->parts += slot.seconds;
        else
            out->nodes += slot.seconds;
        out->flop += slot.flop;
        out->products += strcmp(slot.op, "matmul") == 0 ? slot.calls : 0;
    }
    for (int lane = 0; lane < dl_exec_lanes(exec); lane++) {
        int count;
        const dl_exec_span *span = dl_exec_spans(exec, lane, &count);
        out->spans += count;
        out->loose += count_loose(span, count);
    }
}

static void fill_batch(float *x, int32_t *y, float *samples) {
    for (uint32_t i = 0; i < BATCH * FEATURES; i++)
        x[i] = dl_unit_float(dl_random_word(5, 0, 0, 0, i)) * 2.0f - 1.0f;
    for (uint32_t i = 0; i < BATCH; i++)
        y[i] = x[i * FEATURES] > 0.3f ? 2 : x[i * FEATURES + 1] > 0.0f;
    *samples = BATCH;
}

static void run_measured(const setting *s, dl_measure level, int spans, outcome *out) {
    static float x[BATCH * FEATURES], samples;
    static int32_t y[BATCH];
    memset(out, 0, sizeof *out);
    fill_batch(x, y, &samples);
    model m;
    open_model(&m, s->global);
    dl_team *team = NULL;
    dl_comm *comm = NULL;
    dl_exec *exec = NULL;
    CHECK_OK(dl_team_open(&team, s->form, s->threads));
    CHECK_OK(dl_single_open(&comm));
    dl_exec_options options = {.name = "step",
                               .ops = dl_ops(),
                               .variables = &m.variables,
                               .comm = comm,
                               .team = team,
                               .leaves = s->leaves,
                               .training = true,
                               .memory = s->memory,
                               .build = build_step,
                               .argument = &m};
    CHECK_OK(dl_exec_open(&exec, &options));
    CHECK_OK(dl_exec_prepare(exec, BATCH));
    CHECK_OK(dl_exec_connect(exec));
    dl_exec_bind_input(exec, dl_exec_input(exec, "x"), x);
    dl_exec_bind_input(exec, dl_exec_input(exec, "y"), y);
    dl_exec_bind_input(exec, dl_exec_input(exec, "samples"), &samples);
    CHECK_OK(dl_exec_measure(exec, level, spans));
    uint64_t before = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        if (step == 1)
            before = dl_alloc_count();
        dl_random random = {.seed = 11, .step = step};
        double start = dl_seconds();
        CHECK_OK(dl_exec_run(exec, BATCH, &random));
        out->seconds += dl_seconds() - start;
        out->loss[step] = dl_exec_result(exec, dl_exec_output(exec, "loss"))[0];
    }
    out->allocations = dl_alloc_count() - before;
    if (level != DL_MEASURE_OFF)
        take_measures(exec, out);
    out->count = m.variables.length[DL_SLAB_PARAMETER];
    CU_ASSERT_FATAL(out->count <= (int64_t)DL_COUNT(out->weights));
    memcpy(out->weights, m.variables.slab[DL_SLAB_PARAMETER], sizeof(float) * (size_t)out->count);
    dl_exec_close(exec);
    dl_comm_close(comm);
    dl_team_close(team);
    dl_variables_fini(&m.variables);
}

static void run_setting(const setting *s, outcome *out) {
    run_measured(s, DL_MEASURE_OFF, 0, out);
}

static void compare(const setting *a, const setting *b) {
    outcome first, second;
    run_setting(a, &first);
    run_setting(b, &second);
    CHECK_BITS(second.weights, first.weights, first.count);
    CHECK_BITS(second.loss, first.loss, STEPS);
}

static void test_memory_modes(void) {
    for (int global = 0; global < 2; global++)
        for (int leaves = 1; leaves <= 5; leaves += 2) {
            setting planned = {DL_TEAM_LONE, 1, leaves, DL_MEMORY_PLANNED, global};
            setting off = planned, poisoned = planned;
            off.memory = DL_MEMORY_OFF;
            poisoned.memory = DL_MEMORY_POISONED;
            compare(&planned, &off);
            compare(&planned, &poisoned);
        }
}

static void test_side_team(void) {
    for (int global = 0; global < 2; global++) {
        setting lone = {DL_TEAM_LONE, 1, 8, DL_MEMORY_PLANNED, global};
        for (int threads = 1; threads <= 3; threads++) {
            setting side = {DL_TEAM_SIDE, threads, 8, DL_MEMORY_PLANNED, global};
            compare(&lone, &side);
        }
    }
}

static void test_leaves_add_up(void) {
    outcome whole, cut;
    for (int global = 0; global < 2; global++) {
        setting one = {DL_TEAM_LONE, 1, 1, DL_MEMORY_PLANNED, global};
        run_setting(&one, &whole);
        CU_ASSERT(whole.loss[STEPS - 1] < whole.loss[0]);
        for (int leaves = 2; leaves <= BATCH; leaves *= 3) {
            setting more = one;
            more.leaves = leaves;
            run_setting(&more, &cut);
            /* The same sums in another order: 37 terms, 4 steps, no cancellation to speak of. */
            CHECK_CLOSE(cut.weights, whole.weights, whole.count, 1e-5, 1e-5);
        }
    }
}

static void test_no_allocation(void) {
    for (int form = 0; form < 2; form++) {
        setting s = {form ? DL_TEAM_SIDE : DL_TEAM_LONE, 2, 4, DL_MEMORY_PLANNED, true};
        outcome out;
        run_setting(&s, &out);
        CU_ASSERT_EQUAL(out.allocations, 0);
    }
}

/* Measured, a program has the same bits and allocates nothing; its parts add up to the run; the
 * nodes are counted exactly. */
static void test_measure(void) {
    /* forward, and gradients of both weights and of the hidden values */
    const double flop = 2.0 * BATCH * HIDDEN * (2 * FEATURES + 3 * CLASSES) * STEPS;
    for (int form = 0; form < 2; form++)
        for (int global = 0; global < 2; global++) {
            setting plain = {form ? DL_TEAM_SIDE : DL_TEAM_LONE, 2, 4, DL_MEMORY_PLANNED, global};
            outcome want, got;
            run_setting(&plain, &want);
            run_measured(&plain, DL_MEASURE_PARTS, 0, &got);
            CHECK_BITS(got.weights, want.weights, want.count);
            CU_ASSERT_EQUAL(got.allocations, 0);
            CU_ASSERT_EQUAL(got.spans, 0);
            CU_ASSERT_EQUAL(got.nodes, 0);
            /* Between our clock and theirs lie a call and a return, and whoever takes the
             * processor just there. */
            double missing = got.seconds;
            for (int attempt = 0; attempt < 20 && !(missing < 0.05 * got.seconds); attempt++) {
                run_measured(&plain, DL_MEASURE_PARTS, 0, &got);
                missing = got.seconds - got.parts;
                CU_ASSERT(missing >= 0);
            }
            CU_ASSERT(missing < 0.05 * got.seconds);
            run_measured(&plain, DL_MEASURE_NODES, 4096, &got);
            CHECK_BITS(got.weights, want.weights, want.count);
            CU_ASSERT_EQUAL(got.allocations, 0);
            CU_ASSERT_EQUAL(got.flop, flop);
            CU_ASSERT_EQUAL(got.products, 5 * 4 * STEPS);
            CU_ASSERT(got.nodes > 0);
            CU_ASSERT(got.nodes <= 2 * got.parts); /* threads */
            CU_ASSERT_EQUAL(got.loose, 0);
            CU_ASSERT(got.spans > got.products);
            run_measured(&plain, DL_MEASURE_NODES, 3, &got); /* then they are left out */
            CHECK_BITS(got.weights, want.weights, want.count);
            CU_ASSERT_EQUAL(got.spans, form ? 6 : 3);
            CU_ASSERT_EQUAL(got.flop, flop);
        }
}

static dl_status build_doubling(void *argument, dl_graph *g) {
    (void)argument;
    dl_value x = dl_graph_input(g, "x", DL_TYPE(DL_F32, g->samples, 2), false);
    g->scope = "double";
    dl_value sum = dl_reduce(g, x, DL_REDUCE_SUM, 3, false);
    dl_graph_output_add(g, "twice", dl_map(g, "2 * x", &x, 1));
    dl_graph_output_add(g, "sum", dl_sum_part(g, dl_sum_leaves(g, &sum, 1, "sum"), 0));
    return dl_graph_status(g);
}

static void test_outputs_and_refusal(void) {
    dl_team *team = NULL;
    dl_comm *comm = NULL;
    dl_exec *exec = NULL;
    dl_variables variables;
    dl_variables_init(&variables);
    dl_variables_layout(&variables, 0, 0);
    CHECK_OK(dl_variables_allocate(&variables));
    CHECK_OK(dl_team_open(&team, DL_TEAM_LONE, 1));
    CHECK_OK(dl_single_open(&comm));
    dl_exec_options options = {.name = "double",
                               .ops = dl_ops(),
                               .variables = &variables,
                               .comm = comm,
                               .team = team,
                               .leaves = 3,
                               .build = build_doubling};
    CHECK_OK(dl_exec_open(&exec, &options));
    CHECK_OK(dl_exec_prepare(exec, 7));
    CHECK_OK(dl_exec_prepare(exec, 2));
    CHECK_OK(dl_exec_connect(exec));
    float x[14], twice[14], expected[14];
    for (int i = 0; i < 14; i++) {
        x[i] = (float)(i + 1);
        expected[i] = 2.0f * x[i];
    }
    dl_random random = {0};
    dl_exec_bind_input(exec, dl_exec_input(exec, "x"), x);
    dl_exec_bind_output(exec, dl_exec_output(exec, "twice"), twice);
    dl_exec_notice(exec, 3.0f);
    CHECK_OK(dl_exec_run(exec, 7, &random));
    CHECK_BITS(twice, expected, 14);
    CU_ASSERT_EQUAL(dl_exec_result(exec, dl_exec_output(exec, "sum"))[0], 105.0f);
    CU_ASSERT_EQUAL(dl_exec_noticed(exec), 3.0f);
    memset(twice, 0, sizeof twice);
    CHECK_OK(dl_exec_run(exec, 2, &random)); /* fewer samples than leaves */
    CHECK_BITS(twice, expected, 4);
    CU_ASSERT_EQUAL(twice[4], 0.0f);
    dl_exec_refuse(exec, dl_fail(DL_NO_INPUT, "the file ends early"));
    CHECK_FAILS(dl_exec_run(exec, 7, &random), DL_NO_INPUT, "the file ends early");
    CHECK_OK(dl_exec_run(exec, 7, &random));
    CHECK_FAILS(dl_exec_run(exec, 30, &random), DL_INTERNAL, "not prepared");
    dl_exec_close(exec);
    dl_comm_close(comm);
    dl_team_close(team);
    dl_variables_fini(&variables);
}

void suite_exec(void);
void suite_exec(void) {
    CU_pSuite suite = CU_add_suite("exec", NULL, NULL);
    CU_add_test(suite, "planned, unplanned, poisoned memory: same bits", test_memory_modes);
    CU_add_test(suite, "side by side and one after another: same bits", test_side_team);
    CU_add_test(suite, "leaves add up to the whole batch", test_leaves_add_up);
    CU_add_test(suite, "a step allocates nothing", test_no_allocation);
    CU_add_test(suite, "measured: same bits, parts add up, nodes are counted", test_measure);
    CU_add_test(suite, "outputs a shard, notices, refusals", test_outputs_and_refusal);
}
