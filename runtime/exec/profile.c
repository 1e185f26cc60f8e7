/* Measuring a run: its parts, its nodes, and spans of time for a trace. Memory is made when it is
 * switched on; what runs writes into it from run.c, each lane from one thread. See exec.h. */
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/exec/internal.h"

static const char *const part_name[DL_RUN_PARTS] = {[DL_RUN_COMPUTE] = "compute",
                                                    [DL_RUN_WAITING] = "waiting",
                                                    [DL_RUN_COMMUNICATION] = "communication",
                                                    [DL_RUN_UPDATE] = "update"};
static const struct {
    const char *op, *name;
} around_name[AROUND] = {[AROUND_PACK] = {"pack", "weights"},
                         [AROUND_COPY] = {"copy", "buckets"},
                         [AROUND_ROWS] = {"take", "samples"},
                         [AROUND_GAPS] = {"idle", "between kernels"}};

void dl_profile_free(profile *p) {
    if (!p)
        return;
    dl_free(p->spans);
    dl_free(p->span);
    dl_free(p->sum);
    dl_free(p);
}

dl_status dl_exec_measure(dl_exec *exec, dl_measure level, int spans) {
    dl_profile_free(exec->profile);
    exec->profile = NULL;
    if (level == DL_MEASURE_OFF)
        return DL_OK;
    profile *p = dl_alloc(sizeof *p);
    if (!p)
        return dl_fail_memory(sizeof *p);
    p->nodes = level == DL_MEASURE_NODES;
    p->count = exec->variant[0]->count;
    p->slots = p->count + DL_RUN_PARTS + AROUND;
    p->lanes = dl_exec_lanes(exec);
    p->capacity = spans;
    size_t lanes = (size_t)p->lanes, kept = sizeof *p->span * lanes * (size_t)spans;
    p->sum = dl_alloc(sizeof *p->sum * lanes * (size_t)p->slots);
    p->span = dl_alloc(kept);
    p->spans = dl_alloc(sizeof *p->spans * lanes);
    if (!p->sum || !p->span || !p->spans) {
        dl_profile_free(p);
        return dl_fail_memory(kept);
    }
    memset(p->span, 0, kept); /* its pages are touched now, not in a step */
    exec->profile = p;
    return DL_OK;
}

static void keep(profile *p, int lane, int slot, double start, double end) {
    if (p->spans[lane] < p->capacity)
        p->span[(size_t)lane * (size_t)p->capacity + (size_t)p->spans[lane]++] =
            (dl_exec_span){slot, lane, start, end - start};
}

void dl_profile_note(profile *p, int lane, int slot, double start, double flop, double bytes) {
    dl_profile_add(p, lane, slot, start, dl_seconds(), flop, bytes);
}

void dl_profile_add(profile *p, int lane, int slot, double start, double end, double flop,
                    double bytes) {
    tally *sum = &p->sum[(size_t)lane * (size_t)p->slots + (size_t)slot];
    sum->seconds += end - start;
    sum->flop += flop;
    sum->bytes += bytes;
    sum->calls++;
    keep(p, lane, slot, start, end);
}

void dl_profile_lap(profile *p, dl_run_part part) {
    double now = dl_seconds();
    int slot = p->count + (int)part;
    p->sum[slot].seconds += now - p->lap;
    p->sum[slot].calls++;
    keep(p, 0, slot, p->lap, now);
    p->lap = now;
}

int dl_exec_slot_count(const dl_exec *exec) {
    return exec->profile ? exec->profile->slots : 0;
}

void dl_exec_slot_at(const dl_exec *exec, int index, dl_exec_slot *out) {
    const profile *p = exec->profile;
    int part = index - p->count, what = part - DL_RUN_PARTS;
    memset(out, 0, sizeof *out);
    out->part = part >= 0 && what < 0;
    if (part < 0) {
        out->op = exec->variant[0]->units[index].node->op->name;
        out->name = exec->variant[0]->units[index].node->name;
    } else {
        out->op = out->part ? "part" : around_name[what].op;
        out->name = out->part ? part_name[part] : around_name[what].name;
    }
    for (int lane = 0; lane < p->lanes; lane++) {
        const tally *sum = &p->sum[(size_t)lane * (size_t)p->slots + (size_t)index];
        out->seconds += sum->seconds;
        out->flop += sum->flop;
        out->bytes += sum->bytes;
        out->calls += sum->calls;
    }
}

double dl_exec_part(const dl_exec *exec, dl_run_part part) {
    return exec->profile ? exec->profile->sum[exec->profile->count + (int)part].seconds : 0;
}

int dl_exec_lanes(const dl_exec *exec) {
    return exec->queue ? DL_STREAMS : exec->workers + (exec->carrier != NULL);
}

const dl_exec_span *dl_exec_spans(const dl_exec *exec, int lane, int *count) {
    const profile *p = exec->profile;
    *count = p->spans[lane];
    return p->span + (size_t)lane * (size_t)p->capacity;
}
