/* Optimizers by Keras's names, as formulas. Formulas and defaults are those of Keras 2.4 (for adamw
 * and weight_decay, of Keras 2.11, where they came in): epsilon stands outside the root, except in
 * rmsprop with momentum, where Keras's kernel has it inside. See optimizers.h; update.c appends
 * them to a step. What decays is flushed: where gradients are 0 for long, as with pixels that are
 * seldom white, it would become denormal and stay so, and the update of mnist-mlp take three times
 * as long. */
#include "models/optimizers.h"

#include "models/keys.h"

static const dl_update_form sgd_plain = {.lines = {"w = w - learning_rate * g"}};
static const dl_update_form sgd_momentum = {
    .slots = {"velocity"},
    .lines = {"velocity = flush(momentum * velocity - learning_rate * g)", "w = w + velocity"}};
static const dl_update_form sgd_nesterov = {
    .slots = {"velocity"},
    .lines = {"velocity = flush(momentum * velocity - learning_rate * g)",
              "w = w + momentum * velocity - learning_rate * g"}};

static const dl_update_form *sgd(const dl_node *args) {
    if (dl_number(args, "momentum") == 0)
        return &sgd_plain;
    return dl_bool(args, "nesterov") ? &sgd_nesterov : &sgd_momentum;
}

#define SQUARES "squares = flush(rho * squares + (1 - rho) * g * g)"
#define MEAN    "mean = flush(rho * mean + (1 - rho) * g)"
static const dl_update_form rmsprop_plain = {
    .slots = {"squares"},
    .lines = {SQUARES, "w = w - learning_rate * g / (sqrt(squares) + epsilon)"}};
static const dl_update_form rmsprop_centered = {
    .slots = {"squares", "mean"},
    .lines = {SQUARES, MEAN,
              "w = w - learning_rate * g / (sqrt(squares - mean * mean) + epsilon)"}};
static const dl_update_form rmsprop_momentum = {
    .slots = {"squares", "velocity"},
    .lines = {SQUARES,
              "velocity = flush(momentum * velocity + learning_rate * g / sqrt(squares + epsilon))",
              "w = w - velocity"}};
static const dl_update_form rmsprop_momentum_centered = {
    .slots = {"squares", "velocity", "mean"},
    .lines = {
        SQUARES, MEAN,
        "velocity = flush(momentum * velocity + learning_rate * g / sqrt(squares - mean * mean + "
        "epsilon))",
        "w = w - velocity"}};

static const dl_update_form *rmsprop(const dl_node *args) {
    bool centered = dl_bool(args, "centered");
    if (dl_number(args, "momentum") == 0)
        return centered ? &rmsprop_centered : &rmsprop_plain;
    return centered ? &rmsprop_momentum_centered : &rmsprop_momentum;
}

/* Duchi et al. 2011 */
static const dl_update_form adagrad_form = {
    .slots = {"squares"},
    .initial = "initial_accumulator_value",
    .lines = {"squares = squares + g * g",
              "w = w - learning_rate * g / (sqrt(squares) + epsilon)"}};

static const dl_update_form *adagrad(const dl_node *args) {
    (void)args;
    return &adagrad_form;
}

/* Zeiler 2012 */
static const dl_update_form adadelta_form = {
    .slots = {"squares", "updates"},
    .lines = {SQUARES, "update = sqrt(updates + epsilon) / sqrt(squares + epsilon) * g",
              "updates = flush(rho * updates + (1 - rho) * update * update)",
              "w = w - learning_rate * update"}};

static const dl_update_form *adadelta(const dl_node *args) {
    (void)args;
    return &adadelta_form;
}

/* Kingma and Ba 2015, in the form before section 2.1. */
#define RATE_NOW "rate = learning_rate * sqrt(1 - beta_2 ** step) / (1 - beta_1 ** step)"
#define MOMENTS \
    "m = flush(beta_1 * m + (1 - beta_1) * g)", "v = flush(beta_2 * v + (1 - beta_2) * g * g)"
static const dl_update_form adam_plain = {
    .slots = {"m", "v"},
    .scalars = {RATE_NOW},
    .made = {"rate"},
    .lines = {MOMENTS, "w = w - rate * m / (sqrt(v) + epsilon)"}};
static const dl_update_form adam_greatest = {
    .slots = {"m", "v", "greatest"},
    .scalars = {RATE_NOW},
    .made = {"rate"},
    .lines = {MOMENTS, "greatest = max(greatest, v)",
              "w = w - rate * m / (sqrt(greatest) + epsilon)"}};

static const dl_update_form *adam(const dl_node *args) {
    return dl_bool(args, "amsgrad") ? &adam_greatest : &adam_plain;
}

/* Dozat 2016, with Keras's schedule of the momentum, whose product so far is the one loose scalar.
 */
static const dl_update_form nadam_form = {
    .slots = {"m", "v"},
    .state = {"momenta"},
    .scalars = {"now = beta_1 * (1 - 0.5 * 0.96 ** (schedule_decay * step))",
                "next = beta_1 * (1 - 0.5 * 0.96 ** (schedule_decay * (step + 1)))",
                "momenta = momenta * now", "of_g = (1 - now) / (1 - momenta)",
                "of_m = next / (1 - momenta * next)", "of_v = 1 / (1 - beta_2 ** step)"},
    .made = {"of_g", "of_m", "of_v"},
    .lines = {MOMENTS,
              "w = w - learning_rate * (of_g * g + of_m * m) / (sqrt(of_v * v) + epsilon)"}};

static const dl_update_form *nadam(const dl_node *args) {
    (void)args;
    return &nadam_form;
}

#define RATE(value) \
    { "learning_rate", "number 0..", value, "step size" }
#define COMMON(decay)                                                                              \
    {"schedule", "item schedule", "", "how the learning rate changes"},                            \
        {"clipvalue", "number 0..", "", "each gradient element is held to -clipvalue..clipvalue"}, \
        {"clipnorm", "number 0..", "",                                                             \
         "the gradient of each variable is scaled to at most this norm"},                          \
        {"global_clipnorm", "number 0..", "",                                                      \
         "all gradients together are scaled to at most this norm"},                                \
        {"weight_decay", "number 0..", decay,                                                      \
         "w loses learning_rate * weight_decay * w in a step"},                                    \
    {                                                                                              \
        "exclude_from_weight_decay", "list of pattern", "", "weights or layers that do not decay"  \
    }
#define EPSILON \
    { "epsilon", "number 0..", "1e-7", "keeps the denominator from 0" }
#define RHO(v) \
    { "rho", "number 0..1", v, "share that the average of squares keeps" }
#define BETAS                                                                     \
    {"beta_1", "number 0..1", "0.9", "share that the mean of gradients keeps"}, { \
        "beta_2", "number 0..1", "0.999", "share that the mean of squares keeps"  \
    }
#define AMSGRAD \
    { "amsgrad", "bool", "false", "divides by the greatest mean of squares so far" }

static const dl_key sgd_keys[] = {RATE("0.01"),
                                  {"momentum", "number 0..1", "0", "share of the velocity kept"},
                                  {"nesterov", "bool", "false", "looks ahead along the velocity"},
                                  COMMON("")};
static const dl_key rmsprop_keys[] = {
    RATE("0.001"),
    RHO("0.9"),
    {"momentum", "number 0..1", "0", "share of the velocity kept"},
    EPSILON,
    {"centered", "bool", "false", "divides by the deviation, not the mean square"},
    COMMON("")};
static const dl_key adagrad_keys[] = {
    RATE("0.001"),
    {"initial_accumulator_value", "number 0..", "0.1", "first sum of squares"},
    EPSILON,
    COMMON("")};
static const dl_key adadelta_keys[] = {RATE("0.001"), RHO("0.95"), EPSILON, COMMON("")};
static const dl_key adam_keys[] = {RATE("0.001"), BETAS, EPSILON, AMSGRAD, COMMON("")};
static const dl_key adamw_keys[] = {RATE("0.001"), BETAS, EPSILON, AMSGRAD, COMMON("0.004")};
static const dl_key nadam_keys[] = {
    RATE("0.001"),
    BETAS,
    EPSILON,
    {"schedule_decay", "number 0..", "0.004", "how fast the momentum warms up"},
    COMMON("")};

static const dl_key expr_keys[] = {
    RATE("0.01"),
    {"update", "expr", NULL,
     "the next w, over w, g, learning_rate, step (from 1), constants and the state, with mean and "
     "sum over the tensor; for example \"w + velocity\""},
    {"state", "map of expr", "{}",
     "what lives on, zeros at first: in order, the next value of each, before update; for example "
     "{velocity: \"0.9 * velocity - learning_rate * g\"}"},
    COMMON("")};

static const dl_update_form expression_form = {.expression = NULL}; /* dl_optimizer_form */
static const dl_update_form *expression(const dl_node *args) {
    (void)args;
    return &expression_form;
}

typedef struct optimizer {
    const dl_update_form *(*form)(const dl_node *args);
} optimizer;

#define OPTIMIZER_LIST(X)                                                                   \
    X(sgd, sgd, "gradient descent, with momentum if asked")                                 \
    X(rmsprop, rmsprop, "gradient over the root of its mean square (Hinton)")               \
    X(adagrad, adagrad, "gradient over the root of its sum of squares (Duchi et al. 2011)") \
    X(adadelta, adadelta, "rmsprop with a step size of its own (Zeiler 2012)")              \
    X(adam, adam, "mean over root mean square of gradients (Kingma and Ba 2015)")           \
    X(adamw, adam, "adam with weight decay (Loshchilov and Hutter 2019)")                   \
    X(nadam, nadam, "adam with Nesterov's momentum (Dozat 2016)")

#define X(word, form, help) static const optimizer word##_row = {form};
OPTIMIZER_LIST(X)
#undef X
static const optimizer expr_row = {expression};
static const dl_word words[] = {
#define X(word, form, help) {#word, "learning_rate", DL_KEYS(word##_keys), help, &word##_row},
    OPTIMIZER_LIST(X)
#undef X
        {"expr", "update", DL_KEYS(expr_keys), "an update of your own", &expr_row},
};

const dl_family dl_optimizer_family = {
    "optimizer", "optimizers", words, (int)(sizeof words / sizeof words[0]), NULL, 0};

dl_update_form dl_optimizer_form(const dl_node *item) {
    dl_update_form form = *((const optimizer *)item->word->impl)->form(item);
    if (item->word->impl != &expr_row)
        return form;
    int slots = 0;
    form.expression = item;
    for (DL_EACH(state, dl_given(item, "state")))
        if (slots < DL_OPTIMIZER_SLOTS)
            form.slots[slots++] = state->key;
    return form;
}

static int length(const char *const *list) {
    int count = 0;
    while (list[count])
        count++;
    return count;
}

int dl_update_slots(const dl_update_form *form) {
    return length(form->slots);
}

int dl_update_states(const dl_update_form *form) {
    return length(form->state);
}
