/* See device_rows.h. */
#include "tests/unit/device_rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/pool.h"
#include "tests/unit/check.h"
#include "tests/unit/op_values.h"

enum { GUARD = 256, MEMORIES = 32 };

typedef struct trial {
    const op_values *values, *wide; /* wide: what the CPU kernel takes */
    const char *form;
    dl_device *device;
    const dl_kernel *kernel;
    const dl_type *input[SAMPLE_INPUTS], *output[SAMPLE_OUTPUTS];
    dl_prepare what;
    dl_prepared prepared;
    const void *in[SAMPLE_INPUTS];
    void *out[SAMPLE_OUTPUTS], *workspace, *random;
    dl_fault *fault, found;
    void *memory[MEMORIES]; /* of the device */
    int memories;
    void *got[SAMPLE_OUTPUTS], *again[SAMPLE_OUTPUTS], *cpu[SAMPLE_OUTPUTS];
} trial;

void device_row_exact(const op_sample *sample, const dl_type *type, const double *const *in,
                      double *const *out, double *const *bound, bool *const *kink) {
    (void)in;
    (void)kink;
    for (int o = 0; bound && o < sample->op->outputs; o++)
        for (int64_t e = 0; e < dl_type_count(&type[o]); e++) {
            out[o][e] = 0;
            bound[o][e] = INFINITY;
        }
}

/* Rows whose results are elements of their inputs. */
static bool moves(const op_sample *sample) {
    static const dl_op *const rows[] = {&dl_op_transpose,   &dl_op_slice,     &dl_op_pad,
                                        &dl_op_concatenate, &dl_op_broadcast, &dl_op_gather,
                                        &dl_op_cast,        &dl_op_max_pool};
    for (int i = 0; i < DL_COUNT(rows); i++)
        if (sample->op == rows[i])
            return true;
    return sample->reference == device_row_exact;
}

/* Leaves of a batch begin at any of its samples; weights and vectors of channels lie on lines of
 * their own. Products of samples come as matmul too. */
static bool begins_anywhere(const op_sample *sample, int input) {
    const dl_type *type = &sample->input[input];
    bool weights = (sample->op->packs_half >> input & 1) && sample->op != &dl_op_matmul;
    bool vector = input > 0 && type->rank == 1 && dl_is_float(type->dtype);
    return type->rank > 0 && !weights && !vector;
}

/* What CUDA's libraries round besides the result where inputs are half: a gradient of weights that
 * the row has in float32; what a convolution's bias is added to; a product's bias. */
static double rounded_more(const op_values *values, int o, int64_t e) {
    const op_sample *sample = values->sample;
    const dl_op *op = sample->op;
    dl_dtype dtype = sample->input[0].dtype;
    double size = fabs(values->want[o][e]) + values->bound[o][e];
    if (!dl_is_half(dtype))
        return 0;
    bool weights = op == &dl_op_conv_weight_gradient || op == &dl_op_conv_norm_weight_gradient;
    bool biased = op == &dl_op_conv || op == &dl_op_matmul || op == &dl_op_matmul_relu;
    if (biased && sample->inputs > 2)
        size += fabs(values->exact[2][e % sample->input[2].dim[0]]);
    else if (!weights || dl_is_half(values->type[o].dtype))
        return 0;
    return size * op_values_unit(dtype) + (dtype == DL_F16 ? 0x1p-25 : 0);
}

static bool complain(const trial *run, const char *text) {
    const op_sample *sample = run->values->sample;
    fprintf(stderr, "\n  %s, %s, %s: %s", sample->op->name, sample->name, run->form, text);
    CU_FAIL("a device's kernel");
    return false;
}

static void *grab(trial *run, size_t bytes) {
    void *memory = NULL;
    CU_ASSERT_FATAL(run->memories < MEMORIES);
    if (!CHECK_OK(run->device->table->allocate(run->device, bytes, &memory)))
        CU_FAIL_FATAL("no device memory");
    return run->memory[run->memories++] = memory;
}

static void *grab_host(size_t bytes) {
    void *memory = dl_alloc(bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    return memory;
}

static dl_status run_cpu(trial *run) {
    const dl_kernel *cpu = &run->values->sample->op->cpu;
    const dl_type *input[SAMPLE_INPUTS], *output[SAMPLE_OUTPUTS];
    dl_prepare what = run->what;
    dl_prepared prepared = {0};
    dl_team *team;
    memset(what.constant, 0, sizeof what.constant);
    what.device = NULL;
    what.input = input;
    what.output = output;
    for (int i = 0; i < what.inputs; i++)
        input[i] = &run->wide->sample->input[i];
    for (int o = 0; o < what.outputs; o++) {
        output[o] = &run->wide->type[o];
        run->cpu[o] = grab_host(dl_type_bytes(output[o]));
    }
    DL_TRY(dl_team_open(&team, DL_TEAM_LONE, 1));
    dl_status status = cpu->prepare ? cpu->prepare(&what, &prepared) : DL_OK;
    void *workspace = grab_host(prepared.workspace + 1);
    dl_random random = {.seed = 7, .step = 3};
    dl_run call = {.in = (const void *const *)run->wide->in,
                   .out = run->cpu,
                   .workspace = workspace,
                   .team = team,
                   .random = &random};
    if (status == DL_OK)
        status = cpu->run(prepared.state, &call);
    dl_free(workspace);
    if (prepared.state && cpu->release)
        cpu->release(prepared.state);
    else
        dl_free(prepared.state);
    dl_team_close(team);
    return status;
}

static void begin(trial *run, bool constant, int position) {
    const op_values *values = run->values;
    const op_sample *sample = values->sample;
    run->kernel = run->device->kernel(sample->op->name);
    run->what = (dl_prepare){.attributes = sample->attributes,
                             .inputs = sample->inputs,
                             .outputs = values->outputs,
                             .input = run->input,
                             .output = run->output,
                             .name = "sample",
                             .threads = 1,
                             .runs = constant ? 1000 : 1,
                             .device = run->device,
                             .position = position};
    for (int i = 0; i < sample->inputs; i++) {
        run->input[i] = &sample->input[i];
        if (i < DL_MAX_PACKED)
            run->what.constant[i] = constant;
    }
    for (int o = 0; o < values->outputs; o++) {
        run->output[o] = &values->type[o];
        size_t bytes = dl_type_bytes(run->output[o]) + GUARD;
        run->out[o] = grab(run, bytes);
        run->got[o] = grab_host(bytes);
        run->again[o] = grab_host(bytes);
    }
    run->fault = grab(run, sizeof *run->fault);
    run->random = grab(run, sizeof(dl_random));
}

static dl_status prepare(trial *run, bool later) {
    const dl_device_table *table = run->device->table;
    if (run->kernel->prepare)
        DL_TRY(run->kernel->prepare(&run->what, &run->prepared));
    DL_TRY(table->build(run->device));
    run->workspace = grab(run, run->prepared.workspace + GUARD);
    for (int i = 0; i < run->what.inputs; i++) {
        size_t bytes = dl_type_bytes(run->input[i]);
        bool shifts = later && begins_anywhere(run->values->sample, i);
        size_t shift = shifts ? bytes / (size_t)run->input[i]->dim[0] : 0;
        char *memory = grab(run, bytes + shift);
        run->in[i] = memory + shift;
        DL_TRY(table->copy(run->device, memory + shift, run->values->in[i], bytes));
        if (i < DL_MAX_PACKED && run->prepared.packed_bytes[i]) {
            void *packed = grab(run, run->prepared.packed_bytes[i]);
            run->kernel->pack(run->prepared.state, i, run->in[i], packed, NULL);
            run->in[i] = packed;
        }
    }
    return DL_OK;
}

static dl_status enqueue(trial *run) {
    dl_run call = {.in = run->in,
                   .out = run->out,
                   .workspace = run->workspace,
                   .random = run->random,
                   .stream = run->device->stream,
                   .fault = run->fault};
    return run->kernel->run(run->prepared.state, &call);
}

static dl_status poison(trial *run) {
    const dl_device_table *table = run->device->table;
    for (int o = 0; o < run->values->outputs; o++)
        DL_TRY(table->fill(run->device, run->out[o], 0xff,
                           dl_type_bytes(&run->values->type[o]) + GUARD));
    return table->fill(run->device, run->workspace, 0xff, run->prepared.workspace + GUARD);
}

static bool untouched(const unsigned char *guard) {
    for (int i = 0; i < GUARD; i++)
        if (guard[i] != 0xff)
            return false;
    return true;
}

static dl_status fetch(trial *run, void *const *to) {
    const dl_device_table *table = run->device->table;
    unsigned char guard[GUARD];
    for (int o = 0; o < run->values->outputs; o++)
        DL_TRY(table->copy(run->device, to[o], run->out[o],
                           dl_type_bytes(&run->values->type[o]) + GUARD));
    DL_TRY(table->copy(run->device, guard, (char *)run->workspace + run->prepared.workspace,
                       sizeof guard));
    DL_TRY(table->copy(run->device, &run->found, run->fault, sizeof run->found));
    DL_TRY(table->wait(run->device));
    bool whole = untouched(guard);
    for (int o = 0; o < run->values->outputs; o++)
        whole = whole && untouched((unsigned char *)to[o] + dl_type_bytes(&run->values->type[o]));
    if (!whole)
        complain(run, "writes behind its output or workspace");
    return DL_OK;
}

/* As queue.c does: what is enqueued is recorded, and played with other memory contents. */
static dl_status play(trial *run) {
    const dl_device_table *table = run->device->table;
    dl_recording *recording = NULL;
    DL_TRY(poison(run));
    DL_TRY(table->record(run->device));
    dl_status status = enqueue(run);
    DL_TRY(table->recorded(run->device, &recording));
    for (int i = 0; i < 2 && status == DL_OK; i++)
        status = table->play(run->device, recording);
    if (status == DL_OK)
        status = fetch(run, run->again);
    table->forget(run->device, recording);
    return status;
}

static bool compare_element(const trial *run, int o, int64_t e) {
    const op_values *values = run->values;
    char text[256];
    dl_dtype dtype = values->type[o].dtype;
    float got = op_values_cell(dtype, run->got[o], e);
    float cpu = op_values_round(dtype, op_values_cell(run->wide->type[o].dtype, run->cpu[o], e));
    double want = values->want[o][e], bound = values->bound[o][e] + rounded_more(values, o, e);
    bool exact = moves(values->sample) || bound == 0;
    if (memcmp(&got, &cpu, sizeof got) == 0 || (!moves(values->sample) && got == cpu)) /* -0 */
        return true;
    bool close =
        !exact && fabs((double)got - (double)cpu) <= 2 * bound && fabs((double)got - want) <= bound;
    const float *expected = values->sample->expected[o];
    if (close && (!expected || got == expected[e]))
        return true;
    snprintf(text, sizeof text, "output %d [%lld]: got %.9g, the CPU %.9g, want %.9g within %.3g",
             o, (long long)e, (double)got, (double)cpu, want, exact ? 0 : bound);
    return complain(run, text);
}

/* A bit for each number of the first output, where it is above 0; what fills up a row is nobody's.
 */
static bool marks(const trial *run, int o) {
    const dl_type *y = &run->values->type[0], *type = &run->values->type[o];
    int64_t columns = y->dim[y->rank - 1], bytes = type->dim[type->rank - 1];
    for (int64_t e = 0; e < dl_type_count(y); e++) {
        int64_t c = e % columns;
        int byte = ((const unsigned char *)run->got[o])[e / columns * bytes + c / 8];
        if ((byte >> c % 8 & 1) != (op_values_cell(y->dtype, run->got[0], e) > 0))
            return false;
    }
    return true;
}

/* Places of norm_pool: cells that are equal in half are not so to the CPU, which takes float32, but
 * what stands at a place makes the output. */
static bool points(const trial *run, int o) {
    const op_values *values = run->values;
    const dl_norm_pool_attributes *a = values->sample->attributes;
    double *const *in = values->exact;
    dl_window_sizes s;
    if (!CHECK_OK(dl_pool_sizes(&a->pool.pool, run->input[0], &s)))
        return false;
    for (int64_t e = 0; e < dl_type_count(run->output[0]); e++) {
        int64_t c = e % s.channels, ox = e / s.channels % s.out[1];
        int64_t oy = e / s.channels / s.out[1] % s.out[0];
        int64_t n = e / s.channels / s.out[1] / s.out[0];
        int place = ((const unsigned char *)run->got[o])[e];
        int64_t y = oy * s.window.stride[0] - s.window.before[0] + place / s.window.kernel[1];
        int64_t x = ox * s.window.stride[1] - s.window.before[1] + place % s.window.kernel[1];
        if (place >= s.window.kernel[0] * s.window.kernel[1] || y < 0 || y >= s.in[0] || x < 0 ||
            x >= s.in[1])
            return false;
        double z = in[0][((n * s.in[0] + y) * s.in[1] + x) * s.channels + c] - in[1][c];
        z /= sqrt(in[2][c] + (double)a->norm.epsilon);
        z *= a->norm.has_gamma ? in[3][c] : 1;
        z += a->norm.has_beta ? in[3 + a->norm.has_gamma][c] : 0;
        double got = (double)op_values_cell(run->output[0]->dtype, run->got[0], e);
        if (!(fabs(fmax(0, z) - got) <= 2 * values->bound[0][e]))
            return false;
    }
    return true;
}

static bool same_integers(const trial *run, int o) {
    const dl_op *op = run->values->sample->op;
    if (op == &dl_op_norm_pool)
        return points(run, o);
    if (op == &dl_op_matmul_relu || op == &dl_op_residual)
        return marks(run, o);
    return memcmp(run->got[o], run->cpu[o], dl_type_bytes(&run->values->type[o])) == 0;
}

static void compare(const trial *run) {
    const op_values *values = run->values;
    for (int o = 0; o < values->outputs; o++) {
        size_t bytes = dl_type_bytes(&values->type[o]);
        if (memcmp(run->got[o], run->again[o], bytes) != 0)
            complain(run, "a recording has other bits");
        if (!dl_is_float(values->type[o].dtype)) {
            if (!same_integers(run, o))
                complain(run, "other numbers than the CPU's");
            continue;
        }
        for (int64_t e = 0; e < dl_type_count(&values->type[o]); e++)
            if (!compare_element(run, o, e))
                return;
    }
}

static void finish(trial *run) {
    for (int i = 0; i < run->memories; i++)
        run->device->table->release(run->device, run->memory[i]);
    for (int o = 0; o < SAMPLE_OUTPUTS; o++) {
        dl_free(run->got[o]);
        dl_free(run->again[o]);
        dl_free(run->cpu[o]);
    }
    if (run->prepared.state && run->kernel->release)
        run->kernel->release(run->prepared.state);
    else
        dl_free(run->prepared.state);
}

static dl_status run_once(trial *run, bool later) {
    DL_TRY(prepare(run, later));
    DL_TRY(poison(run));
    DL_TRY(enqueue(run));
    return fetch(run, run->got);
}

static void try_form(dl_device *device, const op_values *values, const op_values *wide,
                     const char *form, bool constant, bool later) {
    trial run = {.values = values, .wide = wide, .form = form, .device = device};
    begin(&run, constant, 0);
    dl_status status = run_cpu(&run);
    if (status == DL_OK)
        status = run_once(&run, later);
    if (status == DL_OK)
        status = play(&run);
    if (status != DL_OK)
        complain(&run, dl_message());
    else if (run.found.node)
        complain(&run, "tells of bad data");
    else
        compare(&run);
    finish(&run);
}

static void try_forms(dl_device *device, const op_values *values, const op_values *wide,
                      const char *type) {
    char form[64];
    for (int k = 0; k < 3; k++) {
        static const char *const how[] = {"alone", "inputs constant", "inputs from sample 1 on"};
        snprintf(form, sizeof form, "%s, %s", type, how[k]);
        try_form(device, values, wide, form, k == 1, k == 2);
    }
}

/* The CPU computes no float16: its kernel gets the rounded numbers as float32. */
static void try_float16(dl_device *device, const op_sample *sample, const op_sample *half) {
    op_values values, wide;
    op_sample plain = *sample;
    float *given[SAMPLE_INPUTS] = {NULL};
    op_values_init(&values, half);
    for (int i = 0; i < sample->inputs; i++) {
        int64_t count = dl_type_count(&sample->input[i]);
        if (sample->input[i].dtype != DL_F32)
            continue;
        plain.given[i] = given[i] = grab_host(sizeof(float) * (size_t)count + 1);
        for (int64_t e = 0; e < count; e++)
            given[i][e] = (float)values.exact[i][e];
    }
    op_values_init(&wide, &plain);
    try_forms(device, &values, &wide, "float16");
    op_values_fini(&wide);
    op_values_fini(&values);
    for (int i = 0; i < SAMPLE_INPUTS; i++)
        dl_free(given[i]);
}

void device_row_check(dl_device *device, const op_sample *sample) {
    op_values values;
    op_sample half;
    op_values_init(&values, sample);
    try_forms(device, &values, &values, "float32");
    op_values_fini(&values);
    for (int weights = 1; weights >= 0; weights--) {
        if (op_sample_halved(sample, DL_F16, weights, &half))
            try_float16(device, sample, &half);
        if (device->architecture < 80 || !op_sample_halved(sample, DL_BF16, weights, &half))
            continue;
        op_values_init(&values, &half);
        try_forms(device, &values, &values, "bfloat16");
        op_values_fini(&values);
    }
}

void device_row_fault(dl_device *device, const op_sample *sample, int position, dl_fault *out) {
    op_values values;
    op_values_init(&values, sample);
    trial run = {.values = &values, .wide = &values, .form = "bad data", .device = device};
    begin(&run, false, position);
    CHECK_OK(run_once(&run, false));
    *out = run.found;
    finish(&run);
    op_values_fini(&values);
}
