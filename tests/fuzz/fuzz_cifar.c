/* CIFAR's binary files; whether they are of 10 or 100 classes is seen in their length. */
#include "tests/fuzz/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    fuzz_file("  train: {cifar: {files: [%s]}}\n", bytes, count);
    fuzz_file("  train: {cifar: {files: [%s], label: coarse}}\n", bytes, count);
    return 0;
}
