/* Reads what `dltrain bench` wrote and finds it right or not: ranks_bench JSON TRACE RANKS STEPS
 * REPEAT FLOP, the last five as the benchmark was asked for, and the FLOP of the job's step worked
 * out by hand. Exit 0 when all is right. tests/runs/bench.sh starts both. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/store/file.h"
#include "runtime/store/json.h"

static int failures;

#define EXPECT(what)                                                  \
    do {                                                              \
        if (!(what)) {                                                \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            failures++;                                               \
        }                                                             \
    } while (0)

static json_t *read_json(const char *path) {
    char *text = NULL;
    size_t count = 0;
    json_t *top = NULL;
    if (dl_file_read(path, INT64_C(1) << 28, &text, &count) != DL_OK ||
        dl_json_read(path, text, count, &top) != DL_OK) {
        printf("%s\n", dl_message());
        exit(1);
    }
    dl_free(text);
    return top;
}

static double real(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void check_spread(const json_t *spread, size_t repeat) {
    double least = real(spread, "min"), most = real(spread, "max"), median = real(spread, "median");
    const json_t *all = json_object_get(spread, "all"), *value;
    size_t i, at_most = 0;
    EXPECT(json_array_size(all) == repeat);
    EXPECT(least > 0 && least <= median && median <= most);
    json_array_foreach(all, i, value) {
        EXPECT(json_number_value(value) >= least && json_number_value(value) <= most);
        at_most += json_number_value(value) <= median;
    }
    EXPECT(2 * at_most >= repeat);
}

/* Each is measured by itself but the last, so that the sum says something. */
static void check_parts(const json_t *parts) {
    static const char *const name[] = {"input", "compute", "communication", "update", "waiting"};
    double sum = 0, step = real(parts, "step"), other = real(parts, "other");
    for (int i = 0; i < DL_COUNT(name); i++) {
        EXPECT(real(parts, name[i]) >= 0);
        sum += real(parts, name[i]);
    }
    EXPECT(step > 0 && real(parts, "compute") > 0 && real(parts, "update") > 0);
    EXPECT(other >= -1e-6 * step && other < 0.5 * step);
    EXPECT(fabs(sum + other - step) <= 1e-9 * step);
}

static double check_rows(const json_t *rows, const char *key) {
    double share = 0, flop = 0;
    const json_t *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        EXPECT(json_is_string(json_object_get(row, key)));
        EXPECT(real(row, "seconds") >= 0 && real(row, "calls") > 0);
        share += real(row, "share");
        flop += real(row, "flop");
    }
    EXPECT(fabs(share - 1) < 1e-9);
    return flop;
}

static void check_json(const json_t *top, size_t ranks, int steps, size_t repeat, double flop) {
    EXPECT(strcmp(json_string_value(json_object_get(top, "format")), "dltrain-bench 1") == 0);
    EXPECT(real(top, "ranks") == (double)ranks);
    EXPECT(real(top, "steps") == steps);
    EXPECT(real(top, "warmup") == 7);
    EXPECT(isfinite(real(top, "loss")));
    const json_t *rate = json_object_get(top, "samples_per_second");
    const json_t *step = json_object_get(top, "step");
    check_spread(rate, repeat);
    check_spread(step, repeat);
    /* all batches of this job are full, so the best repetition of one is that of the other */
    EXPECT(fabs(real(rate, "max") * real(step, "min") - real(top, "batch_size")) < 1e-6);
    check_parts(json_object_get(top, "parts"));
    const json_t *by_rank = json_object_get(top, "by_rank"), *rank;
    double peak = 0;
    size_t i;
    EXPECT(json_array_size(by_rank) == ranks);
    json_array_foreach(by_rank, i, rank) {
        check_parts(json_object_get(rank, "parts"));
        peak += real(rank, "peak_flop_per_second");
        EXPECT(real(rank, "peak_memory") > 1 << 20);
        EXPECT(real(rank, "start_to_first_step") > 0);
    }
    const json_t *start = json_object_get(top, "start"), *stage;
    double before = 0;
    EXPECT(json_array_size(start) == 4);
    json_array_foreach(start, i, stage) {
        EXPECT(json_is_string(json_object_get(stage, "stage")));
        EXPECT(real(stage, "end") >= before && real(stage, "peak_memory") > 1 << 20);
        before = real(stage, "end");
    }
    EXPECT(before == real(top, "start_to_first_step"));
    EXPECT(real(top, "reading") > 0);
    EXPECT(fabs(real(top, "flop") - flop) < 1e-9 * flop); /* on any number of ranks */
    EXPECT(fabs(check_rows(json_object_get(top, "rows"), "row") - flop) < 1e-9 * flop);
    EXPECT(fabs(check_rows(json_object_get(top, "layers"), "layer") - flop) < 1e-9 * flop);
    EXPECT(fabs(check_rows(json_object_get(top, "nodes"), "row") - flop) < 1e-9 * flop);
    double reached = flop / real(step, "median");
    EXPECT(fabs(real(top, "peak_flop_per_second") - peak) < 1e-9 * peak);
    EXPECT(fabs(real(top, "flop_per_second") - reached) < 1e-9 * reached);
    EXPECT(fabs(real(top, "share_of_peak") - reached / peak) < 1e-9);
    if (ranks == 1)
        EXPECT(real(json_object_get(top, "parts"), "waiting") < 0.1 * real(step, "max"));
}

typedef struct span {
    double start, end;
    int rank, lane, kind; /* 0 step, 1 input or part, 2 node */
} span;

static int in_order(const void *a, const void *b) { /* the outer one first */
    const span *x = a, *y = b;
    if (x->rank != y->rank || x->lane != y->lane)
        return x->rank != y->rank ? x->rank - y->rank : x->lane - y->lane;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->kind - y->kind;
}

/* Steps hold parts, parts hold nodes, brothers do not overlap; times are printed in thousandths. */
static void check_nesting(const span *all, size_t count) {
    const double rounding = 0.002;
    const span *open[3] = {NULL, NULL, NULL};
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        const span *s = &all[i];
        if (i > 0 && (s->rank != all[i - 1].rank || s->lane != all[i - 1].lane))
            open[0] = open[1] = open[2] = NULL;
        if (open[s->kind] && s->start < open[s->kind]->end - rounding)
            bad++;
        if (s->lane == 0)
            for (int kind = 0; kind < s->kind; kind++)
                bad += !open[kind] || s->end > open[kind]->end + rounding;
        open[s->kind] = s;
    }
    EXPECT(bad == 0);
}

/* A device has no parts that hold its nodes. */
static void check_trace(const json_t *top, int ranks, int steps, bool device) {
    const json_t *events = json_object_get(top, "traceEvents"), *event;
    size_t i, count = 0, names = 0;
    int traced = steps < 20 ? steps : 20;
    size_t bytes = sizeof(int) * (size_t)ranks;
    int *seen = dl_alloc(bytes), *nodes = dl_alloc(bytes), *batches = dl_alloc(bytes);
    span *all = dl_alloc(sizeof *all * (json_array_size(events) + 1));
    json_array_foreach(events, i, event) {
        const char *phase = json_string_value(json_object_get(event, "ph"));
        const char *name = json_string_value(json_object_get(event, "name"));
        const char *category = json_string_value(json_object_get(event, "cat"));
        int rank = (int)real(event, "pid"), lane = (int)real(event, "tid");
        EXPECT(phase && name && rank >= 0 && rank < ranks && lane >= 0);
        if (!phase || !name || rank < 0 || rank >= ranks)
            continue;
        names += strcmp(name, "process_name") == 0;
        if (strcmp(phase, "X") != 0)
            continue;
        double start = real(event, "ts"), length = real(event, "dur");
        bool ahead = strcmp(name, "batch") == 0; /* read before its step began */
        EXPECT((start >= 0 || ahead) && length >= 0 && category);
        batches[rank] += ahead;
        bool step = strcmp(name, "step") == 0, node = category && strcmp(category, "node") == 0;
        seen[rank] += step;
        nodes[rank] += node;
        if (!ahead) /* two may be read at a time: who waits for one helps with the next */
            all[count++] = (span){start, start + length, rank, lane, step ? 0 : node ? 2 : 1};
    }
    EXPECT(names == (size_t)ranks);
    for (int r = 0; r < ranks; r++) {
        EXPECT(seen[r] == traced && batches[r] == traced);
        EXPECT(nodes[r] >= 10 * traced && nodes[r] % traced == 0);
    }
    qsort(all, count, sizeof *all, in_order);
    if (!device)
        check_nesting(all, count);
    dl_free(all);
    dl_free(batches);
    dl_free(nodes);
    dl_free(seen);
}

int main(int argc, char **argv) {
    if (argc != 7)
        return 2;
    int ranks = atoi(argv[3]), steps = atoi(argv[4]), repeat = atoi(argv[5]);
    json_t *figures = read_json(argv[1]), *trace = read_json(argv[2]);
    check_json(figures, (size_t)ranks, steps, (size_t)repeat, atof(argv[6]));
    const char *device = json_string_value(json_object_get(figures, "device"));
    check_trace(trace, ranks, steps, strcmp(device, "cpu") != 0);
    json_decref(trace);
    json_decref(figures);
    printf("%d failures\n", failures);
    return failures > 0;
}
