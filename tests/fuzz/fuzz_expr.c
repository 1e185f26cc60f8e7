/* Any text into the expression parser; what parses is derived, printed, read back, which must give
 * the same node, and run on a few numbers. The same text in a scope with names found late and
 * functions that fail for constants. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/expr/expr.h"

enum { LONGEST = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void read_back(dl_arena *arena, dl_exprs *set, const dl_expr *e, const dl_expr_name *names) {
    const char *text = dl_expr_text(arena, e);
    const dl_expr *again = NULL;
    if (!text || dl_expr_parse(set, text, names, 2, "fuzz", &again) != DL_OK || again != e)
        abort();
}

static dl_status find(void *set, int name, const dl_expr **out) {
    *out = dl_expr_input(set, 10 + name);
    return *out ? DL_OK : dl_fail_memory(1);
}

static dl_status call(void *set, int function, const dl_expr *const *arguments,
                      const dl_expr **out) {
    if (arguments[0]->kind == DL_EXPR_CONST)
        return dl_fail(DL_BAD_JOB, "a constant has no mean");
    *out = function ? dl_expr_make(set, DL_EXPR_ADD, arguments[0], arguments[1], NULL)
                    : dl_expr_input(set, 20 + arguments[0]->id % 40);
    return *out ? DL_OK : dl_fail_memory(1);
}

static void parse_in_scope(dl_exprs *set, const char *text) {
    static const dl_expr_name names[] = {{"x0", NULL}, {"x1", NULL}};
    static const dl_expr_function functions[] = {{"mean", 1}, {"mse", 2}};
    const dl_expr_scope scope = {.names = names,
                                 .count = 2,
                                 .functions = functions,
                                 .function_count = 2,
                                 .find = find,
                                 .call = call,
                                 .argument = set,
                                 .kinds = "neither",
                                 .no_random = "no random numbers"};
    const dl_expr *e = NULL;
    dl_status status = dl_expr_parse_in(set, text, &scope, &e);
    if (status == DL_OK ? !e : e || !strstr(dl_message(), "character "))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    char text[LONGEST + 1];
    dl_arena arena = {0};
    dl_exprs *set = dl_exprs_open(&arena);
    if (count > LONGEST || !set)
        goto done;
    memcpy(text, bytes, count);
    text[count] = '\0';
    const dl_expr_name names[] = {{"x0", dl_expr_input(set, 0)}, {"x1", dl_expr_input(set, 1)}};
    const dl_expr *e = NULL;
    parse_in_scope(set, text);
    if (dl_expr_parse(set, text, names, 2, "fuzz", &e) != DL_OK) {
        if (e || strstr(dl_message(), "character ") == NULL)
            abort();
        goto done;
    }
    read_back(&arena, set, e, names);
    const dl_expr *slope = dl_expr_derive(set, e, 0);
    if (!slope)
        abort();
    if (slope->id < 20000) /* texts have at most 4096 bindings */
        read_back(&arena, set, slope, names);
    float x[20], y[2][20];
    for (int i = 0; i < 20; i++)
        x[i] = (float)(i - 7) * 0.37f;
    const float *in[2] = {x, x};
    float *out[2] = {y[0], y[1]};
    dl_expr_access access[2] = {{1, 20}, {1, 1}};
    dl_random random = {1, 2, 3};
    dl_expr_program *program;
    const dl_expr *both[2] = {e, slope};
    if (dl_expr_compile(both, 2, 2, &program) == DL_OK) {
        dl_expr_run(program, in, access, out, 20, 0, 20, &random, 5);
        dl_expr_program_free(program);
    }
done:
    dl_arena_free(&arena);
    return 0;
}
