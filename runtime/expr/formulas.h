/* Every operation as a formula over A, B, C in the common part of C11 and CUDA C, one line each:
 * lanes.inc makes loops of them, exprs.c folds constants with them, emit.c writes them as text.
 * INPUT is a value as it is. Functions: math.h. */
#ifndef DL_EXPR_FORMULAS_H
#define DL_EXPR_FORMULAS_H

/* clang-format off */
#define DL_EXPR_FORMULA_LIST(X)                            \
    X(INPUT, A)                                            \
    X(ADD, A + B)                                          \
    X(SUB, A - B)                                          \
    X(MUL, A * B)                                          \
    X(DIV, A / B)                                          \
    X(FMA, fmaf(A, B, C))                                  \
    X(NEG, -A)                                             \
    X(POW, dl_m_pow(A, B))                                 \
    X(MIN, dl_m_min(A, B))                                 \
    X(MAX, dl_m_max(A, B))                                 \
    X(LESS, A < B ? 1.0f : 0.0f)                           \
    X(LESS_EQUAL, A <= B ? 1.0f : 0.0f)                    \
    X(EQUAL, A == B ? 1.0f : 0.0f)                         \
    X(AND, ((A != 0.0f) & (B != 0.0f)) ? 1.0f : 0.0f)      \
    X(OR, ((A != 0.0f) | (B != 0.0f)) ? 1.0f : 0.0f)       \
    X(NOT, A != 0.0f ? 0.0f : 1.0f)                        \
    X(WHERE, A != 0.0f ? B : C)                            \
    X(ABS, dl_m_abs(A))                                    \
    X(SIGN, dl_m_sign(A))                                  \
    X(ROUND, dl_m_round(A))                                \
    X(FLUSH, dl_m_flush(A))                                \
    X(SQRT, sqrtf(A))                                      \
    X(EXP, dl_m_exp(A))                                    \
    X(LOG, dl_m_log(A))                                    \
    X(LOG1P, dl_m_log1p(A))                                \
    X(TANH, dl_m_tanh(A))                                  \
    X(SIGMOID, dl_m_sigmoid(A))                            \
    X(ERF, dl_m_erf(A))

/* Functions of an angle; FUNCTION_near(A) is the same up to 32768. */
#define DL_EXPR_ANGLE_LIST(X) \
    X(SIN, dl_m_sin)          \
    X(COS, dl_m_cos)
/* clang-format on */

#endif
