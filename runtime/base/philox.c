/* Philox 4x32-10, as in section 4 of Salmon et al., SC'11. See philox.h. */
#include "runtime/base/philox.h"

#include "runtime/base/hash.h"

void dl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c0;
        uint64_t product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t dl_stream(const char *name) {
    uint64_t hash = dl_hash_text(name, 0);
    return (uint32_t)(hash ^ (hash >> 32));
}

uint32_t dl_random_word(uint64_t seed, uint32_t stream, uint32_t step, uint32_t sample,
                        uint32_t element) {
    const uint32_t counter[4] = {stream, step, sample, element / 4};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t word[4];
    dl_philox(counter, key, word);
    return word[element % 4];
}
