/* cuDNN's heuristics without a GPU: every kind of convolution has an engine that keeps our promises
 * on the cards that plans are made for, in float32, bfloat16 and float16. What the engines compute
 * is for tests on a GPU. */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"
#include "runtime/base/memory.h"
#include "runtime/device/choices.h"
#include "runtime/device/device.h"
#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"
#include "tests/unit/shim.h"

typedef struct shape {
    const char *name;
    dl_type x, w;
    dl_conv_attributes conv;
} shape;

static const shape shapes[] = {{"3x3, same",
                                F32(8, 14, 14, 32),
                                F32(64, 3, 3, 32),
                                {2, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1, DL_EPILOGUE_RELU}},
                               {"7x7 of an image, stride 2",
                                F32(4, 64, 64, 3),
                                F32(64, 7, 7, 3),
                                {2, {2, 2}, {1, 1}, {3, 3}, {3, 3}, 1, DL_EPILOGUE_NONE}},
                               {"one channel, valid",
                                F32(64, 28, 28, 1),
                                F32(32, 3, 3, 1),
                                {2, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, DL_EPILOGUE_RELU}},
                               {"even size, padded after alone, stride 2",
                                F32(8, 28, 28, 16),
                                F32(32, 3, 3, 16),
                                {2, {2, 2}, {1, 1}, {0, 0}, {1, 1}, 1, DL_EPILOGUE_NONE}},
                               {"1x1, stride 2",
                                F32(8, 14, 14, 64),
                                F32(128, 1, 1, 64),
                                {2, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 1, DL_EPILOGUE_NONE}},
                               {"odd channels",
                                F32(8, 9, 11, 5),
                                F32(7, 3, 2, 5),
                                {2, {1, 1}, {1, 1}, {1, 0}, {1, 1}, 1, DL_EPILOGUE_NONE}},
                               {"dilated, lopsided",
                                F32(8, 20, 20, 16),
                                F32(16, 3, 3, 16),
                                {2, {1, 1}, {2, 2}, {2, 0}, {1, 3}, 1, DL_EPILOGUE_NONE}},
                               {"groups",
                                F32(8, 14, 14, 32),
                                F32(64, 3, 3, 8),
                                {2, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 4, DL_EPILOGUE_NONE}},
                               {"depthwise",
                                F32(8, 14, 14, 32),
                                F32(32, 3, 3, 1),
                                {2, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 32, DL_EPILOGUE_NONE}},
                               {"depthwise, two filters a channel, stride 2",
                                F32(8, 14, 14, 16),
                                F32(32, 3, 3, 1),
                                {2, {2, 2}, {1, 1}, {0, 0}, {1, 1}, 16, DL_EPILOGUE_NONE}},
                               {"one dimension, causal",
                                F32(8, 50, 16),
                                F32(32, 3, 16),
                                {1, {1, 1}, {2, 1}, {4, 0}, {0, 0}, 1, DL_EPILOGUE_RELU}}};

/* libdl_cuda.so of this build, whatever other tests have opened. */
static const dl_cuda_library *library(void) {
    char path[PATH_MAX];
    beside_program("libdl_cuda.so", path);
    void *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return opened ? dlsym(opened, DL_CUDA_LIBRARY) : NULL;
}

static void plan(dl_device *device, const dl_op *op, const char *name, const void *attributes,
                 const dl_type *const *input, int inputs) {
    dl_type made;
    dl_infer infer = {.attributes = attributes, .inputs = inputs, .input = input, .output = &made};
    const dl_type *output = &made;
    const dl_kernel *kernel = device->kernel(op->name);
    dl_prepare what = {.attributes = attributes,
                       .inputs = inputs,
                       .outputs = 1,
                       .input = input,
                       .output = &output,
                       .name = name,
                       .device = device,
                       .constant = {false, true, true}};
    dl_prepared prepared = {0};
    CHECK_OK(op->infer(&infer));
    CU_ASSERT_PTR_NOT_NULL_FATAL(kernel);
    dl_status status = kernel->prepare(&what, &prepared);
    CHECK_OK(status);
    if (status != DL_OK)
        return;
    CU_ASSERT(prepared.text && strstr(prepared.text, "engine"));
    bool weights = op != &dl_op_conv_weight_gradient && inputs > 1;
    CU_ASSERT_EQUAL(prepared.packed_bytes[1] > 0, weights && dl_is_half(input[0]->dtype));
    CU_ASSERT(prepared.packed_bytes[1] == 0 ||
              (int64_t)prepared.packed_bytes[1] >= 2 * dl_type_count(input[1]));
    kernel->release(prepared.state);
}

static void plan_conv(dl_device *device, const shape *s, dl_dtype dtype) {
    dl_type x = s->x, bias = DL_TYPE(DL_F32, s->w.dim[0]), y;
    x.dtype = dtype;
    dl_infer infer = {.attributes = &s->conv,
                      .inputs = 2,
                      .input = (const dl_type *const[]){&x, &s->w},
                      .output = &y};
    CHECK_OK(dl_op_conv.infer(&infer));
    dl_conv_input_attributes input = {.conv = s->conv, .x = s->x};
    dl_conv_weight_attributes weight = {.conv = s->conv, .w = s->w};
    input.conv.epilogue = weight.conv.epilogue = DL_EPILOGUE_NONE;
    plan(device, &dl_op_conv, s->name, &s->conv, (const dl_type *const[]){&x, &s->w, &bias},
         s->conv.epilogue == DL_EPILOGUE_RELU ? 3 : 2);
    plan(device, &dl_op_conv_input_gradient, s->name, &input, (const dl_type *const[]){&y, &s->w},
         2);
    plan(device, &dl_op_conv_weight_gradient, s->name, &weight, (const dl_type *const[]){&x, &y},
         2);
}

/* Text of the kernel chosen for shapes[1], an engine that is not compiled. */
static void choose(const dl_cuda_library *cuda, char text[96]) {
    const shape *s = &shapes[1];
    dl_device *device = NULL;
    dl_prepared prepared = {0};
    dl_type y;
    const dl_type *input[] = {&s->x, &s->w}, *output = &y;
    dl_infer infer = {.attributes = &s->conv, .inputs = 2, .input = input, .output = &y};
    *text = '\0';
    CHECK_OK(dl_op_conv.infer(&infer));
    CHECK_OK(cuda->imagine(90, &device));
    dl_prepare what = {.attributes = &s->conv,
                       .inputs = 2,
                       .outputs = 1,
                       .input = input,
                       .output = &output,
                       .name = s->name,
                       .device = device};
    const dl_kernel *kernel = device->kernel("conv");
    CHECK_OK(kernel->prepare(&what, &prepared));
    if (prepared.state) {
        snprintf(text, 96, "%s", prepared.text);
        kernel->release(prepared.state);
    }
    dl_device_close(device);
}

/* The only file of the folder: its size; if `damage`, with other text in place of its content. */
static long look(const char *folder, bool damage) {
    char path[PATH_MAX + 300] = "";
    DIR *list = opendir(folder);
    for (struct dirent *entry; list && (entry = readdir(list));)
        if (entry->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (list)
        closedir(list);
    FILE *file = fopen(path, damage ? "wb" : "rb");
    if (!file)
        return -1;
    if (damage)
        fputs("no plan", file);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fclose(file);
    return size;
}

/* Chosen, found on disk, and chosen again where what is there is damaged. */
static void test_kept(void) {
    const dl_cuda_library *cuda = library();
    char folder[] = "/tmp/dltrain-cudnn-XXXXXX", command[64], first[96], again[96];
    if (!cuda || !mkdtemp(folder)) {
        check_skip("engines kept on disk", "libdl_cuda.so is not built");
        return;
    }
    setenv("DLTRAIN_CACHE", folder, 1);
    choose(cuda, first);
    CU_ASSERT(strstr(first, "engine") != NULL);
    long size = look(folder, false);
    CU_ASSERT(size > 20);
    choose(cuda, again);
    CU_ASSERT_STRING_EQUAL(first, again);
    CU_ASSERT(look(folder, true) > 0);
    choose(cuda, again);
    CU_ASSERT_STRING_EQUAL(first, again);
    CU_ASSERT_EQUAL(look(folder, false), size);
    setenv("DLTRAIN_CACHE", "", 1);
    snprintf(command, sizeof command, "rm -r %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

/* What one rank has chosen another takes, engine by engine: it may choose nothing itself. */
static void take_all(const dl_cuda_library *cuda, const dl_device *from) {
    dl_device *device = NULL;
    char *text = NULL;
    bool foreign = true;
    CHECK_OK(cuda->imagine(from->architecture, &device));
    CHECK_OK(dl_choices_write(from->choices, &text));
    CHECK_OK(dl_choices_read(device->choices, text, "the other's", &foreign));
    CU_ASSERT_FALSE(foreign);
    CU_ASSERT_EQUAL(device->choices->count, from->choices->count);
    device->choices->closed = true;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        plan_conv(device, &shapes[i], DL_BF16);
    CU_ASSERT_EQUAL(device->choices->count, from->choices->count);
    dl_free(text);
    dl_device_close(device);
}

static void test_plans(void) {
    static const int cards[] = {80, 90, 100};
    static const dl_dtype dtypes[] = {DL_F32, DL_BF16, DL_F16};
    const dl_cuda_library *cuda = library();
    if (!cuda) {
        check_skip("engines of cuDNN", "libdl_cuda.so is not built, or its libraries not found");
        return;
    }
    for (size_t c = 0; c < sizeof cards / sizeof cards[0]; c++) {
        dl_device *device = NULL;
        CHECK_OK(cuda->imagine(cards[c], &device));
        int count = cards[c] == 90 ? 3 : 2; /* float16 where bfloat16 is, too: one card will do */
        for (int d = 0; d < count; d++)
            for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
                plan_conv(device, &shapes[i], dtypes[d]);
        CU_ASSERT(device->choices->count > 30);
        if (cards[c] == 90)
            take_all(cuda, device);
        dl_device_close(device);
    }
}

/* Turing has no bfloat16: what cuDNN answers there, the row says with the way out of it. */
static void test_none(void) {
    const dl_cuda_library *cuda = library();
    dl_device *device = NULL;
    dl_prepared prepared = {0};
    if (!cuda) {
        check_skip("a card without an engine", "libdl_cuda.so is not built");
        return;
    }
    setenv("DLTRAIN_CACHE", "", 1);
    dl_type x = shapes[0].x, y;
    x.dtype = DL_BF16;
    const dl_type *input[] = {&x, &shapes[0].w}, *output = &y;
    dl_conv_attributes conv = shapes[0].conv;
    conv.epilogue = DL_EPILOGUE_NONE;
    dl_infer infer = {.attributes = &conv, .inputs = 2, .input = input, .output = &y};
    CHECK_OK(dl_op_conv.infer(&infer));
    CHECK_OK(cuda->imagine(75, &device));
    dl_prepare what = {.attributes = &conv,
                       .inputs = 2,
                       .outputs = 1,
                       .input = input,
                       .output = &output,
                       .name = "bf16 on Turing",
                       .device = device};
    const dl_kernel *kernel = device->kernel("conv");
    CHECK_FAILS(kernel->prepare(&what, &prepared), DL_UNAVAILABLE, "has no engine for it on");
    CU_ASSERT_PTR_NOT_NULL(strstr(dl_message(), "precision: fp32"));
    CU_ASSERT_PTR_NULL(prepared.state);
    dl_device_close(device);
    unsetenv("DLTRAIN_CACHE");
}

void suite_cudnn(void) {
    CU_pSuite suite = CU_add_suite("cudnn", NULL, NULL);
    CU_add_test(suite, "kept on disk", test_kept);
    CU_add_test(suite, "engines without a GPU", test_plans);
    CU_add_test(suite, "no engine", test_none);
}
