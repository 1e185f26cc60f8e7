/* Kernels of a row, called as exec calls them: prepare, pack, run. Outputs and workspace begin as
 * NaN, so that what is not written or read too early shows, and a guard stands behind each output.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/cells.h"
#include "tests/unit/check.h"
#include "tests/unit/op_values.h"

enum { GUARD = 256, TASKS = 4, THREADS = 2 };

typedef struct instance { /* what one run writes */
    void *out[SAMPLE_OUTPUTS];
    void *workspace;
    dl_status status;
} instance;

typedef struct trial {
    const op_values *values;
    const char *form; /* "2 threads": messages */
    dl_prepared prepared;
    void *packed[SAMPLE_INPUTS];
    const void *in[SAMPLE_INPUTS];
    dl_team *team; /* of run */
    instance instance[TASKS];
    int instances;
} trial;

static void complain(const trial *run, const char *text) {
    char message[512];
    const op_sample *sample = run->values->sample;
    snprintf(message, sizeof message, "%s, %s, %s: %s", sample->op->name, sample->name, run->form,
             text);
    fprintf(stderr, "\n  %s", message);
    CU_FAIL("a row's kernel");
}

static dl_status call_prepare(trial *run, int threads, bool constant) {
    const op_sample *sample = run->values->sample;
    const dl_kernel *kernel = &sample->op->cpu;
    const dl_type *input[SAMPLE_INPUTS], *output[SAMPLE_OUTPUTS];
    dl_prepare what = {.attributes = sample->attributes,
                       .inputs = sample->inputs,
                       .outputs = run->values->outputs,
                       .input = input,
                       .output = output,
                       .name = "sample",
                       .threads = threads,
                       .runs = constant ? 1000 : 1};
    for (int i = 0; i < sample->inputs; i++) {
        input[i] = &sample->input[i];
        if (i < DL_MAX_PACKED)
            what.constant[i] = constant;
        run->in[i] = run->values->in[i];
    }
    for (int o = 0; o < run->values->outputs; o++)
        output[o] = &run->values->type[o];
    return kernel->prepare ? kernel->prepare(&what, &run->prepared) : DL_OK;
}

static bool prepare(trial *run, int threads, bool constant) {
    const op_sample *sample = run->values->sample;
    const dl_kernel *kernel = &sample->op->cpu;
    if (call_prepare(run, threads, constant) != DL_OK) {
        complain(run, dl_message());
        return false;
    }
    for (int i = 0; i < DL_MAX_PACKED; i++)
        if (run->prepared.packed_bytes[i]) {
            run->packed[i] = dl_alloc(run->prepared.packed_bytes[i]);
            CU_ASSERT_PTR_NOT_NULL_FATAL(run->packed[i]);
            memset(run->packed[i], 0xff, run->prepared.packed_bytes[i]);
            kernel->pack(run->prepared.state, i, run->values->in[i], run->packed[i], run->team);
            run->in[i] = run->packed[i];
        }
    return true;
}

static void finish(trial *run) {
    const dl_kernel *kernel = &run->values->sample->op->cpu;
    for (int t = 0; t < run->instances; t++) {
        dl_free(run->instance[t].workspace);
        for (int o = 0; o < SAMPLE_OUTPUTS; o++)
            dl_free(run->instance[t].out[o]);
    }
    for (int i = 0; i < SAMPLE_INPUTS; i++)
        dl_free(run->packed[i]);
    if (run->prepared.state && kernel->release)
        kernel->release(run->prepared.state);
    else
        dl_free(run->prepared.state);
}

static void add_instance(trial *run) {
    instance *one = &run->instance[run->instances++];
    one->workspace = dl_alloc(run->prepared.workspace + GUARD);
    CU_ASSERT_PTR_NOT_NULL_FATAL(one->workspace);
    memset(one->workspace, 0xff, run->prepared.workspace + GUARD);
    for (int o = 0; o < run->values->outputs; o++) {
        size_t bytes = dl_type_bytes(&run->values->type[o]) + GUARD;
        one->out[o] = dl_alloc(bytes);
        CU_ASSERT_PTR_NOT_NULL_FATAL(one->out[o]);
        memset(one->out[o], 0xff, bytes);
    }
}

static dl_status run_one(void *argument, int task) {
    trial *run = argument;
    instance *one = &run->instance[task];
    dl_random random = {.seed = 7, .step = 3};
    dl_run call = {.in = run->in,
                   .out = one->out,
                   .workspace = one->workspace,
                   .team = run->team,
                   .random = &random};
    one->status = run->values->sample->op->cpu.run(run->prepared.state, &call);
    return one->status;
}

static bool guards_hold(const instance *one, const op_values *values, size_t workspace) {
    bool whole = true;
    for (int i = 0; i < GUARD; i++) {
        whole = whole && ((unsigned char *)one->workspace)[workspace + (size_t)i] == 0xff;
        for (int o = 0; o < values->outputs; o++)
            whole =
                whole &&
                ((unsigned char *)one->out[o])[dl_type_bytes(&values->type[o]) + (size_t)i] == 0xff;
    }
    return whole;
}

static void compare_reference(const trial *run, const instance *one) {
    const op_values *values = run->values;
    char text[256];
    for (int o = 0; o < values->outputs; o++) {
        const float *expected = values->sample->expected[o];
        if (!dl_is_float(values->type[o].dtype))
            continue;
        for (int64_t e = 0; e < dl_type_count(&values->type[o]); e++) {
            float got = dl_cell(one->out[o], e, values->type[o].dtype == DL_BF16);
            double want = values->want[o][e], error = fabs((double)got - want);
            if (expected && got != expected[e]) {
                snprintf(text, sizeof text, "output %d [%lld]: got %.9g, want by hand %.9g", o,
                         (long long)e, (double)got, (double)expected[e]);
                complain(run, text);
                return;
            }
            if (!(error <= values->bound[o][e])) {
                snprintf(text, sizeof text, "output %d [%lld]: got %.9g, want %.9g within %.3g", o,
                         (long long)e, (double)got, want, values->bound[o][e]);
                complain(run, text);
                return;
            }
        }
    }
}

static void compare_bits(const trial *run, const instance *one, const instance *other) {
    for (int o = 0; o < run->values->outputs; o++)
        if (memcmp(one->out[o], other->out[o], dl_type_bytes(&run->values->type[o])) != 0)
            complain(run, "two runs of one call differ in their bits");
}

/* form NULL: this thread alone. Side form: as many runs at a time as tasks, of one prepared state.
 */
static void try_form(const op_values *values, const char *name, int threads, bool side,
                     bool constant) {
    trial run = {.values = values, .form = name};
    dl_team *team;
    if (!CHECK_OK(dl_team_open(&team, side ? DL_TEAM_SIDE : DL_TEAM_LONE, threads)))
        return;
    run.team = side ? NULL : team;
    if (prepare(&run, side ? 1 : threads, constant)) {
        for (int t = 0; t < TASKS; t++)
            add_instance(&run);
        dl_status status = DL_OK;
        if (side)
            status = dl_team_tasks(team, TASKS, run_one, &run);
        else
            for (int t = 0; t < TASKS && status == DL_OK; t++)
                status = run_one(&run, t);
        if (status != DL_OK)
            complain(&run, dl_message());
        for (int t = 0; t < TASKS && status == DL_OK; t++) {
            compare_bits(&run, &run.instance[0], &run.instance[t]);
            if (!guards_hold(&run.instance[t], values, run.prepared.workspace))
                complain(&run, "writes behind its output or workspace");
        }
        if (status == DL_OK)
            compare_reference(&run, &run.instance[0]);
    }
    finish(&run);
    dl_team_close(team);
}

void op_samples_forward(const op_sample_table *table) {
    for (int i = 0; i < table->count; i++) {
        op_values values;
        op_values_init(&values, &table->sample[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(table->sample[i].op->cpu.run);
        try_form(&values, "1 thread", 1, false, false);
        try_form(&values, "1 thread, inputs constant", 1, false, true);
        try_form(&values, "2 threads", THREADS, false, false);
        try_form(&values, "2 threads, inputs constant", THREADS, false, true);
        try_form(&values, "side by side", THREADS, true, false);
        op_values_fini(&values);
    }
}

bool op_sample_halved(const op_sample *sample, dl_dtype half, bool weights, op_sample *out) {
    const dl_op *op = sample->op;
    bool any = false;
    *out = *sample;
    memset(out->expected, 0, sizeof out->expected);
    for (int i = 0; i < sample->inputs; i++)
        if ((op->half >> i & 1) && sample->input[i].dtype == DL_F32) {
            any = true;
            if (weights || !(op->packs_half >> i & 1))
                out->input[i].dtype = half;
            else
                out->rounded |= 1U << i;
        }
    return any && (weights || op->packs_half);
}

int op_samples_half(const op_sample_table *table) {
    int done = 0;
    for (int i = 0; i < 2 * table->count; i++) {
        const op_sample *sample = &table->sample[i / 2];
        op_sample half;
        op_values values;
        if (!op_sample_halved(sample, DL_BF16, i % 2 == 0, &half))
            continue;
        op_values_init(&values, &half);
        try_form(&values, "bfloat16, 1 thread", 1, false, false);
        try_form(&values, "bfloat16, 2 threads, inputs constant", THREADS, false, true);
        try_form(&values, "bfloat16, side by side", THREADS, true, false);
        op_values_fini(&values);
        done++;
    }
    return done;
}

void op_samples_no_memory(const op_sample_table *table) {
    for (int i = 0; i < table->count; i++) {
        op_values values;
        op_values_init(&values, &table->sample[i]);
        dl_status status = DL_NO_MEMORY;
        for (uint64_t n = 1; n < 100 && status != DL_OK; n++) {
            trial run = {.values = &values, .form = "without memory"};
            dl_alloc_fail_after(n);
            status = call_prepare(&run, 1, true);
            dl_alloc_fail_after(0);
            if (status == DL_OK)
                finish(&run);
            else
                CU_ASSERT_EQUAL(status, DL_NO_MEMORY);
        }
        CU_ASSERT_EQUAL(status, DL_OK);
        op_values_fini(&values);
    }
}
