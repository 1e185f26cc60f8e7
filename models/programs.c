/* The programs of a network. A step, in order: forward pass of a shard; losses; gradients; one sum
 * over shards for each bucket of gradients, the metric sums riding in the last; update of the
 * parameters from the sums; moving averages. An evaluation is the forward pass in inference form
 * and the metric sums. The forward half is in forward.c, the update in update.c. */
#include <stdio.h>
#include <string.h>

#include "models/formula.h"
#include "models/loss_scale.h"
#include "models/optimizers.h"
#include "models/program.h"
#include "ops/ops.h"

/* Trained variables in the order of the slab (reverse of creation) that have a gradient. */
typedef struct trained {
    const dl_variable *variable;
    dl_value gradient;
} trained;

static void warn_unmoved(dl_network *network, const dl_variable *variable) {
    for (int i = 0; i < network->wiring.layers; i++) {
        const dl_layer *layer = &network->wiring.layer[i];
        if (layer->first_use && strcmp(layer->weights, variable->layer) == 0)
            dl_network_warn(network, layer->node,
                            "no loss depends on '%s', so it is not trained; add a loss for it, or "
                            "freeze it",
                            variable->name);
    }
}

static int find_gradients(dl_program *program, dl_value seed, trained *list) {
    dl_graph *graph = program->graph;
    const dl_variables *variables = &program->network->variables;
    int count = 0, kept = 0;
    dl_value *wrt = DL_NEW_N(&graph->arena, dl_value, variables->count + 1);
    dl_value *gradient = DL_NEW_N(&graph->arena, dl_value, variables->count + 1);
    if (!wrt || !gradient)
        return (int)dl_graph_fail(graph, DL_NO_MEMORY, "no memory for gradients");
    for (int i = variables->count - 1; i >= 0; i--)
        if (variables->list[i]->slab == DL_SLAB_PARAMETER) {
            list[count].variable = variables->list[i];
            wrt[count++] = dl_graph_variable(graph, variables->list[i]);
        }
    if (count == 0 || dl_gradients(graph, program->objective, seed, wrt, count, gradient) != DL_OK)
        return 0;
    for (int i = 0; i < count; i++) {
        if (gradient[i] >= 0)
            list[kept++] = (trained){list[i].variable, gradient[i]};
        else
            warn_unmoved(program->network, list[i].variable);
    }
    return kept;
}

static int64_t padded(const dl_variable *variable) {
    int64_t count = dl_type_count(&variable->type);
    return (count + DL_SLAB_ALIGN - 1) / DL_SLAB_ALIGN * DL_SLAB_ALIGN;
}

/* Moving averages, from statistics that are shared or were summed over the shards as part `part`
 * on. */
static void assign_moving(dl_program *program, dl_value sum, int part) {
    dl_graph *graph = program->graph;
    const dl_variables *variables = &program->network->variables;
    dl_value *latest = DL_NEW_N(&graph->arena, dl_value, variables->count + 1);
    if (!latest) {
        dl_graph_fail(graph, DL_NO_MEMORY, "no memory for moving averages");
        return;
    }
    graph->scope = "moving_average";
    for (const dl_moving *m = program->moving; m; m = m->next) {
        dl_value mean = m->shared ? m->mean : dl_sum_part(graph, sum, part++);
        dl_value variable = dl_graph_variable(graph, m->variable);
        dl_value *old = &latest[m->variable->order]; /* a layer used twice moves it twice */
        dl_symbol symbols[] = {
            dl_symbol_value("old", *old > 0 ? *old : variable), dl_symbol_value("mean", mean),
            dl_symbol_number("momentum", m->momentum), dl_symbol_number("rest", 1 - m->momentum),
            dl_symbol_value("samples", dl_program_samples(program))};
        *old = dl_formula(graph,
                          m->shared ? "old * momentum + mean * rest"
                                    : "old * momentum + mean / samples * rest",
                          NULL, symbols, m->shared ? 4 : 5);
    }
    for (const dl_moving *m = program->moving; m; m = m->next)
        if (latest[m->variable->order] > 0) {
            dl_graph_assign(graph, dl_graph_variable(graph, m->variable),
                            latest[m->variable->order]);
            latest[m->variable->order] = 0;
        }
    graph->scope = "";
}

/* Floats of a bucket, from the job: the first leaves early, the others amortise latency. */
static int64_t bucket_limit(const dl_program *program, bool first) {
    const dl_node *comm = dl_get(program->network->job, "comm");
    const dl_node *size = dl_get(comm, first ? "first_bucket" : "bucket");
    double mib = !size ? (first ? 1 : 25) : size->number * (size->unit[0] == 'K' ? 1.0 / 1024 : 1);
    return mib < 1 << 20 ? (int64_t)(mib * (1 << 18)) : (int64_t)1 << 38;
}

/* Cuts the gradients into buckets, sums each over the shards; what else the shards leave (metric
 * sums, statistics) rides in the last. Returns that last sum; *first_extra is the part of the first
 * extra. */
static dl_value sum_buckets(dl_program *program, const trained *list, int count,
                            const dl_value *extra, int extras, dl_gradient_range *ranges,
                            int *range_count, int *first_extra) {
    dl_graph *graph = program->graph;
    dl_value *part = DL_NEW_N(&graph->arena, dl_value, count + extras + 1), sum = -1;
    if (!part)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for buckets");
    *range_count = 0;
    for (int i = 0; i < count || i == 0;) {
        int used = 0, first = i;
        int64_t length = 0, limit = bucket_limit(program, *range_count == 0);
        while (i < count && (used == 0 || length + padded(list[i].variable) <= limit)) {
            const dl_variable *v = list[i].variable;
            if (used && v->offset != list[first].variable->offset + length)
                break; /* a weight without gradient lies between */
            part[used++] = list[i++].gradient;
            length += padded(v);
        }
        int gradients = used;
        if (i >= count) {
            *first_extra = used;
            for (int e = 0; e < extras; e++)
                part[used++] = extra[e];
        }
        char name[32];
        snprintf(name, sizeof name, "bucket_%d", *range_count);
        sum = dl_sum_leaves(graph, part, used, name);
        if (gradients && sum >= 0)
            ranges[(*range_count)++] =
                (dl_gradient_range){list[first].variable->offset, length,
                                    dl_view(graph, sum, DL_TYPE(DL_F32, length), 0)};
        if (i >= count || sum < 0)
            break;
    }
    return sum;
}

dl_status dl_network_step(void *argument, dl_graph *graph) {
    dl_network *network = argument;
    dl_program program;
    if (!dl_network_trains(network))
        return dl_fail_at(network->job, DL_BAD_JOB, "training needs a loss and an optimizer");
    DL_TRY(dl_program_open(&program, network, graph, true));
    DL_TRY(dl_program_objective(&program));
    size_t variables = (size_t)network->variables.count + 1;
    trained *list = DL_NEW_N(&graph->arena, trained, variables);
    dl_gradient_range *ranges = DL_NEW_N(&graph->arena, dl_gradient_range, variables);
    int extras = 1, range_count = 0, first_extra = 0;
    for (const dl_moving *m = program.moving; m; m = m->next)
        extras += !m->shared;
    dl_value *extra = DL_NEW_N(&graph->arena, dl_value, extras);
    if (!list || !ranges || !extra)
        return dl_fail_memory(variables * sizeof *list);
    extra[0] = dl_program_sums(&program);
    extras = 1;
    for (const dl_moving *m = program.moving; m; m = m->next)
        if (!m->shared)
            extra[extras++] = m->mean;
    bool scaled = network->precision == DL_F16;
    dl_loss_scale scale = {-1, -1, -1};
    if (scaled)
        scale = dl_loss_scale_open(graph, network->optimizer);
    int count = find_gradients(&program, scale.scale, list);
    DL_TRY(dl_graph_status(graph));
    dl_value sum =
        sum_buckets(&program, list, count, extra, extras, ranges, &range_count, &first_extra);
    DL_TRY(dl_graph_status(graph));
    dl_program_put_metrics(&program, dl_sum_part(graph, sum, first_extra));
    if (range_count > 0)
        dl_update_append(graph, network->optimizer, dl_given(network->job, "constants"),
                         dl_graph_input(graph, "learning_rate", DL_SCALAR(DL_F32), true),
                         dl_graph_input(graph, "step", DL_SCALAR(DL_F32), true), ranges,
                         range_count, scaled ? &scale : NULL);
    assign_moving(&program, sum, first_extra + 1);
    return dl_graph_status(graph);
}

dl_status dl_network_evaluation(void *argument, dl_graph *graph) {
    dl_network *network = argument;
    dl_program program;
    if (network->objective.terms == 0)
        return dl_fail_at(network->job, DL_BAD_JOB,
                          "an evaluation needs a loss, which says what the output is compared "
                          "with; add one, for example loss: mse");
    DL_TRY(dl_program_open(&program, network, graph, false));
    DL_TRY(dl_program_objective(&program));
    dl_value vector = dl_program_sums(&program);
    dl_value sum = dl_sum_leaves(graph, &vector, 1, "metrics");
    dl_program_put_metrics(&program, dl_sum_part(graph, sum, 0));
    return dl_graph_status(graph);
}

dl_status dl_network_prediction(void *argument, dl_graph *graph) {
    dl_network *network = argument;
    dl_program program;
    DL_TRY(dl_program_open(&program, network, graph, false));
    for (int i = 0; i < network->wiring.results; i++) {
        const dl_result *result = &network->wiring.result[i];
        if (!result->read)
            dl_graph_output_add(
                graph, result->name,
                dl_convert(graph, dl_program_input(&program, result->layer), DL_F32));
    }
    return dl_graph_status(graph);
}

dl_status dl_network_discover(dl_network *network, dl_graph *graph) {
    dl_program program;
    DL_TRY(dl_program_open(&program, network, graph, true));
    return dl_program_objective(&program);
}
