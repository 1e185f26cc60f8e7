/* Networks by name: parameters, names and connections as keras.applications and torchvision have
 * them; freezing, sharing, messages. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/model.h"

static void check_counts(const char *layer, const dl_field *field, int64_t all, int64_t trainable) {
    model m;
    char yaml[256];
    snprintf(yaml, sizeof yaml, "model: [%s]\n", layer);
    if (CHECK_OK(model_try(&m, yaml, field, 1, NULL))) {
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, false), all);
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, true), trainable);
    }
    model_close(&m);
}

static void test_counts(void) {
    const dl_field picture = FLOATS("x", 224, 224, 3), small = FLOATS("x", 32, 32, 3);
    check_counts("vgg16", &picture, 138357544, 138357544);
    check_counts("{vgg16: {include_top: false}}", &small, 14714688, 14714688);
    check_counts("{vgg16: {include_top: false, pooling: max}}", &small, 14714688, 14714688);
    check_counts("resnet50", &picture, 25636712, 25583592);
    check_counts("{resnet50: {include_top: false, pooling: avg}}", &small, 23587712, 23534592);
    check_counts("{resnet50: {variant: v1.5}}", &picture, 25610152, 25557032);
    check_counts("{resnet50: {classes: 10}}", &small, 23608202, 23555082);
}

/* Index of the place of this name, -1: none. */
static int place_of(const model *m, const char *name) {
    for (int i = 0; i < dl_network_layer_count(m->network); i++) {
        dl_layer_info info;
        dl_network_layer(m->network, i, &info);
        if (strcmp(info.name, name) == 0)
            return i;
    }
    return -1;
}

/* The layer `name` gives [height, height, channels] and reads `first` and, where not NULL,
 * `second`. */
static void check_place(const model *m, const char *name, const char *word, int64_t height,
                        int64_t channels, const char *first, const char *second) {
    int place = place_of(m, name);
    dl_layer_info info;
    CU_ASSERT(place >= 0);
    if (place < 0) {
        printf("\n    no layer %s\n", name);
        return;
    }
    dl_network_layer(m->network, place, &info);
    CU_ASSERT_STRING_EQUAL(info.word, word);
    CU_ASSERT_EQUAL(info.type.dim[1], height);
    CU_ASSERT_EQUAL(info.type.dim[info.type.rank - 1], channels);
    CU_ASSERT_EQUAL(info.sources, second ? 2 : 1);
    CU_ASSERT_STRING_EQUAL(dl_network_layer_source(m->network, place, 0), first);
    if (second)
        CU_ASSERT_STRING_EQUAL(dl_network_layer_source(m->network, place, 1), second);
}

static void test_resnet50(void) {
    const dl_field picture = FLOATS("x", 224, 224, 3);
    model m;
    if (CHECK_OK(model_try(&m, "model: [{resnet50, name: r}]\n", &picture, 1, NULL))) {
        CU_ASSERT_EQUAL(dl_network_layer_count(m.network), 176); /* Keras: and the input */
        check_place(&m, "r.conv1_pad", "zero_padding2d", 230, 3, "x", NULL);
        check_place(&m, "r.conv1_conv", "conv2d", 112, 64, "r.conv1_pad", NULL);
        check_place(&m, "r.pool1_pool", "max_pooling2d", 56, 64, "r.pool1_pad", NULL);
        check_place(&m, "r.conv2_block1_0_conv", "conv2d", 56, 256, "r.pool1_pool", NULL);
        check_place(&m, "r.conv2_block1_1_conv", "conv2d", 56, 64, "r.pool1_pool", NULL);
        check_place(&m, "r.conv2_block1_add", "add", 56, 256, "r.conv2_block1_0_bn",
                    "r.conv2_block1_3_bn");
        check_place(&m, "r.conv2_block2_add", "add", 56, 256, "r.conv2_block1_out",
                    "r.conv2_block2_3_bn");
        check_place(&m, "r.conv4_block1_1_conv", "conv2d", 14, 256, "r.conv3_block4_out", NULL);
        check_place(&m, "r.conv4_block1_2_conv", "conv2d", 14, 256, "r.conv4_block1_1_relu", NULL);
        check_place(&m, "r.conv4_block6_out", "activation", 14, 1024, "r.conv4_block6_add", NULL);
        check_place(&m, "r.conv5_block3_out", "activation", 7, 2048, "r.conv5_block3_add", NULL);
        check_place(&m, "r.avg_pool", "global_average_pooling2d", 2048, 2048, "r.conv5_block3_out",
                    NULL);
        check_place(&m, "r.predictions", "dense", 1000, 1000, "r.avg_pool", NULL);
    }
    model_close(&m);
    if (CHECK_OK(model_try(&m, "model: [{resnet50: {variant: v1.5}}]\n", &picture, 1, NULL))) {
        check_place(&m, "resnet50.conv3_block1_1_conv", "conv2d", 56, 128,
                    "resnet50.conv2_block3_out", NULL);
        check_place(&m, "resnet50.conv3_block1_2_conv", "conv2d", 28, 128,
                    "resnet50.conv3_block1_2_pad", NULL);
        check_place(&m, "resnet50.conv3_block1_0_conv", "conv2d", 28, 512,
                    "resnet50.conv2_block3_out", NULL);
        CU_ASSERT_EQUAL(place_of(&m, "resnet50.conv3_block2_2_pad"), -1);
    }
    model_close(&m);
}

/* A part of a network that stands still; the same weights at a second place; weights of its own
 * at each of `times`. */
static void test_parts(void) {
    const dl_field small = FLOATS("x", 32, 32, 3);
    model m;
    if (CHECK_OK(model_try(&m,
                           "model:\n"
                           "  - {vgg16: {include_top: false}, name: base}\n"
                           "  - flatten\n"
                           "  - dense: 1\n"
                           "freeze: [base, \"!base.block5_*\"]\n",
                           &small, 1, NULL))) {
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, false), 14714688 + 513);
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, true), 3 * 2359808 + 513);
    }
    model_close(&m);
    if (CHECK_OK(model_try(&m,
                           "model:\n"
                           "  - {vgg16: {include_top: false}, name: a}\n"
                           "  - {call: a, inputs: x}\n"
                           "  - {vgg16: {include_top: false}, name: c, inputs: x}\n"
                           "  - {add, inputs: [a, call, c.block5_pool]}\n",
                           &small, 1, NULL)))
        CU_ASSERT_EQUAL(dl_network_parameter_count(m.network, false), 2 * 14714688);
    model_close(&m);
}

static void check_message(const char *yaml, const dl_field *field, const char *want) {
    model m;
    dl_status status = model_try(&m, yaml, field, 1, NULL);
    CU_ASSERT_EQUAL(status, DL_BAD_JOB);
    if (!strstr(dl_message(), want))
        printf("\n    want: %s\n    got:  %s\n", want, dl_message());
    CU_ASSERT(strstr(dl_message(), want) != NULL);
    model_close(&m);
}

static void test_messages(void) {
    const dl_field tiny = FLOATS("x", 8, 8, 3), vector = FLOATS("x", 8);
    check_message("model: [{vgg16: {weights: vgg16.h5}}]\n", &tiny, "job.yaml:1:27: 'weights'");
    check_message("model: [{vgg16: {variant: v1.5}}]\n", &tiny,
                  "'variant' is not an argument of layer vgg16");
    check_message("model: [{resnet50: {variant: v2}}]\n", &tiny, "v1 or v1.5");
    check_message("model: [{vgg16, name: v}]\n", &tiny,
                  "job.yaml:1:9: 'v.block4_conv3' gives (None, 1, 1, 512), too small");
    check_message("model: [vgg16]\n", &vector, "job.yaml:1:9: conv2d needs an input of 4");
    check_message("model: [{vgg16, inputs: [x, x]}]\n", &tiny,
                  "vgg16 takes 1 input and is given 2");
    check_message(
        "model: [{vgg16: {include_top: false}, name: v}, {dense: 1, inputs: v.blok1_pool}]\n",
        &tiny, "'v.blok1_pool' is neither a layer above nor a field");
}

void suite_zoo(void) {
    CU_pSuite suite = CU_add_suite("networks by name", NULL, NULL);
    CU_add_test(suite, "parameters", test_counts);
    CU_add_test(suite, "resnet50", test_resnet50);
    CU_add_test(suite, "frozen and shared parts", test_parts);
    CU_add_test(suite, "messages", test_messages);
}
