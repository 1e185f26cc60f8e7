/* early_stopping and reduce_lr_on_plateau, as Keras 2.4 counts. See callbacks.h. */
#include "models/callbacks.h"

#include <math.h>
#include <string.h>

#include "models/expression.h"
#include "models/keys.h"

const char dl_early_stopping_row[] = "early_stopping";
const char dl_reduce_on_plateau_row[] = "reduce_lr_on_plateau";
const char dl_stop_when_row[] = "stop_when";

static const dl_key stopping_keys[] = {
    {"monitor", "text", "val_loss", "logged value that is watched"},
    {"min_delta", "number 0..", "0", "least change that counts as better"},
    {"patience", "int 0..", "0", "epochs without a better value before it stops"},
    {"mode", "word auto|min|max", "auto", "whether less or more is better"},
    {"baseline", "number", "", "value that must be beaten"},
    {"restore_best_weights", "bool", "false", "goes on with the weights of the best epoch"}};
static const dl_key plateau_keys[] = {
    {"monitor", "text", "val_loss", "logged value that is watched"},
    {"factor", "number 0..1", "0.1", "the learning rate is multiplied by it"},
    {"patience", "int 0..", "10", "epochs without a better value before it acts"},
    {"mode", "word auto|min|max", "auto", "whether less or more is better"},
    {"min_delta", "number 0..", "0.0001", "least change that counts as better"},
    {"cooldown", "int 0..", "0", "epochs after a reduction that do not count"},
    {"min_lr", "number 0..", "0", "the learning rate does not fall below it"}};

static const dl_key stop_keys[] = {
    {"expr", "expr", NULL,
     "over what an epoch logs, epoch (finished ones), step and constants; training ends where it "
     "holds; for example \"val_loss < 0.1 or epoch >= 20\""}};

static const dl_word words[] = {
    {"early_stopping", NULL, DL_KEYS(stopping_keys), "stops when a value gets no better",
     dl_early_stopping_row},
    {"reduce_lr_on_plateau", NULL, DL_KEYS(plateau_keys),
     "lowers the learning rate when a value gets no better", dl_reduce_on_plateau_row},
    {"stop_when", "expr", DL_KEYS(stop_keys),
     "stops at the end of an epoch where a condition holds", dl_stop_when_row},
};

const dl_family dl_callback_family = {
    "callback", "callbacks", words, (int)(sizeof words / sizeof words[0]), NULL, 0};

bool dl_callback_high(const dl_node *item) {
    if (!dl_is(item, "mode", "auto"))
        return dl_is(item, "mode", "max");
    const char *monitor = dl_text(item, "monitor");
    return strstr(monitor, "acc") != NULL || strstr(monitor, "auc") != NULL;
}

bool dl_callback_improves(const dl_node *item, const dl_callback_state *state, double value) {
    double delta = dl_number(item, "min_delta");
    double best = state->best;
    if (state->begun == 0) {
        const dl_node *baseline = dl_get(item, "baseline") ? dl_given(item, "baseline") : NULL;
        if (!baseline)
            return !isnan(value);
        best = baseline->number;
    }
    return dl_callback_high(item) ? value - delta > best : value + delta < best;
}

static void keep_best(dl_callback_state *state, int64_t epoch, double value) {
    state->best = value;
    state->best_epoch = (double)epoch;
    state->begun = 1;
}

bool dl_early_stopping(const dl_node *item, dl_callback_state *state, int64_t epoch, double value,
                       bool *best) {
    *best = dl_callback_improves(item, state, value);
    if (*best) {
        keep_best(state, epoch, value);
        state->wait = 0;
        return false;
    }
    state->wait += 1;
    return state->wait >= dl_number(item, "patience");
}

double dl_reduce_on_plateau(const dl_node *item, dl_callback_state *state, int64_t epoch,
                            double value, double rate) {
    if (state->cooldown > 0) {
        state->cooldown -= 1;
        state->wait = 0;
    }
    if (dl_callback_improves(item, state, value)) {
        keep_best(state, epoch, value);
        state->wait = 0;
        return rate;
    }
    if (state->cooldown > 0)
        return rate;
    state->wait += 1;
    double least = dl_number(item, "min_lr");
    if (state->wait < dl_number(item, "patience") || !(rate > least))
        return rate;
    state->cooldown = dl_number(item, "cooldown");
    state->wait = 0;
    return fmax(rate * dl_number(item, "factor"), least);
}

dl_status dl_stop_when(const dl_node *item, const dl_node *constants, const char *const *names,
                       const double *values, int count, bool *stop) {
    dl_arena arena = {0};
    const dl_expr *condition;
    dl_status status = dl_expression_number(&arena, dl_get(item, "expr"), "stop_when", names, count,
                                            constants, "never logged", &condition);
    if (status == DL_OK && stop)
        *stop = dl_expr_value(condition, values) != 0;
    dl_arena_free(&arena);
    return status;
}
