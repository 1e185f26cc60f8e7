/* Elementwise mathematics, written once.
 *
 * An expression is an immutable directed acyclic graph of scalar operations over inputs x0, x1,
 * ..., hash-consed within a dl_exprs set so that equal subexpressions are one node. Activations,
 * the elementwise parts of losses, optimizer updates, dropout and noise are expressions; they are
 * parsed from text, differentiated symbolically, composed (fusion), and compiled to a vectorised
 * CPU program.
 *
 * A whole constant power up to 16 is repeated multiplication and ** 0.5 is sqrt. A NaN operand
 * gives NaN also in min and max. Programs store every NaN as 0x7fc00000, since which NaN an
 * instruction returns depends on the order of its operands.
 *
 * All arithmetic is IEEE float32, round to nearest, one rounding per operation written here, fma
 * only where the expression says fma. exp, log, tanh, erf, sigmoid, sin, cos are polynomials of our
 * own (runtime/expr/math.h, bounds stated there), so that AVX2, AVX-512, portable C and, later,
 * CUDA give the same bits. Names follow job.md 2.1.7. */
#ifndef DL_EXPR_EXPR_H
#define DL_EXPR_EXPR_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/memory.h"
#include "runtime/base/philox.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"

/*  operation  arity  word in expressions ("" = an operator or internal) */
#define DL_EXPR_LIST(X)                                                           \
    X(CONST, 0, "")                                                               \
    X(INPUT, 0, "")                                                               \
    X(UNIFORM, 0, "uniform") /* [0, 1), keyed by stream, step, sample, element */ \
    X(NORMAL, 0, "normal")   /* mean 0, standard deviation 1, same key */         \
    X(ADD, 2, "")                                                                 \
    X(SUB, 2, "")                                                                 \
    X(MUL, 2, "")                                                                 \
    X(DIV, 2, "")                                                                 \
    X(FMA, 3, "fma") /* a * b + c, rounded once */                                \
    X(NEG, 1, "")                                                                 \
    X(POW, 2, "")                                                                 \
    X(MIN, 2, "min")                                                              \
    X(MAX, 2, "max")                                                              \
    X(LESS, 2, "") /* comparisons and logic give 1 or 0 */                        \
    X(LESS_EQUAL, 2, "")                                                          \
    X(EQUAL, 2, "")                                                               \
    X(AND, 2, "")                                                                 \
    X(OR, 2, "")                                                                  \
    X(NOT, 1, "not")                                                              \
    X(WHERE, 3, "where") /* condition not 0 ? a : b */                            \
    X(ABS, 1, "abs")                                                              \
    X(SIGN, 1, "sign")                                                            \
    X(ROUND, 1, "round") /* ties to even */                                       \
    X(FLUSH, 1, "flush") /* 0 where |x| < 2 ** -126, else x */                    \
    X(SQRT, 1, "sqrt")                                                            \
    X(EXP, 1, "exp")                                                              \
    X(LOG, 1, "log")                                                              \
    X(LOG1P, 1, "log1p") /* log(1 + x) */                                         \
    X(TANH, 1, "tanh")                                                            \
    X(SIGMOID, 1, "sigmoid")                                                      \
    X(ERF, 1, "erf")                                                              \
    X(SIN, 1, "sin")                                                              \
    X(COS, 1, "cos")

typedef enum dl_expr_kind {
#define X(name, arity, word) DL_EXPR_##name,
    DL_EXPR_LIST(X)
#undef X
        DL_EXPR_KINDS
} dl_expr_kind;

typedef struct dl_expr { /* const once made; compare by pointer within one set */
    dl_expr_kind kind;
    int id;          /* position in the set: operands have lower ids */
    float value;     /* CONST */
    int input;       /* INPUT */
    uint32_t stream; /* UNIFORM, NORMAL */
    const struct dl_expr *operand[3];
} dl_expr;

typedef struct dl_exprs dl_exprs;         /* a set; memory in the arena it was opened on */
dl_exprs *dl_exprs_open(dl_arena *arena); /* NULL: no memory */

/* Makers fold constants and simplify only where the bits stay the same for every input, NaN,
 * infinities and signed zero included (x*1, x/1, --x, x+(-0.0), where(c,a,a), ...), plus x*0 and
 * x+0 when they come out of dl_expr_derive. NULL operand or no memory gives NULL. */
const dl_expr *dl_expr_const(dl_exprs *set, float value);
const dl_expr *dl_expr_input(dl_exprs *set, int input);
const dl_expr *dl_expr_random(dl_exprs *set, dl_expr_kind uniform_or_normal, uint32_t stream);
const dl_expr *dl_expr_make(dl_exprs *set, dl_expr_kind kind, const dl_expr *a, const dl_expr *b,
                            const dl_expr *c);

/* Names that a text may use. A name stands for an expression (an input, a constant, a macro). */
typedef struct dl_expr_name {
    const char *name;
    const dl_expr *expr;
} dl_expr_name;

/* Parses `text`; further words: square, relu, softplus, clip(a, lo, hi), pi, inf, nan. The n-th
 * uniform() or normal() of the text (from 0) gets stream dl_stream("STREAM_NAME/n"); uniform(7) has
 * stream 7. On error the status is DL_BAD_JOB, the message "character 18: 'z_logvar' is ...; did
 * you mean 'z_log_var'?". Depth and length are bounded. */
dl_status dl_expr_parse(dl_exprs *set, const char *text, const dl_expr_name *names, int count,
                        const char *stream_name, const dl_expr **out);

/* The same in a scope that brings functions of its own (reductions, losses: what is not
 * elementwise), whose results are again expressions, mostly new inputs, and names that are looked
 * up when a text first needs them. A DL_BAD_JOB of these goes on with the character in front. */
typedef struct dl_expr_function {
    const char *name;
    int arity;
} dl_expr_function;
typedef struct dl_expr_scope {
    const dl_expr_name *names; /* expr NULL: found by `find` */
    int count;
    const dl_expr_function *functions;
    int function_count;
    dl_status (*find)(void *argument, int name, const dl_expr **out);
    dl_status (*call)(void *argument, int function, const dl_expr *const *arguments,
                      const dl_expr **out);
    void *argument;
    const char *kinds;     /* of an unknown name: "neither a layer nor a field"; NULL: plain */
    const char *no_random; /* message for uniform() and normal(); NULL: they may stand here */
    const char *stream_name;
} dl_expr_scope;
dl_status dl_expr_parse_in(dl_exprs *set, const char *text, const dl_expr_scope *scope,
                           const dl_expr **out);

/* The elementwise functions that every text may call, by number from 0, with how many arguments;
 * NULL behind the last. */
const char *dl_expr_function_name(int index, int *arity);

/* The derivative of y with respect to input `input`. relu-like kinks: max(a,b) sends all to a where
 * a > b, else to b ... (see derive.c for each kind). round, sign, comparisons: 0. */
const dl_expr *dl_expr_derive(dl_exprs *set, const dl_expr *y, int input);

/* y with every input i replaced by with[i] (of `set`; y may come from another set). Random leaves
 * keep their stream. */
const dl_expr *dl_expr_substitute(dl_exprs *set, const dl_expr *y, const dl_expr *const *with,
                                  int count);

/* Infix text that parses back to the same expression (inputs as x0, x1, ...). What is large and
 * shares much begins with bindings, "t0 = exp(x0); t0 * t0". NULL: no memory. */
const char *dl_expr_text(dl_arena *arena, const dl_expr *expr);
/* Bit i: depends on input i (i < 64). Any uniform/normal in it? */
uint64_t dl_expr_inputs(const dl_expr *expr);
bool dl_expr_is_random(const dl_expr *expr);
/* Evaluation of one element in double precision (tests, schedules): no polynomials, libm. */
double dl_expr_value(const dl_expr *expr, const double *inputs);

/* ---- CPU programs ---- */

/* How input i of a program runs over elements e of the output: element (e / div) % mod.
 * full: div 1, mod count; scalar: mod 1; last axes: mod P; per sample: div = elements a sample. */
typedef struct dl_expr_access {
    int64_t div, mod;
} dl_expr_access;

typedef struct dl_expr_program dl_expr_program;

enum { DL_EXPR_MAX_INPUTS = 24, DL_EXPR_MAX_OUTPUTS = 24 };

/* Compiles `outputs` (all of one element count) for `inputs` inputs. The widest instruction set of
 * this CPU (and of the ranks, dl_expr_limit) is used. Own memory: dl_expr_program_free. */
dl_status dl_expr_compile(const dl_expr *const *outputs, int output_count, int inputs,
                          dl_expr_program **out);
void dl_expr_program_free(dl_expr_program *program);
/* DL_OK where dl_expr_compile will not find them too large, else what it will say. */
dl_status dl_expr_fits(const dl_expr *const *outputs, int output_count, int inputs);

/* Says, before the first run, how the program's inputs and outputs lie in memory: DL_F32 (unless
 * this is called) or half; inputs also DL_U8. Arithmetic stays float32: half and bytes are
 * widened as they are read, and half is rounded to nearest, ties to even, as it is written
 * (NaN: 0x7fc0, 0x7e00). The pointers of dl_expr_run to them are those of their memory, cast. */
dl_status dl_expr_store(dl_expr_program *program, const dl_dtype *inputs, const dl_dtype *outputs);

/* Runs elements [first, last) of `count`. in[i], out[j]: as dl_expr_store says; out[j] may be in[i]
 * when that access is full and both have the same element type. `random` with `sample_elements`
 * (elements a sample) keys uniform and normal; NULL if there are none. Allocates nothing; any
 * thread, several at once. */
void dl_expr_run(const dl_expr_program *program, const float *const *in,
                 const dl_expr_access *access, float *const *out, int64_t count, int64_t first,
                 int64_t last, const dl_random *random, int64_t sample_elements);

/* Instruction sets, ascending. */
typedef enum dl_isa { DL_ISA_PORTABLE, DL_ISA_AVX2, DL_ISA_AVX512, DL_ISA_COUNT } dl_isa;
dl_isa dl_isa_here(void); /* widest of this CPU */
dl_isa dl_isa_used(void); /* no wider than agreed: where the instructions decide the bits */
const char *dl_isa_name(dl_isa isa);
void dl_expr_limit(dl_isa isa); /* before compiling: use at most this (agreed among ranks; tests) */

#endif
