/* See digits.h. Strokes are quadratic Bezier curves, bent a little, cut into short segments; a
 * pixel's ink depends on its distance from the nearest segment. Only + - * / and sqrt are used, so
 * that every machine draws the same. */
#include "runtime/data/digits.h"

#include <math.h>
#include <string.h>

#include "runtime/base/philox.h"

/* Start, control and end point in a box of 0..100 by 0..100, y downwards. */
typedef struct curve {
    int8_t x0, y0, x1, y1, x2, y2;
} curve;

enum { CURVES = 6, SEGMENTS = 6 };

static const struct {
    int count;
    curve curve[CURVES];
} digits[10] = {
    {4,
     {{50, 5, 15, 5, 15, 50},
      {15, 50, 15, 95, 50, 95},
      {50, 95, 85, 95, 85, 50},
      {85, 50, 85, 5, 50, 5}}},
    {2, {{30, 25, 45, 20, 55, 5}, {55, 5, 55, 50, 53, 95}}},
    {4,
     {{20, 28, 22, 5, 50, 5},
      {50, 5, 80, 5, 78, 32},
      {78, 32, 76, 52, 18, 92},
      {18, 92, 50, 88, 84, 92}}},
    {4,
     {{20, 15, 45, 0, 68, 12},
      {68, 12, 88, 38, 42, 46},
      {42, 46, 96, 50, 76, 82},
      {76, 82, 50, 105, 18, 84}}},
    {3, {{60, 5, 35, 40, 14, 64}, {14, 64, 50, 64, 88, 62}, {66, 36, 66, 64, 64, 96}}},
    {4,
     {{80, 6, 50, 8, 28, 7},
      {28, 7, 24, 30, 22, 46},
      {22, 46, 60, 28, 80, 60},
      {80, 60, 82, 104, 18, 90}}},
    {4,
     {{72, 6, 32, 20, 20, 62},
      {20, 62, 22, 96, 52, 95},
      {52, 95, 86, 90, 80, 62},
      {80, 62, 50, 36, 21, 68}}},
    {3, {{16, 10, 50, 12, 84, 8}, {84, 8, 60, 44, 42, 95}, {42, 95, 42, 95, 42, 95}}},
    {6,
     {{50, 48, 18, 40, 24, 18},
      {24, 18, 50, -8, 76, 18},
      {76, 18, 82, 40, 50, 48},
      {50, 48, 10, 62, 22, 84},
      {22, 84, 50, 108, 78, 84},
      {78, 84, 90, 62, 50, 48}}},
    {4,
     {{80, 34, 60, 62, 30, 48},
      {30, 48, 10, 14, 46, 6},
      {46, 6, 82, 2, 80, 34},
      {80, 34, 78, 70, 60, 96}}},
};

typedef struct pen {
    uint64_t seed;
    uint32_t stream, sample, used;
} pen;

static float between(pen *p, float low, float high) {
    float u = dl_unit_float(dl_random_word(p->seed, p->stream, 0, p->sample, p->used++));
    return low + (high - low) * u;
}

/* Ink of one segment, kept where it is darker than what is there. */
static void stroke(float *ink, const float a[2], const float b[2], float radius) {
    float reach = radius + 1, dx = b[0] - a[0], dy = b[1] - a[1], length = dx * dx + dy * dy;
    int left = (int)fmaxf(fminf(a[0], b[0]) - reach, 0),
        top = (int)fmaxf(fminf(a[1], b[1]) - reach, 0);
    int right = (int)fminf(fmaxf(a[0], b[0]) + reach + 1, DL_DIGIT_SIZE);
    int bottom = (int)fminf(fmaxf(a[1], b[1]) + reach + 1, DL_DIGIT_SIZE);
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            float px = (float)x - a[0], py = (float)y - a[1];
            float t = length > 0 ? (px * dx + py * dy) / length : 0;
            t = t < 0 ? 0 : t > 1 ? 1 : t;
            px -= t * dx;
            py -= t * dy;
            float dark =
                radius + 0.5f - sqrtf(px * px + py * py); /* 1 pixel from full ink to none */
            dark = dark > 1 ? 1 : dark;
            if (dark > ink[y * DL_DIGIT_SIZE + x])
                ink[y * DL_DIGIT_SIZE + x] = dark;
        }
}

void dl_digit_draw(uint8_t *image, int digit, uint64_t seed, uint32_t sample) {
    float ink[DL_DIGIT_SIZE * DL_DIGIT_SIZE];
    pen p = {.seed = seed, .stream = dl_stream("synthetic digits"), .sample = sample};
    memset(ink, 0, sizeof ink);
    float u = between(&p, -0.17f, 0.17f); /* tangent of half the turn: up to 20 degrees */
    float c = (1 - u * u) / (1 + u * u), s = 2 * u / (1 + u * u),
          slant = between(&p, -0.35f, 0.35f);
    float width = between(&p, 0.09f, 0.17f), height = between(&p, 0.14f, 0.21f);
    float x = between(&p, 10, 17), y = between(&p, 10, 17);
    float radius = between(&p, 0.55f, 1.7f), strength = between(&p, 150, 255);
    float bend_x = between(&p, -10, 10), bend_y = between(&p, -10, 10);
    for (int i = 0; i < digits[digit].count; i++) {
        const curve *k = &digits[digit].curve[i];
        float cx = (float)k->x1 + between(&p, -7, 7), cy = (float)k->y1 + between(&p, -7, 7);
        float last[2] = {0, 0};
        for (int j = 0; j <= SEGMENTS; j++) {
            float t = (float)j / SEGMENTS, r = 1 - t;
            float gx = r * r * (float)k->x0 + 2 * r * t * cx + t * t * (float)k->x2;
            float gy = r * r * (float)k->y0 + 2 * r * t * cy + t * t * (float)k->y2;
            /* The whole glyph is bent in the same way, so that strokes still meet. */
            float across = (gx - 50) / 50, down = (gy - 50) / 50;
            gx = gx - 50 + bend_x * down * down;
            gy = gy - 50 + bend_y * across * across;
            gx = (gx - slant * gy) * width;
            gy *= height;
            float here[2] = {x + c * gx - s * gy, y + s * gx + c * gy};
            if (j > 0)
                stroke(ink, last, here, radius);
            last[0] = here[0];
            last[1] = here[1];
        }
    }
    for (int i = 0; i < DL_DIGIT_SIZE * DL_DIGIT_SIZE; i++)
        image[i] = (uint8_t)(ink[i] * strength);
    for (int i = (int)between(&p, 0, 12); i > 0; i--) { /* specks */
        int at = (int)between(&p, 0, DL_DIGIT_SIZE * DL_DIGIT_SIZE);
        image[at] = (uint8_t)between(&p, 0, 255);
    }
}
