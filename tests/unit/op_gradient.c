/* Gradients of a row: dl_gradients and exec against central differences of the naive reference in
 * double (after Caffe's gradient checker). The function differentiated is sum(output * weight),
 * weights random, 0 at kinks. Single elements with a wide step show where an error sits; a
 * direction that moves all elements of all inputs at once leaves none out. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "comm/single.h"
#include "runtime/exec/exec.h"
#include "tests/unit/check.h"
#include "tests/unit/op_values.h"

enum { ELEMENTS = 12 };
static const double wide_step = 1e-4, fine_step = 1e-6;

typedef struct gradient {
    const op_values *values;
    int output;                   /* differentiated */
    float *weight;                /* of its elements */
    double *moved[SAMPLE_INPUTS]; /* inputs of the reference */
    double *result[SAMPLE_OUTPUTS];
    const float *analytic[SAMPLE_INPUTS]; /* NULL: no dependence */
} gradient;

static void complain(const gradient *check, const char *form, int input, const char *element,
                     double got, double want) {
    const op_sample *sample = check->values->sample;
    fprintf(stderr, "\n  %s, %s, %s: gradient of output %d by input %d%s: got %.9g, want %.9g",
            sample->op->name, sample->name, form, check->output, input, element, got, want);
    CU_FAIL("a row's gradient");
}

static double weighted(gradient *check) {
    const op_values *values = check->values;
    op_values_reference(values, (const double *const *)check->moved, check->result);
    double sum = 0;
    for (int64_t e = 0; e < dl_type_count(&values->type[check->output]); e++)
        if (check->weight[e] != 0)
            sum += (double)check->weight[e] * check->result[check->output][e];
    return sum;
}

static bool close_to(const op_sample *sample, double got, double want) {
    double tolerance = sample->gradient_tolerance > 0 ? sample->gradient_tolerance : 1e-4;
    double floor_of_one = fabs(want) > 1 ? fabs(want) : 1;
    return fabs(got - want) <= tolerance * floor_of_one; /* false for a NaN */
}

static bool asked(const op_sample *sample, int input) {
    return (sample->differentiable >> input & 1U) != 0;
}

static void check_elements(gradient *check, const char *form, int input) {
    const op_values *values = check->values;
    int64_t count = dl_type_count(&values->sample->input[input]);
    for (int k = 0; k < ELEMENTS && k < count; k++) {
        int64_t e = count <= ELEMENTS ? k : (2 * k + 1) * count / (2 * ELEMENTS);
        double *at = &check->moved[input][e], here = *at;
        *at = here + wide_step;
        double above = weighted(check);
        *at = here - wide_step;
        double below = weighted(check);
        *at = here;
        double want = (above - below) / (2 * wide_step);
        double got = check->analytic[input] ? (double)check->analytic[input][e] : 0;
        if (!close_to(values->sample, got, want)) {
            char element[40];
            snprintf(element, sizeof element, " [%lld]", (long long)e);
            complain(check, form, input, element, got, want);
            return;
        }
    }
}

/* Central difference along one random direction of all inputs, against the scalar product. */
static void check_direction(gradient *check, const char *form) {
    const op_sample *sample = check->values->sample;
    double got = 0, side[2];
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < sample->inputs; i++)
            for (int64_t e = 0; asked(sample, i) && e < dl_type_count(&sample->input[i]); e++) {
                double d = op_values_random(check->values, i % 2 ? "odd" : "even", e);
                check->moved[i][e] = check->values->exact[i][e] + (s ? -fine_step : fine_step) * d;
                if (s == 0 && check->analytic[i])
                    got += d * (double)check->analytic[i][e];
            }
        side[s] = weighted(check);
    }
    double want = (side[0] - side[1]) / (2 * fine_step);
    if (!close_to(sample, got, want))
        complain(check, form, -1, " along a direction", got, want);
}

static dl_status build(void *argument, dl_graph *graph) {
    const gradient *check = argument;
    const op_sample *sample = check->values->sample;
    dl_value input[SAMPLE_INPUTS], wrt[SAMPLE_INPUTS], out[SAMPLE_INPUTS];
    char name[16];
    int count = 0;
    for (int i = 0; i < sample->inputs; i++) {
        snprintf(name, sizeof name, "x%d", i);
        input[i] = dl_graph_input(graph, name, sample->input[i], true);
        if (asked(sample, i))
            wrt[count++] = input[i];
    }
    graph->scope = "sample";
    dl_value y = dl_graph_add(graph, sample->op, sample->attributes, input, sample->inputs);
    dl_value seed = dl_graph_input(graph, "seed", check->values->type[check->output], true);
    if (y < 0 || dl_gradients(graph, y + check->output, seed, wrt, count, out) != DL_OK)
        return dl_graph_status(graph);
    for (int i = 0, k = 0; i < sample->inputs; i++) {
        if (!asked(sample, i))
            continue;
        snprintf(name, sizeof name, "dx%d", i);
        if (out[k] >= 0)
            dl_graph_output_add(graph, name, out[k]);
        k++;
    }
    return dl_graph_status(graph);
}

static dl_status run_exec(gradient *check, dl_exec *exec) {
    const op_sample *sample = check->values->sample;
    const dl_random random = {.seed = 7, .step = 3};
    char name[16];
    int index;
    DL_TRY(dl_exec_prepare(exec, 1));
    DL_TRY(dl_exec_connect(exec));
    for (int i = 0; i < sample->inputs; i++) {
        snprintf(name, sizeof name, "x%d", i);
        if ((index = dl_exec_input(exec, name)) >= 0)
            dl_exec_bind_input(exec, index, check->values->in[i]);
    }
    if ((index = dl_exec_input(exec, "seed")) >= 0)
        dl_exec_bind_input(exec, index, check->weight);
    DL_TRY(dl_exec_run(exec, 1, &random));
    for (int i = 0; i < sample->inputs; i++) {
        snprintf(name, sizeof name, "dx%d", i);
        index = dl_exec_output(exec, name);
        check->analytic[i] = index < 0 ? NULL : dl_exec_result(exec, index);
    }
    return DL_OK;
}

static void compare(gradient *check, const char *form) {
    const op_sample *sample = check->values->sample;
    for (int i = 0; i < sample->inputs; i++)
        if (asked(sample, i))
            check_elements(check, form, i);
    check_direction(check, form);
    for (int i = 0; i < sample->inputs; i++)
        memcpy(check->moved[i], check->values->exact[i],
               sizeof(double) * (size_t)dl_type_count(&sample->input[i]));
}

static void try_form(gradient *check, const char *form, int threads, bool side, dl_device *device) {
    dl_team *team = NULL;
    dl_comm *comm = NULL;
    dl_exec *exec = NULL;
    dl_resident *resident = NULL;
    dl_variables variables;
    dl_variables_init(&variables);
    dl_variables_layout(&variables, 0, 0);
    bool ready = CHECK_OK(dl_variables_allocate(&variables)) &&
                 CHECK_OK(dl_team_open(&team, side ? DL_TEAM_SIDE : DL_TEAM_LONE, threads)) &&
                 CHECK_OK(dl_single_open(&comm));
    if (ready && device)
        ready = CHECK_OK(dl_resident_open(&resident, device, &variables));
    dl_exec_options options = {.name = "gradient",
                               .ops = dl_ops(),
                               .variables = &variables,
                               .comm = comm,
                               .team = team,
                               .resident = resident,
                               .leaves = 1,
                               .training = true,
                               .memory = DL_MEMORY_POISONED,
                               .build = build,
                               .argument = check};
    if (ready && CHECK_OK(dl_exec_open(&exec, &options))) {
        if (run_exec(check, exec) == DL_OK)
            compare(check, form);
        else {
            fprintf(stderr, "\n  %s, %s, %s: %s", check->values->sample->op->name,
                    check->values->sample->name, form, dl_message());
            CU_FAIL("a gradient that does not run");
        }
    }
    dl_exec_close(exec);
    dl_resident_close(resident);
    if (comm)
        dl_comm_close(comm);
    dl_team_close(team);
    dl_variables_fini(&variables);
}

static void try_output(const op_values *values, int output, dl_device *device) {
    const op_sample *sample = values->sample;
    gradient check = {.values = values, .output = output};
    int64_t count = dl_type_count(&values->type[output]);
    check.weight = dl_alloc(sizeof(float) * (size_t)count);
    CU_ASSERT_PTR_NOT_NULL_FATAL(check.weight);
    for (int64_t e = 0; e < count; e++)
        if (!values->kink[output][e])
            check.weight[e] = (float)op_values_random(values, "weight", e);
    for (int i = 0; i < sample->inputs; i++) {
        size_t bytes = sizeof(double) * (size_t)dl_type_count(&sample->input[i]);
        check.moved[i] = dl_alloc(bytes);
        CU_ASSERT_PTR_NOT_NULL_FATAL(check.moved[i]);
        memcpy(check.moved[i], values->exact[i], bytes);
    }
    for (int o = 0; o < values->outputs; o++) {
        check.result[o] = dl_alloc(sizeof(double) * (size_t)dl_type_count(&values->type[o]));
        CU_ASSERT_PTR_NOT_NULL_FATAL(check.result[o]);
    }
    if (device)
        try_form(&check, device->name, 1, false, device);
    else {
        try_form(&check, "1 thread", 1, false, NULL);
        try_form(&check, "2 threads", 2, false, NULL);
        try_form(&check, "side team", 2, true, NULL);
    }
    for (int i = 0; i < SAMPLE_INPUTS; i++)
        dl_free(check.moved[i]);
    for (int o = 0; o < SAMPLE_OUTPUTS; o++)
        dl_free(check.result[o]);
    dl_free(check.weight);
}

void op_samples_gradient_on(dl_device *device, const op_sample_table *table) {
    for (int i = 0; i < table->count; i++) {
        const op_sample *sample = &table->sample[i];
        if (!sample->differentiable)
            continue;
        op_values values;
        op_values_init(&values, sample);
        unsigned of = sample->gradient_of ? sample->gradient_of : 1U;
        for (int o = 0; o < values.outputs; o++)
            if ((of >> o & 1U) != 0)
                try_output(&values, o, device);
        op_values_fini(&values);
    }
}

void op_samples_gradient(const op_sample_table *table) {
    op_samples_gradient_on(NULL, table);
}
