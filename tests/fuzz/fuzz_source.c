/* Whole files through their sources; the first byte says which: i IDX, n NPY, z NPZ, c CSV. */
#include "tests/fuzz/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    static const struct {
        char letter;
        const char *data;
    } kinds[] = {
        {'i', "  train: {idx: {x: %s}}\n"},
        {'n', "  train: {npy: {x: %s}}\n  validation: {first: 0.5}\n"},
        {'z', "  train: {npz: {file: %s, fields: {x: a, y: b}}}\n"},
        {'c', "  train: {csv: {file: %s, fields: {x: 0..1, y: 2}}}\n"
              "  prepare: [{fill_missing: mean}, {standardize: {}}]\n"},
    };
    for (int i = 0; count > 0 && i < (int)(sizeof kinds / sizeof *kinds); i++)
        if (kinds[i].letter == (char)bytes[0])
            fuzz_file(kinds[i].data, bytes + 1, count - 1);
    return 0;
}
