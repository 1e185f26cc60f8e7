/* What plays cuBLASLt (cublasLt.h): fake_cublaslt.cpp has its objects, heuristics and calls,
 * fake_cublaslt_product.cpp reads what a product is described to be and computes it. */
#ifndef DL_SHIM_FAKE_CUBLASLT_H
#define DL_SHIM_FAKE_CUBLASLT_H

#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "tests/shim/cublasLt.h"
#include "tests/shim/numbers.h"

/* Values of attributes, each with its size; none is larger than 8 bytes. */
struct shim_lt_settings {
    std::map<int, size_t> size;
    std::map<int, uint64_t> value;

    template <class T> void has(int name, T initial) {
        size[name] = sizeof initial;
        put(name, &initial);
    }
    void put(int name, const void *from) {
        value[name] = 0;
        std::memcpy(&value[name], from, size[name]);
    }
    template <class T> T get(int name) const {
        T result;
        std::memcpy(&result, &value.at(name), sizeof result);
        return result;
    }
};
struct shim_lt_description : shim_lt_settings {};
struct shim_lt_layout : shim_lt_settings {};
struct shim_lt_preference : shim_lt_settings {};

inline cublasStatus_t shim_lt_refuse(cublasStatus_t status, const char *why) {
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) /* that is asked, the rest is a defect */
        std::fprintf(stderr, "cuBLASLt of the shim: %s\n", why);
    return status;
}
#define REFUSE(why) return shim_lt_refuse(CUBLAS_STATUS_INVALID_VALUE, why)

struct shim_lt_matrix { /* by columns */
    shim_number type;
    int64_t rows, columns, leading, stride;
    size_t bytes; /* of all of the batch */
};

/* Bits of an epilogue (cublasLtEpilogue_t). */
enum {
    RELU = 2,
    BIAS = 4,
    MASKED = 8,
    SUMMED = 16, /* what bias gradient there is besides: of d, of a, of b */
    AUX = 128,
    SUMS_A = 256,
    SUMS_B = 512
};

struct shim_lt_product {
    bool transpose_a, transpose_b, tf32;
    int batch;
    unsigned epilogue;
    int64_t m, n, k, bias_stride, bits, bits_stride;
    shim_lt_matrix a, b, c, d;
    size_t bias_bytes, bits_bytes;
    bool biased() const {
        return epilogue & (BIAS | SUMMED | SUMS_A | SUMS_B);
    }
};

struct shim_lt_call {
    shim_lt_product p;
    float alpha, beta;
    const void *a, *b, *c;
    void *d, *bias, *bits, *workspace;
    size_t workspace_bytes;
};

/* CUBLAS_STATUS_SUCCESS, or why it is none. */
cublasStatus_t shim_lt_read(const shim_lt_description *d, const shim_lt_layout *a,
                            const shim_lt_layout *b, const shim_lt_layout *c,
                            const shim_lt_layout *y, shim_lt_product *p);
/* Of all that an algorithm is chosen for. */
uint64_t shim_lt_sum(const shim_lt_product &p);
/* One of the batch. */
void shim_lt_multiply(const shim_lt_call &c, int at);

#endif
