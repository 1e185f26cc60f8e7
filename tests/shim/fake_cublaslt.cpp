/* See cublasLt.h. A product is refused where cuBLASLt refuses it, and where it would take it but
 * read or write what was not meant: an algorithm of another product, other alignments than it was
 * chosen for, no workspace. */
#include "tests/shim/fake_cuda.h"
#include "tests/shim/fake_cublaslt.h"

struct shim_lt {};

const char *cublasLtGetStatusName(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
           : status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                                   : "CUBLAS_STATUS_INTERNAL_ERROR";
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS         ? "success"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "an unsupported value or parameter was passed"
           : status == CUBLAS_STATUS_NOT_SUPPORTED ? "the functionality is not supported"
                                                   : "an internal operation failed";
}

size_t cublasLtGetVersion(void) {
    return 130000;
}

template <class T> static T *made() {
    shim_keep(1);
    return new T();
}

template <class T> static cublasStatus_t freed(T *object) {
    if (!object)
        REFUSE("nothing to destroy");
    shim_keep(-1);
    delete object;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t set(shim_lt_settings *to, int name, const void *value, size_t bytes) {
    if (!to || !value || !to->size.count(name))
        REFUSE("no such attribute, or no value for it");
    if (to->size[name] != bytes)
        REFUSE("an attribute's value of another size");
    to->put(name, value);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    *handle = made<shim_lt>();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    return freed(handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    shim_lt_description *d = *out = made<shim_lt_description>();
    d->has(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, (int32_t)compute);
    d->has(CUBLASLT_MATMUL_DESC_SCALE_TYPE, (int32_t)scale);
    d->has(CUBLASLT_MATMUL_DESC_TRANSA, (int32_t)CUBLAS_OP_N);
    d->has(CUBLASLT_MATMUL_DESC_TRANSB, (int32_t)CUBLAS_OP_N);
    d->has(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)CUBLASLT_EPILOGUE_DEFAULT);
    d->has(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (void *)nullptr);
    d->has(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, (int64_t)0);
    d->has(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, (int32_t)-1);
    d->has(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, (void *)nullptr);
    d->has(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, (int64_t)0);
    d->has(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, (int64_t)0);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t object) {
    return freed(object);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t to,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t bytes) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    return set(to, name, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t leading) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    shim_lt_layout *l = *out = made<shim_lt_layout>();
    l->has(CUBLASLT_MATRIX_LAYOUT_TYPE, (uint32_t)type);
    l->has(CUBLASLT_MATRIX_LAYOUT_ROWS, rows);
    l->has(CUBLASLT_MATRIX_LAYOUT_COLS, columns);
    l->has(CUBLASLT_MATRIX_LAYOUT_LD, leading);
    l->has(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, (int32_t)1);
    l->has(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, (int64_t)0);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t object) {
    return freed(object);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t to,
                                                cublasLtMatrixLayoutAttribute_t name,
                                                const void *value, size_t bytes) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    return set(to, name, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    shim_lt_preference *p = *out = made<shim_lt_preference>();
    p->has(CUBLASLT_MATMUL_PREF_SEARCH_MODE, (uint32_t)0);
    p->has(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (uint64_t)0);
    p->has(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, (uint32_t)CUBLASLT_REDUCTION_SCHEME_MASK);
    for (int name = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
         name <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES; name++)
        p->has(name, (uint32_t)256);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t object) {
    return freed(object);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t to,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t bytes) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    return set(to, name, value, bytes);
}

/* ---- algorithms ---- */

enum { SUM, ALIGNMENTS, WORKSPACE, SCHEME, ID }; /* words of one */

/* cuBLASLt judges by the pointers that are set: none is as aligned as any. */
static uint64_t alignment_of(const void *pointer) {
    uintptr_t word = (uintptr_t)pointer | 256;
    return word & -word;
}

static int lacked;
static long refused;

long shim_cublaslt_lack(int epilogue) {
    long count = refused;
    lacked = epilogue;
    refused = 0;
    return count;
}

static bool lacks(const shim_lt_product &p) {
    return lacked && (p.epilogue & (unsigned)lacked) == (unsigned)lacked && ++refused;
}

static const int heuristic_schemes[] = {CUBLASLT_REDUCTION_SCHEME_INPLACE,
                                        CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
                                        CUBLASLT_REDUCTION_SCHEME_NONE};

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t d,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t y,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *found) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    shim_lt_product p;
    if (!handle || !preference || !found || !results || wanted < 1)
        REFUSE("heuristics without a handle, preferences or room for results");
    *found = 0;
    cublasStatus_t status = shim_lt_read(d, a, b, c, y, &p);
    if (status != CUBLAS_STATUS_SUCCESS || lacks(p))
        return status;
    uint64_t alignments = 0;
    int shift = 0;
    for (int name = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
         name <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES; name++, shift += 10) {
        uint32_t bytes = preference->get<uint32_t>(name);
        if (bytes < 2 || bytes > 256 || (bytes & (bytes - 1)))
            REFUSE("an alignment that is no power of two");
        alignments |= (uint64_t)(bytes < 16 ? bytes : 16) << shift;
    }
    const void *bias = d->get<const void *>(CUBLASLT_MATMUL_DESC_BIAS_POINTER);
    alignments |= (alignment_of(bias) < 16 ? alignment_of(bias) : 16) << shift;
    uint32_t mask = preference->get<uint32_t>(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
    uint64_t most = preference->get<uint64_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
    int id = 0;
    for (int scheme : heuristic_schemes) {
        uint64_t workspace = scheme ? 4 * (uint64_t)(p.m * p.n) : 0;
        id++;
        if (*found == wanted || (scheme & ~mask) || workspace > most)
            continue;
        cublasLtMatmulHeuristicResult_t *r = &results[(*found)++];
        *r = {};
        uint64_t words[] = {shim_lt_sum(p), alignments, workspace, (uint64_t)scheme, (uint64_t)id};
        std::memcpy(r->algo.data, words, sizeof words);
        r->workspaceSize = workspace;
        r->wavesCount = 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t d,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t y,
                                       const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *result) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    shim_lt_product p;
    if (!handle || !algorithm || !result)
        REFUSE("a check without a handle, an algorithm or room for the result");
    cublasStatus_t status = shim_lt_read(d, a, b, c, y, &p);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (algorithm->data[SUM] != shim_lt_sum(p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *result = {};
    result->workspaceSize = algorithm->data[WORKSPACE];
    result->wavesCount = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t name,
                                                    void *value, size_t bytes, size_t *written) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    if (!algorithm || !value || bytes != sizeof(int32_t))
        REFUSE("an algorithm's attribute of another size");
    int32_t word = name == CUBLASLT_ALGO_CONFIG_ID ? (int32_t)algorithm->data[ID]
                   : name == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME
                       ? (int32_t)algorithm->data[SCHEME]
                       : 1;
    std::memcpy(value, &word, sizeof word);
    if (written)
        *written = sizeof word;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- products ---- */

static cublasStatus_t check_pointers(const shim_lt_call &c, uint64_t alignments) {
    const shim_lt_product &p = c.p;
    const struct {
        const void *pointer;
        bool wanted;
        size_t bytes;
    } given[] = {{c.a, true, p.a.bytes},
                 {c.b, true, p.b.bytes},
                 {c.c, c.beta != 0, p.c.bytes},
                 {c.d, true, p.d.bytes},
                 {c.bias, p.biased(), p.bias_bytes}};
    for (int i = 0; i < 5; i++) {
        if (given[i].wanted && !given[i].pointer)
            REFUSE("a shim_lt_matrix or bias without memory");
        if (given[i].wanted && (uintptr_t)given[i].pointer % (alignments >> 10 * i & 1023))
            REFUSE("a pointer that is less aligned than the algorithm was told");
        if (given[i].wanted && i != 3 && (i != 2 || c.c != c.d) &&
            shim_overlap(given[i].pointer, given[i].bytes, c.d, p.d.bytes))
            REFUSE("the result lies over what it is made of");
    }
    if ((p.epilogue & AUX) && (!c.bits || (uintptr_t)c.bits % 16))
        REFUSE("a mask without memory, or not aligned to 16 bytes");
    if ((p.epilogue & AUX) && shim_overlap(c.bits, p.bits_bytes, c.d, p.d.bytes))
        REFUSE("the mask lies over the result");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t la,
                              const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                              const void *c, cublasLtMatrixLayout_t lc, void *d,
                              cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algorithm,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream) {
    CALL(CUBLAS_STATUS_INTERNAL_ERROR);
    shim_lt_call now = {};
    if (!handle || !alpha || !beta || !algorithm || !stream)
        REFUSE("a product without a handle, factors, an algorithm or a stream");
    cublasStatus_t status = shim_lt_read(description, la, lb, lc, ld, &now.p);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (algorithm->data[SUM] != shim_lt_sum(now.p))
        REFUSE("an algorithm that was chosen for another product");
    now.alpha = *(const float *)alpha;
    now.beta = *(const float *)beta;
    now.a = a;
    now.b = b;
    now.c = c;
    now.d = d;
    now.bias = description->get<void *>(CUBLASLT_MATMUL_DESC_BIAS_POINTER);
    now.bits = description->get<void *>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER);
    now.workspace = workspace;
    now.workspace_bytes = (size_t)algorithm->data[WORKSPACE];
    if (now.workspace_bytes > workspace_bytes ||
        (now.workspace_bytes > 0 && (!workspace || (uintptr_t)workspace % 16)))
        REFUSE("less workspace than the algorithm wants, or not aligned to 16 bytes");
    status = check_pointers(now, algorithm->data[ALIGNMENTS]);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (algorithm->data[SCHEME] == CUBLASLT_REDUCTION_SCHEME_INPLACE)
        REFUSE("an algorithm that rounds partial sums to the result's type");
    shim_enqueue_launch(stream, [now] {
        shim_spend(now.workspace_bytes > 0 ? 2e-5 : 1e-5);
        if (now.workspace_bytes > 0)
            std::memset(now.workspace, 0xff, now.workspace_bytes);
        for (int at = 0; at < now.p.batch; at++)
            shim_lt_multiply(now, at);
    });
    return CUBLAS_STATUS_SUCCESS;
}
