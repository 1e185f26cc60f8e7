/* One element in double precision with libm, for tests and for schedules: what the expression
 * means, without float32's rounding. uniform and normal have no value here and give NaN. */
#include <math.h>

#include "runtime/expr/internal.h"

enum { ON_STACK = 256 };

static double truth(bool condition) {
    return condition ? 1.0 : 0.0;
}

static double apply(dl_expr_kind kind, double a, double b, double c) {
    switch (kind) {
    case DL_EXPR_ADD:
        return a + b;
    case DL_EXPR_SUB:
        return a - b;
    case DL_EXPR_MUL:
        return a * b;
    case DL_EXPR_DIV:
        return a / b;
    case DL_EXPR_FMA:
        return fma(a, b, c);
    case DL_EXPR_NEG:
        return -a;
    case DL_EXPR_POW:
        return pow(a, b);
    case DL_EXPR_MIN:
        return a < b || isnan(a) ? a : b;
    case DL_EXPR_MAX:
        return a > b || isnan(a) ? a : b;
    case DL_EXPR_LESS:
        return truth(a < b);
    case DL_EXPR_LESS_EQUAL:
        return truth(a <= b);
    case DL_EXPR_EQUAL:
        return truth(a == b);
    case DL_EXPR_AND:
        return truth(a != 0.0 && b != 0.0);
    case DL_EXPR_OR:
        return truth(a != 0.0 || b != 0.0);
    case DL_EXPR_NOT:
        return truth(a == 0.0);
    case DL_EXPR_WHERE:
        return a != 0.0 ? b : c;
    case DL_EXPR_ABS:
        return fabs(a);
    case DL_EXPR_SIGN:
        return isnan(a) ? a : truth(a > 0.0) - truth(a < 0.0);
    case DL_EXPR_ROUND:
        return nearbyint(a);
    case DL_EXPR_FLUSH:
        return fabs(a) < 0x1p-126 ? 0.0 : a;
    case DL_EXPR_SQRT:
        return sqrt(a);
    case DL_EXPR_EXP:
        return exp(a);
    case DL_EXPR_LOG:
        return log(a);
    case DL_EXPR_LOG1P:
        return log1p(a);
    case DL_EXPR_TANH:
        return tanh(a);
    case DL_EXPR_SIGMOID:
        return a < 0.0 ? exp(a) / (1.0 + exp(a)) : 1.0 / (1.0 + exp(-a));
    case DL_EXPR_ERF:
        return erf(a);
    case DL_EXPR_SIN:
        return sin(a);
    case DL_EXPR_COS:
        return cos(a);
    case DL_EXPR_CONST:
    case DL_EXPR_INPUT:
    case DL_EXPR_UNIFORM:
    case DL_EXPR_NORMAL:
    case DL_EXPR_KINDS:
        break;
    }
    return (double)NAN;
}

/* Memory is taken only for expressions of a set with many nodes. */
double dl_expr_value(const dl_expr *expr, const double *inputs) {
    double value_here[ON_STACK];
    unsigned char mark_here[ON_STACK] = {0};
    dl_expr_node *const *node = dl_expr_node_of(expr)->set->node;
    size_t nodes = (size_t)expr->id + 1;
    double result = (double)NAN;
    double *value = nodes <= ON_STACK ? value_here : dl_alloc(nodes * sizeof *value);
    unsigned char *mark = nodes <= ON_STACK ? mark_here : dl_alloc(nodes);
    if (!value || !mark)
        goto done;
    dl_expr_mark(expr, mark);
    for (size_t id = 0; id < nodes; id++) {
        const dl_expr *e = &node[id]->expr;
        double operand[3] = {0.0, 0.0, 0.0};
        for (int i = 0; mark[id] && i < 3 && e->operand[i]; i++)
            operand[i] = value[e->operand[i]->id];
        if (!mark[id])
            continue;
        if (e->kind == DL_EXPR_CONST)
            value[id] = (double)e->value;
        else if (e->kind == DL_EXPR_INPUT)
            value[id] = inputs[e->input];
        else
            value[id] = apply(e->kind, operand[0], operand[1], operand[2]);
    }
    result = value[expr->id];
done:
    if (value != value_here)
        dl_free(value);
    if (mark != mark_here)
        dl_free(mark);
    return result;
}
