/* Learning-rate schedules by Keras's names: functions of the step on the host, whose value is an
 * input of the step program. A warm-up raises the rate in a straight line from warmup_from (a share
 * of the base rate) before the schedule begins, as Keras 3's cosine_decay does. */
#include <math.h>
#include <string.h>

#include "models/expression.h"
#include "models/keys.h"
#include "models/optimizers.h"

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

typedef struct schedule_call {
    const dl_node *args;
    double step, decay_steps; /* since the warm-up; decay_steps at least 1 */
    double steps_per_epoch, base;
    const dl_expr *factor;
} schedule_call;

typedef double (*rate_fn)(const schedule_call *call);
typedef struct schedule_row {
    rate_fn rate;
} schedule_row;

static double in_steps(const dl_node *quantity, double steps_per_epoch) {
    bool epochs = quantity->unit && strncmp(quantity->unit, "epoch", 5) == 0;
    return quantity->number * (epochs ? steps_per_epoch : 1);
}

static double constant(const schedule_call *call) {
    return call->base;
}

static double piecewise(const schedule_call *call) {
    const dl_node *boundaries = dl_get(call->args, "boundaries");
    const dl_node *factors = dl_get(call->args, "factors");
    int i = 0;
    while (i < boundaries->count &&
           call->step > in_steps(dl_at(boundaries, i), call->steps_per_epoch))
        i++;
    return call->base * dl_at(factors, i < factors->count ? i : factors->count - 1)->number;
}

static double periods(const schedule_call *call) {
    double periods = call->step / call->decay_steps;
    return dl_bool(call->args, "staircase") ? floor(periods) : periods;
}

static double exponential(const schedule_call *call) {
    return call->base * pow(dl_number(call->args, "decay_rate"), periods(call));
}

static double inverse_time(const schedule_call *call) {
    return call->base / (1 + dl_number(call->args, "decay_rate") * periods(call));
}

static double polynomial(const schedule_call *call) {
    double end = dl_number(call->args, "end_learning_rate");
    double left = 1 - fmin(call->step, call->decay_steps) / call->decay_steps;
    return (call->base - end) * pow(left, dl_number(call->args, "power")) + end;
}

static double cosine(const schedule_call *call) {
    double alpha = dl_number(call->args, "alpha");
    double done = fmin(call->step, call->decay_steps) / call->decay_steps;
    return call->base * ((1 - alpha) * 0.5 * (1 + cos(M_PI * done)) + alpha);
}

/* The names of a factor of the job's own, in this order. */
static const char *const factor_names[] = {"step", "epoch", "steps"};

static double expression(const schedule_call *call) {
    double inputs[] = {call->step, floor(call->step / call->steps_per_epoch), call->decay_steps};
    return call->base * dl_expr_value(call->factor, inputs);
}

#define DECAY_STEPS \
    { "decay_steps", "quantity steps|epochs", "", "length; to the end of training otherwise" }
static const dl_key piecewise_keys[] = {
    {"boundaries", "list of quantity steps|epochs", NULL, "last step of each piece but the last"},
    {"factors", "list of number", NULL, "share of the learning rate in each piece, one more"}};
static const dl_key rate_keys[] = {
    {"decay_rate", "number 0..", NULL, "factor in decay_steps"},
    DECAY_STEPS,
    {"staircase", "bool", "false", "in whole periods of decay_steps"}};
static const dl_key polynomial_keys[] = {
    {"power", "number 0..", "1", "power of the share of steps left"},
    {"end_learning_rate", "number 0..", "0.0001", "rate at the end"},
    DECAY_STEPS};
static const dl_key cosine_keys[] = {{"alpha", "number 0..1", "0", "share of the rate at the end"},
                                     DECAY_STEPS};
static const dl_key expr_keys[] = {
    {"expr", "expr", NULL,
     "factor of the learning rate over step and epoch, both from 0 (after the warm-up), steps (of "
     "the training) and constants; for example \"0.5 ** (epoch / 10)\""}};

#define SCHEDULE_LIST(X)                                                                  \
    X(constant, NULL, DL_NO_KEYS, constant, "the learning rate as it is")                 \
    X(piecewise_constant_decay, NULL, DL_KEYS(piecewise_keys), piecewise,                 \
      "a share of the rate between boundaries")                                           \
    X(exponential_decay, NULL, DL_KEYS(rate_keys), exponential,                           \
      "rate * decay_rate ^ (step / decay_steps)")                                         \
    X(inverse_time_decay, NULL, DL_KEYS(rate_keys), inverse_time,                         \
      "rate / (1 + decay_rate * step / decay_steps)")                                     \
    X(polynomial_decay, NULL, DL_KEYS(polynomial_keys), polynomial,                       \
      "to end_learning_rate with a power of the steps left")                              \
    X(cosine_decay, "alpha", DL_KEYS(cosine_keys), cosine, "half a cosine down to alpha") \
    X(expr, "expr", DL_KEYS(expr_keys), expression, "the learning rate times a factor of your own")

#define X(word, main, keys, function, help) static const schedule_row word##_row = {function};
SCHEDULE_LIST(X)
#undef X
static const dl_word words[] = {
#define X(word, main, keys, function, help) {#word, main, keys, help, &word##_row},
    SCHEDULE_LIST(X)
#undef X
};
static const dl_key siblings[] = {
    {"warmup", "quantity steps|epochs", "",
     "straight rise to the learning rate before the schedule"},
    {"warmup_from", "number 0..1", "0", "share of the learning rate that the rise begins with"}};

const dl_family dl_schedule_family = {"schedule", "schedules", words,
                                      (int)(sizeof words / sizeof words[0]), DL_KEYS(siblings)};

dl_status dl_schedule_open(dl_schedule *schedule, dl_arena *arena, const dl_node *item,
                           const dl_node *constants) {
    *schedule = (dl_schedule){.item = item};
    if (!item || item->word->impl != &expr_row)
        return DL_OK;
    return dl_expression_number(arena, dl_get(item, "expr"), "the schedule", factor_names,
                                DL_COUNT(factor_names), constants, NULL, &schedule->factor);
}

double dl_schedule_rate(const dl_schedule *schedule, int64_t step, int64_t total_steps,
                        int64_t steps_per_epoch, double base) {
    const dl_node *item = schedule->item;
    if (!item)
        return base;
    const dl_node *warmup = dl_given(item, "warmup");
    double rise = warmup ? in_steps(warmup, (double)steps_per_epoch) : 0;
    if ((double)step < rise) {
        double from = dl_number(item, "warmup_from");
        return base * (from + (1 - from) * (double)step / rise);
    }
    schedule_call call = {.args = item,
                          .step = (double)step - rise,
                          .steps_per_epoch = (double)steps_per_epoch,
                          .base = base,
                          .factor = schedule->factor};
    const dl_node *length = dl_get(item, "decay_steps") ? dl_given(item, "decay_steps") : NULL;
    call.decay_steps =
        length ? in_steps(length, (double)steps_per_epoch) : (double)total_steps - rise;
    call.decay_steps = fmax(call.decay_steps, 1);
    return ((const schedule_row *)item->word->impl)->rate(&call);
}
