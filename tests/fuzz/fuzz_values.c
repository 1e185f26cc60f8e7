/* Samples that stand in the job: the bytes are the value of a field. */
#include "tests/fuzz/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    static const char head[] = "data:\n  train:\n    values:\n      x: ";
    char *text = dl_alloc(sizeof head + count);
    if (!text)
        return 0;
    memcpy(text, head, sizeof head - 1);
    if (count > 0)
        memcpy(text + sizeof head - 1, bytes, count);
    fuzz_job(text, sizeof head - 1 + count);
    dl_free(text);
    return 0;
}
