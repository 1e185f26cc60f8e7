/* The forward half of every program: layers in order, then losses and metrics as sums over the
 * shard's samples. See program.h. */
#include <stdio.h>
#include <string.h>

#include "models/formula.h"
#include "models/program.h"
#include "models/regularizers.h"
#include "ops/ops.h"

dl_value dl_program_samples(dl_program *program) {
    if (program->samples < 0)
        program->samples = dl_graph_input(program->graph, "samples", DL_SCALAR(DL_F32), true);
    return program->samples;
}

/* What layers read: float32 of at least two dimensions (Keras gives single numbers a second one).
 */
dl_value dl_program_input(dl_program *program, int source) {
    if (source >= 0)
        return program->output[source];
    dl_value value = dl_program_field(program, -1 - source);
    if (value < 0)
        return -1;
    dl_type type = *dl_type_of(program->graph, value);
    if (type.dtype != DL_F32)
        value = dl_cast(program->graph, value, DL_F32);
    return type.rank == 1 ? dl_reshape(program->graph, value, DL_TYPE(DL_F32, type.dim[0], 1))
                          : value;
}

static void build_layer(dl_program *program, int index) {
    dl_network *network = program->network;
    dl_graph *graph = program->graph;
    dl_layer *layer = &network->wiring.layer[index];
    dl_value input[64];
    const char *name[64];
    graph->place = layer->node;
    graph->scope = layer->name;
    for (int i = 0; i < layer->sources; i++) {
        input[i] = dl_program_input(program, layer->source[i]);
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
                            .constants = dl_get(network->job, "constants"),
                            .training = training,
                            .updates = program->training,
                            .samples = training ? dl_program_samples(program) : -1,
                            .statistics = network->statistics,
                            .moving = &program->moving,
                            .logits = {DL_SQUASH_NONE, -1}};
    program->output[index] = layer->row->build(&build);
    program->logits[index] = build.logits;
    if (program->output[index] < 0)
        return;
    layer->type = *dl_type_of(graph, program->output[index]);
    layer->type.dtype = DL_F32; /* for whom it is given to, whatever it is kept in here */
    double count = 1;
    for (int i = 0; i < layer->type.rank; i++)
        count *= (double)layer->type.dim[i];
    if (count > 1e13)
        dl_graph_fail(graph, DL_BAD_JOB, "the output of '%s' would have %.3g numbers", layer->name,
                      count);
}

/* Layers that pass a value on keep what it was squashed from. */
static dl_logits logits_of(const dl_program *program, int source) {
    dl_logits none = {DL_SQUASH_NONE, -1};
    return source >= 0 ? program->logits[source] : none;
}

dl_status dl_program_open(dl_program *program, dl_network *network, dl_graph *graph,
                          bool training) {
    *program = (dl_program){
        .network = network, .graph = graph, .training = training, .samples = -1, .objective = -1};
    size_t layers = (size_t)network->wiring.layers;
    size_t terms = (size_t)network->objective.terms, measures = (size_t)network->objective.measures;
    program->output = DL_NEW_N(&graph->arena, dl_value, layers);
    program->logits = DL_NEW_N(&graph->arena, dl_logits, layers);
    program->loss = DL_NEW_N(&graph->arena, dl_value, terms + 1);
    program->measured = DL_NEW_N(&graph->arena, dl_value, measures + 1);
    if (!program->output || !program->logits || !program->loss || !program->measured)
        return dl_fail_memory(sizeof(dl_value) * layers);
    graph->precision = network->precision;
    for (int i = 0; i < network->wiring.layers && graph->status == DL_OK; i++)
        build_layer(program, i);
    graph->place = NULL;
    graph->scope = "";
    return dl_graph_status(graph);
}

/* Weight of each sample by its class, [n]: by the label's number, by a one-hot row, or by a number
 * that is compared with each class. */
static dl_value class_weight_of(dl_program *program, dl_value target) {
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

static void warn_logits(dl_program *program, const dl_term *term) {
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

static void compare_with(dl_program *program, const dl_term *term, dl_compare *compare) {
    dl_network *network = program->network;
    const dl_wiring *wiring = &network->wiring;
    *compare = (dl_compare){.graph = program->graph,
                            .output_name = term->output_name,
                            .prediction = -1,
                            .logits = {DL_SQUASH_NONE, -1},
                            .probabilities = -1,
                            .target = -1,
                            .target_number = term->target_number};
    if (term->output != DL_NO_OUTPUT) {
        compare->prediction =
            dl_convert(program->graph, dl_program_input(program, term->output), DL_F32);
        compare->logits = logits_of(program, term->output);
        compare->logits.value = dl_convert(program->graph, compare->logits.value, DL_F32);
    }
    compare->output_node = term->output >= 0 ? wiring->layer[term->output].node : NULL;
    if (term->target >= 0) {
        compare->target = dl_program_field(program, term->target);
        compare->target_name = wiring->field[term->target].name;
        compare->classes = wiring->field[term->target].classes;
    }
}

/* An expression's random numbers are those of the name under which it is logged. */
static void set_item(dl_compare *compare, const dl_node *item, const char *kind, const char *name) {
    compare->node = item;
    compare->word = item->word->name;
    compare->graph->place = item;
    compare->graph->scope = dl_get(item, "expr") ? name : item->word->name;
    if (strcmp(kind, name) != 0) /* a lone loss has no name */
        compare->title = dl_arena_format(&compare->graph->arena, "%s '%s'", kind, name);
    if (strcmp(kind, name) == 0 || !compare->title)
        compare->title = kind;
}

/* Losses and metrics, in float32 whatever the layers are in: their sums over the shard, and the
 * objective, the weighted losses over all samples of the batch, as Keras's reduction
 * SUM_OVER_BATCH_SIZE. */
dl_status dl_program_objective(dl_program *program) {
    dl_network *network = program->network;
    dl_graph *graph = program->graph;
    const dl_objective *objective = &network->objective;
    graph->precision = DL_F32;
    for (int i = 0; i < objective->terms && graph->status == DL_OK; i++) {
        const dl_term *term = &objective->term[i];
        dl_compare compare;
        compare_with(program, term, &compare);
        dl_term_names seen;
        dl_program_names(&seen, program, term, &compare);
        set_item(&compare, term->node, "loss", term->name);
        if (graph->status == DL_OK)
            warn_logits(program, term);
        dl_value each = dl_compare_samples(&compare, term->node->word->impl);
        dl_value weight = class_weight_of(program, compare.target);
        if (weight >= 0)
            each = dl_map(graph, "x0 * x1", (dl_value[]){each, weight}, 2);
        if (term->sample_weight >= 0) {
            dl_value given = dl_program_input(program, -1 - term->sample_weight);
            if (given >= 0)
                given = dl_reshape(graph, given, DL_TYPE(DL_F32, graph->samples));
            each = dl_map(graph, "x0 * x1", (dl_value[]){each, given}, 2);
        }
        program->loss[i] = sum_samples(graph, each);
        for (int j = 0; j < objective->measures && graph->status == DL_OK; j++) {
            dl_measure *measure = &objective->measure[j];
            if (measure->term != i)
                continue;
            set_item(&compare, measure->node, "metric", measure->name);
            measure->row = dl_metric_row(&compare);
            program->measured[j] = sum_samples(graph, dl_compare_samples(&compare, measure->row));
        }
    }
    if (program->training) {
        graph->scope = "loss";
        for (int i = 0; i < objective->terms && graph->status == DL_OK; i++) {
            dl_symbol symbols[] = {dl_symbol_value("sum", program->loss[i]),
                                   dl_symbol_value("samples", dl_program_samples(program)),
                                   dl_symbol_number("weight", objective->term[i].weight),
                                   dl_symbol_value("others", program->objective)};
            program->objective =
                i == 0 ? dl_formula(graph, "weight * sum / samples", NULL, symbols, 3)
                       : dl_formula(graph, "others + weight * sum / samples", NULL, symbols, 4);
        }
    }
    graph->precision = network->precision;
    graph->place = NULL;
    graph->scope = "";
    return dl_graph_status(graph);
}

/* The shard's sums of losses and metrics side by side, [terms + measures]. */
dl_value dl_program_sums(dl_program *program) {
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
static dl_value penalty_sum(dl_program *program) {
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
    dl_value pair[] = {total, dl_program_samples(program)};
    return dl_reshape(graph, dl_map(graph, "x0 * x1", pair, 2), DL_TYPE(DL_F32, 1));
}

/* The output "metrics" from the shared sums. */
void dl_program_put_metrics(dl_program *program, dl_value sums) {
    dl_graph *graph = program->graph;
    graph->scope = "metrics";
    if (program->network->penalties) {
        dl_value parts[] = {sums, penalty_sum(program)};
        sums = dl_concatenate(graph, parts, 2, 0);
    }
    dl_graph_output_add(graph, "metrics", sums);
    graph->scope = "";
}
