/* Keras's HDF5 files: what is written has the structure that Keras reads and comes back through the
 * transposition; hostile and damaged files are refused. tests/reference/check_h5.py asks Keras. */
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/memory.h"
#include "runtime/store/file.h"
#include "runtime/store/keras_h5.h"
#include "tests/unit/check.h"

static char folder[64], path[128];

static void enter(void) {
    snprintf(folder, sizeof folder, "/tmp/dl-h5-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.h5", folder);
}

static void leave(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static const float conv[2 * 3 * 3 * 2] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                          12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
                                          24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35};
static const float dense[6] = {1, 2, 3, 4, 5, 6}, bias[2] = {-1, -2};

static dl_status save(const char *config) {
    const dl_keras_weight conv_weight[] = {
        {"conv2d/kernel:0", DL_TYPE(DL_F32, 2, 3, 3, 2), {1, 2, 3, 0}, conv}};
    const dl_keras_weight dense_weight[] = {
        {"dense/kernel:0", DL_TYPE(DL_F32, 2, 3), {1, 0}, dense},
        {"dense/bias:0", DL_TYPE(DL_F32, 2), {0}, bias}};
    const dl_keras_layer layer[] = {
        {"conv2d", conv_weight, 1}, {"flatten", NULL, 0}, {"dense", dense_weight, 2}};
    const dl_keras_model model = {.model_config = config, .layer = layer, .layer_count = 3};
    return dl_keras_h5_write(path, &model);
}

static void test_round_trip(void) {
    static const char config[] = "{\"class_name\": \"Sequential\"}";
    enter();
    for (int whole = 0; whole < 2; whole++) {
        dl_keras_h5 *file;
        float kernel[36], small[6], raw[6];
        const int same[] = {0, 1, 2, 3}, hwio[] = {1, 2, 3, 0}, swap[] = {1, 0};
        CHECK_OK(save(whole ? config : NULL));
        CHECK_OK(dl_keras_h5_open(&file, path));
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        CU_ASSERT_EQUAL(file->layer_count, 3);
        CU_ASSERT_STRING_EQUAL(file->layer[1].name, "flatten");
        CU_ASSERT_EQUAL(file->layer[1].weight_count, 0);
        CU_ASSERT_STRING_EQUAL(file->layer[2].weight[1].name, "dense/bias:0");
        CU_ASSERT_STRING_EQUAL(file->keras_version, "2.4.0");
        CU_ASSERT_EQUAL(file->model_config != NULL, whole);
        if (whole)
            CU_ASSERT_STRING_EQUAL(file->model_config, config);
        dl_type ohwi = DL_TYPE(DL_F32, 2, 3, 3, 2), stored = DL_TYPE(DL_F32, 3, 3, 2, 2);
        dl_type out_in = DL_TYPE(DL_F32, 2, 3), in_out = DL_TYPE(DL_F32, 3, 2);
        CU_ASSERT(dl_same_shape(&file->layer[0].weight[0].type, &stored));
        CHECK_OK(dl_keras_h5_read(file, 0, 0, &ohwi, hwio, kernel));
        CHECK_BITS(kernel, conv, 36);
        CHECK_OK(dl_keras_h5_read(file, 2, 0, &out_in, swap, small));
        CHECK_BITS(small, dense, 6);
        const float by_hand[] = {1, 4, 2, 5, 3, 6};
        CHECK_OK(dl_keras_h5_read(file, 2, 0, &in_out, same, raw));
        CHECK_BITS(raw, by_hand, 6);
        CHECK_OK(dl_keras_h5_read(file, 0, 0, &stored, same, kernel));
        CU_ASSERT_EQUAL(kernel[1], 18); /* h 0, w 0, in 0, out 1 is (1, 0, 0, 0) of ours */
        CU_ASSERT_EQUAL(kernel[2], 1);  /* in 1 */
        CHECK_FAILS(dl_keras_h5_read(file, 2, 0, &out_in, same, small), DL_NO_INPUT,
                    "has shape (3, 2), but (2, 3) is wanted");
        dl_keras_h5_close(file);
    }
    leave();
}

/* Hundreds of long names: the list is split as Keras splits it. */
static void test_long_lists(void) {
    enter();
    static char names[900][101];
    static dl_keras_layer layer[900];
    for (int i = 0; i < 900; i++) {
        snprintf(names[i], sizeof names[i], "%0100d", i);
        layer[i] = (dl_keras_layer){.name = names[i]};
    }
    dl_keras_model model = {.layer = layer, .layer_count = 900};
    dl_keras_h5 *file;
    CHECK_OK(dl_keras_h5_write(path, &model));
    CHECK_OK(dl_keras_h5_open(&file, path));
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(file->layer_count, 900);
    CU_ASSERT_STRING_EQUAL(file->layer[899].name, names[899]);
    CU_ASSERT(H5Aexists(file->group, "layer_names1") > 0);
    dl_keras_h5_close(file);
    leave();
}

static void test_refused_names(void) {
    static const char *const bad[] = {"", "/a", "a//b", "../a", "a/./b", "a/"};
    enter();
    for (int i = 0; i < DL_COUNT(bad); i++) {
        dl_keras_layer layer = {.name = bad[i]};
        dl_keras_model model = {.layer = &layer, .layer_count = 1};
        CHECK_FAILS(dl_keras_h5_write(path, &model), DL_NO_WRITE, "cannot be the name");
    }
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    dl_keras_model none = {.layer_count = 0};
    CHECK_FAILS(dl_keras_h5_write("x.weights.h5", &none), DL_BAD_JOB, ".weights.h5");
    leave();
}

static void make_hostile(int kind) {
    const hsize_t one = 1, four = 4, vast = 1u << 30;
    hid_t file, group, space, type = H5Tcopy(H5T_C_S1), data = -1, list, attribute;
    const char *const layer = "l", *weight = "w";
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete(file, "layer_names");
    H5Tset_size(type, 1);
    space = H5Screate_simple(1, &one, NULL);
    attribute = H5Acreate2(file, "layer_names", type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, layer);
    H5Aclose(attribute);
    group = H5Gcreate2(file, "l", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    attribute = H5Acreate2(group, "weight_names", type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, weight);
    H5Aclose(attribute);
    H5Sclose(space);
    list = H5Pcreate(H5P_DATASET_CREATE);
    space = H5Screate_simple(1, kind == 3 ? &vast : &four, NULL);
    if (kind == 0)
        H5Lcreate_soft("/dense/dense/bias:0", group, "w", H5P_DEFAULT, H5P_DEFAULT);
    if (kind == 1)
        H5Lcreate_external("/etc/passwd", "/x", group, "w", H5P_DEFAULT, H5P_DEFAULT);
    if (kind == 2)
        H5Pset_external(list, "/etc/passwd", 0, 16);
    if (kind == 4 || kind == 5)
        H5Pset_chunk(list, 1, &four);
    if (kind == 4)
        H5Pset_fletcher32(list);
    if (kind >= 2)
        data = H5Dcreate2(group, "w", kind == 6 ? H5T_STD_I32LE : H5T_IEEE_F32LE, space,
                          H5P_DEFAULT, list, H5P_DEFAULT);
    if (data >= 0)
        H5Dclose(data);
    H5Pclose(list);
    H5Sclose(space);
    H5Gclose(group);
    H5Tclose(type);
    CU_ASSERT(H5Fclose(file) >= 0);
}

static void test_hostile(void) {
    static const char *const why[] = {"link to somewhere else",     "link to somewhere else",
                                      "values lie in another file", "larger than the file",
                                      "filter other than gzip",     "holds no values",
                                      "no floating-point numbers"};
    enter();
    for (int kind = 0; kind < DL_COUNT(why); kind++) {
        dl_keras_h5 *file;
        CHECK_OK(save(NULL));
        make_hostile(kind);
        CHECK_FAILS(dl_keras_h5_open(&file, path), DL_NO_INPUT, why[kind]);
        CU_ASSERT_PTR_NULL(file);
    }
    dl_keras_h5 *file;
    CHECK_FAILS(dl_keras_h5_open(&file, "/dev/null"), DL_NO_INPUT, "not a file");
    CHECK_FAILS(dl_keras_h5_open(&file, "/nowhere"), DL_NO_INPUT, "No such file");
    leave();
}

/* Whatever the library does with damaged bytes, this process gets a status. */
static void test_damaged(void) {
    char *bytes;
    size_t count;
    enter();
    CHECK_OK(save("{}"));
    CHECK_OK(dl_file_read(path, 1 << 20, &bytes, &count));
    for (size_t at = 0, step = count / 60 + 1; at < count; at += step) {
        dl_keras_h5 *file;
        char old = bytes[at];
        bytes[at] = (char)(old ^ 0x55);
        CHECK_OK(dl_file_replace(path, 0600, bytes, count));
        dl_status status = dl_keras_h5_open(&file, path);
        CU_ASSERT(status == DL_OK || (status == DL_NO_INPUT && dl_message()[0] != '\0'));
        dl_keras_h5_close(file);
        CHECK_OK(dl_file_replace(path, 0600, bytes, at)); /* cut there */
        CHECK_FAILS(dl_keras_h5_open(&file, path), DL_NO_INPUT, path);
        bytes[at] = old;
    }
    dl_free(bytes);
    leave();
}

static void test_faults(void) {
    char *before, *after;
    size_t count, again;
    enter();
    CHECK_OK(save("{}"));
    CHECK_OK(dl_file_read(path, 1 << 20, &before, &count));
    for (uint64_t n = 1; n <= 4; n++) {
        dl_file_fail_after(n, ENOSPC, true);
        CHECK_FAILS(save("{\"other\": 1}"), DL_NO_WRITE, "No space left");
        dl_file_fail_after(0, 0, false);
        CHECK_OK(dl_file_read(path, 1 << 20, &after, &again));
        CU_ASSERT(again == count && memcmp(before, after, count) == 0);
        dl_free(after);
    }
    dl_free(before);
    for (uint64_t n = 1;; n++) {
        dl_alloc_fail_after(n);
        dl_status status = save("{}");
        dl_alloc_fail_after(0);
        if (status == DL_OK) {
            CU_ASSERT(n > 5);
            break;
        }
        CU_ASSERT_EQUAL_FATAL(status, DL_NO_MEMORY);
    }
    leave();
}

void suite_h5(void) {
    CU_pSuite suite = CU_add_suite("h5", NULL, NULL);
    CU_add_test(suite, "round trip and layout", test_round_trip);
    CU_add_test(suite, "long lists of names", test_long_lists);
    CU_add_test(suite, "names that are refused", test_refused_names);
    CU_add_test(suite, "hostile files", test_hostile);
    CU_add_test(suite, "damaged files", test_damaged);
    CU_add_test(suite, "faults of disk and memory", test_faults);
}
