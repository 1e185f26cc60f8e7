/* Derivatives: reverse accumulation over the nodes, so that what the expression shares, its
 * derivative shares. Slopes at kinks:
 *
 *   max(a, b)  1 to a where b < a, else 1 to b      min(a, b)  1 to a where a < b, else 1 to b
 *   abs        sign, 0 at 0                         where      to the branch taken, 0 to the
 * condition round, sign, comparisons, and/or/not, uniform, normal: 0 a ** b     by b: a ** b
 * log(a), 0 where a is 0
 *
 * A term that is 0 is left out, also where its factor could be infinite or NaN. */
#include "runtime/expr/internal.h"

typedef struct deriver {
    dl_exprs *set;
    const dl_expr **adjoint; /* by id; NULL: 0 */
    unsigned char *mark;     /* by id; 1: depends on the input */
    bool failed;
} deriver;

static bool is_value(const dl_expr *e, float value) {
    return e && e->kind == DL_EXPR_CONST && e->value == value;
}

/* The three makers know NULL as 0. */
static const dl_expr *make(deriver *d, dl_expr_kind kind, const dl_expr *a, const dl_expr *b,
                           const dl_expr *c) {
    const dl_expr *result = d->failed ? NULL : dl_expr_make(d->set, kind, a, b, c);
    d->failed = d->failed || !result;
    return result;
}

static const dl_expr *constant(deriver *d, float value) {
    const dl_expr *result = dl_expr_const(d->set, value);
    d->failed = d->failed || !result;
    return result;
}

static const dl_expr *times(deriver *d, const dl_expr *a, const dl_expr *b) {
    if (!a || !b || is_value(a, 0.0f) || is_value(b, 0.0f))
        return NULL;
    return make(d, DL_EXPR_MUL, a, b, NULL);
}

static const dl_expr *negative(deriver *d, const dl_expr *a) {
    return a ? make(d, DL_EXPR_NEG, a, NULL, NULL) : NULL;
}

/* where(condition, a, b), a or b NULL: 0. */
static const dl_expr *choice(deriver *d, const dl_expr *condition, const dl_expr *a,
                             const dl_expr *b) {
    return make(d, DL_EXPR_WHERE, condition, a ? a : constant(d, 0.0f), b ? b : constant(d, 0.0f));
}

static void add(deriver *d, const dl_expr *to, const dl_expr *term) {
    if (!term || is_value(term, 0.0f))
        return;
    const dl_expr **sum = &d->adjoint[to->id];
    if (*sum && term->kind == DL_EXPR_NEG)
        *sum = make(d, DL_EXPR_SUB, *sum, term->operand[0], NULL);
    else
        *sum = *sum ? make(d, DL_EXPR_ADD, *sum, term, NULL) : term;
}

/* Sends y's adjoint g to its operands. */
static void send(deriver *d, const dl_expr *y, const dl_expr *g) {
    const dl_expr *a = y->operand[0], *b = y->operand[1], *c = y->operand[2], *slope;
    bool to_a = a && d->mark[a->id], to_b = b && d->mark[b->id], to_c = c && d->mark[c->id];
    switch (y->kind) {
    case DL_EXPR_ADD:
        if (to_a)
            add(d, a, g);
        if (to_b)
            add(d, b, g);
        return;
    case DL_EXPR_SUB:
        if (to_a)
            add(d, a, g);
        if (to_b)
            add(d, b, negative(d, g));
        return;
    case DL_EXPR_MUL:
        if (to_a)
            add(d, a, times(d, g, b));
        if (to_b)
            add(d, b, times(d, g, a));
        return;
    case DL_EXPR_DIV:
        slope = make(d, DL_EXPR_DIV, g, b, NULL);
        if (to_a)
            add(d, a, slope);
        if (to_b)
            add(d, b, negative(d, times(d, slope, y)));
        return;
    case DL_EXPR_FMA:
        if (to_a)
            add(d, a, times(d, g, b));
        if (to_b)
            add(d, b, times(d, g, a));
        if (to_c)
            add(d, c, g);
        return;
    case DL_EXPR_NEG:
        add(d, a, negative(d, g));
        return;
    case DL_EXPR_POW:
        if (to_a) {
            slope = make(d, DL_EXPR_SUB, b, constant(d, 1.0f), NULL);
            slope = make(d, DL_EXPR_POW, a, slope, NULL);
            add(d, a, times(d, g, times(d, b, slope)));
        }
        if (!to_b)
            return;
        slope = times(d, y, make(d, DL_EXPR_LOG, a, NULL, NULL));
        slope = choice(d, make(d, DL_EXPR_EQUAL, a, constant(d, 0.0f), NULL), NULL, slope);
        add(d, b, times(d, g, slope));
        return;
    case DL_EXPR_MIN:
    case DL_EXPR_MAX:
        slope = y->kind == DL_EXPR_MIN ? make(d, DL_EXPR_LESS, a, b, NULL)
                                       : make(d, DL_EXPR_LESS, b, a, NULL);
        if (to_a)
            add(d, a, choice(d, slope, g, NULL));
        if (to_b)
            add(d, b, choice(d, slope, NULL, g));
        return;
    case DL_EXPR_WHERE:
        if (to_b)
            add(d, b, choice(d, a, g, NULL));
        if (to_c)
            add(d, c, choice(d, a, NULL, g));
        return;
    case DL_EXPR_ABS:
        add(d, a, times(d, g, make(d, DL_EXPR_SIGN, a, NULL, NULL)));
        return;
    case DL_EXPR_FLUSH:
        add(d, a, g);
        return;
    case DL_EXPR_SQRT:
        add(d, a, make(d, DL_EXPR_DIV, times(d, g, constant(d, 0.5f)), y, NULL));
        return;
    case DL_EXPR_EXP:
        add(d, a, times(d, g, y));
        return;
    case DL_EXPR_LOG:
        add(d, a, make(d, DL_EXPR_DIV, g, a, NULL));
        return;
    case DL_EXPR_LOG1P:
        add(d, a, make(d, DL_EXPR_DIV, g, make(d, DL_EXPR_ADD, constant(d, 1.0f), a, NULL), NULL));
        return;
    case DL_EXPR_TANH:
        slope = make(d, DL_EXPR_SUB, constant(d, 1.0f), times(d, y, y), NULL);
        add(d, a, times(d, g, slope));
        return;
    case DL_EXPR_SIGMOID:
        slope = times(d, y, make(d, DL_EXPR_SUB, constant(d, 1.0f), y, NULL));
        add(d, a, times(d, g, slope));
        return;
    case DL_EXPR_ERF:
        slope = make(d, DL_EXPR_EXP, negative(d, times(d, a, a)), NULL, NULL);
        add(d, a, times(d, g, times(d, constant(d, 1.128379167f), slope))); /* 2 / sqrt(pi) */
        return;
    case DL_EXPR_SIN:
        add(d, a, times(d, g, make(d, DL_EXPR_COS, a, NULL, NULL)));
        return;
    case DL_EXPR_COS:
        add(d, a, negative(d, times(d, g, make(d, DL_EXPR_SIN, a, NULL, NULL))));
        return;
    case DL_EXPR_CONST:
    case DL_EXPR_INPUT:
    case DL_EXPR_UNIFORM:
    case DL_EXPR_NORMAL:
    case DL_EXPR_LESS:
    case DL_EXPR_LESS_EQUAL:
    case DL_EXPR_EQUAL:
    case DL_EXPR_AND:
    case DL_EXPR_OR:
    case DL_EXPR_NOT:
    case DL_EXPR_SIGN:
    case DL_EXPR_ROUND:
    case DL_EXPR_KINDS:
        return;
    }
}

const dl_expr *dl_expr_derive(dl_exprs *set, const dl_expr *y, int input) {
    if (!y)
        return NULL;
    if (dl_expr_node_of(y)->set != set)
        y = dl_expr_substitute(set, y, NULL, 0);
    const dl_expr *x = dl_expr_input(set, input), *result = NULL;
    if (!y || !x)
        return NULL;
    size_t nodes = (size_t)(y->id > x->id ? y->id : x->id) + 1;
    deriver d = {.set = set, .adjoint = dl_alloc(nodes * sizeof *d.adjoint)};
    d.mark = dl_alloc(nodes);
    if (!d.adjoint || !d.mark)
        goto done;
    d.mark[x->id] = 1;
    for (int id = x->id + 1; id <= y->id; id++)
        for (int i = 0; i < 3 && set->node[id]->expr.operand[i]; i++)
            d.mark[id] |= d.mark[set->node[id]->expr.operand[i]->id];
    d.adjoint[y->id] = constant(&d, 1.0f);
    for (int id = y->id; id > x->id && !d.failed; id--)
        if (d.mark[id] && d.adjoint[id])
            send(&d, &set->node[id]->expr, d.adjoint[id]);
    result = d.adjoint[x->id] ? d.adjoint[x->id] : constant(&d, 0.0f);
done:
    dl_free(d.mark);
    dl_free(d.adjoint);
    return d.failed ? NULL : result;
}
