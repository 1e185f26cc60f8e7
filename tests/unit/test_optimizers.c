/* Optimizers against their formulas worked in double precision, three steps on given gradients;
 * weight decay, clipping and penalties; schedules; the callbacks' counting. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/callbacks.h"
#include "models/keys.h"
#include "models/optimizers.h"
#include "ops/ops.h"
#include "tests/unit/model.h"

enum { STEPS = 3, INPUTS = 3, UNITS = 2, KERNEL = INPUTS * UNITS, PARAMETERS = 32 };

/* The formula for one element: s holds slots (and their first values), t is the step from 1. */
typedef void (*formula)(double *w, double g, double *s, int t);

static void sgd(double *w, double g, double *s, int t) {
    (void)s, (void)t;
    *w -= 0.1 * g;
}
static void momentum(double *w, double g, double *s, int t) {
    (void)t;
    s[0] = 0.9 * s[0] - 0.1 * g;
    *w += s[0];
}
static void nesterov(double *w, double g, double *s, int t) {
    (void)t;
    s[0] = 0.9 * s[0] - 0.1 * g;
    *w += 0.9 * s[0] - 0.1 * g;
}
static void rmsprop(double *w, double g, double *s, int t) {
    (void)t;
    s[0] = 0.9 * s[0] + 0.1 * g * g;
    *w -= 0.001 * g / (sqrt(s[0]) + 1e-7);
}
static void rmsprop_centered(double *w, double g, double *s, int t) {
    (void)t;
    s[0] = 0.8 * s[0] + 0.2 * g * g;
    s[1] = 0.8 * s[1] + 0.2 * g;
    *w -= 0.01 * g / (sqrt(s[0] - s[1] * s[1]) + 1e-7);
}
static void rmsprop_momentum(double *w, double g, double *s, int t) {
    (void)t;
    s[0] = 0.9 * s[0] + 0.1 * g * g;
    s[1] = 0.5 * s[1] + 0.01 * g / sqrt(s[0] + 1e-7);
    *w -= s[1];
}
static void adagrad(double *w, double g, double *s, int t) {
    s[0] = (t == 1 ? 0.1 : s[0]) + g * g;
    *w -= 0.001 * g / (sqrt(s[0]) + 1e-7);
}
static void adadelta(double *w, double g, double *s, int t) {
    (void)t;
    s[0] = 0.95 * s[0] + 0.05 * g * g;
    double update = sqrt(s[1] + 1e-7) / sqrt(s[0] + 1e-7) * g;
    s[1] = 0.95 * s[1] + 0.05 * update * update;
    *w -= 0.5 * update;
}
static void adam(double *w, double g, double *s, int t) {
    s[0] = 0.9 * s[0] + 0.1 * g;
    s[1] = 0.999 * s[1] + 0.001 * g * g;
    double rate = 0.001 * sqrt(1 - pow(0.999, t)) / (1 - pow(0.9, t));
    *w -= rate * s[0] / (sqrt(s[1]) + 1e-7);
}
static void amsgrad(double *w, double g, double *s, int t) {
    s[0] = 0.9 * s[0] + 0.1 * g;
    s[1] = 0.5 * s[1] + 0.5 * g * g;
    s[2] = fmax(s[2], s[1]);
    double rate = 0.01 * sqrt(1 - pow(0.5, t)) / (1 - pow(0.9, t));
    *w -= rate * s[0] / (sqrt(s[2]) + 1e-7);
}
static void adamw(double *w, double g, double *s, int t) {
    *w -= 0.001 * 0.004 * *w;
    adam(w, g, s, t);
}
static void nadam(double *w, double g, double *s, int t) {
    double now = 0.9 * (1 - 0.5 * pow(0.96, 0.004 * t));
    double next = 0.9 * (1 - 0.5 * pow(0.96, 0.004 * (t + 1)));
    s[2] = (t == 1 ? 1 : s[2]) * now;
    s[0] = 0.9 * s[0] + 0.1 * g;
    s[1] = 0.999 * s[1] + 0.001 * g * g;
    double mean = (1 - now) * g / (1 - s[2]) + next * s[0] / (1 - s[2] * next);
    *w -= 0.001 * mean / (sqrt(s[1] / (1 - pow(0.999, t))) + 1e-7);
}
static void clipped(double *w, double g, double *s, int t) {
    (void)s, (void)t;
    *w -= 0.1 * fmax(-0.2, fmin(0.2, g));
}
static void decayed(double *w, double g, double *s, int t) {
    *w -= 0.1 * 0.25 * *w;
    sgd(w, g, s, t);
}

static float gradient_of(int element, int step) {
    return 0.37f * (float)sin(1.7 * element + 0.9 * step + 0.3);
}

/* Opens a job of one dense layer, fills slab and gradient, runs the steps; w is the slab after
 * them. */
static bool run_updates(const char *yaml, float *begin, float *w) {
    static const dl_field field = FLOATS("x", INPUTS);
    model m;
    bool good = model_open(&m, yaml, &field, 1);
    dl_exec *exec = NULL;
    if (good) {
        dl_variables *variables = dl_network_variables(m.network);
        CU_ASSERT_EQUAL_FATAL(variables->length[DL_SLAB_PARAMETER], PARAMETERS);
        for (int i = 0; i < variables->count; i++) {
            float *data = dl_variable_data(variables, variables->list[i]);
            for (int e = 0; e < dl_type_count(&variables->list[i]->type); e++)
                data[e] = (float)cos(e + i);
        }
        memcpy(begin, variables->slab[DL_SLAB_PARAMETER], sizeof(float) * PARAMETERS);
        exec = model_updates(&m);
        good = exec != NULL;
        float rate = (float)dl_network_base_learning_rate(m.network);
        for (int step = 1; step <= STEPS && good; step++) {
            float gradient[PARAMETERS] = {0};
            for (int e = 0; e < PARAMETERS; e++)
                gradient[e] = begin[e] != 0 ? gradient_of(e, step) : 0;
            good = model_update(&m, exec, gradient, step, rate);
        }
        if (good)
            memcpy(w, variables->slab[DL_SLAB_PARAMETER], sizeof(float) * PARAMETERS);
    }
    dl_exec_close(exec);
    model_close(&m);
    return good;
}

static void check_optimizer(const char *text, formula step_of) {
    char yaml[512];
    float begin[PARAMETERS], got[PARAMETERS], want[PARAMETERS];
    snprintf(yaml, sizeof yaml, "model:\n  - dense: %d\noptimizer: %s\n", UNITS, text);
    if (!run_updates(yaml, begin, got))
        return;
    for (int e = 0; e < PARAMETERS; e++) {
        double w = (double)begin[e], s[3] = {0};
        for (int t = 1; t <= STEPS && begin[e] != 0; t++)
            step_of(&w, (double)gradient_of(e, t), s, t);
        want[e] = (float)w; /* gaps of the slab stay 0 */
    }
    CHECK_CLOSE(got, want, PARAMETERS, 3e-7, 3e-7);
}

static void test_formulas(void) {
    check_optimizer("{sgd: {learning_rate: 0.1}}", sgd);
    check_optimizer("{sgd: {learning_rate: 0.1, momentum: 0.9}}", momentum);
    check_optimizer("{sgd: {learning_rate: 0.1, momentum: 0.9, nesterov: true}}", nesterov);
    check_optimizer("rmsprop", rmsprop);
    check_optimizer("{rmsprop: {learning_rate: 0.01, rho: 0.8, centered: true}}", rmsprop_centered);
    check_optimizer("{rmsprop: {learning_rate: 0.01, momentum: 0.5}}", rmsprop_momentum);
    check_optimizer("adagrad", adagrad);
    check_optimizer("{adadelta: {learning_rate: 0.5}}", adadelta);
    check_optimizer("adam", adam);
    check_optimizer("{adam: {learning_rate: 0.01, beta_2: 0.5, amsgrad: true}}", amsgrad);
    check_optimizer("adamw", adamw);
    check_optimizer("nadam", nadam);
    check_optimizer("{sgd: {learning_rate: 0.1, clipvalue: 0.2}}", clipped);
    check_optimizer("{sgd: {learning_rate: 0.1, weight_decay: 0.25}}", decayed);
}

/* Penalties and decay are by variable: bias and kernel lie in segments of their own. */
static void test_segments(void) {
    float begin[PARAMETERS], got[PARAMETERS];
    if (!run_updates("model:\n"
                     "  - dense: {units: 2, kernel_regularizer: {l1_l2: {l1: 0.1, l2: 0.3}}}\n"
                     "optimizer: {sgd: {learning_rate: 0.1, weight_decay: 0.25,\n"
                     "                  exclude_from_weight_decay: [kernel]}}\n",
                     begin, got))
        return;
    float want[PARAMETERS] = {0};
    for (int e = 0; e < PARAMETERS; e++) {
        bool kernel = e >= 16; /* the bias was made last, so it lies first */
        double w = (double)begin[e];
        for (int t = 1; t <= STEPS && begin[e] != 0; t++) {
            double g = (double)gradient_of(e, t);
            if (kernel)
                w -= 0.1 * (g + 0.6 * w + (w > 0 ? 0.1 : -0.1));
            else
                w = w - 0.1 * 0.25 * w - 0.1 * g;
        }
        want[e] = (float)w;
    }
    CHECK_CLOSE(got, want, PARAMETERS, 3e-7, 3e-7);
}

/* clipnorm holds each variable's gradient, global_clipnorm all of them. */
static void check_norms(const char *key, bool global) {
    char yaml[256];
    float begin[PARAMETERS], got[PARAMETERS], want[PARAMETERS] = {0};
    snprintf(yaml, sizeof yaml,
             "model:\n  - dense: 2\noptimizer: {sgd: {learning_rate: 0.1, %s: 0.3}}\n", key);
    if (!run_updates(yaml, begin, got))
        return;
    for (int e = 0; e < PARAMETERS; e++)
        want[e] = begin[e];
    for (int t = 1; t <= STEPS; t++) {
        double squares[2] = {0};
        for (int e = 0; e < PARAMETERS; e++)
            if (begin[e] != 0)
                squares[global ? 0 : e >= 16] += pow((double)gradient_of(e, t), 2);
        for (int e = 0; e < PARAMETERS; e++) {
            double norm = sqrt(squares[global ? 0 : e >= 16]);
            if (begin[e] != 0)
                want[e] -= (float)(0.1 * (double)gradient_of(e, t) * 0.3 / fmax(norm, 0.3));
        }
    }
    CHECK_CLOSE(got, want, PARAMETERS, 3e-7, 3e-7);
}

static void test_norms(void) {
    check_norms("clipnorm", false);
    check_norms("global_clipnorm", true);
}

static void check_schedule(const char *schedule, const int64_t *steps, const double *want,
                           int count) {
    static const dl_field field = FLOATS("x", INPUTS);
    char yaml[512];
    model m;
    snprintf(yaml, sizeof yaml,
             "model:\n  - dense: 2\noptimizer: {sgd: {learning_rate: 0.5, schedule: %s}}\n",
             schedule);
    if (CHECK_OK(model_try(&m, yaml, &field, 1, NULL))) {
        dl_network_set_steps_per_epoch(m.network, 10);
        for (int i = 0; i < count; i++) {
            double got = dl_network_learning_rate(m.network, steps[i], 100, 0.5);
            CHECK_CLOSE_DOUBLE(&got, &want[i], 1, 1e-12, 0);
        }
    }
    model_close(&m);
}

static void test_schedules(void) {
    const int64_t steps[] = {0, 10, 11, 50, 100};
    check_schedule("constant", steps, (double[]){0.5, 0.5, 0.5, 0.5, 0.5}, 5);
    check_schedule(
        "{piecewise_constant_decay: {boundaries: [10 steps, 5 epochs], factors: [1, 0.1, 0.01]}}",
        steps, (double[]){0.5, 0.5, 0.05, 0.05, 0.005}, 5);
    check_schedule("{exponential_decay: {decay_rate: 0.5, decay_steps: 1 epoch}}", steps,
                   (double[]){0.5, 0.25, 0.5 * pow(0.5, 1.1), 0.5 / 32, 0.5 / 1024}, 5);
    check_schedule("{exponential_decay: {decay_rate: 0.5, decay_steps: 10 steps, staircase: true}}",
                   steps, (double[]){0.5, 0.25, 0.25, 0.5 / 32, 0.5 / 1024}, 5);
    check_schedule("{inverse_time_decay: {decay_rate: 1, decay_steps: 10 steps}}", steps,
                   (double[]){0.5, 0.25, 0.5 / 2.1, 0.5 / 6, 0.5 / 11}, 5);
    check_schedule("{polynomial_decay: {power: 2, end_learning_rate: 0.1}}", steps,
                   (double[]){0.5, 0.4 * 0.81 + 0.1, 0.4 * 0.89 * 0.89 + 0.1, 0.2, 0.1}, 5);
    check_schedule("{cosine_decay: 0.2}", steps,
                   (double[]){0.5, 0.5 * (0.4 * (1 + cos(0.1 * M_PI)) + 0.2),
                              0.5 * (0.4 * (1 + cos(0.11 * M_PI)) + 0.2), 0.3, 0.1},
                   5);
    check_schedule("{cosine_decay, warmup: 20 steps, warmup_from: 0.1}", steps,
                   (double[]){0.05, 0.5 * 0.55, 0.5 * (0.1 + 0.9 * 11 / 20),
                              0.25 * (1 + cos(30.0 / 80 * M_PI)), 0},
                   5);
}

/* Keras 2.4 counts: patience epochs without a better value. */
static void test_callbacks(void) {
    static const dl_field field = FLOATS("x", INPUTS);
    model m;
    if (CHECK_OK(model_try(&m,
                           "model:\n  - dense: 2\n"
                           "callbacks:\n"
                           "  - early_stopping: {monitor: loss, patience: 2, min_delta: 0.1}\n"
                           "  - reduce_lr_on_plateau: {patience: 2, factor: 0.5, cooldown: 2, "
                           "min_lr: 0.2}\n",
                           &field, 1, NULL))) {
        const dl_node *list = dl_get(dl_job_root(m.job), "callbacks");
        const double losses[] = {1, 0.95, 0.8, 0.75, 0.72}; /* better, no, better, no, no: stop */
        dl_callback_state state = {0};
        bool best;
        for (int epoch = 0; epoch < 5; epoch++) {
            bool stop = dl_early_stopping(dl_at(list, 0), &state, epoch, losses[epoch], &best);
            CU_ASSERT_EQUAL(stop, epoch == 4);
            CU_ASSERT_EQUAL(best, epoch == 0 || epoch == 2);
        }
        CU_ASSERT_EQUAL(state.best_epoch, 2);
        /* Two bad epochs halve the rate; two epochs of cooldown, then two more. */
        const double rates[] = {1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2};
        double rate = 1;
        memset(&state, 0, sizeof state);
        for (int epoch = 0; epoch < 10; epoch++) {
            rate = dl_reduce_on_plateau(dl_at(list, 1), &state, epoch, 1.0, rate);
            CHECK_CLOSE_DOUBLE(&rate, &rates[epoch], 1, 0, 0);
        }
    }
    model_close(&m);
}

void suite_optimizers(void) {
    CU_pSuite suite = CU_add_suite("optimizers", NULL, NULL);
    CU_add_test(suite, "formulas in double precision", test_formulas);
    CU_add_test(suite, "penalties and decay by segment", test_segments);
    CU_add_test(suite, "clipping by norm", test_norms);
    CU_add_test(suite, "schedules", test_schedules);
    CU_add_test(suite, "callbacks", test_callbacks);
}
