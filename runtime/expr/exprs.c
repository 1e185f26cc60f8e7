/* Sets of expressions: hash-consing, makers with folding that keeps bits, substitution. Nodes live
 * in the arena the set was opened on. Next: parse.c, derive.c, program.c. */
#include <string.h>

#include "runtime/expr/formulas.h"
#include "runtime/expr/internal.h"
#include "runtime/expr/math.h"

const int dl_expr_arity[DL_EXPR_KINDS] = {
#define X(name, arity, word) arity,
    DL_EXPR_LIST(X)
#undef X
};
const char *const dl_expr_word[DL_EXPR_KINDS] = {
#define X(name, arity, word) word,
    DL_EXPR_LIST(X)
#undef X
};

enum { FIRST_TABLE = 64, WHOLE_POWER = 16 };

dl_exprs *dl_exprs_open(dl_arena *arena) {
    dl_exprs *set = DL_NEW(arena, dl_exprs);
    if (!set)
        return NULL;
    set->arena = arena;
    set->table = DL_NEW_N(arena, dl_expr_node *, FIRST_TABLE);
    set->table_size = FIRST_TABLE;
    return set->table ? set : NULL;
}

float dl_expr_apply(dl_expr_kind kind, float A, float B, float C) {
    switch (kind) {
#define X(name, formula) \
    case DL_EXPR_##name: \
        return dl_m_canonical(formula);
        DL_EXPR_FORMULA_LIST(X)
#undef X
#define X(name, function) \
    case DL_EXPR_##name:  \
        return dl_m_canonical(function(A));
        DL_EXPR_ANGLE_LIST(X)
#undef X
    case DL_EXPR_CONST:
    case DL_EXPR_UNIFORM:
    case DL_EXPR_NORMAL:
    case DL_EXPR_KINDS:
        break;
    }
    return dl_m_float(DL_NAN_BITS); /* these leaves have no operation */
}

static uint32_t hash_of(const dl_expr *e) {
    uint32_t words[7] = {(uint32_t)e->kind, DL_BITS(e->value), (uint32_t)e->input, e->stream};
    for (int i = 0; i < 3; i++)
        words[4 + i] = e->operand[i] ? (uint32_t)e->operand[i]->id + 1u : 0u;
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 7; i++) {
        hash = (hash ^ words[i]) * 0x9E3779B1u;
        hash ^= hash >> 15;
    }
    return hash;
}

static bool equal(const dl_expr *a, const dl_expr *b) {
    return a->kind == b->kind && DL_BITS(a->value) == DL_BITS(b->value) && a->input == b->input &&
           a->stream == b->stream && a->operand[0] == b->operand[0] &&
           a->operand[1] == b->operand[1] && a->operand[2] == b->operand[2];
}

static bool grow(dl_exprs *set) {
    if (set->count == set->capacity) {
        int capacity = set->capacity ? 2 * set->capacity : FIRST_TABLE;
        dl_expr_node **node = DL_NEW_N(set->arena, dl_expr_node *, capacity);
        if (!node)
            return false;
        if (set->count)
            memcpy(node, set->node, sizeof *node * (size_t)set->count);
        set->node = node;
        set->capacity = capacity;
    }
    if (set->count < set->table_size)
        return true;
    int size = 2 * set->table_size;
    dl_expr_node **table = DL_NEW_N(set->arena, dl_expr_node *, size);
    if (!table)
        return false;
    for (int i = 0; i < set->count; i++) {
        dl_expr_node **place = &table[hash_of(&set->node[i]->expr) & (uint32_t)(size - 1)];
        set->node[i]->bucket = *place;
        *place = set->node[i];
    }
    set->table = table;
    set->table_size = size;
    return true;
}

/* The one node equal to `e`. */
static const dl_expr *intern(dl_exprs *set, const dl_expr *e) {
    uint32_t hash = hash_of(e);
    for (dl_expr_node *n = set->table[hash & (uint32_t)(set->table_size - 1)]; n; n = n->bucket)
        if (equal(&n->expr, e))
            return &n->expr;
    if (!grow(set))
        return NULL;
    dl_expr_node *node = DL_NEW(set->arena, dl_expr_node);
    if (!node)
        return NULL;
    node->expr = *e;
    node->expr.id = set->count;
    node->set = set;
    if (e->kind == DL_EXPR_INPUT)
        node->inputs = (uint64_t)1 << (e->input < 63 ? e->input : 63);
    node->random = e->kind == DL_EXPR_UNIFORM || e->kind == DL_EXPR_NORMAL;
    for (int i = 0; i < 3 && e->operand[i]; i++) {
        const dl_expr_node *operand = dl_expr_node_of(e->operand[i]);
        node->inputs |= operand->inputs;
        node->random = node->random || operand->random;
        if (node->height <= operand->height)
            node->height = operand->height + 1;
    }
    dl_expr_node **place = &set->table[hash & (uint32_t)(set->table_size - 1)];
    node->bucket = *place;
    *place = node;
    set->node[set->count++] = node;
    return &node->expr;
}

const dl_expr *dl_expr_const(dl_exprs *set, float value) {
    dl_expr e = {.kind = DL_EXPR_CONST, .value = dl_m_canonical(value)};
    return intern(set, &e);
}

const dl_expr *dl_expr_input(dl_exprs *set, int input) {
    dl_expr e = {.kind = DL_EXPR_INPUT, .input = input};
    return intern(set, &e);
}

const dl_expr *dl_expr_random(dl_exprs *set, dl_expr_kind uniform_or_normal, uint32_t stream) {
    if (uniform_or_normal != DL_EXPR_UNIFORM && uniform_or_normal != DL_EXPR_NORMAL)
        return NULL;
    dl_expr e = {.kind = uniform_or_normal, .stream = stream};
    return intern(set, &e);
}

static bool is_const(const dl_expr *e, float value) {
    return e->kind == DL_EXPR_CONST && DL_BITS(e->value) == DL_BITS(value);
}

/* 2^n whose reciprocal is a normal number too: then x / value and x * (1/value) round the same. */
static bool is_power_of_two(float value) {
    uint32_t bits = DL_BITS(value) & 0x7fffffffu;
    return (bits & 0x7fffffu) == 0 && bits >= 0x00800000u && bits < 0x7f000000u;
}

/* Is its value always 0 or 1? */
static bool is_logical(const dl_expr *e) {
    switch (e->kind) {
    case DL_EXPR_LESS:
    case DL_EXPR_LESS_EQUAL:
    case DL_EXPR_EQUAL:
    case DL_EXPR_AND:
    case DL_EXPR_OR:
    case DL_EXPR_NOT:
        return true;
    case DL_EXPR_CONST:
        return is_const(e, 0.0f) || is_const(e, 1.0f);
    default:
        return false;
    }
}

/* a ** n for a whole constant n: by squaring, so that no logarithm is taken. This is what the power
 * means in the language; it is not a simplification of POW. */
static const dl_expr *whole_power(dl_exprs *set, const dl_expr *a, int n) {
    const dl_expr *product = NULL, *square = a;
    for (int left = n < 0 ? -n : n; left && square; left >>= 1) {
        if (left & 1)
            product = product ? dl_expr_make(set, DL_EXPR_MUL, product, square, NULL) : square;
        if (left > 1)
            square = dl_expr_make(set, DL_EXPR_MUL, square, square, NULL);
    }
    if (!product || !square)
        return NULL;
    return n < 0 ? dl_expr_make(set, DL_EXPR_DIV, dl_expr_const(set, 1.0f), product, NULL)
                 : product;
}

/* What equals the operation for every input, to the bit; NULL: nothing simpler. */
static const dl_expr *simpler(dl_exprs *set, dl_expr_kind kind, const dl_expr *a, const dl_expr *b,
                              const dl_expr *c) {
    switch (kind) {
    case DL_EXPR_ADD:
        return is_const(b, -0.0f) ? a : is_const(a, -0.0f) ? b : NULL;
    case DL_EXPR_SUB:
        return is_const(b, 0.0f) ? a : NULL;
    case DL_EXPR_MUL:
        if (is_const(b, 1.0f) || is_const(a, 1.0f))
            return is_const(b, 1.0f) ? a : b;
        if (is_const(b, -1.0f) || is_const(a, -1.0f))
            return dl_expr_make(set, DL_EXPR_NEG, is_const(b, -1.0f) ? a : b, NULL, NULL);
        return NULL;
    case DL_EXPR_DIV:
        if (is_const(b, 1.0f))
            return a;
        if (is_const(b, -1.0f))
            return dl_expr_make(set, DL_EXPR_NEG, a, NULL, NULL);
        if (b->kind == DL_EXPR_CONST && is_power_of_two(b->value))
            return dl_expr_make(set, DL_EXPR_MUL, a, dl_expr_const(set, 1.0f / b->value), NULL);
        return NULL;
    case DL_EXPR_NEG:
        return a->kind == DL_EXPR_NEG ? a->operand[0] : NULL;
    case DL_EXPR_POW:
        if (b->kind != DL_EXPR_CONST)
            return NULL;
        if (b->value == 0.0f)
            return dl_expr_const(set, 1.0f);
        if (b->value == 0.5f)
            return dl_expr_make(set, DL_EXPR_SQRT, a, NULL, NULL);
        if (fabsf(b->value) <= WHOLE_POWER && b->value == (float)(int)b->value)
            return whole_power(set, a, (int)b->value);
        return NULL;
    case DL_EXPR_MIN:
    case DL_EXPR_MAX:
        return a == b ? a : NULL;
    case DL_EXPR_AND:
    case DL_EXPR_OR:
        return a == b && is_logical(a) ? a : NULL;
    case DL_EXPR_NOT:
        return a->kind == DL_EXPR_NOT && is_logical(a->operand[0]) ? a->operand[0] : NULL;
    case DL_EXPR_WHERE:
        if (b == c)
            return b;
        if (a->kind == DL_EXPR_CONST)
            return a->value != 0.0f ? b : c;
        if (is_logical(a) && is_const(b, 1.0f) && is_const(c, 0.0f))
            return a;
        if (a->kind == DL_EXPR_NOT)
            return dl_expr_make(set, DL_EXPR_WHERE, a->operand[0], c, b);
        return NULL;
    case DL_EXPR_ABS:
        if (a->kind == DL_EXPR_NEG)
            return dl_expr_make(set, DL_EXPR_ABS, a->operand[0], NULL, NULL);
        return a->kind == DL_EXPR_ABS ? a : NULL;
    default:
        return NULL;
    }
}

const dl_expr *dl_expr_make(dl_exprs *set, dl_expr_kind kind, const dl_expr *a, const dl_expr *b,
                            const dl_expr *c) {
    int arity = dl_expr_arity[kind];
    if (arity == 0 || !a || (arity > 1 && !b) || (arity > 2 && !c))
        return NULL;
    b = arity > 1 ? b : NULL;
    c = arity > 2 ? c : NULL;
    const dl_expr *found = simpler(set, kind, a, b, c);
    if (found)
        return found;
    if (a->kind == DL_EXPR_CONST && (!b || b->kind == DL_EXPR_CONST) &&
        (!c || c->kind == DL_EXPR_CONST))
        return dl_expr_const(
            set, dl_expr_apply(kind, a->value, b ? b->value : 0.0f, c ? c->value : 0.0f));
    dl_expr e = {.kind = kind, .operand = {a, b, c}};
    return intern(set, &e);
}

void dl_expr_mark(const dl_expr *root, unsigned char *mark) {
    dl_expr_node *const *node = dl_expr_node_of(root)->set->node;
    mark[root->id] = 1;
    for (int id = root->id; id >= 0; id--)
        for (int i = 0; mark[id] && i < 3 && node[id]->expr.operand[i]; i++)
            mark[node[id]->expr.operand[i]->id] = 1;
}

const dl_expr *dl_expr_substitute(dl_exprs *set, const dl_expr *y, const dl_expr *const *with,
                                  int count) {
    if (!y)
        return NULL;
    const dl_exprs *from = dl_expr_node_of(y)->set;
    size_t nodes = (size_t)y->id + 1;
    const dl_expr *result = NULL, **image = dl_alloc(nodes * sizeof *image);
    unsigned char *mark = dl_alloc(nodes);
    if (!image || !mark)
        goto done;
    dl_expr_mark(y, mark);
    for (size_t id = 0; id < nodes; id++) {
        if (!mark[id])
            continue;
        const dl_expr *e = &from->node[id]->expr, *operand[3] = {NULL};
        for (int i = 0; i < 3 && e->operand[i]; i++)
            operand[i] = image[e->operand[i]->id];
        if (e->kind == DL_EXPR_INPUT)
            image[id] = e->input < count ? with[e->input] : dl_expr_input(set, e->input);
        else if (dl_expr_arity[e->kind])
            image[id] = dl_expr_make(set, e->kind, operand[0], operand[1], operand[2]);
        else
            image[id] = intern(set, e);
        if (!image[id])
            goto done;
    }
    result = image[y->id];
done:
    dl_free(mark);
    dl_free(image);
    return result;
}

uint64_t dl_expr_inputs(const dl_expr *expr) {
    return dl_expr_node_of(expr)->inputs;
}

bool dl_expr_is_random(const dl_expr *expr) {
    return dl_expr_node_of(expr)->random;
}
