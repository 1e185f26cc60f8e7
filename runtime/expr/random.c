/* uniform and normal elements of a program, many Philox blocks at a time. Element e of the tensor
 * is element e % sample_elements of sample first_sample + e / sample_elements, whatever range is
 * asked for, so the numbers do not depend on how a tensor is cut. Both take the words as
 * base/philox.h numbers them; normal pairs elements 2k and 2k + 1 of a sample. */
#include "runtime/expr/program.h"

enum { QUADS = DL_LANE_BLOCK / 4 + 2, LONG_SAMPLE = 32 };

typedef struct words {
    uint32_t first[DL_LANE_BLOCK], second[DL_LANE_BLOCK], odd[DL_LANE_BLOCK];
} words;

/* `count` elements of one sample from `element`, to out from `at`: Philox blocks in a row, four
 * elements each. */
static void draw_row(const dl_lanes *lanes, uint32_t stream, const dl_random *random,
                     uint32_t sample, int64_t element, int count, int at, words *out, bool pairs) {
    uint32_t samples[QUADS], quad[QUADS], word[4 * QUADS];
    int64_t from = element / 4;
    int blocks = (int)((element + count - 1) / 4 - from) + 1, shift = (int)(element % 4);
    for (int i = 0; i < blocks; i++) {
        samples[i] = sample;
        quad[i] = (uint32_t)(from + i);
    }
    lanes->philox(word, stream, random->step, samples, quad, blocks, random->seed);
    for (int i = 0; i < count; i++) {
        uint32_t w = (uint32_t)(shift + i);
        out->first[at + i] = word[pairs ? w & ~1u : w];
        out->second[at + i] = word[w | 1u];
        out->odd[at + i] = w & 1u;
    }
}

/* Short samples: a Philox block for each element. */
static void draw_each(const dl_lanes *lanes, uint32_t stream, const dl_random *random,
                      int64_t sample_elements, int64_t first, int count, words *out, bool pairs) {
    uint32_t samples[DL_LANE_BLOCK], quad[DL_LANE_BLOCK], word[4 * DL_LANE_BLOCK];
    uint32_t place[DL_LANE_BLOCK];
    samples[0] = quad[0] = 0;
    int64_t sample = first / sample_elements, element = first % sample_elements;
    for (int i = 0; i < count; i++) {
        samples[i] = random->first_sample + (uint32_t)sample;
        quad[i] = (uint32_t)(element / 4);
        place[i] = (uint32_t)(element % 4);
        if (++element == sample_elements) {
            element = 0;
            sample++;
        }
    }
    lanes->philox(word, stream, random->step, samples, quad, count, random->seed);
    for (int i = 0; i < count; i++) {
        const uint32_t *block = word + 4 * i;
        out->first[i] = block[pairs ? place[i] & 2u : place[i]];
        out->second[i] = block[place[i] | 1u];
        out->odd[i] = place[i] & 1u;
    }
}

void dl_program_random(const dl_lanes *lanes, dl_expr_kind kind, uint32_t stream,
                       const dl_random *random, int64_t sample_elements, int64_t first,
                       int64_t groups, float *dst) {
    words drawn;
    int count = (int)(groups * DL_LANE_GROUP);
    bool pairs = kind == DL_EXPR_NORMAL;
    if (sample_elements < LONG_SAMPLE) {
        draw_each(lanes, stream, random, sample_elements, first, count, &drawn, pairs);
    } else {
        int64_t sample = first / sample_elements, element = first % sample_elements;
        for (int done = 0; done < count;) {
            int64_t left = sample_elements - element;
            int run = left < count - done ? (int)left : count - done;
            draw_row(lanes, stream, random, random->first_sample + (uint32_t)sample, element, run,
                     done, &drawn, pairs);
            done += run;
            element = 0;
            sample++;
        }
    }
    if (pairs)
        lanes->normal(dst, drawn.first, drawn.second, drawn.odd, groups);
    else
        lanes->uniform(dst, drawn.first, groups);
}
