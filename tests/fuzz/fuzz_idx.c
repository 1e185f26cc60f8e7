/* IDX headers, and unpacking of gzip with a header inside. */
#include "runtime/base/memory.h"
#include "runtime/data/bytes.h"
#include "runtime/data/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    dl_idx idx;
    uint8_t *out = NULL;
    size_t produced = 0;
    if (dl_is_gzip(bytes, count)) {
        if (dl_gunzip_all(bytes, count, &out, &produced, "fuzz") != DL_OK)
            return 0;
        bytes = out;
        count = produced;
    }
    if (dl_idx_read(bytes, count, &idx, "fuzz") == DL_OK &&
        dl_idx_check(&idx, count, "fuzz") == DL_OK) {
        volatile uint8_t sum = 0; /* what is promised can be read */
        for (size_t i = 0; i < idx.bytes; i++)
            sum = (uint8_t)(sum + bytes[idx.offset + i]);
    }
    dl_free(out);
    return 0;
}
