/* The bare kernels of a training step: what a program would take that did nothing but call the
 * library for the job's convolutions, dense layers and pooling, forward and backward, each in the
 * form that is fastest here, with no copies between layouts, no other mathematics, no input, no
 * update and no communication. Started once for each rank:
 *
 *   bench_floor JOB [--set KEY=VALUE ...] -- RANK RANKS THREADS fp32|bf16
 *
 * Prints a line of JSON when ready; then, for each line "SECONDS" on its input, runs passes for as
 * long and prints their times. floor_list.c reads the job, floor_kernel.c makes the kernels. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/cores.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "tests/bench/floor_kernel.h"

/* A pass is the forward kernels in order, then the others backward. */
typedef struct step_kernel {
    kernel kernel;
    int layer;
    kernel_direction direction;
    int form;
    double seconds;
} step_kernel;

typedef struct area {
    void *memory;
    size_t bytes;
} area;

typedef struct floor_run {
    bench_list list;
    step_kernel *step;
    int steps, passes;
    bool bf16;
    area *value;      /* of each value */
    area *kept;       /* of each layer */
    area gradient[2]; /* one is read, the other written, and so on in turn */
    area seed;        /* the gradient that the loss gives */
    area scratch;
    area trial[KERNEL_ARGUMENTS];
} floor_run;

static uint32_t noise_state = 1;

static float noise(void) {
    noise_state = noise_state * 1664525u + 1013904223u;
    return (float)(noise_state >> 8) / (float)(1 << 23) - 1.0f;
}

/* Small numbers of both signs: no infinities after many layers, and nothing denormal. */
static void fill(void *memory, size_t bytes, bool bf16, float scale) {
    for (size_t i = 0; i < bytes / (bf16 ? 2 : 4); i++) {
        float x = noise() * scale;
        if (bf16)
            memcpy((char *)memory + 2 * i, (char *)&x + 2, 2);
        else
            memcpy((char *)memory + 4 * i, &x, 4);
    }
}

static bool grow(area *a, size_t bytes, bool bf16) {
    if (a->bytes >= bytes)
        return true;
    dl_free(a->memory);
    a->memory = dl_alloc(bytes);
    a->bytes = a->memory ? bytes : 0;
    if (a->memory)
        fill(a->memory, bytes, bf16, 1.0f);
    return a->memory != NULL;
}

static bool put_trial(floor_run *f, kernel *k) {
    for (int i = 0; i < k->arguments; i++) {
        bool whole = k->place[i] == PLACE_KEPT;
        area *a = whole ? &f->trial[KERNEL_ARGUMENTS - 1] : &f->trial[i];
        if (!grow(a, k->bytes[i], f->bf16))
            return false;
        kernel_put(k, i, a->memory);
    }
    return true;
}

/* Seconds of the fastest of a few runs. */
static double try_kernel(floor_run *f, kernel *k) {
    double best = 1e30, spent = 0;
    if (!put_trial(f, k) || !kernel_run(k))
        return 1e30;
    for (int turn = 0; turn < 7 && (turn < 1 || spent < 0.1); turn++) {
        double begun = dl_seconds();
        if (!kernel_run(k))
            return 1e30;
        double took = dl_seconds() - begun;
        spent += took;
        best = took < best ? took : best;
    }
    return best;
}

/* Pooling and normalisation: the form is chosen for forward and backward together. */
static double try_back(floor_run *f, const bench_layer *layer, int form, const kernel *forward) {
    kernel back;
    if (!kernel_exists(layer, BACKWARD_DATA))
        return 0;
    if (!kernel_make(&back, layer, BACKWARD_DATA, form, f->bf16, forward))
        return 1e30;
    double seconds = try_kernel(f, &back);
    kernel_free(&back);
    return seconds;
}

static dl_status choose(floor_run *f, int layer, kernel_direction direction,
                        const step_kernel *forward) {
    const bench_layer *l = &f->list.layer[layer];
    step_kernel *s = &f->step[f->steps];
    bool paired = l->kind == LAYER_POOL || l->kind == LAYER_NORM;
    double best = 1e29;
    *s = (step_kernel){.layer = layer, .direction = direction};
    for (int form = 0; form < KERNEL_FORMS; form++) {
        kernel k;
        if (paired && direction != FORWARD && form != forward->form)
            continue;
        if (!kernel_make(&k, l, direction, form, f->bf16, forward ? &forward->kernel : NULL))
            continue;
        double took = try_kernel(f, &k);
        if (paired && direction == FORWARD)
            took += try_back(f, l, form, &k);
        if (took >= best) {
            kernel_free(&k);
            continue;
        }
        kernel_free(&s->kernel);
        best = took;
        s->kernel = k;
        s->form = form;
    }
    if (best >= 1e29)
        return dl_fail(DL_UNAVAILABLE, "the library has no kernel for layer '%s' in %s", l->name,
                       f->bf16 ? "bf16" : "fp32");
    f->steps++;
    return DL_OK;
}

static dl_status choose_all(floor_run *f) {
    int count = f->list.count;
    for (int i = 0; i < count; i++)
        DL_TRY(choose(f, i, FORWARD, NULL));
    for (int i = count - 1; i >= 0; i--) {
        if (kernel_exists(&f->list.layer[i], BACKWARD_WEIGHTS))
            DL_TRY(choose(f, i, BACKWARD_WEIGHTS, &f->step[i]));
        if (kernel_exists(&f->list.layer[i], BACKWARD_DATA))
            DL_TRY(choose(f, i, BACKWARD_DATA, &f->step[i]));
    }
    for (int i = 0; i < KERNEL_ARGUMENTS; i++) {
        dl_free(f->trial[i].memory);
        f->trial[i] = (area){NULL, 0};
    }
    return DL_OK;
}

/* The area of an argument that it shares with other kernels; NULL: its own. `turn`: gradients read
 * so far. */
static area *shared_area(floor_run *f, const step_kernel *s, kernel_place place, int turn) {
    const bench_layer *l = &f->list.layer[s->layer];
    switch (place) {
    case PLACE_X:
        return &f->value[l->x];
    case PLACE_Y:
        return &f->value[l->y];
    case PLACE_DY:
        return turn ? &f->gradient[turn % 2] : &f->seed;
    case PLACE_DX:
        return &f->gradient[(turn + 1) % 2];
    case PLACE_KEPT:
        return &f->kept[s->layer];
    case PLACE_SCRATCH:
        return &f->scratch;
    case PLACE_OWN:
        break;
    }
    return NULL;
}

/* In two rounds: sizes, then memory. */
static dl_status place_all(floor_run *f, bool put) {
    int turn = 0;
    for (int i = 0; i < f->steps; i++) {
        step_kernel *s = &f->step[i];
        kernel *k = &s->kernel;
        const bench_layer *l = &f->list.layer[s->layer];
        float fan = (float)(l->channels / l->groups * (l->kernel[0] ? l->kernel[0] : 1) *
                            (l->kernel[1] ? l->kernel[1] : 1));
        for (int a = 0; a < k->arguments; a++) {
            area *shared = shared_area(f, s, k->place[a], turn), own = {NULL, 0};
            if (!put && shared && !grow(shared, k->bytes[a], f->bf16))
                return dl_fail_memory(k->bytes[a]);
            if (!put)
                continue;
            if (!shared && !grow(&own, k->bytes[a], f->bf16))
                return dl_fail_memory(k->bytes[a]);
            if (k->weights[a])
                fill(own.memory, own.bytes, f->bf16, __builtin_sqrtf(6.0f / fan));
            kernel_put(k, a, shared ? shared->memory : own.memory);
        }
        turn += s->direction == BACKWARD_DATA;
    }
    return DL_OK;
}

static const char *kind_name(const floor_run *f, const step_kernel *s) {
    static const char *const names[][DIRECTIONS] = {
        [LAYER_CONV] = {"conv_forward", "conv_backward_data", "conv_backward_weights"},
        [LAYER_DENSE] = {"dense_forward", "dense_backward_data", "dense_backward_weights"},
        [LAYER_POOL] = {"pool_forward", "pool_backward", ""},
        [LAYER_NORM] = {"norm_forward", "norm_backward", ""}};
    return names[f->list.layer[s->layer].kind][s->direction];
}

static dl_status pass(floor_run *f) {
    double before = dl_seconds();
    for (int i = 0; i < f->steps; i++) {
        if (!kernel_run(&f->step[i].kernel))
            return dl_fail(DL_INTERNAL, "a kernel failed");
        double now = dl_seconds();
        f->step[i].seconds += now - before;
        before = now;
    }
    f->passes++;
    return DL_OK;
}

/* Milliseconds a pass, by kind, normalisation apart: "step" is the sum of the others. */
static void report(const floor_run *f) {
    double step = 0, norm = 0;
    for (int i = 0; i < f->steps; i++)
        *(f->list.layer[f->step[i].layer].kind == LAYER_NORM ? &norm : &step) += f->step[i].seconds;
    double scale = 1e3 / f->passes;
    printf("{\"passes\": %d, \"step_ms\": %.6f, \"norm_ms\": %.6f, \"kinds_ms\": {", f->passes,
           step * scale, norm * scale);
    const char *comma = "";
    for (int i = 0; i < f->steps; i++) {
        const char *name = kind_name(f, &f->step[i]);
        double sum = 0;
        bool first = true;
        for (int k = 0; k < f->steps; k++)
            if (strcmp(name, kind_name(f, &f->step[k])) == 0) {
                sum += f->step[k].seconds;
                first = first && k >= i;
            }
        if (first) {
            printf("%s\"%s\": %.6f", comma, name, sum * scale);
            comma = ", ";
        }
    }
    puts("}}");
    fflush(stdout);
}

static dl_status serve(floor_run *f) {
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        double seconds = strtod(line, NULL), end = dl_seconds() + seconds;
        f->passes = 0;
        for (int i = 0; i < f->steps; i++)
            f->step[i].seconds = 0;
        do
            DL_TRY(pass(f));
        while (dl_seconds() < end || f->passes < 2);
        report(f);
    }
    return DL_OK;
}

static dl_status run(floor_run *f, const dl_options *options, int ranks, int threads) {
    DL_TRY(bench_list_open(&f->list, options, ranks));
    f->step = dl_alloc(sizeof *f->step * (size_t)(DIRECTIONS * f->list.count + 1));
    f->value = dl_alloc(sizeof *f->value * (size_t)(f->list.values + 1));
    f->kept = dl_alloc(sizeof *f->kept * (size_t)(f->list.count + 1));
    if (!f->step || !f->value || !f->kept)
        return dl_fail_memory(sizeof *f->value * (size_t)f->list.values);
    omp_set_num_threads(threads);
    DL_TRY(choose_all(f));
    DL_TRY(place_all(f, false));
    DL_TRY(place_all(f, true));
    DL_TRY(pass(f));
    double flops = 0;
    for (int i = 0; i < f->steps; i++)
        flops += kernel_flops(&f->list.layer[f->step[i].layer]);
    printf("{\"library\": \"oneDNN %d.%d.%d\", \"kernels\": %d, \"gflop\": %.6f, \"batch\": %lld, "
           "\"threads\": %d}\n",
           dnnl_version()->major, dnnl_version()->minor, dnnl_version()->patch, f->steps,
           flops / 1e9, (long long)f->list.batch, threads);
    fflush(stdout);
    return serve(f);
}

int main(int argc, char **argv) {
    int split = 1;
    while (split < argc && strcmp(argv[split], "--") != 0)
        split++;
    dl_options options;
    dl_cores cores;
    if (argc - split != 5) {
        fputs("bench_floor JOB [--set KEY=VALUE ...] -- RANK RANKS THREADS fp32|bf16\n", stderr);
        return DL_BAD_JOB;
    }
    int rank = atoi(argv[split + 1]), ranks = atoi(argv[split + 2]);
    int threads = atoi(argv[split + 3]);
    floor_run f = {.bf16 = strcmp(argv[split + 4], "bf16") == 0};
    dl_status status = dl_options_read(&options, split, argv);
    if (status == DL_OK)
        status = dl_cores_plan(rank, ranks, threads, &cores);
    if (status == DL_OK) {
        dl_cores_restart(&cores, argv);
        status = dl_cores_take(&cores);
    }
    if (status == DL_OK)
        status = run(&f, &options, ranks, threads);
    if (status != DL_OK)
        fprintf(stderr, "bench_floor: %s\n", dl_message());
    return (int)status;
}
