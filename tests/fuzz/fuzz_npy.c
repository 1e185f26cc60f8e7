/* NPY files, and NPZ archives of them. */
#include "runtime/data/npy.h"
#include "runtime/data/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void read_array(const uint8_t *bytes, size_t count) {
    dl_set set = {.count = 0};
    dl_array array = {.name = "x", .file = "fuzz"};
    dl_npy npy;
    int64_t samples = 0;
    if (dl_npy_read(bytes, count, &npy, "fuzz") == DL_OK &&
        dl_npy_array(&set, bytes, &npy, &array, &samples) == DL_OK) {
        volatile uint8_t sum = 0; /* what is promised can be read */
        size_t size = (size_t)samples * dl_type_bytes(&array.type);
        for (size_t i = 0; i < size; i++)
            sum = (uint8_t)(sum + ((const uint8_t *)array.values)[i]);
    }
    dl_set_close(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    dl_zip zip;
    dl_zip_entry entry;
    size_t next = 0;
    bool found = true;
    read_array(bytes, count);
    if (dl_zip_open(&zip, bytes, count, "fuzz") != DL_OK)
        return 0;
    for (int i = 0; i < 8 && dl_zip_next(&zip, &next, &entry, &found) == DL_OK && found; i++) {
        if (entry.size > 1 << 20)
            continue;
        uint8_t *out = dl_alloc(entry.size);
        if (out && dl_zip_read(&zip, &entry, out) == DL_OK)
            read_array(out, entry.size);
        dl_free(out);
    }
    return 0;
}
