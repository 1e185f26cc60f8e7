/* Handwriting of a machine: the ten digits as strokes, for the source `synthetic`. */
#ifndef DL_DATA_DIGITS_H
#define DL_DATA_DIGITS_H

#include <stdint.h>

enum { DL_DIGIT_SIZE = 28 };

/* Draws `digit` (0..9) into image[28 * 28], 0 background to 255. A function of (seed, sample)
 * alone: size, turn, slant, place, bent strokes, thickness, ink and specks differ from sample to
 * sample. */
void dl_digit_draw(uint8_t *image, int digit, uint64_t seed, uint32_t sample);

#endif
