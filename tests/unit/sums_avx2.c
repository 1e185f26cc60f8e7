/* ops/sums.c as a processor with AVX2 and FMA runs it; elsewhere the base. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2,fma")
#endif
#define SET avx2
#include "tests/unit/sums_again.h"
