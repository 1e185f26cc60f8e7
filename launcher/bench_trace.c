/* A Chrome trace (JSON, "X" events): a process a rank, a lane a thread; steps hold their input and
 * the parts of the run, which hold the nodes. chrome://tracing and ui.perfetto.dev open it. Clocks
 * of hosts differ, so each rank counts from a barrier that all left together. See bench.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/bench.h"
#include "runtime/store/file.h"
#include "runtime/store/json.h"

static const char *const stream_name[DL_STREAMS] = {[DL_STREAM_COMPUTE] = "device",
                                                    [DL_STREAM_SUMS] = "device: sums",
                                                    [DL_STREAM_COPIES] = "device: copies"};
static const char *const loop_name[] = {
    [DL_BENCH_STEP] = "step", [DL_BENCH_INPUT] = "input", [DL_BENCH_READING] = "batch"};

/* What ranks send: slots below 0 are those of the loop. */
static dl_exec_span *collect(const dl_bench *b, int64_t *count) {
    int lanes = dl_exec_lanes(b->exec), most = b->loops, used = 0;
    double end = 0;
    for (int i = 0; i < b->loops; i++) {
        double over = b->loop[i].start + b->loop[i].seconds;
        if (b->loop[i].slot == DL_BENCH_STEP && over > end)
            end = over;
    }
    for (int lane = 0; lane < lanes; lane++) {
        int spans;
        dl_exec_spans(b->exec, lane, &spans);
        most += spans;
    }
    dl_exec_span *all = dl_alloc(sizeof *all * (size_t)(most + 1));
    for (int i = 0; i < b->loops && all; i++) {
        all[used] = b->loop[i];
        all[used++].slot = -1 - b->loop[i].slot;
    }
    for (int lane = 0; lane < lanes && all; lane++) {
        int spans;
        const dl_exec_span *span = dl_exec_spans(b->exec, lane, &spans);
        for (int i = 0; i < spans; i++)
            if (span[i].start + span[i].seconds <= end) /* of the steps that are traced */
                all[used++] = span[i];
    }
    for (int i = 0; i < used; i++)
        all[i].start -= b->mine.origin;
    *count = used;
    return all;
}

static void write_span(FILE *file, const dl_bench *b, int rank, const dl_exec_span *span) {
    char name[512], row[128], layer[384];
    const char *category = "loop";
    double flop = 0, bytes = 0;
    if (span->slot < 0) {
        snprintf(name, sizeof name, "\"%s\"", loop_name[-1 - span->slot]);
        dl_json_quote(row, sizeof row, "");
        dl_json_quote(layer, sizeof layer, "");
    } else {
        dl_exec_slot slot;
        char text[512];
        dl_exec_slot_at(b->exec, span->slot, &slot);
        category = slot.part ? "part" : "node";
        if (slot.part)
            snprintf(text, sizeof text, "%s", slot.name);
        else
            snprintf(text, sizeof text, "%s%s%s", slot.op, *slot.name ? " " : "", slot.name);
        dl_json_quote(name, sizeof name, text);
        dl_json_quote(row, sizeof row, slot.op);
        dl_json_quote(layer, sizeof layer, slot.name);
        flop = slot.calls ? slot.flop / (double)slot.calls : 0;
        bytes = slot.calls ? slot.bytes / (double)slot.calls : 0;
    }
    fprintf(file,
            ",\n{\"name\":%s,\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":"
            "%.3f",
            name, category, rank, span->lane, 1e6 * span->start, 1e6 * span->seconds);
    if (strcmp(category, "node") == 0)
        fprintf(file, ",\"args\":{\"row\":%s,\"layer\":%s,\"flop\":%.0f,\"bytes\":%.0f}", row,
                layer, flop, bytes);
    fputc('}', file);
}

static void write_all(FILE *file, const dl_bench *b, const dl_exec_span *all, int64_t most,
                      const int64_t *count) {
    int lanes = dl_exec_lanes(b->exec);
    dl_exec_report report;
    dl_exec_describe(b->exec, &report);
    char name[512];
    dl_json_quote(name, sizeof name, dl_text(b->session->job, "name"));
    fprintf(file, "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"job\":%s},\"traceEvents\":[\n",
            name);
    for (int r = 0; r < b->session->comm->size; r++) {
        fprintf(file,
                "%s{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":0,\"args\":{\"name\":"
                "\"rank %d\"}}",
                r ? ",\n" : "", r, r);
        for (int lane = 0; lane <= lanes; lane++) {
            char text[32] = "reading ahead";
            if (lane < lanes && b->session->device)
                snprintf(text, sizeof text, "%s", stream_name[lane]);
            else if (lane == lanes - 1 && report.overlap)
                snprintf(text, sizeof text, "sums");
            else if (lane < lanes)
                snprintf(text, sizeof text, "thread %d", lane);
            fprintf(file,
                    ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"args\":{"
                    "\"name\":\"%s\"}}",
                    r, lane, text);
        }
        for (int64_t i = 0; i < count[r]; i++)
            write_span(file, b, r, &all[r * most + i]);
    }
    fputs("\n]}\n", file);
}

static dl_status write_file(const dl_bench *b, const char *path, const dl_exec_span *all,
                            int64_t most, const int64_t *count) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (!file)
        return dl_fail_memory(0);
    write_all(file, b, all, most, count);
    bool whole = !ferror(file);
    whole = fclose(file) == 0 && whole;
    dl_status status = whole ? dl_file_replace(path, 0666, text, bytes) : dl_fail_memory(bytes);
    free(text);
    return status;
}

dl_status dl_bench_write_trace(dl_bench *b, const char *path) {
    dl_comm *comm = b->session->comm;
    int size = comm->size;
    int64_t mine = 0, most = 0;
    dl_exec_span *spans = collect(b, &mine), *padded = NULL, *all = NULL;
    int64_t *count = dl_alloc(sizeof *count * (size_t)size);
    dl_status status = spans && count ? DL_OK : dl_fail_memory(sizeof *spans);
    DL_GOTO(done, dl_comm_agree(comm, status));
    DL_GOTO(done, dl_comm_gather(comm, &mine, sizeof mine, count));
    for (int r = 0; r < size; r++)
        most = count[r] > most ? count[r] : most;
    size_t bytes = sizeof *all * (size_t)most;
    padded = dl_alloc(bytes);
    all = dl_alloc(bytes * (size_t)size);
    status = padded && all ? DL_OK : dl_fail_memory(bytes * (size_t)size);
    DL_GOTO(done, dl_comm_agree(comm, status));
    memcpy(padded, spans, sizeof *spans * (size_t)mine);
    DL_GOTO(done, dl_comm_gather(comm, padded, bytes, all));
    status = comm->rank == 0 ? write_file(b, path, all, most, count) : DL_OK;
    status = dl_comm_agree(comm, status);
done:
    dl_free(all);
    dl_free(padded);
    dl_free(count);
    dl_free(spans);
    return status;
}
