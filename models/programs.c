/* The programs of a network. A step, in order: forward pass of a shard; losses; gradients; one sum
 * over shards for each bucket of gradients, the metric sums riding in the last; update of the
 * parameters from the sums; moving averages. An evaluation is the forward pass in inference form
 * and the metric sums. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "models/formula.h"
#include "models/network_inner.h"
#include "models/optimizers.h"
#include "models/regularizers.h"
#include "ops/ops.h"

/* Floats of the first bucket and of the others: the first leaves early, the others amortise
 * latency. */
enum { FIRST_BUCKET = 1 << 18, BUCKET = 25 << 18 };

typedef struct building {
    dl_network *network;
    dl_graph *graph;
    bool training;
    dl_value *output; /* of each layer */
    dl_logits *logits;
    dl_moving *moving;
    dl_value samples;
    dl_value *loss, *measured; /* sums over the shard's samples, of each term and measure */
    dl_value objective;        /* what is differentiated */
} building;

static dl_value samples_of(building *program) {
    if (program->samples < 0)
        program->samples = dl_graph_input(program->graph, "samples", DL_SCALAR(DL_F32), true);
    return program->samples;
}

/* A field as the data has it. */
static dl_value field_of(building *program, int index) {
    const dl_field *field = &program->network->wiring.field[index];
    dl_type type = {.dtype = field->type.dtype, .rank = field->type.rank + 1};
    type.dim[0] = program->graph->samples;
    memcpy(type.dim + 1, field->type.dim, sizeof(int64_t) * (size_t)field->type.rank);
    return dl_graph_input(program->graph, field->name, type, false);
}

/* What layers read: float32 of at least two dimensions (Keras gives single numbers a second one).
 */
static dl_value input_of(building *program, int source) {
    if (source >= 0)
        return program->output[source];
    dl_value value = field_of(program, -1 - source);
    if (value < 0)
        return -1;
    dl_type type = *dl_type_of(program->graph, value);
    if (type.dtype != DL_F32)
        value = dl_cast(program->graph, value, DL_F32);
    return type.rank == 1 ? dl_reshape(program->graph, value, DL_TYPE(DL_F32, type.dim[0], 1))
                          : value;
}

static void build_layer(building *program, int index) {
    dl_network *network = program->network;
    dl_graph *graph = program->graph;
    dl_layer *layer = &network->wiring.layer[index];
    dl_value input[64];
    const char *name[64];
    graph->place = layer->node;
    graph->scope = layer->name;
    for (int i = 0; i < layer->sources; i++) {
        input[i] = input_of(program, layer->source[i]);
        name[i] = dl_wiring_source_name(&network->wiring, layer->source[i]);
    }
    if (graph->status != DL_OK)
        return;
    bool training = layer->mode < 0 ? program->training : layer->mode;
    dl_layer_build build = {.graph = graph,
                            .variables = &network->variables,
                            .layer = layer,
                            .node = layer->node,
                            .input = input,
                            .inputs = layer->sources,
                            .input_name = name,
                            .training = training,
                            .updates = program->training,
                            .samples = training ? samples_of(program) : -1,
                            .statistics = network->statistics,
                            .moving = &program->moving,
                            .logits = {DL_SQUASH_NONE, -1}};
    program->output[index] = layer->row->build(&build);
    program->logits[index] = build.logits;
    if (program->output[index] >= 0)
        layer->type = *dl_type_of(graph, program->output[index]);
}

/* Layers that pass a value on keep what it was squashed from. */
static dl_logits logits_of(const building *program, int source) {
    dl_logits none = {DL_SQUASH_NONE, -1};
    return source >= 0 ? program->logits[source] : none;
}

static dl_status open_program(building *program, dl_network *network, dl_graph *graph,
                              bool training) {
    *program = (building){
        .network = network, .graph = graph, .training = training, .samples = -1, .objective = -1};
    size_t layers = (size_t)network->wiring.layers;
    size_t terms = (size_t)network->objective.terms, measures = (size_t)network->objective.measures;
    program->output = DL_NEW_N(&graph->arena, dl_value, layers);
    program->logits = DL_NEW_N(&graph->arena, dl_logits, layers);
    program->loss = DL_NEW_N(&graph->arena, dl_value, terms + 1);
    program->measured = DL_NEW_N(&graph->arena, dl_value, measures + 1);
    if (!program->output || !program->logits || !program->loss || !program->measured)
        return dl_fail_memory(sizeof(dl_value) * layers);
    for (int i = 0; i < network->wiring.layers && graph->status == DL_OK; i++)
        build_layer(program, i);
    graph->place = NULL;
    graph->scope = "";
    return dl_graph_status(graph);
}

/* Weight of each sample by its class, [n]: by the label's number, by a one-hot row, or by a number
 * that is compared with each class. */
static dl_value class_weight_of(building *program, dl_value target) {
    dl_network *network = program->network;
    dl_graph *graph = program->graph;
    if (!network->class_weight || !program->training || target < 0)
        return -1;
    dl_type type = *dl_type_of(graph, target);
    dl_type per_sample = DL_TYPE(DL_F32, type.dim[0]);
    int64_t width = dl_type_count(&type) / type.dim[0];
    dl_value table = dl_graph_variable(graph, network->class_weight);
    if (type.dtype == DL_I32 && width == 1) {
        dl_value ids = dl_reshape(graph, target, DL_TYPE(DL_I32, type.dim[0]));
        return dl_reshape(graph, dl_gather(graph, table, ids), per_sample);
    }
    dl_value rows = type.dtype == DL_F32 ? target : dl_cast(graph, target, DL_F32);
    rows = dl_reshape(graph, rows, DL_TYPE(DL_F32, type.dim[0], width));
    dl_symbol symbols[] = {dl_symbol_value("row", rows), dl_symbol_value("weight", -1)};
    if (width == network->classes) {
        symbols[1].value = dl_reshape(graph, table, DL_TYPE(DL_F32, width));
        return dl_reduce(graph, dl_formula(graph, "row * weight", NULL, symbols, 2), DL_REDUCE_SUM,
                         2, false);
    }
    if (width == 1 && network->classes == 2) {
        dl_symbol two[] = {dl_symbol_value("row", rows),
                           dl_symbol_number("w0", network->class_weights[0]),
                           dl_symbol_number("w1", network->class_weights[1])};
        return dl_reshape(graph, dl_formula(graph, "where(row == 1, w1, w0)", NULL, two, 3),
                          per_sample);
    }
    return dl_graph_fail(graph, DL_BAD_JOB,
                         "class_weight names %d classes, but the target has %lld values a sample",
                         network->classes, (long long)width);
}

static dl_value sum_samples(dl_graph *graph, dl_value samples) {
    return dl_reduce(graph, samples, DL_REDUCE_SUM, 1, false);
}

static void warn_logits(building *program, const dl_term *term) {
    dl_network *network = program->network;
    const dl_node *from = dl_get(term->node, "from_logits");
    if (!network->discovering || !from || term->output < 0)
        return;
    const dl_layer *layer = &network->wiring.layer[term->output];
    const dl_node *activation = dl_get(layer->node, "activation");
    bool binary = strcmp(term->node->word->name, "binary_crossentropy") == 0;
    if (from->number == 0 && activation && dl_activation_is(activation, "linear"))
        dl_network_warn(network, layer->node,
                        "%s compares probabilities, but '%s' has no activation; add activation: "
                        "%s, or from_logits: true in the loss",
                        term->node->word->name, layer->name, binary ? "sigmoid" : "softmax");
    if (from->number != 0 && program->logits[term->output].squash != DL_SQUASH_NONE)
        dl_network_warn(network, term->node,
                        "from_logits: true, but '%s' ends in %s; the loss would apply it again",
                        layer->name, binary ? "sigmoid" : "softmax");
}

static void compare_with(building *program, const dl_term *term, dl_compare *compare) {
    dl_network *network = program->network;
    const dl_wiring *wiring = &network->wiring;
    *compare = (dl_compare){.graph = program->graph,
                            .output_name = term->output_name,
                            .prediction = input_of(program, term->output),
                            .logits = logits_of(program, term->output),
                            .probabilities = -1,
                            .target = -1,
                            .target_number = term->target_number};
    compare->output_node = term->output >= 0 ? wiring->layer[term->output].node : NULL;
    if (term->target >= 0) {
        compare->target = field_of(program, term->target);
        compare->target_name = wiring->field[term->target].name;
        compare->classes = wiring->field[term->target].classes;
    }
}

static void set_item(dl_compare *compare, const dl_node *item) {
    compare->node = item;
    compare->word = item->word->name;
    compare->graph->place = item;
    compare->graph->scope = item->word->name;
}

/* Losses and metrics: their sums over the shard, and the objective, the weighted losses over all
 * samples of the batch, as Keras's reduction SUM_OVER_BATCH_SIZE. */
static dl_status build_objective(building *program) {
    dl_network *network = program->network;
    dl_graph *graph = program->graph;
    const dl_objective *objective = &network->objective;
    for (int i = 0; i < objective->terms && graph->status == DL_OK; i++) {
        const dl_term *term = &objective->term[i];
        dl_compare compare;
        compare_with(program, term, &compare);
        set_item(&compare, term->node);
        if (graph->status == DL_OK)
            warn_logits(program, term);
        dl_value each = dl_compare_samples(&compare, term->node->word->impl);
        dl_value weight = class_weight_of(program, compare.target);
        if (weight >= 0)
            each = dl_map(graph, "x0 * x1", (dl_value[]){each, weight}, 2);
        if (term->sample_weight >= 0) {
            dl_value given = input_of(program, -1 - term->sample_weight);
            if (given >= 0)
                given = dl_reshape(graph, given, DL_TYPE(DL_F32, graph->samples));
            each = dl_map(graph, "x0 * x1", (dl_value[]){each, given}, 2);
        }
        program->loss[i] = sum_samples(graph, each);
        for (int j = 0; j < objective->measures && graph->status == DL_OK; j++) {
            dl_measure *measure = &objective->measure[j];
            if (measure->term != i)
                continue;
            set_item(&compare, measure->node);
            measure->row = dl_metric_row(&compare);
            program->measured[j] = sum_samples(graph, dl_compare_samples(&compare, measure->row));
        }
    }
    if (program->training) {
        graph->scope = "loss";
        for (int i = 0; i < objective->terms && graph->status == DL_OK; i++) {
            dl_symbol symbols[] = {dl_symbol_value("sum", program->loss[i]),
                                   dl_symbol_value("samples", samples_of(program)),
                                   dl_symbol_number("weight", objective->term[i].weight),
                                   dl_symbol_value("others", program->objective)};
            program->objective =
                i == 0 ? dl_formula(graph, "weight * sum / samples", NULL, symbols, 3)
                       : dl_formula(graph, "others + weight * sum / samples", NULL, symbols, 4);
        }
    }
    graph->place = NULL;
    graph->scope = "";
    return dl_graph_status(graph);
}

/* The shard's sums of losses and metrics side by side, [terms + measures]. */
static dl_value metric_vector(building *program) {
    const dl_objective *objective = &program->network->objective;
    dl_graph *graph = program->graph;
    int count = objective->terms + objective->measures;
    dl_value *each = DL_NEW_N(&graph->arena, dl_value, count + 1);
    if (!each)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for metrics");
    for (int i = 0; i < count; i++)
        each[i] = dl_reshape(graph,
                             i < objective->terms ? program->loss[i]
                                                  : program->measured[i - objective->terms],
                             DL_TYPE(DL_F32, 1));
    return count == 1 ? each[0] : dl_concatenate(graph, each, count, 0);
}

/* Penalties of the weights, times the samples, so that they average like the other sums. */
static dl_value penalty_sum(building *program) {
    dl_graph *graph = program->graph;
    dl_variables *variables = &program->network->variables;
    dl_value total = -1;
    for (int i = 0; i < variables->count; i++) {
        const dl_variable *v = variables->list[i];
        dl_penalty penalty = dl_penalty_of(v->regularizer);
        uint32_t axes = (1u << v->type.rank) - 1;
        dl_value w = dl_graph_variable(graph, v);
        for (int kind = 0; kind < 2; kind++) {
            double factor = kind ? penalty.l1 : penalty.l2;
            if (factor == 0)
                continue;
            dl_symbol symbols[] = {
                dl_symbol_value("sum", dl_reduce(graph, w,
                                                 kind ? DL_REDUCE_SUM_ABS : DL_REDUCE_SUM_SQUARES,
                                                 axes, false)),
                dl_symbol_number("factor", factor), dl_symbol_value("total", total)};
            total = total < 0 ? dl_formula(graph, "sum * factor", NULL, symbols, 2)
                              : dl_formula(graph, "total + sum * factor", NULL, symbols, 3);
        }
    }
    if (total < 0)
        return -1;
    dl_value pair[] = {total, samples_of(program)};
    return dl_reshape(graph, dl_map(graph, "x0 * x1", pair, 2), DL_TYPE(DL_F32, 1));
}

/* The output "metrics" from the shared sums. */
static void put_metrics(building *program, dl_value sums) {
    dl_graph *graph = program->graph;
    graph->scope = "metrics";
    if (program->network->penalties) {
        dl_value parts[] = {sums, penalty_sum(program)};
        sums = dl_concatenate(graph, parts, 2, 0);
    }
    dl_graph_output_add(graph, "metrics", sums);
    graph->scope = "";
}

/* Trained variables in the order of the slab (reverse of creation) that have a gradient. */
typedef struct trained {
    const dl_variable *variable;
    dl_value gradient;
} trained;

static int find_gradients(building *program, trained *list) {
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
    if (count == 0 || dl_gradients(graph, program->objective, -1, wrt, count, gradient) != DL_OK)
        return 0;
    for (int i = 0; i < count; i++)
        if (gradient[i] >= 0)
            list[kept++] = (trained){list[i].variable, gradient[i]};
    return kept;
}

static int64_t padded(const dl_variable *variable) {
    int64_t count = dl_type_count(&variable->type);
    return (count + DL_SLAB_ALIGN - 1) / DL_SLAB_ALIGN * DL_SLAB_ALIGN;
}

/* Moving averages, from statistics that are shared or were summed over the shards as part `part`
 * on. */
static void assign_moving(building *program, dl_value sum, int part) {
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
        dl_symbol symbols[] = {dl_symbol_value("old", *old > 0 ? *old : variable),
                               dl_symbol_value("mean", mean),
                               dl_symbol_number("momentum", m->momentum),
                               dl_symbol_value("samples", samples_of(program))};
        *old = dl_formula(graph,
                          m->shared ? "old * momentum + mean * (1 - momentum)"
                                    : "old * momentum + mean / samples * (1 - momentum)",
                          NULL, symbols, m->shared ? 3 : 4);
    }
    for (const dl_moving *m = program->moving; m; m = m->next)
        if (latest[m->variable->order] > 0) {
            dl_graph_assign(graph, dl_graph_variable(graph, m->variable),
                            latest[m->variable->order]);
            latest[m->variable->order] = 0;
        }
    graph->scope = "";
}

/* Cuts the gradients into buckets, sums each over the shards; what else the shards leave (metric
 * sums, statistics) rides in the last. Returns that last sum; *first_extra is the part of the first
 * extra. */
static dl_value sum_buckets(building *program, const trained *list, int count,
                            const dl_value *extra, int extras, dl_gradient_range *ranges,
                            int *range_count, int *first_extra) {
    dl_graph *graph = program->graph;
    dl_value *part = DL_NEW_N(&graph->arena, dl_value, count + extras + 1), sum = -1;
    if (!part)
        return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for buckets");
    *range_count = 0;
    for (int i = 0; i < count || i == 0;) {
        int used = 0, first = i;
        int64_t length = 0, limit = *range_count == 0 ? FIRST_BUCKET : BUCKET;
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
    building program;
    if (network->objective.terms == 0 || !network->optimizer)
        return dl_fail_at(network->job, DL_BAD_JOB, "training needs a loss and an optimizer");
    DL_TRY(open_program(&program, network, graph, true));
    DL_TRY(build_objective(&program));
    size_t variables = (size_t)network->variables.count + 1;
    trained *list = DL_NEW_N(&graph->arena, trained, variables);
    dl_gradient_range *ranges = DL_NEW_N(&graph->arena, dl_gradient_range, variables);
    int extras = 1, range_count = 0, first_extra = 0;
    for (const dl_moving *m = program.moving; m; m = m->next)
        extras += !m->shared;
    dl_value *extra = DL_NEW_N(&graph->arena, dl_value, extras);
    if (!list || !ranges || !extra)
        return dl_fail_memory(variables * sizeof *list);
    extra[0] = metric_vector(&program);
    extras = 1;
    for (const dl_moving *m = program.moving; m; m = m->next)
        if (!m->shared)
            extra[extras++] = m->mean;
    int count = find_gradients(&program, list);
    DL_TRY(dl_graph_status(graph));
    dl_value sum =
        sum_buckets(&program, list, count, extra, extras, ranges, &range_count, &first_extra);
    DL_TRY(dl_graph_status(graph));
    put_metrics(&program, dl_sum_part(graph, sum, first_extra));
    if (range_count > 0)
        dl_update_append(graph, network->optimizer,
                         dl_graph_input(graph, "learning_rate", DL_SCALAR(DL_F32), true),
                         dl_graph_input(graph, "step", DL_SCALAR(DL_F32), true), ranges,
                         range_count);
    assign_moving(&program, sum, first_extra + 1);
    return dl_graph_status(graph);
}

dl_status dl_network_evaluation(void *argument, dl_graph *graph) {
    dl_network *network = argument;
    building program;
    if (network->objective.terms == 0)
        return dl_fail_at(network->job, DL_BAD_JOB, "evaluation needs a loss");
    DL_TRY(open_program(&program, network, graph, false));
    DL_TRY(build_objective(&program));
    dl_value vector = metric_vector(&program);
    dl_value sum = dl_sum_leaves(graph, &vector, 1, "metrics");
    put_metrics(&program, dl_sum_part(graph, sum, 0));
    return dl_graph_status(graph);
}

dl_status dl_network_prediction(void *argument, dl_graph *graph) {
    dl_network *network = argument;
    building program;
    DL_TRY(open_program(&program, network, graph, false));
    for (int i = 0; i < network->wiring.results; i++) {
        const dl_result *result = &network->wiring.result[i];
        if (!result->read)
            dl_graph_output_add(graph, result->name, input_of(&program, result->layer));
    }
    return dl_graph_status(graph);
}

dl_status dl_network_discover(dl_network *network, dl_graph *graph) {
    building program;
    DL_TRY(open_program(&program, network, graph, true));
    return build_objective(&program);
}
