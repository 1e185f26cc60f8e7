/* The pointwise row: expressions over broadcast inputs. Its gradient is the symbolic derivative,
 * summed down to the shape of inputs that were broadcast; its CPU kernel is the compiled program.
 */
#include <stdio.h>
#include <string.h>

#include "runtime/graph/graph.h"

/* NumPy's broadcast of two shapes; false if they do not meet. */
static bool join(dl_type *into, const dl_type *with) {
    dl_type out = {.dtype = DL_F32, .rank = into->rank > with->rank ? into->rank : with->rank};
    for (int i = 0; i < out.rank; i++) { /* from the last axis */
        int64_t a = i < into->rank ? into->dim[into->rank - 1 - i] : 1;
        int64_t b = i < with->rank ? with->dim[with->rank - 1 - i] : 1;
        if (a != b && a != 1 && b != 1)
            return false;
        out.dim[out.rank - 1 - i] = a == 1 ? b : a;
    }
    *into = out;
    return true;
}

/* How `input` runs over `output`; false where (e / div) % mod cannot say it: then a broadcast node
 * is needed. The axes on which the input varies must be neighbours. Samples count as varying even
 * if there is but one, so that a graph has the same nodes for any number of samples. */
static bool find_access(const dl_graph *graph, dl_value value, const dl_type *output,
                        dl_expr_access *access) {
    const dl_type *input = dl_type_of(graph, value);
    int first = -1, last = -1, shift = output->rank - input->rank;
    for (int axis = 0; axis < output->rank; axis++) {
        int64_t size = axis < shift ? 1 : input->dim[axis - shift];
        bool samples = axis == 0 && shift == 0 && graph->value[value].sampled;
        if (size != 1 || samples) {
            first = first < 0 ? axis : first;
            last = axis;
        }
    }
    access->div = access->mod = 1;
    if (first < 0)
        return true;
    for (int axis = first; axis <= last; axis++) {
        int64_t size = axis < shift ? 1 : input->dim[axis - shift];
        if (size != output->dim[axis])
            return false;
        access->mod *= size;
    }
    for (int axis = last + 1; axis < output->rank; axis++)
        access->div *= output->dim[axis];
    return true;
}

static dl_status infer_pointwise(const dl_infer *infer) {
    const dl_pointwise_attributes *attributes = infer->attributes;
    dl_type type = DL_SCALAR(DL_F32);
    for (int i = 0; i < infer->inputs; i++) {
        if (!dl_is_float(infer->input[i]->dtype) && infer->input[i]->dtype != DL_U8)
            return dl_fail(DL_INTERNAL, "elementwise mathematics takes float32, input %d is %s", i,
                           dl_dtype_text(infer->input[i]->dtype));
        if (!join(&type, infer->input[i])) {
            char a[DL_SHAPE_TEXT], b[DL_SHAPE_TEXT];
            return dl_fail(DL_BAD_JOB, "shapes %s and %s do not meet",
                           dl_shape_text(&type, true, a), dl_shape_text(infer->input[i], true, b));
        }
    }
    for (int i = 0; i < attributes->outputs; i++) {
        infer->output[i] = type;
        infer->output[i].dtype = attributes->dtype[i];
    }
    return DL_OK;
}

/* Drops the inputs that no output reads (a sum's gradient needs none of the terms); returns how
 * many are left. */
static int keep_read(dl_exprs *set, const dl_expr **outputs, int count, dl_value *inputs,
                     int used) {
    const dl_expr *with[2 * DL_EXPR_MAX_INPUTS];
    uint64_t read = 0;
    int left = 0;
    for (int k = 0; k < count; k++)
        read |= dl_expr_inputs(outputs[k]);
    for (int i = 0; i < used; i++) {
        with[i] = dl_expr_input(set, left);
        if (read >> i & 1)
            inputs[left++] = inputs[i];
    }
    for (int k = 0; k < count; k++)
        outputs[k] = dl_expr_substitute(set, outputs[k], with, used);
    return left;
}

static void grad_pointwise(dl_grad *grad) {
    const dl_pointwise_attributes *attributes = grad->attributes;
    dl_graph *graph = grad->graph;
    dl_exprs *set = graph->exprs;
    dl_value inputs[2 * DL_EXPR_MAX_INPUTS];
    const dl_expr *outputs[DL_POINTWISE_MAX];
    int wanted[DL_POINTWISE_MAX], count = 0, used = grad->inputs;

    if (attributes->derivative) {
        dl_value pair[2] = {grad->output, grad->dy[0]};
        outputs[0] =
            dl_expr_make(set, DL_EXPR_MUL, dl_expr_input(set, 1), attributes->derivative, NULL);
        dl_value dx = dl_pointwise(graph, outputs, 1, NULL, pair, 2);
        grad->dx[0] = dl_reduce_to(graph, dx, grad->input[0]);
        return;
    }
    const dl_expr *dy[DL_POINTWISE_MAX] = {NULL};
    memcpy(inputs, grad->input, sizeof *inputs * (size_t)grad->inputs);
    for (int o = 0; o < attributes->outputs; o++)
        if (grad->dy[o] >= 0) {
            dy[o] = dl_expr_input(set, used);
            inputs[used++] = grad->dy[o];
        }
    for (int i = 0; i < grad->inputs; i++) {
        if (!grad->need[i])
            continue;
        const dl_expr *sum = NULL;
        for (int o = 0; o < attributes->outputs; o++) {
            if (!dy[o] || !((dl_expr_inputs(attributes->output[o]) >> i) & 1))
                continue;
            const dl_expr *slope = dl_expr_derive(set, attributes->output[o], i);
            if (slope && slope->kind == DL_EXPR_CONST && slope->value == 0.0f)
                continue;
            const dl_expr *term = slope && slope->kind == DL_EXPR_CONST && slope->value == 1.0f
                                      ? dy[o]
                                      : dl_expr_make(set, DL_EXPR_MUL, dy[o], slope, NULL);
            sum = sum ? dl_expr_make(set, DL_EXPR_ADD, sum, term, NULL) : term;
            if (!term || !sum) {
                dl_graph_fail(graph, DL_NO_MEMORY, "no memory for a derivative");
                return;
            }
        }
        if (sum && sum->kind == DL_EXPR_INPUT) { /* passed on as it is */
            grad->dx[i] = dl_reduce_to(graph, inputs[sum->input], grad->input[i]);
        } else if (sum) {
            outputs[count] = sum;
            wanted[count++] = i;
        }
    }
    if (count == 0)
        return;
    used = keep_read(set, outputs, count, inputs, used);
    dl_dtype dtype = DL_BF16;
    for (int k = 0; k < count; k++)
        if (dl_type_of(graph, grad->input[wanted[k]])->dtype != DL_BF16)
            dtype = DL_F32;
    dl_value first = dl_pointwise_as(graph, dtype, outputs, count, NULL, inputs, used);
    for (int k = 0; k < count && first >= 0; k++)
        grad->dx[wanted[k]] = dl_reduce_to(graph, first + k, grad->input[wanted[k]]);
}

dl_value dl_reduce_to(dl_graph *graph, dl_value x, dl_value like) {
    if (graph->status != DL_OK || x < 0)
        return -1;
    const dl_type *from = dl_type_of(graph, x), type = *dl_type_of(graph, like);
    /* Over samples even if there is but one: a graph has the same nodes for any number of them. */
    bool over_samples = graph->value[x].sampled && !graph->value[like].sampled &&
                        from->rank == type.rank && type.dim[0] == 1;
    if (dl_same_shape(from, &type) && !over_samples)
        return x;
    dl_reduce_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.kind = DL_REDUCE_SUM;
    int shift = from->rank - type.rank;
    for (int axis = 0; axis < from->rank; axis++)
        if (axis < shift || (axis == 0 && over_samples) ||
            (type.dim[axis - shift] == 1 && from->dim[axis] != 1))
            attributes.axes |= 1u << axis;
    dl_value sum = attributes.axes ? dl_graph_add_named(graph, "reduce", &attributes, &x, 1) : x;
    return dl_reshape(graph, sum, type);
}

typedef struct pointwise_state {
    dl_expr_program *program;
    dl_expr_access access[DL_EXPR_MAX_INPUTS];
    int64_t count, sample_elements;
    int inputs, outputs;
} pointwise_state;

static dl_status prepare_pointwise(const dl_prepare *what, dl_prepared *out) {
    const dl_pointwise_attributes *attributes = what->attributes;
    pointwise_state *state = dl_alloc(sizeof *state);
    if (!state)
        return dl_fail_memory(sizeof *state);
    state->inputs = what->inputs;
    state->outputs = attributes->outputs;
    state->count = dl_type_count(what->output[0]);
    state->sample_elements = what->output[0]->rank > 0 ? state->count / what->output[0]->dim[0] : 1;
    memcpy(state->access, attributes->access, sizeof state->access);
    dl_status status =
        dl_expr_compile(attributes->output, attributes->outputs, what->inputs, &state->program);
    dl_dtype input[DL_EXPR_MAX_INPUTS], output[DL_POINTWISE_MAX];
    for (int i = 0; i < what->inputs; i++)
        input[i] = what->input[i]->dtype;
    for (int i = 0; i < what->outputs; i++)
        output[i] = what->output[i]->dtype;
    if (status == DL_OK) {
        status = dl_expr_store(state->program, input, output);
        if (status != DL_OK)
            dl_expr_program_free(state->program);
    }
    if (status != DL_OK) {
        dl_free(state);
        return status;
    }
    out->state = state;
    return DL_OK;
}

static void release_pointwise(void *state) {
    dl_expr_program_free(((pointwise_state *)state)->program);
    dl_free(state);
}

typedef struct pointwise_call {
    const pointwise_state *state;
    const dl_run *run;
    int64_t from; /* where what is to run begins */
} pointwise_call;

static void run_range(void *argument, int64_t first, int64_t last) {
    const pointwise_call *call = argument;
    const pointwise_state *state = call->state;
    const float *in[DL_EXPR_MAX_INPUTS];
    float *out[DL_POINTWISE_MAX];
    for (int i = 0; i < state->inputs; i++)
        in[i] = call->run->in[i];
    for (int i = 0; i < state->outputs; i++)
        out[i] = call->run->out[i];
    dl_expr_run(state->program, in, state->access, out, state->count, call->from + first,
                call->from + last, call->run->random, state->sample_elements);
}

static dl_status run_pointwise(const void *state, const dl_run *run) {
    enum { GRAIN = 16384 }; /* elements: below this a second thread costs more than it brings */
    pointwise_call call = {state, run, 0};
    int64_t end = call.state->count;
    if (run->parts > 0)
        dl_part_range(end, run->part, run->parts, &call.from, &end);
    dl_team_range(run->team, end - call.from, GRAIN, run_range, &call);
    return DL_OK;
}

const dl_op dl_op_pointwise = {
    .name = "pointwise",
    .min_inputs = 0,
    .max_inputs = DL_EXPR_MAX_INPUTS,
    .outputs = -1,
    .attribute_bytes = sizeof(dl_pointwise_attributes),
    .infer = infer_pointwise,
    .grad = grad_pointwise,
    .half = DL_HALF_EACH,
    .deterministic = true,
    .cpu = {.prepare = prepare_pointwise, .run = run_pointwise, .release = release_pointwise}};

/* Replaces an input that dl_expr_access cannot say by its broadcast to the full shape. */
static dl_value spread(dl_graph *graph, dl_value input, const dl_type *type) {
    dl_expr_access access;
    if (find_access(graph, input, type, &access))
        return input;
    dl_broadcast_attributes attributes = {*type};
    return dl_graph_add_named(graph, "broadcast", &attributes, &input, 1);
}

dl_value dl_pointwise(dl_graph *graph, const dl_expr *const *outputs, int output_count,
                      const dl_expr *derivative, const dl_value *inputs, int input_count) {
    bool half = false, wide = !dl_is_half(graph->precision);
    for (int i = 0; i < input_count && !wide; i++) {
        if (inputs[i] < 0 || !graph->value[inputs[i]].sampled)
            continue;
        half = true;
        wide = graph->value[inputs[i]].type.dtype != graph->precision;
    }
    return dl_pointwise_as(graph, half && !wide ? graph->precision : DL_F32, outputs, output_count,
                           derivative, inputs, input_count);
}

bool dl_is_float(dl_dtype dtype) {
    return dtype == DL_F32 || dl_is_half(dtype);
}

/* What widening made from half goes back to it without a loss. */
static dl_value narrow_source(const dl_graph *graph, dl_value x, dl_dtype half) {
    const dl_graph_node *node = dl_producer(graph, x);
    if (!node || node->op != &dl_op_pointwise)
        return -1;
    const dl_pointwise_attributes *attributes = node->attributes;
    return attributes->outputs == 1 && attributes->inputs == 1 &&
                   attributes->output[0]->kind == DL_EXPR_INPUT &&
                   dl_type_of(graph, node->input[0])->dtype == half
               ? node->input[0]
               : -1;
}

dl_value dl_convert(dl_graph *graph, dl_value x, dl_dtype dtype) {
    if (graph->status != DL_OK || x < 0 || dl_type_of(graph, x)->dtype == dtype)
        return x;
    dl_value source = dl_is_half(dtype) ? narrow_source(graph, x, dtype) : -1;
    const dl_expr *same = dl_expr_input(graph->exprs, 0);
    return source >= 0 ? source : dl_pointwise_as(graph, dtype, &same, 1, NULL, &x, 1);
}

dl_value dl_pointwise_as(dl_graph *graph, dl_dtype dtype, const dl_expr *const *outputs,
                         int output_count, const dl_expr *derivative, const dl_value *inputs,
                         int input_count) {
    if (graph->status != DL_OK)
        return -1;
    if (output_count > DL_POINTWISE_MAX || input_count > DL_EXPR_MAX_INPUTS)
        return dl_graph_fail(graph, DL_BAD_JOB, "an expression has more than %d inputs or outputs",
                             DL_EXPR_MAX_INPUTS);
    dl_pointwise_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.outputs = output_count;
    attributes.inputs = input_count;
    attributes.derivative = derivative;
    for (int i = 0; i < output_count; i++) {
        if (!outputs[i])
            return dl_graph_fail(graph, DL_NO_MEMORY, "no memory for an expression");
        attributes.output[i] = outputs[i];
        attributes.dtype[i] = dtype;
    }
    dl_status fits = dl_expr_fits(outputs, output_count, input_count);
    if (fits != DL_OK)
        return dl_graph_fail(graph, fits, "%s", dl_message());
    dl_type type = DL_SCALAR(DL_F32);
    bool meet = true; /* if not, infer says so */
    for (int i = 0; i < input_count; i++) {
        if (inputs[i] < 0)
            return dl_graph_fail(graph, DL_INTERNAL, "input %d of an expression is no value", i);
        meet = meet && join(&type, dl_type_of(graph, inputs[i]));
    }
    dl_value spreaded[DL_EXPR_MAX_INPUTS];
    for (int i = 0; i < input_count; i++) {
        spreaded[i] = meet ? spread(graph, inputs[i], &type) : inputs[i];
        if (spreaded[i] < 0)
            return -1;
        find_access(graph, spreaded[i], &type, &attributes.access[i]);
    }
    return dl_graph_add(graph, &dl_op_pointwise, &attributes, spreaded, input_count);
}

dl_value dl_map(dl_graph *graph, const char *text, const dl_value *inputs, int input_count) {
    if (graph->status != DL_OK)
        return -1;
    dl_expr_name names[DL_EXPR_MAX_INPUTS + 1] = {{NULL, NULL}};
    char spelled[DL_EXPR_MAX_INPUTS][8];
    int count = 0;
    for (int i = 0; i < input_count && i < DL_EXPR_MAX_INPUTS; i++) {
        snprintf(spelled[i], sizeof spelled[i], "x%d", i);
        names[count++] = (dl_expr_name){spelled[i], dl_expr_input(graph->exprs, i)};
    }
    if (input_count == 1)
        names[count++] = (dl_expr_name){"x", names[0].expr};
    const dl_expr *output = NULL;
    dl_status status = dl_expr_parse(graph->exprs, text, names, count, graph->scope, &output);
    if (status != DL_OK)
        return dl_graph_fail(graph, status, "expression \"%s\": %s", text, dl_message());
    return dl_pointwise(graph, &output, 1, NULL, inputs, input_count);
}
