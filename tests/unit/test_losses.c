/* Losses against naive formulas in double precision, on outputs that were not squashed,
 * from_logits, and on outputs of softmax and sigmoid; labels outside 0..1 for binary_crossentropy.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/model.h"

enum { N = 5, C = 4 };

/* Loss of one row of c predictions p against t, as Keras 2.4 defines it. */
typedef double (*naive)(const double *p, const double *t);

static double mean(const double *each) {
    return (each[0] + each[1] + each[2] + each[3]) / C;
}
#define ROWS(name, text)                                   \
    static double name(const double *p, const double *t) { \
        double each[C];                                    \
        for (int i = 0; i < C; i++)                        \
            each[i] = (text);                              \
        return mean(each);                                 \
    }
ROWS(mse, (p[i] - t[i]) * (p[i] - t[i]))
ROWS(mae, fabs(p[i] - t[i]))
ROWS(mape, 100 * fabs((t[i] - p[i]) / fmax(fabs(t[i]), 1e-7)))
ROWS(msle, pow(log(fmax(p[i], 1e-7) + 1) - log(fmax(t[i], 1e-7) + 1), 2))
ROWS(huber, fabs(p[i] - t[i]) <= 0.5 ? 0.5 * pow(p[i] - t[i], 2) : 0.5 * fabs(p[i] - t[i]) - 0.125)
ROWS(hinge, fmax(0, 1 - (t[i] == 0 ? -1 : t[i]) * p[i]))
ROWS(squared_hinge, pow(fmax(0, 1 - (t[i] == 0 ? -1 : t[i]) * p[i]), 2))
ROWS(poisson, p[i] - t[i] * log(p[i] + 1e-7))
ROWS(log_cosh, log(cosh(p[i] - t[i])))
ROWS(binary_logits, log(1 + exp(p[i])) - p[i] * t[i])
ROWS(binary_plain, -(t[i] * log(fmin(fmax(p[i], 1e-7), 1 - 1e-7) + 1e-7) +
                     (1 - t[i]) * log(1 - fmin(fmax(p[i], 1e-7), 1 - 1e-7) + 1e-7)))

static double categorical_hinge(const double *p, const double *t) {
    double right = 0, wrong = -INFINITY;
    for (int i = 0; i < C; i++) {
        right += t[i] * p[i];
        wrong = fmax(wrong, (1 - t[i]) * p[i]);
    }
    return fmax(0, wrong - right + 1);
}
static double kl_divergence(const double *p, const double *t) {
    double sum = 0;
    for (int i = 0; i < C; i++) {
        double a = fmin(fmax(t[i], 1e-7), 1), b = fmin(fmax(p[i], 1e-7), 1);
        sum += a * log(a / b);
    }
    return sum;
}
static double cosine(const double *p, const double *t) {
    double pt = 0, pp = 0, tt = 0;
    for (int i = 0; i < C; i++) {
        pt += p[i] * t[i];
        pp += p[i] * p[i];
        tt += t[i] * t[i];
    }
    return -pt / sqrt(pp * tt);
}
static double categorical_logits(const double *p, const double *t) {
    double sum = 0, loss = 0;
    for (int i = 0; i < C; i++)
        sum += exp(p[i]);
    for (int i = 0; i < C; i++)
        loss -= t[i] * (p[i] - log(sum));
    return loss;
}
static double categorical_smooth(const double *p, const double *t) {
    double soft[C];
    for (int i = 0; i < C; i++)
        soft[i] = t[i] * 0.8 + 0.2 / C;
    return categorical_logits(p, soft);
}
static double categorical_plain(const double *p, const double *t) {
    double sum = 0, loss = 0;
    for (int i = 0; i < C; i++)
        sum += p[i];
    for (int i = 0; i < C; i++)
        loss -= t[i] * log(fmin(fmax(p[i] / sum, 1e-7), 1 - 1e-7));
    return loss;
}

typedef enum targets { REAL, POSITIVE, BINARY, ODD, HOT } targets;

static float target_of(targets kind, int row, int column) {
    double wave = sin(2.1 * row + 1.3 * column + 0.4);
    switch (kind) {
    case REAL:
        return (float)wave;
    case POSITIVE:
        return (float)(0.6 + 0.5 * wave);
    case BINARY:
        return wave > 0;
    case ODD: /* beyond 0..1, as noisy labels are */
        return wave > 0 ? 1.05f : -0.05f;
    default:
        return column == row % C;
    }
}

/* One loss through a network without weights; `positive` predictions where a logarithm is taken. */
static void check_loss(const char *loss, const char *layer, bool positive, targets kind,
                       naive formula) {
    const dl_field fields[] = {FLOATS("x", C), FLOATS("y", C)};
    float x[N * C], y[N * C];
    char yaml[512];
    model m;
    double want = 0, got[4];
    for (int row = 0; row < N; row++) {
        double p[C], t[C];
        for (int i = 0; i < C; i++) {
            double wave = cos(1.9 * row + 0.7 * i);
            x[row * C + i] = (float)(positive ? 0.5 + 0.45 * wave : 1.5 * wave);
            y[row * C + i] = target_of(kind, row, i);
            p[i] = (double)x[row * C + i];
            t[i] = (double)y[row * C + i];
        }
        want += formula(p, t) / N;
    }
    snprintf(yaml, sizeof yaml, "model:\n  - activation: %s\nloss: %s\n", layer, loss);
    bool good = model_open(&m, yaml, fields, 2);
    dl_exec *exec = good ? model_exec(&m, MODEL_EVALUATION, N) : NULL;
    if (exec) {
        model_bind(exec, "x", x);
        model_bind(exec, "y", y);
        if (model_evaluate(&m, exec, N, got)) {
            bool close = fabs(got[0] - want) <= 2e-6 * (1 + fabs(want));
            if (!close)
                printf("\n    %s on %s: got %.9g, want %.9g", loss, layer, got[0], want);
            CU_ASSERT(close);
        }
    }
    dl_exec_close(exec);
    model_close(&m);
}

static void test_elementwise(void) {
    check_loss("mse", "linear", false, REAL, mse);
    check_loss("mae", "linear", false, REAL, mae);
    check_loss("mape", "linear", false, POSITIVE, mape);
    check_loss("msle", "linear", false, POSITIVE, msle);
    check_loss("{huber: 0.5}", "linear", false, REAL, huber);
    check_loss("hinge", "linear", false, BINARY, hinge);
    check_loss("squared_hinge", "linear", false, BINARY, squared_hinge);
    check_loss("poisson", "linear", true, POSITIVE, poisson);
    check_loss("log_cosh", "linear", false, REAL, log_cosh);
}

static void test_rows(void) {
    check_loss("categorical_hinge", "linear", false, HOT, categorical_hinge);
    check_loss("kl_divergence", "linear", true, POSITIVE, kl_divergence);
    check_loss("cosine_similarity", "linear", false, REAL, cosine);
}

static void test_crossentropies(void) {
    check_loss("{binary_crossentropy: {from_logits: true}}", "linear", false, BINARY,
               binary_logits);
    check_loss("binary_crossentropy", "sigmoid", false, BINARY, binary_logits);
    check_loss("binary_crossentropy", "sigmoid", false, ODD, binary_logits);
    check_loss("binary_crossentropy", "linear", true, BINARY, binary_plain);
    check_loss("{categorical_crossentropy: {from_logits: true}}", "linear", false, HOT,
               categorical_logits);
    check_loss("categorical_crossentropy", "softmax", false, HOT, categorical_logits);
    check_loss("{categorical_crossentropy: {label_smoothing: 0.2}}", "softmax", false, HOT,
               categorical_smooth);
    check_loss("categorical_crossentropy", "linear", true, HOT, categorical_plain);
}

void suite_losses(void) {
    CU_pSuite suite = CU_add_suite("losses", NULL, NULL);
    CU_add_test(suite, "element by element", test_elementwise);
    CU_add_test(suite, "row by row", test_rows);
    CU_add_test(suite, "crossentropies", test_crossentropies);
}
