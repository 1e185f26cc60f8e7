/* Expressions to text that parse.c reads back to the same nodes. A small expression is plain infix;
 * one whose sharing would make that long (or too deep) names its shared parts first: "t0 = ...;".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/expr/internal.h"
#include "runtime/expr/math.h"

/* Operators bind as in parse.c: a higher level binds tighter. */
enum { OR = 1, AND, NOT, COMPARE, SUM, PRODUCT, UNARY, POWER, OPERAND };

enum { PLAIN = 400 /* nodes written without bindings */, TALL = 60 /* levels in one binding */ };

typedef struct writer {
    char *text;
    size_t length, space;
    bool failed;
    int *bound; /* by id: number of the binding, or -1 */
} writer;

static void put(writer *w, const char *text) {
    size_t more = strlen(text);
    if (w->failed)
        return;
    if (w->length + more + 1 > w->space) {
        size_t space = 2 * w->space + more + 256;
        char *grown = dl_realloc(w->text, space);
        if (!grown) {
            w->failed = true;
            return;
        }
        w->text = grown;
        w->space = space;
    }
    memcpy(w->text + w->length, text, more + 1);
    w->length += more;
}

static int level_of(const dl_expr *e) {
    switch (e->kind) {
    case DL_EXPR_CONST:
        return DL_BITS(e->value) >> 31 ? UNARY : OPERAND;
    case DL_EXPR_ADD:
    case DL_EXPR_SUB:
        return SUM;
    case DL_EXPR_MUL:
    case DL_EXPR_DIV:
        return PRODUCT;
    case DL_EXPR_NEG:
        return UNARY;
    case DL_EXPR_POW:
        return POWER;
    case DL_EXPR_LESS:
    case DL_EXPR_LESS_EQUAL:
    case DL_EXPR_EQUAL:
        return COMPARE;
    case DL_EXPR_AND:
        return AND;
    case DL_EXPR_OR:
        return OR;
    case DL_EXPR_NOT:
        return e->operand[0]->kind == DL_EXPR_EQUAL ? COMPARE : NOT;
    default:
        return OPERAND;
    }
}

static void write_expr(writer *w, const dl_expr *e, int level);

static void write_infix(writer *w, const dl_expr *e, const char *symbol, int left, int right) {
    write_expr(w, e->operand[0], left);
    put(w, symbol);
    write_expr(w, e->operand[1], right);
}

/* The shortest of at most 9 digits that reads back to the same number. */
static void write_number(writer *w, float value) {
    char text[48];
    float magnitude = fabsf(value);
    if (DL_BITS(value) >> 31)
        put(w, "-");
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)magnitude);
        if (strtof(text, NULL) == magnitude)
            break;
    }
    put(w, magnitude != magnitude ? "nan" : text);
}

static void write_body(writer *w, const dl_expr *e) {
    char text[48];
    switch (e->kind) {
    case DL_EXPR_CONST:
        write_number(w, e->value);
        return;
    case DL_EXPR_INPUT:
        snprintf(text, sizeof text, "x%d", e->input);
        put(w, text);
        return;
    case DL_EXPR_UNIFORM:
    case DL_EXPR_NORMAL:
        snprintf(text, sizeof text, "%s(%u)", dl_expr_word[e->kind], e->stream);
        put(w, text);
        return;
    case DL_EXPR_ADD:
        write_infix(w, e, " + ", SUM, PRODUCT);
        return;
    case DL_EXPR_SUB:
        write_infix(w, e, " - ", SUM, PRODUCT);
        return;
    case DL_EXPR_MUL:
        write_infix(w, e, " * ", PRODUCT, UNARY);
        return;
    case DL_EXPR_DIV:
        write_infix(w, e, " / ", PRODUCT, UNARY);
        return;
    case DL_EXPR_NEG:
        put(w, "-");
        write_expr(w, e->operand[0], UNARY);
        return;
    case DL_EXPR_POW:
        write_infix(w, e, " ** ", OPERAND, UNARY);
        return;
    case DL_EXPR_LESS:
        write_infix(w, e, " < ", SUM, SUM);
        return;
    case DL_EXPR_LESS_EQUAL:
        write_infix(w, e, " <= ", SUM, SUM);
        return;
    case DL_EXPR_EQUAL:
        write_infix(w, e, " == ", SUM, SUM);
        return;
    case DL_EXPR_AND:
        write_infix(w, e, " and ", AND, NOT);
        return;
    case DL_EXPR_OR:
        write_infix(w, e, " or ", OR, AND);
        return;
    case DL_EXPR_NOT:
        if (e->operand[0]->kind == DL_EXPR_EQUAL && w->bound[e->operand[0]->id] < 0) {
            write_infix(w, e->operand[0], " != ", SUM, SUM);
            return;
        }
        put(w, "not ");
        write_expr(w, e->operand[0], NOT);
        return;
    default:
        break;
    }
    put(w, dl_expr_word[e->kind]);
    for (int i = 0; i < 3 && e->operand[i]; i++) {
        put(w, i ? ", " : "(");
        write_expr(w, e->operand[i], OR);
    }
    put(w, ")");
}

/* In parentheses unless it binds at least as tightly as `level`. */
static void write_expr(writer *w, const dl_expr *e, int level) {
    if (w->bound[e->id] >= 0) {
        char text[16];
        snprintf(text, sizeof text, "t%d", w->bound[e->id]);
        put(w, text);
        return;
    }
    bool wrap = level_of(e) < level;
    if (wrap)
        put(w, "(");
    write_body(w, e);
    if (wrap)
        put(w, ")");
}

/* Decides which nodes get a name: none in a small expression, else those used twice or high above
 * the last name. uses, written, tall: by id. */
static void choose(dl_expr_node *const *node, const dl_expr *root, const unsigned char *mark,
                   int *uses, double *written, int *tall, int *bound) {
    for (int id = 0; id <= root->id; id++) {
        bound[id] = -1;
        written[id] = 1;
        for (int i = 0; mark[id] && i < 3 && node[id]->expr.operand[i]; i++) {
            uses[node[id]->expr.operand[i]->id]++;
            written[id] += written[node[id]->expr.operand[i]->id];
        }
    }
    if (written[root->id] <= PLAIN && dl_expr_node_of(root)->height <= TALL)
        return;
    int bindings = 0;
    for (int id = 0; id < root->id; id++) {
        if (!mark[id])
            continue;
        for (int i = 0; i < 3 && node[id]->expr.operand[i]; i++) {
            int below = node[id]->expr.operand[i]->id;
            if (bound[below] < 0 && tall[id] <= tall[below])
                tall[id] = tall[below] + 1;
        }
        if (dl_expr_arity[node[id]->expr.kind] && (uses[id] > 1 || tall[id] >= TALL))
            bound[id] = bindings++;
    }
}

const char *dl_expr_text(dl_arena *arena, const dl_expr *expr) {
    dl_expr_node *const *node = dl_expr_node_of(expr)->set->node;
    size_t nodes = (size_t)expr->id + 1;
    writer w = {.text = NULL};
    const char *result = NULL;
    unsigned char *mark = dl_alloc(nodes);
    int *uses = dl_alloc(nodes * sizeof *uses), *tall = dl_alloc(nodes * sizeof *tall);
    double *written = dl_alloc(nodes * sizeof *written);
    w.bound = dl_alloc(nodes * sizeof *w.bound);
    if (!mark || !uses || !tall || !written || !w.bound)
        goto done;
    dl_expr_mark(expr, mark);
    choose(node, expr, mark, uses, written, tall, w.bound);
    for (int id = 0; id < expr->id; id++) {
        int number = w.bound[id];
        if (number < 0)
            continue;
        char name[24];
        snprintf(name, sizeof name, "t%d = ", number);
        put(&w, name);
        w.bound[id] = -1; /* its own body is written out */
        write_expr(&w, &node[id]->expr, OR);
        w.bound[id] = number;
        put(&w, "; ");
    }
    write_expr(&w, expr, OR);
    if (!w.failed)
        result = dl_arena_text(arena, w.text);
done:
    dl_free(w.text);
    dl_free(w.bound);
    dl_free(written);
    dl_free(tall);
    dl_free(uses);
    dl_free(mark);
    return result;
}
