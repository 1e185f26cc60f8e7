/* How the numbers of CUDA's libraries lie in memory, for what plays those libraries: they compute
 * in float. */
#ifndef DL_SHIM_NUMBERS_H
#define DL_SHIM_NUMBERS_H

#include <cstddef>
#include <cstdint>

extern "C" {
#include "runtime/expr/math.h"
}

enum shim_number { SHIM_F32, SHIM_F16, SHIM_BF16 };

inline size_t shim_bytes(shim_number type) {
    return type == SHIM_F32 ? 4 : 2;
}

inline float shim_load(shim_number type, const void *at, int64_t i) {
    if (type == SHIM_F32)
        return ((const float *)at)[i];
    uint16_t word = ((const uint16_t *)at)[i];
    return type == SHIM_F16 ? dl_m_from_f16(word) : dl_m_from_bf16(word);
}

inline void shim_store(shim_number type, void *at, int64_t i, float value) {
    if (type == SHIM_F32)
        ((float *)at)[i] = value;
    else
        ((uint16_t *)at)[i] = type == SHIM_F16 ? dl_m_to_f16(value) : dl_m_to_bf16(value);
}

inline float shim_rounded(shim_number type, float value) {
    return type == SHIM_F32   ? value
           : type == SHIM_F16 ? dl_m_from_f16(dl_m_to_f16(value))
                              : dl_m_from_bf16(dl_m_to_bf16(value));
}

/* What tensor cores multiply in place of a float32: 10 bits behind the point, to nearest. */
inline float shim_tf32(float value) {
    uint32_t word;
    __builtin_memcpy(&word, &value, sizeof word);
    if ((word & 0x7f800000u) != 0x7f800000u)
        word = (word + 0xfffu + (word >> 13 & 1u)) & ~0x1fffu;
    __builtin_memcpy(&value, &word, sizeof value);
    return value;
}

/* y += x * factor */
inline void shim_add_product(float *__restrict y, const float *__restrict x, float factor,
                             int64_t count) {
    for (int64_t i = 0; i < count; i++)
        y[i] += x[i] * factor;
}

/* Bytes [a, a + bytes of a) and [b, ...) have some in common. */
inline bool shim_overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    return (const char *)a < (const char *)b + b_bytes &&
           (const char *)b < (const char *)a + a_bytes;
}

#endif
