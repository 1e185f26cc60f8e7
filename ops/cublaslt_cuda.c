/* See cublaslt_cuda.h. */
#include "ops/cublaslt_cuda.h"

#include <cublasLt.h>

#include "runtime/base/memory.h"

struct dl_lt {
    dl_cuda *cuda;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t a, b, y; /* as lie in memory: b' is the left factor */
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
    bool bias;
};

static dl_status check(cublasStatus_t status, const char *call) {
    if (status == CUBLAS_STATUS_SUCCESS)
        return DL_OK;
    return dl_fail(status == CUBLAS_STATUS_ALLOC_FAILED ? DL_NO_MEMORY : DL_UNAVAILABLE,
                   "%s failed: %s", call, cublasLtGetStatusString(status));
}
#define TRY(function, ...) DL_TRY(check(function(__VA_ARGS__), #function))

static void close_handle(void *handle) {
    cublasLtDestroy(handle);
}

static dl_status handle_of(dl_cuda *cuda, cublasLtHandle_t *out) {
    if (!cuda->guest[DL_GUEST_CUBLASLT].state) {
        cublasLtHandle_t handle;
        TRY(cublasLtCreate, &handle);
        cuda->guest[DL_GUEST_CUBLASLT].state = handle;
        cuda->guest[DL_GUEST_CUBLASLT].close = close_handle;
    }
    *out = cuda->guest[DL_GUEST_CUBLASLT].state;
    return DL_OK;
}

static cudaDataType_t type_of(dl_dtype dtype) {
    return dtype == DL_BF16 ? CUDA_R_16BF : dtype == DL_F16 ? CUDA_R_16F : CUDA_R_32F;
}

static dl_status describe(dl_lt *lt, const dl_lt_product *p) {
    cublasOperation_t of_a = p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t of_b = p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue =
        p->bias   ? p->relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS
        : p->relu ? CUBLASLT_EPILOGUE_RELU
                  : CUBLASLT_EPILOGUE_DEFAULT;
    cudaDataType_t bias = type_of(p->y);
    cublasComputeType_t compute =
        p->tf32 && p->a == DL_F32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    TRY(cublasLtMatmulDescCreate, &lt->description, compute, CUDA_R_32F);
    TRY(cublasLtMatmulDescSetAttribute, lt->description, CUBLASLT_MATMUL_DESC_TRANSA, &of_b,
        sizeof of_b);
    TRY(cublasLtMatmulDescSetAttribute, lt->description, CUBLASLT_MATMUL_DESC_TRANSB, &of_a,
        sizeof of_a);
    TRY(cublasLtMatmulDescSetAttribute, lt->description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
        sizeof epilogue);
    if (p->bias)
        TRY(cublasLtMatmulDescSetAttribute, lt->description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
            &bias, sizeof bias);
    return DL_OK;
}

/* A row-major matrix, seen by columns: its rows are columns. */
static dl_status lay(cublasLtMatrixLayout_t *out, dl_dtype dtype, int64_t rows, int64_t columns,
                     int64_t batch) {
    int32_t count = (int32_t)batch;
    int64_t stride = rows * columns;
    TRY(cublasLtMatrixLayoutCreate, out, type_of(dtype), (uint64_t)columns, (uint64_t)rows,
        columns);
    if (batch == 1)
        return DL_OK;
    TRY(cublasLtMatrixLayoutSetAttribute, *out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
        sizeof count);
    TRY(cublasLtMatrixLayoutSetAttribute, *out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
        &stride, sizeof stride);
    return DL_OK;
}

/* What a matrix's address is surely a multiple of: leaves begin at any of its rows. */
static uint32_t alignment(dl_dtype dtype, int64_t columns) {
    int64_t bytes = columns * (int64_t)dl_dtype_bytes(dtype);
    return (uint32_t)(bytes % 16 == 0 ? 16 : bytes & -bytes);
}

static dl_status prefer(cublasLtMatmulPreference_t preference, const dl_lt_product *p) {
    size_t most = (size_t)32 << 20;
    /* Partial sums stay float32 until the last is added. */
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    uint32_t a = alignment(p->a, p->transpose_a ? p->m : p->k);
    uint32_t b = alignment(p->a, p->transpose_b ? p->k : p->n);
    uint32_t y = alignment(p->y, p->n);
    TRY(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        &most, sizeof most);
    TRY(cublasLtMatmulPreferenceSetAttribute, preference,
        CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes);
    TRY(cublasLtMatmulPreferenceSetAttribute, preference,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b, sizeof b);
    TRY(cublasLtMatmulPreferenceSetAttribute, preference,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a, sizeof a);
    TRY(cublasLtMatmulPreferenceSetAttribute, preference,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &y, sizeof y);
    TRY(cublasLtMatmulPreferenceSetAttribute, preference,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &y, sizeof y);
    return DL_OK;
}

static dl_status choose(dl_lt *lt, const dl_lt_product *p) {
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    DL_TRY(handle_of(lt->cuda, &lt->handle));
    TRY(cublasLtMatmulPreferenceCreate, &preference);
    dl_status status = prefer(preference, p);
    if (status == DL_OK)
        status = check(cublasLtMatmulAlgoGetHeuristic(lt->handle, lt->description, lt->b, lt->a,
                                                      lt->y, lt->y, preference, 1, &best, &found),
                       "cublasLtMatmulAlgoGetHeuristic");
    cublasLtMatmulPreferenceDestroy(preference);
    DL_TRY(status);
    if (found == 0 || best.state != CUBLAS_STATUS_SUCCESS)
        return dl_fail(DL_UNAVAILABLE,
                       "cuBLASLt has no algorithm for a product of %lld x %lld by %lld columns",
                       (long long)p->m, (long long)p->k, (long long)p->n);
    lt->algorithm = best.algo;
    lt->workspace = best.workspaceSize;
    return DL_OK;
}

static dl_status open_product(dl_lt *lt, const dl_lt_product *p) {
    DL_TRY(describe(lt, p));
    DL_TRY(lay(&lt->a, p->a, p->transpose_a ? p->k : p->m, p->transpose_a ? p->m : p->k, p->batch));
    DL_TRY(lay(&lt->b, p->a, p->transpose_b ? p->n : p->k, p->transpose_b ? p->k : p->n, p->batch));
    DL_TRY(lay(&lt->y, p->y, p->m, p->n, p->batch));
    return lt->cuda->device.imagined ? DL_OK : choose(lt, p);
}

dl_status dl_lt_open(dl_lt **out, dl_cuda *cuda, const dl_lt_product *product, size_t *workspace) {
    dl_lt *lt = *out = dl_alloc(sizeof *lt);
    if (!lt)
        return dl_fail_memory(sizeof *lt);
    lt->cuda = cuda;
    lt->bias = product->bias;
    dl_status status = open_product(lt, product);
    *workspace = lt->workspace;
    if (status != DL_OK) {
        dl_lt_close(lt);
        *out = NULL;
    }
    return status;
}

void dl_lt_close(dl_lt *lt) {
    if (!lt)
        return;
    if (lt->description)
        cublasLtMatmulDescDestroy(lt->description);
    cublasLtMatrixLayout_t layouts[] = {lt->a, lt->b, lt->y};
    for (int i = 0; i < DL_COUNT(layouts); i++)
        if (layouts[i])
            cublasLtMatrixLayoutDestroy(layouts[i]);
    dl_free(lt);
}

dl_status dl_lt_run(dl_lt *lt, const void *a, const void *b, const void *bias, void *y,
                    void *workspace) {
    float one = 1, zero = 0;
    if (lt->bias)
        TRY(cublasLtMatmulDescSetAttribute, lt->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
            &bias, sizeof bias);
    TRY(cublasLtMatmul, lt->handle, lt->description, &one, b, lt->b, a, lt->a, &zero, y, lt->y, y,
        lt->y, &lt->algorithm, workspace, lt->workspace, lt->cuda->stream);
    return DL_OK;
}
