/* See cublaslt_cuda.h. Top to bottom: a product described, an algorithm chosen, run. */
#include "ops/cublaslt_cuda.h"

#include <cublasLt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/device/choices.h"
#include "runtime/device/trial_cuda.h"

enum { WORDS = sizeof(cublasLtMatmulAlgo_t) / sizeof(uint64_t), CANDIDATES = 8, TEXT = 512 };
static const size_t most_workspace = (size_t)32 << 20;

struct dl_lt {
    dl_cuda *cuda;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t a, b, y; /* as lie in memory: b' is the left factor */
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
    bool bias, mask, sums;
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

/* a' is the right factor, and its sums are over the columns of what is the right one there. */
static cublasLtEpilogue_t epilogue_of(const dl_lt_product *p) {
    static const cublasLtEpilogue_t plain[] = {[DL_LT_NONE] = CUBLASLT_EPILOGUE_DEFAULT,
                                               [DL_LT_RELU] = CUBLASLT_EPILOGUE_RELU,
                                               [DL_LT_RELU_MASK] = CUBLASLT_EPILOGUE_RELU_AUX,
                                               [DL_LT_MASKED] = CUBLASLT_EPILOGUE_DRELU,
                                               [DL_LT_MASKED_SUMS] = CUBLASLT_EPILOGUE_DRELU_BGRAD,
                                               [DL_LT_SUMS_OF_A] = CUBLASLT_EPILOGUE_BGRADB,
                                               [DL_LT_SUMS_OF_B] = CUBLASLT_EPILOGUE_BGRADA},
                                    biased[] = {[DL_LT_NONE] = CUBLASLT_EPILOGUE_BIAS,
                                                [DL_LT_RELU] = CUBLASLT_EPILOGUE_RELU_BIAS,
                                                [DL_LT_RELU_MASK] =
                                                    CUBLASLT_EPILOGUE_RELU_AUX_BIAS};
    return p->bias ? biased[p->epilogue] : plain[p->epilogue];
}

/* Of a row of y: what cuBLASLt demands. */
static int64_t mask_bits(const dl_lt_product *p) {
    return (p->n + 127) / 128 * 128;
}

static dl_status set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute,
                     const void *value, size_t bytes) {
    return check(cublasLtMatmulDescSetAttribute(description, attribute, value, bytes),
                 "cublasLtMatmulDescSetAttribute");
}

static dl_status describe(dl_lt *lt, const dl_lt_product *p) {
    cublasOperation_t of_a = p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t of_b = p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = epilogue_of(p);
    lt->bias = p->bias;
    lt->mask = p->epilogue >= DL_LT_RELU_MASK && p->epilogue <= DL_LT_MASKED_SUMS;
    lt->sums = p->epilogue >= DL_LT_MASKED_SUMS;
    cudaDataType_t vector = type_of(p->y);
    int64_t row_bits = mask_bits(p);
    cublasComputeType_t compute =
        p->tf32 && p->a == DL_F32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    TRY(cublasLtMatmulDescCreate, &lt->description, compute, CUDA_R_32F);
    DL_TRY(set(lt->description, CUBLASLT_MATMUL_DESC_TRANSA, &of_b, sizeof of_b));
    DL_TRY(set(lt->description, CUBLASLT_MATMUL_DESC_TRANSB, &of_a, sizeof of_a));
    DL_TRY(set(lt->description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (lt->bias || lt->sums)
        DL_TRY(set(lt->description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &vector, sizeof vector));
    if (lt->mask)
        DL_TRY(
            set(lt->description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &row_bits, sizeof row_bits));
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
    /* Partial sums stay float32 until the last is added. */
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    uint32_t a = alignment(p->a, p->transpose_a ? p->m : p->k);
    uint32_t b = alignment(p->a, p->transpose_b ? p->k : p->n);
    uint32_t y = alignment(p->y, p->n);
    TRY(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        &most_workspace, sizeof most_workspace);
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

/* ---- choosing ---- */

static void name_library(char library[TEXT]) {
    int version = (int)cublasLtGetVersion();
    snprintf(library, TEXT, "cuBLASLt %d.%d.%d", version / 10000, version / 100 % 100,
             version % 100);
}

/* All that the product is, in words. */
static void say_product(const dl_lt_product *p, char key[TEXT]) {
    static const char *const epilogue[] = {[DL_LT_NONE] = "",
                                           [DL_LT_RELU] = ", relu",
                                           [DL_LT_RELU_MASK] = ", relu and mask",
                                           [DL_LT_MASKED] = ", masked",
                                           [DL_LT_MASKED_SUMS] = ", masked and summed",
                                           [DL_LT_SUMS_OF_A] = ", a summed",
                                           [DL_LT_SUMS_OF_B] = ", b summed"};
    snprintf(key, TEXT,
             "product %" PRId64 " of %" PRId64 " x %" PRId64 " x %" PRId64
             "%s%s, of type %d into %d%s%s%s",
             p->batch, p->m, p->k, p->n, p->transpose_a ? ", a transposed" : "",
             p->transpose_b ? ", b transposed" : "", (int)p->a, (int)p->y, p->bias ? ", bias" : "",
             epilogue[p->epilogue], p->tf32 && p->a == DL_F32 ? ", tf32" : "");
}

static int number_of(const cublasLtMatmulAlgo_t *algorithm,
                     cublasLtMatmulAlgoConfigAttributes_t name) {
    int32_t value = 0;
    size_t written;
    return cublasLtMatmulAlgoConfigGetAttribute(algorithm, name, &value, sizeof value, &written) ==
                   CUBLAS_STATUS_SUCCESS
               ? (int)value
               : -1;
}

/* What a person may want to know of it, then its words, which cuBLASLt of the same version reads
 * again. */
static void say_algorithm(const cublasLtMatmulAlgo_t *algorithm, char answer[TEXT]) {
    int length =
        snprintf(answer, TEXT,
                 "algo%d_tile%d_stages%d_splitk%d:", number_of(algorithm, CUBLASLT_ALGO_CONFIG_ID),
                 number_of(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
                 number_of(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID),
                 number_of(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM));
    for (int i = 0; i < WORDS; i++)
        length +=
            snprintf(answer + length, (size_t)(TEXT - length), " %" PRIx64, algorithm->data[i]);
}

/* False: cuBLASLt does not take it for this product, or it wants too much workspace. */
static bool recall(dl_lt *lt, const char *answer) {
    cublasLtMatmulHeuristicResult_t result;
    const char *at = strchr(answer, ':');
    for (int i = 0, used = 0; i < WORDS; i++, at += used)
        if (!at || sscanf(at += i == 0, "%" SCNx64 "%n", &lt->algorithm.data[i], &used) != 1)
            return false;
    if (*at || cublasLtMatmulAlgoCheck(lt->handle, lt->description, lt->b, lt->a, lt->y, lt->y,
                                       &lt->algorithm, &result) != CUBLAS_STATUS_SUCCESS)
        return false;
    lt->workspace = result.workspaceSize;
    return lt->workspace <= most_workspace;
}

/* *count 0: there is no algorithm; some of what has none is an invalid value to cuBLASLt. */
static dl_status ask(dl_lt *lt, const dl_lt_product *p, cublasLtMatmulHeuristicResult_t *found,
                     int wanted, int *count) {
    cublasLtMatmulPreference_t preference;
    cublasStatus_t asked = CUBLAS_STATUS_SUCCESS;
    *count = 0;
    TRY(cublasLtMatmulPreferenceCreate, &preference);
    dl_status status = prefer(preference, p);
    if (status == DL_OK)
        asked = cublasLtMatmulAlgoGetHeuristic(lt->handle, lt->description, lt->b, lt->a, lt->y,
                                               lt->y, preference, wanted, found, count);
    cublasLtMatmulPreferenceDestroy(preference);
    DL_TRY(status);
    if (asked == CUBLAS_STATUS_NOT_SUPPORTED || asked == CUBLAS_STATUS_INVALID_VALUE ||
        (*count > 0 && found[0].state != CUBLAS_STATUS_SUCCESS))
        *count = 0;
    else
        DL_TRY(check(asked, "cublasLtMatmulAlgoGetHeuristic"));
    return DL_OK;
}

static void take(dl_lt *lt, const cublasLtMatmulHeuristicResult_t *found) {
    lt->algorithm = found->algo;
    lt->workspace = found->workspaceSize;
}

enum { A, B, VECTOR, MASK, Y, TENSORS };

static dl_status run_timed(const void *argument, void *const *memory, void *workspace,
                           void *spare) {
    (void)spare;
    return dl_lt_run((dl_lt *)(uintptr_t)argument, &(dl_lt_memory){.a = memory[A],
                                                                   .b = memory[B],
                                                                   .bias = memory[VECTOR],
                                                                   .y = memory[Y],
                                                                   .mask = memory[MASK],
                                                                   .sums = memory[VECTOR],
                                                                   .workspace = workspace});
}

/* Takes the fastest; the first where none can be timed. */
static void time_algorithms(dl_lt *lt, const dl_lt_product *p,
                            const cublasLtMatmulHeuristicResult_t *found, int count,
                            double *seconds) {
    size_t a = dl_dtype_bytes(p->a), y = dl_dtype_bytes(p->y), batch = (size_t)p->batch;
    const size_t bytes[TENSORS] = {[A] = batch * (size_t)(p->m * p->k) * a,
                                   [B] = batch * (size_t)(p->k * p->n) * a,
                                   [VECTOR] = sizeof(float) * (size_t)(p->m > p->n ? p->m : p->n),
                                   [MASK] = lt->mask ? (size_t)(p->m * mask_bits(p) / 8) : 0,
                                   [Y] = batch * (size_t)(p->m * p->n) * y};
    dl_trial *trial;
    int best = 0;
    if (dl_trial_open(&trial, lt->cuda, bytes, TENSORS, most_workspace) == DL_OK) {
        for (int i = 0; i < count; i++) {
            take(lt, &found[i]);
            if (found[i].state == CUBLAS_STATUS_SUCCESS &&
                dl_trial_better(trial, run_timed, lt, seconds))
                best = i;
        }
        dl_trial_close(trial);
    }
    take(lt, &found[best]);
}

/* As it was chosen before, else by the heuristics or the clock. */
static dl_status choose(dl_lt *lt, const dl_lt_product *p, bool *chosen) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    dl_choices *choices = lt->cuda->device.choices;
    char library[TEXT], key[TEXT], made[TEXT];
    const char *answer;
    int count = 0;
    double seconds = 0;
    DL_TRY(handle_of(lt->cuda, &lt->handle));
    name_library(library);
    say_product(p, key);
    DL_TRY(dl_choices_find(choices, library, key, &answer));
    *chosen = answer && recall(lt, answer);
    if (*chosen || (answer && strcmp(answer, DL_CHOICE_NONE) == 0))
        return DL_OK;
    if (answer)
        DL_TRY(dl_choices_refuse(choices, key));
    DL_TRY(ask(lt, p, found, choices->timed ? CANDIDATES : 1, &count));
    *chosen = count > 0;
    if (count == 0)
        return dl_choices_add(
            choices,
            &(dl_choice){.library = library, .key = key, .answer = DL_CHOICE_NONE, .unkept = true});
    take(lt, &found[0]);
    if (choices->timed)
        time_algorithms(lt, p, found, count, &seconds);
    say_algorithm(&lt->algorithm, made);
    return dl_choices_add(
        choices, &(dl_choice){.library = library, .key = key, .answer = made, .seconds = seconds});
}

static dl_status open_way(dl_lt *lt, const dl_lt_product *p, bool *found) {
    DL_TRY(describe(lt, p));
    DL_TRY(lay(&lt->a, p->a, p->transpose_a ? p->k : p->m, p->transpose_a ? p->m : p->k, p->batch));
    DL_TRY(lay(&lt->b, p->a, p->transpose_b ? p->n : p->k, p->transpose_b ? p->k : p->n, p->batch));
    DL_TRY(lay(&lt->y, p->y, p->m, p->n, p->batch));
    *found = lt->cuda->device.imagined;
    return *found ? DL_OK : choose(lt, p, found);
}

dl_status dl_lt_open(dl_lt **out, dl_cuda *cuda, const dl_lt_product *ways, int count, int *which,
                     size_t *workspace) {
    *out = NULL;
    for (int i = 0; i < count; i++) {
        bool found = false;
        dl_lt *lt = dl_alloc(sizeof *lt);
        if (!lt)
            return dl_fail_memory(sizeof *lt);
        lt->cuda = cuda;
        dl_status status = open_way(lt, &ways[i], &found);
        *workspace = lt->workspace;
        *which = i;
        if (found && status == DL_OK) {
            *out = lt;
            return DL_OK;
        }
        dl_lt_close(lt);
        DL_TRY(status);
    }
    return dl_fail(DL_UNAVAILABLE,
                   "cuBLASLt has no algorithm for a product of %lld x %lld by %lld columns",
                   (long long)ways->m, (long long)ways->k, (long long)ways->n);
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

dl_status dl_lt_run(dl_lt *lt, const dl_lt_memory *memory) {
    float one = 1, zero = 0;
    const void *vector = lt->sums ? memory->sums : memory->bias;
    if (lt->bias || lt->sums)
        DL_TRY(set(lt->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector, sizeof vector));
    if (lt->mask)
        DL_TRY(set(lt->description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &memory->mask,
                   sizeof memory->mask));
    TRY(cublasLtMatmul, lt->handle, lt->description, &one, memory->b, lt->b, memory->a, lt->a,
        &zero, memory->y, lt->y, memory->y, lt->y, &lt->algorithm, memory->workspace, lt->workspace,
        lt->cuda->stream);
    return DL_OK;
}
