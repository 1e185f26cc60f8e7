/* Rows of a table by number: how the samples of a batch come from data that lie on the device. A
 * block takes a row, in the widest words that its bytes allow. */
#include "runtime/device/launch_cuda.h"

struct alignas(16) dl_row_line {
    uint32_t word[4];
};

template <class Word>
__global__ static void take_rows(Word *to, const Word *table, const uint32_t *number, int64_t count,
                                 int64_t words) {
    for (int64_t row = blockIdx.x; row < count; row += gridDim.x) {
        const Word *from = table + (int64_t)number[row] * words;
        for (int64_t i = threadIdx.x; i < words; i += blockDim.x)
            to[row * words + i] = from[i];
    }
}

template <class Word>
static dl_status take(const dl_cuda *cuda, void *to, const void *table, const uint32_t *number,
                      int64_t count, size_t bytes) {
    int64_t words = (int64_t)(bytes / sizeof(Word));
    unsigned threads = (unsigned)(words > DL_BLOCK ? (int64_t)DL_BLOCK : (words + 31) / 32 * 32);
    unsigned blocks = dl_cuda_blocks(cuda, count * DL_BLOCK);
    return DL_LAUNCH(take_rows<Word>, blocks, threads, 0, cuda->turned, (Word *)to,
                     (const Word *)table, number, count, words);
}

dl_status dl_cuda_take(dl_device *device, void *to, const void *table, const uint32_t *number,
                       int64_t count, size_t bytes) {
    const dl_cuda *cuda = dl_cuda_of(device);
    if (count == 0)
        return DL_OK;
    return bytes % 16 == 0  ? take<dl_row_line>(cuda, to, table, number, count, bytes)
           : bytes % 4 == 0 ? take<uint32_t>(cuda, to, table, number, count, bytes)
                            : take<uint8_t>(cuda, to, table, number, count, bytes);
}
