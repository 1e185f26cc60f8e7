/* Sources csv, values, npy, npz and cifar; fill_missing; real tables where there are some. */
#include <math.h>
#include <zlib.h>

#include "tests/unit/data_job.h"

static void write_text(const char *name, const char *text) {
    data_job_file(name, text, strlen(text));
}

static void read_all(const data_job *d, int field, void *out) {
    dl_data_read(d->data, DL_PART_TRAIN, field, NULL, 0, dl_data_samples(d->data, DL_PART_TRAIN),
                 out);
}

static void test_csv(void) {
    data_job d;
    float x[16];
    int32_t y[8];
    write_text("t.csv", "\xef\xbb\xbf"
                        "a,\"b \"\"c\"\"\", note,kind\r\n"
                        "1,2.5,\"two\nlines\",dog\r\n\r\n"
                        " 3 ,-4e1,x,\"cat\"\r\n5,6,,dog");
    CHECK_OK(data_job_open(
        &d, data_job_text("  train: {csv: {file: t.csv, fields: {x: [a, 'b \"c\"'], y: kind, "
                          "n: a, z: 1}}}\n")));
    CU_ASSERT_EQUAL_FATAL(dl_data_samples(d.data, DL_PART_TRAIN), 3);
    dl_type two = DL_TYPE(DL_F32, 2);
    CU_ASSERT(dl_same_type(&dl_data_field_at(d.data, 0)->type, &two));
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){1, 2.5f, 3, -40, 5, 6}), 6);
    read_all(&d, 1, y);
    CU_ASSERT(y[0] == 1 && y[1] == 0 && y[2] == 1);
    CU_ASSERT_STRING_EQUAL(dl_data_field_at(d.data, 1)->class_name[0], "cat");
    read_all(&d, 2, y);
    CU_ASSERT(dl_data_field_at(d.data, 2)->classes == 6 && y[2] == 5);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 3)->type.rank, 0);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 3)->type.dtype, DL_F32);
    data_job_close(&d);
    write_text("blanks", "  1.0   2\t 3\n4 5 6  \n\n");
    CHECK_OK(data_job_open(
        &d, data_job_text("  train: {csv: {file: blanks, separator: whitespace, fields: "
                          "{x: 1.., y: 0}}}\n")));
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){2, 3, 5, 6}), 4);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 1)->type.dtype, DL_F32); /* 1.0 is no label */
    data_job_close(&d);
    write_text("where.csv", "use,v\nTrue,1\nFalse,2\nTrue,3\n");
    CHECK_OK(data_job_open(
        &d, data_job_text(
                "  train: {csv: {file: where.csv, where: {use: True}, fields: {x: [v]}}}\n")));
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){1, 3}), 2);
    data_job_close(&d);
}

static void test_csv_missing(void) {
    data_job d;
    float x[16];
    write_text("m.csv", "p,q,r\n1,,10\n9,5,20\n3,7,30\n4,7,nan\n");
    CHECK_OK(data_job_open(
        &d, data_job_text("  train: {csv: {file: m.csv, missing: 9, fields: {x: [p, q, r]}}}\n"
                          "  prepare: [{fill_missing: median}, {standardize: {columns: [r]}}]\n")));
    read_all(&d, 0, x);
    float unit = (float)(10 / sqrt(50.0));
    CHECK_CLOSE(x, ((const float[]){1, 7, -unit, 3, 5, 0, 3, 7, unit, 4, 7, 0}), 12, 1e-6, 0);
    data_job_close(&d);
    CHECK_OK(
        data_job_open(&d, data_job_text("  train: {csv: {file: m.csv, fields: {x: [p, q, r]}}}\n"
                                        "  prepare: [{fill_missing: mode}]\n")));
    read_all(&d, 0, x);
    CU_ASSERT(x[1] == 7 && x[11] == 10);
    data_job_close(&d);
    CHECK_OK(data_job_open(
        &d, data_job_text("  train: {csv: {file: m.csv, missing: [9, x], drop_missing: true, "
                          "fields: {x: [p, q, r]}}}\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 1);
    data_job_close(&d);
    DATA_FAILS(data_job_text("  train: {csv: {file: m.csv, fields: {x: [p, q]}}}\n"), DL_BAD_JOB,
               "m.csv:2:3: a value of field 'x' is unknown; add the step {fill_missing: mean");
}

static void test_csv_errors(void) {
    write_text("h.csv", "Price,Area,Location,No. of Bedrooms\n6968000,1340,Nizampet,2\n");
    DATA_FAILS(
        data_job_text("  train: {csv: {file: h.csv, fields: {y: price}}}\n"), DL_BAD_JOB,
        "job.yaml:3:42: h.csv has no column 'price'; did you mean 'Price'? It has 4: Price, Area, "
        "Location, No. of Bedrooms");
    DATA_FAILS(data_job_text("  train: {csv: {file: h.csv, fields: {x: {all_but: [Price]}}}}\n"),
               DL_BAD_JOB,
               "h.csv:2:14: 'Nizampet' in column 'Location' is not a number; leave the column out: "
               "fields: {x: {all_but: [Price, Location]}}");
    DATA_FAILS(data_job_text("  train: {csv: {file: h.csv, fields: {x: 2..7}}}\n"), DL_BAD_JOB,
               "has no columns 2..7; it has 4");
    DATA_FAILS(data_job_text("  train: {csv: {file: h.csv, fields: {x: 4}}}\n"), DL_BAD_JOB,
               "has no column 4; it has 4, numbered from 0");
    DATA_FAILS(data_job_text("  train: {csv: {file: h.csv, fields: {x: {wav: a}}}}\n"), DL_BAD_JOB,
               "'wav' is not known of columns");
    write_text("ragged.csv", "1,2\n3,4,5\n");
    DATA_FAILS(data_job_text("  train: {csv: {file: ragged.csv, fields: {x: 0}}}\n"), DL_NO_INPUT,
               "ragged.csv:2: this row has 3 cells, but the first has 2");
    write_text("quote.csv", "1,2\n\"3,4\n");
    DATA_FAILS(data_job_text("  train: {csv: {file: quote.csv, fields: {x: 0}}}\n"), DL_NO_INPUT,
               "quote.csv:2: a quote begins here and never ends");
    write_text("mixed.csv", "1\n2\nthree\n");
    DATA_FAILS(data_job_text("  train: {csv: {file: mixed.csv, fields: {y: 0}}}\n"), DL_BAD_JOB,
               "mixed.csv:3:1: 'three' in column 0 is not a number, but cells above are");
    DATA_FAILS(data_job_text("  train: {csv: {file: mixed.csv, fields: {y: v}}}\n"), DL_BAD_JOB,
               "has no header");
    write_text("empty.csv", "\n\n");
    DATA_FAILS(data_job_text("  train: {csv: {file: empty.csv, fields: {y: 0}}}\n"), DL_NO_INPUT,
               "is empty");
    write_text("only.csv", "a,b\n");
    DATA_FAILS(data_job_text("  train: {csv: {file: only.csv, fields: {y: a}}}\n"), DL_BAD_JOB,
               "0 samples");
}

static void test_values(void) {
    data_job d;
    float x[8];
    int32_t y[4];
    CHECK_OK(data_job_open(&d,
                           "  train: {values: {x: [[1, 0], [2.5, -1], [0, 1]], y: [no, yes, no], "
                           "n: [3, 0, 1], f: [1, 2.0, 3]}}\n"));
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){1, 0, 2.5f, -1, 0, 1}), 6);
    read_all(&d, 1, y);
    CU_ASSERT(y[0] == 0 && y[1] == 1 && dl_data_field_at(d.data, 1)->classes == 2);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 2)->classes, 4);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 3)->type.dtype, DL_F32);
    data_job_close(&d);
    DATA_FAILS("  train: {values: {x: [[1, 0], [2]]}}\n", DL_BAD_JOB, "a list of 2 belongs here");
    DATA_FAILS("  train: {values: {x: [[1, 0], [2, b]]}}\n", DL_BAD_JOB, "'b' is not a number");
    DATA_FAILS("  train: {values: {x: [[1, 0], 2]}}\n", DL_BAD_JOB, "a list of 2 belongs here");
    DATA_FAILS("  train: {values: {x: [1, 2], y: [1]}}\n", DL_BAD_JOB,
               "'y' has 1 samples, but 'x' has 2");
    DATA_FAILS("  train: {values: {x: 3}}\n", DL_BAD_JOB, "a list with an element for each sample");
}

/* An NPY file of version 1 with the dictionary and elements given. */
static size_t make_npy(uint8_t *file, const char *dictionary, const void *values, size_t bytes) {
    size_t length = strlen(dictionary);
    memcpy(file, "\x93NUMPY\x01\x00", 8);
    file[8] = (uint8_t)length;
    file[9] = (uint8_t)(length >> 8);
    memcpy(file + 10, dictionary, length);
    memcpy(file + 10 + length, values, bytes);
    return 10 + length + bytes;
}

static void write_npy(const char *name, const char *dictionary, const void *values, size_t bytes) {
    uint8_t file[1024];
    data_job_file(name, file, make_npy(file, dictionary, values, bytes));
}

static void test_npy(void) {
    data_job d;
    float x[8];
    int32_t y[4];
    static const double doubles[] = {1, 2, 3, 4, 5, 6};
    static const uint8_t big[] = {0, 1, 0, 2, 255, 254};
    static const int64_t longs[] = {2, 0, 1};
    static const uint32_t text[] = {'b', 0xe9, 'a', 0, 'b', 0xe9};
    write_npy("c.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }\n", doubles,
              48);
    write_npy("f.npy", "{'shape': (3, 2), 'fortran_order': True, 'descr': '<f8'}", doubles, 48);
    write_npy("big.npy", "{'descr': '>i2', 'fortran_order': False, 'shape': (3,), }\n", big, 6);
    write_npy("y.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3L, 1L), }\n", longs,
              24);
    write_npy("u.npy", "{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }\n", text, 24);
    CHECK_OK(data_job_open(
        &d,
        data_job_text("  train: {npy: {x: c.npy, f: f.npy, s: big.npy, y: y.npy, u: u.npy}}\n")));
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){1, 2, 3, 4, 5, 6}), 6);
    read_all(&d, 1, x);
    CHECK_BITS(x, ((const float[]){1, 4, 2, 5, 3, 6}), 6);
    read_all(&d, 2, x); /* negative: no labels */
    CHECK_BITS(x, ((const float[]){1, 2, -2}), 3);
    read_all(&d, 3, y);
    CU_ASSERT(y[0] == 2 && y[1] == 0 && y[2] == 1);
    CU_ASSERT(dl_data_field_at(d.data, 3)->classes == 3 &&
              dl_data_field_at(d.data, 3)->type.rank == 0);
    read_all(&d, 4, y);
    CU_ASSERT(y[0] == 1 && y[1] == 0 && y[2] == 1);
    CU_ASSERT_STRING_EQUAL(dl_data_field_at(d.data, 4)->class_name[1], "b\xc3\xa9");
    data_job_close(&d);
    static const uint16_t halves[] = {0x3c00, 0xc000, 0x3555, 0x0001, 0x7bff};
    write_npy("half.npy", "{'descr': '<f2', 'fortran_order': False, 'shape': (5,), }\n", halves,
              10);
    CHECK_OK(data_job_open(&d, data_job_text("  train: {npy: {x: half.npy}}\n")));
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){1, -2, 0.333251953125f, 0x1p-24f, 65504}), 5);
    data_job_close(&d);
    write_npy("o.npy", "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n", longs, 24);
    DATA_FAILS(data_job_text("  train: {npy: {x: o.npy}}\n"), DL_BAD_JOB, "Python objects");
    write_npy("cut.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }\n", doubles,
              47);
    DATA_FAILS(data_job_text("  train: {npy: {x: cut.npy}}\n"), DL_NO_INPUT,
               "job.yaml:3:20: cut.npy is cut off: 6 elements of 8 bytes need");
    write_npy("many.npy",
              "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9), }\n",
              doubles, 48);
    DATA_FAILS(data_job_text("  train: {npy: {x: many.npy}}\n"), DL_NO_INPUT, "is damaged");
    write_npy("zero.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", doubles, 8);
    DATA_FAILS(data_job_text("  train: {npy: {x: zero.npy}}\n"), DL_BAD_JOB, "is a single number");
    data_job_file("no.npy", "hello, world", 12);
    DATA_FAILS(data_job_text("  train: {npy: {x: no.npy}}\n"), DL_NO_INPUT, "is no NPY file");
}

static size_t put(uint8_t *at, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(number >> 8 * i);
    return (size_t)bytes;
}

/* One entry's local header and bytes, and its line in the directory. */
static size_t put_entry(uint8_t *zip, size_t at, uint8_t *directory, size_t *used, const char *name,
                        const uint8_t *bytes, size_t count, bool deflated) {
    uint8_t packed[2048];
    size_t size = count, local = at;
    memcpy(packed, bytes, count);
    if (deflated) {
        z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes,
                      .avail_in = (uInt)count,
                      .next_out = packed,
                      .avail_out = sizeof packed};
        deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
        CU_ASSERT_EQUAL(deflate(&z, Z_FINISH), Z_STREAM_END);
        size = z.total_out;
        deflateEnd(&z);
    }
    size_t name_length = strlen(name);
    uint32_t crc = (uint32_t)crc32(0, bytes, (uInt)count);
    memset(zip + at, 0, 30);
    put(zip + at, 0x04034b50, 4);
    put(zip + at + 8, deflated ? 8 : 0, 2);
    put(zip + at + 26, name_length, 2);
    at += 30;
    memcpy(zip + at, name, name_length);
    at += name_length;
    memcpy(zip + at, packed, size);
    at += size;
    uint8_t *d = directory + *used;
    memset(d, 0, 46);
    put(d, 0x02014b50, 4);
    put(d + 10, deflated ? 8 : 0, 2);
    put(d + 16, crc, 4);
    put(d + 20, size, 4);
    put(d + 24, count, 4);
    put(d + 28, name_length, 2);
    put(d + 42, local, 4);
    memcpy(d + 46, name, name_length);
    *used += 46 + name_length;
    return at;
}

static size_t make_npz(uint8_t *zip) {
    static const float x[] = {1, 2, 3, 4};
    static const uint8_t y[] = {1, 0};
    uint8_t file[512], directory[512];
    size_t used = 0;
    size_t count =
        make_npy(file, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", x, 16);
    size_t at = put_entry(zip, 0, directory, &used, "images.npy", file, count, true);
    count = make_npy(file, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", y, 2);
    at = put_entry(zip, at, directory, &used, "labels.npy", file, count, false);
    memcpy(zip + at, directory, used);
    uint8_t *end = zip + at + used;
    memset(end, 0, 22);
    put(end, 0x06054b50, 4);
    put(end + 8, 2, 2);
    put(end + 10, 2, 2);
    put(end + 12, used, 4);
    put(end + 16, at, 4);
    return at + used + 22;
}

static void test_npz(void) {
    data_job d;
    float x[4];
    int32_t y[2];
    uint8_t zip[4096];
    size_t count = make_npz(zip);
    data_job_file("a.npz", zip, count);
    CHECK_OK(data_job_open(
        &d, data_job_text("  train: {npz: {file: a.npz, fields: {x: images, y: labels}}}\n")));
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){1, 2, 3, 4}), 4);
    read_all(&d, 1, y);
    CU_ASSERT(y[0] == 1 && y[1] == 0);
    data_job_close(&d);
    DATA_FAILS(data_job_text("  train: {npz: {file: a.npz, fields: {x: image}}}\n"), DL_BAD_JOB,
               "a.npz has no array 'image'; did you mean 'images'?");
    DATA_FAILS(data_job_text("  train: {npz: {file: a.npz, fields: {x: q}}}\n"), DL_BAD_JOB,
               "it has: images, labels");
    zip[60] ^= 1; /* inside the deflated bytes */
    data_job_file("bad.npz", zip, count);
    DATA_FAILS(data_job_text("  train: {npz: {file: bad.npz, fields: {x: images}}}\n"), DL_NO_INPUT,
               "bad.npz is damaged");
    zip[60] ^= 1;
    for (size_t cut = 0; cut < count; cut += 7) {
        data_job_file("cut.npz", zip, cut);
        CHECK_FAILS(
            data_job_open(&d,
                          data_job_text("  train: {npz: {file: cut.npz, fields: {x: images}}}\n")),
            DL_NO_INPUT, "cut.npz");
        data_job_close(&d);
    }
}

static void test_cifar(void) {
    enum { RECORD = 3073 };
    static uint8_t ten[2 * RECORD], hundred[3074];
    static float x[2 * 3072];
    data_job d;
    int32_t y[4];
    for (int i = 0; i < 2 * RECORD; i++)
        ten[i] =
            (uint8_t)(i % RECORD == 0 ? 3 + i / RECORD : ((i % RECORD - 1) / 1024) * 50 + i % 7);
    hundred[0] = 4;
    hundred[1] = 77;
    data_job_file("a.bin", ten, sizeof ten);
    data_job_file("b.bin", ten, RECORD);
    data_job_file("c.bin", ten, RECORD - 1);
    data_job_file("h.bin", hundred, sizeof hundred);
    CHECK_OK(data_job_open(&d, data_job_text("  train: {cifar: [a.bin, b.bin]}\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 3);
    dl_data_read(d.data, DL_PART_TRAIN, 0, NULL, 1, 2, x);
    for (int i = 0; i < 1024; i++)
        for (int c = 0; c < 3; c++)
            CU_ASSERT_EQUAL(x[3 * i + c], (float)ten[RECORD + 1 + c * 1024 + i]);
    read_all(&d, 1, y);
    CU_ASSERT(y[0] == 3 && y[1] == 4 && y[2] == 3);
    data_job_close(&d);
    CHECK_OK(data_job_open(&d, data_job_text("  train: {cifar: [h.bin]}\n")));
    read_all(&d, 1, y);
    CU_ASSERT_EQUAL(y[0], 77);
    data_job_close(&d);
    CHECK_OK(
        data_job_open(&d, data_job_text("  train: {cifar: {files: [h.bin], label: coarse}}\n")));
    read_all(&d, 1, y);
    CU_ASSERT_EQUAL(y[0], 4);
    data_job_close(&d);
    DATA_FAILS(data_job_text("  train: {cifar: [a.bin, c.bin]}\n"), DL_NO_INPUT,
               "c.bin is no CIFAR file, or cut off: 3072 bytes");
    DATA_FAILS(data_job_text("  train: {cifar: [a.bin, h.bin]}\n"), DL_NO_INPUT,
               "h.bin is no CIFAR file");
}

static void test_real_tables(void) {
    const char *folder = data_job_real("real tables");
    if (!folder)
        return;
    data_job d;
    char text[1024];
    float *x = dl_alloc(sizeof *x * 2600 * 40);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
#define REAL(job) (snprintf(text, sizeof text, "  root: %s/tabular\n%s", folder, job), text)
    CHECK_OK(data_job_open(
        &d, REAL("  train: {csv: {file: one_circle.csv, fields: {x: [x_1, x_2], y: y}}}\n"
                 "  prepare: [{one_hot, field: y}]\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 110);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 1)->classes, 2);
    read_all(&d, 0, x);
    CHECK_BITS(x, ((const float[]){-0.759415996185977f, 2.7532400952557747f}), 2);
    data_job_close(&d);
    CHECK_OK(data_job_open(
        &d, REAL("  source: {csv: {file: iris.csv, header: false, fields: {x: 2..3, y: 4}}}\n"
                 "  test: {random: 23, stratify: true}\n"
                 "  classes: {versicolor: [Iris-versicolor], virginica: [Iris-virginica]}\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TEST), 23);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 77);
    const int64_t *count = dl_data_field_at(d.data, 1)->class_count;
    CU_ASSERT(count[0] + count[1] == 77 && (count[0] == 38 || count[1] == 38));
    data_job_close(&d);
    CHECK_OK(data_job_open(
        &d, REAL("  source: {csv: {file: wdbc.data, header: false, fields: {x: 2..31, y: 1}}}\n"
                 "  validation: {folds: 5, shuffle: true, remainder: drop}\n"
                 "  classes: {benign: [B], malignant: [M]}\n"
                 "  prepare: [{standardize: {fit: source}}]\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_VALIDATION), 113);
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 452);
    data_job_close(&d);
    CHECK_OK(
        data_job_open(&d, REAL("  train: {csv: {file: boston-housing.data, separator: whitespace, "
                               "fields: {x: 0..12, y: 13}}}\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 506);
    data_job_close(&d);
    CHECK_OK(data_job_open(
        &d, REAL("  train: {csv: {file: Hyderabad.csv, missing: 9, drop_missing: true, fields: {x: "
                 "{all_but: [Price, Location]}, y: Price}}}\n  prepare: [{standardize: {columns: "
                 "[Area]}}]\n")));
    CU_ASSERT_EQUAL(dl_data_samples(d.data, DL_PART_TRAIN), 2434);
    CU_ASSERT(dl_data_field_at(d.data, 1)->classes == 0);
    CU_ASSERT_EQUAL(dl_data_field_at(d.data, 1)->type.dtype, DL_F32);
    double sum = 0, squares = 0;
    read_all(&d, 0, x);
    for (int i = 0; i < 2434; i++) {
        sum += (double)x[i * 38];
        squares += (double)x[i * 38] * (double)x[i * 38];
    }
    CU_ASSERT_DOUBLE_EQUAL(sum / 2434, 0, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL(squares / 2434, 1, 1e-5);
    data_job_close(&d);
    dl_free(x);
}

/* Every allocation fails once. */
static void test_no_memory(void) {
    uint8_t zip[4096];
    data_job_file("a.npz", zip, make_npz(zip));
    write_text("n.csv", "a,b\n1,x\n2,y\n3,x\n");
    char text[1024];
    snprintf(text, sizeof text, "%s",
             data_job_text("  source: {csv: {file: n.csv, fields: {x: [a], y: b}}}\n"
                           "  train: {first: 2}\n  prepare: [{fill_missing: median}]\n"));
    data_job d;
    CHECK_OK(data_job_open(&d, text));
    for (uint64_t n = 1;; n++) {
        dl_data *again = NULL;
        dl_alloc_fail_after(n);
        dl_status status = dl_data_open(&again, d.node, &(dl_data_options){0});
        dl_alloc_fail_after(0);
        if (status == DL_OK) {
            dl_data_close(again);
            break;
        }
        CU_ASSERT_EQUAL(status, DL_NO_MEMORY);
    }
    data_job_close(&d);
}

void suite_tables(void) {
    CU_pSuite suite = CU_add_suite("tables", NULL, data_job_clean);
    CU_add_test(suite, "csv", test_csv);
    CU_add_test(suite, "unknown values", test_csv_missing);
    CU_add_test(suite, "csv errors", test_csv_errors);
    CU_add_test(suite, "values", test_values);
    CU_add_test(suite, "npy", test_npy);
    CU_add_test(suite, "npz", test_npz);
    CU_add_test(suite, "cifar", test_cifar);
    CU_add_test(suite, "real tables", test_real_tables);
    CU_add_test(suite, "no memory", test_no_memory);
}
