/* The words l1, l2 and l1_l2. The penalty counts in the logged loss of training and evaluation as
 * in Keras 2; its gradient, l1 sign(w) + 2 l2 w, is added in the update (optimizers.c). */
#include "models/regularizers.h"

#include "models/keys.h"
#include "runtime/base/memory.h"

static const dl_key l1_keys[] = {{"l1", "number 0..", "0.01", "factor of the sum of |w|"}};
static const dl_key l2_keys[] = {{"l2", "number 0..", "0.01", "factor of the sum of w^2"}};
static const dl_key l1_l2_keys[] = {{"l1", "number 0..", "0.01", "factor of the sum of |w|"},
                                    {"l2", "number 0..", "0.01", "factor of the sum of w^2"}};

static const dl_word words[] = {
    {"l1", "l1", DL_KEYS(l1_keys), "l1 times the sum of absolute weights", NULL},
    {"l2", "l2", DL_KEYS(l2_keys), "l2 times the sum of squared weights", NULL},
    {"l1_l2", NULL, DL_KEYS(l1_l2_keys), "both", NULL},
};

const dl_family dl_regularizer_family = {"regularizer",   "regularizers", words,
                                         DL_COUNT(words), NULL,           0};

dl_penalty dl_penalty_of(const dl_node *item) {
    dl_penalty penalty = {0, 0};
    if (!item || item->kind == DL_NODE_ABSENT)
        return penalty;
    if (dl_get(item, "l1"))
        penalty.l1 = dl_number(item, "l1");
    if (dl_get(item, "l2"))
        penalty.l2 = dl_number(item, "l2");
    return penalty;
}
