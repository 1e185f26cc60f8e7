/* The benchmark as text, and the figures that text and JSON share. See bench.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/bench.h"
#include "ops/dnnl.h"
#include "ops/peak.h"

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

dl_spread dl_spread_of(const double *value, int count) {
    double *sorted = dl_alloc(sizeof *sorted * (size_t)count);
    if (!sorted || count < 1) {
        dl_free(sorted);
        return (dl_spread){0, 0, 0};
    }
    memcpy(sorted, value, sizeof *sorted * (size_t)count);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    dl_spread spread = {(sorted[(count - 1) / 2] + sorted[count / 2]) / 2, sorted[0],
                        sorted[count - 1]};
    dl_free(sorted);
    return spread;
}

static int longest_first(const void *a, const void *b) {
    double x = ((const dl_bench_row *)a)->seconds, y = ((const dl_bench_row *)b)->seconds;
    return x > y ? -1 : x < y;
}

int dl_bench_group(const dl_bench *bench, bool by_op, dl_bench_row *out) {
    int groups = 0;
    for (int i = 0; i < bench->rows; i++) {
        const dl_bench_row *row = &bench->row[i];
        int g = 0;
        while (g < groups &&
               strcmp(by_op ? out[g].op : out[g].name, by_op ? row->op : row->name) != 0)
            g++;
        if (g == groups)
            out[groups++] = (dl_bench_row){.op = row->op, .name = row->name};
        out[g].seconds += row->seconds;
        out[g].calls += row->calls;
        out[g].flop += row->flop;
        out[g].bytes += row->bytes;
    }
    qsort(out, (size_t)groups, sizeof *out, longest_first);
    return groups;
}

static double largest(double a, double b) {
    return a > b ? a : b;
}

dl_bench_rank dl_bench_mean(const dl_bench *bench) {
    dl_bench_rank mean = {.step = 0};
    int size = bench->session->comm->size;
    for (int r = 0; r < size; r++) {
        const dl_bench_rank *rank = &bench->rank[r];
        mean.step += rank->step / size;
        mean.input += rank->input / size;
        mean.reading += rank->reading / size;
        mean.other += rank->other / size;
        for (int p = 0; p < DL_RUN_PARTS; p++)
            mean.part[p] += rank->part[p] / size;
        mean.peak += rank->peak; /* of all together */
        mean.bandwidth += rank->bandwidth / size;
        mean.memory = largest(rank->memory, mean.memory);
        for (int i = 0; i < DL_BENCH_STAGES; i++) {
            mean.start[i] = largest(rank->start[i], mean.start[i]);
            mean.start_memory[i] = largest(rank->start_memory[i], mean.start_memory[i]);
        }
    }
    return mean;
}

static void print_part(const char *name, double seconds, double step, const char *what) {
    printf("  %-15s%10.4f%8.1f %%%s%s\n", name, 1e3 * seconds, 100 * seconds / step,
           *what ? "   " : "", what);
}

static void print_parts(const dl_bench *b, const dl_bench_rank *mean) {
    dl_exec_report report;
    dl_exec_describe(b->exec, &report);
    bool alone = b->session->comm->size == 1, overlaps = report.overlap;
    printf("\nStep            ms          share   parts timed%s, mean%s\n",
           b->session->device ? " by the device's clock, steps not recorded" : "",
           alone ? "" : " over the ranks");
    char reading[128];
    snprintf(reading, sizeof reading, "getting the batch, which takes %.4f ms to read",
             1e3 * mean->reading);
    if (!b->session->device)
        print_part("input", mean->input, mean->step, reading);
    print_part("compute", mean->part[DL_RUN_COMPUTE], mean->step,
               b->session->device ? "forward and backward, and taking the batch"
                                  : "forward and backward");
    print_part("communication", mean->part[DL_RUN_COMMUNICATION], mean->step,
               alone                            ? "sums over pieces of the batch"
               : overlaps || b->session->device ? "what compute did not hide, and the waiting"
                                                : "none of it hidden behind compute");
    print_part("update", mean->part[DL_RUN_UPDATE], mean->step, "");
    if (!b->session->device) {
        print_part("waiting", mean->part[DL_RUN_WAITING], mean->step, "for the last rank");
        print_part("other", mean->other, mean->step, "");
    }
    print_part("sum", mean->step, mean->step, "");
}

static void print_start(const dl_bench_rank *mean) {
    printf("\nStart                    s         MiB   to the end of the first step; slowest, "
           "largest rank\n");
    for (int i = 0; i < DL_BENCH_STAGES; i++)
        printf("  %-20s%8.3f%10.1f\n", dl_bench_stage_name[i],
               mean->start[i] - (i ? mean->start[i - 1] : 0), mean->start_memory[i] / (1 << 20));
    printf("  %-20s%8.3f%10.1f\n", "sum", mean->start[DL_BENCH_BEGUN],
           mean->start_memory[DL_BENCH_BEGUN] / (1 << 20));
}

/* What a row cannot be faster than, over what it takes; no answer where the device has none. */
static double share_of_limit(const dl_bench_row *row, const dl_bench_rank *mean, int ranks) {
    double flop = row->flop / mean->peak, bytes = row->bytes / mean->bandwidth / ranks;
    return largest(flop, bytes) / row->seconds;
}

static void print_group(const dl_bench *b, const dl_bench_rank *mean, bool by_op,
                        dl_bench_row *group) {
    int size = b->session->comm->size, groups = dl_bench_group(b, by_op, group);
    double all = 0;
    for (int i = 0; i < groups; i++)
        all += group[i].seconds;
    bool limited = b->session->device && mean->peak > 0 && mean->bandwidth > 0;
    bool side = !b->session->device && dl_team_form_of(b->session->team) == DL_TEAM_SIDE;
    printf("\n%-32s%12s%10s%10s%10s%12s%10s%s\n", by_op ? "By row" : "By layer",
           side ? "thread ms" : "ms a step", "share", "calls", "GFLOP", "GFLOP/s", "GB/s",
           limited ? "  of limit" : "");
    for (int i = 0; i < groups; i++) {
        const dl_bench_row *row = &group[i];
        double seconds = row->seconds > 0 ? row->seconds : 1e-12;
        printf("%-32s%12.4f%8.1f %%%10.4g",
               *(by_op ? row->op : row->name) ? by_op ? row->op : row->name : "(step)",
               1e3 * row->seconds, 100 * row->seconds / all, row->calls / size);
        if (row->flop > 0)
            printf("%10.3f%12.1f", 1e-9 * row->flop, 1e-9 * row->flop / seconds);
        else
            printf("%10s%12s", "", "");
        if (row->bytes > 0)
            printf("%10.2f", 1e-9 * row->bytes / seconds);
        if (limited && row->bytes > 0)
            printf("%8.1f %%", 100 * share_of_limit(row, mean, size));
        putchar('\n');
    }
}

static void print_peaks(const dl_bench *b, const dl_bench_rank *mean, double rate) {
    const char *precision = dl_text(b->session->job, "precision");
    if (!(mean->peak > 0)) { /* a device without room to measure */
        printf("  GFLOP/s        %10.1f\n", 1e-9 * rate);
        return;
    }
    printf("  GFLOP/s        %10.1f   %.1f %% of %.1f, the best of ", 1e-9 * rate,
           100 * rate / mean->peak, 1e-9 * mean->peak);
    if (b->session->device)
        printf("cuBLASLt's %s products here; copies move %.1f GB/s\n", precision,
               1e-9 * mean->bandwidth);
    else
        printf("oneDNN's %s products of %dx%d on these threads\n", precision, DL_PEAK_SIZE,
               DL_PEAK_SIZE);
}

static void print_rates(const dl_bench *b, const dl_bench_rank *mean) {
    const dl_session *s = b->session;
    int ranks = s->comm->size;
    dl_spread rate = dl_spread_of(b->rate, b->options->repeat);
    dl_spread step = dl_spread_of(b->step, b->options->repeat);
    printf("%s: batch %" PRId64 " on %d rank%s x %d thread%s%s (%s), %" PRId64
           " parameters, %s, oneDNN %s\n",
           dl_text(s->job, "name"), b->batches.options.batch, ranks, ranks == 1 ? "" : "s",
           s->threads, s->threads == 1 ? "" : "s", s->side && s->threads > 1 ? " side by side" : "",
           s->comm->table->name, dl_network_parameter_count(s->network, false),
           dl_text(s->job, "precision"), dl_dnnl_version());
    if (s->device)
        printf("device: %s\n", s->device->text);
    printf("%d repetition%s of %" PRId64 " steps after %" PRId64 " to warm up\n\n",
           b->options->repeat, b->options->repeat == 1 ? "" : "s", b->steps, b->warmup);
    int places = rate.median < 100 ? 2 : 0;
    printf("  samples/s      %10.*f   median; %.*f to %.*f\n", places, rate.median, places,
           rate.least, places, rate.most);
    printf("  ms a step      %10.4f   median; %.4f to %.4f", 1e3 * step.median, 1e3 * step.least,
           1e3 * step.most);
    if (b->options->rate)
        printf("\n");
    else
        printf(" (%.4f %s, %.4f with every node timed)\n", 1e3 * mean->step,
               s->device ? "by the device's clock" : "with parts timed", 1e3 * b->profiled);
    if (!b->options->rate)
        print_peaks(b, mean, b->flop / step.median);
    printf("  memory         %10.1f   MiB at most%s\n", mean->memory / (1 << 20),
           ranks == 1 ? "" : ", of the largest rank");
}

dl_status dl_bench_print(const dl_bench *b) {
    dl_bench_rank mean = dl_bench_mean(b);
    dl_bench_row *group = dl_alloc(sizeof *group * (size_t)(b->rows + 1));
    if (!group)
        return dl_fail_memory(sizeof *group * (size_t)b->rows);
    print_rates(b, &mean);
    if (!b->options->rate)
        print_parts(b, &mean);
    print_start(&mean);
    for (int by_op = 1; by_op >= 0 && !b->options->rate; by_op--)
        print_group(b, &mean, by_op, group);
    dl_free(group);
    return DL_OK;
}
