/* Networks by name: each is a layer word that stands for a list of layers, written here in the
 * job's own language with Keras's names (keras.applications 2.15). The job reader checks the list
 * like any other (launcher/job_expand.c), wiring.c takes it apart as a called model: weights are
 * "NAME.block1_conv1/kernel". A new network is one function that writes its layers, and its row in
 * layers.c. */
#include "models/zoo.h"

#include "models/keys.h"
#include "models/layer.h"
#include "runtime/base/schema.h"

bool dl_zoo_write(const dl_node *item, FILE *out) {
    const dl_family *layers = &dl_layer_family;
    if (item->word < layers->words || item->word >= layers->words + layers->word_count)
        return false;
    const dl_layer_row *row = item->word->impl;
    if (!row->write)
        return false;
    row->write(item, out);
    return true;
}

/* What follows the last feature maps: the classifier over `flat` (the layers that make vectors of
 * them), or with include_top: false the pooling asked for. */
static void write_top(const dl_node *item, const char *flat, FILE *out) {
    if (dl_bool(item, "include_top"))
        fprintf(out,
                "%s"
                "- {dense: {units: %lld, activation: softmax}, name: predictions}\n",
                flat, (long long)dl_int(item, "classes"));
    else if (dl_is(item, "pooling", "avg"))
        fprintf(out, "- {global_average_pooling2d, name: avg_pool}\n");
    else if (dl_is(item, "pooling", "max"))
        fprintf(out, "- {global_max_pooling2d, name: max_pool}\n");
}

/* Simonyan and Zisserman 2015, configuration D. */
void dl_zoo_vgg16(const dl_node *item, FILE *out) {
    static const struct {
        int convolutions, filters;
    } blocks[] = {{2, 64}, {2, 128}, {3, 256}, {3, 512}, {3, 512}};
    for (int b = 1; b <= 5; b++) {
        for (int c = 1; c <= blocks[b - 1].convolutions; c++)
            fprintf(out,
                    "- {conv2d: {filters: %d, kernel_size: 3, padding: same, activation: relu}, "
                    "name: block%d_conv%d}\n",
                    blocks[b - 1].filters, b, c);
        fprintf(out, "- {max_pooling2d: 2, name: block%d_pool}\n", b);
    }
    write_top(item,
              "- {flatten, name: flatten}\n"
              "- {dense: {units: 4096, activation: relu}, name: fc1}\n"
              "- {dense: {units: 4096, activation: relu}, name: fc2}\n",
              out);
}

/* In what the two forms of ResNet-50 differ, but for where a block strides. */
typedef struct residual_form {
    const char *convolution, *normalization;
} residual_form;

/* keras.applications, and torchvision's "V1.5": no biases, its initial values and constants. */
static const residual_form keras_form = {"use_bias: true", "epsilon: 1.001e-5"},
                           v1_5_form = {"use_bias: false, kernel_initializer: {variance_scaling: "
                                        "{scale: 2, mode: fan_out, distribution: "
                                        "untruncated_normal}}",
                                        "epsilon: 1e-5, momentum: 0.9"};

typedef struct residual {
    FILE *out;
    const residual_form *form;
    bool late; /* stride in the 3x3 instead of the first 1x1 */
    char input[48];
} residual;

/* PLACE_conv, which reads `from` (NULL: the layer above), and PLACE_bn. */
static void write_convolution(const residual *net, const char *place, const char *from, int filters,
                              int size, int stride, const char *padding) {
    fprintf(net->out,
            "- {conv2d: {filters: %d, kernel_size: %d, strides: %d, padding: %s, %s}, "
            "name: %s_conv%s%s}\n"
            "- {batch_normalization: {%s}, name: %s_bn}\n",
            filters, size, stride, padding, net->form->convolution, place, from ? ", inputs: " : "",
            from ? from : "", net->form->normalization, place);
}

/* A bottleneck block: 1x1, 3x3 and 1x1 convolutions, added to their input or, in the first block of
 * a stage, to a 1x1 convolution of it. */
static void write_block(residual *net, int stage, int block, int filters, int stride) {
    char name[40], place[4][48], beside[56];
    snprintf(name, sizeof name, "conv%d_block%d", stage, block);
    for (int i = 0; i < 4; i++)
        snprintf(place[i], sizeof place[i], "%s_%d", name, i);
    snprintf(beside, sizeof beside, "%s", net->input);
    if (block == 1) {
        write_convolution(net, place[0], net->input, 4 * filters, 1, stride, "valid");
        snprintf(beside, sizeof beside, "%s_bn", place[0]);
    }
    int first = net->late ? 1 : stride, second = net->late ? stride : 1;
    write_convolution(net, place[1], net->input, filters, 1, first, "valid");
    fprintf(net->out, "- {activation: relu, name: %s_relu}\n", place[1]);
    if (second > 1) /* a border on all sides, where padding: same has it on two */
        fprintf(net->out, "- {zero_padding2d: 1, name: %s_pad}\n", place[2]);
    write_convolution(net, place[2], NULL, filters, 3, second, second > 1 ? "valid" : "same");
    fprintf(net->out, "- {activation: relu, name: %s_relu}\n", place[2]);
    write_convolution(net, place[3], NULL, 4 * filters, 1, 1, "valid");
    fprintf(net->out,
            "- {add, inputs: [%s, %s_bn], name: %s_add}\n"
            "- {activation: relu, name: %s_out}\n",
            beside, place[3], name, name);
    snprintf(net->input, sizeof net->input, "%s_out", name);
}

/* He et al. 2016. */
void dl_zoo_resnet50(const dl_node *item, FILE *out) {
    static const int blocks[] = {3, 4, 6, 3};
    bool late = dl_is(item, "variant", "v1.5");
    residual net = {.out = out, .form = late ? &v1_5_form : &keras_form, .late = late};
    fprintf(out, "- {zero_padding2d: 3, name: conv1_pad}\n");
    write_convolution(&net, "conv1", NULL, 64, 7, 2, "valid");
    fprintf(out, "- {activation: relu, name: conv1_relu}\n"
                 "- {zero_padding2d: 1, name: pool1_pad}\n"
                 "- {max_pooling2d: {pool_size: 3, strides: 2}, name: pool1_pool}\n");
    snprintf(net.input, sizeof net.input, "pool1_pool");
    for (int stage = 2; stage <= 5; stage++)
        for (int block = 1; block <= blocks[stage - 2]; block++)
            write_block(&net, stage, block, 64 << (stage - 2), stage > 2 && block == 1 ? 2 : 1);
    write_top(item, "- {global_average_pooling2d, name: avg_pool}\n", out);
}
