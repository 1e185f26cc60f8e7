/* See order.h. Four draws come from one Philox block: about 10 ns a sample. */
#include "runtime/data/order.h"

#include "runtime/base/philox.h"

void dl_permute(uint32_t *out, int64_t count, uint64_t seed, uint32_t stream, uint32_t pass) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t word[4] = {0};
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) {
            const uint32_t counter[4] = {stream, pass, (uint32_t)(i / 4), 0};
            dl_philox(counter, key, word);
        }
        uint32_t j = dl_bounded(word[i % 4], (uint32_t)(i + 1));
        out[i] = out[j];
        out[j] = (uint32_t)i;
    }
}
