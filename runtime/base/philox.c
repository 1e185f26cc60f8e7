/* Philox for the host. See philox.h; the generator itself is philox_rounds.h. */
#include "runtime/base/philox.h"

#include <string.h>

#include "runtime/base/hash.h"
#include "runtime/base/philox_rounds.h"

void dl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    dl_philox_words words = dl_philox_rounds(counter[0], counter[1], counter[2], counter[3],
                                             (uint64_t)key[1] << 32 | key[0]);
    memcpy(out, words.word, sizeof words.word);
}

uint32_t dl_stream(const char *name) {
    uint64_t hash = dl_hash_text(name, 0);
    return (uint32_t)(hash ^ (hash >> 32));
}

uint32_t dl_random_word(uint64_t seed, uint32_t stream, uint32_t step, uint32_t sample,
                        uint32_t element) {
    return dl_philox_rounds(stream, step, sample, element / 4, seed).word[element % 4];
}
