/* The functions of expressions that are not elementwise: a row each, and the losses with two
 * arguments, (target, prediction), as Keras calls them. See expression.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/compare.h"
#include "models/expression.h"
#include "models/keys.h"
#include "ops/ops.h"

typedef struct call {
    dl_expression *expression;
    dl_graph *graph;
    const char *word;
    const dl_expr *const *argument;
    dl_value x; /* the first argument's value */
    dl_type type;
} call;

typedef dl_status (*word_fn)(call *c, dl_value *out);

/* Over all but samples, or over all of a tensor. */
static dl_status reduce(call *c, dl_reduction kind, dl_value *out) {
    uint32_t all = (1u << c->type.rank) - 1,
             axes = c->expression->names->kind == DL_OVER_TENSOR ? all : all & ~1u;
    *out = axes ? dl_reduce(c->graph, c->x, kind, axes, false) : c->x;
    return DL_OK;
}

static dl_status mean(call *c, dl_value *out) {
    return reduce(c, DL_REDUCE_MEAN, out);
}

static dl_status sum(call *c, dl_value *out) {
    return reduce(c, DL_REDUCE_SUM, out);
}

/* A number that is known now, whole, within a range. */
static dl_status whole(const call *c, const dl_expr *argument, int64_t least, int64_t most,
                       int64_t *out) {
    char shape[DL_SHAPE_TEXT];
    bool number = argument->kind == DL_EXPR_CONST && argument->value == floorf(argument->value);
    if (!number || !(argument->value >= (float)least && argument->value <= (float)most))
        return dl_fail(DL_BAD_JOB,
                       "the second argument of %s on %s is a whole number from %lld "
                       "to %lld",
                       c->word, dl_shape_text(&c->type, true, shape), (long long)least,
                       (long long)most);
    *out = (int64_t)argument->value;
    return DL_OK;
}

static dl_status cut(call *c, const int64_t *begin, const int64_t *size, dl_value *out) {
    *out = dl_slice(c->graph, c->x, begin, size);
    return DL_OK;
}

/* Channel k; the axis stays, as one. */
static dl_status channel(call *c, dl_value *out) {
    int64_t begin[DL_MAX_RANK] = {0}, size[DL_MAX_RANK];
    int last = c->type.rank - 1;
    if (last < 1)
        return dl_fail(DL_BAD_JOB, "channel needs channels, not one number a sample");
    memcpy(size, c->type.dim, sizeof size);
    DL_TRY(whole(c, c->argument[1], 0, size[last] - 1, &begin[last]));
    size[last] = 1;
    return cut(c, begin, size, out);
}

static dl_status spatial(const call *c, int least, const char *what) {
    char shape[DL_SHAPE_TEXT];
    if (c->type.rank - 2 >= least)
        return DL_OK;
    return dl_fail(DL_BAD_JOB, "%s needs %s, not %s", c->word, what,
                   dl_shape_text(&c->type, true, shape));
}

/* Without so many cells on each side of each spatial axis. */
static dl_status crop(call *c, dl_value *out) {
    int64_t begin[DL_MAX_RANK] = {0}, size[DL_MAX_RANK], most = INT64_MAX, border = 0;
    DL_TRY(spatial(c, 1, "a spatial axis"));
    memcpy(size, c->type.dim, sizeof size);
    for (int i = 1; i < c->type.rank - 1; i++)
        most = (size[i] - 1) / 2 < most ? (size[i] - 1) / 2 : most;
    DL_TRY(whole(c, c->argument[1], 0, most, &border));
    for (int i = 1; i < c->type.rank - 1; i++) {
        begin[i] = border;
        size[i] -= 2 * border;
    }
    return cut(c, begin, size, out);
}

/* The next cell less this one, along a spatial axis; both are one shorter, so that dx and dy of an
 * image have one shape. */
static dl_status difference(call *c, int along, dl_value *out) {
    DL_TRY(spatial(c, 2, "rows and columns"));
    int64_t begin[DL_MAX_RANK] = {0}, size[DL_MAX_RANK];
    memcpy(size, c->type.dim, sizeof size);
    if (size[1] < 2 || size[2] < 2)
        return dl_fail(DL_BAD_JOB, "%s needs at least 2 rows and 2 columns", c->word);
    size[1]--;
    size[2]--;
    dl_value here = dl_slice(c->graph, c->x, begin, size);
    begin[along] = 1;
    dl_value pair[] = {dl_slice(c->graph, c->x, begin, size), here};
    *out = dl_map(c->graph, "x0 - x1", pair, 2);
    return DL_OK;
}

static dl_status dy(call *c, dl_value *out) {
    return difference(c, 1, out);
}

static dl_status dx(call *c, dl_value *out) {
    return difference(c, 2, out);
}

/* How much channels go together: [n, c, c], sums over all cells of the products of two channels
 * (Gatys et al. 2015). */
static dl_status gram(call *c, dl_value *out) {
    int64_t channels = c->type.dim[c->type.rank - 1], samples = c->type.dim[0];
    DL_TRY(spatial(c, 1, "channels of several cells"));
    dl_type flat = DL_TYPE(DL_F32, samples, dl_type_count(&c->type) / samples / channels, channels);
    dl_value x = dl_reshape(c->graph, c->x, flat);
    *out = dl_sample_matmul(c->graph, x, true, x, false);
    return DL_OK;
}

/* word, arguments, function, also over a tensor */
#define WORD_LIST(X)              \
    X(mean, 1, mean, true)        \
    X(sum, 1, sum, true)          \
    X(channel, 2, channel, false) \
    X(crop, 2, crop, false)       \
    X(dx, 1, dx, false)           \
    X(dy, 1, dy, false)           \
    X(gram, 1, gram, false)       \
    X(size, 1, NULL, false)

static const struct {
    const char *name;
    int arity;
    word_fn function; /* NULL: size, which is a number */
    bool tensor;
} words[] = {
#define X(word, arity, function, tensor) {#word, arity, function, tensor},
    WORD_LIST(X)
#undef X
};

bool dl_expression_functions(dl_expression *e) {
    bool tensor = e->names->kind == DL_OVER_TENSOR;
    if (e->names->kind == DL_ELEMENTWISE)
        return true;
    int losses = tensor ? 0 : dl_loss_family.word_count, count = 0;
    dl_expr_function *made = DL_NEW_N(&e->graph->arena, dl_expr_function, DL_COUNT(words) + losses);
    if (!made)
        return false;
    for (int i = 0; i < DL_COUNT(words) && (!tensor || words[i].tensor); i++)
        made[count++] = (dl_expr_function){words[i].name, words[i].arity};
    for (int i = 0; i < losses && strcmp(dl_loss_family.words[i].name, "expr") != 0; i++)
        made[count++] = (dl_expr_function){dl_loss_family.words[i].name, 2};
    e->scope.functions = made;
    e->scope.function_count = count;
    return true;
}

/* The loss as an item with its defaults, which are plain numbers and words. */
static const dl_node *default_item(dl_arena *arena, const dl_word *word) {
    dl_node *item = DL_NEW(arena, dl_node), *args = DL_NEW(arena, dl_node);
    dl_node *key = DL_NEW_N(arena, dl_node, word->key_count + 1);
    if (!item || !args || !key)
        return NULL;
    for (int i = 0; i < word->key_count; i++) {
        const char *text = word->keys[i].value;
        key[i] = (dl_node){.kind = text && *text ? DL_NODE_SCALAR : DL_NODE_ABSENT,
                           .key = word->keys[i].name,
                           .text = text,
                           .next = i + 1 < word->key_count ? &key[i + 1] : NULL};
        if (key[i].kind == DL_NODE_SCALAR)
            key[i].number = strcmp(text, "true") == 0 ? 1 : strtod(text, NULL);
    }
    *args = (dl_node){.kind = DL_NODE_MAP, .first = key, .count = word->key_count};
    *item = (dl_node){.kind = DL_NODE_ITEM, .text = word->name, .word = word, .args = args};
    return item;
}

/* loss(target, prediction): one number a sample. */
static dl_status loss(call *c, const dl_word *word, dl_value *out) {
    dl_expression *e = c->expression;
    const dl_expr *target = c->argument[0], *prediction = c->argument[1];
    dl_compare compare = {.graph = c->graph,
                          .node = default_item(&c->graph->arena, word),
                          .word = word->name,
                          .output_name = "the prediction",
                          .target_name = "the target",
                          .logits = {DL_SQUASH_NONE, -1},
                          .probabilities = -1,
                          .target = -1};
    if (!compare.node)
        return dl_fail_memory(sizeof(dl_node));
    DL_TRY(dl_expression_value(e, prediction, &compare.prediction));
    if (prediction->kind == DL_EXPR_INPUT) {
        const dl_operand *operand = &e->input[prediction->input];
        compare.logits = operand->logits;
        compare.output_name = operand->name;
        compare.output_node = operand->node;
    }
    if (target->kind == DL_EXPR_CONST) {
        compare.target_number = target->value;
    } else {
        DL_TRY(dl_expression_value(e, target, &compare.target));
        if (target->kind == DL_EXPR_INPUT) {
            const dl_operand *operand = &e->input[target->input];
            compare.target = operand->raw >= 0 ? operand->raw : operand->value;
            compare.target_name = operand->name;
            compare.classes = operand->classes;
        }
    }
    if (dl_type_of(c->graph, compare.prediction)->rank == 1) /* one number a sample is one output */
        compare.prediction =
            dl_reshape(c->graph, compare.prediction,
                       DL_TYPE(DL_F32, dl_type_of(c->graph, compare.prediction)->dim[0], 1));
    *out = dl_compare_samples(&compare, word->impl);
    return DL_OK;
}

dl_status dl_expression_call(void *argument, int function, const dl_expr *const *arguments,
                             const dl_expr **out) {
    dl_expression *e = argument;
    dl_operand made = {.value = -1, .raw = -1, .logits = {DL_SQUASH_NONE, -1}};
    call c = {.expression = e, .graph = e->graph, .argument = arguments};
    made.name = c.word = e->scope.functions[function].name;
    int own = 0;
    while (own < DL_COUNT(words) && strcmp(words[own].name, c.word) != 0)
        own++;
    if (own == DL_COUNT(words)) {
        DL_TRY(loss(&c, &dl_loss_family.words[function - own], &made.value));
        return dl_expression_input(e, &made, out);
    }
    DL_TRY(dl_expression_value(e, arguments[0], &c.x));
    c.type = *dl_type_of(e->graph, c.x);
    if (!words[own].function) { /* elements of a sample */
        *out = dl_expr_const(e->graph->exprs, (float)(dl_type_count(&c.type) / c.type.dim[0]));
        return *out ? DL_OK : dl_fail_memory(sizeof(dl_expr));
    }
    DL_TRY(words[own].function(&c, &made.value));
    return dl_expression_input(e, &made, out);
}
