/* Where the rows of conv_norm.c take the place of others (runtime/graph/fuse.h). */
#include <string.h>

#include "ops/conv_norm.h"
#include "ops/fusions.h"
#include "runtime/device/device.h"

/* cuDNN's engines for these take float16 and channels in eights; those with code of their own are
 * for Ampere and Hopper. The gradient of x is in one piece on Hopper alone: elsewhere cuDNN writes
 * it and reads it again itself. */
bool dl_conv_norm_has_engine(const struct dl_device *device, dl_dnnl_direction direction,
                             const dl_conv_attributes *conv, const dl_type *x, const dl_type *w) {
    int oldest = direction == DL_DNNL_BACKWARD_DATA ? 90 : 80;
    return device && device->architecture >= oldest && device->architecture < 100 &&
           x->dtype == DL_F16 && x->rank == 4 && conv->groups == 1 &&
           x->dim[x->rank - 1] % 8 == 0 && w->dim[0] % 8 == 0;
}

/* relu(batch_norm(x)) where all that read it can take x and do it themselves, so that nobody has to
 * write it: the normalisation, else NULL. */
static const dl_graph_node *unwritten(const dl_fuse *fuse, dl_value z) {
    const dl_graph *graph = fuse->graph;
    const dl_type *type = dl_type_of(graph, z);
    const dl_graph_node *node = dl_producer(graph, z);
    const dl_batch_norm_attributes *norm = node ? node->attributes : NULL;
    int readers = 0;
    if (!node || node->op != &dl_op_batch_norm || norm->epilogue != DL_EPILOGUE_RELU)
        return NULL;
    for (int n = 0; n < graph->nodes; n++) {
        const dl_graph_node *reader = &graph->node[n];
        bool forward = reader->op == &dl_op_conv_statistics;
        bool backward = reader->op == &dl_op_conv_weight_gradient;
        if ((!forward && !backward) || reader->input[0] != z || reader->input[1] == z)
            continue;
        readers += dl_conv_norm_has_engine(
            fuse->device, forward ? DL_DNNL_FORWARD : DL_DNNL_BACKWARD_WEIGHTS, reader->attributes,
            type, dl_type_of(graph, forward ? reader->input[1] : reader->output));
    }
    return readers == fuse->readers[z] ? node : NULL;
}

/* The vectors of a normalisation, behind the row's own inputs; returns how many inputs there are
 * then. */
static int add_vectors(const dl_graph_node *node, dl_conv_norm_attributes *attributes,
                       dl_value *inputs, int own) {
    const dl_batch_norm_attributes *norm = node->attributes;
    int vectors = 2 + norm->has_gamma + norm->has_beta;
    attributes->normalised = true;
    attributes->has_gamma = norm->has_gamma;
    attributes->has_beta = norm->has_beta;
    attributes->epsilon = norm->epsilon;
    memcpy(inputs + own, node->input + 1, sizeof *inputs * (size_t)vectors);
    return own + vectors;
}

enum { INPUTS = 7 };

/* The moments, then the normalisation before it. */
void dl_fuse_conv_statistics(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    dl_conv_norm_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    if (node->op == &dl_op_conv && node->inputs == 2) {
        memcpy(&attributes.conv, node->attributes, sizeof attributes.conv);
        const dl_graph_node *moments =
            attributes.conv.epilogue == DL_EPILOGUE_NONE
                ? dl_fuse_reader(fuse, node->output, &dl_op_channel_moments)
                : NULL;
        if (!moments)
            return;
        dl_value sums = moments->output;
        dl_value made = dl_graph_add(graph, &dl_op_conv_statistics, &attributes, node->input, 2);
        dl_fuse_map(fuse, node->output, made);
        dl_fuse_map(fuse, sums, made + 1);
    } else if (node->op == &dl_op_conv_statistics && node->inputs == 2) {
        const dl_graph_node *norm = unwritten(fuse, node->input[0]);
        if (!norm)
            return;
        memcpy(&attributes, node->attributes, sizeof attributes);
        dl_value inputs[INPUTS] = {norm->input[0], node->input[1]};
        int count = add_vectors(norm, &attributes, inputs, 2);
        dl_value made = dl_graph_add(graph, &dl_op_conv_statistics, &attributes, inputs, count);
        dl_fuse_map(fuse, node->output, made);
        dl_fuse_map(fuse, node->output + 1, made + 1);
    }
}

void dl_fuse_conv_norm_weight_gradient(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    const dl_graph_node *norm =
        node->op == &dl_op_conv_weight_gradient ? unwritten(fuse, node->input[0]) : NULL;
    if (!norm)
        return;
    const dl_conv_weight_attributes *weight = node->attributes;
    dl_conv_norm_gradient_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(&attributes.norm.conv, &weight->conv, sizeof weight->conv);
    memcpy(&attributes.made, &weight->w, sizeof weight->w);
    dl_value inputs[INPUTS] = {norm->input[0], node->input[1]};
    int count = add_vectors(norm, &attributes.norm, inputs, 2);
    dl_fuse_map(fuse, node->output,
                dl_graph_add(graph, &dl_op_conv_norm_weight_gradient, &attributes, inputs, count));
}

/* The gradient is read by the two rows of the normalisation's gradient alone, and both count it
 * only where relu passed it: the second one may as well get it so. */
void dl_fuse_conv_norm_input_gradient(dl_fuse *fuse, const dl_graph_node *node) {
    dl_graph *graph = fuse->graph;
    const dl_batch_norm_attributes *norm = node->attributes;
    if (node->op != &dl_op_batch_norm_sums || norm->epilogue != DL_EPILOGUE_RELU)
        return;
    dl_value dy = node->input[0];
    const dl_graph_node *conv = dl_producer(graph, dy);
    const dl_graph_node *other = dl_fuse_reader(fuse, dy, &dl_op_batch_norm_input_gradient);
    const dl_type *type = dl_type_of(graph, dy);
    if (!conv || conv->op != &dl_op_conv_input_gradient || fuse->readers[dy] != 2 || !other ||
        other->input[0] != dy || other->input[1] != node->input[1] ||
        ((const dl_batch_norm_attributes *)other->attributes)->epilogue != DL_EPILOGUE_RELU)
        return;
    const dl_conv_input_attributes *input = conv->attributes;
    if (!dl_conv_norm_has_engine(fuse->device, DL_DNNL_BACKWARD_DATA, &input->conv, type,
                                 dl_type_of(graph, conv->input[1])))
        return;
    dl_conv_norm_gradient_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    memcpy(&attributes.norm.conv, &input->conv, sizeof input->conv);
    memcpy(&attributes.made, &input->x, sizeof input->x);
    dl_graph_node gate = *node; /* dy, x, mean, ...: the vectors stand behind x as they do there */
    gate.input++;
    dl_value inputs[INPUTS] = {conv->input[0], conv->input[1], node->input[1]};
    int count = add_vectors(&gate, &attributes.norm, inputs, 3);
    dl_value made =
        dl_graph_add(graph, &dl_op_conv_norm_input_gradient, &attributes, inputs, count);
    dl_fuse_map(fuse, dy, made);
    dl_fuse_map(fuse, node->output, made + 1);
}
