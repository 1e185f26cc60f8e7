/* ops/sums.c as a processor with AVX-512 runs it; elsewhere the base. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,fma")
#endif
#define SET avx512
#include "tests/unit/sums_again.h"
