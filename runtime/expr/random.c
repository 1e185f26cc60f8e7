/* uniform and normal elements of a program, many Philox counters at a time. Element e of the tensor
 * is element e % sample_elements of sample first_sample + e / sample_elements, whatever range is
 * asked for, so the numbers do not depend on how a tensor is cut. Both take the words as
 * base/philox.h numbers them; normal makes two numbers of elements 2k and 2k + 1 of a sample. */
#include <string.h>

#include "runtime/expr/program.h"

enum { QUADS = DL_LANE_BLOCK / 4 + 4, LONG_SAMPLE = 32 };

/* `count` elements of one sample from `element`: counters in a row, four elements each. */
static void draw_row(const dl_lanes *lanes, dl_expr_kind kind, uint32_t stream,
                     const dl_random *random, uint32_t sample, int64_t element, int count,
                     float *dst) {
    uint32_t samples[QUADS], quad[QUADS], word[4 * QUADS];
    float number[4 * QUADS];
    int64_t from = element / 4;
    int shift = (int)(element % 4), groups = (shift + count + DL_LANE_GROUP - 1) / DL_LANE_GROUP;
    for (int i = 0; i < 4 * groups; i++) {
        samples[i] = sample;
        quad[i] = (uint32_t)(from + i);
    }
    lanes->philox(word, stream, random->step, samples, quad, 4 * groups, random->seed);
    (kind == DL_EXPR_NORMAL ? lanes->pairs : lanes->uniform)(number, word, groups);
    memcpy(dst, number + shift, (size_t)count * sizeof *dst);
}

/* Short samples: a counter for each element. */
static void draw_each(const dl_lanes *lanes, dl_expr_kind kind, uint32_t stream,
                      const dl_random *random, int64_t sample_elements, int64_t first,
                      int64_t groups, float *dst) {
    uint32_t samples[DL_LANE_BLOCK], quad[DL_LANE_BLOCK], odd[DL_LANE_BLOCK];
    uint32_t word[4 * DL_LANE_BLOCK], word0[DL_LANE_BLOCK], word1[DL_LANE_BLOCK];
    int64_t sample = first / sample_elements, element = first % sample_elements;
    int count = (int)groups * DL_LANE_GROUP;
    uint32_t place[DL_LANE_BLOCK];
    if (count <= 0)
        return;
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
        word0[i] = word[4 * i + (int)(kind == DL_EXPR_NORMAL ? place[i] & 2u : place[i])];
        word1[i] = word[4 * i + (int)(place[i] | 1u)];
        odd[i] = place[i] & 1u;
    }
    if (kind == DL_EXPR_NORMAL)
        lanes->normal(dst, word0, word1, odd, groups);
    else
        lanes->uniform(dst, word0, groups);
}

void dl_program_random(const dl_lanes *lanes, dl_expr_kind kind, uint32_t stream,
                       const dl_random *random, int64_t sample_elements, int64_t first,
                       int64_t groups, float *dst) {
    if (sample_elements < LONG_SAMPLE) {
        draw_each(lanes, kind, stream, random, sample_elements, first, groups, dst);
        return;
    }
    int count = (int)groups * DL_LANE_GROUP;
    int64_t sample = first / sample_elements, element = first % sample_elements;
    for (int done = 0; done < count;) {
        int64_t left = sample_elements - element;
        int run = left < count - done ? (int)left : count - done;
        draw_row(lanes, kind, stream, random, random->first_sample + (uint32_t)sample, element, run,
                 dst + done);
        done += run;
        element = 0;
        sample++;
    }
}
