/* The scalar operations of expressions as float32 code without branches, in the common part of C11
 * and CUDA C: the CPU programs (lanes.inc), constant folding (exprs.c) and emitted text (emit.c,
 * which carries this file with it) compile it as it stands, so that every path gives the same bits.
 * No contraction: what is fused says fmaf. Denormals are kept. A NaN stays a NaN; which NaN is not
 * defined here, programs store all as 0x7fc00000.
 *
 * Largest error in units of the last place, measured by tests/unit/test_expr_math.c:
 *
 *   exp 0.9, log 0.95, log1p 1.5, tanh 1.4, sigmoid 2.4, erf 1.2, sin 1.5, cos 1.5, pow 0.51
 *
 * The polynomials are minimax fits of relative error (Lawson's iteration at Chebyshev nodes), error
 * below 2^-27 each. The reduction of large angles is that of Payne and Hanek (SIGNUM 18, 1983). */
#ifndef DL_EXPR_MATH_H
#define DL_EXPR_MATH_H

#include "runtime/base/both.h"

#ifdef __CUDACC__
#define DL_BITS(x)   __float_as_uint(x)
#define DL_FLOAT(u)  __uint_as_float(u)
#define DL_BITS64(x) ((uint64_t)__double_as_longlong(x))
#define DL_DOUBLE(u) __longlong_as_double((long long)(u))
#else
#include <math.h>
#include <string.h>
DL_MATH uint32_t dl_m_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
DL_MATH float dl_m_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
DL_MATH uint64_t dl_m_bits64(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
DL_MATH double dl_m_double(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}
#define DL_BITS(x)   dl_m_bits(x)
#define DL_FLOAT(u)  dl_m_float(u)
#define DL_BITS64(x) dl_m_bits64(x)
#define DL_DOUBLE(u) dl_m_double(u)
#endif

#define DL_NAN_BITS 0x7fc00000u
#define DL_INF_BITS 0x7f800000u

/* One NaN for all: what programs store. */
DL_MATH float dl_m_canonical(float x) {
    return x != x ? DL_FLOAT(DL_NAN_BITS) : x;
}

/* bfloat16 is the upper half of a float32: widening is exact. */
DL_MATH float dl_m_from_bf16(uint16_t half) {
    return DL_FLOAT((uint32_t)half << 16);
}

/* To nearest, ties to even, denormals kept; any NaN is 0x7fc0. The carry may reach infinity. */
DL_MATH uint16_t dl_m_to_bf16(float x) {
    uint32_t bits = DL_BITS(x);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)(x != x ? DL_NAN_BITS >> 16 : rounded);
}

#ifdef __CUDACC__
DL_MATH float dl_m_from_f16(uint16_t half) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(half));
    return x;
}
DL_MATH uint16_t dl_m_to_f16(float x) {
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    return x != x ? (uint16_t)0x7e00u : half;
}
#else
/* float16: its exponent moved up by a product, which makes its denormals normal; exact. */
DL_MATH float dl_m_from_f16(uint16_t half) {
    uint32_t size = half & 0x7fffu;
    float x = DL_FLOAT(size << 13) * 0x1p112f;
    uint32_t bits = size >= 0x7c00u ? size << 13 | DL_INF_BITS : DL_BITS(x);
    return DL_FLOAT(bits | (uint32_t)(half & 0x8000u) << 16);
}

/* To nearest, ties to even, denormals kept; any NaN is 0x7e00. The carry may reach infinity. A sum
 * with 0.5, whose last place is the smallest float16, rounds to a denormal one. */
DL_MATH uint16_t dl_m_to_f16(float x) {
    uint32_t bits = DL_BITS(x), size = bits & 0x7fffffffu;
    uint32_t small = DL_BITS(DL_FLOAT(size) + 0.5f) - DL_BITS(0.5f);
    uint32_t normal = (size - (112u << 23) + 0xfffu + (size >> 13 & 1u)) >> 13;
    uint32_t half = size < 0x38800000u ? small : normal < 0x7c00u ? normal : 0x7c00u;
    half = size >= 0x47800000u ? 0x7c00u : half;
    return (uint16_t)(x != x ? 0x7e00u : half | (bits >> 16 & 0x8000u));
}
#endif

DL_MATH float dl_m_abs(float x) {
    return DL_FLOAT(DL_BITS(x) & 0x7fffffffu);
}

/* 0 for denormal numbers, with which processors calculate many times slower. */
DL_MATH float dl_m_flush(float x) {
    return (DL_BITS(x) & 0x7f800000u) == 0u ? 0.0f : x;
}

/* |magnitude| with the sign of `sign`. */
DL_MATH float dl_m_copysign(float magnitude, float sign) {
    return DL_FLOAT((DL_BITS(magnitude) & 0x7fffffffu) | (DL_BITS(sign) & 0x80000000u));
}

/* A NaN on either side wins; of equal values (0 and -0) the second. */
DL_MATH float dl_m_min(float a, float b) {
    return ((a < b) | (a != a)) ? a : b;
}
DL_MATH float dl_m_max(float a, float b) {
    return ((a > b) | (a != a)) ? a : b;
}

/* -1, 0, 1; NaN of NaN. */
DL_MATH float dl_m_sign(float x) {
    float sign = (x > 0.0f ? 1.0f : 0.0f) - (x < 0.0f ? 1.0f : 0.0f);
    return x != x ? x : sign;
}

/* Ties to even: adding 2^23 leaves no bits for a fraction. */
DL_MATH float dl_m_round(float x) {
    float magnitude = dl_m_abs(x);
    float rounded = (magnitude + 8388608.0f) - 8388608.0f;
    return magnitude < 8388608.0f ? dl_m_copysign(rounded, x) : x;
}

/* x = n ln 2 + r, exp(x) = 2^n exp(r); the power is applied in two halves, so that it may leave the
 * range of normal numbers with one rounding. */
DL_MATH float dl_m_exp(float x) {
    float c = x > 89.0f ? 89.0f : x;
    c = c < -104.0f ? -104.0f : c;
    float shifted = fmaf(c, 0x1.715476p+0f, 12582912.0f); /* low bits: n */
    float n = shifted - 12582912.0f;
    float r = fmaf(n, -0x1.62e430p-1f, c);
    r = fmaf(n, 0x1.05c610p-29f, r);
    float p = fmaf(0x1.6a239cp-10f, r, 0x1.123a36p-7f);
    p = fmaf(p, r, 0x1.5558f4p-5f);
    p = fmaf(p, r, 0x1.555490p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    int32_t power = (int32_t)(DL_BITS(shifted) - 0x4b400000u);
    int32_t half = power >> 1;
    p = p * DL_FLOAT((uint32_t)(half + 127) << 23);
    return p * DL_FLOAT((uint32_t)(power - half + 127) << 23);
}

/* x = 2^e (1 + m), m in [-1/3, 1/3]. */
DL_MATH float dl_m_log(float x) {
    float a = x < 0x1p-126f ? x * 8388608.0f : x;
    float e = x < 0x1p-126f ? -23.0f : 0.0f;
    int32_t power = (int32_t)(DL_BITS(a) - 0x3f2aaaabu) >> 23;
    float m = DL_FLOAT(DL_BITS(a) - ((uint32_t)power << 23)) - 1.0f;
    e = e + (float)power;
    float p = fmaf(-0x1.08225cp-3f, m, 0x1.1efb2cp-3f);
    p = fmaf(p, m, -0x1.f2d428p-4f);
    p = fmaf(p, m, 0x1.1eb694p-3f);
    p = fmaf(p, m, -0x1.55a328p-3f);
    p = fmaf(p, m, 0x1.99d262p-3f);
    p = fmaf(p, m, -0x1.fffea0p-3f);
    p = fmaf(p, m, 0x1.555500p-2f);
    p = fmaf(p, m, -0.5f);
    p = fmaf(p, m * m, m);
    p = fmaf(e, 0x1.62e430p-1f, p);
    p = x == DL_FLOAT(DL_INF_BITS) ? x : p;
    p = x == 0.0f ? -DL_FLOAT(DL_INF_BITS) : p;
    p = x < 0.0f ? DL_FLOAT(DL_NAN_BITS) : p;
    return x != x ? x : p;
}

/* log of u = 1 + x rounded, and to first order what the rounding took. */
DL_MATH float dl_m_log1p(float x) {
    float u = 1.0f + x;
    float rest = (x - (u - 1.0f)) / u;
    float value = dl_m_log(u) + rest;
    value = ((u == 0.0f) | (u == DL_FLOAT(DL_INF_BITS))) ? dl_m_log(u) : value;
    return x == 0.0f ? x : value; /* -0 stays */
}

DL_MATH float dl_m_tanh(float x) {
    float a = dl_m_abs(x), s = x * x;
    float large = 1.0f - 2.0f / (dl_m_exp(a + a) + 1.0f);
    float p = fmaf(-0x1.73646ap-8f, s, 0x1.519ca2p-6f);
    p = fmaf(p, s, -0x1.b82800p-5f);
    p = fmaf(p, s, 0x1.110692p-3f);
    p = fmaf(p, s, -0x1.555530p-2f);
    p = fmaf(p * s, a, a);
    return dl_m_copysign(a < 0.625f ? p : large, x);
}

DL_MATH float dl_m_sigmoid(float x) {
    float e = dl_m_exp(-dl_m_abs(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* A polynomial up to 0.9375, beyond it 1 - exp(-polynomial). */
DL_MATH float dl_m_erf(float x) {
    float a = dl_m_abs(x), s = x * x;
    float p = fmaf(0x1.574f24p-14f, s, -0x1.a88da8p-11f);
    p = fmaf(p, s, 0x1.549668p-8f);
    p = fmaf(p, s, -0x1.b80962p-6f);
    p = fmaf(p, s, 0x1.ce2dcap-4f);
    p = fmaf(p, s, -0x1.812742p-2f);
    p = fmaf(p, s, 0x1.06eba8p-3f);
    p = fmaf(p, x, x);
    float b = a > 4.0f ? 4.0f : a;
    float t = fmaf(0x1.4b63fcp-18f, b, -0x1.7e5ab0p-15f);
    t = fmaf(t, b, -0x1.9ffedcp-15f);
    t = fmaf(t, b, 0x1.801008p-9f);
    t = fmaf(t, b, -0x1.737e44p-6f);
    t = fmaf(t, b, 0x1.af27f2p-4f);
    t = fmaf(t, b, 0x1.4570acp-1f);
    t = fmaf(t, b, 0x1.20e8c4p+0f);
    float large = 1.0f - dl_m_exp(-(t * b));
    return a < 0.9375f ? p : dl_m_copysign(large, x);
}

/* cos (quadrants = 0) or sin (3, a quarter turn back) of q quarter turns and the angle r, |r| <=
 * pi/4. */
DL_MATH float dl_m_quadrant(uint32_t q, float r) {
    float s = r * r;
    float sine = fmaf(0x1.6cd1a2p-19f, s, -0x1.a00f7ep-13f);
    sine = fmaf(sine, s, 0x1.111108p-7f);
    sine = fmaf(sine, s, -0x1.555556p-3f);
    sine = fmaf(sine, s * r, r);
    float cosine = fmaf(-0x1.241e5cp-22f, s, 0x1.a010dep-16f);
    cosine = fmaf(cosine, s, -0x1.6c16b8p-10f);
    cosine = fmaf(cosine, s, 0x1.555556p-5f);
    cosine = fmaf(cosine, s, -0.5f);
    cosine = fmaf(cosine, s, 1.0f);
    float value = (q & 1u) != 0 ? sine : cosine;
    return DL_FLOAT(DL_BITS(value) ^ (((q + 1u) & 2u) << 30)); /* quadrants 1 and 2: negative */
}

/* cos (quadrants 0) or sin (3) of a >= 0: up to 32768, pi/2 in three parts is exact enough. */
DL_MATH float dl_m_angle_near(float a, uint32_t quadrants) {
    float shifted = fmaf(a, 0x1.45f306p-1f, 12582912.0f);
    float n = shifted - 12582912.0f;
    float r = fmaf(n, -0x1.921fb6p+0f, a);
    r = fmaf(n, 0x1.777a5cp-25f, r);
    r = fmaf(n, 0x1.ee59dap-50f, r);
    uint32_t q = DL_BITS(shifted);
    float value = dl_m_quadrant(q + quadrants, r);
    return a < DL_FLOAT(DL_INF_BITS) ? value : DL_FLOAT(DL_NAN_BITS); /* inf and NaN */
}

/* The same for a > 32768: the 96 bits of 2/pi that matter for a's exponent, multiplied out. */
DL_MATH float dl_m_angle_far(float a, uint32_t quadrants) {
    static const uint32_t two_over_pi[8] = {0u,          0xa2f9836eu, 0x4e441529u, 0xfc2757d1u,
                                            0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu};
    int32_t e = (int32_t)(DL_BITS(a) >> 23) - 127;
    int32_t start = (e < 15 ? 15 : e) + 7; /* first bit wanted, of the table */
    int32_t w = start >> 5;
    uint32_t down = 32u - ((uint32_t)start & 31u);
    uint64_t t0 = two_over_pi[w], t1 = two_over_pi[w + 1], t2 = two_over_pi[w + 2],
             t3 = two_over_pi[w + 3];
    uint32_t high = (uint32_t)((t0 << 32 | t1) >> down);
    uint32_t middle = (uint32_t)((t1 << 32 | t2) >> down);
    uint32_t low = (uint32_t)((t2 << 32 | t3) >> down);
    uint32_t m = (DL_BITS(a) & 0x7fffffu) | 0x800000u;
    uint64_t product =
        ((uint64_t)(m * high) << 32) + (uint64_t)m * middle + ((uint64_t)m * low >> 32);
    uint64_t quarter = (product + ((uint64_t)1 << 61)) >> 62;
    uint64_t rest = product - (quarter << 62); /* signed, in units of 2^-62 quarter turns */
    int32_t rest_high = (int32_t)(uint32_t)(rest >> 31), rest_low = (int32_t)(rest & 0x7fffffffu);
    double angle =
        ((double)rest_high * 2147483648.0 + (double)rest_low) * (0x1.921fb54442d18p+0 * 0x1p-62);
    return dl_m_quadrant((uint32_t)quarter + quadrants, (float)angle);
}

DL_MATH float dl_m_angle(float a, uint32_t quadrants) {
    float far = dl_m_angle_far(a, quadrants), near = dl_m_angle_near(a, quadrants);
    return ((a > 32768.0f) & (a < DL_FLOAT(DL_INF_BITS))) ? far : near;
}

/* _near: for |x| up to 32768 (and infinities and NaN) the same, and several times as fast. */
DL_MATH float dl_m_cos(float x) {
    return dl_m_angle(dl_m_abs(x), 0u);
}
DL_MATH float dl_m_cos_near(float x) {
    return dl_m_angle_near(dl_m_abs(x), 0u);
}
DL_MATH float dl_m_sin(float x) {
    float value = dl_m_angle(dl_m_abs(x), 3u);
    return DL_FLOAT(DL_BITS(value) ^ (DL_BITS(x) & 0x80000000u));
}
DL_MATH float dl_m_sin_near(float x) {
    float value = dl_m_angle_near(dl_m_abs(x), 3u);
    return DL_FLOAT(DL_BITS(value) ^ (DL_BITS(x) & 0x80000000u));
}

/* exp(y log |x|) in double; C's rules for special values, also pow(x, 0) = pow(1, y) = 1. */
DL_MATH float dl_m_pow(float x, float y) {
    const float inf = DL_FLOAT(DL_INF_BITS);
    float base = dl_m_abs(x);
    float a = base < 0x1p-126f ? base * 8388608.0f : base;
    int32_t power = (int32_t)(DL_BITS(a) - 0x3f3504f3u) >> 23;
    double m = (double)DL_FLOAT(DL_BITS(a) - ((uint32_t)power << 23));
    double e = (double)(base < 0x1p-126f ? power - 23 : power);
    double h = (m - 1.0) / (m + 1.0), s = h * h;
    double p = 1.0 / 17.0 * s + 1.0 / 15.0;
    p = p * s + 1.0 / 13.0;
    p = p * s + 1.0 / 11.0;
    p = p * s + 1.0 / 9.0;
    p = p * s + 1.0 / 7.0;
    p = p * s + 1.0 / 5.0;
    p = p * s + 1.0 / 3.0;
    double log = e * 0x1.62e42fefa39efp-1 + 2.0 * (h + h * (s * p));
    log = base == 0.0f ? -(double)inf : log;
    log = base == inf ? (double)inf : log;
    double z = (double)y * log;
    z = base == 1.0f ? 0.0 : z; /* also where y is infinite */
    z = z > 110.0 ? 110.0 : z;
    z = z < -110.0 ? -110.0 : z;
    double shifted = z * 0x1.71547652b82fep+0 + 6755399441055744.0; /* low bits: n */
    double n = shifted - 6755399441055744.0;
    double r = z - n * 0x1.62e42fefa39efp-1;
    double t = 1.0 / 3628800.0 * r + 1.0 / 362880.0;
    t = t * r + 1.0 / 40320.0;
    t = t * r + 1.0 / 5040.0;
    t = t * r + 1.0 / 720.0;
    t = t * r + 1.0 / 120.0;
    t = t * r + 1.0 / 24.0;
    t = t * r + 1.0 / 6.0;
    t = t * r + 0.5;
    t = t * r + 1.0;
    t = t * r + 1.0;
    float value = (float)(t * DL_DOUBLE((DL_BITS64(shifted) + 1023u) << 52));
    int whole = dl_m_round(y) == y;
    int odd = whole & (dl_m_round(y * 0.5f) != y * 0.5f);
    uint32_t negative = DL_BITS(x) & 0x80000000u;
    value = odd ? DL_FLOAT(DL_BITS(value) | negative) : value;
    value = ((x < 0.0f) & (x > -inf) & !whole) ? DL_FLOAT(DL_NAN_BITS) : value;
    value = ((x != x) | (y != y)) ? DL_FLOAT(DL_NAN_BITS) : value;
    return ((y == 0.0f) | (x == 1.0f)) ? 1.0f : value;
}

/* Uniform in [0, 1) from a random word, dl_unit_float's formula. */
DL_MATH float dl_m_uniform(uint32_t word) {
    return (float)(int32_t)(word >> 8) * 0x1p-24f;
}

/* Standard normal by Box and Muller (1958) from the two words of a pair of elements; `odd`: the
 * second of the pair. 24 bits of the first word bound the magnitude by 5.77. */
DL_MATH float dl_m_normal(uint32_t word0, uint32_t word1, uint32_t odd) {
    float radius = sqrtf(-2.0f * dl_m_log((float)(int32_t)((word0 >> 8) + 1u) * 0x1p-24f));
    float quarters = (float)(int32_t)(word1 >> 8) * 0x1p-22f;
    float n = (quarters + 12582912.0f) - 12582912.0f;
    uint32_t q = DL_BITS(quarters + 12582912.0f);
    return radius * dl_m_quadrant(q + (odd ? 3u : 0u), (quarters - n) * 0x1.921fb6p+0f);
}

#endif
