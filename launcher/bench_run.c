/* Steps, timed. Each repetition runs them twice: with nothing measured inside, for the samples/s,
 * and with the parts timed. Afterwards once more with every node timed. See bench.h. */
#include "launcher/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "launcher/signals.h"
#include "ops/peak.h"
#include "runtime/base/clock.h"

enum {
    TRACED_STEPS = 20,
    SETTLE = 3,       /* steps before the speed is known */
    DEVICE_STEPS = 10 /* profiled there, where the clock is the device's */
};
static const double warm_seconds = 0.5, repeat_seconds = 1.0;

/* Since the system started this process, in hundredths: what came before main() counts. */
static double process_age(void) {
    unsigned long long started = 0;
    char text[1024];
    struct timespec now;
    FILE *file = fopen("/proc/self/stat", "re");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[length] = '\0';
    const char *at = strrchr(text, ')');
    if (!at || clock_gettime(CLOCK_BOOTTIME, &now) != 0 ||
        sscanf(at + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
               "%*d %llu",
               &started) != 1)
        return NAN;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec -
           (double)started / (double)sysconf(_SC_CLK_TCK);
}

static double most_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? 1024.0 * (double)usage.ru_maxrss : NAN;
}

const char *const dl_bench_stage_name[DL_BENCH_STAGES] = {"loading", "job and data",
                                                          "kernels and weights", "first step"};

void dl_bench_mark(dl_bench *b, dl_bench_stage stage) {
    b->mine.start[stage] = process_age();
    b->mine.start_memory[stage] = most_memory();
}

static void keep_span(dl_bench *b, int slot, double start, double seconds) {
    int lane = slot == DL_BENCH_READING ? dl_exec_lanes(b->exec) : 0;
    if (b->loops < b->loop_capacity)
        b->loop[b->loops++] = (dl_exec_span){slot, lane, start, seconds};
}

/* The step of a training (launcher/train.c) without what it reports and keeps. */
static dl_status begin_step(dl_bench *b) {
    dl_session *s = b->session;
    int64_t last = s->steps > 0 ? s->steps - 1 : 0, at = b->done < last ? b->done : last;
    double base = dl_network_base_learning_rate(s->network);
    b->batches.step = (float)(b->done + 1);
    b->batches.learning_rate =
        (float)dl_network_learning_rate(s->network, at, s->steps > 0 ? s->steps : 1, base);
    dl_exec_notice(b->exec, dl_signals_stop() ? 1.0f : 0.0f);
    DL_TRY(dl_batches_begin(&b->batches));
    b->done++;
    return DL_OK;
}

/* Adds up a batch that is through, if there is one: dl_exec_collect. */
static dl_status count_batch(dl_bench *b, bool all, int64_t *batch, double *samples) {
    DL_TRY(dl_exec_collect(b->exec, all, batch));
    if (*batch == 0)
        return DL_OK;
    *samples += (double)*batch;
    if (dl_exec_noticed(b->exec) != 0.0f)
        return dl_fail(DL_STOPPED, "the benchmark was stopped by %s; nothing was written",
                       dl_signals_stop() ? dl_signals_name() : "a signal on another rank");
    b->loss = (double)dl_exec_result(b->exec, b->metrics_output)[0] / (double)*batch;
    return DL_OK;
}

/* Seconds and samples of `steps` steps, which all ranks begin together. */
static dl_status run_steps(dl_bench *b, int64_t steps, double *seconds, double *samples) {
    DL_TRY(dl_comm_barrier(b->session->comm));
    *samples = 0;
    b->batches.waited = 0;
    b->reading = 0;
    double start = dl_seconds(), begun = start;
    for (int64_t i = 0; i < steps; i++) {
        int64_t batch;
        DL_TRY(begin_step(b));
        do
            DL_TRY(count_batch(b, i == steps - 1, &batch, samples));
        while (batch > 0);
        b->reading += b->batches.reading;
        if (b->loop_capacity == 0)
            continue;
        double now = dl_seconds();
        keep_span(b, DL_BENCH_STEP, begun, now - begun);
        keep_span(b, DL_BENCH_INPUT, begun, b->batches.getting);
        keep_span(b, DL_BENCH_READING, b->batches.read_at, b->batches.reading);
        begun = now;
    }
    *seconds = dl_seconds() - start;
    return DL_OK;
}

/* The slowest rank's seconds. */
static dl_status slowest(dl_bench *b, double *seconds) {
    const dl_comm *comm = b->session->comm;
    double *all = dl_alloc(sizeof *all * (size_t)comm->size);
    dl_status status = all ? DL_OK : dl_fail_memory(sizeof *all * (size_t)comm->size);
    status = dl_comm_agree(b->session->comm, status);
    if (status == DL_OK)
        status = dl_comm_gather(b->session->comm, seconds, sizeof *seconds, all);
    for (int r = 0; r < comm->size && status == DL_OK; r++)
        *seconds = all[r] > *seconds ? all[r] : *seconds;
    dl_free(all);
    return status;
}

static int64_t bounded_count(double count, int64_t least, int64_t most) {
    return count < (double)least ? least : count > (double)most ? most : (int64_t)count;
}

/* First steps, which make kernels and touch memory, and how many make a repetition. */
static dl_status warm_up(dl_bench *b) {
    double seconds, samples;
    DL_TRY(run_steps(b, 1, &seconds, &samples));
    dl_bench_mark(b, DL_BENCH_BEGUN);
    int64_t rest = b->options->warmup - 1;
    if (b->options->warmup < 0 || b->options->steps < 0) {
        DL_TRY(run_steps(b, SETTLE - 1, &seconds, &samples));
        DL_TRY(run_steps(b, SETTLE, &seconds, &samples));
        DL_TRY(slowest(b, &seconds));
        rest = b->options->warmup - 2 * SETTLE;
    }
    if (b->options->warmup < 0)
        rest = bounded_count(warm_seconds * SETTLE / seconds, 0, 10000);
    double speed = seconds / SETTLE;
    if (rest > 0)
        DL_TRY(run_steps(b, rest, &seconds, &samples));
    b->steps = b->options->steps >= 0 ? b->options->steps
                                      : bounded_count(repeat_seconds / speed, 3, 100000);
    b->warmup = b->done;
    return DL_OK;
}

static dl_status time_repetitions(dl_bench *b) {
    double seconds, samples, sum[DL_RUN_PARTS] = {0}, step = 0, input = 0, reading = 0;
    int repeat = b->options->repeat;
    for (int i = 0; i < repeat; i++) {
        DL_TRY(run_steps(b, b->steps, &seconds, &samples));
        DL_TRY(slowest(b, &seconds));
        b->step[i] = seconds / (double)b->steps;
        b->rate[i] = samples / seconds;
        if (b->session->device || b->options->rate) { /* a device's parts are of the profile */
            reading += b->reading;
            continue;
        }
        DL_TRY(dl_comm_agree(b->session->comm, dl_exec_measure(b->exec, DL_MEASURE_PARTS, 0)));
        DL_TRY(run_steps(b, b->steps, &seconds, &samples));
        step += seconds;
        input += b->batches.waited;
        reading += b->reading;
        for (int p = 0; p < DL_RUN_PARTS; p++)
            sum[p] += dl_exec_part(b->exec, (dl_run_part)p);
        dl_exec_measure(b->exec, DL_MEASURE_OFF, 0);
    }
    double steps = (double)b->steps * repeat;
    b->mine.reading = reading / steps;
    if (b->session->device || b->options->rate)
        return DL_OK;
    b->mine.step = step / steps;
    b->mine.input = input / steps;
    b->mine.other = b->mine.step - b->mine.input;
    for (int p = 0; p < DL_RUN_PARTS; p++) {
        b->mine.part[p] = sum[p] / steps;
        b->mine.other -= b->mine.part[p];
    }
    return DL_OK;
}

/* Every node timed, and for a trace the first steps kept span by span. */
static dl_status time_nodes(dl_bench *b) {
    dl_session *s = b->session;
    dl_exec_report report;
    dl_exec_describe(b->exec, &report);
    b->profiled_steps = s->device && b->steps > DEVICE_STEPS ? DEVICE_STEPS : b->steps;
    int64_t traced = b->options->trace ? TRACED_STEPS : 0;
    traced = traced < b->profiled_steps ? traced : b->profiled_steps;
    int64_t a_step = (int64_t)report.nodes * report.local_leaves +
                     (int64_t)8 * (report.collectives + 2) * (1 + report.local_leaves);
    dl_status status = DL_OK;
    if (traced > 0) {
        b->loop_capacity = DL_BENCH_LOOP_SLOTS * (int)traced;
        b->loop = dl_alloc(sizeof *b->loop * (size_t)b->loop_capacity);
        status = b->loop ? DL_OK : dl_fail_memory(sizeof *b->loop * (size_t)b->loop_capacity);
    }
    if (status == DL_OK)
        status = dl_exec_measure(b->exec, DL_MEASURE_NODES,
                                 (int)(a_step * traced < INT32_MAX ? a_step * traced : INT32_MAX));
    DL_TRY(dl_comm_agree(s->comm, status));
    DL_TRY(dl_comm_barrier(s->comm));
    b->mine.origin = dl_seconds();
    double seconds, samples;
    double count = (double)b->profiled_steps;
    DL_TRY(run_steps(b, b->profiled_steps, &seconds, &samples));
    b->profiled = seconds / count;
    b->mine.memory = most_memory();
    for (int p = 0; s->device && p < DL_RUN_PARTS; p++)
        b->mine.step += b->mine.part[p] = dl_exec_part(b->exec, (dl_run_part)p) / count;
    return DL_OK;
}

/* The ranks' slots added up, by slot: programs are the same on all. */
static dl_status gather_rows(dl_bench *b) {
    typedef struct figures {
        double seconds, calls, flop, bytes;
    } figures;
    const dl_comm *comm = b->session->comm;
    int slots = dl_exec_slot_count(b->exec);
    size_t bytes = sizeof(figures) * (size_t)slots;
    figures *mine = dl_alloc(bytes), *all = dl_alloc(bytes * (size_t)comm->size);
    b->row = dl_alloc(sizeof *b->row * (size_t)slots);
    dl_status status = mine && all && b->row ? DL_OK : dl_fail_memory(bytes);
    DL_GOTO(done, dl_comm_agree(b->session->comm, status));
    for (int i = 0; i < slots; i++) {
        dl_exec_slot slot;
        dl_exec_slot_at(b->exec, i, &slot);
        mine[i] = (figures){slot.seconds, (double)slot.calls, slot.flop, slot.bytes};
    }
    DL_GOTO(done, dl_comm_gather(b->session->comm, mine, bytes, all));
    for (int i = 0; i < slots; i++) {
        dl_exec_slot slot;
        dl_exec_slot_at(b->exec, i, &slot);
        if (slot.part)
            continue;
        dl_bench_row row = {.op = slot.op, .name = slot.name};
        for (int r = 0; r < comm->size; r++) {
            const figures *f = &all[(size_t)r * (size_t)slots + (size_t)i];
            row.seconds += f->seconds / (double)b->profiled_steps / comm->size;
            row.calls += f->calls / (double)b->profiled_steps;
            row.flop += f->flop / (double)b->profiled_steps;
            row.bytes += f->bytes / (double)b->profiled_steps;
        }
        b->flop += row.flop;
        if (row.calls > 0)
            b->row[b->rows++] = row;
    }
done:
    dl_free(all);
    dl_free(mine);
    return status;
}

static dl_status open_bench(dl_bench *b) {
    dl_session *s = b->session;
    int64_t samples = dl_data_samples(s->data, DL_PART_TRAIN);
    if (samples == 0)
        return dl_fail_at(dl_get(s->job, "data"), DL_BAD_JOB,
                          "there are 0 samples to measure with; check data.train");
    size_t repeat = (size_t)b->options->repeat, ranks = (size_t)s->comm->size;
    b->step = dl_alloc(sizeof *b->step * repeat);
    b->rate = dl_alloc(sizeof *b->rate * repeat);
    b->rank = dl_alloc(sizeof *b->rank * ranks);
    dl_status status =
        b->step && b->rate && b->rank ? DL_OK : dl_fail_memory(sizeof *b->rank * ranks);
    DL_TRY(dl_comm_agree(s->comm, status));
    DL_TRY(dl_session_allocate(s));
    int64_t batch = s->batch_size < samples ? s->batch_size : samples;
    DL_TRY(dl_session_program(s, "step", dl_network_step, true, DL_PART_TRAIN, batch,
                              samples % batch, &b->exec));
    b->metrics_output = dl_exec_output(b->exec, "metrics");
    dl_batches_options options = {.part = DL_PART_TRAIN, .batch = batch, .endless = true};
    return dl_batches_open(&b->batches, s, b->exec, &options);
}

static dl_status measure_peaks(dl_bench *b) {
    dl_session *s = b->session;
    dl_dtype dtype = dl_is(s->job, "precision", "bf16")   ? DL_BF16
                     : dl_is(s->job, "precision", "fp16") ? DL_F16
                                                          : DL_F32;
    if (s->device)
        return s->device->table->peaks(s->device, dtype, dl_bool(s->job, "tf32"), &b->mine.peak,
                                       &b->mine.bandwidth);
    return dl_peak_measure(s->team, dtype, &b->mine.peak);
}

dl_status dl_bench_run(dl_bench *b) {
    dl_session *s = b->session;
    DL_TRY(open_bench(b));
    dl_bench_mark(b, DL_BENCH_READY);
    DL_TRY(warm_up(b));
    DL_TRY(time_repetitions(b));
    b->mine.memory = most_memory();
    if (!b->options->rate) {
        DL_TRY(time_nodes(b));
        DL_TRY(gather_rows(b));
        DL_TRY(dl_comm_agree(s->comm, measure_peaks(b)));
    }
    return dl_comm_gather(s->comm, &b->mine, sizeof b->mine, b->rank);
}

void dl_bench_close(dl_bench *b) {
    dl_batches_close(&b->batches);
    dl_exec_close(b->exec);
    dl_free(b->loop);
    dl_free(b->row);
    dl_free(b->rank);
    dl_free(b->rate);
    dl_free(b->step);
}
