/* DL_CLONES before a function: GCC compiles it for AVX-512, AVX2 and plain x86-64 and picks one
 * when the program starts. Only for loops whose additions have a fixed structure (lanes written out
 * in the source), so that all three give the same bits; -ffp-contract=off keeps them so. */
#ifndef DL_BASE_CLONES_H
#define DL_BASE_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DL_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DL_CLONES /* the sanitizers instrument the resolver, which runs before they are ready */
#endif

#endif
