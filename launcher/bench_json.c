/* The benchmark for programs: all that is printed, and every repetition, rank and node. Times are
 * in seconds a step, sizes in bytes. See bench.h. */
#include <math.h>
#include <string.h>

#include "launcher/bench.h"
#include "launcher/kernels.h"
#include "ops/dnnl.h"
#include "ops/peak.h"
#include "runtime/expr/expr.h"
#include "runtime/store/file.h"
#include "runtime/store/json.h"

static const char host_peak[] =
    "best of oneDNN's products of matrices in this precision, all ranks at once";
static const char device_peak[] =
    "best of cuBLASLt's products of matrices in this precision, of all ranks' devices";

/* NaN and infinity have no number in JSON. */
static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static void put(json_t *object, const char *key, json_t *value) {
    json_object_set_new(object, key, value); /* NULL: an error that the end of the writing sees */
}

static json_t *spread_of(const double *value, int count) {
    dl_spread spread = dl_spread_of(value, count);
    json_t *object = json_object(), *all = json_array();
    put(object, "median", number(spread.median));
    put(object, "min", number(spread.least));
    put(object, "max", number(spread.most));
    for (int i = 0; i < count; i++)
        json_array_append_new(all, number(value[i]));
    put(object, "all", all);
    return object;
}

static json_t *parts_of(const dl_bench_rank *rank) {
    json_t *object = json_object();
    put(object, "step", number(rank->step));
    put(object, "input", number(rank->input));
    put(object, "compute", number(rank->part[DL_RUN_COMPUTE]));
    put(object, "communication", number(rank->part[DL_RUN_COMMUNICATION]));
    put(object, "update", number(rank->part[DL_RUN_UPDATE]));
    put(object, "waiting", number(rank->part[DL_RUN_WAITING]));
    put(object, "other", number(rank->other));
    return object;
}

/* Each stage of the start: when it was over, and the most memory until then. */
static json_t *start_of(const dl_bench_rank *rank) {
    json_t *list = json_array();
    for (int i = 0; i < DL_BENCH_STAGES; i++) {
        json_t *object = json_object();
        put(object, "stage", json_string(dl_bench_stage_name[i]));
        put(object, "end", number(rank->start[i]));
        put(object, "peak_memory", number(rank->start_memory[i]));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *ranks_of(const dl_bench *b) {
    json_t *list = json_array();
    for (int r = 0; r < b->session->comm->size; r++) {
        json_t *object = json_object();
        put(object, "parts", parts_of(&b->rank[r]));
        put(object, "peak_flop_per_second", number(b->rank[r].peak));
        if (b->session->device)
            put(object, "peak_bytes_per_second", number(b->rank[r].bandwidth));
        put(object, "peak_memory", number(b->rank[r].memory));
        put(object, "start_to_first_step", number(b->rank[r].start[DL_BENCH_BEGUN]));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *rows_of(const dl_bench_row *row, int count, bool op, bool name) {
    json_t *list = json_array();
    double all = 0;
    for (int i = 0; i < count; i++)
        all += row[i].seconds;
    for (int i = 0; i < count; i++) {
        json_t *object = json_object();
        if (op)
            put(object, "row", json_string(row[i].op));
        if (name)
            put(object, "layer", json_string(row[i].name));
        put(object, "seconds", number(row[i].seconds));
        put(object, "share", number(row[i].seconds / all));
        put(object, "calls", number(row[i].calls));
        put(object, "flop", number(row[i].flop));
        put(object, "bytes", number(row[i].bytes));
        put(object, "flop_per_second", number(row[i].flop / row[i].seconds));
        put(object, "bytes_per_second", number(row[i].bytes / row[i].seconds));
        json_array_append_new(list, object);
    }
    return list;
}

/* "model name : ..." of the first processor. */
static json_t *processor_name(void) {
    char line[512], *text = NULL;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && !text && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':'))
            text = strchr(line, ':') + 2;
    if (file)
        fclose(file);
    if (text)
        text[strcspn(text, "\n")] = '\0';
    return json_string(text ? text : "");
}

static void put_setting(json_t *top, const dl_bench *b) {
    const dl_session *s = b->session;
    dl_exec_report report;
    dl_exec_describe(b->exec, &report);
    put(top, "format", json_string("dltrain-bench 1"));
    put(top, "job", json_string(dl_text(s->job, "name")));
    put(top, "dltrain", json_string(DL_VERSION));
    put(top, "onednn", json_string(dl_dnnl_version()));
    put(top, "instructions", json_string(dl_isa_name(dl_isa_here())));
    put(top, "processor", processor_name());
    put(top, "device", json_string(s->device ? s->device->text : "cpu"));
    put(top, "ranks", json_integer(s->comm->size));
    put(top, "threads", json_integer(s->threads));
    put(top, "side_by_side", json_boolean(s->side && s->threads > 1));
    put(top, "communicator", json_string(s->comm->table->name));
    put(top, "overlap", json_boolean(report.overlap));
    put(top, "reproducible", json_string(s->any_ranks ? "any_ranks" : "run"));
    put(top, "precision", json_string(dl_text(s->job, "precision")));
    put(top, "batch_size", json_integer(b->batches.options.batch));
    put(top, "parameters", json_integer(dl_network_parameter_count(s->network, false)));
    put(top, "warmup", json_integer(b->warmup));
    put(top, "steps", json_integer(b->steps));
    put(top, "repeat", json_integer(b->options->repeat));
    put(top, "loss", number(b->loss));
}

static void put_results(json_t *top, const dl_bench *b, dl_bench_row *group) {
    dl_bench_rank mean = dl_bench_mean(b);
    double step = dl_spread_of(b->step, b->options->repeat).median;
    put(top, "samples_per_second", spread_of(b->rate, b->options->repeat));
    put(top, "step", spread_of(b->step, b->options->repeat));
    put(top, "start_to_first_step", number(mean.start[DL_BENCH_BEGUN]));
    put(top, "start", start_of(&mean));
    put(top, "peak_memory", number(mean.memory));
    put(top, "reading", number(mean.reading));
    if (b->options->rate)
        return;
    put(top, "parts", parts_of(&mean));
    put(top, "step_with_nodes_timed", number(b->profiled));
    put(top, "flop", number(b->flop));
    put(top, "flop_per_second", number(b->flop / step));
    put(top, "peak_flop_per_second", number(mean.peak));
    put(top, "peak_of", json_string(b->session->device ? device_peak : host_peak));
    if (b->session->device)
        put(top, "peak_bytes_per_second", number(mean.bandwidth));
    else
        put(top, "peak_matrix_size", json_integer(DL_PEAK_SIZE));
    put(top, "share_of_peak", number(b->flop / step / mean.peak));
    put(top, "by_rank", ranks_of(b));
    int count = dl_bench_group(b, true, group);
    put(top, "rows", rows_of(group, count, true, false));
    count = dl_bench_group(b, false, group);
    put(top, "layers", rows_of(group, count, false, true));
    put(top, "nodes", rows_of(b->row, b->rows, true, true));
}

/* The kernels that were chosen for a device, as a run keeps them. */
static dl_status put_kernels(json_t *top, const dl_bench *b) {
    char *text;
    DL_TRY(dl_kernels_text(b->session, &text));
    if (text)
        put(top, "kernels", json_string(text));
    dl_free(text);
    return DL_OK;
}

dl_status dl_bench_write_json(const dl_bench *b, const char *path) {
    dl_json_setup();
    dl_bench_row *group = dl_alloc(sizeof *group * (size_t)(b->rows + 1));
    json_t *top = json_object();
    if (!group || !top) {
        dl_free(group);
        json_decref(top);
        return dl_fail_memory(sizeof *group * (size_t)b->rows);
    }
    put_setting(top, b);
    put_results(top, b, group);
    char *text = NULL;
    size_t count = 0;
    dl_status status = put_kernels(top, b);
    if (status == DL_OK)
        status = dl_json_write(top, 0, &text, &count);
    if (status == DL_OK)
        status = dl_file_replace(path, 0666, text, count);
    dl_free(text);
    json_decref(top);
    dl_free(group);
    return status;
}
